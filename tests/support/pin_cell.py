"""Both ends of a PIN cell for tests, forked by the spawner of `tests/support/cell.py`."""

import hmac
import select
import socket
import time
from dataclasses import dataclass, field
from typing import TypeVar

from argon2.low_level import Type, hash_secret_raw

from tests.support.cell import WAIT_S, SpawnerEnds, keys_of
from vault.fingerprint import letters
from vault.pin_hash import Cost, PinKeys, Under
from vault.pin_progress import COMMANDS, FACTS, PinCommand, PinFact
from vault.report import REPORT_MAX

CHEAP = Cost(kib=64, rounds=1)
"""For tests that do not ask what a hash costs."""
PROOF = Under(b"p" * 32, b"s" * 16, CHEAP)
FRESH = Under(b"q" * 32, b"t" * 16, CHEAP)
KEYS = PinKeys("demo", "mem_one", "1980-03-05", b"w" * 32, PROOF, FRESH, b"c" * 32)

AnyFact = TypeVar("AnyFact")


def hashed(digits: str, under: Under, member_id: str = "mem_one", tenant: str = "demo") -> str:
    """The hash by the words of docs/pins.md and another library."""
    parts = (tenant, member_id, digits)
    message = b"".join(bytes([len(part)]) + part.encode() for part in parts)
    peppered = hmac.digest(under.pepper, message, "sha256")
    cost = under.cost
    raw = hash_secret_raw(peppered, under.salt, cost.rounds, cost.kib, cost.lanes, 32, Type.ID)
    return letters(raw)


@dataclass
class PinEnds:
    """What media and the broker hold of one PIN cell."""

    pid: int
    keys: socket.socket | None
    report: socket.socket
    facts: list[PinFact] = field(default_factory=list)

    def say(self, command: PinCommand) -> None:
        self.report.send(COMMANDS.encode(command))

    def press(self, text: str) -> None:
        assert self.keys is not None
        for key in keys_of(text):
            self.keys.send(bytes([key]))

    def fact(self, timeout_s: float = WAIT_S) -> PinFact:
        """The next fact; AssertionError when none comes or the cell is gone."""
        ready, _, _ = select.select([self.report], [], [], timeout_s)
        assert ready, "no fact came"
        message = self.report.recv(REPORT_MAX)
        assert message, "the cell is gone"
        self.facts.append(FACTS.decode(message))
        return self.facts[-1]

    def until(self, kind: type[AnyFact], timeout_s: float = WAIT_S) -> AnyFact:
        """The next fact of a kind; those before it are kept in `facts`."""
        deadline = time.monotonic() + timeout_s
        while True:
            fact = self.fact(deadline - time.monotonic())
            if isinstance(fact, kind):
                return fact

    def hang_up(self) -> None:
        if self.keys is not None:
            self.keys.close()
        self.report.close()


OPENED: list[PinEnds] = []
"""What a test has to hang up at its end."""


def fork_pin(
    house: SpawnerEnds, purpose: str, *, sealed: bool = False, keys: PinKeys | None = KEYS, **values: object
) -> PinEnds:
    """A fresh PIN cell with its keys; `values` replace those of the request."""
    asked = {"purpose": purpose, "digits_min": 4, "digits_max": 6, "sealed": sealed, **values}
    reply = house.ask("fork_pin", capture_id="pin_one", **asked)
    assert reply["ok"], reply
    *pipes, report = (socket.socket(fileno=fd) for fd in reply["fds"])
    assert len(pipes) == (0 if sealed else 1)
    ends = PinEnds(reply["pid"], pipes[0] if pipes else None, report)
    OPENED.append(ends)
    if keys is not None:
        ends.report.send(keys.message())
    return ends
