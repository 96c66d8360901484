"""What enters and leaves the desk as JSON: pydantic models, strict on the way in, complete on the way out.

OpenAPI 3.1 is made from these models (`openapi.py`), so the document cannot differ from the check. Text that
an agent types may by mistake hold a PAN; it is refused here, before anything else sees it (PCI DSS 3.4.1).
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from audit.outbox import holds_pan
from pay_ivr.tenants import USER_PATTERN

AMOUNT_MINOR_MAX = 99_999_999_999
"""Schema bound only, so that no number overflows a column; the tenant's own limit is the vault's business."""
REFERENCE_MAX = 40
"""Longest reference we have seen on invoices is 27; it is spoken and printed, so not longer."""
CODE_VALID_S_MAX = 7 * 24 * 3600
"""A payment code lives at most a week: it has only eight digits."""

_RUN = re.compile(r"\d(?:[ ./#_-]?\d){12,}")
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


class Nothing(Body):
    """An empty object: the action needs no more than its address."""


class LoginBody(Body):
    """A login; `new_password` only when the one-time password must be changed."""

    user: UserName
    password: Annotated[str, Field(min_length=1, max_length=128)]
    new_password: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class PaymentBody(Body):
    """What the caller will pay, agreed before he is asked to key."""

    amount_minor: AmountMinor
    currency: Currency
    reference: Reference
    purpose: Purpose


class PaymentCodeBody(PaymentBody):
    """A payment that a caller opens himself with an eight-digit code."""

    valid_s: Annotated[int, Field(ge=60, le=CODE_VALID_S_MAX, description="Seconds until the code runs out.")]


class RekeyBody(Body):
    """The field that the caller keys again."""

    field: Literal["pan", "expiry", "cvv"]


class TalkBody(Body):
    """Pause the capture so that both can talk, or go on."""

    on: bool


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
