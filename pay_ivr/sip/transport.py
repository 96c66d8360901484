"""The one file of this package that touches sockets: UDP and TCP, one event loop, one thread.

RFC 3261 §18 without the 1300-byte rule (§18.1.1): our own messages stay below 1300 bytes, and a carrier
that would need the switch to TCP is configured with TCP. RFC 5626 §3.5.1 keep-alives are answered. The
rule this file owns: bytes of an INFO body are cut out before a message exists and every buffer they stood
in is overwritten.

UDP goes past asyncio's datagram transport: that one allocates immutable bytes for each datagram, which
cannot be overwritten. This file hears keys of SIP INFO: it has no logger.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Protocol

from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.framer import StreamFramer
from pay_ivr.sip.info import cut
from pay_ivr.sip.rim import Counters, Hop, Transport
from pay_ivr.sip.wire import Message, Request, Response, parse

DATAGRAM_MAX = 65_535
"""Bytes a UDP datagram can have."""
DATAGRAMS_PER_WAKE = 64
"""Datagrams read before the loop may look at timers and streams again."""
SOCKET_BUFFER_BYTES = 1 << 20
"""Kernel buffer of the UDP socket: about 700 INVITEs, so that a burst survives one slow callback."""
KEEP_ALIVE_MAX = 16
"""Bytes of the longest keep-alive datagram; phones send two or four."""
STREAMS_MAX = 2_000
"""Open connections; a phone has one, a trunk a few. Each costs a descriptor and two buffers."""
STREAM_READ_BYTES = 16_384
"""Read at once from a stream."""
STREAM_BACKLOG_BYTES = 256 * 1024
"""Unsent bytes after which a peer that does not read is cut off."""
CONNECT_S = 5.0
"""A peer that does not accept a connection by then is unreachable; well below timer B."""
WAITING_MAX = 64
"""Messages kept for a connection or a name that is still being found."""
UNFINISHED_S = 10.0
"""A connection without its first whole message, or with half of one, is closed after this."""
IDLE_S = 3_900.0
"""A silent connection is closed after this: above the longest registration, which refreshes it."""
REAP_EVERY_S = 5.0
RESOLVED_S = 60.0
"""How long a resolved name is used."""
RESOLVED_MAX = 256
"""Names remembered; we only resolve what our own configuration or a Contact names."""

PING = b"\r\n\r\n"
PONG = b"\r\n"


class Sink(Protocol):
    """Who gets what the sockets bring."""

    def receive(self, message: Request | Response, source: Hop, key: int | None) -> None:
        """One message, with the key its INFO body carried."""

    def refuse(self, malformed: Malformed, source: Hop) -> None:
        """One message that could not be read."""

    def broken(self, hop: Hop) -> None:
        """Nothing can be sent to `hop`."""

    def closed(self, connection: int) -> None:
        """That connection is gone."""

    def failed(self, error: Exception) -> None:
        """A callback of the app raised; the sockets go on."""


class SipSockets:
    """Both sockets of one endpoint and every stream connection."""

    def __init__(
        self, bind_ip: str, udp_port: int, tcp_port: int | None, sink: Sink, counters: Counters
    ) -> None:
        """Ports of 0 take any free one; `tcp_port` None listens on UDP only."""
        self.udp_port = udp_port
        self.tcp_port = tcp_port
        self._bind_ip = bind_ip
        self._sink = sink
        self._counters = counters
        self._udp: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._buffer = bytearray(DATAGRAM_MAX)
        self._streams: dict[int, _Stream] = {}
        self._by_peer: dict[tuple[str, int], _Stream] = {}
        self._numbers = count(1)
        self._waiting: dict[tuple[Transport, str, int], list[bytes]] = {}
        self._names: dict[str, tuple[str, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Binds; OSError when a port is taken."""
        loop = asyncio.get_running_loop()
        self._udp = _udp_socket(self._bind_ip, self.udp_port)
        self.udp_port = self._udp.getsockname()[1]
        loop.add_reader(self._udp.fileno(), self._on_readable)
        if self.tcp_port is not None:
            self._server = await loop.create_server(
                lambda: _Stream(self, dialled=False), self._bind_ip, self.tcp_port
            )
            self.tcp_port = self._server.sockets[0].getsockname()[1]
        self._reaper = loop.call_later(REAP_EVERY_S, self._reap)

    async def close(self) -> None:
        """Closes everything; nothing is delivered afterwards."""
        if self._reaper is not None:
            self._reaper.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._udp is not None:
            asyncio.get_running_loop().remove_reader(self._udp.fileno())
            self._udp.close()
            self._udp = None
        if self._server is not None:
            self._server.close()
        for stream in list(self._streams.values()):
            stream.close()
        if self._server is not None:
            await self._server.wait_closed()

    def send(self, message: Message, hop: Hop) -> None:
        """Sends one message; failures come back as `Sink.broken`, later."""
        self._counters["sent"] += 1
        data = message.to_bytes()
        if hop.transport is Transport.TCP:
            self._send_stream(data, hop)
        else:
            self._send_datagram(data, hop)

    # -- UDP

    def _on_readable(self) -> None:
        for _ in range(DATAGRAMS_PER_WAKE):
            if self._udp is None:
                return
            try:
                size, (ip, port) = self._udp.recvfrom_into(self._buffer)
            except BlockingIOError:
                return
            except OSError:
                self._counters["socket_errors"] += 1
                return
            frame = self._buffer[:size]
            self._buffer[:size] = bytes(size)
            self.deliver(frame, Hop(Transport.UDP, ip, port))

    def deliver(self, frame: bytearray, source: Hop) -> bool:
        """Takes one frame apart and hands it on; False when it could not be read."""
        if len(frame) <= KEEP_ALIVE_MAX and not frame.strip(b"\r\n\0 "):
            self._counters["keep_alives"] += 1
            return True
        data, key = cut(frame)
        try:
            message = parse(data)
        except Malformed as malformed:
            self.guarded(self._sink.refuse, malformed, source)
            return False
        self.guarded(self._sink.receive, message, source, key)
        return True

    def guarded(self, call: Callable[..., None], *arguments: object) -> None:
        """Calls the sink; what an app's callback raises must not stop the sockets."""
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 - the sink tells it to the log, without the message
            self._sink.failed(error)

    def _send_datagram(self, data: bytes, hop: Hop) -> None:
        ip = self._numeric(hop)
        if ip is None:
            self._wait(data, hop)
            return
        try:
            if self._udp is not None:
                self._udp.sendto(data, (ip, hop.port))
        except BlockingIOError:
            self._counters["send_overruns"] += 1
        except OSError:
            self._counters["socket_errors"] += 1
            self._later(self._sink.broken, hop)

    # -- names and connections that have to be found first

    def _numeric(self, hop: Hop) -> str | None:
        """The address to send to, if it is known now."""
        if _is_ipv4(hop.ip):
            return hop.ip
        ip, until = self._names.get(hop.ip, ("", 0.0))
        return ip if until > asyncio.get_running_loop().time() else None

    def _wait(self, data: bytes, hop: Hop) -> None:
        """Keeps a message until its name or connection is there; starts looking with the first one."""
        key = (hop.transport, hop.ip, hop.port)
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = [data]
            self._spawn(self._find(hop))
        elif len(waiting) < WAITING_MAX:
            waiting.append(data)
        else:
            self._counters["send_overruns"] += 1

    async def _find(self, hop: Hop) -> None:
        key = (hop.transport, hop.ip, hop.port)
        try:
            async with asyncio.timeout(CONNECT_S):
                ip = self._numeric(hop) or await self._resolve(hop.ip)
                stream = await self._connect(ip, hop.port) if hop.transport is Transport.TCP else None
        except (OSError, TimeoutError):
            self._waiting.pop(key, None)
            self._counters["unreachable"] += 1
            self.guarded(self._sink.broken, hop)
            return
        for data in self._waiting.pop(key, []):
            if stream is not None:
                stream.write(data)
            else:
                self._send_datagram(data, hop)

    async def _resolve(self, name: str) -> str:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_DGRAM)
        ip = str(found[0][4][0])
        if len(self._names) >= RESOLVED_MAX:
            self._names.clear()
        self._names[name] = (ip, loop.time() + RESOLVED_S)
        return ip

    async def _connect(self, ip: str, port: int) -> "_Stream":
        loop = asyncio.get_running_loop()
        _, stream = await loop.create_connection(
            lambda: _Stream(self, dialled=True), ip, port, local_addr=(self._bind_ip, 0)
        )
        return stream

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name="sip-find")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _later(self, call: Callable[..., None], *arguments: object) -> None:
        asyncio.get_running_loop().call_soon(self.guarded, call, *arguments)

    # -- streams

    def _send_stream(self, data: bytes, hop: Hop) -> None:
        stream = self._streams.get(hop.connection) or self._by_peer.get((self._numeric(hop) or "", hop.port))
        if stream is None:
            self._wait(data, hop)
        else:
            stream.write(data)

    def opened(self, stream: "_Stream", ip: str, port: int) -> int:
        """The number of a new connection; 0 when there are too many and it must go."""
        if len(self._streams) >= STREAMS_MAX:
            self._counters["streams_refused"] += 1
            return 0
        number = next(self._numbers)
        self._streams[number] = stream
        self._by_peer[ip, port] = stream
        return number

    def gone(self, stream: "_Stream") -> None:
        """The connection has ended, whoever ended it."""
        self._streams.pop(stream.source.connection, None)
        if self._by_peer.get((stream.source.ip, stream.source.port)) is stream:
            del self._by_peer[stream.source.ip, stream.source.port]
        self.guarded(self._sink.broken, stream.source)
        self.guarded(self._sink.closed, stream.source.connection)

    def sizes(self) -> dict[str, int]:
        """Entries of the tables here."""
        return {"streams": len(self._streams), "names": len(self._names)}

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        for stream in list(self._streams.values()):
            if stream.stale(loop.time()):
                self._counters["streams_reaped"] += 1
                stream.close()
        self._reaper = loop.call_later(REAP_EVERY_S, self._reap)

    def count(self, name: str) -> None:
        """One more of a counter, for the streams."""
        self._counters[name] += 1


class _Stream(asyncio.BufferedProtocol):
    """One TCP connection, accepted or dialled: bytes in, frames out."""

    def __init__(self, sockets: SipSockets, *, dialled: bool) -> None:
        self.source = Hop(Transport.TCP, "", 0)
        self._sockets = sockets
        self._dialled = dialled
        self._transport: asyncio.Transport | None = None
        self._framer = StreamFramer()
        self._buffer = bytearray(STREAM_READ_BYTES)
        self._unfinished_since: float | None = None
        self._heard_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes its number, or leaves at once when there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        ip, port = transport.get_extra_info("peername")[:2]
        self._heard_at = asyncio.get_running_loop().time()
        self._unfinished_since = None if self._dialled else self._heard_at
        number = self._sockets.opened(self, ip, port)
        self.source = Hop(Transport.TCP, ip, port, number)
        if not number:
            transport.abort()
            return
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tells everybody who waits for this connection."""
        if self.source.connection:
            self._sockets.gone(self)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - asyncio's signature
        """Our own buffer, so that it can be overwritten."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Frames the new bytes; a stream that lost its framing is closed."""
        data = self._buffer[:nbytes]
        self._buffer[:nbytes] = bytes(nbytes)
        self._heard_at = asyncio.get_running_loop().time()
        if data == PING and not self._framer.waiting:
            self._sockets.count("keep_alives")
            self.write(PONG)
        try:
            for frame in self._framer.frames(data):
                self._unfinished_since = None
                self._sockets.deliver(frame, self.source)
        except Malformed as malformed:
            self._sockets.guarded(self._sockets._sink.refuse, malformed, self.source)  # noqa: SLF001
            self.close()
        data[:] = bytes(len(data))
        if self._framer.waiting and self._unfinished_since is None:
            self._unfinished_since = self._heard_at

    def write(self, data: bytes) -> None:
        """Sends; a peer that does not read its connection loses it."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > STREAM_BACKLOG_BYTES:
            self._sockets.count("streams_clogged")
            self._transport.abort()

    def stale(self, now: float) -> bool:
        """True when it has been silent, or unfinished, for too long."""
        if self._unfinished_since is not None and now - self._unfinished_since > UNFINISHED_S:
            return True
        return now - self._heard_at > IDLE_S

    def close(self) -> None:
        """Ends the connection after what is already written."""
        if self._transport is not None:
            self._transport.close()


def _udp_socket(ip: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        sock.bind((ip, port))
    except OSError:
        sock.close()
        raise
    return sock


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
