"""What a provider file must offer: one factory for the cell's side, one for the broker's side.

A file `vault/providers/<name>.py` with `cell_provider(config)` and `provider(data_dir)` is a provider;
nothing is registered anywhere, and `tests/contracts/test_providers.py` picks it up. The cell's side sees
the card and turns it into a token; the broker's side works with ids only. This file owns the outcomes, and
the rule that everything but a definite answer is UNKNOWN: an exception, a time-out or a cut connection
never means "not charged".
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vault.door import Field

if TYPE_CHECKING:
    from vault.card import Card


class OutcomeKind(StrEnum):
    """What is known about one attempt after an answer, or after none."""

    AUTHORISED = "authorised"
    DECLINED = "declined"
    REQUIRES_ACTION = "requires_action"
    NEVER_SENT = "never_sent"
    """Certainly not executed: not one byte left us, or the provider says that it never ran."""
    UNKNOWN = "unknown"
    """Executed or not: only `fetch` may tell; the attempt is never sent again."""


@dataclass(frozen=True)
class Outcome:
    """One answer about one attempt; raw codes stay in vault.db and never reach an agent."""

    kind: OutcomeKind
    raw_code: str = ""
    """The provider's own decline code, as published by it."""
    advice: str = ""
    """confirm_card_data | do_not_try_again | try_again_later | empty."""


UNKNOWN = Outcome(OutcomeKind.UNKNOWN)
NEVER_SENT = Outcome(OutcomeKind.NEVER_SENT)
AUTHORISED = Outcome(OutcomeKind.AUTHORISED)


@dataclass(frozen=True)
class Order:
    """What the provider is told about a payment before any card is known."""

    payment_id: str
    tenant: str
    amount_minor: int
    currency: str
    sca_basis: str


@dataclass(frozen=True)
class AttemptRequest:
    """One try to authorise; `attempt_key` is derived from payment and attempt number, never random."""

    provider_ref: str
    attempt_key: str
    attempt: int
    token: str | None
    """None when the provider's `tokenise_first` is False: then the cell makes the call."""
    amount_minor: int
    currency: str
    sca_basis: str

    def as_json(self) -> dict[str, Any]:
        """The JSON object that goes to the cell with `authorise`."""
        return {
            "provider_ref": self.provider_ref,
            "attempt_key": self.attempt_key,
            "attempt": self.attempt,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "sca_basis": self.sca_basis,
        }


class Provider(Protocol):
    """The broker's side: ids in, outcomes out. Every method may raise; the caller reads that as UNKNOWN."""

    name: str
    tokenise_first: bool
    """False: PAN and CVV stay in the cell until `authorise`, which the cell sends itself."""
    moto: bool
    """True when mail-order/telephone-order payments are allowed."""

    async def prepare(self, order: Order) -> str:
        """The provider's reference of the payment; the same payment id gives the same reference."""

    async def authorise(self, request: AttemptRequest) -> Outcome:
        """Sends one attempt. The same attempt key never executes twice."""

    async def fetch(self, provider_ref: str, attempt_key: str) -> Outcome:
        """What became of an attempt; NEVER_SENT when the provider has not executed it so far."""

    async def fence(self, provider_ref: str, attempt_key: str) -> Outcome:
        """Makes sure that an attempt can never execute any more; its result if it had executed already."""

    async def wire(self, body: dict[str, Any]) -> dict[str, Any]:
        """Carries one call of a cell to the provider's host (`tokenise_first` False only)."""

    async def close(self) -> None:
        """Gives back files and connections."""


@dataclass(frozen=True)
class TokenResult:
    """What the cell learns from tokenising: a token, or which field the provider refuses."""

    token: str | None
    problem_field: Field | None = None
    code: str = ""


class CellProvider(Protocol):
    """The cell's side, the only code besides the keypad that may look at a card."""

    tokenise_first: bool

    def tokenise(self, card: "Card") -> TokenResult:
        """A token, or the refusal; with `tokenise_first` False only the check, without a token."""

    def authorise(
        self,
        card: "Card",
        request: dict[str, Any],
        call: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> dict[str, Any]:
        """`{"kind", "raw_code", "advice"}`; `call` is the cell's one wire to the provider's host."""


def outcome_from_json(body: dict[str, Any]) -> Outcome:
    """The outcome a cell or a wire reported; anything unreadable is UNKNOWN."""
    try:
        return Outcome(OutcomeKind(body["kind"]), str(body.get("raw_code", "")), str(body.get("advice", "")))
    except (KeyError, ValueError, TypeError):
        return UNKNOWN


def outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    """The JSON object of an outcome, for the wire between broker and cell."""
    return {"kind": outcome.kind.value, "raw_code": outcome.raw_code, "advice": outcome.advice}


def provider_names() -> tuple[str, ...]:
    """Every provider file of this folder, sorted; files with a leading underscore and this one are none."""
    folder = str(Path(__file__).parent)
    names = (module.name for module in pkgutil.iter_modules([folder]))
    return tuple(sorted(name for name in names if name != "base" and not name.startswith("_")))


def load_provider(name: str, data_dir: Path) -> Provider:
    """The broker's side of a provider by its file name; KeyError for a name without a file."""
    if name not in provider_names():
        raise KeyError(name)
    made: Provider = import_module(f"vault.providers.{name}").provider(data_dir)
    return made
