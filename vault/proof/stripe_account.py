"""One Stripe account as the tests set it up: its keys, what is enabled, fees, terms and clocks.

A restricted key may do what its permissions say and nothing else: the cell's key makes payment methods, the
broker's key does everything but that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vault.currency import MINOR_DIGITS

HOLD_S = 7 * 86_400
"""How long an authorisation holds that the cardholder started (Stripe docs, "Place a hold")."""
HOLD_OFF_LINE_S = 4 * 86_400 + 18 * 3_600
"""Visa, started by the merchant: exactly 4 days 18 hours (same page)."""

CELL = frozenset({"payment_methods:write"})
"""What the key of a capture cell may do."""
BROKER = frozenset(
    {
        *(f"{one}:write" for one in ("payment_intents", "setup_intents", "customers", "refunds")),
        *(f"{one}:write" for one in ("checkout_sessions", "payment_method_links")),
        *(f"{one}:read" for one in ("charges", "balance", "payouts", "disputes")),
    }
)
"""What the key of the broker may do: everything by id, no raw card. `payment_method_links` is attach and
detach, which here need no right to make payment methods."""
EVERYTHING = frozenset({"*"})


@dataclass(frozen=True)
class Keys:
    """The account's API keys by what they may do; test values, generated from the seed by the host."""

    cell: str
    broker: str
    full: str

    def permissions(self) -> dict[str, frozenset[str]]:
        """Key -> what it may do."""
        return {self.cell: CELL, self.broker: BROKER, self.full: EVERYTHING}


@dataclass(frozen=True)
class Account:
    """Settings that Stripe has in its dashboard; a default for every one."""

    country: str = "HU"
    moto: bool = True
    """Mail-order/telephone-order is enabled: without it the `moto` parameter is unknown to the API."""
    canary: bool = False
    """Takes the canary range (16 digits from 999900), as the proof of leaks needs it."""
    fee_basis_points: int = 150
    fee_fixed_hundredths: int = 25
    """Hundredths of a main unit per charge: 0.25 EUR, nothing for a currency without minor units."""
    dispute_fee_hundredths: int = 2_000
    available_days: int = 2
    """Days from a charge to the balance that can be paid out."""
    search_lag_s: float = 60.0
    """Search is not read-after-write (Stripe API, "Search")."""
    key_life_s: float = 86_400.0
    """Idempotency keys may be forgotten after 24 hours; a reused one executes again."""
    hold_s: float = HOLD_S
    hold_off_line_s: float = HOLD_OFF_LINE_S
    page_base: str = "https://checkout.stripe.test"
    webhook_secrets: Mapping[str, str] = field(default_factory=dict)
    """Endpoint URL -> its signing secret."""

    def charge_fee(self, amount_minor: int, currency: str) -> int:
        """What a charge costs, in minor units, half up."""
        share = (amount_minor * self.fee_basis_points + 5_000) // 10_000
        return share + hundredths(self.fee_fixed_hundredths, currency)

    def dispute_fee(self, currency: str) -> int:
        """What a dispute costs, in minor units."""
        return hundredths(self.dispute_fee_hundredths, currency)


def hundredths(amount: int, currency: str) -> int:
    """Hundredths of the main unit as minor units of the currency, rounded down."""
    return amount * int(10 ** MINOR_DIGITS[currency.upper()]) // 100
