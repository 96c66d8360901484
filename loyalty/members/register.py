"""The register of one tenant's members within one database transaction: every statement about a person.

Pure database work: it gets a transaction, the keys, the programme and the moment, and knows neither clock
nor network. `Members` gives it its transactions. Every statement names the tenant.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, insert, select, update

from loyalty.errors import LoyaltyError
from loyalty.keys import NAME, KeyFault, Purpose, Ring, Secret
from loyalty.ledger import close_in, open_in
from loyalty.members.person import (
    FIELDS,
    CardState,
    Member,
    Person,
    Reason,
    Role,
    Status,
    changed,
    keyed_digits,
    normalised,
    person_from_json,
    person_from_octets,
    person_json,
    person_octets,
    plain_postcode,
)
from loyalty.members.sealing import (
    blind_index,
    blind_indexes,
    derived_id,
    new_data_key,
    opened,
    sealed,
    unwrapped,
    wrapped,
)
from loyalty.programme import Programme
from loyalty.tables import CARD, DATA_KEY, ERASURE, MEMBER, MEMBER_ACCOUNT, MEMBER_CHANGE
from loyalty.tenancy import TenantConn
from pay_ivr.ids import new_id

NUMBER_TRIES = 20
"""Random numbers tried before we say that the programme's numbers are used up: with nine of ten taken, one
in eight would still fail after these."""
LAST4 = 4


@dataclass(frozen=True, repr=False)
class Newcomer:
    """Somebody to be enrolled."""

    person: Person
    card_number: str = ""
    """Of a card that exists already; empty: one is made."""
    key: str = ""
    """Idempotency key: the same newcomer under the same key is the same member."""


@dataclass(frozen=True, repr=False)
class Change:
    """One change of personal data: what it was and what it became."""

    change_id: str
    at: str
    by: str
    reason: str
    before: Mapping[str, str]
    after: Mapping[str, str]


@dataclass(frozen=True, repr=False)
class Altered:
    """A person before and after a change."""

    before: Person
    after: Person
    names: tuple[str, ...]
    """Fields that are different; none: nothing was changed."""


class Register:
    """Members of one tenant, in one database transaction."""

    def __init__(self, conn: TenantConn, ring: Ring, programme: Programme) -> None:
        self.conn = conn
        self.tenant = conn.tenant
        self.programme = programme.programme
        self._digits = programme.number_digits
        self.ring = ring
        """Root keys; one and the same throughout the transaction."""

    # Finding

    def by_number(self, number: str) -> tuple[str, ...]:
        """Members with that customer number or that card; two statements, whatever they find."""
        indexes = blind_indexes(self.ring, self.tenant, *number_facts(number))
        mine = (MEMBER.c.tenant == self.tenant, MEMBER.c.number_index.in_(indexes))
        card = (CARD.c.tenant == self.tenant, CARD.c.number_index.in_(indexes))
        live = CARD.c.state != CardState.REPLACED.value
        found = self._ids(select(MEMBER.c.member_id).where(*mine))
        carded = self._ids(select(CARD.c.member_id).where(*card, live))
        return found or carded

    def by_birth(self, postcode: str, born: str, house_number: str = "") -> tuple[str, ...]:
        """At most two members with that postcode and date of birth, or also that house number."""
        column = MEMBER.c.house_index if house_number else MEMBER.c.birth_index
        indexes = blind_indexes(self.ring, self.tenant, *birth_facts(postcode, born, house_number))
        wanted = (MEMBER.c.tenant == self.tenant, column.in_(indexes))
        return self._ids(select(MEMBER.c.member_id).where(*wanted).order_by(MEMBER.c.member_id).limit(2))

    def closed_before(self, moment: str) -> tuple[str, ...]:
        """Members whose membership ended before a moment; nothing of a closed member changes any more."""
        wanted = (MEMBER.c.tenant == self.tenant, MEMBER.c.status == Status.CLOSED.value)
        return self._ids(select(MEMBER.c.member_id).where(*wanted, MEMBER.c.updated_at < moment))

    def _ids(self, query: Select[Any]) -> tuple[str, ...]:
        return tuple(self.conn.execute(query).scalars())

    def member(self, member_id: str, role: Role = Role.SERVICE) -> Member:
        """The member as the programme knows him; LoyaltyError("member_unknown")."""
        row = self.conn.execute(_member(self.tenant, MEMBER.c.member_id == member_id)).one_or_none()
        if row is None or (row.status == Status.CLOSED and role is Role.SERVICE):
            raise unknown()
        return _member_of(row, self.tenant)

    def page(self, after: str, count: int) -> list[tuple[Member, Person, str]]:
        """The next members that are not closed, by id: member, person, card number."""
        query = (
            _member(self.tenant, MEMBER.c.member_id > after)
            .where(MEMBER.c.status != Status.CLOSED.value)
            .join(
                DATA_KEY, and_(DATA_KEY.c.tenant == self.tenant, DATA_KEY.c.member_id == MEMBER.c.member_id)
            )
            .add_columns(
                DATA_KEY.c.wrapped,
                DATA_KEY.c.key_version,
                MEMBER.c.sealed,
                CARD.c.sealed.label("card_sealed"),
            )
            .order_by(MEMBER.c.member_id)
            .limit(count)
        )
        return [self._opened_row(row) for row in self.conn.execute(query)]

    def _opened_row(self, row: Any) -> tuple[Member, Person, str]:
        member = _member_of(row, self.tenant)
        key = unwrapped(self.ring, self.tenant, member.member_id, row.wrapped, row.key_version)
        person = person_from_octets(opened(key, self.bound(member.member_id, "person"), row.sealed))
        card = opened(key, self.bound(member.member_id, member.card_id), row.card_sealed).decode()
        return member, person, card

    # Sealed data

    def proves_keys(self) -> bool:
        """True when our keys open a member of this tenant, False when there is none yet.

        KeyFault("key_other", "key_missing"): they belong to another database. Without this a second node with
        a root key of its own would find nobody, and enrol members that the first one cannot read.
        """
        own = DATA_KEY.c.tenant == self.tenant
        row = self.conn.execute(select(DATA_KEY).where(own).limit(1)).first()
        if row is None:
            return False
        try:
            unwrapped(self.ring, self.tenant, row.member_id, row.wrapped, row.key_version)
        except KeyFault:
            raise
        except LoyaltyError:
            sentence = f"keys/{NAME}.{row.key_version} is not the key that the database was written with."
            raise KeyFault("key_other", sentence) from None
        return True

    def person(self, member_id: str, role: Role = Role.SERVICE) -> Person:
        """The personal data; LoyaltyError("member_unknown"). One statement, also for nobody's id."""
        query = (
            select(MEMBER.c.sealed, MEMBER.c.status, DATA_KEY.c.wrapped, DATA_KEY.c.key_version)
            .join(DATA_KEY, _key_of_member(self.tenant))
            .where(MEMBER.c.tenant == self.tenant, MEMBER.c.member_id == member_id)
        )
        row = self.conn.execute(query).one_or_none()
        if row is None or (row.status == Status.CLOSED and role is Role.SERVICE):
            raise unknown()
        key = unwrapped(self.ring, self.tenant, member_id, row.wrapped, row.key_version)
        return person_from_octets(opened(key, self.bound(member_id, "person"), row.sealed))

    def seal(self, member_id: str, name: str, octets: bytes) -> bytes:
        """The octets under the member's own key, for a row of that name: unreadable once he is erased."""
        return sealed(self._data_key(member_id), self.bound(member_id, name), octets)

    def open(self, member_id: str, name: str, octets: bytes) -> bytes:
        """What `seal` has sealed under the same name; LoyaltyError("member_unknown") for an erased one."""
        return opened(self._data_key(member_id), self.bound(member_id, name), octets)

    def _data_key(self, member_id: str) -> Secret:
        wanted = (DATA_KEY.c.tenant == self.tenant, DATA_KEY.c.member_id == member_id)
        row = self.conn.execute(
            select(DATA_KEY.c.wrapped, DATA_KEY.c.key_version).where(*wanted)
        ).one_or_none()
        if row is None:
            raise unknown()
        return unwrapped(self.ring, self.tenant, member_id, row.wrapped, row.key_version)

    def bound(self, member_id: str, name: str) -> tuple[str, ...]:
        """Where a sealed thing of that name belongs."""
        return (self.tenant, self.programme, member_id, name)

    # Enrolling

    def enrol(self, newcomers: Sequence[Newcomer], at: str) -> list[Member]:
        """New members with account and card, all of them or none, in their order.

        LoyaltyError: `person_invalid`, `card_invalid`, `number_taken`, `numbers_used_up`. Replays by key are
        the caller's to sort out.
        """
        for one in newcomers:
            self._check_card(one.card_number)
        checked = [replace(one, person=normalised(one.person, *self._digits)) for one in newcomers]
        numbers = self._free_numbers([(one.person.number, one.card_number) for one in checked])
        added = [
            self._added(replace(one.person, number=number), card_number, self.id_for(one.key), at)
            for one, (number, card_number) in zip(checked, numbers, strict=True)
        ]
        for table in (MEMBER, DATA_KEY, MEMBER_ACCOUNT, CARD) if added else ():
            self.conn.execute(insert(table), [rows[table] for _, rows in added])
        return [member for member, _ in added]

    def id_for(self, key: str, version: int | None = None) -> str:
        """The member id under that idempotency key; a random one without a key."""
        if not key:
            return new_id("mem")
        return derived_id(self.ring, self.tenant, Purpose.IDENTITY, "mem", key, version=version)

    def replayed(self, newcomer: Newcomer) -> Member | None:
        """The member that this key has enrolled before; None when it has not.

        LoyaltyError: `key_reused` for somebody else's key, `member_unknown` for one who is closed or erased:
        a request that comes late brings nobody back.
        """
        if not newcomer.key:
            return None
        ids = [self.id_for(newcomer.key, version) for version in self.ring.versions]
        if any(self._has(ERASURE, member_id) for member_id in ids):
            raise unknown()
        member_id = next((one for one in ids if self._has(MEMBER, one)), None)
        if member_id is None:
            return None
        asked, enrolled = normalised(newcomer.person, *self._digits), self._enrolled(member_id)
        if replace(asked, number=asked.number or enrolled.number) != enrolled:
            raise LoyaltyError("key_reused", "Another member was enrolled under this key.")
        return self.member(member_id)

    def _enrolled(self, member_id: str) -> Person:
        """The person as he was enrolled, whatever was changed since: a late retry is still the same."""
        told = person_json(self.person(member_id))
        for change in reversed(self.changes(member_id)):
            told |= change.before
        return person_from_json(told)

    def _has(self, table: Table, member_id: str) -> bool:
        wanted = (table.c.tenant == self.tenant, table.c.member_id == member_id)
        return self.conn.execute(select(table.c.member_id).where(*wanted)).one_or_none() is not None

    def _added(
        self, person: Person, card_number: str, member_id: str, at: str
    ) -> tuple[Member, dict[Table, dict[str, Any]]]:
        """A member whose account is open, and his rows of the other tables, to be inserted."""
        key, card_id = new_data_key(), new_id("card")
        account_id = open_in(self.conn, self.programme)
        own = {"tenant": self.tenant, "member_id": member_id}
        row = {**own, "programme": self.programme}
        rows: dict[Table, dict[str, Any]] = {
            MEMBER: {
                **row,
                **self.indexed(person),
                "sealed": sealed(key, self.bound(member_id, "person"), person_octets(person)),
                "language": person.language,
                "created_at": at,
                "updated_at": at,
            },
            DATA_KEY: {
                **own,
                "wrapped": wrapped(self.ring, self.tenant, member_id, key),
                "key_version": self.ring.newest,
            },
            MEMBER_ACCOUNT: {**row, "account_id": account_id},
            CARD: self._card_row(member_id, card_id, card_number, key, at),
        }
        member = Member(
            member_id=member_id,
            tenant=self.tenant,
            programme=self.programme,
            account_id=account_id,
            language=person.language,
            status=Status.ACTIVE,
            card_id=card_id,
            card_last4=card_number[-LAST4:],
            card_state=CardState.ACTIVE,
        )
        return member, rows

    def _card_row(self, member_id: str, card_id: str, number: str, key: Secret, at: str) -> dict[str, Any]:
        return {
            "tenant": self.tenant,
            "programme": self.programme,
            "card_id": card_id,
            "member_id": member_id,
            "number_index": blind_index(self.ring, self.tenant, *number_facts(number)),
            "sealed": sealed(key, self.bound(member_id, card_id), number.encode()),
            "last4": number[-LAST4:],
            "changed_at": at,
        }

    def indexed(self, person: Person) -> dict[str, str | None]:
        """Columns and values by which a person is found; None where he has told too little."""
        born, place = person.born.isoformat(), plain_postcode(person.postcode)
        house = keyed_digits(person.house_number) if place else ""
        facts = {
            "number_index": number_facts(person.number),
            "birth_index": birth_facts(person.postcode, born) if place else None,
            "house_index": birth_facts(person.postcode, born, person.house_number) if house else None,
        }
        return {
            name: None if one is None else blind_index(self.ring, self.tenant, *one)
            for name, one in facts.items()
        }

    def _free_numbers(self, wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Customer and card number for each; given ones as they are, the others random and free."""
        numbers = [number for pair in wanted for number in pair]
        given = [bool(number) for number in numbers]
        for _ in range(NUMBER_TRIES):
            numbers = [number or self._random_number() for number in numbers]
            clash = self._clashes(numbers)
            if any(clash[place] and given[place] for place in range(len(numbers))):
                raise LoyaltyError("number_taken", "A member or a card has this number already.")
            if not any(clash):
                return list(zip(numbers[::2], numbers[1::2], strict=True))
            numbers = ["" if clash[place] else number for place, number in enumerate(numbers)]
        raise LoyaltyError(
            "numbers_used_up", "The programme has hardly a free number left. Allow more digits."
        )

    def _clashes(self, numbers: Sequence[str]) -> list[bool]:
        """For each number: a member, a card or a number before it in the list has it."""
        taken = self.customers(numbers).keys() | self.holders(numbers).keys()
        return [number in taken or number in numbers[:place] for place, number in enumerate(numbers)]

    def customers(self, numbers: Sequence[str]) -> dict[str, str]:
        """Number -> member id, of those that are customers' numbers."""
        return self._holders(MEMBER, numbers)

    def holders(self, numbers: Sequence[str]) -> dict[str, str]:
        """Number -> member id, of those that are on cards; a replaced card keeps its number."""
        return self._holders(CARD, numbers)

    def _holders(self, table: Table, numbers: Sequence[str]) -> dict[str, str]:
        indexes = {
            index: number
            for number in numbers
            for index in blind_indexes(self.ring, self.tenant, *number_facts(number))
        }
        wanted = (table.c.tenant == self.tenant, table.c.number_index.in_(indexes))
        rows = self.conn.execute(select(table.c.number_index, table.c.member_id).where(*wanted))
        return {indexes[row.number_index]: row.member_id for row in rows}

    def _random_number(self) -> str:
        digits = self._digits[1]
        return str(secrets.randbelow(9 * 10 ** (digits - 1)) + 10 ** (digits - 1))

    # Changing

    def change(
        self, member_id: str, changes: Mapping[str, object], at: str, by: str, reason: Reason
    ) -> Altered:
        """What is different now; before and after are kept, sealed."""
        before = self.person(member_id)
        after = changed(before, changes)
        names = tuple(name for name in FIELDS if getattr(before, name) != getattr(after, name))
        if names:
            self._note_change(member_id, (before, after), names, at=at, by=by, reason=reason)
            self._update(
                member_id,
                **self.indexed(after),
                sealed=self.seal(member_id, "person", person_octets(after)),
                language=after.language,
                updated_at=at,
                version=MEMBER.c.version + 1,
            )
        return Altered(before, after, names)

    def _note_change(
        self,
        member_id: str,
        persons: tuple[Person, Person],
        names: Sequence[str],
        *,
        at: str,
        by: str,
        reason: Reason,
    ) -> None:
        change_id = new_id("chg")
        before, after = ({name: person_json(one)[name] for name in names} for one in persons)
        body = json.dumps({"before": before, "after": after}, ensure_ascii=False).encode()
        self.conn.execute(
            insert(MEMBER_CHANGE).values(
                tenant=self.tenant,
                programme=self.programme,
                change_id=change_id,
                member_id=member_id,
                sealed=self.seal(member_id, change_id, body),
                changed_by=by,
                reason=reason.value,
                at=at,
            )
        )

    def changes(self, member_id: str) -> tuple[Change, ...]:
        """Every change of personal data, oldest first."""
        table = MEMBER_CHANGE.c
        wanted = (table.tenant == self.tenant, table.member_id == member_id)
        rows = self.conn.execute(
            select(MEMBER_CHANGE).where(*wanted).order_by(table.at, table.change_id)
        ).all()
        found = []
        for row in rows:
            body = json.loads(self.open(member_id, row.change_id, row.sealed))
            found.append(Change(row.change_id, row.at, row.changed_by, row.reason, **body))
        return tuple(found)

    def set_status(self, member: Member, status: Status, at: str) -> None:
        """Another status; a closed member loses every index he could be found by."""
        values: dict[str, Any] = {"status": status.value, "updated_at": at}
        if status is Status.CLOSED:
            values |= {"number_index": None, "birth_index": None, "house_index": None}
            mine = (CARD.c.tenant == self.tenant, CARD.c.member_id == member.member_id)
            self.conn.execute(update(CARD).where(*mine).values(number_index=None))
            close_in(self.conn, self.programme, member.account_id)
        self._update(member.member_id, **values)

    def _update(self, member_id: str, **values: Any) -> None:
        mine = (MEMBER.c.tenant == self.tenant, MEMBER.c.member_id == member_id)
        self.conn.execute(update(MEMBER).where(*mine).values(**values))

    # Cards

    def set_card(self, member: Member, state: CardState, reason: Reason, at: str) -> None:
        """The card of now in another state."""
        mine = (CARD.c.tenant == self.tenant, CARD.c.card_id == member.card_id)
        values = {"state": state.value, "reason": reason.value, "changed_at": at}
        self.conn.execute(update(CARD).where(*mine).values(values))

    def replace_card(self, member: Member, number: str, reason: Reason, at: str) -> str:
        """The old card is over, a new one active; the number of the new one."""
        self._check_card(number)
        ((_, number),) = self._free_numbers([("", number)])
        self.set_card(member, CardState.REPLACED, reason, at)
        key = self._data_key(member.member_id)
        row = self._card_row(member.member_id, new_id("card"), number, key, at)
        self.conn.execute(insert(CARD).values(row))
        return number

    def _check_card(self, number: str) -> None:
        fewest, most = self._digits
        if number and not (number == keyed_digits(number) and fewest <= len(number) <= most):
            raise LoyaltyError("card_invalid", f"A card's number takes {fewest} to {most} digits.")

    def cards(self, member_id: str) -> list[dict[str, str]]:
        """Every card of a member with its number, as plain values."""
        mine = (CARD.c.tenant == self.tenant, CARD.c.member_id == member_id)
        rows = self.conn.execute(select(CARD).where(*mine).order_by(CARD.c.changed_at, CARD.c.card_id)).all()
        return [
            {
                "card_id": row.card_id,
                "number": self.open(member_id, row.card_id, row.sealed).decode(),
                "state": row.state,
                "changed_at": row.changed_at,
                "reason": row.reason,
            }
            for row in rows
        ]


def unknown() -> LoyaltyError:
    """What is raised for a member who is not there."""
    return LoyaltyError("member_unknown", "There is no such member.")


def number_facts(number: str) -> tuple[str, ...]:
    """What the index of a customer's or a card's number is made of: one keypad, one kind of index."""
    return ("number", keyed_digits(number))


def birth_facts(postcode: str, born: str, house_number: str = "") -> tuple[str, ...]:
    """What the index of postcode and date of birth is made of, or of these and the house number's digits."""
    kind = ("house", keyed_digits(house_number)) if house_number else ("birth",)
    return (*kind, plain_postcode(postcode), born)


def _key_of_member(tenant: str) -> ColumnElement[bool]:
    return and_(DATA_KEY.c.tenant == tenant, DATA_KEY.c.member_id == MEMBER.c.member_id)


def _member(tenant: str, which: ColumnElement[bool]) -> Select[Any]:
    """Members with account and card of now."""
    return (
        select(
            MEMBER.c.member_id,
            MEMBER.c.programme,
            MEMBER.c.language,
            MEMBER.c.status,
            MEMBER_ACCOUNT.c.account_id,
            CARD.c.card_id,
            CARD.c.last4,
            CARD.c.state,
        )
        .join(
            MEMBER_ACCOUNT,
            and_(MEMBER_ACCOUNT.c.tenant == tenant, MEMBER_ACCOUNT.c.member_id == MEMBER.c.member_id),
        )
        .join(
            CARD,
            and_(
                CARD.c.tenant == tenant,
                CARD.c.member_id == MEMBER.c.member_id,
                CARD.c.state != CardState.REPLACED.value,
            ),
        )
        .where(MEMBER.c.tenant == tenant, which)
    )


def _member_of(row: Any, tenant: str) -> Member:
    return Member(
        member_id=row.member_id,
        tenant=tenant,
        programme=row.programme,
        account_id=row.account_id,
        language=row.language,
        status=Status(row.status),
        card_id=row.card_id,
        card_last4=row.last4,
        card_state=CardState(row.state),
    )
