"""The book of PINs: which keys a cell hashes with, and what the hashes that it tells come to.

One rule for everybody: a member with a PIN, one without, and an id that belongs to nobody are given a salt
and a pepper, hashed for the same time, looked up by the same statements and locked by the same count. What a
limit refuses is answered as a wrong PIN, and only the log says otherwise.

A hash names the version of the vault's key that peppered it and what it cost (its scheme). It is verified
under its own scheme and stored under the newest at the next success; while a tenant has PINs of an older
scheme every cell of it makes both hashes, so that nobody can be told apart by the time it takes.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hmac import digest

import structlog

from audit.outbox import Entry, stamp
from vault.door import NewPinEntry, PinProblem, PinPurpose, PinResult, PinStanding, Refused
from vault.fingerprint import DIGEST_BYTES, letters
from vault.keys import Keys, Purpose
from vault.limits import NUMBER_MAX
from vault.pin_hash import SALT_BYTES, Cost, PinKeys, Under, code_digest
from vault.pin_progress import PinHashed
from vault.pin_rules import CODE_DIGITS
from vault.pin_store import Admitted, Held, Mark, Member, PinStore, Proof, Stored
from vault.pin_velocity import DAY_S, PinKind, PinRule, window_of
from vault.tenant import PinSection, Tenant

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.pins")

_LETTERS = str.maketrans("abcdefghijklmnop", "0123456789abcdef")
_ANSWER = {Held.LOCKED: PinResult.LOCKED, Held.LIMITED: PinResult.WRONG, Held.STALE: PinResult.EXPIRED}
_DONE = {
    PinPurpose.VERIFY: "pin.entry.accepted",
    PinPurpose.SET: "pin.entry.set",
    PinPurpose.CHANGE: "pin.entry.changed",
    PinPurpose.RESET: "pin.entry.reset",
}


@dataclass(frozen=True, repr=False)
class Ticket:
    """What one entry was given to hash with, for when its hashes come back."""

    new: NewPinEntry
    keys: PinKeys
    salt: str
    """Of the stored hash that was looked up, or of the one that stands in for it; empty for a code."""
    fresh: Stored
    """What is stored when all is well, once the cell has made its hash."""
    value_version: int
    """Of the key that marks the PIN's value."""

    @property
    def member(self) -> Member:
        """Whose PIN it is."""
        return Member(self.new.tenant, self.new.member_id)

    def entry(self, name: str, outcome: str = "ok", **data: str) -> Entry:
        """A log entry about this PIN entry."""
        new = self.new
        head = (name, stamp(), new.by or "caller", new.member_id, new.tenant, new.call_id)
        return Entry(*head, outcome=outcome, data=data)

    def hashed(self, fresh: str) -> Stored | None:
        """The row of the new hash, or None when none was made."""
        kept = self.fresh
        return Stored(fresh, kept.salt, kept.scheme, kept.key_version) if fresh else None


class PinBook:
    """Keys out, hashes in; nothing else decides whether a PIN is right."""

    def __init__(
        self, store: PinStore, keys: Keys, tenants: Mapping[str, Tenant], cost: Cost | None = None
    ) -> None:
        self._store = store
        self._keys = keys
        self._tenants = tenants
        self._cost = cost or Cost()

    def section(self, tenant: str) -> PinSection:
        """The tenant's `[pin]`; `Refused("tenant_unknown")`."""
        found = self._tenants.get(tenant)
        if found is None:
            raise Refused("tenant_unknown", "No such tenant. Check the tenant's name.")
        return found.pin

    # --- before an entry --------------------------------------------------------------------------------

    async def ticket(self, new: NewPinEntry, now_ms: int) -> Ticket:
        """The keys for one entry; `Refused` when this entry may not be.

        The same reads for everybody, but for SET, which only an agent can ask for.
        """
        self.section(new.tenant)
        member = Member(new.tenant, new.member_id)
        stored = await self._store.stored(member)
        if new.purpose is PinPurpose.SET:
            _check_first(new, stored)
        peppers = self._keys.derived(Purpose.PIN, new.tenant)
        version, pepper = peppers[0]
        scheme = _scheme(version, self._cost)
        older = await self._store.has_other_schemes(new.tenant, scheme)
        salt = secrets.token_bytes(SALT_BYTES)
        proof_salt, proof = self._proof(new, stored)
        value_version, value_key = self._keys.derived(Purpose.PIN_VALUE, new.tenant)[0]
        makes_fresh = new.purpose is not PinPurpose.VERIFY or older
        keys = PinKeys(
            new.tenant,
            new.member_id,
            new.born,
            _window_key(value_key.reveal(), now_ms),
            proof,
            Under(pepper.reveal(), salt, self._cost) if makes_fresh else None,
            await self._code_key(new, member),
        )
        reset = new.purpose is PinPurpose.RESET
        fresh = Stored(None, letters(salt), scheme, version)
        return Ticket(new, keys, "" if reset else proof_salt, fresh, value_version)

    async def _code_key(self, new: NewPinEntry, member: Member) -> bytes:
        """The key of the member's reset code, or the newest when there is none."""
        keys = self._keys.derived(Purpose.PIN_CODE, new.tenant)
        version, newest = keys[0]
        if new.purpose is PinPurpose.RESET:
            version = await self._store.code_version(member) or version
        return dict(keys).get(version, newest).reveal()

    def _proof(self, new: NewPinEntry, stored: Stored | None) -> tuple[str, Under]:
        """Salt, pepper and cost of the stored hash; of nobody's when there is none, or its key is lost."""
        peppers = dict(self._keys.derived(Purpose.PIN, new.tenant))
        if stored is not None and stored.key_version in peppers:
            pepper = peppers[stored.key_version].reveal()
            return stored.salt, Under(
                pepper, bytes.fromhex(stored.salt.translate(_LETTERS)), _cost(stored.scheme)
            )
        if stored is not None:
            log.error("pin.key.missing", tenant=new.tenant, version=stored.key_version)
        nobody = self._keys.derived(Purpose.PIN_SALT, new.tenant)[0][1].reveal()
        salt = digest(nobody, new.member_id.encode(), "sha256")[:SALT_BYTES]
        newest = max(peppers)
        return letters(salt), Under(peppers[newest].reveal(), salt, self._cost)

    # --- after it -----------------------------------------------------------------------------------------

    async def judge(self, ticket: Ticket, told: PinHashed, now_ms: int) -> PinResult:
        """What the cell's hashes come to; everything that is stored for it is stored when this returns."""
        if ticket.new.purpose is PinPurpose.SET:
            return await self._set(ticket, told, now_ms)
        rules = self.section(ticket.new.tenant).velocity.rules()
        proof = Proof(told.proof, ticket.salt, self._marks(ticket, told))
        admitted = await self._admitted(ticket, proof, rules, now_ms)
        if isinstance(admitted, Held):
            return await self._held(ticket, admitted)
        if not admitted.right:
            return await self._wrong(ticket, admitted)
        entry = ticket.entry(_DONE[ticket.new.purpose])
        fresh = self._fresh(ticket, told)
        accepted = await self._store.accept(ticket.member, admitted, proof, rules, entry, fresh)
        return PinResult.OK if accepted else PinResult.EXPIRED

    async def judge_easy(self, ticket: Ticket, told: PinHashed, now_ms: int) -> PinResult | PinProblem:
        """A reset to a PIN that is too easy: only with the right code, which stays good, that is said."""
        rules = self.section(ticket.new.tenant).velocity.rules()
        proof = Proof(told.proof, ticket.salt, self._marks(ticket, told))
        admitted = await self._admitted(ticket, proof, rules, now_ms)
        if isinstance(admitted, Held):
            return await self._held(ticket, admitted)
        return PinProblem.EASY if admitted.right else await self._wrong(ticket, admitted)

    async def _admitted(
        self, ticket: Ticket, proof: Proof, rules: Sequence[PinRule], now_ms: int
    ) -> Admitted | Held:
        limited = ticket.entry("pin.entry.limited", "refused", **_purpose(ticket), reason="unknown")
        if ticket.new.purpose is PinPurpose.RESET:
            return await self._store.admit_code(ticket.member, proof, rules, limited, now_ms)
        tries = self.section(ticket.new.tenant).tries
        return await self._store.admit(ticket.member, proof, rules, tries, limited, now_ms)

    def _fresh(self, ticket: Ticket, told: PinHashed) -> Stored | None:
        """The new row; a PIN that was only verified keeps its own while its scheme is the newest."""
        fresh = ticket.hashed(told.fresh)
        proof = ticket.keys.proof
        if ticket.new.purpose is not PinPurpose.VERIFY or fresh is None or proof is None:
            return fresh
        pepper = self._keys.derived(Purpose.PIN, ticket.new.tenant)[0][1].reveal()
        return fresh if (proof.pepper, proof.cost) != (pepper, self._cost) else None

    async def _set(self, ticket: Ticket, told: PinHashed, now_ms: int) -> PinResult:
        fresh = ticket.hashed(told.fresh)
        if fresh is None:
            return PinResult.EXPIRED
        entry = ticket.entry(_DONE[PinPurpose.SET])
        done = await self._store.set_first(ticket.member, fresh, entry, now_ms)
        return PinResult.OK if done else PinResult.EXPIRED

    async def _held(self, ticket: Ticket, held: Held) -> PinResult:
        if held is Held.LOCKED:
            await self._store.refuse([ticket.entry("pin.entry.refused", "refused", **_purpose(ticket))])
        return _ANSWER[held]

    async def _wrong(self, ticket: Ticket, admitted: Admitted) -> PinResult:
        entries = [ticket.entry("pin.entry.refused", "refused", **_purpose(ticket))]
        if admitted.last:
            entries.append(ticket.entry("pin.entry.locked", "refused"))
        await self._store.refuse(entries)
        return PinResult.LOCKED if admitted.last else PinResult.WRONG

    def _marks(self, ticket: Ticket, told: PinHashed) -> tuple[Mark, ...]:
        """What a miss of this entry counts for, newest marks first."""
        new = ticket.new
        number = new.caller_number.strip()[:NUMBER_MAX].encode()
        keys = self._keys.derived(Purpose.PIN_CALLER, new.tenant) if number else ()
        marks = [caller_mark(version, key.reveal(), number) for version, key in keys]
        if not number:
            marks.append(Mark(PinKind.WITHHELD, "withheld"))
        if told.mark:
            marks.append(Mark(PinKind.VALUE, told.mark, ticket.value_version))
        return (*marks, Mark(PinKind.TENANT, "tenant"))

    # --- what an agent may do -----------------------------------------------------------------------------

    async def standing(self, member: Member) -> PinStanding:
        """Whether the member has a PIN, and whether it is locked."""
        return await self._store.standing(member, self.section(member.tenant).tries)

    async def unlock(self, member: Member, by: str) -> PinStanding:
        """The member may try again."""
        self.section(member.tenant)
        await self._store.unlock(member, _entry("pin.entry.unlocked", member, by))
        return await self.standing(member)

    async def issue_code(self, member: Member, by: str, now_ms: int) -> str:
        """A new reset code, told this once."""
        self.section(member.tenant)
        version, key = self._keys.derived(Purpose.PIN_CODE, member.tenant)[0]
        code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
        stored = code_digest(key.reveal(), member.tenant, member.member_id, code.encode())
        entry = _entry("pin.code.issued", member, by)
        await self._store.put_code(member, stored, version, entry, now_ms)
        return code

    async def forget(self, member: Member) -> None:
        """Nothing is stored of the member's PIN any more."""
        self.section(member.tenant)
        await self._store.forget(member, _entry("pin.entry.forgotten", member, "system:loyalty"))


def caller_mark(version: int, key: bytes, number: bytes) -> Mark:
    """By which a caller's number is counted and known again."""
    return Mark(PinKind.CALLER, letters(digest(key, number, "sha256")[:DIGEST_BYTES]), version)


def _check_first(new: NewPinEntry, stored: Stored | None) -> None:
    if not new.by.startswith("agent:"):
        raise Refused("pin_needs_agent", "A first PIN needs an agent who has identified the member.")
    if stored is not None:
        raise Refused("pin_is_set", "The member has a PIN. Send a reset code instead.")


def _purpose(ticket: Ticket) -> dict[str, str]:
    return {"purpose": ticket.new.purpose.value}


def _entry(name: str, member: Member, by: str) -> Entry:
    return Entry(name, stamp(), by, member.member_id, member.tenant)


def _window_key(root: bytes, now_ms: int) -> bytes:
    """The key under which values are marked on this day of the clock."""
    return digest(root, window_of(DAY_S, now_ms).to_bytes(8, "big"), "sha256")


def _scheme(version: int, cost: Cost) -> str:
    """Pepper and cost as one word that sorts and can be looked for."""
    return f"{version}:{cost.kib}:{cost.rounds}:{cost.lanes}"


def _cost(scheme: str) -> Cost:
    _version, kib, rounds, lanes = map(int, scheme.split(":"))
    return Cost(kib, rounds, lanes)
