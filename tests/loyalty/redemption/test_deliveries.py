"""Messages about redemptions: stored with them, in the member's language, sent until taken, then emptied."""

import asyncio

import pytest
from sqlalchemy import select

from loyalty.tables import DELIVERY
from pay_ivr.channels import ChannelError, Channels, Medium
from pay_ivr.postman import Postman
from tests.support.loyalty import House

AWAY = ChannelError("message_unsent", "Not now.", retryable=True)
NEVER = ChannelError("message_refused", "Never.")


class NoHooks:
    """A node without webhooks."""

    async def due(self, now_ms: int) -> tuple[()]:
        return ()

    async def tidy(self, now_ms: int) -> None:
        return


def postman(house: House) -> Postman:
    """Empties the deliveries' tray."""
    both = {Medium.EMAIL: house.post, Medium.SMS: house.post}
    channels = Channels({"sunny": both, "rainy": both})
    return Postman(NoHooks(), [house.loyalty.deliveries], channels, {}, asyncio.Event())


def now_ms(house: House) -> int:
    """The house's clock, as the postman reads one."""
    return int(house.clock().timestamp() * 1000)


async def redeem(house: House, reward: str = "coffee", **told: object):
    """A voucher or a donation of a new member."""
    await house.loyalty.add_codes("sunny", "coffee", "CAFE-1", by="user:operator")
    member = await house.member(**told)
    answer = await house.loyalty.redeem(
        "sunny", member.member_id, reward, key=member.member_id, channel="web", by="caller"
    )
    return member, answer


async def test_a_voucher_is_written_in_the_members_language(house: House, monkeypatch):
    """Programme, reward, code, points and receipt; nothing of it is left once it is sent."""
    monkeypatch.setattr("pay_ivr.postman.now_ms", lambda: now_ms(house))
    _, answer = await redeem(house)
    await postman(house).round()
    (letter,) = house.post.taken
    assert ("anna@example.com", "Ihr Gutschein von Sunny Miles") == (letter.to, letter.subject)
    expected = (
        "Sunny Miles\n\nSie haben Punkte eingelöst: ein Kaffee.\n\nIhr Code: CAFE-1\n\n"
        f"Punkte: 200\nBeleg: {answer.receipt}\n"
    )
    assert expected == letter.text
    query = select(DELIVERY.c.sealed_to_and_text).where(DELIVERY.c.tenant == "sunny")
    assert [b""] == await house.database.read("sunny", lambda conn: list(conn.execute(query).scalars()))
    assert ("sent",) == await house.loyalty.deliveries.states("sunny", answer.redemption_id)


async def test_who_has_no_mail_gets_an_sms_and_who_has_neither_gets_nothing(house: House):
    """The code is told all the same."""
    _, answer = await redeem(house, email="")
    assert Medium.SMS is answer.delivery
    _, answer = await redeem(house, "tree", email="", phone="")
    assert answer.delivery is None


async def test_a_message_is_tried_again_under_its_key_until_it_is_given_up(house: House):
    """Retryable: later, by the waits of receipts; refused: at once the end."""
    _, answer = await redeem(house)
    tray = house.loyalty.deliveries
    (first,) = await tray.due(now_ms(house))
    assert await tray.failed(first, now_ms(house), retryable=True)
    assert () == await tray.due(now_ms(house))
    house.clock.turn(seconds=6)
    tray.woken()
    (again,) = await tray.due(now_ms(house))
    assert (first.message.key, 1) == (again.message.key, again.tries)
    assert not await tray.failed(again, now_ms(house), retryable=False)
    assert ("failed",) == await tray.states("sunny", answer.redemption_id)


async def test_an_erased_member_gets_no_message(house: House):
    """What waits for him cannot be opened any more and is given up."""
    member, answer = await redeem(house)
    await house.loyalty.members.erase("sunny", member.member_id, "user:operator")
    house.loyalty.deliveries.woken()
    assert () == await house.loyalty.deliveries.due(now_ms(house))
    states = await house.loyalty.deliveries.states("sunny", answer.redemption_id)
    assert set(states) <= {"failed"}


@pytest.mark.parametrize("error", [AWAY, NEVER])
async def test_the_postman_survives_a_channel_that_fails(house: House, monkeypatch, error: ChannelError):
    """It is sent in the next round, or never."""
    monkeypatch.setattr("pay_ivr.postman.now_ms", lambda: now_ms(house))
    await redeem(house)
    house.post.away = [error]
    carrier = postman(house)
    await carrier.round()
    house.clock.turn(seconds=10)
    await carrier.round()
    assert (1 if error.retryable else 0) == len(house.post.taken)


async def test_filing_wakes_whoever_sends(house: House):
    """A caller's SMS leaves while he is on the line."""
    woken = asyncio.Event()
    house.loyalty.on_filed(woken.set)
    await redeem(house)
    assert woken.is_set()
