"""The door's client and its wire: frozen types both ways, reconnects, and nothing missed silently."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault import Door, Payment, PaymentChanged, PaymentState, Refused, Unreachable, Why
from vault.door import (
    Decline,
    DeclineReason,
    Field,
    FieldProblem,
    FieldProgress,
    FieldState,
    NewPayment,
    NextStep,
)
from vault.door_server import DoorServer
from vault.message import (
    changed_as_json,
    changed_from_json,
    new_payment_from_json,
    payment_as_json,
    payment_from_json,
)
from vault.wire import MESSAGE_MAX, QUEUE_MAX, Asker, Link, decode, encode

WAIT_S = 20.0
"""For what takes milliseconds on an idle machine; who waits so long waits for ever."""
PAYMENT = Payment(
    payment_id="pay_a",
    tenant="demo",
    call_id="call_a",
    leg_id="leg_a",
    agent_id=None,
    state=PaymentState.CAPTURING,
    amount_minor=1995,
    currency="EUR",
    reference="Bestellung über 3",
    purpose="booking",
    version=2,
    fields=(FieldProgress(Field.PAN, FieldState.OPEN, 3, FieldProblem.LUHN),),
    decline=Decline(DeclineReason.FUNDS, NextStep.OTHER_CARD, retry_allowed=True),
    created_at="2026-01-02T03:04:05.678Z",
)
NEW = NewPayment("demo", "call_a", "leg_a", 1995, "EUR", "B-1", "booking", "moto_agent", "agent1")


class Books:
    """The till's side of the door for these tests: one payment, whose changes the test decides."""

    def __init__(self) -> None:
        self.now = PAYMENT
        self.asked: list[str] = []

    async def payment(self, payment_id: str) -> Payment:
        self.asked.append(payment_id)
        if payment_id != self.now.payment_id:
            raise Refused("payment_unknown", "No such payment.")
        return self.now

    async def payments_of_call(self, call_id: str) -> tuple[Payment, ...]:
        return (self.now,) if call_id == self.now.call_id else ()

    async def end_call(self, call_id: str) -> None:
        raise RuntimeError(call_id)


class Broker:
    """A real door server that can be stopped and started again with another run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.books = Books()
        self.seq = 0
        self.server: DoorServer | None = None

    def start(self) -> None:
        self.seq = 0
        self.server = DoorServer(self.path, self.books, lambda: self.seq)  # type: ignore[arg-type]
        self.server.start()

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop()

    def tell(self, why: Why, payment: Payment, *, skip: int = 0) -> None:
        self.books.now = payment
        self.seq += 1 + skip
        assert self.server is not None
        self.server.publish(PaymentChanged(self.seq, why, payment))


@pytest.fixture
async def broker(short_dir: Path) -> AsyncIterator[Broker]:
    broker = Broker(short_dir / "vault.sock")
    broker.start()
    yield broker
    await broker.stop()


@pytest.fixture
async def door(broker: Broker) -> AsyncIterator[Door]:
    door = Door(broker.path)
    await door.connect()
    yield door
    await door.close()


async def test_snapshot_and_refusal_come_through(broker, door):
    """Types, umlauts, None and enumerations; a refusal is the same exception on both sides."""
    assert PAYMENT == await door.payment("pay_a")
    assert (PAYMENT,) == await door.payments_of_call("call_a")
    with pytest.raises(Refused) as refused:
        await door.payment("pay_none")
    assert ("payment_unknown", False) == (refused.value.code, refused.value.retryable)


async def test_failure_of_the_broker_is_unreachable(door):
    """An exception nobody foresaw: what was asked may have happened, and its text stays inside."""
    with pytest.raises(Unreachable) as unreachable:
        await door.end_call("call_secret")
    assert "call_secret" not in unreachable.value.sentence
    assert PAYMENT == await door.payment("pay_a")


async def test_facts_come_in_order(broker, door):
    """Every reader gets every fact."""
    first, second = door.facts(), door.facts()
    await door.payment("pay_a")
    for version in (3, 4):
        broker.tell(Why.KEY, replace(PAYMENT, version=version))
    for facts in (first, second):
        assert [3, 4] == [(await anext(facts)).payment.version for _ in range(2)]
    await door.close()
    with pytest.raises(StopAsyncIteration):
        await anext(first)


async def test_missed_facts_are_made_up_by_a_snapshot_after_a_reconnect(broker, door):
    """The broker was away, the payment was charged meanwhile: the reader learns the result."""
    facts = door.facts()
    await door.payment("pay_a")
    await broker.stop()
    broker.books.now = replace(PAYMENT, version=9, state=PaymentState.AUTHORISED, receipt="123456782")
    broker.start()
    changed = await asyncio.wait_for(anext(facts), 5)
    assert (Why.AUTHORISED, 9) == (changed.why, changed.payment.version)


async def test_gap_in_the_numbers_is_noticed(broker, door):
    """A fact that never came leads to a snapshot of what is unfinished."""
    facts = door.facts()
    await door.payment("pay_a")
    other = replace(PAYMENT, payment_id="pay_b")
    broker.tell(Why.KEY, other, skip=3)
    assert "pay_b" == (await anext(facts)).payment.payment_id
    broker.books.now = replace(PAYMENT, version=5, state=PaymentState.READY)
    changed = await asyncio.wait_for(anext(facts), 5)
    assert ("pay_a", Why.READY) == (changed.payment.payment_id, changed.why)


async def test_unknown_reader_costs_nothing(broker, door):
    """A reader that nobody holds is forgotten."""
    door.facts()
    await door.payment("pay_a")
    broker.tell(Why.KEY, PAYMENT)
    await door.payment("pay_a")
    assert not list(door._readers)


async def test_absent_broker_is_unreachable(short_dir):
    """Within the time given, retryable; nothing was sent."""
    door = Door(short_dir / "nobody.sock")
    with pytest.raises(Unreachable) as unreachable:
        await door.connect(timeout_s=0.05)
    assert unreachable.value.retryable
    await door.close()
    with pytest.raises(Unreachable):
        await door.payment("pay_a")


# --- the wire -----------------------------------------------------------------------------------------------


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.001)


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


async def test_slow_peer_gets_everything_in_order():
    """Messages wait in a bounded queue while the peer does not read."""
    ours, theirs = pair()
    closed: list[bool] = []
    link = Link(ours, lambda _message, _fds: None, lambda: closed.append(True))
    for number in range(2_000):
        assert link.send(encode({"number": number, "ballast": "x" * 200}))
    theirs.setblocking(False)
    got: list[int] = []
    async with asyncio.timeout(WAIT_S):
        while len(got) < 2_000:
            try:
                got.append(json.loads(theirs.recv(MESSAGE_MAX))["number"])
            except BlockingIOError:
                await asyncio.sleep(0.001)
    assert got == list(range(2_000))
    assert not closed
    link.close()
    theirs.close()


async def test_peer_that_never_reads_is_cut_off():
    """The queue ends; the peer fetches snapshots when it is back."""
    ours, theirs = pair()
    closed: list[bool] = []
    link = Link(ours, lambda _message, _fds: None, lambda: closed.append(True))
    sent = 0
    while link.send(b"x" * 500):
        sent += 1
    assert closed == [True]
    assert QUEUE_MAX <= sent < QUEUE_MAX + 1_000
    theirs.close()


async def test_descriptors_travel_beside_messages():
    """A key pipe is handed over; one that nobody asked for is closed at once."""
    ours, theirs = pair()
    asker = Asker(ours, lambda _fact: None, lambda: None)
    asked = asyncio.create_task(asker.ask("fork"))
    await until(lambda: asker._waiting)
    reading, writing = os.pipe()
    socket.send_fds(theirs, [encode({"id": 1, "ok": True})], [writing])
    _, (received,) = await asked
    os.write(received, b"k")
    assert os.read(reading, 1) == b"k"
    os.close(received)
    socket.send_fds(theirs, [encode({"fact": "stray"})], [writing])
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 1) == b""  # the last writing end is closed
    os.close(reading)
    asker.close()
    theirs.close()


@pytest.mark.parametrize("turns", range(4))
async def test_descriptors_are_closed_when_their_asker_is_cancelled_meanwhile(turns: int):
    """A fork's key pipe must not stay open in a broker that no longer knows of it."""
    ours, theirs = pair()
    asker = Asker(ours, lambda _fact: None, lambda: None)
    asked = asyncio.create_task(asker.ask("fork"))
    await until(lambda: asker._waiting)
    reading, writing = os.pipe()
    socket.send_fds(theirs, [encode({"id": 1, "ok": True})], [writing])
    os.close(writing)
    for _ in range(turns):
        await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait({asked}, timeout=WAIT_S)
    if not asked.cancelled():  # it had its answer before
        os.close(asked.result()[1][0])
    assert await asyncio.to_thread(os.read, reading, 1) == b""
    os.close(reading)
    asker.close()
    theirs.close()


async def test_lost_peer_ends_every_waiting_request():
    """Nobody waits for an answer that cannot come."""
    ours, theirs = pair()
    asker = Asker(ours, lambda _fact: None, lambda: None)
    asked = [asyncio.create_task(asker.ask("ping")) for _ in range(3)]
    await until(lambda: len(asker._waiting) == 3)
    theirs.close()
    for each in asked:
        with pytest.raises(Unreachable):
            await each
    with pytest.raises(Unreachable):
        await asker.ask("ping")


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_decode_takes_any_bytes(message):
    """An object or None, never an exception."""
    assert decode(message) is None or isinstance(decode(message), dict)


def test_decode_refuses_what_is_too_long_or_too_deep():
    """Limits hold before the parser runs wild."""
    assert decode(encode({"x": "y" * MESSAGE_MAX})) is None
    assert decode(b"[" * 50_000) is None


# --- the types as JSON --------------------------------------------------------------------------------------


def test_types_travel_both_ways():
    """Snapshot, fact and request are the same after the wire."""
    changed = PaymentChanged(7, Why.FIELD_PROBLEM, PAYMENT, Field.PAN, FieldProblem.LUHN, 15)
    wire = decode(encode(changed_as_json(changed)))
    assert wire is not None
    assert changed == changed_from_json(wire)
    bare = replace(PAYMENT, decline=None, fields=())
    assert bare == payment_from_json(json.loads(json.dumps(payment_as_json(bare))))
    assert NEW == new_payment_from_json(json.loads(json.dumps(vars(NEW))))


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_minor": "1995"},
        {"amount_minor": 19.95},
        {"amount_minor": True},
        {"tenant": None},
        {"agent_id": 7},
        {"pan": "x"},
    ],
)
def test_request_with_another_shape_is_refused(changes):
    """Not one field more, and every one of its own type."""
    with pytest.raises(Refused) as refused:
        new_payment_from_json({**vars(NEW), **changes})
    assert refused.value.code == "bad_request"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_request_of_any_other_kind_is_refused(body):
    """Whatever JSON there is that is no request."""
    with pytest.raises(Refused):
        new_payment_from_json(body)


def test_agent_may_be_absent_from_the_request():
    """None and a missing field are the same."""
    body = {name: value for name, value in vars(NEW).items() if name != "agent_id"}
    assert replace(NEW, agent_id=None) == new_payment_from_json(body)
