"""The slow clock, on a real relay with real sockets and a clock of the test's own."""

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from vault.door import Remote
from vault.media.capturing import Capturing
from vault.media.lane import Lane
from vault.media.leg import Role
from vault.media.prompting import Prompting
from vault.media.relay import Relay
from vault.media.upkeep import Upkeep


@dataclass
class Shell:
    """The rim of a relay: remembers what is watched and what is told."""

    watched: dict[int, Callable[[int], None]] = field(default_factory=dict)
    told: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def watch(self, sock: socket.socket, handler: Callable[[int], None]) -> None:
        self.watched[sock.fileno()] = handler

    def lane(self, sock: socket.socket) -> Lane:
        del sock
        lane = Lane()
        lane.clear()
        return lane

    def carry(self, sock: socket.socket, unusual: Callable[[int, int], None]) -> None:
        del unusual
        self.watched.pop(sock.fileno(), None)

    def hum(self, sock: socket.socket) -> None:
        raise AssertionError(sock)

    def hush(self, sock: socket.socket) -> None:
        raise AssertionError(sock)

    def noise(self, units: int) -> int:
        raise AssertionError(units)

    def unwatch(self, sock: socket.socket) -> None:
        self.watched.pop(sock.fileno(), None)

    def app(self, name: str, leg_id: str, values: dict[str, object]) -> None:
        self.told.append((name, leg_id, values))

    def broker(self, name: str, leg_id: str, values: dict[str, object]) -> None:
        self.told.append((f"broker {name}", leg_id, values))


@dataclass
class House:
    """A relay with everything around it."""

    shell: Shell
    relay: Relay
    upkeep: Upkeep
    capturing: Capturing
    now_ms: float = 1_000_000.0

    def run(self, seconds: float) -> None:
        """Let the slow clock tick for a while."""
        for _ in range(round(seconds * 10)):
            self.now_ms += 100
            self.relay.ears.now_ms = self.now_ms
            self.upkeep.tick(self.now_ms, self.now_ms / 1000, int(self.now_ms * 8))


@pytest.fixture
def house() -> Iterator[House]:
    shell = Shell()
    relay = Relay(shell, shell, "127.0.0.1", range(20_000, 60_000), 8)
    prompting = Prompting(relay)
    capturing = Capturing(relay, prompting)
    made = House(shell, relay, Upkeep(relay, prompting, capturing), capturing)
    relay.ears.now_ms = made.now_ms
    yield made
    for party in list(relay.parties.values()):
        capturing.close(party)


@contextlib.contextmanager
def listener() -> Iterator[socket.socket]:
    """The peer's RTP address, with its RTCP port read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def test_a_silent_leg_is_told_after_20_s_and_ever_more_rarely(house: House) -> None:
    """Neither RTP nor RTCP: at 20 s, 40 s, 80 s; not before, and not ten times a second."""
    house.relay.open_leg("leg_1", Role.CALLER, None, resume=False)
    house.relay.set_remote(house.relay.party("leg_1"), Remote("127.0.0.1", 4000, "PCMU", 0))
    house.run(19)
    assert not house.shell.told
    house.run(65)
    silent = [values["seconds"] for name, _, values in house.shell.told if name == "leg.silent"]
    assert [20, 40, 80] == silent


def test_a_leg_that_is_heard_again_is_told_once(house: House) -> None:
    """After 25 s of silence reports come: one `leg.heard`, and no second one while they go on."""
    house.relay.open_leg("leg_1", Role.CALLER, None, resume=False)
    party = house.relay.party("leg_1")
    house.relay.set_remote(party, Remote("127.0.0.1", 4000, "PCMU", 0))
    house.run(25)
    for _ in range(3):
        party.leg.rtcp_heard_ms = house.now_ms
        house.run(1)
    assert ["leg.silent", "leg.heard"] == [name for name, _, _ in house.shell.told]


def test_a_held_leg_may_be_silent(house: House) -> None:
    """Who is asked to send nothing is not lost."""
    house.relay.open_leg("leg_1", Role.CALLER, None, resume=False)
    remote = Remote("127.0.0.1", 4000, "PCMU", 0, direction="sendonly")
    house.relay.set_remote(house.relay.party("leg_1"), remote)
    house.run(60)
    assert not house.shell.told


def test_reports_go_out_every_five_seconds(house: House) -> None:
    """RTCP to the port beside the peer's, about one each 5 s."""
    with listener() as rtcp_port:
        house.relay.open_leg("leg_1", Role.CALLER, None, resume=False)
        remote = Remote("127.0.0.1", rtcp_port.getsockname()[1] - 1, "PCMU", 0)
        house.relay.set_remote(house.relay.party("leg_1"), remote)
        house.run(30)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while rtcp_port.recv(2048):
                count += 1
        assert 5 <= count <= 7


def test_a_peer_on_the_last_port_gets_no_reports_and_stops_nobody(house: House) -> None:
    """65535 is a port that any SDP may name; there is none beside it for RTCP."""
    with listener() as rtcp_port:
        for name, port in (("leg_1", 65_535), ("leg_2", rtcp_port.getsockname()[1] - 1)):
            house.relay.open_leg(name, Role.CALLER, None, resume=False)
            house.relay.set_remote(house.relay.party(name), Remote("127.0.0.1", port, "PCMU", 0))
        house.run(6)
        assert rtcp_port.recv(2048)


def test_a_sender_without_a_way_back_is_not_latched(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet from an address that we cannot reach is counted, and the process goes on."""
    house.relay.open_leg("leg_1", Role.CALLER, None, resume=False)
    leg = house.relay.party("leg_1").leg
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        house.relay.set_remote(house.relay.party("leg_1"), Remote(*peer.getsockname(), "PCMU", 0))
        monkeypatch.setattr(socket.socket, "connect", _unreachable)
        peer.sendto(bytes([0x80]) + bytes(171), ("127.0.0.1", leg.port))
        house.shell.watched[leg.rtp.fileno()](0)
    assert 1 == leg.counts["bad"]
    assert leg.latch is not None
    assert leg.latch.peer is None


def _unreachable(*_: object) -> None:
    raise OSError(errno.ENETUNREACH, "no route")


def test_orphans_end_after_30_s_without_the_app(house: House) -> None:
    """Without a prompt to play they are closed at once, and the broker hears of it."""
    house.relay.open_leg("leg_1", Role.CALLER, None, resume=True)
    house.upkeep.app_lost_ms = house.now_ms
    house.run(29)
    assert 1 == len(house.relay.parties)
    house.run(2)
    assert {} == house.relay.parties
    assert {} == house.shell.watched
    assert ("broker leg.closed", "leg_1", {"capture_id": ""}) in house.shell.told


def test_the_app_in_time_saves_them(house: House) -> None:
    """Back after 29 s: nothing ends."""
    house.relay.open_leg("leg_1", Role.CALLER, None, resume=False)
    house.upkeep.app_lost_ms = house.now_ms
    house.run(29)
    house.upkeep.app_is_back()
    house.run(60)
    assert 1 == len(house.relay.parties)
