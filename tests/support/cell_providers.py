"""A spawner with providers for tests: `python tests/support/cell_providers.py RUN_DIR [item ...]`.

Serves `good` and its naughty siblings and leaves the named posture items out. No digit of a card stands here:
the memory of this process is searched for digits.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vault.door import Field
from vault.hatch import inherited
from vault.posture import Needs, die_with_parent, make_private
from vault.providers.base import TokenResult
from vault.spawner import Spawner


class GoodProvider:
    """Tokenises every card but one; the config says which last four digits it refuses."""

    tokenise_first = True

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def tokenise(self, card: Any) -> TokenResult:
        if card.pan.view()[-4:] == self.config.get("refuse", "").encode():
            return TokenResult(None, Field.PAN, "pan_not_allowed")
        return TokenResult("tok_good")


class DirectProvider(GoodProvider):
    """Takes the card only when it authorises, and asks its host once."""

    tokenise_first = False

    def tokenise(self, card: Any) -> TokenResult:
        return TokenResult(None)

    def authorise(
        self, card: Any, request: dict[str, Any], call: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        answer = call({"amount": request["amount_minor"], "cvv_digits": len(card.cvv)})
        return {"kind": answer["kind"]}


class FailingProvider(GoodProvider):
    """Raises with the PAN in its frames and in its message."""

    def tokenise(self, card: Any) -> TokenResult:
        pan = bytes(card.pan.view()).decode()
        raise RuntimeError(pan)


class FailingDirectProvider(DirectProvider):
    """Raises where it should charge; its code is one of its own."""

    def authorise(
        self, card: Any, request: dict[str, Any], call: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        raise ProviderDownError


class ProviderDownError(Exception):
    code = "provider_down"


class MuteProvider(GoodProvider):
    """Answers with nothing at all."""

    def tokenise(self, card: Any) -> Any:
        return None


class LeakingProvider(GoodProvider):
    """Wants to give the PAN away as a token."""

    def tokenise(self, card: Any) -> TokenResult:
        return TokenResult("tok_" + bytes(card.pan.view()).decode())


class BurglarProvider(GoodProvider):
    """Tries what a cell must not do; the token names what worked. `try` of the config says what is tried."""

    def tokenise(self, card: Any) -> TokenResult:
        worked = [name for name in self.config["try"] if _works(name, self.config)]
        return TokenResult("worked: " + " ".join(worked))


def _connect(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.connect(("127.0.0.1", port))


BURGLARIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "write": lambda config: Path(config["path"]).write_bytes(b"x"),
    "read": lambda config: Path(config["path"]).read_bytes(),
    "stream": lambda _: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "datagram": lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix": lambda _: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "connect": lambda config: _connect(config["port"]),
    "elsewhere": lambda config: _connect(config["other_port"]),
    "fork": lambda _: os.fork(),
    "exec": lambda _: os.execv("/bin/true", ["/bin/true"]),  # noqa: S606 - the point is that it fails
    "signal": lambda _: os.kill(os.getppid(), 0),
    "pipe": lambda _: os.pipe(),
    "become_root": lambda _: os.setuid(0),
    "stderr": lambda _: os.fstat(2),
}


def _works(name: str, config: dict[str, Any]) -> bool:
    try:
        BURGLARIES[name](config)
    except OSError:
        return False
    return True


PROVIDERS = {
    "good": GoodProvider,
    "direct": DirectProvider,
    "failing": FailingProvider,
    "failing_direct": FailingDirectProvider,
    "mute": MuteProvider,
    "leaking": LeakingProvider,
    "burglar": BurglarProvider,
}


def main() -> None:
    die_with_parent(15)
    make_private()
    modules: dict[str, Any] = {name: SimpleNamespace(cell_provider=made) for name, made in PROVIDERS.items()}
    port = int(os.environ.get("CELL_TEST_PORT", "1"))
    needs = Needs(read_paths=(sys.argv[1],), tcp_ports=(port,))
    modules["caller"] = SimpleNamespace(cell_provider=BurglarProvider, CELL_NEEDS=needs)
    made = Spawner(Path(sys.argv[1]), inherited(int(sys.argv[3])), modules, sys.argv[4:])
    if "CELL_TEST_THREAD" in os.environ:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    made.serve()


if __name__ == "__main__":
    main()
