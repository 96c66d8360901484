"""What a reconciliation has found, as it crosses the door; frozen types and their JSON, nothing else."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Match(StrEnum):
    """How the two sides of one item compare."""

    MATCHED = "matched"
    AMOUNT_DIFFERS = "amount_differs"
    OURS_ONLY = "ours_only"
    PROVIDER_ONLY = "provider_only"
    FEE_DIFFERS = "fee_differs"
    LATE = "late"


@dataclass(frozen=True)
class Item:
    """One fact of the books, alone or paired with what the provider stated. Amounts as its balance shows."""

    item_id: str
    match: Match
    kind: str
    """charge, refund, chargeback, chargeback_reversal, fee, payout or adjustment."""
    tenant: str
    day: str
    """The day of the books it belongs to: ours, else the provider's."""
    at: str
    currency: str
    payment_id: str = ""
    provider: str = ""
    provider_ref: str = ""
    step_ref: str = ""
    entry_id: str = ""
    """Of the provider's statement; empty while it has none."""
    payout_ref: str = ""
    ours_minor: int | None = None
    gross_minor: int | None = None
    """The provider's."""
    stated_currency: str = ""
    fee_minor: int | None = None
    fee_agreed_minor: int | None = None
    """None where no fee is agreed."""
    net_minor: int | None = None
    restated: bool = False
    """The provider has stated other money under the same id since."""
    waiting: bool = False
    """With LATE: the other side, or the payout that the entry names, may still come."""
    explained: str = ""
    """Why a difference is none any more, in one word."""

    @property
    def unexplained(self) -> bool:
        """True when the item keeps its day open."""
        if self.match is Match.MATCHED or self.explained:
            return False
        return self.match is not Match.LATE or self.waiting

    @property
    def differs(self) -> bool:
        """True when somebody must look at it."""
        return self.unexplained and not self.waiting


@dataclass(frozen=True)
class Day:
    """One day of one tenant's books."""

    day: str
    items: int
    unexplained: int
    closed: bool


@dataclass(frozen=True)
class Reconciliation:
    """One tenant's reconciliation over a span of days."""

    tenant: str
    since: str
    """First day, ISO 8601."""
    until: str
    """Last day, included."""
    done: bool = True
    """False: still under way, ask again; everything below is empty then."""
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Match -> items."""
    differences: int = 0
    """Items that somebody must look at."""
    items: tuple[Item, ...] = ()
    """What is not matched, differences first; at most `ITEMS_SHOWN`."""
    left_off: int = 0
    """Items that did not fit; the CSV has all."""
    days: tuple[Day, ...] = ()
    balances: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: MappingProxyType({}))
    """Currency -> account -> minor units, of all days; every currency sums to zero."""
    digits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Currency -> digits after the decimal point, of every currency above."""
    feed: str = "read"
    """read | none (the provider tells no statement) | failed."""

    @property
    def clean(self) -> bool:
        """True when nobody needs to look at anything."""
        return self.done and not self.differences and self.feed == "read"

    def as_json(self) -> dict[str, Any]:
        """The JSON object of it; enumerations are their words."""
        body = {name: getattr(self, name) for name in self.__dataclass_fields__}
        body["items"] = [asdict(item) for item in self.items]
        body["days"] = [asdict(day) for day in self.days]
        body["counts"], body["digits"] = dict(self.counts), dict(self.digits)
        body["balances"] = {currency: dict(of) for currency, of in self.balances.items()}
        return body


@dataclass(frozen=True)
class CsvPage:
    """Some lines of the CSV; the first page begins with the header."""

    text: str
    after: str = ""
    """For the next page; empty when there is none."""


def reconciliation_from_json(body: dict[str, Any]) -> Reconciliation:
    """The reconciliation of a JSON object; KeyError, TypeError or ValueError when it is none."""
    values = dict(body)
    values["items"] = tuple(map(item_from_json, values["items"]))
    values["days"] = tuple(Day(**day) for day in values["days"])
    return Reconciliation(**values)


def item_from_json(body: dict[str, Any]) -> Item:
    """The item of a JSON object; KeyError, TypeError or ValueError when it is none."""
    return Item(**{**body, "match": Match(body["match"])})
