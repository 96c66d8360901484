"""The catalogue of the log: every entry that may exist, and the fields each may carry.

One line here is how an entry is added. Names are `noun.noun.past_verb`. Values are integers and short words
from closed alphabets, so that nothing a caller or an agent typed can slip in; personal data does not belong
in an entry. PCI DSS 10.2.2 asks for user (`actor`), type (`name`), time (`at`), outcome, origin and the
affected resource (`subject`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from audit.guard import holds_pan

INTEGER_MAX = 10**12
"""Below 13 digits: no integer of an entry can hold a PAN."""


class Kind(StrEnum):
    """What a field may hold."""

    COUNT = "count"
    """An integer from 0 to `INTEGER_MAX`: counts, minor units of money, seconds."""
    WORD = "word"
    """Lower-case word of a closed list of the code, e.g. `too_short`."""
    WORDS = "words"
    """Such words joined by commas; may be empty."""
    CODE = "code"
    """ISO 4217 code, upper case."""
    LAST4 = "last4"
    """Four digits (PCI DSS 3.4.1 allows them)."""
    ID = "id"
    """One of our prefixed ids."""


_WORD = r"[a-z][a-z_]{0,47}"
_SHAPES: Mapping[Kind, re.Pattern[str]] = {
    Kind.WORD: re.compile(_WORD),
    Kind.WORDS: re.compile(rf"(?:{_WORD}(?:,{_WORD}){{0,31}})?"),
    Kind.CODE: re.compile(r"[A-Z]{3}"),
    Kind.LAST4: re.compile(r"[0-9]{4}"),
    Kind.ID: re.compile(r"[a-z]{2,8}_[A-Za-z0-9_\-]{1,64}"),
}
_ACTOR = re.compile(r"(?:agent|user|key):[A-Za-z0-9_.@\-]{1,64}|caller|(?:system|node):[a-z_]{1,32}")
_SUBJECT = re.compile(r"[A-Za-z0-9_.:@\-]{1,80}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9_\-]{0,39}|")
_CALL = re.compile(r"call_[A-Za-z0-9_\-]{1,64}|")
_ORIGIN = re.compile(r"[A-Za-z0-9_.:\-]{0,64}")
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_HEAD = MappingProxyType(
    {"at": _AT, "actor": _ACTOR, "subject": _SUBJECT, "tenant": _TENANT, "call_id": _CALL, "origin": _ORIGIN}
)
_ALWAYS_NEW = frozenset({"at", "subject"})
KNOWN_MAX = 1_000
"""Actors, tenants, calls and origins that are remembered as well-formed."""

_MONEY = {"amount_minor": Kind.COUNT, "currency": Kind.CODE}
_ATTEMPT = {"attempt": Kind.COUNT, **_MONEY}
_REASON = {"reason": Kind.WORD}
_STEP = {"step": Kind.WORD, "number": Kind.COUNT, "reason": Kind.WORD, **_MONEY}
_POINTS = {"account": Kind.ID, "points": Kind.COUNT}
_REDEMPTION = {
    "member": Kind.ID,
    "reward": Kind.ID,
    "kind": Kind.WORD,
    "points": Kind.COUNT,
    "channel": Kind.WORD,
}
_PAYOUT = {"member": Kind.ID, "points": Kind.COUNT, **_MONEY}

CATALOGUE: Mapping[str, Mapping[str, Kind]] = MappingProxyType(
    {
        # A payment's moves, written by the broker in the transaction of the move.
        "payment.intent.created": {
            **_MONEY,
            "purpose": Kind.WORD,
            "sca_basis": Kind.WORD,
            "provider": Kind.WORD,
        },
        "payment.intent.cancelled": {"by": Kind.WORD},
        "payment.intent.expired": _REASON,
        "payment.card.tokenised": {"brand": Kind.WORD, "last4": Kind.LAST4},
        "payment.card.presented": {"brand": Kind.WORD, "last4": Kind.LAST4},
        "payment.attempt.sent": {**_ATTEMPT, "sca_basis": Kind.WORD},
        "payment.attempt.authorised": _ATTEMPT,
        "payment.attempt.declined": {**_ATTEMPT, "reason": Kind.WORD, "next_step": Kind.WORD},
        "payment.attempt.referred": _ATTEMPT,
        "payment.attempt.lost": _ATTEMPT,
        "payment.attempt.limited": _REASON,
        "payment.card.barred": {"days": Kind.COUNT},
        "payment.card.kept": {"card": Kind.ID, "brand": Kind.WORD, "last4": Kind.LAST4},
        "card.file.forgotten": {"brand": Kind.WORD, "last4": Kind.LAST4},
        "card.file.erased": {},
        "payment.card.checked": _ATTEMPT,
        "payment.link.made": {**_ATTEMPT, "minutes": Kind.COUNT},
        "payment.link.renewed": {"sent": Kind.COUNT},
        "payment.link.opened": {},
        "payment.link.declined": {},
        "payment.link.closed": _REASON,
        # Money steps, and what moved: the amounts of one payment's entries add up to what the customer paid.
        "payment.step.sent": _STEP,
        "payment.step.refused": _STEP,
        "payment.step.lost": _STEP,
        "payment.money.settled": _MONEY,
        "payment.money.refunded": _MONEY,
        "payment.hold.voided": _MONEY,
        "payment.hold.lapsed": _MONEY,
        # The provider holds something else as true than we do.
        "payment.standing.differed": {"finding": Kind.WORD},
        "payment.orphan.voided": _MONEY,
        "payment.orphan.noticed": {"finding": Kind.WORD},
        "payment.notice.refused": {"provider": Kind.WORD, "reason": Kind.WORD, "count": Kind.COUNT},
        # What happened around a capture: who could hear what, when.
        "capture.cell.opened": {"field": Kind.WORD},
        "capture.cell.restarted": _REASON,
        "capture.field.rekeyed": {"field": Kind.WORD},
        "capture.talk.started": {"asked_by": Kind.WORD},
        "capture.amount.confirmed": _MONEY,
        # Calls and people.
        "call.offer.received": {"flow": Kind.WORD},
        "call.caller.answered": {},
        "call.agent.rung": {},
        "call.agent.refused": {},
        "call.bridge.opened": {},
        "call.agent.lost": {},
        "call.flow.resumed": {},
        "call.language.changed": {},
        "call.keys.noticed": {},
        "call.audio.lost": {},
        "call.audio.returned": {},
        "call.contact.ended": {"reason": Kind.WORD, "seconds": Kind.COUNT},
        "payment.code.issued": _MONEY,
        "payment.code.taken": {},
        "agent.user.added": {},
        "agent.user.removed": {},
        "agent.login.succeeded": {},
        "agent.login.failed": _REASON,
        "agent.login.locked": {},
        "agent.login.ended": {},
        "agent.password.changed": {},
        "agent.password.reset": {},
        "agent.access.denied": _REASON,
        "prompt.recording.imported": {"recording": Kind.ID, "milliseconds": Kind.COUNT},
        "prompt.recording.removed": {},
        "hook.endpoint.added": {},
        "hook.endpoint.removed": {},
        "agent.permission.granted": {"permission": Kind.WORD},
        "agent.permission.revoked": {"permission": Kind.WORD},
        "key.access.issued": {},
        "key.access.revoked": {},
        "key.loyalty.moved": {"version": Kind.COUNT, "members": Kind.COUNT, "codes": Kind.COUNT},
        "key.loyalty.refused": _REASON,
        "key.loyalty.retired": {"version": Kind.COUNT},
        "key.loyalty.rotated": {"version": Kind.COUNT},
        "key.vault.found": {"version": Kind.COUNT},
        "key.vault.lost": {"version": Kind.COUNT},
        "key.vault.made": {"version": Kind.COUNT},
        "key.vault.refused": {"reason": Kind.WORD},
        "key.vault.retired": {"version": Kind.COUNT},
        "key.vault.rotated": {"version": Kind.COUNT},
        # Members of a loyalty programme and their cards; who they are stands nowhere here.
        "member.profile.enrolled": {},
        "member.profile.changed": {"fields": Kind.WORDS, "messages": Kind.COUNT, **_REASON},
        "member.profile.locked": _REASON,
        "member.profile.unlocked": _REASON,
        "member.profile.closed": _REASON,
        "member.profile.exported": {},
        "member.profile.erased": {},
        "member.file.imported": {"enrolled": Kind.COUNT, "unchanged": Kind.COUNT, "refused": Kind.COUNT},
        "member.file.exported": {"members": Kind.COUNT},
        "card.member.locked": {"card": Kind.ID, **_REASON},
        "card.member.unlocked": {"card": Kind.ID, **_REASON},
        "card.member.replaced": {"card": Kind.ID, **_REASON},
        # Points for rewards and for money: how many moved, ledger.points.* tells in the same transaction.
        "redemption.reward.reserved": _REDEMPTION,
        "redemption.reward.done": _REDEMPTION,
        "redemption.reward.refused": _REDEMPTION,
        "redemption.reward.released": _REDEMPTION,
        "redemption.reward.reversed": _REDEMPTION,
        "redemption.order.ended": {"result": Kind.WORD, **_REASON},
        "voucher.stock.added": {"reward": Kind.ID, "count": Kind.COUNT},
        "payout.request.asked": _PAYOUT,
        "payout.request.released": _PAYOUT,
        "payout.request.refused": _PAYOUT,
        # A member's PIN: that it was tried and what came of it; how often stands in no entry.
        "pin.entry.opened": {"purpose": Kind.WORD},
        "pin.entry.accepted": {},
        "pin.entry.refused": {"purpose": Kind.WORD},
        "pin.entry.limited": {"purpose": Kind.WORD, **_REASON},
        "pin.entry.locked": {},
        "pin.entry.unlocked": {},
        "pin.entry.set": {},
        "pin.entry.changed": {},
        "pin.entry.reset": {},
        "pin.code.issued": {},
        "pin.entry.ended": {"purpose": Kind.WORD, **_REASON},
        "pin.entry.forgotten": {},
        # The points ledger: each booked command in the transaction of its journal, which is the subject.
        "ledger.points.earned": _POINTS,
        "ledger.points.held": {**_POINTS, "hold": Kind.ID},
        "ledger.points.released": {**_POINTS, "hold": Kind.ID},
        "ledger.points.redeemed": {**_POINTS, "contra": Kind.WORD},
        "ledger.points.reversed": {**_POINTS, "journal": Kind.ID, **_REASON},
        "ledger.points.expired": _POINTS,
        "ledger.points.adjusted": {**_POINTS, "direction": Kind.WORD, **_REASON},
        "ledger.points.moved": {**_POINTS, "target": Kind.ID, **_REASON},
        # The money books.
        "books.day.closed": {"items": Kind.COUNT},
        "books.item.explained": {"reason": Kind.WORD, "match": Kind.WORD},
        "books.run.finished": {"matched": Kind.COUNT, "differences": Kind.COUNT, "orphans": Kind.COUNT},
        # The machine's own state.
        "posture.zone.probed": {"weak": Kind.WORDS},
        "posture.tenant.refused": _REASON,
        "provider.tenant.refused": {"provider": Kind.WORD, **_REASON},
        "log.writer.started": {"size": Kind.COUNT},
        "log.writer.stopped": {"size": Kind.COUNT},
        "log.entry.refused": {"source": Kind.WORD, "seq": Kind.COUNT},
    }
)


class AuditError(Exception):
    """Base of everything the ear refuses."""

    code = "audit"
    retryable = False


class EntryError(AuditError):
    """An entry that the catalogue does not allow; the sentence names the field, never its value."""

    code = "entry_refused"


@dataclass(frozen=True)
class Entry:
    """One thing that happened, before it has an index. Building one checks it against the catalogue."""

    name: str
    at: str
    """UTC, ISO 8601 with milliseconds and Z."""
    actor: str
    """agent:<id>, user:<id>, key:<id>, caller, system:<process> or node:<name>."""
    subject: str
    """What it is about: one of our ids, or a name."""
    tenant: str = ""
    call_id: str = ""
    outcome: str = "ok"
    """ok | refused | failed."""
    origin: str = ""
    """Address or process the actor came from."""
    data: Mapping[str, int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_head(self)
        allowed = CATALOGUE[self.name]
        if set(self.data) != set(allowed):
            raise EntryError("the fields of the entry are not those of its name")
        for key, kind in allowed.items():
            _check_value(key, kind, self.data[key])

    def as_json(self) -> dict[str, object]:
        """The entry as plain JSON values, for the outbox."""
        return {
            "name": self.name,
            "at": self.at,
            "actor": self.actor,
            "subject": self.subject,
            "tenant": self.tenant,
            "call_id": self.call_id,
            "outcome": self.outcome,
            "origin": self.origin,
            "data": dict(self.data),
        }


def entry_from_json(body: object) -> Entry:
    """The entry of an outbox row; EntryError when it is not one."""
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        raise EntryError("the row is not an entry")
    try:
        return Entry(**body)
    except TypeError:
        raise EntryError("the row has not the fields of an entry") from None


def stamp(now: datetime | None = None) -> str:
    """`now` (default: this moment) as the log writes time: UTC, milliseconds, Z."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _check_head(entry: Entry) -> None:
    if entry.name not in CATALOGUE:
        raise EntryError("the name of the entry is not in the catalogue")
    if entry.outcome not in {"ok", "refused", "failed"}:
        raise EntryError("outcome is ok, refused or failed")
    for key in _HEAD:
        value = getattr(entry, key)
        if not isinstance(value, str):
            raise EntryError(f"{key} has not the shape of an entry")
        (_check_text if key in _ALWAYS_NEW else _check_known)(key, value)


def _check_text(key: str, value: str) -> None:
    if not _HEAD[key].fullmatch(value):
        raise EntryError(f"{key} has not the shape of an entry")
    if not _SHAPES[Kind.ID].fullmatch(value) and holds_pan(value):
        raise EntryError(f"{key} holds a run of digits that could be a PAN")


_check_known = lru_cache(maxsize=KNOWN_MAX)(_check_text)
"""What was right once is right again; what was refused is not kept."""


def _check_value(key: str, kind: Kind, value: object) -> None:
    if kind is Kind.COUNT:
        if type(value) is not int or not 0 <= value < INTEGER_MAX:
            raise EntryError(f"{key} is not a count")
        return
    if not isinstance(value, str) or not _SHAPES[kind].fullmatch(value):
        raise EntryError(f"{key} has not the shape of its kind")
