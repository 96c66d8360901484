"""A member with everything that is ever stored of one: for the tests of export and erasure."""

from datetime import UTC, datetime

from sqlalchemy import insert

from loyalty.ledger import Done, Earn, Key, Redeem
from loyalty.members import Member, Members, Person
from loyalty.tables import DELIVERY, REDEMPTION
from loyalty.tenancy import TenantConn

OPERATOR = "user:operator"
AT = "2026-03-01T12:00:00.000Z"


async def lived(members: Members, person: Person) -> Member:
    """Points earned and spent, a voucher whose message waits, a change of address, two cards."""
    member = await members.enrol("sunny", person, by=OPERATOR, card_number="900100200")
    ledger = members.database.ledger
    bought_at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    earn = Earn(Key("sunny", "miles", "earn-1"), member.account_id, 700, "till-1", None, bought_at)
    redeem = Redeem(Key("sunny", "miles", "red-1"), member.account_id, 500, "redeemed_voucher")
    assert isinstance(await ledger.do(earn, actor="key:shop"), Done)
    done = await ledger.do(redeem, actor="caller", call_id="call_abc")
    assert isinstance(done, Done)
    changes = {"email": "second@example.org", "postcode": "10115"}
    await members.change("sunny", member.member_id, changes, by=OPERATOR, reason="moved")
    await members.replace_card("sunny", member.member_id, by=OPERATOR, reason="lost", number="900100300")
    await members.database.write("sunny", lambda conn: _redeemed(members, conn, member, done.journal_id))
    return member


def _redeemed(members: Members, conn: TenantConn, member: Member, journal_id: str) -> None:
    row = {"tenant": "sunny", "programme": "miles", "redemption_id": "red_a", "idem": "red-1"}
    row |= {"request_hash": "0" * 64, "member_id": member.member_id, "account_id": member.account_id}
    row |= {"reward_id": "book", "kind": "voucher", "state": "done", "receipt": "12345678"}
    row |= {"journal_id": journal_id, "channel": "phone", "call_id": "call_abc", "at": AT}
    conn.execute(insert(REDEMPTION).values(points=500, **row))
    message = b'{"to": "second@example.org", "subject": "s", "text": "Dear Anna Maria"}'
    conn.execute(
        insert(DELIVERY).values(
            tenant="sunny",
            delivery_id="dlv_a",
            member_id=member.member_id,
            redemption_id="red_a",
            medium="email",
            sealed_to_and_text=members.seal(conn, member.member_id, "dlv_a", message),
            state="waiting",
            next_at=AT,
        )
    )
