"""What a payment may do: one table of states, the rules for a new one, the meaning of a decline.

Pure: no clock, no database, no socket. Reference: the moves of a card payment without a card present, as
every acquirer keeps them; declines by the published codes of card issuers, told to an agent only as far as
he may know (fraud, lost and stolen are GENERIC on purpose). This file owns the legal moves; an illegal one
raises `Refused`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from audit.outbox import holds_pan
from vault.currency import MINOR_DIGITS
from vault.door import Decline, DeclineReason, Field, NewPayment, NextStep, PaymentState, Refused
from vault.providers.base import Outcome, OutcomeKind

ATTEMPTS_MAX = 3
"""Card networks charge for more tries with the same card; three is also what a caller bears."""
AMOUNT_MAX_MINOR = 99_999_999
"""Largest amount any provider we know takes in one payment, in minor units; a tenant's own limit is below."""
REFERENCE_MAX = 64
"""Characters of a merchant's reference: what statements of account print at most."""
RECEIPT_DIGITS = 9
"""Digits of a receipt number with its check digit: short enough to be spoken and written down."""

S = PaymentState


class Move(StrEnum):
    """What can happen to a payment."""

    CAPTURE = "capture"
    REKEY = "rekey"
    COMPLETE = "complete"
    CHARGE = "charge"
    AUTHORISE = "authorise"
    DECLINE = "decline"
    DOUBT = "doubt"
    REFER = "refer"
    CANCEL = "cancel"
    EXPIRE = "expire"
    SETTLE = "settle"
    VOID = "void"
    LAPSE = "lapse"
    """The hold of a pre-authorisation has run out at the bank."""
    PART_REFUND = "part_refund"
    REFUND = "refund"
    """All that was settled has gone back."""
    CHECK = "check"
    """The bank has said yes to an account check; no money moves."""
    LINK = "link"
    """A page of the provider can be paid; nothing is keyed any more."""


TABLE: Mapping[tuple[PaymentState, Move], PaymentState] = MappingProxyType(
    {
        (S.CREATED, Move.CAPTURE): S.CAPTURING,
        (S.CREATED, Move.COMPLETE): S.READY,
        (S.CREATED, Move.CANCEL): S.CANCELLED,
        (S.CREATED, Move.EXPIRE): S.EXPIRED,
        (S.CAPTURING, Move.REKEY): S.CAPTURING,
        (S.CAPTURING, Move.COMPLETE): S.READY,
        (S.CAPTURING, Move.CANCEL): S.CANCELLED,
        (S.CAPTURING, Move.EXPIRE): S.EXPIRED,
        (S.READY, Move.REKEY): S.CAPTURING,
        (S.READY, Move.CHARGE): S.AUTHORISING,
        (S.READY, Move.CANCEL): S.CANCELLED,
        (S.READY, Move.EXPIRE): S.EXPIRED,
        (S.AUTHORISING, Move.AUTHORISE): S.AUTHORISED,
        (S.AUTHORISING, Move.DECLINE): S.DECLINED,
        (S.AUTHORISING, Move.DOUBT): S.UNKNOWN,
        (S.AUTHORISING, Move.REFER): S.NEEDS_ACTION,
        (S.AUTHORISING, Move.CHECK): S.CHECKED,
        (S.UNKNOWN, Move.AUTHORISE): S.AUTHORISED,
        (S.UNKNOWN, Move.DECLINE): S.DECLINED,
        (S.UNKNOWN, Move.REFER): S.NEEDS_ACTION,
        (S.UNKNOWN, Move.VOID): S.VOIDED,
        (S.DECLINED, Move.CAPTURE): S.CAPTURING,
        (S.DECLINED, Move.REKEY): S.CAPTURING,
        (S.AUTHORISED, Move.SETTLE): S.SETTLED,
        (S.AUTHORISED, Move.VOID): S.VOIDED,
        (S.AUTHORISED, Move.LAPSE): S.VOIDED,
        (S.SETTLED, Move.PART_REFUND): S.SETTLED,
        (S.SETTLED, Move.REFUND): S.REFUNDED,
        (S.CREATED, Move.LINK): S.LINKED,
        (S.CAPTURING, Move.LINK): S.LINKED,
        (S.READY, Move.LINK): S.LINKED,
        (S.DECLINED, Move.LINK): S.LINKED,
        (S.NEEDS_ACTION, Move.LINK): S.LINKED,
        (S.LINKED, Move.AUTHORISE): S.AUTHORISED,
        (S.LINKED, Move.CANCEL): S.CANCELLED,
        (S.LINKED, Move.EXPIRE): S.EXPIRED,
    }
)

HOLDING_REFERENCE = (
    S.CREATED, S.CAPTURING, S.READY, S.AUTHORISING, S.UNKNOWN, S.AUTHORISED, S.SETTLED, S.LINKED,
)  # fmt: skip
"""States in which a payment owns its merchant reference: money may move, or has moved and stayed."""
UNRESOLVED = (S.AUTHORISING, S.UNKNOWN)
"""States in which a charge is under way: no second attempt, and after a restart the result is fetched."""

_ILLEGAL: Mapping[Move, tuple[str, str]] = {
    Move.CAPTURE: ("not_capturable", "This payment takes no card any more. Create a new payment."),
    Move.REKEY: ("not_rekeyable", "There is no field to key again now. Look at the payment's state first."),
    Move.CHARGE: ("not_ready", "Charge is possible when all fields are complete. Wait for the state ready."),
    Move.CANCEL: ("not_cancellable", "The charge is under way or done. Wait for the result."),
    Move.SETTLE: ("not_settleable", "Only an authorised payment can be settled. Look at its state."),
    Move.VOID: ("not_voidable", "Only an authorised payment can be voided. Refund a settled one."),
    Move.PART_REFUND: ("not_refundable", "Only a settled payment can be refunded. Void an authorised one."),
    Move.REFUND: ("not_refundable", "Only a settled payment can be refunded. Void an authorised one."),
    Move.LINK: ("not_linkable", "This payment takes no link any more. Look at its state."),
}
_NEW_ATTEMPT = frozenset({Move.CAPTURE, Move.REKEY, Move.CHARGE, Move.CANCEL})
"""What an agent might press while the outcome of a charge is unknown."""


def after(state: PaymentState, move: Move) -> PaymentState:
    """The state after `move`; `Refused` when the table does not know the pair."""
    found = TABLE.get((state, move))
    if found is None:
        if state is S.UNKNOWN and move in _NEW_ATTEMPT:
            raise Refused("being_checked", "The outcome is being checked. Do not retry; wait for the result.")
        if state is S.LINKED and move in _NEW_ATTEMPT:
            raise Refused("link_open", "A link is open for this payment. Wait for it, or cancel the payment.")
        code, sentence = _ILLEGAL.get(move, ("illegal_move", "The payment's state does not allow this."))
        raise Refused(code, sentence)
    return found


def table_text() -> str:
    """The table as Markdown, one line per legal move, for people and for the documentation."""
    lines = [f"| {state} | {move} | {target} |" for (state, move), target in TABLE.items()]
    return "\n".join(("| state | move | next state |", "|---|---|---|", *lines))


def check_capture(state: PaymentState, attempt: int) -> None:
    """`Refused` when no card may be keyed for a payment in `state` after `attempt` tries."""
    after(state, Move.CAPTURE)
    if attempt >= ATTEMPTS_MAX:
        raise Refused("attempts_used", "All attempts are used. Offer another way to pay.")


@dataclass(frozen=True)
class Terms:
    """What one tenant allows, as `vault/tenant.py` read it."""

    currencies: tuple[str, ...]
    amount_max_minor: int
    purposes: tuple[str, ...]
    sca_agent: str
    unattended: bool
    merchant_initiated: bool = False
    """Payments by a kept card with nobody on the line (`mit`)."""
    links: bool = False
    """Payments by a link, where the bank asks the customer itself (`link_3ds`)."""


_CALL_ID = re.compile(r"call_[A-Za-z0-9_\-]{1,64}")
_LEG_ID = re.compile(r"leg_[A-Za-z0-9_\-]{1,64}")
_AGENT_ID = re.compile(r"[A-Za-z0-9_.@\-]{1,64}")
_CUSTOMER = re.compile(r"[A-Za-z0-9_.@\-]{1,64}")
_MANDATE = re.compile(r"[a-z][a-z0-9_\-]{0,47}")
_CARD_ID = re.compile(r"card_[a-z]{1,64}")


def check_new(new: NewPayment, terms: Terms | None) -> None:
    """`Refused` with a code and the next step when a payment may not be created like this."""
    if terms is None:
        raise Refused("tenant_unknown", "No such tenant. Check the tenant's name.")
    _check_ids(new)
    _check_amount(new, terms)
    _check_reference(new, terms)
    _check_basis(new, terms)
    _check_card(new)


def _check_ids(new: NewPayment) -> None:
    nobody_on_the_line = new.sca_basis == "mit" and not new.call_id and not new.leg_id
    if nobody_on_the_line:
        return
    if not _CALL_ID.fullmatch(new.call_id) or not _LEG_ID.fullmatch(new.leg_id):
        raise Refused("id_malformed", "Name the call and the caller's leg by their ids.")
    agent_id = new.agent_id
    if agent_id is not None and (not _AGENT_ID.fullmatch(agent_id) or holds_pan(agent_id)):
        raise Refused("id_malformed", "Name the agent by his id.")


def _check_amount(new: NewPayment, terms: Terms) -> None:
    if new.currency not in MINOR_DIGITS:
        raise Refused("currency_unknown", "Use an ISO 4217 code in capitals, such as EUR.")
    if new.currency not in terms.currencies:
        raise Refused("currency_not_offered", "This tenant does not take that currency. Choose another.")
    if type(new.amount_minor) is not int:
        raise Refused("amount_malformed", "Give the amount as an integer of the currency's minor unit.")
    if new.check_only and new.amount_minor != 0:
        raise Refused("amount_malformed", "An account check has the amount zero.")
    if new.amount_minor == 0 and not new.check_only:
        raise Refused("amount_zero", "Enter an amount above zero.")
    if new.amount_minor < 0:
        raise Refused("amount_negative", "Enter an amount above zero; money goes back as a refund.")
    if new.amount_minor > min(terms.amount_max_minor, AMOUNT_MAX_MINOR):
        raise Refused("amount_too_large", "The amount is above this tenant's limit. Split it or lower it.")


def _check_reference(new: NewPayment, terms: Terms) -> None:
    if new.purpose not in terms.purposes:
        raise Refused("purpose_unknown", "Choose one of the tenant's purposes.")
    text = new.reference
    if not text.strip() or len(text) > REFERENCE_MAX or not text.isprintable():
        raise Refused(
            "reference_malformed", f"Give a reference of 1 to {REFERENCE_MAX} printable characters."
        )
    if holds_pan(text):
        raise Refused("reference_forbidden", "The reference looks like a PAN. Use the booking's own number.")


def _check_basis(new: NewPayment, terms: Terms) -> None:
    if new.sca_basis not in {terms.sca_agent, "moto_unattended", "link_3ds", "mit"}:
        raise Refused("sca_basis_missing", "Name the basis on which strong authentication is not asked for.")
    if new.sca_basis == "moto_unattended" and not terms.unattended:
        raise Refused("unattended_off", "This tenant takes no payment without an agent. Connect an agent.")
    if new.sca_basis == "link_3ds" and not terms.links:
        raise Refused("links_off", "This tenant sends no payment links. Choose another way to pay.")
    if new.sca_basis == "mit" and not terms.merchant_initiated:
        raise Refused("mit_off", "This tenant takes no payment without the customer. Call the customer.")
    if new.sca_basis == "moto_agent" and new.agent_id is None:
        raise Refused("agent_missing", "Name the agent who is on the call.")


def _check_card(new: NewPayment) -> None:
    """Keeping a card, and paying by a kept one."""
    if new.customer and (not _CUSTOMER.fullmatch(new.customer) or holds_pan(new.customer)):
        raise Refused("customer_malformed", "Name the customer by the merchant's own id.")
    if (new.mandate or new.card_id) and not new.customer:
        raise Refused("customer_missing", "Name the customer whose card it is.")
    if new.mandate and not _MANDATE.fullmatch(new.mandate):
        raise Refused("mandate_malformed", "Name the text that the customer agreed to by its id.")
    if new.card_id and not _CARD_ID.fullmatch(new.card_id):
        raise Refused("card_unknown", "No such card. List the customer's cards.")
    if new.sca_basis == "mit" and not new.card_id:
        raise Refused("card_missing", "Name the kept card that pays.")
    if (new.card_id and new.mandate) or (new.check_only and (new.settle_later or new.card_id)):
        raise Refused("options_contradict", "These options exclude each other. Leave one of them out.")


_FUNDS = (DeclineReason.FUNDS, NextStep.OTHER_CARD)
_PAN = (DeclineReason.PAN_WRONG, NextStep.REKEY_PAN)
_EXPIRY = (DeclineReason.EXPIRY_WRONG, NextStep.REKEY_EXPIRY)
_CVV = (DeclineReason.CVV_WRONG, NextStep.REKEY_CVV)
_TEMPORARY = (DeclineReason.TEMPORARY, NextStep.REKEY_CVV)
_ONLINE = (DeclineReason.ONLINE_CONFIRMATION, NextStep.OTHER_CARD)
_GENERIC = (DeclineReason.GENERIC, NextStep.OTHER_CARD)

DECLINES: Mapping[str, tuple[DeclineReason, NextStep]] = MappingProxyType(
    {
        "insufficient_funds": _FUNDS,
        "withdrawal_count_limit_exceeded": _FUNDS,
        "card_velocity_exceeded": _FUNDS,
        "incorrect_number": _PAN,
        "invalid_number": _PAN,
        "expired_card": _EXPIRY,
        "invalid_expiry_month": _EXPIRY,
        "invalid_expiry_year": _EXPIRY,
        "incorrect_cvc": _CVV,
        "invalid_cvc": _CVV,
        "processing_error": _TEMPORARY,
        "issuer_not_available": _TEMPORARY,
        "try_again_later": _TEMPORARY,
        "never_sent": _TEMPORARY,
        "authentication_required": _ONLINE,
    }
)
"""Raw code -> what the agent is told and what a retry needs; others are GENERIC with another card."""


def decline_of(raw_code: str, advice: str, attempt: int) -> Decline:
    """The decline of try number `attempt`, as an agent may know it."""
    reason, next_step = DECLINES.get(raw_code, _GENERIC)
    if advice == "do_not_try_again":
        next_step = NextStep.OTHER_CARD
    decline = Decline(reason, next_step, retry_allowed=True)
    if attempt >= ATTEMPTS_MAX:
        return replace(decline, next_step=NextStep.NOTHING, retry_allowed=False)
    return decline


def move_of(outcome: Outcome) -> Move:
    """What an outcome means for the payment; NEVER_SENT is a decline that only asks to try again."""
    return {
        OutcomeKind.AUTHORISED: Move.AUTHORISE,
        OutcomeKind.DECLINED: Move.DECLINE,
        OutcomeKind.NEVER_SENT: Move.DECLINE,
        OutcomeKind.REQUIRES_ACTION: Move.REFER,
        OutcomeKind.UNKNOWN: Move.DOUBT,
    }[outcome.kind]


def field_to_rekey(step: NextStep) -> Field | None:
    """The field a retry opens first; None when it needs another card from the beginning."""
    return {
        NextStep.REKEY_PAN: Field.PAN,
        NextStep.REKEY_EXPIRY: Field.EXPIRY,
        NextStep.REKEY_CVV: Field.CVV,
    }.get(step)


def attempt_key(payment_id: str, attempt: int) -> str:
    """The provider's idempotency key of one attempt: derived, so that a restart can never choose another."""
    return f"{payment_id}:authorise:{attempt}"


def receipt_number(entropy: int) -> str:
    """A receipt number of `RECEIPT_DIGITS` digits from any integer; the last one is its Luhn check digit."""
    body = f"{entropy % 10 ** (RECEIPT_DIGITS - 1):0{RECEIPT_DIGITS - 1}d}"
    return body + str(-_luhn_sum(body + "0") % 10)


def _luhn_sum(digits: str) -> int:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return sum(map(int, digits[-1::-2])) + sum(doubled)
