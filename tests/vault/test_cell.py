"""Real cells, forked by a real spawner: keys in, facts out, and what a cell cannot do."""

import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cell import MASTERCARD, VISA, WAIT_S, CellEnds, SpawnerEnds, spawner
from tests.support.memory import search
from vault.cell_ends import EXIT_BAD_COMMAND, EXIT_BROKER_GONE, EXIT_EXPIRED, EXIT_LEAK_STOPPED
from vault.door import Field, FieldProblem
from vault.posture import CELL_UID, SPAWNER_ENVIRONMENT
from vault.progress import (
    Authorise,
    CloseField,
    Complete,
    Confirmed,
    End,
    Expired,
    HelpAsked,
    Keyed,
    NoInput,
    Open,
    Opened,
    OutcomeTold,
    Pause,
    PostureTold,
    Problem,
    ProviderCall,
    ProviderReply,
    Ready,
    Resume,
    TimeWarning,
    TokeniseFailed,
    WipeSad,
)

CARD = MASTERCARD + "1230" + "123"
INSUFFICIENT = "4000000000009995"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="payivr-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture(scope="module")
def house(run_dir: Path, listener: socket.socket) -> Iterator[SpawnerEnds]:
    """One spawner for all tests of this file that do not hurt it."""
    port = str(listener.getsockname()[1])
    with spawner(run_dir, environment={**SPAWNER_ENVIRONMENT, "CELL_TEST_PORT": port}) as ends:
        yield ends


@pytest.fixture
def cell(house: SpawnerEnds) -> Iterator[CellEnds]:
    """A fresh cell whose posture has been told."""
    yield from _cell(house, "good")


def _cell(house: SpawnerEnds, provider: str, **values: object) -> Iterator[CellEnds]:
    made = house.fork(provider, **values)
    try:
        made.until(PostureTold)
        yield made
    finally:
        made.hang_up()
        house.cell_end()


def test_the_first_fact_is_the_posture_and_nothing_is_weak(house: SpawnerEnds) -> None:
    """What the kernel granted to this very cell, before any key."""
    cell = house.fork()
    told = cell.fact()
    assert isinstance(told, PostureTold)
    assert () == told.weak
    cell.hang_up()
    assert EXIT_BROKER_GONE == house.cell_end()["status"]


def test_keys_become_a_token(cell: CellEnds) -> None:
    """Three fields in one go over a real pipe; then the pipe is closed by the cell."""
    cell.say(Open(Field.PAN))
    cell.press(CARD)
    assert Ready("mastercard", "4444", "tok_good") == cell.until(Ready)
    kept = [fact for fact in cell.facts if not isinstance(fact, Keyed | PostureTold)]
    assert kept == [
        Opened(Field.PAN),
        Complete(Field.PAN, 16, "mastercard", "4444"),
        Opened(Field.EXPIRY),
        Complete(Field.EXPIRY, 4),
        Opened(Field.CVV),
        Complete(Field.CVV, 3),
        Ready("mastercard", "4444", "tok_good"),
    ]
    cell.keys.settimeout(WAIT_S)
    assert b"" == cell.keys.recv(1)


def test_keys_before_the_first_open_are_gone(cell: CellEnds) -> None:
    """Nobody asked for them."""
    cell.press("5")
    time.sleep(0.1)
    cell.say(Open(Field.PAN))
    cell.press(CARD)
    assert "4444" == cell.until(Ready).last4


def test_a_message_of_two_bytes_is_no_key(cell: CellEnds) -> None:
    """One key is one message of one byte; anything else is dropped, and the pipe lives on."""
    cell.say(Open(Field.PAN))
    cell.keys.send(b"\x05\x05")
    cell.press(CARD)
    assert "4444" == cell.until(Ready).last4


def test_after_a_decline_only_the_cvv_is_asked(cell: CellEnds) -> None:
    """PAN and expiry are kept; the CVV was wiped when the provider answered."""
    cell.say(Open(Field.PAN))
    cell.press(CARD)
    cell.until(Ready)
    cell.open(Field.CVV)
    cell.press("321")
    assert Ready("mastercard", "4444", "tok_good") == cell.until(Ready)
    assert [Opened(Field.CVV)] == [one for one in cell.facts if isinstance(one, Opened)][-1:]


def test_a_new_pan_asks_for_the_wiped_cvv_and_keeps_the_expiry(cell: CellEnds) -> None:
    """Re-key from `ready`: the expiry is not asked again."""
    cell.say(Open(Field.PAN))
    cell.press(CARD)
    cell.until(Ready)
    seen = len(cell.facts)
    cell.open(Field.PAN)
    cell.press(VISA + "#" + "123")
    assert "4242" == cell.until(Ready).last4
    opened = [one for one in cell.facts[seen:] if isinstance(one, Opened)]
    assert [Opened(Field.PAN), Opened(Field.CVV)] == opened


def test_two_stars_ask_for_help_and_a_pause_ignores_keys(cell: CellEnds) -> None:
    """Help, TALK, and on with the entry."""
    cell.say(Open(Field.PAN))
    cell.press("**")
    cell.until(HelpAsked)
    cell.press("5555")
    assert Keyed(Field.PAN, 1) == cell.until(Keyed)
    for _ in range(3):
        cell.until(Keyed)
    cell.say(Pause())
    cell.say(WipeSad())
    time.sleep(0.1)
    cell.press("999")
    time.sleep(0.1)
    cell.say(Resume())
    time.sleep(0.1)
    cell.press(CARD[4:])
    assert "4444" == cell.until(Ready).last4


def test_a_closed_field_closes_the_pipe_and_a_new_pipe_opens_it(cell: CellEnds) -> None:
    """`close_field`, then `open` with a descriptor."""
    cell.say(Open(Field.PAN))
    cell.press("4")
    cell.until(Keyed)
    cell.say(CloseField())
    cell.keys.settimeout(WAIT_S)
    assert b"" == cell.keys.recv(1)
    cell.open(Field.PAN)
    cell.press(CARD)
    assert "4444" == cell.until(Ready).last4


def test_a_lost_pipe_loses_no_field(cell: CellEnds) -> None:
    """Media may die: the cell waits for the broker, which brings a new pipe."""
    cell.say(Open(Field.PAN))
    cell.press("42")
    cell.until(Keyed)
    cell.keys.close()
    cell.open(Field.PAN)
    cell.press(CARD)
    assert "4444" == cell.until(Ready).last4


def test_one_confirms(cell: CellEnds) -> None:
    """The single key for a lost agent."""
    cell.say(Open(Field.CONFIRM))
    cell.press("1")
    cell.until(Confirmed)


def test_a_card_that_the_provider_refuses_is_keyed_again_on_the_same_pipe(house: SpawnerEnds) -> None:
    """The field is open again at once; the good card then gets its token."""
    for cell in _cell(house, "good", config={"refuse": "9995"}):
        cell.say(Open(Field.PAN))
        cell.press(INSUFFICIENT + "#1230123")
        assert TokeniseFailed("pan_not_allowed", Field.PAN) == cell.until(TokeniseFailed)
        assert Problem(Field.PAN, FieldProblem.REFUSED_BY_PROVIDER) == cell.fact()
        assert Opened(Field.PAN) == cell.fact()
        cell.press(MASTERCARD + "123")
        assert "4444" == cell.until(Ready).last4


def test_a_direct_provider_sees_the_card_only_when_it_authorises(house: SpawnerEnds) -> None:
    """No token; the CVV is there for the one call and wiped at its answer."""
    for cell in _cell(house, "direct"):
        cell.say(Authorise({"amount_minor": 5}))
        assert OutcomeTold({"kind": "never_sent", "raw_code": "card_incomplete"}) == cell.until(OutcomeTold)
        cell.say(Open(Field.PAN))
        cell.press(CARD)
        assert Ready("mastercard", "4444", None) == cell.until(Ready)
        cell.say(Authorise({"amount_minor": 5}))
        call = cell.until(ProviderCall)
        assert {"amount": 5, "cvv_digits": 3} == call.body
        cell.say(ProviderReply(call.call_id + 7, {"kind": "declined"}))
        cell.say(ProviderReply(call.call_id, {"kind": "authorised"}))
        assert OutcomeTold({"kind": "authorised"}) == cell.until(OutcomeTold)
        cell.say(Authorise({"amount_minor": 5}))
        assert "never_sent" == cell.until(OutcomeTold).outcome["kind"]


def test_a_charge_that_fails_in_the_cell_is_unknown_with_its_code(house: SpawnerEnds) -> None:
    """Nobody knows how far it came; the CVV is wiped all the same."""
    for cell in _cell(house, "failing_direct"):
        cell.say(Open(Field.PAN))
        cell.press(CARD)
        cell.until(Ready)
        cell.say(Authorise({"amount_minor": 5}))
        assert {"kind": "unknown", "raw_code": "provider_down"} == cell.until(OutcomeTold).outcome
        cell.say(Authorise({"amount_minor": 5}))
        assert "never_sent" == cell.until(OutcomeTold).outcome["kind"]


@pytest.mark.parametrize("provider", ["failing", "mute"])
def test_a_failing_provider_is_a_code_and_nothing_else(house: SpawnerEnds, provider: str) -> None:
    """Its message was the PAN; the report says `provider_error`, and no pipe stays open."""
    for cell in _cell(house, provider):
        cell.say(Open(Field.PAN))
        cell.press(CARD)
        assert TokeniseFailed("provider_error") == cell.until(TokeniseFailed)
        cell.keys.settimeout(WAIT_S)
        assert b"" == cell.keys.recv(1)


def test_a_token_that_is_the_pan_never_leaves(house: SpawnerEnds) -> None:
    """The cell ends rather than sends it."""
    cell = house.fork("leaking")
    cell.say(Open(Field.PAN))
    cell.press(CARD)
    with pytest.raises(AssertionError, match="gone"):
        cell.until(Ready)
    assert EXIT_LEAK_STOPPED == house.cell_end()["status"]
    cell.hang_up()


@pytest.mark.parametrize("message", [b"{}", b'{"c":"open"}', b"x" * 5000])
def test_a_broker_that_speaks_nonsense_loses_its_cell(house: SpawnerEnds, message: bytes) -> None:
    """A fault of ours ends the capture; it is not guessed at."""
    cell = house.fork()
    cell.until(PostureTold)
    cell.report.send(message)
    assert EXIT_BAD_COMMAND == house.cell_end()["status"]
    cell.hang_up()


# --- time -----------------------------------------------------------------------------------------------


def test_the_limits_come_from_the_broker(house: SpawnerEnds) -> None:
    """Asked, warned, expired, gone."""
    limits = {"silence_s": 0.15, "idle_s": 1.5, "payment_s": 5.0, "warning_s": 1.0}
    cell = house.fork(limits=limits)
    cell.until(PostureTold)
    cell.say(Open(Field.PAN))
    kinds = [type(cell.fact()) for _ in range(5)]
    assert [Opened, NoInput, Problem, TimeWarning, Expired] == kinds
    assert EXIT_EXPIRED == house.cell_end()["status"]
    cell.hang_up()


def test_a_ready_card_expires_with_its_payment(house: SpawnerEnds) -> None:
    """No field is open, so no idle limit; the payment's limit ends it all the same."""
    cell = house.fork(limits={"idle_s": 0.2, "payment_s": 1.0})
    cell.say(Open(Field.PAN))
    cell.press(CARD)
    cell.until(Ready)
    assert Expired("payment") == cell.until(Expired)
    assert EXIT_EXPIRED == house.cell_end()["status"]
    cell.hang_up()


# --- walls ----------------------------------------------------------------------------------------------


def test_a_cell_can_do_nothing_but_its_work(house: SpawnerEnds) -> None:
    """No file, no socket, no process, no signal, no root, nothing to print on."""
    tried = [
        "write",
        "read",
        "stream",
        "datagram",
        "unix",
        "connect",
        "fork",
        "exec",
        "signal",
        "pipe",
        "become_root",
        "stderr",
    ]
    config = {"try": tried, "path": "/etc/hostname", "port": 1}
    for cell in _cell(house, "burglar", config=config):
        cell.say(Open(Field.PAN))
        cell.press(CARD)
        assert "worked: " == cell.until(Ready).token


def test_a_provider_gets_the_port_it_needs_and_no_other(
    house: SpawnerEnds, run_dir: Path, listener: socket.socket
) -> None:
    """One TCP port, one folder to read; no datagram, no other port, no other file, no writing."""
    (run_dir / "ca.pem").write_text("x", encoding="ascii")
    with socket.create_server(("127.0.0.1", 0)) as other:
        config = {
            "try": ["write", "read", "stream", "datagram", "unix", "connect", "elsewhere", "fork"],
            "path": str(run_dir / "ca.pem"),
            "port": listener.getsockname()[1],
            "other_port": other.getsockname()[1],
        }
        for cell in _cell(house, "caller", config=config):
            cell.say(Open(Field.PAN))
            cell.press(CARD)
            assert "worked: read stream connect" == cell.until(Ready).token


@pytest.mark.root
def test_a_cell_holds_five_descriptors_an_ordinary_uid_and_no_core(cell: CellEnds) -> None:
    """Null device three times and the two sockets; `nobody`; a core of no byte; no new privilege."""
    process = Path(f"/proc/{cell.pid}")
    names = sorted(str(one.readlink()) for one in (process / "fd").iterdir())
    assert ["/dev/null"] * 3 == names[:3]
    assert ["socket", "socket"] == [name.partition(":")[0] for name in names[3:]]
    status = (process / "status").read_text(encoding="ascii")
    uid = str(CELL_UID)
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
    assert "NoNewPrivs:\t1\n" in status
    assert "Seccomp:\t2\n" in status
    assert "Threads:\t1\n" in status
    limits = (process / "limits").read_text(encoding="ascii")
    for name in ("core file size", "processes", "file size"):
        assert re.search(rf"^Max {name} +0 +0 ", limits, re.MULTILINE)
    assert 0 == (process / "mem").stat().st_uid


@pytest.mark.root
def test_the_digits_are_nowhere_but_in_the_sealed_page(house: SpawnerEnds, cell: CellEnds) -> None:
    """A search of the cell and of its parent finds no PAN, half or whole; the search itself works."""
    pan = next(one for one in (f"999900731940582{last}" for last in range(10)) if _luhn(one))
    cell.say(Open(Field.PAN))
    cell.press(pan + "1230" + "123")
    assert Ready("canary", pan[-4:], "tok_good") == cell.until(Ready)
    for pid in (cell.pid, house.process.pid):
        for pattern in (pan.encode(), pan[:10].encode(), bytes(int(one) for one in pan)):
            assert 0 == search(pid, pattern).hits
    assert 1 == search(cell.pid, b"x").sealed
    planted = bytearray(pan.encode())
    assert search(os.getpid(), bytes(planted)).hits >= 1


@pytest.mark.root
def test_a_failing_provider_leaves_no_digit_in_the_heap(house: SpawnerEnds) -> None:
    """Its frames held the PAN as text; they are emptied, and what is freed is overwritten."""
    for cell in _cell(house, "failing"):
        cell.say(Open(Field.PAN))
        cell.press(CARD)
        cell.until(TokeniseFailed)
        time.sleep(0.05)
        assert 0 == search(cell.pid, MASTERCARD.encode()).hits


def test_end_ends_at_once(house: SpawnerEnds) -> None:
    """In less than a second the pid is gone."""
    cell = house.fork()
    cell.until(PostureTold)
    began = time.monotonic()
    cell.say(End())
    assert 0 == house.cell_end()["status"]
    assert time.monotonic() - began < 1.0
    cell.hang_up()


def _luhn(pan: str) -> bool:
    return (
        sum(sum(divmod(int(one) * (1 + place % 2), 10)) for place, one in enumerate(reversed(pan))) % 10 == 0
    )
