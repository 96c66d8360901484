"""What enters and leaves the desk as JSON: pydantic models, strict on the way in, complete on the way out.

OpenAPI 3.1 is made from these models (`openapi.py`), so the document cannot differ from the check. Text that
an agent types may by mistake hold a PAN; it is refused here, before anything else sees it (PCI DSS 3.4.1).
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from audit.outbox import holds_pan
from pay_ivr.channels import Medium
from pay_ivr.languages import languages
from pay_ivr.tenants import USER_PATTERN, Language
from vault import PaymentState

AMOUNT_MINOR_MAX = 99_999_999_999
"""Schema bound only, so that no number overflows a column; the tenant's own limit is the vault's business."""
REFERENCE_MAX = 40
"""Longest reference we have seen on invoices is 27; it is spoken and printed, so not longer."""
SEARCH_LIMIT_MAX = 30
"""The door gives no more on one page."""
CODE_VALID_S_MAX = 7 * 24 * 3600
"""A payment code lives at most a week: it has only eight digits."""

_RUN = re.compile(r"\d(?:[ ./#_-]?\d){12,}")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_SEPARATOR = re.compile(r"[ ./#_-]")


def looks_like_pan(text: str) -> bool:
    """True when whole groups of digits, joined over separators, could be a PAN: `INV-7 4242 4242 …` as well.

    Stricter than the log's last net, because here a person may have typed what he heard.
    """
    for run in _RUN.findall(text):
        groups = _SEPARATOR.split(run)
        for first in range(len(groups)):
            if any(holds_pan("".join(groups[first:last])) for last in range(first + 1, len(groups) + 1)):
                return True
    return False


def _no_pan(text: str) -> str:
    if looks_like_pan(text):
        raise PydanticCustomError("pan_not_allowed", "looks like a PAN")
    return text


def _no_pan_but_a_number(text: str) -> str:
    """One telephone number in ten passes the check digit of a PAN; with its plus sign it is none."""
    return text if _NUMBER.fullmatch(text) else _no_pan(text)


class Body(BaseModel):
    """What enters: strict types, no unknown field."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


UserName = Annotated[str, Field(pattern=USER_PATTERN, description="The agent's user.")]
Reference = Annotated[
    str,
    Field(
        pattern=rf"^[A-Za-z0-9][A-Za-z0-9 ._/#-]{{0,{REFERENCE_MAX - 1}}}$",
        description="Your invoice or booking; refused when it looks like a PAN.",
    ),
    AfterValidator(_no_pan),
]
AmountMinor = Annotated[
    int,
    Field(
        ge=1,
        le=AMOUNT_MINOR_MAX,
        description="Minor units: 1995 with EUR is 19.95 EUR, 500 with JPY is ¥500.",
    ),
]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217, one of the tenant's.")]
Purpose = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="One of the tenant's purposes.")
]

Customer = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.@-]{1,64}$", description="Your own id of the customer."),
    AfterValidator(_no_pan),
]
Mandate = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9_-]{0,47}$",
        description="Id of the text the customer agreed to; with it the card is kept.",
    ),
]
CardId = Annotated[str, Field(pattern=r"^card_[a-z]{1,64}$", description="Of a kept card.")]
StepReason = Literal["requested", "duplicate", "mistake", "fraud"]


class Nothing(Body):
    """An empty object: the action needs no more than its address."""


class LoginBody(Body):
    """A login; `new_password` only when the one-time password must be changed."""

    user: UserName
    password: Annotated[str, Field(min_length=1, max_length=128)]
    new_password: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class DueBody(Body):
    """What is to be paid, and for what."""

    amount_minor: AmountMinor
    currency: Currency
    reference: Reference
    purpose: Purpose


class PaymentBody(DueBody):
    """What the caller will pay, agreed before he is asked to key."""

    settle_later: Annotated[bool, Field(description="True: a pre-authorisation, settled later.")] = False
    customer: Annotated[Customer | None, Field(description="Needed to keep a card or pay by a kept one.")] = (
        None
    )
    mandate: Mandate | None = None
    card_id: Annotated[CardId | None, Field(description="A kept card pays; nothing is keyed.")] = None


class CardCheckBody(Body):
    """An account check: the bank is asked about the card, no money moves."""

    currency: Currency
    reference: Reference
    purpose: Purpose
    customer: Customer | None = None
    mandate: Mandate | None = None


class KeptCardPaymentBody(DueBody):
    """A payment by a kept card with nobody on the line; the mandate must allow it."""

    customer: Customer
    card_id: CardId


class SettleBody(Body):
    """What is taken of a held amount."""

    amount_minor: Annotated[AmountMinor | None, Field(description="Left out: all of it.")] = None


class VoidBody(Body):
    """Why a held amount is given back."""

    reason: StepReason = "requested"


class RefundBody(SettleBody):
    """What is given back of a settled payment, and why."""

    reason: StepReason = "requested"


class ReceiptBody(Body):
    """Where the receipts of a payment go."""

    medium: Annotated[Medium, Field(strict=False)]
    to: Annotated[
        str,
        Field(
            min_length=3,
            max_length=254,
            description="An e-mail address, or a number with its country: +4915112345678.",
        ),
        AfterValidator(_no_pan_but_a_number),
    ]
    language: Annotated[
        Language | None,
        Field(description="Left out: the call's.", json_schema_extra={"enum": [*languages(), None]}),
    ] = None


class SearchBody(Body):
    """Which payments are looked for: every criterion that is given must fit."""

    reference: Reference | None = None
    receipt: Annotated[str, Field(pattern=r"^[0-9 ]{1,20}$")] | None = None
    customer: Customer | None = None
    call_id: Annotated[str, Field(pattern=r"^call_[A-Za-z0-9_-]{1,64}$")] | None = None
    state: Annotated[PaymentState | None, Field(strict=False)] = None
    before: Annotated[str, Field(max_length=128, description="The `next` of the page before.")] = ""
    limit: Annotated[int, Field(ge=1, le=SEARCH_LIMIT_MAX)] = 20


class CustomerBody(Body):
    """Whose cards; in a body, because addresses of requests end up in other people's logs."""

    customer: Customer


class PaymentCodeBody(DueBody):
    """A payment that a caller opens himself with an eight-digit code."""

    valid_s: Annotated[int, Field(ge=60, le=CODE_VALID_S_MAX, description="Seconds until the code runs out.")]


class RekeyBody(Body):
    """The field that the caller keys again."""

    field: Literal["pan", "expiry", "cvv"]


class TalkBody(Body):
    """Pause the capture so that both can talk, or go on."""

    on: bool


class LinkBody(Body):
    """Where the link goes: an address that the caller says, kept nowhere."""

    channel: Literal["email", "sms"]
    to: Annotated[
        str,
        Field(min_length=3, max_length=254, description="name@example.com, or +4915112345678."),
        AfterValidator(_no_pan_but_a_number),
    ]


class Answer(BaseModel):
    """What leaves."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AgentAnswer(Answer):
    """Who is logged in, and what this desk can do for him."""

    agent_id: str
    tenant: str
    tenant_name: str
    language: str
    languages: tuple[str, ...]
    currencies: tuple[str, ...]
    purposes: tuple[str, ...]
    channels: tuple[str, ...]
    """How a payment link can be sent; empty when it cannot."""
    media: tuple[str, ...]
    """How receipts can be sent: email, sms."""
    may: tuple[str, ...]
    """Permissions: `settle` and `refund` open the payments of others."""


class CallAnswer(Answer):
    """One call."""

    call_id: str
    state: str
    flow: str
    mine: bool
    """True when you are the agent on this call: only then may you take a payment."""
    caller: str
    did: str
    language: str
    started_at: str
    speaking: bool
    keying_outside_capture: bool
    audio_lost: bool
    """Nothing is heard of the caller just now: the line has gaps, or media is being restarted."""
    ended_reason: str | None
    context: dict[str, str]
    """What the self-service knew before you came: `language`, `member` (id), `topic`, `tried`; only on your
    own calls."""


class CallsAnswer(Answer):
    """Live calls of your tenant, oldest first."""

    calls: tuple[CallAnswer, ...]


class FieldAnswer(Answer):
    """One field as it may be shown: how many digits, never which."""

    field: str
    state: str
    digits: int
    problem: str | None
    problem_text: str | None


class DeclineAnswer(Answer):
    """Why the bank said no, in words for the agent and words for the caller."""

    reason: str
    reason_text: str
    """In the agent's language."""
    say_text: str
    """What to say, in the caller's language."""
    next_step: str
    next_step_text: str
    retry_allowed: bool


class PaymentAnswer(Answer):
    """One payment, complete by itself."""

    payment_id: str
    call_id: str
    state: str
    state_text: str
    amount_minor: int
    currency: str
    reference: str
    purpose: str
    version: int
    attempt: int
    attempts_left: int
    capture_live: bool
    secure: bool
    talking: bool
    fields: tuple[FieldAnswer, ...]
    brand: str | None
    last4: str | None
    decline: DeclineAnswer | None
    receipt: str | None
    created_at: str
    agent_id: str | None
    sca_basis: str
    settle_later: bool
    paid: bool
    """The bank has said yes, and the money or a part of it has stayed."""
    settled_minor: int
    refunded_minor: int
    hold_until: str
    """When an authorisation lapses, UTC; empty when nobody said."""
    step: str | None
    """The money step under way: settle, void or refund."""
    checking: bool
    """The outcome of a charge or a step is being looked up: do not retry."""
    link: str | None
    """How far the payment's newest link is."""
    link_text: str | None
    link_until: str
    """When it runs out, UTC."""


class AttemptAnswer(Answer):
    """One try at a payment."""

    attempt: int
    state: str
    state_text: str
    decline: str | None
    decline_text: str | None
    sca_basis: str
    started_at: str
    ended_at: str | None


class StepAnswer(Answer):
    """One money step of a payment."""

    step: str
    number: int
    amount_minor: int
    state: str
    by: str
    """Who asked for it: `agent:…`, `key:…` or `system:…`."""
    reason: str
    started_at: str
    ended_at: str | None


class HistoryAnswer(Answer):
    """Everything that was tried with one payment, oldest first, and what you may do with it now."""

    payment: PaymentAnswer
    attempts: tuple[AttemptAnswer, ...]
    steps: tuple[StepAnswer, ...]
    actions: tuple[str, ...]
    """Of settle, void, refund: those that the payment's state and your permissions allow."""


class PageAnswer(Answer):
    """Payments that were looked for, newest first."""

    payments: tuple[PaymentAnswer, ...]
    next: str
    """For `before`; empty when there are no more."""


class CardAnswer(Answer):
    """One kept card; who has this id can neither read nor use the card elsewhere."""

    card_id: str
    brand: str
    last4: str
    expiry_month: int
    expiry_year: int
    mandate: str
    consented_at: str


class CardsAnswer(Answer):
    """A customer's kept cards that can pay."""

    cards: tuple[CardAnswer, ...]


class ReceiptsAnswer(Answer):
    """How far the receipts of a payment are, oldest first: waiting, sent or failed."""

    states: tuple[str, ...]


class DeliveryAnswer(Answer):
    """One outgoing webhook."""

    delivery_id: str
    endpoint_id: str
    event_id: str
    type: str
    payment_id: str
    state: str
    tries: int
    problem: str
    """Why the last try failed; empty when none did."""
    made_at: str


class DeliveriesAnswer(Answer):
    """Outgoing webhooks that were tried for a day in vain, newest first."""

    deliveries: tuple[DeliveryAnswer, ...]


class CallDetailAnswer(Answer):
    """One call with its payments, oldest first; the payments are empty when the call is not yours."""

    call: CallAnswer
    payments: tuple[PaymentAnswer, ...]


class PaymentCodeAnswer(Answer):
    """The code to print on the invoice; shown once."""

    code: str
    expires_at: str


class LabelsAnswer(Answer):
    """Every text of the console in one language."""

    language: str
    labels: dict[str, str]


class TakenAnswer(Answer):
    """The webhook is stored."""

    new: bool
    """False: it was known."""


class HealthAnswer(Answer):
    """This node answers."""

    status: Literal["ok"]


class FieldProblemAnswer(Answer):
    """One wrong field of a body."""

    field: str
    problem: str


class ProblemAnswer(Answer):
    """RFC 9457 with a code, the next step, and whether the same request may be repeated."""

    type: str
    title: str
    status: int
    code: str
    next_step: str
    retryable: bool
    detail: str | None = None
    fields: tuple[FieldProblemAnswer, ...] = ()
