"""The PIN cell: one forked process for one PIN entry, the only place where a PIN exists.

Forked, walled in and ended as a card's cell is (`vault/cell.py`), with no provider and no network at all. It
gets its keys in one message of bytes, then either keys over the key pipe after `Start`, or one sealed PIN. It
tells hashes and a mark as letters, wipes, and leaves by `os._exit`; nothing is ever printed. Whether the PIN
is right is decided where the hash is stored, not here.
"""

import os
import time
from dataclasses import dataclass
from typing import Never

from vault.cell_ends import (
    EXIT_BAD_COMMAND,
    EXIT_BROKER_GONE,
    EXIT_ENDED,
    EXIT_EXPIRED,
    EXIT_FAULT,
    KeyPipe,
    arrange_descriptors,
    arrange_signals,
    command_waits,
    report_socket,
)
from vault.door import PinPurpose
from vault.pin_capture import ORDER, PinCapture, PinDigits, PinForm, PinLimits, problem_of
from vault.pin_hash import PIN_KEYS_MARK, PinHasher
from vault.pin_progress import COMMANDS, FACTS, PinFact, PinHashed, PinUnsealed, Start
from vault.pin_rules import birth_forms
from vault.pin_seal import SEAL_MARK, unseal
from vault.posture import Needs, harden
from vault.progress import End, PostureTold
from vault.report import REPORT_MAX, ReportError


@dataclass(frozen=True)
class PinAssignment:
    """What one PIN cell is forked for; nothing of it is secret or personal."""

    purpose: PinPurpose
    form: PinForm
    limits: PinLimits
    parent_pid: int
    without: frozenset[str] = frozenset()
    """Posture items left out (`vault/posture.py`)."""


def run_pin(assignment: PinAssignment, key_pipe: int, report: int) -> Never:
    """The whole life of a cell, in the forked child; takes over both descriptors, closes all others."""
    try:
        arrange_signals(assignment.limits.entry_s)
        arrange_descriptors(key_pipe, report)
        posture, page = harden(assignment.parent_pid, Needs(), assignment.without)
        cell = _PinCell(assignment, PinDigits(page), PinHasher(page), page.take(1))
        cell.tell(PostureTold(posture.as_json(), posture.weak))
        cell.live()
    except BaseException:  # noqa: BLE001 - whatever it is, it ends here, and nobody reads it
        os._exit(EXIT_FAULT)


class _PinCell:
    """The loop; `key` is one byte of the secret page, into which the kernel writes every key."""

    def __init__(
        self, assignment: PinAssignment, digits: PinDigits, hasher: PinHasher, key: memoryview
    ) -> None:
        self._assignment = assignment
        self._digits = digits
        self._hasher = hasher
        self._report = report_socket()
        self._pipe = KeyPipe(key)
        self._capture: PinCapture | None = None
        """None until `Start`: a key that comes before is nobody's."""

    def live(self) -> Never:
        """Until everything is keyed, the broker says `end` or is gone, or a limit is reached."""
        while True:
            self._wait()
            if self._capture is None:
                continue
            self._capture.tick(time.monotonic())
            while (fact := self._capture.next_fact()) is not None:
                self.tell(fact)
            if self._capture.ended:
                self._leave(EXIT_EXPIRED)
            if self._capture.complete:
                self._pipe.close()
                self._tell_hashes()

    def tell(self, fact: PinFact) -> None:
        """Sends one fact."""
        try:
            self._report.send(FACTS.encode(fact))
        except OSError:
            self._leave(EXIT_BROKER_GONE)

    def _leave(self, code: int) -> Never:
        self._digits.wipe()
        os._exit(code)

    # --- in -------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Reads one command, else one key, or waits until something is due."""
        due = self._capture.next_due() if self._capture else None
        match command_waits(self._report, self._pipe, due):
            case True:
                self._read_command()
            case False:
                self._pipe.read(self._press)

    def _press(self, key: int, now: float) -> None:
        if self._capture is not None:
            self._capture.press(key, now)

    def _read_command(self) -> None:
        try:
            message = self._report.recv(REPORT_MAX + 1)
            if message.startswith(PIN_KEYS_MARK):
                self._hasher.load(message)
                return
            if message.startswith(SEAL_MARK):
                self._unseal(message)
            command = COMMANDS.decode(message) if message else None
        except OSError:
            command = None
        except (ReportError, ValueError):
            self._leave(EXIT_BAD_COMMAND)
        if command is None:
            self._leave(EXIT_BROKER_GONE)
        if isinstance(command, End):
            self._leave(EXIT_ENDED)
        if isinstance(command, Start):
            self._start()

    def _start(self) -> None:
        now = time.monotonic()
        born = birth_forms(self._hasher.born)
        asked = self._assignment
        self._capture = PinCapture(self._digits, asked.purpose, asked.form, born, asked.limits, now)
        self._capture.start(now)

    # --- out ------------------------------------------------------------------------------------------

    def _unseal(self, message: bytes) -> Never:
        """The digits of a sealed PIN are judged as keyed ones are, all at once."""
        purpose, form = self._assignment.purpose, self._assignment.form
        try:
            unseal(message, purpose, self._digits)
        except ValueError:
            self.tell(PinUnsealed())
            self._leave(EXIT_ENDED)
        born = birth_forms(self._hasher.born)
        easy = purpose is PinPurpose.RESET and self._digits.new.view() in born
        for field in ORDER[purpose]:
            # Whoever sends a reset has proven nothing yet: he may not find a birth date by trying PINs.
            problem = problem_of(field, self._digits, form, () if easy else born)
            if problem:
                self.tell(PinUnsealed(problem))
                self._leave(EXIT_ENDED)
        self._tell_hashes(easy=easy)

    def _tell_hashes(self, *, easy: bool = False) -> Never:
        """Hashes, wipes, tells and ends; how long it takes says only what the purpose is."""
        purpose, hasher = self._assignment.purpose, self._hasher
        first, new = self._digits.first.view(), self._digits.new.view()
        proof = fresh = mark = ""
        if purpose in {PinPurpose.VERIFY, PinPurpose.CHANGE}:
            proof, mark = hasher.proof(first), hasher.mark(first)
        elif purpose is PinPurpose.RESET:
            proof = hasher.code(first)
        if purpose is not PinPurpose.VERIFY:
            fresh = hasher.fresh(new)
        elif hasher.renews:
            fresh = hasher.fresh(first)
        self._digits.wipe()
        self.tell(PinHashed(proof, fresh, mark, easy))
        self._leave(EXIT_ENDED)
