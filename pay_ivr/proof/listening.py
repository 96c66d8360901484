"""The attacker's case as numbers: presses he is asked about, what he got right, what chance explains."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pay_ivr.proof.attacker import best_keys, binomial_upper_chance
from pay_ivr.proof.audio import FRAME, RATE_HZ, Samples, decode
from pay_ivr.proof.claim import Frame

CHANCE = 0.1
"""Ten digits, drawn uniformly: whoever knows nothing is right once in ten, whatever his habits."""
CONFIDENCE = 0.999
INTERVAL = 0.99
"""Of the exact interval that is reported beside the bound."""


@dataclass(frozen=True, repr=False, eq=False)
class Recording:
    """Audio with the presses that were made while it ran."""

    audio: NDArray[np.int16]
    presses_ms: tuple[float, ...]
    """Into the audio."""
    digits: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """How the attacker did."""

    count: int
    right: int

    @property
    def accuracy(self) -> float:
        """Share of right guesses."""
        return self.right / self.count if self.count else 0.0

    @property
    def bound(self) -> int:
        """Most right guesses that chance explains, one-sided 99.9 %."""
        return binomial_upper_chance(self.count, CHANCE, CONFIDENCE)

    @property
    def by_chance(self) -> bool:
        """True when the guesses say nothing."""
        return self.right <= self.bound

    def __add__(self, other: "Score") -> "Score":
        return Score(self.count + other.count, self.right + other.right)


SEARCH_MS = 140.0
"""After a press, where he looks for it: a press, a jitter buffer, and not yet the next press (160 ms)."""
NO_SCORE = Score(0, 0)


def attack(recordings: Sequence[Recording], after_ms: float = SEARCH_MS) -> Score:
    """Every press of every recording, one guess each; a press outside the audio is a wrong guess."""
    score = NO_SCORE
    for one in recordings:
        guesses = best_keys(one.audio.astype(np.float64), one.presses_ms, after_ms=after_ms)
        right = sum(guess == digit for guess, digit in zip(guesses, one.digits, strict=True))
        score += Score(len(one.digits), right)
    return score


def of_agent_leg(heard: Sequence[Frame], codec: str, presses: Sequence[tuple[float, str]]) -> Recording:
    """What the agent heard, on the time of its first packet."""
    audio = [decode(frame.payload, codec) for frame in heard]
    start = heard[0].at if heard else 0.0
    return Recording(
        np.concatenate(audio) if audio else np.empty(0, np.int16),
        tuple((at - start) * 1000 for at, _ in presses),
        tuple(int(key) for _, key in presses),
    )


def of_caller(
    sent: Sequence[Samples], sent_at: Sequence[float], presses: Sequence[tuple[float, str]]
) -> Recording:
    """What the caller's telephone sent: the control in which the attacker must be right."""
    places = [bisect_right(sent_at, at) for at, _ in presses]
    return Recording(
        np.concatenate(sent),
        tuple(place * FRAME * 1000 / RATE_HZ for place in places),
        tuple(int(key) for _, key in presses),
    )


def exact_interval(count: int, right: int, confidence: float = INTERVAL) -> tuple[float, float]:
    """The exact (Clopper-Pearson) confidence interval of a share."""
    tail = (1 - confidence) / 2
    low = _share_where(lambda share: 1 - _at_most(right - 1, count, share) >= tail) if right else 0.0
    high = _share_where(lambda share: _at_most(right, count, share) <= tail) if right < count else 1.0
    return low, high


def _share_where(reached: Callable[[float], bool]) -> float:
    """The least share for which a rising condition is true, by halving."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if reached(middle):
            high = middle
        else:
            low = middle
    return high


def _at_most(hits: int, count: int, share: float) -> float:
    if share <= 0 or hits >= count:
        return 1.0
    if share >= 1 or hits < 0:
        return 0.0
    logs = (
        math.lgamma(count + 1) - math.lgamma(n + 1) - math.lgamma(count - n + 1)
        + n * math.log(share) + (count - n) * math.log1p(-share)
        for n in range(hits + 1)
    )  # fmt: skip
    return math.fsum(map(math.exp, logs))
