"""The capture cell: one forked process for one payment, the only place where a PAN and a CVV exist.

A loop over two sockets: the key pipe (one key, one message of one byte, from the media process) and the
report socket (`vault/report.py`, with the broker). What keys mean is decided in `vault/capture.py`; this file
carries keys in and facts out, lets the provider see the complete card, and wipes. It leaves by `os._exit`
only; an exception is reduced to a code and dropped with all it holds; nothing is ever printed.
"""

import os
import select
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from math import ceil
from typing import Any, Never, Protocol, TypeVar

from vault.brands import PAN_DIGITS_MIN, BrandTable
from vault.capture import Capture, Limits
from vault.card import Card, last4
from vault.cell_ends import (
    EXIT_BAD_COMMAND,
    EXIT_BROKER_GONE,
    EXIT_ENDED,
    EXIT_EXPIRED,
    EXIT_FAULT,
    EXIT_LEAK_STOPPED,
    KeyPipe,
    arrange_descriptors,
    arrange_signals,
    command_waits,
    report_socket,
)
from vault.fingerprint import KEYS_MARK, Fingerprints
from vault.posture import Needs, harden
from vault.progress import (
    Authorise,
    CloseField,
    Command,
    End,
    Fact,
    Open,
    OutcomeTold,
    Pause,
    PostureTold,
    ProviderCall,
    ProviderReply,
    Ready,
    Resume,
    TokeniseFailed,
    WipeSad,
)
from vault.providers.base import CellProvider, TokenResult
from vault.report import REPORT_MAX, SECRET_MARK, ReportError, decode_command, encode_fact

CALL_TIMEOUT_S = 30.0
"""How long the provider's host may take before the outcome is unknown; longer than a provider's own limit."""

CODE_MAX = 40
"""Characters of a code; more is a sentence, and a sentence may hold anything."""

LAST_ZONE = timezone(timedelta(hours=-12))
"""A card is good until its month is over everywhere; what is later than that, the issuer decides."""

_Answer = TypeVar("_Answer")


class ProviderModule(Protocol):
    """A file of `vault/providers/` as the cell sees it.

    It may also have `CELL_NEEDS: Needs`, and `preload()` for what the spawner should import before the first
    fork. A cell provider whose needs depend on its configuration has them as its own `needs`.
    """

    def cell_provider(self, config: dict[str, Any]) -> CellProvider:
        """The provider's cell side, configured."""


@dataclass(frozen=True)
class Assignment:
    """What one cell is forked for."""

    provider: ProviderModule
    config: Mapping[str, Any]
    limits: Limits
    brands: BrandTable
    parent_pid: int
    without: frozenset[str] = frozenset()
    """Posture items left out (`vault/posture.py`)."""


def run(assignment: Assignment, key_pipe: int, report: int) -> Never:
    """The whole life of a cell, in the forked child; takes over both descriptors, closes all others."""
    try:
        arrange_signals(assignment.limits.payment_s)
        arrange_descriptors(key_pipe, report)
        provider = assignment.provider.cell_provider(dict(assignment.config))
        needs = getattr(provider, "needs", getattr(assignment.provider, "CELL_NEEDS", Needs()))
        today = datetime.now(LAST_ZONE).date()
        posture, page = harden(assignment.parent_pid, needs, assignment.without)
        card = Card(page)
        capture = Capture(card, assignment.brands, today, assignment.limits, time.monotonic())
        cell = _Cell(capture, provider, page.take(1), Fingerprints(page))
        cell.tell(PostureTold(posture.as_json(), posture.weak))
        cell.live()
    except BaseException:  # noqa: BLE001 - whatever it is, it ends here, and nobody reads it
        os._exit(EXIT_FAULT)


class _Cell:
    """The loop; `key` is one byte of the secret page, into which the kernel writes every key."""

    def __init__(
        self, capture: Capture, provider: CellProvider, key: memoryview, fingerprints: Fingerprints
    ) -> None:
        self._capture = capture
        self._card = capture.card
        self._provider = provider
        self._fingerprints = fingerprints
        self._report = report_socket()
        self._pipe = KeyPipe(key)
        self._commands: deque[tuple[Command, int | None]] = deque()
        self._was_open = False
        """True once a field was open with the present pipe: only then an idle pipe is a finished one."""
        self._used = False
        """True when the provider has seen the card as it is now."""
        self._call_id = 0

    def live(self) -> Never:
        """Until the broker says `end`, is gone, or a limit is reached."""
        while True:
            self._wait(self._capture.next_due())
            while self._commands:
                self._obey(*self._commands.popleft())
            self._capture.tick(time.monotonic())
            self._settle()

    def tell(self, fact: Fact) -> None:
        """Sends one fact; the PAN in it would be the last thing that this cell did not send."""
        message = encode_fact(fact)
        pan = self._card.pan
        if len(pan) >= PAN_DIGITS_MIN and message.find(pan.view()) >= 0:
            self._leave(EXIT_LEAK_STOPPED)
        try:
            self._report.send(message)
        except OSError:
            self._leave(EXIT_BROKER_GONE)

    def _leave(self, code: int) -> Never:
        self._card.wipe()
        os._exit(code)

    # --- in -------------------------------------------------------------------------------------------

    def _wait(self, due: float | None) -> None:
        """Reads one command, else one key, or waits until `due`."""
        match command_waits(self._report, self._pipe, due):
            case True:
                self._read_command()
            case False if not self._pipe.read(self._capture.press):
                self._was_open = False

    def _read_command(self) -> None:
        try:
            message, fds, _flags, _address = socket.recv_fds(self._report, REPORT_MAX + 1, 1)
            if message.startswith(KEYS_MARK):
                self._fingerprints.load(message)
                return
            if message.startswith(SECRET_MARK):
                self._provider.take_secret(message[len(SECRET_MARK) :])
                return
            command = decode_command(message) if message else None
        except OSError:
            command = None
        except (ReportError, ValueError):
            self._leave(EXIT_BAD_COMMAND)
        if command is None:
            self._leave(EXIT_BROKER_GONE)
        if isinstance(command, End):
            self._leave(EXIT_ENDED)
        self._commands.append((command, fds[0] if fds else None))

    def _obey(self, command: Command, fd: int | None) -> None:
        now = time.monotonic()
        if fd is not None:
            self._was_open = False
            self._pipe.replace(fd)
        match command:
            case Open(field):
                self._used = False
                self._was_open = True
                self._capture.open(field, now)
            case CloseField():
                self._capture.close(now)
            case Pause():
                self._capture.pause()
            case Resume():
                self._capture.resume(now)
            case WipeSad():
                self._capture.wipe_cvv()
            case Authorise(request):
                self._authorise(dict(request))

    def _close_pipe(self) -> None:
        self._pipe.close()
        self._was_open = False

    # --- out ------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Tells what happened; a complete card goes to the provider; a finished pipe is closed."""
        self._tell_facts()
        if self._capture.ended:
            self._leave(EXIT_EXPIRED)
        if self._capture.filled and self._capture.open_field is None and not self._used:
            self._tokenise()
            self._tell_facts()
        if self._was_open and self._capture.open_field is None:
            self._close_pipe()

    def _tell_facts(self) -> None:
        while (fact := self._capture.next_fact()) is not None:
            self.tell(fact)

    def _tokenise(self) -> None:
        self._used = True
        brand = self._capture.brand
        assert brand is not None
        result = self._asked(lambda: self._provider.tokenise(self._card))
        if not isinstance(result, TokenResult):
            result = TokenResult(None, None, _plain(result))
        first = self._provider.tokenise_first
        refused = result.problem_field or (result.token is None if first else result.code)
        if first or refused:
            self._capture.wipe_cvv()
        if not refused:
            pan = self._card.pan
            prints, bins = self._fingerprints.of_card(pan), self._fingerprints.of_bin(pan)
            self.tell(Ready(brand.name, last4(pan), result.token, fingerprints=prints, bins=bins))
            return
        self.tell(TokeniseFailed(_plain(result.code), result.problem_field))
        if result.problem_field is not None:
            self._used = False
            self._capture.refuse(result.problem_field, time.monotonic())

    def _authorise(self, request: dict[str, Any]) -> None:
        if self._provider.tokenise_first or not self._capture.filled:
            self.tell(OutcomeTold({"kind": "never_sent", "raw_code": "card_incomplete"}))
            return
        answer = self._asked(lambda: self._provider.authorise(self._card, request, self._call))
        self._capture.wipe_cvv()
        if not isinstance(answer, dict):
            answer = {"kind": "unknown", "raw_code": _plain(answer)}
        self.tell(OutcomeTold(answer))

    def _call(self, body: dict[str, Any]) -> dict[str, Any]:
        """The provider's one wire to its host; TimeoutError when the answer takes too long."""
        self._call_id += 1
        self.tell(ProviderCall(self._call_id, body))
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while time.monotonic() < deadline:
            poll = select.poll()
            poll.register(self._report, select.POLLIN)
            if not poll.poll(ceil((deadline - time.monotonic()) * 1000)):
                break
            self._read_command()
            match self._commands[-1] if self._commands else None:
                case (ProviderReply(self._call_id, reply), None):
                    self._commands.pop()
                    return dict(reply)
        raise TimeoutError

    def _asked(self, act: Callable[[], _Answer]) -> "_Answer | str":
        """What the provider's code answers, or the code of its failure; its frames are emptied."""
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - every failure of a provider is a code
            return _code_of(error)


def _code_of(error: BaseException) -> str:
    """The error's `code`; what its frames held is let go before anything else happens."""
    traceback.clear_frames(error.__traceback__)
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return _plain(getattr(error, "code", None))


def _plain(code: object) -> str:
    """The code if it is letters and underscores, `provider_error` otherwise: a digit may be a card's."""
    if not isinstance(code, str) or len(code) > CODE_MAX:
        return "provider_error"
    letters = code.replace("_", "")
    return code if letters.isascii() and letters.isalpha() else "provider_error"
