"""THE EAR: owners add outbox rows in their own transactions, the audit process writes the log."""
