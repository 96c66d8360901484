"""Which amounts Stripe takes as ISO 4217 writes them; any other would be another sum there.

Stripe docs, "Supported currencies": MGA has no minor unit there and two digits in ISO; ISK and UGX have two
digits there and none in ISO (of UGX the page says both); amounts in currencies of three digits end in 0.
Where the units differ, 500 krónur sent as they are would be five. HUF has two digits in both.
"""

from vault.currency import MINOR_DIGITS
from vault.door import Refused

OTHER_UNITS = frozenset({"ISK", "MGA", "UGX"})
THREE_DIGITS, LAST_DIGIT = 3, 10


def check_amount(amount_minor: int, currency: str) -> None:
    """`Refused` for what Stripe would understand as other money, or refuse."""
    if currency in OTHER_UNITS:
        raise Refused("currency_not_offered", "The provider counts this currency otherwise. Choose another.")
    if MINOR_DIGITS[currency] == THREE_DIGITS and amount_minor % LAST_DIGIT:
        raise Refused("amount_malformed", "The provider takes this currency in tens of its minor unit.")
