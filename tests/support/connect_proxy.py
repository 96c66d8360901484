"""A CONNECT proxy with a host allow-list, as `infra/egress` sets one up: one thread per connection."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

HEAD_MAX = 4096
PIECE = 65_536


@dataclass
class ConnectProxy:
    """`allowed`: host:port as asked for -> where it really is."""

    allowed: Mapping[str, tuple[str, int]]
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    asked: list[str] = field(default_factory=list)
    """Every target that somebody asked for."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        """Until the listener is closed."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(client,), daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head and len(head) < HEAD_MAX:
                if not (piece := client.recv(HEAD_MAX)):
                    return
                head += piece
            target = head.split(b" ")[1].decode("ascii")
            self.asked.append(target)
            if target not in self.allowed:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                return
            with socket.create_connection(self.allowed[target]) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(server, client))
                back.start()
                _pump(client, server)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def connect_proxy(allowed: Mapping[str, tuple[str, int]]) -> Iterator[ConnectProxy]:
    """A listening proxy."""
    proxy = ConnectProxy(allowed)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.listener.shutdown(socket.SHUT_RDWR)
        proxy.listener.close()
        thread.join()
