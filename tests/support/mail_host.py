"""A mail host for tests: SMTP with STARTTLS and AUTH PLAIN (RFC 5321, 3207, 4954), and an SMS gateway.

Both answer on loopback in threads of their own and keep what they took. The SMTP side refuses what a real
host would: a login without TLS, a wrong password, a recipient that it does not know.
"""

import base64
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vault.proof.stripe_tls import server_context

USER, PASSWORD = "pay-ivr", "a mail password"
TOKEN = "a gateway token"
UNKNOWN_TO, BUSY_TO = "nobody@example.com", "busy@example.com"
CA_FILE = "ca.pem"


class MailHost(socketserver.ThreadingTCPServer):
    """Takes mail; `mails` are (recipient, whole message) in order of arrival."""

    allow_reuse_address, daemon_threads = True, True

    def __init__(self, folder: Path, *, tls: str = "starttls") -> None:
        self.context = server_context(folder, folder / CA_FILE)
        self.tls = tls
        self.mails: list[tuple[str, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Smtp)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes in the middle of TLS is what some tests want."""


class _Smtp(socketserver.StreamRequestHandler):
    server: MailHost

    def handle(self) -> None:
        self.secure, self.known = False, False
        if self.server.tls == "tls":
            self._encrypt()
        self._say("220 mail.test")
        while raw := self.rfile.readline():  # another file after STARTTLS
            verb, _, rest = raw.decode().strip().partition(" ")
            if verb.upper() == "QUIT":
                self._say("221 bye")
                return
            getattr(self, f"_do_{verb.lower()}", self._do_unknown)(rest)

    def _do_unknown(self, _rest: str) -> None:
        self._say("502 no such command")

    def _do_ehlo(self, _rest: str) -> None:
        offers = ["AUTH PLAIN"] if self.secure else ["STARTTLS"] if self.server.tls == "starttls" else []
        lines = ["mail.test", *offers]
        for line in lines[:-1]:
            self._say(f"250-{line}")
        self._say(f"250 {lines[-1]}")

    def _do_starttls(self, _rest: str) -> None:
        self._say("220 go on")
        self._encrypt()

    def _do_auth(self, rest: str) -> None:
        said = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
        self.known = self.secure and said == ["", USER, PASSWORD]
        self._say("235 welcome" if self.known else "535 wrong")

    def _do_mail(self, _rest: str) -> None:
        self._say("250 ok" if self.known or self.server.tls == "plain" else "530 log in first")

    def _do_rcpt(self, rest: str) -> None:
        self.to = rest.partition("<")[2].partition(">")[0]
        self._say({UNKNOWN_TO: "550 nobody", BUSY_TO: "451 later"}.get(self.to, "250 ok"))

    def _do_rset(self, _rest: str) -> None:
        self._say("250 ok")

    def _do_data(self, _rest: str) -> None:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line.removeprefix(b"."))  # RFC 5321 §4.5.2
        self.server.mails.append((self.to, b"".join(lines)))
        self._say("250 taken")

    def _encrypt(self) -> None:
        self.rfile.close()
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.secure = True

    def finish(self) -> None:
        self.rfile.close()
        self.wfile.close()
        self.connection.close()

    def _say(self, line: str) -> None:
        self.connection.sendall(line.encode() + b"\r\n")


class Gateway(http.server.ThreadingHTTPServer):
    """Takes SMS over TLS; `taken` are the bodies, `status` is the next answer."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Sms)
        self.socket = server_context(folder, folder / CA_FILE).wrap_socket(self.socket, server_side=True)
        self.status = 202
        self.taken: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        """Where messages go."""
        return f"https://127.0.0.1:{self.server_port}/send?account=1"


class _Sms(http.server.BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        right = self.headers["Authorization"] == f"Bearer {TOKEN}" and self.path == "/send?account=1"
        status = self.server.status if right else 401
        if status == 202:
            self.server.taken.append(body | {"key": self.headers["Idempotency-Key"]})
        self.send_response(status)
        self.send_header("Location", "https://elsewhere.test/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving(host: MailHost | Gateway) -> Iterator[Any]:
    """The host, answering until the end of the block."""
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.shutdown()
        host.server_close()
        thread.join(5)
