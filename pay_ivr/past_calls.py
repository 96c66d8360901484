"""What app.db keeps of one person's ended calls: told to him, and forgotten when he is erased.

A caller's number is the only personal data in a row of a call; rows as such go after 90 days
(`store.ENDED_CALLS_KEPT_MS`). A call is a person's when something was booked in it, or when it came from a
number of his as trunks write them: `+49…`, `49…` or `0049…`.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import ColumnElement, or_, select, update

from pay_ivr.store import Store, ended_calls

FORGOTTEN = "forgotten"
"""Stands where the number stood; no number reads so."""
_TOLD = ("call_id", "flow", "caller", "did", "language", "started_at", "ended_reason")


async def calls_about(
    store: Store, tenant: str, call_ids: Collection[str], phones: Collection[str]
) -> dict[str, Mapping[str, str]]:
    """Call id -> what is kept of that call, oldest first; `phones` are E.164."""
    query = select(ended_calls).where(_about(tenant, call_ids, phones)).order_by(ended_calls.c.started_at)
    async with store.engine.connect() as conn:
        rows = (await conn.execute(query)).mappings().all()
    return {row["call_id"]: {name: row[name] for name in _TOLD} for row in rows}


async def forget_caller(store: Store, tenant: str, call_ids: Collection[str], phones: Collection[str]) -> int:
    """The caller's number is gone from these calls; from how many."""
    statement = update(ended_calls).where(_about(tenant, call_ids, phones)).values(caller=FORGOTTEN)
    async with store.engine.begin() as conn:
        return (await conn.execute(statement)).rowcount


def _about(tenant: str, call_ids: Collection[str], phones: Collection[str]) -> ColumnElement[bool]:
    bare = [phone.removeprefix("+") for phone in phones]
    written = [head + number for number in bare for head in ("+", "", "00")]
    own = or_(ended_calls.c.call_id.in_(list(call_ids)), ended_calls.c.caller.in_(written))
    return (ended_calls.c.tenant == tenant) & own
