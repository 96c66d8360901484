"""Canary cards: random, valid by Luhn, in a range that only the sandbox takes, and looked for everywhere.

A canary is made in the process that proves, after every process of the node is up, so that no page of theirs
can have inherited it. Decoys are drawn in the same way and never keyed: what is found of them is chance, and
says how much of what is found of the canaries may be chance.
"""

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

BIN = "999900"
"""The documented canary range: 16 digits from here (vault/providers/_sandbox_cards.py)."""
PAN_DIGITS = 16
CVV_DIGITS = 3
LAST4 = 4
EXPIRY_YEARS = (1, 6)
"""Years from now that a canary's expiry may lie ahead."""
DECLINED_YEARS = (11, 16)
"""The same of a card that the Stripe simulator declines (vault/proof/stripe_cards.py)."""
UNIFORM_OF_PAN = range(len(BIN), PAN_DIGITS - 1)
"""Places of the PAN drawn uniformly and independently; the last digit is Luhn's."""


@dataclass(frozen=True, repr=False)
class Canary:
    """One card of the canary range; it stands in no repr."""

    number: int
    """How findings name it."""
    pan: str
    expiry: str
    """MMYY, as it is keyed."""
    cvv: str
    decoy: bool = False
    """Never keyed."""

    @property
    def last4(self) -> str:
        """What the desk may know."""
        return self.pan[-LAST4:]


def luhn_digit(digits: str) -> str:
    """The check digit that makes `digits` + it valid (ISO/IEC 7812-1 annex B)."""
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[::-2]]
    return str(-(sum(doubled) + sum(map(int, digits[-2::-2]))) % 10)


def make_canary(
    number: int,
    this_year: int,
    source: random.Random | None = None,
    *,
    decoy: bool = False,
    years: tuple[int, int] = EXPIRY_YEARS,
) -> Canary:
    """A new card; `this_year` in full, random by the system unless `source` is given."""
    source = source or secrets.SystemRandom()
    head = BIN + "".join(source.choice("0123456789") for _ in UNIFORM_OF_PAN)
    year = (this_year + source.randint(*years)) % 100
    expiry = f"{source.randint(1, 12):02d}{year:02d}"
    cvv = "".join(source.choice("0123456789") for _ in range(CVV_DIGITS))
    return Canary(number, head + luhn_digit(head), expiry, cvv, decoy)


def make_decoys(count: int, this_year: int, but_not: Sequence[Canary] = ()) -> tuple[Canary, ...]:
    """`count` cards drawn like canaries and never keyed, none of them a canary."""
    taken = {one.pan for one in but_not}
    made: list[Canary] = []
    while len(made) < count:
        one = make_canary(-len(made) - 1, this_year, decoy=True)
        if one.pan not in taken:
            made.append(one)
    return tuple(made)
