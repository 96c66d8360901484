"""Members brought under the newest root key: a few of them in one database transaction, five statements."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table, and_, bindparam, select, update

from loyalty.errors import LoyaltyError
from loyalty.keys import KeyFault
from loyalty.members.person import Status, person_from_octets
from loyalty.members.register import Register, number_facts
from loyalty.members.sealing import blind_index, opened, unwrapped, wrapped
from loyalty.tables import CARD, DATA_KEY, MEMBER

Values = dict[Table, list[dict[str, Any]]]
"""Table → values of its rows; `its` names the row."""


def rekey(register: Register, after: str, count: int) -> dict[str, bool]:
    """The next members, by id, whose rows are under an older root key: whether they are moved now.

    Data keys are wrapped, indexes of members and cards made anew, and nothing else is touched. Who is closed
    has no index and gets none. False: a member's rows do not open, and stay as they are.
    """
    rows = _behind(register, after, count)
    cards = _cards_of(register, [row.member_id for row in rows])
    moved = {row.member_id: _values(register, row, cards.get(row.member_id, ())) for row in rows}
    again = [one for one in moved.values() if one is not None]
    for table, key in ((MEMBER, "member_id"), (CARD, "card_id"), (DATA_KEY, "member_id")):
        _update(register, table, key, [values for one in again for values in one[table]])
    return {member_id: one is not None for member_id, one in moved.items()}


def _behind(register: Register, after: str, count: int) -> Sequence[Any]:
    tenant, newest = register.tenant, register.ring.newest
    query = (
        select(DATA_KEY.c.member_id, DATA_KEY.c.wrapped, DATA_KEY.c.key_version)
        .add_columns(MEMBER.c.sealed, MEMBER.c.status)
        .join(MEMBER, and_(MEMBER.c.tenant == tenant, MEMBER.c.member_id == DATA_KEY.c.member_id))
        .where(DATA_KEY.c.tenant == tenant, DATA_KEY.c.key_version < newest, DATA_KEY.c.member_id > after)
        .order_by(DATA_KEY.c.member_id)
        .limit(count)
    )
    return register.conn.execute(query).all()


def _cards_of(register: Register, member_ids: Sequence[str]) -> dict[str, list[Any]]:
    wanted = (CARD.c.tenant == register.tenant, CARD.c.member_id.in_(member_ids))
    query = select(CARD.c.member_id, CARD.c.card_id, CARD.c.sealed).where(*wanted)
    found: dict[str, list[Any]] = {}
    for row in register.conn.execute(query):
        found.setdefault(row.member_id, []).append(row)
    return found


def _values(register: Register, row: Any, cards: Sequence[Any]) -> Values | None:
    """What a member's rows will hold; None when they do not open."""
    ring, tenant, member_id = register.ring, register.tenant, row.member_id
    try:
        key = unwrapped(ring, tenant, member_id, row.wrapped, row.key_version)
        person = person_from_octets(opened(key, register.bound(member_id, "person"), row.sealed))
        numbers = {
            card.card_id: opened(key, register.bound(member_id, card.card_id), card.sealed).decode()
            for card in cards
        }
    except KeyFault:  # not his rows are wrong, but our keys
        raise
    except LoyaltyError:
        return None
    octets = wrapped(ring, tenant, member_id, key)
    data_key = {"its": member_id, "wrapped": octets, "key_version": ring.newest}
    if row.status == Status.CLOSED:
        return {MEMBER: [], CARD: [], DATA_KEY: [data_key]}
    indexed = [
        {"its": card_id, "number_index": blind_index(ring, tenant, *number_facts(number))}
        for card_id, number in numbers.items()
    ]
    return {
        MEMBER: [{"its": member_id, **register.indexed(person)}],
        CARD: indexed,
        DATA_KEY: [data_key],
    }


def _update(register: Register, table: Table, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Each row's values into the row that its `its` names by the column `key`."""
    if rows:
        mine = (table.c.tenant == register.tenant, table.c[key] == bindparam("its"))
        values: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "its"}
        register.conn.execute(update(table).where(*mine).values(values), rows)
