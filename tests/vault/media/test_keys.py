"""The whole way of a key: a caller's packets through receiver, reorder buffer, detector and merge rule."""

from collections.abc import Sequence

import numpy as np
import pytest

from tests.support.events import Caller, Network, Packet, clean, dial, doubling, jittering, losing
from vault.media.g711 import SILENCE
from vault.media.inband import InbandDetector
from vault.media.merge import KeyMerge
from vault.media.reorder import ReorderBuffer
from vault.media.telephone_event import EventReceiver

SEQUENCES = (
    "4242424242424242",
    "5555555555554444",
    "1122334455667788",
    "4000000000000002",
    "4000000000009995",
    "1122334455667788",
    "4000000000009987",
    "4000000000009979",
    "1122334455667788",
    "4000000000000069",
    "4000002760003184",
    "4242424242424241",
)
"""Published test cards, and the digits 1122334455667788, which are no card: every key twice in a row."""

NETWORKS: dict[str, Network] = {
    "clean": clean,
    "loss 1 %": losing(0.01),
    "loss 3 %": losing(0.03),
    "loss 5 %": losing(0.05),
    "loss 5 % in bursts of 3": losing(0.05, burst=3),
    "jitter 30 ms": jittering(30),
    "10 % twice": doubling(0.10),
}
FAST = {"on_ms": 60, "off_ms": 60}
KINDS = {
    "events": Caller(),
    "both": Caller(kind="both"),
    "lead-in": Caller(kind="lead-in"),
    "events, ends re-stamped": Caller(restamped_ends=True),
    "events, no end packet": Caller(ends=0),
    "events, ends at once": Caller(end_spacing_ms=0),
}
TICK_MS = 20

TONES_MIN = dict.fromkeys(NETWORKS, 0.99) | {"loss 5 % in bursts of 3": 0.95}
"""Share of keys heard from tones alone: a burst in mid-tone leaves two pieces of 20 ms, which are no key."""


class Listener:
    """Some callers' legs, heard as the relay hears them: packets at once, audio every 20 ms."""

    def __init__(self, count: int, *, alaw: bool) -> None:
        self.alaw = alaw
        self.receivers = [EventReceiver() for _ in range(count)]
        self.buffers = [ReorderBuffer(SILENCE["PCMA" if alaw else "PCMU"]) for _ in range(count)]
        self.merges = [KeyMerge() for _ in range(count)]
        self.detector = InbandDetector(count)
        self.keys: list[list[int]] = [[] for _ in range(count)]

    def packet(self, row: int, packet: Packet) -> None:
        if not packet.is_event:
            self.buffers[row].push(packet.sequence, packet.payload)
            return
        key = self.receivers[row].packet(packet.ssrc, packet.timestamp, packet.payload, packet.at_ms)
        if key is not None:
            self.keys[row] += self.merges[row].event(key, packet.at_ms)

    def tick(self, now_ms: float) -> None:
        heard = {row: frames for row, buffer in enumerate(self.buffers) if (frames := buffer.pop(now_ms))}
        for n in range(max(map(len, heard.values()), default=0)):
            rows = [row for row, frames in heard.items() if n < len(frames)]
            for row, key in self.detector.feed(
                rows, [heard[row][n] for row in rows], [self.alaw] * len(rows)
            ):
                self.keys[row] += self.merges[row].inband(key, now_ms)
        for row, merge in enumerate(self.merges):
            self.receivers[row].tick(now_ms)
            self.keys[row] += merge.tick(now_ms)


def hear(streams: Sequence[list[Packet]], *, alaw: bool = True) -> list[list[int]]:
    """The keys of each caller, all on one clock."""
    listener = Listener(len(streams), alaw=alaw)
    queue = sorted(
        ((packet.at_ms, row, packet) for row, stream in enumerate(streams) for packet in stream),
        key=lambda entry: entry[0],
    )
    now = 0.0
    for at_ms, row, packet in queue:
        while now + TICK_MS <= at_ms:
            now += TICK_MS
            listener.tick(now)
        listener.packet(row, packet)
    for _ in range(20):
        now += TICK_MS
        listener.tick(now)
    return listener.keys


def through(caller: Caller, network: Network, seed: int) -> list[list[int]]:
    """What is heard of all sequences, keyed by this caller through this network."""
    rng = np.random.default_rng(seed)
    streams = [list(network(dial(keys, caller, rng), rng)) for keys in wanted()]
    return hear(streams, alaw=caller.alaw)


def wanted() -> list[list[int]]:
    return [[int(digit) for digit in sequence] for sequence in SEQUENCES]


def hits(expected: Sequence[int], actual: Sequence[int]) -> int:
    """Length of the longest common subsequence: digits heard, in order."""
    best = [0] * (len(actual) + 1)
    for want in expected:
        row = best[:]
        for n, got in enumerate(actual):
            row[n + 1] = best[n] + 1 if got == want else max(best[n + 1], row[n])
        best = row
    return best[-1]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_key_arrives_once_whatever_the_network_does(kind: str, network: str) -> None:
    """All twelve sequences are perfect for every kind of caller who sends telephone-events."""
    assert wanted() == through(KINDS[kind], NETWORKS[network], seed=11)


@pytest.mark.parametrize("kind", ["events", "both", "lead-in", "inband"])
def test_fast_fingers_lose_no_key(kind: str) -> None:
    """60 ms keys with 60 ms pauses are heard in full, equal neighbours included."""
    assert wanted() == through(Caller(kind=kind, **FAST), clean, seed=12)


@pytest.mark.parametrize("alaw", [True, False])
@pytest.mark.parametrize("network", NETWORKS)
def test_tones_alone_lose_hardly_a_key_and_double_none(network: str, alaw: bool) -> None:
    """A phone without telephone-events: 99 % of the keys (bursts: 95 %) and none twice."""
    heard = through(Caller(kind="inband", alaw=alaw), NETWORKS[network], seed=13)
    total = sum(map(len, wanted()))
    caught = sum(hits(want, got) for want, got in zip(wanted(), heard, strict=True))
    assert (True, 0) == (caught >= TONES_MIN[network] * total, sum(map(len, heard)) - caught)


@pytest.mark.proof
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_key_arrives_once_in_many_runs(kind: str, network: str) -> None:
    """The same table, 25 different networks each: 300 sequences a cell."""
    assert [wanted()] * 25 == [through(KINDS[kind], NETWORKS[network], seed) for seed in range(100, 125)]
