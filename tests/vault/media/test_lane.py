"""The short way twice: the compiled carrier and the Python one do the same with the same packets."""

import contextlib
import random
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.support.media import ROOT, Media, media
from vault.media.ear import CLOSED as EAR_CLOSED
from vault.media.ear import DEPTH, EarMemory
from vault.media.g711 import ULAW_TO_ALAW
from vault.media.lane import (
    BUFFER,
    CLOSED,
    DONE,
    LIBRARY,
    NEXT,
    NOBODY,
    SOURCE,
    Carrier,
    Lane,
    Lanes,
    NativeCarrier,
    PythonCarrier,
    native_library,
    open_carrier,
    source_name,
)
from vault.media.lane_build import build
from vault.media.noise import comfort_noise

SSRC, OUR_SSRC = 0x01020304, 0x05060708
ROW = 3
HEAD = 0x80 << 56 | 100 << 32 | 5000
OUT = 0x80 << 56 | 900 << 32 | 70_000
KINDS = ("native", "python")
NOISES = tuple(comfort_noise()[codec] for codec in ("PCMU", "PCMA"))


def packet(head: int, payload: bytes = bytes(160), ssrc: int = SSRC) -> bytes:
    """A datagram with `head` as its first eight bytes."""
    return struct.pack("!QI", head, ssrc) + payload


@dataclass
class Rig:
    """One carrier with one open lane between two pairs of sockets."""

    carrier: Carrier
    lanes: Lanes
    memory: EarMemory
    ours: socket.socket
    """The leg's socket."""
    peer: socket.socket
    away: socket.socket
    """Where the audio leaves."""
    got: socket.socket
    lane: Lane
    seen: list[tuple[int, bytes]] = field(default_factory=list)
    """Length and content of what was handed over."""

    def put(self, *datagrams: bytes) -> None:
        """The peer sends; the carrier has one turn for each."""
        for datagram in datagrams:
            self.peer.send(datagram)
            while select.select([self.ours], [], [], 0)[0]:
                number = self.carrier.next(time.monotonic() + 0.001)
                if number != DONE:
                    assert number == self.ours.fileno()
                    self.seen.append((self.carrier.length, bytes(BUFFER[: self.carrier.length])))

    def left(self) -> list[bytes]:
        """What left so far."""
        out: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                out.append(self.got.recv(2048))
        return out

    def state(self) -> tuple[int, ...]:
        """Everything a carrier moves on, but the times."""
        lane = self.lane
        return (lane.last, lane.ssrc, lane.run, lane.failures, self.memory.taken[ROW])


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected UDP sockets on loopback."""
    one, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(2))
    one.bind(("127.0.0.1", 0))
    other.bind(("127.0.0.1", 0))
    one.connect(other.getsockname())
    other.connect(one.getsockname())
    return one, other


@contextlib.contextmanager
def rig(kind: str, head: int = HEAD, out: int = OUT) -> Iterator[Rig]:
    """A lane whose last packet had `head` and left with `out`."""
    (ours, peer), (away, got) = pair(), pair()
    epoll, lanes, memory = select.epoll(), Lanes(), EarMemory(8)
    library = native_library()
    assert library is not None
    make = {
        "native": lambda: NativeCarrier(library, epoll, lanes, memory, NOISES),
        "python": lambda: PythonCarrier(epoll, lanes, memory, NOISES),
    }
    lane = lanes.lane(ours)
    lane.row, lane.out_fd, lane.out_ssrc = ROW, away.fileno(), OUR_SSRC
    lanes.carry(ours.fileno())
    epoll.register(ours.fileno(), select.EPOLLIN)
    lane.open(head, SSRC, out - head)
    yield Rig(make[kind](), lanes, memory, ours, peer, away, got, lane)
    for closing in (ours, peer, away, got, epoll):
        closing.close()


def test_the_library_is_built_from_this_source():
    """Set-up compiled it, and one that is there is not built again."""
    assert "media's short way is compiled" == build()
    library = native_library()
    assert library is not None
    assert source_name().encode() == library.lanes_source()
    assert LIBRARY.exists()


def test_without_the_library_packets_are_carried_in_python(monkeypatch, tmp_path):
    """A machine without a compiler carries packets all the same."""
    monkeypatch.setattr("vault.media.lane.LIBRARY", tmp_path / "none.so")
    with contextlib.closing(select.epoll()) as epoll:
        assert isinstance(open_carrier(epoll, Lanes(), EarMemory(1), NOISES), PythonCarrier)


def test_a_library_of_another_source_is_refused(monkeypatch, tmp_path):
    """Half an update never carries packets."""
    other = tmp_path / "lane.c"
    other.write_text(SOURCE.read_text() + "\n/* changed */\n")
    monkeypatch.setattr("vault.media.lane.SOURCE", other)
    assert native_library() is None


@pytest.mark.parametrize("kind", KINDS)
def test_an_ordinary_packet_is_heard_and_leaves_as_ours(kind):
    """Sequence, time stamp and SSRC are ours; the payload lies in the ear's slot."""
    with rig(kind) as made:
        payload = bytes(range(160))
        made.put(packet(HEAD + NEXT, payload))
        assert [packet(OUT + NEXT, payload, OUR_SSRC)] == made.left()
        assert payload == bytes(made.memory.slots[ROW])
        assert ([], 1, 1) == (made.seen, made.memory.taken[ROW], made.lane.run)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "odd",
    [
        packet(HEAD + NEXT + 1),
        packet(HEAD),
        packet(HEAD + 2 * NEXT),
        packet(HEAD + NEXT, ssrc=SSRC + 1),
        packet(HEAD + NEXT, ssrc=0xFFFFFFFF),
        packet(HEAD + NEXT | 0x80 << 48),
        packet(HEAD + NEXT | 101 << 48),
        packet(HEAD + NEXT | 0x10 << 56),
        packet(HEAD + NEXT, bytes(159)),
        packet(HEAD + NEXT, bytes(161)),
        packet(HEAD + NEXT, bytes(3000)),
        b"",
        b"x",
        bytes(172),
    ],
)
def test_every_other_packet_is_handed_over_untouched(kind, odd):
    """Nothing of it leaves, nothing is heard, no figure moves."""
    with rig(kind) as made:
        before = made.state()
        made.put(odd)
        assert [(min(len(odd), 2048), odd[:2048])] == made.seen
        assert ([], before) == (made.left(), made.state())


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_lane_hands_over_what_was_ordinary(kind):
    """`step_aside` closes a lane by its SSRC, which no packet can have."""
    with rig(kind) as made:
        made.lane.ssrc = CLOSED
        made.put(packet(HEAD + NEXT))
        assert 1 == len(made.seen)
        assert [] == made.left()


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_to_lead_to_means_nothing_leaves(kind):
    """SECURE: heard, and not one byte sent."""
    with rig(kind) as made:
        made.lane.out_fd = NOBODY
        made.put(packet(HEAD + NEXT))
        assert ([], [], 1) == (made.seen, made.left(), made.memory.taken[ROW])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taken", [DEPTH, EAR_CLOSED, EAR_CLOSED | 1])
def test_a_full_or_closed_ear_hands_over(kind, taken):
    """No frame is lost to the detector: Python puts it into the reorder buffer."""
    with rig(kind) as made:
        made.memory.taken[ROW] = taken
        made.put(packet(HEAD + NEXT))
        assert ([], 1, taken) == (made.left(), len(made.seen), made.memory.taken[ROW])


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_one_turn_lie_in_order(kind):
    """Up to DEPTH packets between two turns of the ear: one below the other."""
    with rig(kind) as made:
        frames = [bytes([at]) * 160 for at in range(DEPTH)]
        made.put(*(packet(HEAD + (at + 1) * NEXT, frame) for at, frame in enumerate(frames)))
        assert frames == [bytes(made.memory.slots[depth * 8 + ROW]) for depth in range(DEPTH)]


@pytest.mark.parametrize("kind", KINDS)
def test_payload_is_translated(kind):
    """µ-law in, A-law out; the ear hears what came."""
    with rig(kind) as made:
        made.lane.law = 1
        payload = bytes(range(160))
        made.put(packet(HEAD + NEXT, payload))
        assert payload.translate(ULAW_TO_ALAW) == made.left()[0][12:]
        assert payload == bytes(made.memory.slots[ROW])


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_send_is_counted(kind):
    """A dead peer of the other leg is a figure, not an error."""
    with rig(kind) as made:
        made.got.close()
        made.put(*(packet(HEAD + at * NEXT) for at in (1, 2, 3)))
        assert (3, True) == (made.lane.run, made.lane.failures > 0)


WRAPS = {
    "their sequence": (HEAD | 0xFFFC << 32, OUT),
    "our sequence": (HEAD, OUT | 0xFFFC << 32),
    "their time stamp": (HEAD & ~0xFFFFFFFF | 0xFFFFFFFF - 600, OUT),
    "our time stamp": (HEAD, OUT & ~0xFFFFFFFF | 0xFFFFFFFF - 600),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WRAPS)
def test_a_lane_ends_before_a_number_begins_anew(kind, name):
    """No addition carries into the next field; the packet after the last is Python's."""
    head, out = WRAPS[name]
    with rig(kind, head, out) as made:
        made.put(*(packet(head + at * NEXT) for at in range(1, 6)))
        assert [packet(out + at * NEXT, ssrc=OUR_SSRC) for at in range(1, 4)] == made.left()
        assert (CLOSED, 3, 2) == (made.lane.ssrc, made.lane.run, len(made.seen))


def test_there_is_no_lane_at_the_very_end():
    """A head whose successor begins anew opens nothing."""
    for head, out in ((HEAD | 0xFFFF << 32, OUT), (HEAD, OUT & ~0xFFFFFFFF | 0xFFFFFFFF)):
        lane = Lane()
        lane.clear()
        lane.open(head, SSRC, out - head)
        assert CLOSED == lane.ssrc


def some_packets(seed: int) -> list[bytes]:
    """Two hundred packets, most of them ordinary."""
    rng = random.Random(seed)
    at, out = 0, []
    for _ in range(200):
        at += rng.choices((1, 0, 2, -1, 5), (30, 1, 1, 1, 1))[0]
        head = HEAD + at * NEXT + rng.choices((0, 1, 1 << 48, 0x80 << 48, 1 << 60), (40, 1, 1, 1, 1))[0]
        size = rng.choices((160, 0, 80, 240), (40, 1, 1, 1))[0]
        out.append(packet(head & (1 << 64) - 1, rng.randbytes(size), SSRC + (rng.random() < 0.02)))
    return out


@pytest.mark.parametrize("seed", range(3))
def test_both_carriers_agree_on_any_packets(seed):
    """Seeded: same packets out, same packets handed over, same figures after each."""
    told = {}
    for kind in KINDS:
        with rig(kind) as made:
            steps = []
            for datagram in some_packets(seed):
                made.put(datagram)
                if made.memory.taken[ROW] >= DEPTH:
                    made.memory.taken[ROW] = 0
                if made.seen and made.lane.ssrc != CLOSED and len(datagram) == 172:
                    head, ssrc = struct.unpack_from("!QI", datagram)
                    if made.seen[-1][1] == datagram and ssrc == SSRC:
                        made.lane.open(head, SSRC, made.lane.shift)
                steps.append(made.state())
            told[kind] = (steps, made.left(), made.seen, bytes(made.memory.frames))
    assert told["python"] == told["native"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [1, 2])
def test_a_humming_lane_sends_the_noise_in_order(kind, noise):
    """One frame for each call, in our own numbers; the state tells how far it is."""
    with rig(kind) as made:
        assert made.lane.begin_hum(OUT, OUR_SSRC, noise, len(NOISES[0]) - 2)
        made.lanes.hum(made.ours.fileno())
        assert [0, 0, 0] == [made.carrier.hum(units) for units in (100, 200, 300)]
        frames = NOISES[noise - 1]
        got = [made.peer.recv(2048) for _ in range(3)]
        expected = [packet(OUT + (at + 1) * NEXT, frames[at - 1], OUR_SSRC) for at in range(3)]
        assert expected == got
        assert (3, 300, OUT + 3 * NEXT) == (made.lane.hummed, made.lane.hum_units, made.lane.own)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lane_that_does_not_hum_is_silent_and_told(kind):
    """Hushed, or at the end of its numbers: nothing leaves, and the relay hears of it."""
    with rig(kind) as made:
        made.lanes.hum(made.ours.fileno())
        assert 1 == made.carrier.hum(1)
        assert made.lane.begin_hum(OUT | 0xFFFD << 32, OUR_SSRC, 1, 0)
        assert [0, 0, 1] == [made.carrier.hum(units) for units in (1, 2, 3)]
        made.lanes.hush(made.ours.fileno())
        assert 0 == made.carrier.hum(4)
        assert 2 == made.lane.hummed


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_when_due(kind):
    """Nothing to read: DONE at the time asked for, not before."""
    with rig(kind) as made:
        begun = time.monotonic()
        assert DONE == made.carrier.next(begun + 0.03)
        assert time.monotonic() - begun >= 0.03


@pytest.mark.parametrize("option", [(), ("--no-native",)])
async def test_a_bridged_call_sounds_the_same_on_both(option):
    """The whole media process, with and without the library: gap-free streams, right figures."""
    async with media(*option) as made:
        assert isinstance(made, Media)
        caller, agent = await made.call()
        said = [caller.say() for _ in range(40)]
        await agent.heard(40)
        caller.sequence += 3
        said += [caller.say() for _ in range(10)]
        await agent.heard(50)
        assert said == agent.payloads()
        numbers = [sequence for _, _, sequence, _, _ in agent.headers()]
        assert [(numbers[0] + at + 3 * (at >= 40)) & 0xFFFF for at in range(50)] == numbers


def test_the_compiled_source_stands_hostile_packets(tmp_path):
    """Address and undefined-behaviour sanitizers over eight thousand random datagrams: not a word."""
    program = tmp_path / "fuzz"
    command = ["gcc", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    source = ROOT / "tests" / "vault" / "media" / "lane_fuzz.c"
    subprocess.run([*command, '-DLANE_SOURCE=""', "-I", SOURCE.parent, "-o", program, source], check=True)
    done = subprocess.run([program, "8000"], capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    ordinary, handed = (int(word) for word in done.stdout.split() if word.isdigit())
    assert min(ordinary, handed) > 1_000
