"""The money books: double entry per tenant and currency, the provider's statement, and the match of both."""
