"""What happens when a process dies: no double charge, no lost log row, no leg that opens by accident."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import count

import pytest

from tests.support.zone import CVV, EXPIRY, VISA, Desk, ZoneProcesses, desk_at, running_zone
from vault import Field, FieldState, Payment, PaymentState, Refused, Unreachable, Why
from vault.hatch import hatch

CALLS = 6
"""Calls charged at once when the broker is killed; the moment within each charge is left to chance."""

_numbers = count(1)


@pytest.fixture(scope="module")
def house() -> Iterator[ZoneProcesses]:
    with running_zone() as zone:
        yield zone


@pytest.fixture
def zone(house: ZoneProcesses) -> ZoneProcesses:
    """All processes up, whatever the test before did to them."""
    house.heal()
    return house


@pytest.fixture
async def desk(zone: ZoneProcesses) -> AsyncIterator[Desk]:
    async with desk_at(zone, f"n{next(_numbers)}") as desk:
        yield desk


def restart_broker(zone: ZoneProcesses) -> None:
    zone.kill("broker")
    zone.start("broker")


# --- the broker ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "amount_minor", [1971, *(pytest.param(one, marks=pytest.mark.proof) for one in (1972, 1973))]
)
async def test_broker_killed_after_the_execution_charges_once(zone, desk, amount_minor):
    """The provider has executed, the answer is lost: the next run fetches, and never sends again."""
    ready = await desk.ready(amount_minor=amount_minor)
    await desk.door.charge(ready.payment_id)
    await desk.eventually(lambda: zone.times_charged(ready.payment_id) == 1)
    restart_broker(zone)
    paid = await desk.result()
    assert (1, 1) == (paid.attempt, zone.times_charged(paid.payment_id))


@pytest.mark.slow
@pytest.mark.parametrize(
    "after_s", [0.02, *(pytest.param(one, marks=pytest.mark.proof) for one in (0.0, 0.04))]
)
async def test_broker_killed_at_any_moment_of_a_charge_never_charges_twice(zone, after_s):
    """Before, during or after commit and execution: what is charged is authorised, what is not is not."""
    async with AsyncExitStack() as stack:
        desks = [await stack.enter_async_context(desk_at(zone, f"n{next(_numbers)}")) for _ in range(CALLS)]
        ready = [await desk.ready() for desk in desks]
        pairs = list(zip(desks, ready, strict=True))
        charges = [asyncio.create_task(each.door.charge(p.payment_id)) for each, p in pairs]
        await asyncio.sleep(after_s)
        zone.kill("broker")
        await asyncio.gather(*charges, return_exceptions=True)
        zone.start("broker")
        for desk, payment in pairs:
            known = await settled(desk, payment.payment_id)
            charged = zone.times_charged(payment.payment_id)
            assert charged == known.paid


async def settled(desk: Desk, payment_id: str) -> Payment:
    """The payment once its attempt is known: authorised, declined as never sent, or never begun."""
    while True:
        payment = await desk.door.payment(payment_id)
        if payment.state in {PaymentState.SETTLED, PaymentState.DECLINED, PaymentState.READY}:
            return payment
        await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_broker_killed_before_the_request_ran_fences_it(zone, desk):
    """The request was lost, the broker killed: nothing ran, the attempt is fenced, a retry charges once."""
    ready = await desk.ready(amount_minor=1974)
    await desk.door.charge(ready.payment_id)
    await desk.state(PaymentState.UNKNOWN)
    restart_broker(zone)
    declined = await desk.state(PaymentState.DECLINED, within_s=30.0)
    assert zone.times_charged(ready.payment_id) == 0
    opened = await desk.door.open_capture(declined.payment_id)
    assert {FieldState.OPEN, FieldState.WAITING} == {each.state for each in opened.fields}
    await desk.press(f"{VISA}#{EXPIRY}{CVV}")
    await desk.state(PaymentState.READY)
    await desk.door.charge(declined.payment_id)
    await desk.result()
    assert zone.times_charged(ready.payment_id) == 1


async def test_broker_killed_during_a_capture_expires_it_and_frees_the_leg(zone, desk):
    """The leg stays SECURE while nobody knows better; the next run expires the payment and detaches."""
    created = await desk.created()
    await desk.door.open_capture(created.payment_id)
    await desk.press("4242")
    zone.kill("broker")
    await asyncio.sleep(0.3)
    assert zone.mode_of(desk.leg_id) == "SECURE"
    await desk.eventually(lambda: zone.cells() == [], within_s=2.0)
    zone.start("broker")
    assert PaymentState.EXPIRED is (await desk.state(PaymentState.EXPIRED)).state
    await desk.eventually(lambda: zone.mode_of(desk.leg_id) == "NORMAL")
    assert "payment.intent.expired" in zone.waiting()


async def test_ready_payment_survives_the_broker(zone, desk):
    """The token is in vault.db: a new run charges it."""
    ready = await desk.ready()
    restart_broker(zone)
    again = await desk.door.payment(ready.payment_id)
    assert (PaymentState.READY, False, "4242") == (again.state, again.capture_live, again.last4)
    await desk.door.charge(ready.payment_id)
    await desk.result()
    assert zone.times_charged(ready.payment_id) == 1


@pytest.mark.proof
async def test_log_has_every_row_once_whoever_is_killed(zone, desk):
    """Broker and log writer are killed again and again between payments; no row is lost, none doubled."""
    paid = []
    for _run in range(3):
        zone.start_audit()
        paid.append((await desk.charged()).payment_id)
        zone.kill("audit")
        restart_broker(zone)
        zone.wait_until_probed()
    zone.start_audit()
    await desk.eventually(lambda: zone.waiting() == [])
    zone.kill("audit", signal.SIGTERM)
    entries = zone.logged()
    assert [entry["idx"] for entry in entries] == list(range(len(entries)))
    ours = [entry for entry in entries if entry["source"] == "vault"]
    assert [entry["seq"] for entry in ours] == list(range(1, len(ours) + 1))
    for payment_id in paid:
        names = Counter(entry["name"] for entry in ours if entry["subject"] == payment_id)
        assert names["payment.attempt.authorised"] == names["payment.attempt.sent"] == 1
    assert [entry["name"] for entry in entries].count("log.writer.started") == 4


async def test_door_reconnects_and_says_unreachable_meanwhile(zone, desk):
    """Without a broker a call ends with Unreachable; afterwards the same door works again."""
    created = await desk.created()
    zone.kill("broker")
    with pytest.raises(Unreachable) as unreachable:
        await desk.door.payment(created.payment_id)
    assert unreachable.value.retryable
    zone.start("broker")
    assert created == await desk.door.payment(created.payment_id)


def broker_that_ends(*options):
    """A broker with hatches that lead nowhere, once it has given up."""
    (media, far_media), (spawner, far_spawner) = hatch(), hatch()
    with media, far_media, spawner, far_spawner:
        numbers = (media.fileno(), spawner.fileno())
        hatches = ("--media-hatch", str(numbers[0]), "--spawner-hatch", str(numbers[1]))
        command = [sys.executable, "-m", "vault.broker", *options, *hatches]
        return subprocess.run(command, check=False, capture_output=True, timeout=20, pass_fds=numbers)


def test_second_broker_on_the_same_data_is_refused(zone):
    """It would expire captures that are not its own."""
    paths = ("--data-dir", zone.data_dir, "--run-dir", zone.run_dir, "--tenants-dir", zone.tenants_dir)
    second = broker_that_ends(*map(str, paths))
    assert second.returncode == 78
    assert b"vault.data.refused" in second.stderr


def test_wrong_tenant_file_ends_the_broker_with_its_line(tmp_path):
    """The operator learns file, line and field, and nothing that stood there."""
    (tmp_path / "bad.toml").write_text('live = false\n[payment]\nprovider = "nobody"\n')
    folders = [part for name in ("data", "run", "tenants") for part in (f"--{name}-dir", str(tmp_path))]
    ended = broker_that_ends(*folders)
    assert ended.returncode == 78
    assert b"bad.toml, line 3, field payment.provider" in ended.stderr
    assert b"nobody" not in ended.stderr


def test_broker_stops_cleanly_on_sigterm(zone):
    """Exit code 0 within the grace, its socket gone."""
    process = zone.running["broker"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(5.0) == 0
    assert not (zone.run_dir / "vault.sock").exists()


# --- cells, spawner, media ----------------------------------------------------------------------------------


async def test_lost_cell_is_replaced_and_the_leg_stays_secure(zone, desk):
    """The caller keys again from the PAN; the agent heard nothing in between."""
    created = await desk.created()
    await desk.door.open_capture(created.payment_id)
    await desk.press(f"{VISA}#")
    await desk.why(Why.FIELD_COMPLETE)
    (cell,) = zone.cells()
    os.kill(cell, signal.SIGKILL)
    while not (restarted := [c for c in desk.all_told if c.why is Why.CAPTURE_RESTARTED]):
        assert zone.mode_of(desk.leg_id) == "SECURE"
        await asyncio.sleep(0.005)
    assert (Field.PAN, True) == (restarted[0].field, restarted[0].payment.secure)
    assert zone.mode_of(desk.leg_id) == "SECURE"
    await desk.press(f"{VISA}#{EXPIRY}{CVV}")
    await desk.state(PaymentState.READY)


async def test_killed_spawner_takes_its_cells_and_a_new_one_goes_on(zone, desk):
    """A supervisor restarts the spawner; the capture begins again within the ten seconds."""
    created = await desk.created()
    await desk.door.open_capture(created.payment_id)
    zone.kill("spawner")
    await asyncio.sleep(0.3)
    assert zone.mode_of(desk.leg_id) == "SECURE"
    zone.start("spawner")
    await desk.why(Why.CAPTURE_RESTARTED)
    await desk.press(f"{VISA}#{EXPIRY}{CVV}")
    await desk.state(PaymentState.READY)


@pytest.mark.slow
async def test_capture_without_any_cell_expires(zone, desk):
    """Nobody restarts the spawner: after ten seconds the payment expires, and only then the leg is opened."""
    created = await desk.created()
    await desk.door.open_capture(created.payment_id)
    zone.kill("spawner")
    while not any(told.why is Why.EXPIRED for told in desk.all_told):
        assert zone.mode_of(desk.leg_id) == "SECURE"
        await asyncio.sleep(0.05)
    await desk.eventually(lambda: zone.mode_of(desk.leg_id) == "NORMAL")
    with pytest.raises(Unreachable) as unreachable:
        await desk.door.open_capture((await desk.created()).payment_id)
    assert unreachable.value.code == "spawner_unreachable"


async def test_ready_payment_survives_the_loss_of_its_cell(zone, desk):
    """After tokenising the cell is only needed for a retry."""
    ready = await desk.ready()
    zone.kill("spawner")
    await desk.door.charge(ready.payment_id)
    paid = await desk.result()
    assert zone.times_charged(paid.payment_id) == 1


async def test_ready_payment_without_a_token_is_keyed_again(zone, desk):
    """A provider without tokens: with the cell the card is gone, so the capture begins again."""
    await desk.ready(tenant="direct")
    (cell,) = zone.cells()
    os.kill(cell, signal.SIGKILL)
    restarted = await desk.why(Why.CAPTURE_RESTARTED)
    assert (PaymentState.CAPTURING, True) == (restarted.payment.state, restarted.payment.secure)
    await desk.press(f"{VISA}#{EXPIRY}{CVV}")
    again = await desk.state(PaymentState.READY)
    await desk.door.charge(again.payment_id)
    await desk.result()


async def test_cell_killed_in_its_own_charge_leaves_no_doubt_unfetched(zone, desk):
    """The cell made the call and died before the answer: unknown, fetched, charged once."""
    ready = await desk.ready(tenant="direct", amount_minor=1971)
    await desk.door.charge(ready.payment_id)
    await desk.eventually(lambda: zone.times_charged(ready.payment_id, "sandbox_direct") == 1)
    (cell,) = zone.cells()
    os.kill(cell, signal.SIGKILL)
    await desk.state(PaymentState.UNKNOWN)
    paid = await desk.result()
    assert (1, 1) == (paid.attempt, zone.times_charged(paid.payment_id, "sandbox_direct"))


async def test_media_lost_during_a_capture_restarts_the_open_field(zone, desk):
    """The new media process has the leg SECURE before it has a pipe; complete fields stay complete."""
    created = await desk.created()
    await desk.door.open_capture(created.payment_id)
    await desk.press(f"{VISA}#12")
    await desk.until(lambda changed: changed.field is Field.EXPIRY and changed.why is Why.KEY)
    zone.kill("media")
    await asyncio.sleep(0.2)
    assert not (await desk.door.payment(created.payment_id)).secure
    zone.start("media")
    zone.open_leg(desk.leg_id, resume=True)
    assert zone.mode_of(desk.leg_id) == "SECURE"
    restarted = await desk.why(Why.CAPTURE_RESTARTED)
    assert (Field.EXPIRY, True) == (restarted.field, restarted.payment.secure)
    await desk.press(EXPIRY + CVV)
    await desk.state(PaymentState.READY)


async def test_leg_that_resumed_without_a_capture_is_opened(zone, desk):
    """After a restart of media every caller's leg is SECURE until the broker has looked."""
    zone.kill("media")
    zone.start("media")
    zone.open_leg(desk.leg_id, resume=True)
    assert zone.mode_of(desk.leg_id) == "SECURE"
    await desk.eventually(lambda: zone.mode_of(desk.leg_id) == "NORMAL")


async def test_capture_without_media_is_refused(zone, desk):
    """No SECURE, no capture: the payment stays created, no cell is left."""
    created = await desk.created()
    zone.kill("media")
    await asyncio.sleep(0.1)
    with pytest.raises(Unreachable) as unreachable:
        await desk.door.open_capture(created.payment_id)
    assert unreachable.value.code == "media_unreachable"
    assert created == await desk.door.payment(created.payment_id)
    await desk.eventually(lambda: zone.cells() == [])


# --- who may come to the door -------------------------------------------------------------------------------


@pytest.mark.root
def test_foreign_user_is_turned_away(zone):
    """The sockets are their owner's; where the file system lets others in, the kernel says who they are."""
    zone.run_dir.chmod(0o755)
    for name in ("vault.sock", "outbox-vault.sock"):
        socket_path = zone.run_dir / name
        assert socket_path.stat().st_mode & 0o777 == 0o600
        socket_path.chmod(0o666)
        pid = os.fork()
        if pid == 0:
            os._exit(_knock(str(socket_path)))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == TURNED_AWAY


TURNED_AWAY, LET_IN, NOT_REACHED = 10, 11, 12


def _knock(path: str) -> int:
    """What the door does with `nobody`; runs in a child of its own."""
    try:
        os.setresuid(65534, 65534, 65534)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.settimeout(5)
            door.connect(path)
    except OSError:
        return NOT_REACHED
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        try:
            door.settimeout(5)
            door.connect(path)
            door.send(b'{"id": 1, "op": "ping"}')
            return LET_IN if door.recv(100) else TURNED_AWAY
        except OSError:
            return TURNED_AWAY


async def test_weak_machine_is_on_record_and_runs_the_demo():
    """One protection of the cell is missing: the log says which; tenants that are not live go on."""
    with running_zone(without=("secret_memory",)) as zone:
        (weak,) = [entry["data"]["weak"] for entry in zone.waiting_entries("posture.zone.probed")]
        assert "secret_memory" in weak.split(",")
        async with desk_at(zone) as desk:
            await desk.ready()


async def test_garbage_at_the_door_is_refused_and_changes_nothing(zone, desk):
    """Broken JSON, unknown operations, wrong types, too long: each is answered, and the door goes on."""
    created = await desk.created()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.settimeout(20)
        door.connect(str(zone.run_dir / "vault.sock"))
        assert b"hello" in door.recv(60_000)
        for message in GARBAGE:
            door.send(message)
            reply = door.recv(60_000)
            assert b'"ok":false' in reply, message[:80]
            assert b'"bad_request"' in reply or b'"unknown_op"' in reply or b"unknown" in reply
        door.send(b"")  # an empty message looks like the end, and ends only this connection
    assert created == await desk.door.payment(created.payment_id)
    with pytest.raises(Refused):
        await desk.door.cancel(created.payment_id, "no such person!")


GARBAGE = [
    b"\xff\xfe",
    b"{",
    b"[]",
    b"null",
    b"12",
    b'"text"',
    b"{}",
    b"[" * 20_000,
    b'{"a":' * 9_000,
    b'{"id":true,"op":"payment"}',
    b'{"id":"1","op":"payment"}',
    b'{"id":1}',
    b'{"id":1,"op":7}',
    b'{"id":1,"op":"read_pan","payment_id":"pay_x"}',
    b'{"id":1,"op":"payment"}',
    b'{"id":1,"op":"payment","payment_id":7}',
    b'{"id":1,"op":"payment","payment_id":""}',
    b'{"id":1,"op":"payment","payment_id":"' + b"x" * 300 + b'"}',
    b'{"id":1,"op":"payment","payment_id":"a\\u0000b"}',
    b'{"id":1,"op":"rekey","payment_id":"pay_x","field":"name"}',
    b'{"id":1,"op":"talk","payment_id":"pay_x","on":1}',
    b'{"id":1,"op":"create_payment"}',
    b'{"id":1,"op":"create_payment","new":{"tenant":"demo"}}',
    b'{"id":1,"op":"create_payment","new":{"tenant":"demo","pan":"x"}}',
    b'{"id":1,"op":"cancel","payment_id":"pay_x"}',
    b'{"id":1,"op":"end_call","call_id":null}',
    b"x" * 60_001,
    b'{"id":1,"op":"' + b"y" * 59_000 + b'"}',
]
