"""The attacker is strong where there is a tone, and at chance where there is none."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from pay_ivr.proof.attacker import ALL_KEYS, DIGITS, best_key, best_keys, binomial_upper_chance
from tests.support.tones import Audio, Manner, frames, tone
from vault.media.g711 import decode_alaw

TRIALS = 48
"""Presses per claim; `verify leak` asks him hundreds of times in every run."""


def line(sound: Audio) -> Audio:
    """The sound as it comes out of an A-law line."""
    return decode_alaw(b"".join(frames(sound))).astype(np.float64)


def told(tone_ms: float, keys: tuple[int, ...], seed: int) -> int:
    """Presses told of `TRIALS` that each leave a piece of tone somewhere in 200 ms of quiet."""
    rng = np.random.default_rng(seed)
    right = 0
    for n in range(TRIALS):
        key, count = keys[n % len(keys)], round(tone_ms * 8)
        sound = np.zeros(1600)
        at, cut = int(rng.integers(100, 1300)), int(rng.integers(0, 100))
        sound[at : at + count] = tone(key, Manner(), rng)[cut : cut + count]
        right += best_key(line(sound), keys) == key
    return right


@pytest.mark.parametrize("keys", [ALL_KEYS, DIGITS])
def test_one_millisecond_of_clean_tone_tells_a_key(keys: tuple[int, ...]) -> None:
    """Positive control: more than nine in ten."""
    assert told(1.0, keys, seed=51) > 0.9 * TRIALS


@pytest.mark.parametrize("tone_ms", [1.5, 5.0, 30.0])
def test_more_tone_tells_every_key(tone_ms: float) -> None:
    """From 1.5 ms on there is nothing left to guess."""
    assert told(tone_ms, ALL_KEYS, seed=52) >= TRIALS - 1


@pytest.mark.parametrize("level", [0.0, 8.0, 30.0, 300.0])
def test_comfort_noise_tells_nothing(level: float) -> None:
    """Noise at any level, and silence: not more than guessing explains."""
    rng = np.random.default_rng(53)
    right = sum(best_key(line(rng.normal(0, level, 1600))) == n % 10 for n in range(TRIALS))
    assert right <= binomial_upper_chance(TRIALS)


def test_presses_are_looked_for_where_they_began() -> None:
    """Two keys in one recording, each at its own time."""
    rng = np.random.default_rng(54)
    sound = np.zeros(16000)
    sound[4000:4400], sound[12000:12400] = tone(3, Manner(), rng), tone(8, Manner(), rng)
    assert [3, 8] == best_keys(line(sound), [500.0, 1500.0])


def test_press_outside_the_recording_is_none() -> None:
    """Nothing to look at, nothing named."""
    assert [None] == best_keys(np.zeros(800), [5000.0])


@pytest.mark.parametrize(
    ("count", "chance"), [(16, Fraction(1, 10)), (64, Fraction(1, 16)), (640, Fraction(1, 10))]
)
def test_bound_is_the_smallest_that_keeps_the_confidence(count: int, chance: Fraction) -> None:
    """Above it lies at most 0.1 % of what guessing gives, at it more."""
    bound = binomial_upper_chance(count, float(chance))

    def above(hits: int) -> Fraction:
        return sum(
            comb(count, n) * chance**n * (1 - chance) ** (count - n) for n in range(hits + 1, count + 1)
        )

    assert above(bound) <= Fraction(1, 1000) < above(bound - 1)


def test_bound_of_nothing_is_nothing() -> None:
    """No guesses, no hits."""
    assert binomial_upper_chance(0) == 0
