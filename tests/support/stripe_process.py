"""The Stripe simulator in a process of its own, as whoever tests whole processes needs it."""

import json
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.cell import ROOT
from vault.report import SECRET_MARK


@dataclass
class Account:
    """A listening account: where it is, whom to trust, what its keys are."""

    url: str
    ca_file: str
    keys: dict[str, str]

    def config(self, **changed: Any) -> dict[str, Any]:
        """What the broker tells a cell, beside its key."""
        return {"api_base": self.url, "ca_file": self.ca_file, **changed}

    def hand_key(self, report: socket.socket) -> None:
        """Gives a new cell its key as the broker does."""
        report.send(SECRET_MARK + self.keys["cell"].encode())

    def control(self, name: str, **given: Any) -> Any:
        """What a control call of the simulator answers."""
        headers = {"authorization": f"Bearer {self.keys['full']}", "content-type": "application/json"}
        url, body = f"{self.url}/_sim/{name}", json.dumps(given).encode()
        request = urllib.request.Request(url, body, headers)  # noqa: S310 - always https
        context = ssl.create_default_context(cafile=self.ca_file)
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310 - as above
            return json.loads(answer.read())["result"]

    def order(self, fault: str, **where: str) -> None:
        """The next such request goes wrong."""
        self.control("fault", fault=fault, **where)

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)


@contextmanager
def stripe_account(folder: Path) -> Iterator[Account]:
    """Ended by closing its input; no request of ours may have contradicted the SDK's types."""
    command = [sys.executable, "-m", "tests.support.stripe_sim", "--dir", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        account = Account(told["url"], told["ca_file"], told["keys"])
        try:
            yield account
            assert [] == account.control("violations")
        finally:
            process.communicate(timeout=10)
