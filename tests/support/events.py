"""Callers who key, as RTP: by telephone-event, tone or both, with a lead-in; and networks on the way."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.support.tones import Audio, Manner, frames, tone
from vault.media.telephone_event import build

PACKET_MS = 20
TICKS = 160
"""Timestamp units of a packet at 8 kHz."""

LEAD_IN_MS = 40
"""Tone a gateway lets through before it has recognised the key and sends events."""


@dataclass(frozen=True)
class Packet:
    """One RTP packet as far as keys are concerned."""

    at_ms: float
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    is_event: bool
    is_end: bool = False


@dataclass(frozen=True, kw_only=True)
class Caller:
    """How this phone sends its keys; `kind` is events, inband, both or lead-in."""

    kind: str = "events"
    on_ms: int = 100
    off_ms: int = 100
    restamped_ends: bool = False
    """Each copy of the end packet carries a timestamp of its own."""
    ends: int = 3
    end_spacing_ms: float = PACKET_MS
    alaw: bool = True


def _sound(keys: Sequence[int], caller: Caller, lead_ms: int, rng: np.random.Generator) -> Audio:
    """The caller's audio: tones where this kind of phone makes them audible, faint noise elsewhere."""
    audible = {"events": 0, "lead-in": LEAD_IN_MS}.get(caller.kind, caller.on_ms)
    count = (lead_ms + len(keys) * (caller.on_ms + caller.off_ms) + 200) * 8
    sound = rng.normal(0, 10, count)
    if audible:
        for n, key in enumerate(keys):
            start = (lead_ms + n * (caller.on_ms + caller.off_ms)) * 8
            sound[start : start + audible * 8] += tone(key, Manner(on_ms=audible), rng)
    return sound


def _press(key: int, start_ms: int, caller: Caller, ssrc: int, origin: int) -> list[Packet]:
    """The telephone-event packets of one press, sequence numbers still open."""
    stamp = (origin + start_ms * 8) & 0xFFFF_FFFF
    updates = range(PACKET_MS, caller.on_ms, PACKET_MS)
    packets = [
        Packet(
            start_ms + at, 0, stamp, ssrc, build(key, end=False, volume=10, duration=at * 8), is_event=True
        )
        for at in updates
    ]
    for copy in range(caller.ends):
        shift = (copy + 1) * TICKS if caller.restamped_ends else 0
        at = start_ms + caller.on_ms + copy * caller.end_spacing_ms
        payload = build(key, end=True, volume=10, duration=caller.on_ms * 8)
        packets.append(
            Packet(at, 0, (stamp + shift) & 0xFFFF_FFFF, ssrc, payload, is_event=True, is_end=True)
        )
    return packets


def dial(keys: Sequence[int], caller: Caller, rng: np.random.Generator, *, lead_ms: int = 60) -> list[Packet]:
    """What the phone sends, in order, on a perfect clock; sequence numbers and timestamps start anywhere."""
    ssrc, origin, first = (int(n) for n in rng.integers(0, 2**32, 3))
    audio = frames(_sound(keys, caller, lead_ms, rng), alaw=caller.alaw)
    packets = [
        Packet(
            n * PACKET_MS + PACKET_MS, 0, (origin + n * TICKS) & 0xFFFF_FFFF, ssrc, payload, is_event=False
        )
        for n, payload in enumerate(audio)
    ]
    if caller.kind != "inband":
        spacing = caller.on_ms + caller.off_ms
        for n, key in enumerate(keys):
            packets += _press(key, lead_ms + n * spacing, caller, ssrc, origin)
    packets.sort(key=lambda packet: packet.at_ms)
    return [replace(packet, sequence=(first + n) & 0xFFFF) for n, packet in enumerate(packets)]


Network = Callable[[list[Packet], np.random.Generator], Iterable[Packet]]


def losing(rate: float, burst: int = 1) -> Network:
    """Loses that share of packets, `burst` in a row."""

    def network(packets: list[Packet], rng: np.random.Generator) -> Iterable[Packet]:
        lost_until = -1
        for n, packet in enumerate(packets):
            if n > lost_until and rng.random() < rate / burst:
                lost_until = n + burst - 1
            if n > lost_until:
                yield packet

    return network


def jittering(jitter_ms: float) -> Network:
    """Delays each packet by up to that much, so that neighbours overtake each other."""

    def network(packets: list[Packet], rng: np.random.Generator) -> Iterable[Packet]:
        late = [replace(packet, at_ms=packet.at_ms + rng.uniform(0, jitter_ms)) for packet in packets]
        return sorted(late, key=lambda packet: packet.at_ms)

    return network


def doubling(rate: float) -> Network:
    """Delivers that share of packets twice, the copy 5 ms later."""

    def network(packets: list[Packet], rng: np.random.Generator) -> Iterable[Packet]:
        copies = [replace(packet, at_ms=packet.at_ms + 5) for packet in packets if rng.random() < rate]
        return sorted([*packets, *copies], key=lambda packet: packet.at_ms)

    return network


def clean(packets: list[Packet], _rng: np.random.Generator) -> Iterable[Packet]:
    """Delivers everything in time."""
    return packets
