"""A shop that issues voucher codes: a real HTTP server on a port of its own, with faults on demand.

It remembers each order by its key, so that it can be asked afterwards how many codes it has issued.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from loyalty.programme import VoucherSource
from loyalty.redemption.sources import HttpSource

TOKEN = "shop-token"


@dataclass
class Shop:
    """What the shop knows and how it answers."""

    issued: dict[str, str] = field(default_factory=dict)
    """Order → code."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and order, in time."""
    faults: list[str] = field(default_factory=list)
    """For the next requests: `refuse`, `busy`, `issue_then_busy`, `hang_up`, `issue_then_hang_up`,
    `nonsense`, `same_code`, `forbid`, `kill`, `issue_then_kill`; empty text for none."""
    port: int = 0
    kill: Callable[[], None] = lambda: None
    """What `kill` and `issue_then_kill` call before they hang up."""

    @property
    def url(self) -> str:
        """Where orders go."""
        return f"http://127.0.0.1:{self.port}/orders"

    def source(self, folder: Path) -> HttpSource:
        """Ours, for this shop."""
        token = folder / "voucher-token"
        token.write_text(TOKEN + "\n", encoding="ascii")
        token.chmod(0o600)
        return HttpSource(VoucherSource(id="spa", url=self.url), token)

    def issue(self, key: str) -> str:
        """The code of an order, a new one the first time."""
        return self.issued.setdefault(key, f"SPA-{len(self.issued) + 1:05d}")


@contextmanager
def voucher_shop() -> Iterator[Shop]:
    """A shop that is open."""
    shop = Shop()

    class Handler(_Handler):
        pass

    Handler.shop = shop
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    shop.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    shop: Shop

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_PUT(self) -> None:
        key = self._key()
        self.rfile.read(int(self.headers["Content-Length"]))
        fault = self._fault()
        if fault.startswith("issue_then"):
            self.shop.issue(key)
        if fault.endswith("kill"):
            self.shop.kill()
        if fault.endswith(("kill", "hang_up")):
            self.close_connection = True
            return
        answers = {
            "refuse": (409, {}),
            "busy": (503, {}),
            "issue_then_busy": (503, {}),
            "nonsense": (200, {"code": "a b"}),
            "same_code": (200, {"code": "SPA-00001"}),
            "forbid": (403, {}),
        }
        status, body = answers.get(fault) or (200, {"code": self.shop.issue(key)})
        self._answer(status, body)

    def do_GET(self) -> None:
        key, fault = self._key(), self._fault()
        if fault in {"busy", "forbid"}:
            self._answer(503 if fault == "busy" else 403, {})
        elif key in self.shop.issued:
            self._answer(200, {"code": self.shop.issued[key]})
        else:
            self._answer(404, {})

    def _key(self) -> str:
        assert f"Bearer {TOKEN}" == self.headers["Authorization"]
        key = self.path.rpartition("/")[2]
        self.shop.asked.append((self.command, key))
        return key

    def _fault(self) -> str:
        return self.shop.faults.pop(0) if self.shop.faults else ""

    def _answer(self, status: int, body: dict[str, str]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
