"""Prompts in memory and their playing on our own clock; no prompt ever touches a disk here.

This file owns the limits on prompts and the order: one playing per leg, a newer one replaces it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vault.door import Refused
from vault.media.rtp import FRAME_BYTES

PROMPT_BYTES_MAX: Final = 2_400_000
"""Five minutes of µ-law: longer than any prompt or a piece of hold music."""
PROMPTS_MAX: Final = 20_000
"""Some hundred fixed prompts in four languages, and a handful of personal ones per live call."""
PROMPTS_BYTES_MAX: Final = 268_435_456
"""All prompts together; 256 MB is 9 hours of speech."""
PLAYLIST_MAX: Final = 64
"""An amount, a date and a receipt number spoken digit by digit fit twice."""
HOLD_MUSIC: Final = "hold_music"
TECHNICAL_PROBLEM: Final = "technical_problem"

_ULAW_SILENCE = b"\xff"


class Prompts:
    """The prompts of this process: µ-law, whole frames."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}
        self._bytes = 0

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def load(self, prompt_id: str, ulaw: bytes) -> None:
        """Keep a prompt, in place of one of the same name; `Refused` beyond a limit."""
        if not ulaw or len(ulaw) > PROMPT_BYTES_MAX:
            raise Refused("prompt_size", "A prompt holds between one byte and five minutes.")
        whole = ulaw + _ULAW_SILENCE * (-len(ulaw) % FRAME_BYTES)
        grown = self._bytes + len(whole) - len(self._kept.get(prompt_id, b""))
        if grown > PROMPTS_BYTES_MAX or (prompt_id not in self._kept and len(self._kept) >= PROMPTS_MAX):
            raise Refused("prompts_full", "No room for another prompt; unload some.")
        self._kept[prompt_id] = whole
        self._bytes = grown

    def unload(self, prompt_id: str) -> None:
        """Forget a prompt; a leg that plays it plays on."""
        self._bytes -= len(self._kept.pop(prompt_id, b""))

    def find(self, prompt_ids: Sequence[str]) -> tuple[bytes, ...]:
        """The audio of each name; Refused when one is unknown."""
        try:
            return tuple(self._kept[name] for name in prompt_ids)
        except KeyError:
            raise Refused("prompt_unknown", "A prompt of that name is not loaded.") from None


@dataclass(slots=True)
class Playing:
    """One list of prompts on its way to one leg."""

    play_id: str
    prompts: tuple[bytes, ...]
    loop: bool = False
    barge_in: bool = True
    _index: int = 0
    _at: int = 0

    def next_frame(self) -> bytes | None:
        """The next 20 ms in µ-law, or None when everything has been played."""
        if self._index >= len(self.prompts):
            return None
        prompt = self.prompts[self._index]
        frame = prompt[self._at : self._at + FRAME_BYTES]
        self._at += FRAME_BYTES
        if self._at >= len(prompt):
            self._at = 0
            self._index += 1
            if self.loop:
                self._index %= len(self.prompts)
        return frame
