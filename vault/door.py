"""The types that cross the vault's wall, in both directions.

Nothing here can hold a PAN, a CVV or a key: counts, states, brand and last 4 only (PCI DSS 3.4.1).
This file owns the words of the door; `vault/client.py` carries them, `vault/payment.py` gives them meaning.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class PaymentState(StrEnum):
    """Where a payment stands; the legal moves are one table in `vault/payment.py`."""

    CREATED = "created"
    CAPTURING = "capturing"
    READY = "ready"
    AUTHORISING = "authorising"
    AUTHORISED = "authorised"
    DECLINED = "declined"
    UNKNOWN = "unknown"
    NEEDS_ACTION = "needs_action"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SETTLED = "settled"
    VOIDED = "voided"
    REFUNDED = "refunded"
    CHECKED = "checked"
    LINKED = "linked"
    """A link is open: the payer pays on the provider's page, nobody keys."""


PAID = frozenset({PaymentState.AUTHORISED, PaymentState.SETTLED})
"""The bank has said yes and the money has not gone back: what everybody means by "it worked"."""


class StepName(StrEnum):
    """A money step after the authorisation."""

    SETTLE = "settle"
    VOID = "void"
    REFUND = "refund"


class StepState(StrEnum):
    """How far a money step is."""

    UNDER_WAY = "under_way"
    UNKNOWN = "unknown"
    DONE = "done"
    REFUSED = "refused"


class LinkState(StrEnum):
    """How far a payment's link is."""

    MAKING = "making"
    """Asked of the provider; nobody knows the page's address yet."""
    MADE = "made"
    OPENED = "opened"
    """Somebody, or a mail program's scanner, has looked at the page."""
    DECLINED = "declined"
    """The bank has said no on the page; another card may be tried there."""
    CLOSING = "closing"
    """Cancelled or run out; whether it was paid before that is being asked."""
    PAID = "paid"
    EXPIRED = "expired"
    CLOSED = "closed"
    FAILED = "failed"
    """The provider gave no page; nobody was sent anything."""


class LinkAnswer(StrEnum):
    """What can be pressed on a page that the node itself serves (sandbox)."""

    APPROVE = "approve"
    DECLINE = "decline"
    CHALLENGE = "challenge"
    """The bank asks for a confirmation; approve or decline comes after it."""


class Field(StrEnum):
    """One thing the caller keys. CONFIRM is the single key 1 that stands in for a lost agent."""

    PAN = "pan"
    EXPIRY = "expiry"
    CVV = "cvv"
    CONFIRM = "confirm"


class FieldState(StrEnum):
    """How far one field is."""

    WAITING = "waiting"
    OPEN = "open"
    COMPLETE = "complete"


class FieldProblem(StrEnum):
    """Why a keyed field was refused; each has a spoken sentence and a console label."""

    TOO_SHORT = "too_short"
    LUHN = "luhn"
    UNKNOWN_BRAND = "unknown_brand"
    BAD_MONTH = "bad_month"
    EXPIRED = "expired"
    TOO_FAR = "too_far"
    NO_INPUT = "no_input"
    REFUSED_BY_PROVIDER = "refused_by_provider"
    CONFIRM_REFUSED = "confirm_refused"


class DeclineReason(StrEnum):
    """What an agent may be told (reference 04 §1.6); fraud, lost and stolen are GENERIC on purpose."""

    FUNDS = "funds"
    PAN_WRONG = "pan_wrong"
    EXPIRY_WRONG = "expiry_wrong"
    CVV_WRONG = "cvv_wrong"
    TEMPORARY = "temporary"
    ONLINE_CONFIRMATION = "online_confirmation"
    GENERIC = "generic"


class NextStep(StrEnum):
    """What a retry asks the caller for."""

    REKEY_PAN = "rekey_pan"
    REKEY_EXPIRY = "rekey_expiry"
    REKEY_CVV = "rekey_cvv"
    OTHER_CARD = "other_card"
    NOTHING = "nothing"


class Why(StrEnum):
    """What just happened to a payment; every `PaymentChanged` carries exactly one."""

    CREATED = "created"
    CAPTURE_OPENED = "capture_opened"
    FIELD_OPENED = "field_opened"
    KEY = "key"
    FIELD_CLEARED = "field_cleared"
    FIELD_PROBLEM = "field_problem"
    FIELD_COMPLETE = "field_complete"
    NO_INPUT = "no_input"
    HELP_ASKED = "help_asked"
    TALK_STARTED = "talk_started"
    TALK_ENDED = "talk_ended"
    TIME_WARNING = "time_warning"
    CAPTURE_RESTARTED = "capture_restarted"
    READY = "ready"
    CONFIRMED = "confirmed"
    CHARGING = "charging"
    AUTHORISED = "authorised"
    DECLINED = "declined"
    UNKNOWN = "unknown"
    NEEDS_ACTION = "needs_action"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    CHECKED = "checked"
    STEP_STARTED = "step_started"
    STEP_REFUSED = "step_refused"
    STEP_UNKNOWN = "step_unknown"
    SETTLED = "settled"
    VOIDED = "voided"
    REFUNDED = "refunded"
    HOLD_LAPSED = "hold_lapsed"
    LINK_MADE = "link_made"
    LINK_OPENED = "link_opened"
    LINK_DECLINED = "link_declined"
    LINK_CLOSING = "link_closing"


@dataclass(frozen=True)
class NewPayment:
    """What the desk or a flow must say before a caller can be asked to key."""

    tenant: str
    call_id: str
    leg_id: str
    """The caller's leg: the one whose keys are captured."""
    amount_minor: int
    """Minor units of `currency`: 1995 with EUR is 19.95 €, 500 with JPY is ¥500."""
    currency: str
    """ISO 4217, upper case."""
    reference: str
    purpose: str
    """One of the tenant's list."""
    sca_basis: str
    """`moto_agent`, `moto_unattended`, `link_3ds` or `mit`; an attempt without one is refused."""
    agent_id: str | None = None
    """None when no agent is on the call."""
    settle_later: bool = False
    """True: a pre-authorisation; the money is held until it is settled, voided, or the hold lapses."""
    check_only: bool = False
    """True: an account check; `amount_minor` is 0 and no money moves."""
    customer: str = ""
    """The merchant's own name of the customer; needed to keep a card and to pay by a kept one."""
    mandate: str = ""
    """Id of the text that the customer agreed to; with it the card is kept when the bank says yes."""
    card_id: str = ""
    """A kept card pays: nothing is keyed. With `mit` nobody needs to be on the line."""
    caller_number: str = ""
    """As the trunk gave it, empty when withheld; counted as a keyed hash, never stored."""


@dataclass(frozen=True)
class FieldProgress:
    """One field as everybody outside the cell may know it."""

    field: Field
    state: FieldState
    digits: int = 0
    """How many digits are in the field now; never which."""
    problem: FieldProblem | None = None


@dataclass(frozen=True)
class Decline:
    """A decline is a value: what to say, and what a retry needs."""

    reason: DeclineReason
    next_step: NextStep
    retry_allowed: bool


@dataclass(frozen=True)
class Payment:
    """A payment as the desk sees it; a snapshot, complete by itself."""

    payment_id: str
    tenant: str
    call_id: str
    leg_id: str
    agent_id: str | None
    state: PaymentState
    amount_minor: int
    currency: str
    reference: str
    purpose: str
    version: int
    """Grows with every stored change."""
    attempt: int = 0
    """0 before the first charge; at most `ATTEMPTS_MAX` in vault/payment.py, and one more by link."""
    attempts_left: int = 3
    capture_live: bool = False
    """True while a cell lives for this payment."""
    secure: bool = False
    """True while media has confirmed SECURE: not one caller sample reaches the agent."""
    talking: bool = False
    """True while the TALK gate is on (at most 15 s)."""
    fields: tuple[FieldProgress, ...] = ()
    brand: str | None = None
    last4: str | None = None
    decline: Decline | None = None
    receipt: str | None = None
    """Receipt number, spoken digit by digit; set when authorised."""
    created_at: str = ""
    """UTC, ISO 8601 with milliseconds."""
    updated_at: str = ""
    """When `version` was stored: in a state without a way out, its end."""
    sca_basis: str = ""
    settle_later: bool = False
    settled_minor: int = 0
    """What the customer has really paid; below `amount_minor` after a partial settle."""
    refunded_minor: int = 0
    """What has gone back of it."""
    hold_until: str = ""
    """When an authorisation lapses, UTC, as the provider said; empty when it did not."""
    step: StepName | None = None
    """The money step under way; no other one is taken until it has ended."""
    step_unknown: bool = False
    """True while the step's outcome is being checked."""
    link: LinkState | None = None
    """How far the payment's newest link is."""
    link_until: str = ""
    """When it runs out, UTC."""

    @property
    def paid(self) -> bool:
        """True when the bank has said yes and the money, or a part of it, has stayed."""
        return self.state in PAID


@dataclass(frozen=True)
class Attempt:
    """One try at a payment, as its history shows it; the provider's raw codes stay in the vault."""

    attempt: int
    state: PaymentState
    """What it came to."""
    decline: DeclineReason | None
    sca_basis: str
    started_at: str
    ended_at: str | None


@dataclass(frozen=True)
class Step:
    """One money step of a payment, as its history shows it."""

    name: StepName
    number: int
    """Counts the steps of this name, from 1."""
    amount_minor: int
    state: StepState
    by: str
    """Who asked for it: an agent's id, a key's id, or `system`."""
    reason: str
    started_at: str
    ended_at: str | None


@dataclass(frozen=True)
class History:
    """Everything that was tried with one payment, oldest first."""

    payment: Payment
    attempts: tuple[Attempt, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Search:
    """Which payments of a tenant are looked for; empty texts ask for nothing."""

    tenant: str
    reference: str = ""
    call_id: str = ""
    receipt: str = ""
    customer: str = ""
    state: PaymentState | None = None
    before: str = ""
    """The `next` of the page before: the newest come first."""
    limit: int = 20


@dataclass(frozen=True)
class Page:
    """Some payments, newest first."""

    payments: tuple[Payment, ...]
    next: str = ""
    """For `Search.before`; empty when there are no more."""


@dataclass(frozen=True)
class CardOnFile:
    """A kept card as everybody outside the vault may know it."""

    card_id: str
    tenant: str
    customer: str
    brand: str
    last4: str
    expiry_month: int
    expiry_year: int
    """Four digits."""
    mandate: str
    """Id of the text that the customer agreed to."""
    consented_at: str
    """UTC, ISO 8601 with milliseconds."""


@dataclass(frozen=True)
class LinkPage:
    """What whoever holds a link's token may know."""

    tenant: str
    amount_minor: int
    currency: str
    reference: str
    language: str
    """As the caller was spoken to."""
    state: LinkState
    """MADE, OPENED and DECLINED can be paid; PAID, EXPIRED, CLOSED and CLOSING not."""
    url: str
    """The provider's page; empty when the node serves it, or when it cannot be paid any more."""

    @property
    def payable(self) -> bool:
        """True while the page takes a payment."""
        return self.state in {LinkState.MADE, LinkState.OPENED, LinkState.DECLINED}


@dataclass(frozen=True)
class PaymentChanged:
    """One step of one payment, with the snapshot after it."""

    seq: int
    """Grows by one per fact of one broker run."""
    why: Why
    payment: Payment
    field: Field | None = None
    problem: FieldProblem | None = None
    seconds_left: int | None = None
    """With TIME_WARNING and TALK_STARTED."""


class PinPurpose(StrEnum):
    """What a PIN is keyed for, and with it the fields that are asked for, in order."""

    VERIFY = "verify"
    """PIN: the caller is who he says."""
    SET = "set"
    """NEW, AGAIN: a first PIN, after an agent has identified the member by strong means."""
    CHANGE = "change"
    """PIN, NEW, AGAIN."""
    RESET = "reset"
    """CODE, NEW, AGAIN: the code was sent to the member, never to the agent."""


class PinField(StrEnum):
    """One thing that is keyed in a PIN entry."""

    PIN = "pin"
    CODE = "code"
    NEW = "new"
    AGAIN = "again"


class PinProblem(StrEnum):
    """Why what was keyed cannot be used; nothing of it was compared with anything."""

    TOO_SHORT = "too_short"
    MISMATCH = "mismatch"
    """NEW and AGAIN differ: NEW is asked for once more."""
    EASY = "easy"
    """A repetition, a run, or the birth date."""
    NO_INPUT = "no_input"


class PinResult(StrEnum):
    """How a PIN entry ended. A member who does not exist gets the same answers as one who does."""

    OK = "ok"
    WRONG = "wrong"
    """The PIN or the code is not the member's, or was tried too often from here: the answer is the same."""
    LOCKED = "locked"
    """Too many misses: only an agent's `unlock_pin` or a reset code helps."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Nothing was keyed for too long, or too much that cannot be used, or a process was lost: ask again."""


class PinWhy(StrEnum):
    """What just happened to a PIN entry; every `PinChanged` carries exactly one."""

    OPENED = "opened"
    FIELD_OPENED = "field_opened"
    KEY = "key"
    FIELD_CLEARED = "field_cleared"
    PROBLEM = "problem"
    NO_INPUT = "no_input"
    """The caller has been silent for a while: say again what is asked for."""
    HELP_ASKED = "help_asked"
    RESULT = "result"


@dataclass(frozen=True)
class NewPinEntry:
    """Whose PIN is keyed, and where."""

    tenant: str
    member_id: str
    """The member's id, or the stable decoy id of somebody who is none: both cost the same."""
    purpose: PinPurpose
    call_id: str = ""
    leg_id: str = ""
    """The caller's leg; empty for a sealed PIN."""
    caller_number: str = ""
    """As the trunk gave it, or what the web knows the asker by; counted as a keyed hash, never stored."""
    born: str = ""
    """ISO date of birth, only to refuse it as a PIN; empty when not known."""
    by: str = ""
    """Who identified the member, `agent:anna`; SET is refused without."""


@dataclass(frozen=True)
class PinEntry:
    """A PIN entry as everybody outside its cell may know it: counts, never a digit."""

    entry_id: str
    tenant: str
    member_id: str
    """Whose PIN; of nobody, who is asked like a member, a decoy."""
    call_id: str
    leg_id: str
    purpose: PinPurpose
    field: PinField | None
    """The field that takes keys now."""
    digits: int
    """How many digits are in it; never which."""
    secure: bool
    """True while media has confirmed SECURE: not one caller sample reaches the agent."""
    result: PinResult | None
    """None while it goes on."""


@dataclass(frozen=True)
class PinChanged:
    """One step of one PIN entry, with the snapshot after it."""

    seq: int
    """Grows by one per fact about PINs of one broker run."""
    why: PinWhy
    entry: PinEntry
    field: PinField | None = None
    problem: PinProblem | None = None
    """With PROBLEM."""


@dataclass(frozen=True)
class PinStanding:
    """What an agent may know about a member's PIN."""

    set: bool
    locked: bool
    misses: int
    """Wrong PINs since the last right one."""


@dataclass(frozen=True)
class PinSeal:
    """What a browser needs to seal a PIN for a cell."""

    key_id: str
    public_key: str
    """RSA 3072, SubjectPublicKeyInfo as base64: RSA-OAEP with SHA-256 (WebCrypto `RSA-OAEP`)."""
    challenge: str
    """16 bytes as base64; good for one use within 5 minutes."""


@dataclass(frozen=True)
class Remote:
    """Where a leg's peer wants its RTP, as negotiated in SDP."""

    ip: str
    port: int
    codec: str
    """`PCMU` or `PCMA`, 8 kHz, 20 ms."""
    payload_type: int
    event_types: tuple[tuple[int, int], ...] = ()
    """Negotiated telephone-event payload types with their clock rates in Hz (RFC 4733)."""
    direction: str = "sendrecv"
    """What WE may do, RFC 8866 §6.7: sendrecv, sendonly, recvonly, inactive."""
    source_ip: str = ""
    """Where the leg's SIP came from: the only foreign address that latching may take."""


@dataclass(frozen=True)
class MediaFact:
    """One thing the media process tells the app; never a card key (architecture §1, table)."""

    name: str
    """leg.latched, .keying, .speaking, .silent, .heard, .mode; play.done; collect.done; media.lost, .back."""
    leg_id: str
    values: dict[str, object] = field(default_factory=dict)
    """play.done: play_id, outcome finished|stopped|key. collect.done: collect_id, outcome, digits
    (at most `OPEN_DIGITS_MAX`). leg.speaking: on. leg.mode: mode. leg.silent: seconds; leg.heard: it is no
    longer silent."""


@dataclass(frozen=True)
class KeyLine:
    """One version of one key of the vault, as an operator may see it; never a byte of it."""

    name: str
    version: int
    newest: bool
    """True: what is made anew is made with it."""
    since: str
    """UTC, when this node first saw it."""
    check: str
    """A few letters by which two nodes can be compared."""
    uses: int
    """Rows that need it to be recognised; only the vault's own key has such."""


class VaultError(Exception):
    """Base of everything the vault refuses: `code` for programs, the sentence for people."""

    def __init__(self, code: str, sentence: str, *, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.retryable = retryable


class Refused(VaultError):
    """The caller of the door asked for something that the state or the policy forbids; nothing changed."""


class Unreachable(VaultError):
    """The broker or the media process did not answer; what was asked may or may not have happened."""
