"""The exact claim, checked on what an agent's telephone received.

From the moment the desk is told that the capture is on until it is told that it is over, and at least one
second after the card's last key, every payload on the agent's leg is one of the relay's own noise frames, and
they follow each other in the relay's own order. That order is learned from calls whose callers never sent a
packet: nothing of a caller can be in it. So neither a sample nor a choice, a gap or a number carries anything
of the caller. In every mode the leg is one plain RTP stream (RFC 3550) of the negotiated codec.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pay_ivr.proof.audio import FRAME, LEVELS, Samples, encode
from pay_ivr.proof.rtp_port import Datagram, payload_of

COPY_BYTES = 40
"""5 ms: a piece of audio this long that is equal is a copy."""
COPY_CHANGES = 8
"""Steps between unlike bytes in it; less is silence, which everybody's silence equals."""
FRAME_S = 0.02
RATE_TOLERANCE = 0.01
RATE_SLACK = 3
"""Packets at the two ends of a window that the clocks of two processes see differently."""
_WEIGHTS = np.random.default_rng(0).integers(1, 2**63, COPY_BYTES, dtype=np.uint64) * 2 + 1
_SEQUENCE = struct.Struct("!2xH")


class NoCycle(Exception):
    """The reference calls did not show one repeating order of frames."""


@dataclass(frozen=True)
class Window:
    """Monotonic seconds between which the claim holds for a call."""

    start: float
    end: float


NO_WINDOW = Window(0.0, 0.0)


@dataclass(frozen=True)
class Frame:
    """One RTP packet of the agent's leg."""

    at: float
    sequence: int
    timestamp: int
    payload: bytes


def frames(packets: Iterable[Datagram], window: Window | None = None) -> list[Frame]:
    """The packets of a window by time; ValueError for one that is not plain RTP."""
    found = []
    for packet in packets:
        if window is None or window.start <= packet.at <= window.end:
            _kind, _ssrc, timestamp, payload = payload_of(packet.data)
            found.append(Frame(packet.at, _SEQUENCE.unpack_from(packet.data)[0], timestamp, payload))
    return found


class Cycle:
    """The relay's noise frames in the order in which it sends them, for one codec."""

    def __init__(self, reference: Sequence[Frame]) -> None:
        payloads = [frame.payload for frame in reference]
        length = next((n for n in range(1, len(payloads)) if payloads[n] == payloads[0]), 0)
        self.place = {payload: number for number, payload in enumerate(payloads[:length])}
        repeats = all(payloads[n] == payloads[n % length] for n in range(len(payloads))) if length else False
        if not repeats or len(self.place) != length:
            raise NoCycle

    def __len__(self) -> int:
        return len(self.place)

    def breaches(self, heard: Sequence[Frame]) -> list[str]:
        """What in a window is not the relay's own: a payload, an order, a number."""
        found = []
        foreign = sum(frame.payload not in self.place for frame in heard)
        if foreign:
            found.append(f"{foreign} of {len(heard)} payloads in SECURE are not the relay's own")
        own = [frame for frame in heard if frame.payload in self.place]
        steps = [
            (after.sequence - before.sequence) & 0xFFFF == (self._step(before, after) or len(self))
            and after.timestamp - before.timestamp & 0xFFFFFFFF
            == FRAME * (after.sequence - before.sequence & 0xFFFF)
            for before, after in pairwise(own)
        ]
        if not all(steps):
            found.append(f"{steps.count(False)} steps in SECURE leave the relay's own order")
        return found

    def _step(self, before: Frame, after: Frame) -> int:
        return (self.place[after.payload] - self.place[before.payload]) % len(self)


def stream_breaches(packets: Sequence[Datagram], payload_type: int) -> list[str]:
    """What in a whole call is not one plain stream of the negotiated codec."""
    ragged = strange = 0
    sources = set()
    for packet in packets:
        try:
            kind, ssrc, _timestamp, payload = payload_of(packet.data)
        except ValueError:
            ragged += 1
            continue
        sources.add(ssrc)
        strange += kind != payload_type or len(payload) != FRAME
    found = []
    if ragged:
        found.append(f"{ragged} datagrams on the agent's leg are not plain RTP")
    if strange:
        found.append(f"{strange} packets on the agent's leg are not 20 ms of the negotiated codec")
    if len(sources) > 1:
        found.append(f"the agent's leg had {len(sources)} sources")
    return found


def rate_breaches(heard: Sequence[Frame]) -> list[str]:
    """A stream that runs slower or faster while keys are down would tell when they are."""
    if len(heard) < 2:
        return ["the agent's leg was not heard in SECURE"]
    expected = (heard[-1].at - heard[0].at) / FRAME_S + 1
    if abs(len(heard) - expected) > RATE_SLACK + RATE_TOLERANCE * expected:
        return [f"{len(heard)} packets in SECURE where the clock makes {expected:.0f}"]
    return []


class Copies:
    """Finds pieces of what a caller sent, at any shift and in either law, in what an agent heard."""

    def __init__(self, sent: Sequence[Samples]) -> None:
        everything = np.concatenate([np.empty(0, np.int16), *sent])
        self._marks = np.sort(np.concatenate([_marks(encode(everything, codec)) for codec in LEVELS]))

    def count(self, heard: Sequence[Frame]) -> int:
        """Pieces of 5 ms that are equal."""
        marks = _marks(b"".join(frame.payload for frame in heard))
        if not len(self._marks):
            return 0
        places = np.minimum(np.searchsorted(self._marks, marks), len(self._marks) - 1)
        return int((self._marks[places] == marks).sum())


def _marks(audio: bytes) -> NDArray[np.uint64]:
    """A 64-bit mark of every piece of COPY_BYTES that is not silence."""
    samples = np.frombuffer(audio, np.uint8)
    count = len(samples) - COPY_BYTES + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    wide = samples.astype(np.uint64)
    marks = np.zeros(count, np.uint64)
    for place, weight in enumerate(_WEIGHTS):
        marks += wide[place : place + count] * weight
    changes = np.concatenate([[0], np.cumsum(samples[1:] != samples[:-1])])
    lively = changes[COPY_BYTES - 1 :] - changes[:count] >= COPY_CHANGES
    return np.asarray(marks[lively])
