"""Voices: what turns a sentence into a telephone prompt. Ours is SVOX Pico, in processes of its own.

Nothing here logs: sentences hold names and amounts.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from importlib.metadata import version
from typing import Protocol

from pay_ivr.voice_worker import FRAME_BYTES_MAX, LENGTH

SOUND_VERSION = 2
"""Grows when the same text becomes other bytes, here or in `pay_ivr/sound.py`: kept prompts are made anew."""
RUN_TOGETHER = frozenset({"fr-FR"})
"""Where Pico swallows what hyphens join: its `quatre-vingts` is not understood, its `quatre vingts` is."""
START_S = 10.0
"""Longest start of a process: imports, then its first word (0.2 s when the machine is idle)."""
ANSWER_S = 6.0
"""Longest wait for a sentence by a process that has started; longer than its own limit (SENTENCE_S)."""
WORKERS = 2
"""So that a caller's own sentence need not wait for one that is being made ahead; about 32 MB each."""
TEXT_MAX = 1000
"""Characters of a sentence; our longest has under 300."""


class SpeechError(Exception):
    """A sentence could not be spoken: `code` for programs; the text itself is never quoted."""

    def __init__(self, code: str, sentence: str, *, retryable: bool) -> None:
        super().__init__(sentence)
        self.code = code
        self.retryable = retryable


class Voice(Protocol):
    """A speech engine. Same language, same text, same `version`: same bytes."""

    @property
    def version(self) -> str:
        """Names the engine and everything else the bytes depend on."""

    async def speak(self, tag: str, text: str) -> bytes:
        """µ-law at 8 kHz, whole packets of 20 ms. Raises SpeechError."""

    async def close(self) -> None:
        """Ends what the voice has started."""


class PicoVoice:
    """SVOX Pico for de-DE, en-US, es-ES and fr-FR (also en-GB, it-IT); worker processes, started when needed.

    A worker that dies or hangs costs the sentence it was speaking; the next sentence gets a new one.
    """

    def __init__(self, workers: int = WORKERS, answer_s: float = ANSWER_S) -> None:
        self._workers = tuple(_Worker(answer_s) for _ in range(workers))
        # Last in, first out: a quiet node keeps one worker busy and never starts the others.
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        for worker in self._workers:
            self._idle.put_nowait(worker)

    @property
    def version(self) -> str:
        """Engine release and sound processing."""
        return f"py-nanotts {version('py-nanotts')} sound {SOUND_VERSION}"

    async def speak(self, tag: str, text: str) -> bytes:
        """See `Voice.speak`. Codes: text_too_long, voice_silent (not retryable); voice_late, voice_lost."""
        if not text or len(text) > TEXT_MAX or "\0" in text:
            raise SpeechError(
                "text_too_long", "A sentence is empty or too long to be spoken.", retryable=False
            )
        read = text.replace("-", " ") if tag in RUN_TOGETHER else text
        worker = await self._idle.get()
        try:
            ulaw = await worker.ask(f"{tag}\0{read}".encode("utf-8", "replace"))
        finally:
            self._idle.put_nowait(worker)
        if not ulaw:
            raise SpeechError("voice_silent", "The voice could not speak this sentence.", retryable=False)
        return ulaw

    async def close(self) -> None:
        """Ends the workers; the voice can be used again, with new ones."""
        for worker in self._workers:
            await worker.end()


class _Worker:
    """One place for a worker process; the process comes with the first sentence and after every failure."""

    def __init__(self, answer_s: float) -> None:
        self._answer_s = answer_s
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    async def ask(self, request: bytes) -> bytes:
        """The worker's answer, empty for a sentence it cannot speak. One at a time."""
        answered = False
        try:
            process = await self._running()
            async with asyncio.timeout(self._answer_s):
                answer = await _exchange(process, request)
            answered = True
        except TimeoutError:
            raise SpeechError("voice_late", "The voice did not answer in time.", retryable=True) from None
        except (asyncio.IncompleteReadError, OSError):
            raise SpeechError(
                "voice_lost", "The voice ended while it was speaking.", retryable=True
            ) from None
        finally:
            if not answered:  # also when our caller hung up and cancelled us: half an answer is in the pipe
                await self.end()
        return answer

    async def _running(self) -> Process:
        """The process, ready: a machine that starts it slowly takes nothing off the time for a sentence."""
        if self.pid is None or self._process is None:
            await self.end()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "pay_ivr.voice_worker"),
                stdin=PIPE,
                stdout=PIPE,
                # numpy would start a thread per core; the worker forks, and forks of threads are fragile.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
            async with asyncio.timeout(START_S):
                await _frame(self._process)
        return self._process

    async def end(self) -> None:
        """Kills the process, if there is one, and waits for it."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        if process.stdin:
            process.stdin.close()
        await process.wait()


async def _exchange(process: Process, request: bytes) -> bytes:
    if process.stdin is None:
        raise SpeechError("voice_lost", "The voice has no pipes.", retryable=True)
    process.stdin.write(LENGTH.pack(len(request)) + request)
    await process.stdin.drain()
    return await _frame(process)


async def _frame(process: Process) -> bytes:
    """What the worker says next; at its start that is nothing, said."""
    if process.stdout is None:
        raise SpeechError("voice_lost", "The voice has no pipes.", retryable=True)
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    if length > FRAME_BYTES_MAX:
        raise SpeechError("voice_lost", "The voice does not keep to its protocol.", retryable=True)
    return await process.stdout.readexactly(length)
