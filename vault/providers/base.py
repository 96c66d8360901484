"""What a provider file must offer: one factory for the cell's side, one for the broker's side.

A file `vault/providers/<name>.py` with `cell_provider(config)` and `provider(data_dir, config)` is one;
nothing is registered anywhere, and `tests/contracts/test_providers.py` picks it up. The cell's side sees
the card and turns it into a token; the broker's side works with ids only. `OPTIONS` of the file names what
may stand in `[payment.<name>]` of a tenant's file.

This file owns the outcomes, and two rules. Everything but a definite answer is UNKNOWN: an exception, a
time-out or a cut connection never means "not charged". And a key, of an attempt or of a step, never executes
twice: what was executed under it is given again.
"""

import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from vault.door import Field, LinkAnswer

if TYPE_CHECKING:
    from vault.card import Card
    from vault.keys import Secret


MOTO_BASES = frozenset({"moto_agent", "moto_unattended"})
"""Values of `sca_basis` that need a provider with `Abilities.moto`."""


class NotSentError(Exception):
    """Raised by a provider whose method could not send one byte: nothing happened there, for certain.

    `prepare`, `open_link` and everything else without an outcome of its own say NEVER_SENT with it. Only for
    a refused connection, an unknown host, a failed TLS handshake or a connect time-out.
    """


@dataclass(frozen=True)
class Abilities:
    """What a provider can do; asked before a payment is begun, so that nothing impossible is promised."""

    tokenise_first: bool
    """False: PAN and CVV stay in the cell until the attempt, which the cell itself sends."""
    moto: bool
    """Mail-order/telephone-order payments are allowed."""
    settle_later: bool
    """Pre-authorisation now, `settle` later."""
    partial_settle: bool
    """`settle` may take less than was authorised; the rest is given back."""
    keeps_cards: bool
    """Tokens on file."""
    links: bool
    """Pages for pay-by-link."""
    settlement_feed: bool
    """`settlements` tells fees and payouts."""
    key_window_s: int
    """How long a step's key cannot execute twice; after that a lost step is only looked at, never sent."""


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
class KeptCard:
    """A card on file at the provider: ids and what may be shown, never a PAN."""

    customer_ref: str
    token_ref: str
    """Goes into `AttemptRequest.token` of a later payment; who is on the line then, `off_line` says."""
    brand: str
    last4: str
    expiry_month: int
    expiry_year: int
    """Four digits."""


@dataclass(frozen=True)
class Outcome:
    """One answer about one attempt; raw codes stay in vault.db and never reach an agent."""

    kind: OutcomeKind
    raw_code: str = ""
    """The provider's own decline code, as published by it."""
    advice: str = ""
    """confirm_card_data | do_not_try_again | try_again_later | empty."""
    settled: bool = False
    """True when the money has moved with the authorisation (a sale); False: it is only held."""
    step_ref: str = ""
    """The provider's id of the charge, as its settlement feed names it."""
    hold_until: str = ""
    """UTC, ISO 8601: when an authorisation that is not settled lapses, as the provider said."""
    kept: KeptCard | None = None
    """The card on file, when the attempt asked for it with `keep_card`."""


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
    settle_later: bool = False
    keep_card: bool = False
    customer_ref: str = ""
    """The provider's id of a customer it knows already; empty: `keep_card` makes a new one."""


@dataclass(frozen=True)
class AttemptRequest:
    """One try to authorise; `attempt_key` is derived from payment and attempt number, never random."""

    provider_ref: str
    attempt_key: str
    attempt: int
    token: str | None
    """None when the provider's `tokenise_first` is False: then the cell makes the call."""
    amount_minor: int
    """0, sent by a cell, is an account check: providers without tokens have no other way to check a card."""
    currency: str
    sca_basis: str
    settle_later: bool = False
    """A pre-authorisation."""
    keep_card: bool = False
    off_line: bool = False
    """A payment by a kept card with nobody on the line (`mit`). The broker sends whatever has a kept card."""

    def as_json(self) -> dict[str, Any]:
        """The JSON object that goes to the cell with `authorise`."""
        body = asdict(self)
        del body["token"], body["off_line"]
        return body


class StepKind(StrEnum):
    """What is known about a settle, void or refund after an answer, or after none."""

    DONE = "done"
    REFUSED = "refused"
    """The provider will not: the amount is too high, or the payment is past that."""
    NEVER_SENT = "never_sent"
    UNKNOWN = "unknown"
    """Executed or not: `standing` may tell, and the same key may be sent again within `key_window_s`."""


@dataclass(frozen=True)
class StepRequest:
    """One settle, void or refund; `step_key` is derived from payment, step and number, never random."""

    provider_ref: str
    step_key: str
    amount_minor: int
    """What to settle or give back; of a void what is held."""
    currency: str
    reason: str = ""
    """A lower-case word of ours, for the provider's own records."""


@dataclass(frozen=True)
class StepOutcome:
    """One answer about one step."""

    kind: StepKind
    raw_code: str = ""
    step_ref: str = ""
    """The provider's id of what was done, as its settlement feed names it."""


STEP_UNKNOWN = StepOutcome(StepKind.UNKNOWN)
STEP_NEVER_SENT = StepOutcome(StepKind.NEVER_SENT)


class StandingState(StrEnum):
    """Where a payment stands at its provider."""

    OPEN = "open"
    """No money has moved or is held; an attempt may come."""
    AUTHORISED = "authorised"
    SETTLED = "settled"
    """Money has moved; how much of it went back, `refunded_minor` says."""
    VOIDED = "voided"
    """Given back, cancelled or lapsed: nothing can be authorised under this reference any more."""
    DECLINED = "declined"
    NEEDS_ACTION = "needs_action"
    UNDER_WAY = "under_way"
    """The provider does not know yet."""


@dataclass(frozen=True)
class Standing:
    """What the provider holds as true about one payment now; amounts are never negative."""

    state: StandingState
    authorised_minor: int = 0
    settled_minor: int = 0
    refunded_minor: int = 0
    hold_until: str = ""
    """UTC, ISO 8601; empty when nothing is held."""
    steps: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """`step_key` -> `step_ref` of every step that was done."""
    provider_ref: str = ""
    """Where steps go when a link was asked about: its payment. Empty: the reference that was asked about, or
    nothing was paid on the link yet."""


@dataclass(frozen=True)
class LinkOrder:
    """What a page for pay-by-link is made for."""

    order: Order
    link_key: str
    """Derived from payment and number; the same key gives the same link."""
    expires_at: str
    """UTC, ISO 8601."""
    return_url: str


@dataclass(frozen=True)
class Link:
    """A page on which the caller pays without us seeing a card."""

    link_ref: str
    url: str
    """Absolute at the provider; a path `/pay/<token>` when the node itself serves the page."""
    expires_at: str


@dataclass(frozen=True)
class Notice:
    """What a webhook says: where to look, never the truth itself."""

    event_id: str
    made_at: str
    """UTC, ISO 8601, as the provider dates it."""
    kind: str
    provider_ref: str
    """Empty when the event is about no payment."""


class FeedKind(StrEnum):
    """What an entry of a settlement feed is about."""

    CHARGE = "charge"
    REFUND = "refund"
    CHARGEBACK = "chargeback"
    CHARGEBACK_REVERSAL = "chargeback_reversal"
    FEE = "fee"
    PAYOUT = "payout"
    ADJUSTMENT = "adjustment"


@dataclass(frozen=True)
class FeedEntry:
    """One change of the merchant's balance at the provider; always `net = gross - fee`."""

    entry_id: str
    kind: FeedKind
    provider_ref: str
    """The payment; empty of fees and payouts that belong to none."""
    step_ref: str
    """The charge or refund, as outcomes name it."""
    gross_minor: int
    """As seen from the merchant's balance: negative of refunds, chargebacks and payouts."""
    fee_minor: int
    """Positive when it costs; of a FEE the whole of it, with gross 0."""
    net_minor: int
    currency: str
    made_at: str
    """UTC, ISO 8601."""
    available_on: str
    """The day, ISO 8601, from which a payout may hold it."""
    payout_ref: str = ""
    """The payout that holds it, its own of a payout; empty until there is one: read the window again."""


class Provider(Protocol):
    """The broker's side: ids in, outcomes out. Every method may raise; the caller reads that as UNKNOWN.

    `NotSentError` alone says more: nothing was sent.
    """

    name: str
    abilities: Abilities

    async def prepare(self, order: Order) -> str:
        """The provider's reference of the payment; the same payment id gives the same reference."""

    async def authorise(self, request: AttemptRequest) -> Outcome:
        """Sends one attempt. The same attempt key never executes twice."""

    async def fetch(self, provider_ref: str, attempt_key: str) -> Outcome:
        """What became of an attempt; NEVER_SENT when the provider has not executed it so far."""

    async def fence(self, provider_ref: str, attempt_key: str) -> Outcome:
        """Makes sure that an attempt can never execute any more; its result if it had executed already."""

    async def settle(self, request: StepRequest) -> StepOutcome:
        """Takes what is held, once: the rest of a partial settle is given back."""

    async def void(self, request: StepRequest) -> StepOutcome:
        """Gives back what is held; REFUSED once it is settled."""

    async def refund(self, request: StepRequest) -> StepOutcome:
        """Gives back settled money, in part or whole; REFUSED above what is left of it."""

    async def standing(self, provider_ref: str) -> Standing:
        """What is true about a payment now; OPEN for a reference without an attempt.

        A `link_ref` is a reference too: what was paid on a page may be a payment of its own.
        """

    async def verify_card(self, request: AttemptRequest) -> Outcome:
        """An account check: AUTHORISED for a good card, and no money moves, whatever the amount says.

        `provider_ref` is empty: there is no payment to prepare.
        """

    async def forget_card(self, customer_ref: str, token_ref: str) -> None:
        """Takes a card off file; one that is not there any more is fine."""

    async def open_link(self, order: LinkOrder) -> Link:
        """A page that can be paid once, until it expires."""

    async def close_link(self, link_ref: str) -> None:
        """Makes sure that the page cannot be paid any more; `standing` tells whether it was."""

    def settlements(self, since: str, until: str) -> AsyncIterator[FeedEntry]:
        """The entries with `since <= made_at < until` (UTC, ISO 8601), oldest first."""

    def parse_webhook(
        self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[bytes], now_s: float
    ) -> Notice:
        """What a signed webhook points at; `Refused("webhook_invalid")` for any other.

        `headers` with names in any case; `raw` exactly as received; any of `secrets` may have signed it
        (rotation); more than `WEBHOOK_AGE_MAX_S` old or `WEBHOOK_AHEAD_MAX_S` ahead of `now_s` is refused.
        """

    async def cell_config(self) -> dict[str, Any]:
        """What `cell_provider` takes beside `tenant`, `canary` and `keep_card`: nothing secret."""

    def cell_secret(self) -> bytes:
        """What `CellProvider.take_secret` is given, over the cell's own socket; empty: none."""

    async def wire(self, body: dict[str, Any]) -> dict[str, Any]:
        """Carries one call of a cell to the provider's host (`tokenise_first` False only)."""

    async def close(self) -> None:
        """Gives back files and connections."""


@runtime_checkable
class ServesPages(Protocol):
    """A provider without pages of its own: the node serves `/pay/<token>` and hands over what is pressed."""

    async def answer_page(self, url: str, answer: LinkAnswer) -> None:
        """Acts on what was pressed; `url` as in `Link.url`. Nothing happens unless the page is open."""


WEBHOOK_AGE_MAX_S = 300
"""As long as Stripe's own verifier allows: longer than any delivery takes, shorter than a replay needs."""
WEBHOOK_AHEAD_MAX_S = 60
"""Clocks differ by less; a date from further ahead would keep a webhook valid for later."""


@dataclass(frozen=True)
class TokenResult:
    """What the cell learns from tokenising: a token, or which field the provider refuses."""

    token: str | None
    problem_field: Field | None = None
    code: str = ""


class CellProvider(Protocol):
    """The cell's side, the only code besides the keypad that may look at a card."""

    tokenise_first: bool

    def take_secret(self, secret: bytes) -> None:
        """The secret of its provider, before the first card; never called when there is none."""

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
        words = {name: str(body.get(name, "")) for name in ("raw_code", "advice", "step_ref", "hold_until")}
        kept = body.get("kept")
        return Outcome(
            OutcomeKind(body["kind"]),
            settled=body.get("settled") is True,
            kept=None if kept is None else KeptCard(**kept),
            **words,
        )
    except (KeyError, ValueError, TypeError):
        return UNKNOWN


def outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    """The JSON object of an outcome, for the wire between broker and cell."""
    return {**asdict(outcome), "kind": outcome.kind.value}


def provider_names() -> tuple[str, ...]:
    """Every provider file of this folder, sorted; files with a leading underscore and this one are none."""
    folder = str(Path(__file__).parent)
    names = (module.name for module in pkgutil.iter_modules([folder]))
    return tuple(sorted(name for name in names if name != "base" and not name.startswith("_")))


@dataclass(frozen=True)
class Option:
    """One line that may stand in `[payment.<provider>]`."""

    kind: type
    manual: str
    default: object = None
    """What holds when it is not given; None: it must be given."""


def problem_of(name: str, options: Mapping[str, Any]) -> tuple[str, str] | None:
    """The option of the right type that cannot work all the same, and why: the file's own `problem_of`."""
    check: Callable[[Mapping[str, Any]], tuple[str, str] | None]
    check = getattr(_file(name), "problem_of", lambda _options: None)
    return check(options)


def options_of(name: str) -> Mapping[str, Option]:
    """What a provider's file takes from `[payment.<name>]`: its `OPTIONS`, none without."""
    found: Mapping[str, Option] = getattr(_file(name), "OPTIONS", {})
    return found


def roles_of(name: str) -> tuple[str, ...]:
    """The secrets without which a provider's file makes nothing: its `ROLES`, none without."""
    found: tuple[str, ...] = getattr(_file(name), "ROLES", ())
    return found


class Secrets(Protocol):
    """The providers' secrets of one process (`vault/keys.py`)."""

    def secret(self, provider: str, tenant: str, role: str) -> "Secret":
        """The newest version; a `VaultError` names the file that is missing."""


def load_provider(
    name: str,
    data_dir: Path,
    config: Mapping[str, Any] = MappingProxyType({}),
    secrets: Secrets | None = None,
) -> Provider:
    """The broker's side of a provider by its file name; KeyError for a name without a file.

    `config`: the options of `[payment.<name>]`, and `tenant`. `secrets`: wanted by a file with `roles_of`.
    """
    made: Provider = _file(name).provider(data_dir, config, secrets)
    return made


def rehearse(name: str) -> None:
    """Imports what the provider's cells need: its file's `preload`, if it has one. Any error may come."""
    getattr(_file(name), "preload", lambda: None)()


def _file(name: str) -> Any:
    if name not in provider_names():
        raise KeyError(name)
    return import_module(f"vault.providers.{name}")
