"""Speech for tests: five languages, several pitches, made by the voices the product speaks with; 8 kHz."""

import functools
import subprocess
import sys

import numpy as np

from tests.support.tones import Audio, at_level

SPEECH_DBM0 = -18.0
"""Active level of a talker on a line, a little above the usual -20."""

_OPENINGS = {
    "en-GB": "good morning, would you please tell me about {}, because {} was here with {} on Monday.",
    "de-DE": "guten Morgen, können Sie mir bitte sagen, wann {} wieder da ist, denn {} und {} warten.",
    "fr-FR": "bonjour, pouvez-vous me dire où se trouve {}, parce que {} est venu avec {} lundi dernier.",
    "es-ES": "buenos días, puede usted decirme dónde está {}, porque {} vino con {} el lunes pasado.",
    "it-IT": "buongiorno, può dirmi per favore dove si trova {}, perché {} è venuto con {} lunedì scorso.",
}
_SYLLABLES = (
    "ba",
    "do",
    "ki",
    "lu",
    "me",
    "ni",
    "po",
    "ra",
    "si",
    "te",
    "vu",
    "wa",
    "ze",
    "fo",
    "gi",
    "ju",
    "la",
)

# A process of its own: its sound depends on what the process has said before.
_SPEAKER = """
import sys
from py_nanotts import NanoTTS
tts = NanoTTS()
for line in sys.stdin:
    voice, pitch, speed, text = line.rstrip().split("|")
    sys.stdout.buffer.write(tts.speak(text, voice=voice, pitch=float(pitch), speed=float(speed)))
"""


def _word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(_SYLLABLES, size=rng.integers(2, 5)))


def _line(voice: str, rng: np.random.Generator) -> str:
    text = _OPENINGS[voice].format(*(_word(rng) for _ in range(3)))
    return f"{voice}|{rng.uniform(0.6, 1.7):.2f}|{rng.uniform(0.8, 1.2):.2f}|{text}"


def _halve(wide: Audio) -> Audio:
    """16 kHz to 8 kHz through a telephone's band, 300 to 3,400 Hz (windowed sinc, 127 taps)."""
    taps = np.arange(-63, 64)
    top, bottom = 2 * 3400 / 16000, 2 * 300 / 16000
    band = top * np.sinc(top * taps) - bottom * np.sinc(bottom * taps)
    halved: Audio = np.convolve(wide, band * np.hamming(127), mode="same")[::2]
    return halved


@functools.cache
def speech(seconds: int, seed: int = 1, level_dbm0: float = SPEECH_DBM0) -> Audio:
    """At least that many seconds of speech, sentence by sentence through the languages, at that level."""
    rng = np.random.default_rng(seed)
    voices = list(_OPENINGS)
    lines = [_line(voices[n % len(voices)], rng) for n in range(seconds // 5 + 2)]
    run = subprocess.run(
        [sys.executable, "-c", _SPEAKER], input="\n".join(lines).encode(), capture_output=True, check=True
    )
    wide = np.frombuffer(run.stdout, np.int16).astype(np.float64)
    assert len(wide) >= seconds * 16000
    return at_level(_halve(wide), level_dbm0)
