"""One capture cell as the broker holds it: its report socket, its pid, what it has told so far."""

import asyncio
import os
import socket
from collections.abc import Callable

from vault.door import Field
from vault.progress import Command, End, Fact, Resume
from vault.providers.base import Outcome
from vault.report import SECRET_MARK, ReportError, decode_fact, encode_command
from vault.snapshot import NOTHING_KEYED, Keying
from vault.wire import Link, close_all


class LiveCapture:
    """A cell from fork to end; `on_fact` and `on_gone` are called in the order of the report socket."""

    def __init__(
        self,
        capture_id: str,
        leg_id: str,
        pid: int,
        report: socket.socket,
        on_fact: "Callable[[LiveCapture, Fact], None]",
        on_gone: "Callable[[LiveCapture], object]",
    ) -> None:
        self.capture_id = capture_id
        self.leg_id = leg_id
        self.pid = pid
        self.keying: Keying = NOTHING_KEYED
        self.attached = False
        """Media has confirmed the key pipe, and nobody has detached it since."""
        self.talking = False
        self.confirming = False
        """The caller is asked to press 1."""
        self.awaited: Field | None = None
        """A field that the cell was told to open; until it says so, an older `ready` is void."""
        self.last_attempt = False
        """The caller has gone while an attempt was under way: nobody could key a retry."""
        self.refusals = 0
        """How often the provider refused without naming a field."""
        self.outcome: asyncio.Future[Outcome] | None = None
        self._on_fact = on_fact
        self._on_gone = on_gone
        self._link = Link(report, self._message, lambda: self._on_gone(self))

    @property
    def secure(self) -> bool:
        """Not one caller sample reaches the agent."""
        return self.attached and not self.talking

    @property
    def alive(self) -> bool:
        """True while the cell's report socket is open."""
        return not self._link.closed

    def command(self, command: Command, key_pipe: int | None = None) -> None:
        """Tells the cell something; its end of a new key pipe is handed over for good."""
        try:
            self._link.send(encode_command(command), () if key_pipe is None else (key_pipe,))
        finally:
            if key_pipe is not None:
                os.close(key_pipe)

    def hand_keys(self, message: bytes) -> None:
        """Gives a new cell its hash keys (`vault/fingerprint.py`), before any other word."""
        self._link.send(message)

    def hand_secret(self, secret: bytes) -> None:
        """Gives a new cell its provider's secret (`Provider.cell_secret`), before any other word."""
        self._link.send(SECRET_MARK + secret)

    def end_talk(self) -> None:
        """The pause is over, if there was one; the cell's time runs on."""
        if self.talking:
            self.talking = False
            self.command(Resume())

    def settle(self, outcome: Outcome) -> None:
        """The attempt that the cell sent has this outcome; only the first one counts."""
        if self.outcome is not None and not self.outcome.done():
            self.outcome.set_result(outcome)

    def stop(self) -> None:
        """Tells the cell to end and forgets it; neither callback is called any more."""
        self._on_fact = lambda _capture, _fact: None
        self._on_gone = lambda _capture: None
        self.command(End())
        self._link.close()

    def _message(self, message: bytes, descriptors: list[int]) -> None:
        close_all(descriptors)
        try:
            fact = decode_fact(message)
        except ReportError:
            self._link.close()  # a cell that talks nonsense is no cell any more
            return
        self._on_fact(self, fact)
