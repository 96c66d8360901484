"""The keys that our own ear would hear in prompts: `python -m vault.talk_off`, for `pay-ivr prompts`.

A prompt echoes back from the caller's line; one that holds a pair of tones would type for the caller. Frames
on stdin: length (4 bytes, big endian), then µ-law of whole packets. On stdout one line a prompt, in order:
the keys that were heard in it, empty when it is safe. What is said to everybody is no secret; no caller's
audio comes here.
"""

import struct
import sys
from collections.abc import Sequence
from typing import BinaryIO

from vault.media.g711 import FRAME_BYTES
from vault.media.inband import InbandDetector

LENGTH = struct.Struct(">I")
PROMPT_BYTES_MAX = 2_400_000
"""As long as media takes one."""
TOGETHER = 64
"""Prompts heard side by side: one matrix product for all of them."""
NAMES = "0123456789*#ABCD"
SILENCE = b"\xff"


def keys_heard(prompts: Sequence[bytes]) -> list[str]:
    """For each prompt the keys in it, e.g. `5#`."""
    detector = InbandDetector(len(prompts))
    length = max(map(len, prompts), default=0)
    padded = [prompt.ljust(length, SILENCE) for prompt in prompts]
    heard = [""] * len(prompts)
    rows, laws = range(len(prompts)), [False] * len(prompts)
    for at in range(0, length, FRAME_BYTES):
        for row, key in detector.feed(rows, [prompt[at : at + FRAME_BYTES] for prompt in padded], laws):
            heard[row] += NAMES[key]
    return heard


def read_prompts(stream: BinaryIO) -> list[bytes]:
    """Up to `TOGETHER` prompts in whole packets; none when the other end is done or breaks the protocol."""
    found: list[bytes] = []
    while len(found) < TOGETHER and len(head := stream.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        if length > PROMPT_BYTES_MAX:
            raise ValueError("a prompt is longer than media would take")
        body = stream.read(length)
        found.append(body + SILENCE * (-len(body) % FRAME_BYTES))
    return found


def main() -> None:
    """Listens until stdin ends."""
    while prompts := read_prompts(sys.stdin.buffer):
        sys.stdout.write("".join(f"{keys}\n" for keys in keys_heard(prompts)))


if __name__ == "__main__":
    main()
