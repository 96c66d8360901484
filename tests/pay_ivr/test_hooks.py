"""Outgoing webhooks: signed, in order, tried for a day, never to an address that is nobody's business."""

import hashlib
import hmac
import json
import stat
from pathlib import Path

import pytest

from pay_ivr.facts import CallError
from pay_ivr.happenings import Happening, What
from pay_ivr.hooks import WAITS_S, DeliveryState, Hooks, check_url, is_public, signature
from pay_ivr.store import Store
from vault import Payment, PaymentState

PAYMENT = Payment(
    "pay_one", "demo", "call_one", "leg_one", "agent1", PaymentState.SETTLED, 5000, "EUR", "B-1", "booking", 7
)
URL = "https://shop.example/hook"
NOW = 1_800_000_000_000
LATER = "2027-01-15T09:00:00.000Z"
BY = "system:operator"


@pytest.fixture
async def hooks(tmp_path: Path):
    store = await Store.open(tmp_path / "app.db")
    yield await Hooks.open(store, tmp_path)
    await store.close()


def happening(number: int, at: str = LATER) -> Happening:
    return Happening(f"pay_one.refund_{number}.done", What.REFUNDED, at, 100)


async def file(hooks: Hooks, *found: Happening) -> None:
    async with hooks._engine.begin() as conn:
        await hooks.file(conn, PAYMENT, found, NOW)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.1.2.3", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_only_addresses_of_the_internet_are_public(address: str, public: bool) -> None:
    """Also those that wrap a private one."""
    assert public == is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/hook",
        "https://user:word@shop.example/",
        "https://shop.example/#part",
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://169.254.169.254/latest/meta-data",
        "https:///hook",
        "https://shop..example/hook",
        f"https://{'a' * 64}.example/hook",
        "https://shop.example:99999/",
        "https://shop.example/a b",
        "https://shop.example/" + "a" * 500,
        "ftp://shop.example/",
        "",
    ],
)
def test_a_url_that_may_not_be_called_is_refused(url: str) -> None:
    """Before it is stored."""
    with pytest.raises(CallError) as refused:
        check_url(url, private=False)
    assert "url_refused" == refused.value.code


def test_the_signature_is_an_hmac_over_time_and_body() -> None:
    """As a receiver would check it."""
    wanted = hmac.new(b"key", b"1800000000." + b'{"a":1}', hashlib.sha256).hexdigest()
    assert f"t=1800000000,v1={wanted}" == signature(b"key", 1_800_000_000, b'{"a":1}')


async def test_an_endpoint_has_a_key_of_its_own(hooks: Hooks, tmp_path: Path) -> None:
    """A file that nobody else may read; gone with the endpoint, together with what waited."""
    endpoint_id, key = await hooks.add_endpoint("demo", URL, NOW, BY)
    path = tmp_path / "keys" / f"HOOK-{endpoint_id}"
    assert (key.encode(), 0o600) == (hooks.key(endpoint_id), stat.S_IMODE(path.stat().st_mode))
    await file(hooks, happening(1))
    path.chmod(0o644)
    assert hooks.key(endpoint_id) is None
    await hooks.remove_endpoint(endpoint_id, NOW, BY)
    assert (False, (), ()) == (path.exists(), await hooks.endpoints("demo"), await hooks.due(NOW))
    with pytest.raises(CallError, match="no such endpoint"):
        await hooks.remove_endpoint(endpoint_id, NOW, BY)


async def test_an_event_is_stored_once_and_only_for_endpoints_that_knew_of_it(hooks: Hooks) -> None:
    """Filed again it is known; what happened before the endpoint came is not its business."""
    await hooks.add_endpoint("demo", URL, NOW, BY)
    await hooks.add_endpoint("other", URL, NOW, BY)
    for _ in range(3):
        await file(hooks, happening(1), happening(9, at="2026-01-01T00:00:00.000Z"))
    (delivery,) = await hooks.due(NOW)
    body = json.loads(delivery.body)
    assert ("pay_one.refund_1.done", "payment.refunded", "demo", 100) == (
        body["event_id"], body["type"], body["tenant"], body["amount_minor"],
    )  # fmt: skip
    assert ("pay_one", "settled", 7) == tuple(
        body["payment"][name] for name in ("payment_id", "state", "version")
    )


async def test_events_of_a_payment_go_in_order_and_die_after_a_day(hooks: Hooks) -> None:
    """The second waits for the first; a dead one makes room, is listed, and can be delivered again."""
    await hooks.add_endpoint("demo", URL, NOW, BY)
    await file(hooks, happening(1), happening(2))
    now = NOW
    for wait_s in WAITS_S:
        (delivery,) = await hooks.due(now)
        assert "pay_one.refund_1.done" == delivery.event_id
        assert DeliveryState.WAITING is await hooks.failed(delivery, "status_500", now)
        assert () == await hooks.due(now + wait_s * 1000 - 1)
        now += wait_s * 1000
    (delivery,) = await hooks.due(now)
    assert DeliveryState.DEAD is await hooks.failed(delivery, "timeout", now)
    assert 20 * 3_600_000 < now - NOW < 30 * 3_600_000
    (second,) = await hooks.due(now)
    assert "pay_one.refund_2.done" == second.event_id
    await hooks.delivered(second)
    (dead,) = await hooks.listed("demo", DeliveryState.DEAD)
    assert (dead.problem, dead.tries, ()) == ("timeout", 12, await hooks.listed("other", DeliveryState.DEAD))
    with pytest.raises(CallError, match="no such delivery"):
        await hooks.redeliver("other", dead.delivery_id, now)
    await hooks.redeliver("demo", dead.delivery_id, now)
    assert ["pay_one.refund_1.done"] == [one.event_id for one in await hooks.due(now)]
