"""A few rows of the ledger, written past the ledger: for tests of what the database itself enforces."""

from datetime import date

from sqlalchemy import Connection, insert

from audit.outbox import Entry, put
from loyalty.tables import ACCOUNT, ENTRY, JOURNAL, LOT, LOT_USE

AT = "2026-11-22T10:00:00.000Z"


def put_journal(
    connection: Connection, tenant: str = "demo", programme: str = "miles", number: int = 1
) -> None:
    """Two accounts, a journal of 100 points with its two entries, a lot, its use, the log's entry."""
    own = {"tenant": tenant, "programme": programme}
    journal, lot = f"jrn_{number}", f"lot_{number}"
    if number == 1:
        connection.execute(insert(ACCOUNT), [
            {**own, "id": "acc_member", "kind": "member", "floor": 0, "posted": 100},
            {**own, "id": "acc_issued", "kind": "issued", "floor": None, "posted": -100},
        ])  # fmt: skip
    said = {
        "request_hash": "0" * 64,
        "kind": "earn",
        "actor": "caller",
        "at": AT,
        "points": 100,
        "result": "{}",
    }
    on = date(2026, 11, 22)
    connection.execute(
        insert(JOURNAL).values(**own, **said, id=journal, idem=f"{programme}-{number}", effective_on=on)
    )
    connection.execute(insert(ENTRY), [
        {**own, "journal_id": journal, "seq": 0, "account_id": "acc_issued", "amount": -100},
        {**own, "journal_id": journal, "seq": 1, "account_id": "acc_member", "amount": 100},
    ])  # fmt: skip
    connection.execute(insert(LOT).values(
        **own, id=lot, account_id="acc_member", journal_id=journal, granted=130, remaining=100
    ))  # fmt: skip
    connection.execute(insert(LOT_USE).values(**own, journal_id=journal, lot_id=lot, amount=30))
    data = {"account": "acc_member", "points": 100}
    put(connection, Entry("ledger.points.earned", AT, "caller", journal, tenant, data=data))
