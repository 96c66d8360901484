"""The process that speaks: `python -m pay_ivr.voice_worker`, sentences in on stdin, prompts out on stdout.

A process of its own because the engine (SVOX Pico) holds the interpreter's lock for the whole sentence.
Frames both ways: length (4 bytes, big endian), then the bytes. In: language tag, NUL, text, all UTF-8. Out:
µ-law of whole packets, or nothing when the sentence could not be spoken; before the first sentence one empty
frame, which says that the process is ready. Ends when stdin ends.

Each sentence is spoken in a fork of this process, because Pico gives the same bytes for the same text only in
a process that has never spoken before; a crash or an endless sentence then also costs that sentence only.
This file owns the last gate before the engine: Pico obeys markup in its text, some of which (`<genfile>`,
`<play>`) opens files, so no angle bracket passes.
"""

import os
import resource
import signal
import struct
import sys
from typing import BinaryIO

from py_nanotts import NanoTTS

from pay_ivr.sound import telephone

LENGTH = struct.Struct(">I")
SENTENCE_S = 4
"""Longest a sentence may take; the longest of ours takes 0.1 s on one core."""
FRAME_BYTES_MAX = 4_000_000
"""Longest frame: more than eight minutes of speech."""
NO_MARKUP = str.maketrans("<>", "  ")


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame, or None when the other end is gone or does not keep to the protocol."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = stream.read(length) if length <= FRAME_BYTES_MAX else b""
    return body if len(body) == length else None


def write_frame(stream: BinaryIO, body: bytes) -> None:
    """Sends one frame at once."""
    stream.write(LENGTH.pack(len(body)) + body)
    stream.flush()


def speak(engine: NanoTTS, tag: str, text: str) -> bytes:
    """The sentence as µ-law, spoken by a fork of this process; empty when that fork failed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _speak_and_exit(engine, tag, text, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as spoken:
        ulaw = spoken.read()
    _, status = os.waitpid(child, 0)
    return ulaw if status == 0 else b""


def _speak_and_exit(engine: NanoTTS, tag: str, text: str, writer: int) -> None:
    """Runs in the fork: never returns, writes no file, leaves no core, ends by itself after `SENTENCE_S`."""
    try:
        signal.alarm(SENTENCE_S)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        ulaw = memoryview(telephone(engine.speak(text.translate(NO_MARKUP), voice=tag)))
        while ulaw:
            ulaw = ulaw[os.write(writer, ulaw) :]
        os._exit(0)
    finally:
        os._exit(1)


def main() -> None:
    """Speaks until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started us; it closes stdin
    engine = NanoTTS()
    write_frame(sys.stdout.buffer, b"")
    while (request := read_frame(sys.stdin.buffer)) is not None:
        tag, _, text = request.decode("utf-8", "replace").partition("\0")
        write_frame(sys.stdout.buffer, speak(engine, tag, text))


if __name__ == "__main__":
    main()
