"""Who may talk to the media process: the app, the broker, and the inbox of SIP INFO keys.

SEQPACKET, one JSON object a message (unix(7)). App and keys have sockets with names, and peers of another uid
than ours or root are turned away; the broker comes through a hatch, which has no name at all. This file owns
what either side may ask for: the app has no mode command, the broker no prompt, and neither is ever told a
key.
"""

import fcntl
import json
import os
import socket
import stat
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from vault.door import Refused, Remote
from vault.hatch import answer
from vault.media.capturing import Capturing
from vault.media.collection import OPEN_DIGITS_MAX, TIMEOUT_MS_MAX, TIMEOUT_MS_MIN, Collection, Outcome
from vault.media.leg import Role, Watcher
from vault.media.party import Party
from vault.media.player import PLAYLIST_MAX, PROMPT_BYTES_MAX
from vault.media.prompting import Prompting
from vault.media.relay import Relay
from vault.media.request import BAD_MESSAGE, Request
from vault.media.upkeep import Upkeep

MESSAGE_MAX: Final = 60_000
"""Bytes of one message: far under the 208 kB a Unix socket takes by default."""
FDS_MAX: Final = 4
"""Descriptors read with one message: one is used, more are closed."""
UNSENT_MAX: Final = 2_000
"""Facts kept for a peer that does not read; then it is cut off, and learns the truth when it is back."""
MESSAGES_A_TURN: Final = 8
"""Messages read before the media has its turn again."""
KEY_DATAGRAM_MAX: Final = 80
"""A leg's name, NUL, one key."""

_CREDENTIALS = struct.Struct("iII")
Reply = dict[str, object]
Operation = Callable[[Request, list[int]], Reply]


class Desk(ABC):
    """One connection at a time; a newer one takes the place of the older."""

    operations: Mapping[str, Operation] = {}

    def __init__(self, entrance: socket.socket, watcher: Watcher) -> None:
        """`entrance`: where they come from, and who is let in, is for each desk to say (`admitted`)."""
        self._watcher = watcher
        self._peer: socket.socket | None = None
        self._unsent: deque[bytes] = deque()
        self._entrance = entrance
        watcher.watch(entrance, self._on_knock)

    # -- connection ------------------------------------------------------------------------------------------

    def _on_knock(self, _units: int) -> None:
        peer = self.admitted()
        if peer is None:
            return
        self._hang_up()
        self._peer = peer
        self._watcher.watch(peer, self._on_message)
        self.arrived()

    def _hang_up(self) -> None:
        peer, self._peer = self._peer, None
        self._unsent.clear()
        if peer is not None:
            self._watcher.unwatch(peer)
            peer.close()
            self.left()

    @abstractmethod
    def admitted(self) -> socket.socket | None:
        """The connection of whoever knocks, not blocking; None for nobody, or nobody who may come in."""

    def arrived(self) -> None:  # noqa: B027 - most desks need not hear of it
        """A peer has connected."""

    def left(self) -> None:  # noqa: B027 - most desks need not hear of it
        """The peer is gone; no mode changes because of that."""

    def close(self) -> None:
        """Let nobody in any more."""
        self._hang_up()
        self._watcher.unwatch(self._entrance)
        self._entrance.close()

    # -- messages in -----------------------------------------------------------------------------------------

    def _on_message(self, _units: int) -> None:
        for _ in range(MESSAGES_A_TURN):
            peer = self._peer
            if peer is None:
                return
            try:
                data, fds, flags, _ = socket.recv_fds(peer, MESSAGE_MAX, FDS_MAX)
            except BlockingIOError:
                return
            except OSError:
                self._hang_up()
                return
            if not data:
                _close_all(fds)
                self._hang_up()
                return
            self._send(self._answer(data, fds, cut=bool(flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC))))

    def _answer(self, data: bytes, fds: list[int], *, cut: bool) -> Reply:
        """The reply to one message (`cut`: longer than allowed); descriptors nobody took are closed."""
        request: Request | None = None
        try:
            request = Request.read(b"" if cut else data)
            return {"id": request.id, "ok": True, **self._operation(request.op)(request, fds)}
        except Refused as refusal:
            return {
                "id": request.id if request else None,
                "ok": False,
                "code": refusal.code,
                "sentence": refusal.sentence,
                "retryable": refusal.retryable,
            }
        finally:
            _close_all(fds)

    def _operation(self, op: str) -> Operation:
        try:
            return self.operations[op]
        except KeyError:
            raise Refused("op_unknown", "This socket has no such command.") from None

    # -- messages out ----------------------------------------------------------------------------------------

    def tell(self, name: str, leg_id: str, values: Mapping[str, object]) -> None:
        """One fact for the peer; without one it is gone, and the peer asks when it is back."""
        if self._peer is not None:
            self._send({"fact": name, "leg_id": leg_id, **values})

    def _send(self, message: Reply) -> None:
        self._unsent.append(json.dumps(message, separators=(",", ":")).encode())
        self.flush()

    def flush(self) -> None:
        """Send what the peer had no room for; cut it off when it has stopped reading."""
        while self._unsent and self._peer is not None:
            try:
                self._peer.send(self._unsent[0])
            except BlockingIOError:
                break
            except OSError:
                self._hang_up()
                return
            self._unsent.popleft()
        if len(self._unsent) > UNSENT_MAX:
            self._hang_up()


class AppDesk(Desk):
    """`media.sock`: legs, bridges, prompts, open digits."""

    def __init__(
        self,
        path: Path,
        relay: Relay,
        prompting: Prompting,
        capturing: Capturing,
        upkeep: Upkeep,
        run_id: str,
    ) -> None:
        self._relay = relay
        self._prompting = prompting
        self._capturing = capturing
        self._upkeep = upkeep
        self._run_id = run_id
        self.operations = {
            "open_leg": self._open_leg,
            "set_remote": self._set_remote,
            "bridge": self._bridge,
            "unbridge": self._unbridge,
            "load_prompt": self._load_prompt,
            "unload_prompt": self._unload_prompt,
            "play": self._play,
            "stop_play": self._stop_play,
            "collect": self._collect,
            "stop_collect": self._stop_collect,
            "close_leg": self._close_leg,
            "stats": self._stats,
            "ping": self._ping,
            "legs": self._legs,
        }
        self._path = path
        listener = _bound(path, socket.SOCK_SEQPACKET)
        listener.listen(4)
        super().__init__(listener, relay.watcher)

    def admitted(self) -> socket.socket | None:
        """Our own user, or root."""
        try:
            peer, _ = self._entrance.accept()
        except OSError:
            return None
        if not _trusted(peer):
            peer.close()
            return None
        peer.setblocking(False)
        return peer

    def close(self) -> None:
        """As every desk, and the socket's name is gone."""
        super().close()
        self._path.unlink(missing_ok=True)

    def arrived(self) -> None:
        """The app steers (again)."""
        self._upkeep.app_is_back()

    def left(self) -> None:
        """The app is gone: from now on its legs are orphans in waiting."""
        self._upkeep.app_lost_ms = self._relay.now_ms

    def _party(self, request: Request, name: str = "leg_id") -> Party:
        return self._relay.party(request.name(name))

    def _open_leg(self, request: Request, _fds: list[int]) -> Reply:
        port = request.number("port", 1024, 65_535) if request.has("port") else None
        role = Role(request.choice("role", tuple(Role)))
        resume = request.flag("resume", default=False)
        return {"port": self._capturing.open_leg(request.name("leg_id"), role, port, resume=resume)}

    def _set_remote(self, request: Request, _fds: list[int]) -> Reply:
        remote = Remote(
            ip=request.ipv4("ip"),
            port=request.number("port", 1, 65_535),
            codec=request.choice("codec", ("PCMU", "PCMA")),
            payload_type=request.number("payload_type", 0, 127),
            event_types=request.event_types("event_types"),
            direction=request.choice("direction", ("sendrecv", "sendonly", "recvonly", "inactive")),
            source_ip=request.ipv4("source_ip") if request.has("source_ip") else "",
        )
        if remote.payload_type in {kind for kind, _ in remote.event_types}:
            raise Refused(BAD_MESSAGE, "A payload type is audio or telephone-event, not both.")
        self._relay.set_remote(self._party(request), remote)
        return {}

    def _bridge(self, request: Request, _fds: list[int]) -> Reply:
        self._relay.bridge(self._party(request, "caller"), self._party(request, "agent"))
        return {}

    def _unbridge(self, request: Request, _fds: list[int]) -> Reply:
        self._relay.unbridge(self._party(request))
        return {}

    def _load_prompt(self, request: Request, fds: list[int]) -> Reply:
        prompt_id = request.name("prompt_id")
        length = request.number("length", 1, PROMPT_BYTES_MAX)
        if len(fds) != 1:
            raise Refused(BAD_MESSAGE, "The prompt's memory must come along as one descriptor.")
        self._relay.prompts.load(prompt_id, _read_memory(fds[0], length))
        return {}

    def _unload_prompt(self, request: Request, _fds: list[int]) -> Reply:
        self._relay.prompts.unload(request.name("prompt_id"))
        return {}

    def _play(self, request: Request, _fds: list[int]) -> Reply:
        self._prompting.play(
            self._party(request),
            request.name("play_id"),
            request.names("prompt_ids", PLAYLIST_MAX),
            loop=request.flag("loop", default=False),
            barge_in=request.flag("barge_in", default=True),
        )
        return {}

    def _stop_play(self, request: Request, _fds: list[int]) -> Reply:
        self._prompting.stop(self._party(request))
        return {}

    def _collect(self, request: Request, _fds: list[int]) -> Reply:
        party = self._party(request)
        digits_max = request.number("digits_max", 1, OPEN_DIGITS_MAX)
        collection = Collection(
            request.name("collect_id"),
            digits_max=digits_max,
            digits_min=request.number("digits_min", 0, digits_max, default=1),
            first_timeout_ms=request.number("first_timeout_ms", TIMEOUT_MS_MIN, TIMEOUT_MS_MAX, default=8000),
            next_timeout_ms=request.number("next_timeout_ms", TIMEOUT_MS_MIN, TIMEOUT_MS_MAX, default=4000),
        )
        self._prompting.collect(party, collection, ahead=request.flag("ahead", default=True))
        return {}

    def _stop_collect(self, request: Request, _fds: list[int]) -> Reply:
        self._prompting.end_collection(self._party(request), Outcome.STOPPED)
        return {}

    def _close_leg(self, request: Request, _fds: list[int]) -> Reply:
        self._capturing.close(self._party(request))
        return {}

    def _stats(self, request: Request, _fds: list[int]) -> Reply:
        return {"stats": _figures(self._party(request))}

    def _ping(self, _request: Request, _fds: list[int]) -> Reply:
        return {"run": self._run_id, "legs": len(self._relay.parties), "prompts": len(self._relay.prompts)}

    def _legs(self, request: Request, _fds: list[int]) -> Reply:
        first = request.number("first", 0, 1_000_000, default=0)
        parties = list(self._relay.parties.values())
        return {
            "legs": [_view(party) for party in parties[first : first + LEGS_A_REPLY]],
            "count": len(parties),
        }


LEGS_A_REPLY: Final = 200
"""Legs named in one reply, so that it stays under `MESSAGE_MAX` with the longest names; ask again with
`first`."""


class BrokerDesk(Desk):
    """The broker's hatch: attach and detach key pipes, pause for talk. No name leads here."""

    def __init__(self, hatch: socket.socket, relay: Relay, capturing: Capturing) -> None:
        self._relay = relay
        self._capturing = capturing
        self.operations = {
            "hello": self._hello,
            "attach": self._attach,
            "detach": self._detach,
            "talk": self._talk,
        }
        super().__init__(hatch, relay.watcher)

    def admitted(self) -> socket.socket | None:
        """Whoever was handed through: only the broker holds the other end."""
        return answer(self._entrance)

    def arrived(self) -> None:
        """The broker learns that its connection is in use, and not of a process that is gone."""
        self.tell("media.here", "", {})

    def _hello(self, request: Request, _fds: list[int]) -> Reply:
        first = request.number("first", 0, 1_000_000, default=0)
        legs = self._capturing.guarded()
        return {"legs": legs[first : first + LEGS_A_REPLY], "count": len(legs)}

    def _attach(self, request: Request, fds: list[int]) -> Reply:
        party = self._relay.party(request.name("leg_id"))
        capture_id = request.name("capture_id")
        if len(fds) != 1:
            raise Refused(BAD_MESSAGE, "The key pipe must come along as one descriptor.")
        pipe = _pipe_end(fds.pop())
        try:
            self._capturing.attach(party, capture_id, pipe)
        except Refused:
            pipe.close()
            raise
        return {"mode": party.mode.value}

    def _detach(self, request: Request, _fds: list[int]) -> Reply:
        party = self._relay.party(request.name("leg_id"))
        self._capturing.detach(party)
        return {"mode": party.mode.value}

    def _talk(self, request: Request, _fds: list[int]) -> Reply:
        party = self._relay.party(request.name("leg_id"))
        self._capturing.talk(party, on=request.flag("on"))
        return {"mode": party.mode.value}


class KeysInbox:
    """`media-keys.sock`: leg_id, NUL, one key byte a datagram; never answered."""

    def __init__(self, path: Path, relay: Relay) -> None:
        self._path = path
        self._relay = relay
        self.dropped = 0
        self._sock = _bound(path, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        relay.watcher.watch(self._sock, self._on_key)

    def _on_key(self, _units: int) -> None:
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(
                KEY_DATAGRAM_MAX, socket.CMSG_SPACE(_CREDENTIALS.size)
            )
        except OSError:
            return
        name, _, key = data.partition(b"\0")
        party = self._relay.parties.get(name.decode("utf-8", "replace"))
        known = party is not None and party.ear is not None and len(key) == 1 and key[0] <= 15
        if not known or flags & socket.MSG_TRUNC or not _sent_by_us(ancillary):
            self.dropped += 1
        elif party is not None and party.ear is not None:
            party.ear.info(key[0])

    def close(self) -> None:
        """Stop listening and remove the socket's name."""
        self._relay.watcher.unwatch(self._sock)
        self._sock.close()
        self._path.unlink(missing_ok=True)


# -- sockets and descriptors ---------------------------------------------------------------------------------


def _bound(path: Path, kind: int) -> socket.socket:
    """A Unix socket of our name, readable for our uid alone; a dead one of the same name is replaced."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(before)
    return sock


def _trusted(peer: socket.socket) -> bool:
    """SO_PEERCRED: our own uid, or root."""
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(raw)[1] in {os.getuid(), 0}


def _sent_by_us(ancillary: list[tuple[int, int, bytes]]) -> bool:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SCM_CREDENTIALS):
            return _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[1] in {os.getuid(), 0}
    return False


SCM_CREDENTIALS: Final = 2
"""Linux; the socket module does not name it."""


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _read_memory(number: int, length: int) -> bytes:
    """`length` bytes of a memfd; anything that could block or change its kind is refused."""
    about = os.fstat(number)
    if not stat.S_ISREG(about.st_mode) or about.st_size < length:
        raise Refused(BAD_MESSAGE, "The prompt's memory is shorter than it says, or no memory at all.")
    try:
        fcntl.fcntl(number, fcntl.F_GET_SEALS)
    except OSError:
        raise Refused(BAD_MESSAGE, "The prompt must come in a memfd, not in a file.") from None
    data = os.pread(number, length, 0)
    if len(data) != length:
        raise Refused(BAD_MESSAGE, "The prompt's memory ended early.")
    return data


def _pipe_end(number: int) -> socket.socket:
    """The media's end of a key pipe: Unix SEQPACKET, so that the death of its peer shows."""
    try:
        pipe = socket.socket(fileno=number)
    except OSError:
        os.close(number)
        raise Refused(BAD_MESSAGE, "The key pipe is no socket.") from None
    if pipe.family != socket.AF_UNIX or pipe.type & 0xF != socket.SOCK_SEQPACKET:
        pipe.close()
        raise Refused(BAD_MESSAGE, "The key pipe must be a Unix SEQPACKET socket.")
    return pipe


# -- views ---------------------------------------------------------------------------------------------------


def _view(party: Party) -> Reply:
    """One leg as the app may see it."""
    return {
        "leg_id": party.leg_id,
        "role": party.leg.role.value,
        "port": party.leg.port,
        "mode": party.mode.value,
        "latched": party.leg.latch is not None and party.leg.latch.peer is not None,
        "partner": party.partner.leg_id if party.partner else "",
    }


def _figures(party: Party) -> dict[str, int]:
    """Counts of one leg; no key value."""
    leg = party.leg
    heard = leg.rtcp_heard
    return {
        **leg.counts,
        "packets_in": leg.packets,
        "packets_out": leg.stream.packets,
        "send_failures": leg.stream.failures,
        "jitter_units": leg.jitter >> 4,
        "late_in_ear": party.ear.reorder.late if party.ear else 0,
        "far_fraction_lost": heard.fraction_lost or 0,
        "far_jitter_units": heard.jitter or 0,
    }
