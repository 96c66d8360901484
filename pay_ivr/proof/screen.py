"""What a person sees while the demo runs: a live table on a terminal, plain lines otherwise."""

import sys
import time
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pay_ivr.node import say

NOTES_SHOWN = 9
MARKS = {"waiting": "·", "running": "▶", "right": "✔", "wrong": "✘"}


class Screen:
    """Scenarios with their state, the payment as the agent sees it, and the latest notes."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._rows: dict[str, list[str]] = {}
        self._notes: list[str] = []
        self._payment = ""
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            self._live = Live(self._draw(), console=Console(), refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live is not None:
            self._live.update(self._draw())
            self._live.stop()

    def row(self, name: str, state: str, title: str, text: str = "") -> None:
        """One scenario: waiting, running, right or wrong."""
        self._rows[name] = [MARKS[state], title, text]
        if state != "waiting":
            self._line(f"{MARKS[state]} {title}" + (f": {text}" if text else ""))
        self._refresh()

    def note(self, text: str) -> None:
        """One thing that just happened."""
        self._notes = [*self._notes, f"{time.monotonic() - self._started:6.1f} s  {text}"][-NOTES_SHOWN:]
        self._line(f"  {self._notes[-1].strip()}")
        self._refresh()

    def payment(self, text: str) -> None:
        """The payment as the agent's console shows it: dots, brand, last 4."""
        self._payment = text
        self._refresh()

    def _line(self, text: str) -> None:
        if self._live is None:
            say(text)

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._draw())

    def _draw(self) -> Group:
        table = Table(box=None, pad_edge=False, show_header=False)
        for mark, title, text in self._rows.values():
            style = {"✔": "green", "✘": "bold red", "▶": "bold"}.get(mark, "dim")
            table.add_row(Text(mark, style=style), Text(title, style=style), Text(text, style="dim"))
        agent = Panel(
            Text(self._payment or "no payment yet"), title="what the agent sees", title_align="left"
        )
        return Group(
            Panel(table, title="pay-ivr demo", title_align="left"), agent, Text("\n".join(self._notes))
        )
