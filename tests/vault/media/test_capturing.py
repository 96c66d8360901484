"""Guards, pipes and pauses of one caller, on a real relay with a clock of the test's own."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.vault.media.test_upkeep import Shell
from vault.door import Refused
from vault.media.capturing import TAIL_MS, TALK_SETTLE_MS, Capturing
from vault.media.leg import Role
from vault.media.party import Party
from vault.media.prompting import Prompting
from vault.media.relay import Relay
from vault.media.shield import TALK_MS_MAX, Guard

FRAME = b"\x55" * 160


@dataclass
class Bridged:
    """A caller under capture and his agent."""

    relay: Relay
    capturing: Capturing
    caller: Party
    agent: Party
    cell: socket.socket

    def later(self, seconds: float) -> None:
        """Let the guards' clock go on."""
        self.relay.ears.now_ms += seconds * 1000
        self.capturing.tick(self.relay.now_ms)

    def heard(self) -> None:
        """One frame leaves the gate for the agent."""
        assert self.caller.ear is not None
        self.relay.ears._talking[self.caller.ear.row](FRAME)


@pytest.fixture
def bridged() -> Iterator[Bridged]:
    shell = Shell()
    relay = Relay(shell, shell, "127.0.0.1", range(20_000, 60_000), 4)
    relay.ears.now_ms = 1_000_000.0
    capturing = Capturing(relay, Prompting(relay))
    for name, role in (("caller", Role.CALLER), ("agent", Role.AGENT)):
        relay.open_leg(name, role, None, resume=False)
    caller, agent = relay.party("caller"), relay.party("agent")
    relay.bridge(caller, agent)
    media_end, cell_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    capturing.attach(caller, "cap_1", media_end)
    yield Bridged(relay, capturing, caller, agent, cell_end)
    cell_end.close()
    for party in list(relay.parties.values()):
        capturing.close(party)


def test_a_pause_asked_for_twice_does_not_grow(bridged: Bridged) -> None:
    """The second order is refused and moves no clock: fifteen seconds after the first it is SECURE."""
    bridged.capturing.talk(bridged.caller, on=True)
    bridged.later(10)
    with pytest.raises(Refused):
        bridged.capturing.talk(bridged.caller, on=True)
    bridged.later(TALK_MS_MAX / 1000 - 10)
    assert Guard.CAPTURING is bridged.caller.guard


def test_nothing_of_a_pause_is_kept_for_the_next(bridged: Bridged) -> None:
    """Frames that wait for the agent's clock are gone with the mode that let them through."""
    bridged.capturing.talk(bridged.caller, on=True)
    bridged.later(TALK_SETTLE_MS / 1000)
    bridged.heard()
    assert [FRAME] == list(bridged.agent.gated)
    bridged.capturing.talk(bridged.caller, on=False)
    assert [] == list(bridged.agent.gated)


def test_nothing_of_a_pause_outlives_its_bridge(bridged: Bridged) -> None:
    """The agent's next caller is not preceded by a word of this one."""
    bridged.capturing.talk(bridged.caller, on=True)
    bridged.later(TALK_SETTLE_MS / 1000)
    bridged.heard()
    bridged.relay.unbridge(bridged.agent)
    assert [] == list(bridged.agent.gated)


def test_keys_under_way_when_a_capture_begins_are_nobodys(bridged: Bridged) -> None:
    """A PIN in one breath with the number before it: without its first digits it would be a wrong one."""
    caller, capturing = bridged.caller, bridged.capturing
    capturing.detach(caller)
    bridged.cell.close()
    capturing._lose_pipe(caller)
    bridged.later(2)
    assert Guard.OPEN is caller.guard
    caller.ahead.open(bridged.relay.now_ms)
    capturing.key(caller, 4, bridged.relay.now_ms)
    media_end, cell_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    cell_end.setblocking(False)
    capturing.attach(caller, "cap_2", media_end)
    for key, pause in ((7, 0.1), (1, 0.3), (1, 0.6), (5, TAIL_MS / 1000)):
        bridged.later(pause)
        capturing.key(caller, key, bridged.relay.now_ms)
    assert b"\x05" == cell_end.recv(1)
    with pytest.raises(BlockingIOError):
        cell_end.recv(1)
    cell_end.close()


def test_a_capture_that_begins_in_quiet_takes_the_first_key(bridged: Bridged) -> None:
    """No key was under way: nothing is waited for."""
    bridged.capturing.key(bridged.caller, 4, bridged.relay.now_ms)
    assert b"\x04" == bridged.cell.recv(1)
