"""One party's media: two UDP sockets, its latch, what we heard, and the stream we send it.

`Leg.on_rtp` is the hot path: an ordinary packet (20 ms of the negotiated codec, next in sequence, plain
header) is counted, heard and moved on in one function; everything else goes to `_unusual`, which only lets
audio of the negotiated payload type through (RFC 3550, RFC 3551, RFC 4733). This file owns the rule that a
packet leaves only by `through`, a stream that `relay.py` sets and takes away.
"""

import socket
import struct
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from vault.door import Remote
from vault.media import rtcp
from vault.media.ear import Ear
from vault.media.latch import Address, Latch
from vault.media.rtp import (
    FIRST_BYTE,
    FRAME_BYTES,
    GAP_MAX,
    HEADER,
    HEADER_BYTES,
    MARKER,
    PAYLOAD_BYTES_MAX,
    OwnStream,
    Packet,
    read,
)

DATAGRAM_BYTES_MAX: Final = 2048
"""More than an Ethernet frame; a longer datagram is cut and then refused."""
ORDINARY_BYTES: Final = HEADER_BYTES + FRAME_BYTES
EXPEDITED_FORWARDING: Final = 46 << 2
"""DSCP EF in the TOS byte: telephony audio (RFC 4594 §4.1)."""
JITTER_STEP_MAX: Final = 80_000
"""Ten seconds of clock units: a larger step is a wrapped or restarted time stamp, not jitter."""
JITTER_EVERY: Final = 3
"""Mask: every fourth packet is timed, against the one timed before. While delays are independent, that has
the same spread as the neighbours of RFC 3550 A.8, and three packets of four are spared the arithmetic."""
PORT_MAX: Final = 65_535
"""A peer here has no port beside it for RTCP, and Python raises no OSError about the one beyond."""
STALE_MAX: Final = 256
"""Datagrams read at the latch that the kernel queued before it knew the peer; the rest stays for later
turns."""

COUNTS: Final = (
    "bad",
    "foreign",
    "not_audio",
    "events",
    "late",
    "lost",
    "restarts",
    "rtcp",
    "keys",
    "keys_refused",
)
"""What a leg counts beside packets: coarse, for operators; no key value."""

# The one receive buffer of the process: single thread, one packet at a time, overwritten by the next.
BUFFER: Final = bytearray(DATAGRAM_BYTES_MAX)
_VIEW: Final = memoryview(BUFFER)
_ORDINARY: Final = _VIEW[:ORDINARY_BYTES]
_FRAME: Final = _VIEW[HEADER_BYTES:ORDINARY_BYTES]
_HEAD: Final = struct.Struct("!HHII")
"""The same twelve bytes with the first two as one number: one comparison instead of two."""
_unpack = _HEAD.unpack_from
_pack_into = _HEAD.pack_into


class Role(StrEnum):
    """Whose leg it is: keys are heard on a caller's leg only."""

    CALLER = "caller"
    AGENT = "agent"


class Leg:
    """One party of a call; `relay.py` decides, this class carries."""

    __slots__ = (
        "_missing",
        "_rtcp_name",
        "_watch",
        "aligned",
        "audio_type",
        "base",
        "counts",
        "cycles",
        "ear",
        "event_types",
        "fast_head",
        "heard_ms",
        "heard_packets",
        "jitter",
        "latch",
        "leg_id",
        "next",
        "on_latched",
        "peer_ssrc",
        "port",
        "receive_into",
        "remote",
        "role",
        "rtcp",
        "rtcp_heard",
        "rtcp_heard_ms",
        "rtcp_loss",
        "rtp",
        "stream",
        "through",
        "transit",
    )

    def __init__(
        self,
        leg_id: str,
        role: Role,
        sockets: tuple[socket.socket, socket.socket],
        watch: Callable[[socket.socket, Callable[[int], None]], None],
        on_latched: Callable[["Leg"], None],
    ) -> None:
        self.leg_id = leg_id
        self.role = role
        self.rtp, self.rtcp = sockets
        self.port: int = self.rtp.getsockname()[1]
        self.receive_into = self.rtp.recv_into
        self.stream = OwnStream(self._send_unlatched)
        self.through: OwnStream | None = None
        """Where this leg's audio goes at once; None while nobody may have it."""
        self.ear: Ear | None = None
        """Callers only: hears keys."""
        self.remote: Remote | None = None
        self.latch: Latch | None = None
        self.audio_type = -1
        self.fast_head = -1
        """First two bytes of an ordinary packet; -1 while the next packet must not take the short way."""
        self.aligned = False
        """The numbers of `through` follow this leg's packets."""
        self.event_types: frozenset[int] = frozenset()
        self.on_latched = on_latched
        self._watch = watch
        self._rtcp_name = rtcp.own_name()
        self.rtcp_heard = rtcp.Heard()
        self.rtcp_heard_ms = 0.0
        self.heard_ms = 0.0
        """When anything last came from the peer, kept by the housekeeping."""
        self.heard_packets = 0
        self.counts = dict.fromkeys(COUNTS, 0)
        self._forget_peer()
        watch(self.rtp, self.on_unlatched)
        watch(self.rtcp, self.on_rtcp)

    def _forget_peer(self) -> None:
        """Start the reception figures anew: the next packet opens a stream."""
        self.fast_head = -1
        self.aligned = False
        self.peer_ssrc = -1
        self.next = 0
        """Sequence number expected next, 65536 after 65535: the long way then starts a new cycle."""
        self.cycles = 0
        """65536 for each time the sequence number began anew (RFC 3550 A.1)."""
        self.base = 0
        """First sequence number."""
        self._missing = 0
        """Packets that have not come, or not yet."""
        self.heard_packets = 0
        self.jitter = 0
        self.transit = 0
        self.rtcp_loss = rtcp.LossCount()

    # -- signalling ------------------------------------------------------------------------------------------

    def set_remote(self, remote: Remote) -> None:
        """Take what SDP said; a new address opens the latch again, the same one keeps it."""
        before = self.latch
        address = (remote.ip, remote.port)
        self.latch = before.renewed(address, remote.source_ip) if before else Latch(address, remote.source_ip)
        if self.latch is not before and before is not None and before.peer is not None:
            _disconnect(self.rtp)
            self.stream.send = self._send_unlatched
            self._watch(self.rtp, self.on_unlatched)
        self.remote = remote
        self.audio_type = remote.payload_type
        self.event_types = frozenset(kind for kind, _ in remote.event_types)
        self.stream.use(remote.payload_type)
        self.fast_head = -1

    def lead_to(self, through: OwnStream | None) -> None:
        """Send this leg's audio on by `through` from the next packet, or to nobody."""
        if through is not self.through:
            self.through = through
            self.aligned = False
            self.fast_head = -1

    @property
    def may_send(self) -> bool:
        """We know where to, and the peer wants it (RFC 8866 §6.7; 0.0.0.0 is the old way to say hold)."""
        remote = self.remote
        return remote is not None and remote.ip != "0.0.0.0" and remote.direction in {"sendrecv", "sendonly"}  # noqa: S104

    @property
    def may_receive(self) -> bool:
        """The peer's direction lets audio come from it."""
        return self.remote is not None and self.remote.direction in {"sendrecv", "recvonly"}

    def close(self) -> None:
        """Give both ports back."""
        self.through = None
        self.rtp.close()
        self.rtcp.close()

    # -- packets in ------------------------------------------------------------------------------------------

    def on_rtp(self, units: int) -> None:
        """One datagram from the connected peer; `units` is the RTP clock now."""
        receive_into = self.receive_into
        try:
            length = receive_into(BUFFER)
        except OSError:
            return  # ECONNREFUSED: the peer's port was closed a moment ago; EAGAIN: nothing there after all
        if length == ORDINARY_BYTES:
            head, sequence, timestamp, ssrc = _unpack(BUFFER)
            if sequence == self.next and head == self.fast_head and ssrc == self.peer_ssrc:
                self.next = sequence + 1
                if not sequence & JITTER_EVERY:
                    transit = units - timestamp
                    step = transit - self.transit
                    self.transit = transit
                    self.jitter += (step if step >= 0 else -step) - ((self.jitter + 8) >> 4)
                ear = self.ear
                if ear is not None:
                    if ear.ready:
                        ear.slot[:] = _FRAME
                        ear.ready = False
                        ear.arrived(ear)
                    else:
                        ear.in_order(sequence, _FRAME)
                to = self.through
                if to is not None:
                    if to.translate is not None:
                        _FRAME[:] = _FRAME.tobytes().translate(to.translate)
                    to.sequence = sequence = (sequence + to.sequence_shift) & 0xFFFF
                    to.timestamp = timestamp = (timestamp + to.timestamp_shift) & 0xFFFFFFFF
                    to.sent_units = units
                    _pack_into(BUFFER, 0, to.head, sequence, timestamp, to.ssrc)
                    send = to.send
                    try:
                        send(_ORDINARY)
                    except OSError:
                        to.failures += 1
                    else:
                        to.packets += 1
                return
        self._unusual(length, units)

    def on_unlatched(self, units: int) -> None:
        """One datagram while the peer is not known yet: only the SDP's or the SIP source's address counts."""
        try:
            length, sender = self.rtp.recvfrom_into(BUFFER)
        except OSError:
            return
        latch = self.latch
        if latch is None or not latch.admits(sender):
            self.counts["foreign"] += 1
            return
        packet = read(BUFFER, length)
        if packet is None or not self._negotiated(packet.payload_type):
            self.counts["bad"] += 1
            return
        if not self._latch_to(latch, sender):
            self.counts["bad"] += 1
            return
        self._take(packet, units)
        self._read_stale(sender, units)
        self.on_latched(self)

    def _negotiated(self, payload_type: int) -> bool:
        return payload_type == self.audio_type or payload_type in self.event_types

    def _latch_to(self, latch: Latch, sender: Address) -> bool:
        """The sender is our peer from now on; False when the kernel knows no way back to it."""
        try:
            self.rtp.connect(sender)
        except OSError:
            return False
        self.latch = latch.latched(sender)
        self.stream.send = self.rtp.send
        self._forget_peer()
        self._watch(self.rtp, self.on_rtp)
        return True

    def _read_stale(self, peer: Address, units: int) -> None:
        """Empty the queue that filled before `connect`: the kernel checked nobody's address for those."""
        for _ in range(STALE_MAX):
            try:
                length, sender = self.rtp.recvfrom_into(BUFFER)
            except OSError:
                return
            if sender == peer:
                self._unusual(length, units)
            else:
                self.counts["foreign"] += 1

    def _unusual(self, length: int, units: int) -> None:
        """Any packet that is not the ordinary next one."""
        packet = read(BUFFER, length) if length < DATAGRAM_BYTES_MAX else None
        if packet is None:
            self.counts["bad"] += 1
            return
        self._take(packet, units)

    def _take(self, packet: Packet, units: int) -> None:
        expected = self.next & 0xFFFF
        extended = self._place(packet, units)
        newest = extended == self.highest
        size = packet.end - packet.start
        if packet.payload_type == self.audio_type and 0 < size <= PAYLOAD_BYTES_MAX:
            self._hear(packet, newest and (packet.sequence == expected or extended == self.base), expected)
            if self.through is not None:
                self._pass_on(self.through, packet, extended, units)
            if newest:
                self.fast_head = FIRST_BYTE << 8 | self.audio_type
            return
        if packet.payload_type in self.event_types:
            self.counts["events"] += 1
            if self.ear is not None:
                self.ear.event(packet, _VIEW[packet.start : packet.end])
            BUFFER[packet.start : packet.end] = bytes(size)
        else:
            self.counts["not_audio"] += 1
        if self.through is not None and self.aligned and newest:
            self.through.close_up(extended)

    @property
    def highest(self) -> int:
        """Extended highest sequence number."""
        return self.cycles + self.next - 1

    @property
    def packets(self) -> int:
        """Received of the present stream, late ones included."""
        return self.highest - self.base + 1 - self._missing if self.peer_ssrc >= 0 else 0

    def _place(self, packet: Packet, units: int) -> int:
        """Extended sequence number of `packet`; moves the reception figures (RFC 3550 A.1, A.3, A.8)."""
        ahead = (packet.sequence - self.next) & 0xFFFF
        behind = 0x10000 - ahead
        if packet.ssrc != self.peer_ssrc or (ahead > GAP_MAX and behind > GAP_MAX):
            return self._open_stream(packet, units)
        if ahead >= 0x8000:
            self.counts["late"] += 1
            self._missing -= 1
            return self.highest + 1 - behind
        self.counts["lost"] += ahead
        self._missing += ahead
        extended = self.highest + 1 + ahead
        self.cycles, self.next = extended - packet.sequence, packet.sequence + 1
        self._spread(packet, units)
        return extended

    def _open_stream(self, packet: Packet, units: int) -> int:
        """The first packet of a source, or of one that has jumped: the reception figures start here."""
        if self.peer_ssrc >= 0:
            self.counts["restarts"] += 1
        self._forget_peer()
        self.peer_ssrc = packet.ssrc
        self.base = packet.sequence
        self.next = packet.sequence + 1
        self.transit = units - packet.timestamp
        return packet.sequence

    def _spread(self, packet: Packet, units: int) -> None:
        transit = units - packet.timestamp
        step = abs(transit - self.transit)
        self.transit = transit
        if step < JITTER_STEP_MAX:
            self.jitter += step - ((self.jitter + 8) >> 4)

    def _hear(self, packet: Packet, in_order: bool, expected: int) -> None:
        ear = self.ear
        if ear is None:
            return
        payload = _VIEW[packet.start : packet.end]
        if len(payload) != FRAME_BYTES:
            ear.ragged(bytes(payload))
        elif in_order:
            ear.in_order(packet.sequence, payload)
        else:
            ear.out_of_order(packet.sequence, payload, expected)

    def _pass_on(self, to: OwnStream, packet: Packet, extended: int, units: int) -> None:
        """Rebuild the packet from its payload alone: no extension, no CSRC, no padding comes along."""
        newest = extended == self.highest
        if not self.aligned and newest:
            to.align(extended, packet.timestamp, units)
            self.aligned = True
        if not self.aligned or extended < to.floor:
            return  # a late one, whose number belongs to something else by now
        sequence = (extended + to.sequence_shift) & 0xFFFF
        timestamp = (packet.timestamp + to.timestamp_shift) & 0xFFFFFFFF
        if newest:
            to.sequence, to.timestamp, to.sent_units = sequence, timestamp, units
        kind = to.payload_type | MARKER if packet.marker or to.restart else to.payload_type
        to.restart = False
        payload = bytes(_VIEW[packet.start : packet.end])
        if to.translate is not None:
            payload = payload.translate(to.translate)
        try:
            to.send(HEADER.pack(FIRST_BYTE, kind, sequence, timestamp, to.ssrc) + payload)
        except OSError:
            to.failures += 1
            return
        to.packets += 1

    # -- packets out -----------------------------------------------------------------------------------------

    def _send_unlatched(self, packet: bytes | bytearray | memoryview) -> int:
        return self.rtp.sendto(packet, self.latch.target) if self.latch is not None else 0

    # -- RTCP ------------------------------------------------------------------------------------------------

    def on_rtcp(self, units: int) -> None:
        """One RTCP datagram; only the peer's address is read, and nothing of it is passed on."""
        try:
            datagram, sender = self.rtcp.recvfrom(rtcp.DATAGRAM_BYTES_MAX)
        except OSError:
            return
        if self.latch is None or sender[0] != self.latch.target[0]:
            self.counts["foreign"] += 1
            return
        heard = rtcp.read(datagram, self.stream.ssrc)
        if heard is None:
            self.counts["bad"] += 1
            return
        self.counts["rtcp"] += 1
        self.rtcp_heard = heard
        self.rtcp_heard_ms = units / 8

    def reception(self, now_ms: float) -> rtcp.Reception | None:
        """One report block about the peer's stream, None before its first packet."""
        if self.peer_ssrc < 0:
            return None
        expected = self.highest - self.base + 1
        since = int((now_ms - self.rtcp_heard_ms) * 65.536) if self.rtcp_heard.last_report is not None else 0
        return rtcp.Reception(
            ssrc=self.peer_ssrc,
            fraction_lost=self.rtcp_loss.fraction(expected, self.packets),
            lost=self._missing,
            highest=self.highest,
            jitter=self.jitter >> 4,
            last_report=self.rtcp_heard.last_report or 0,
            delay=since,
        )

    def send_report(self, now_ms: float, wall_s: float, units: int) -> None:
        """Our SR (or RR) with our own CNAME to the port beside the peer's, if it has one (RFC 3550 §11)."""
        if self.latch is None or self.latch.target[1] >= PORT_MAX:
            return
        stream = self.stream
        sent = (
            (stream.timestamp_at(units), stream.packets, stream.packets * FRAME_BYTES)
            if stream.packets
            else None
        )
        datagram = rtcp.report(stream.ssrc, self._rtcp_name, sent, wall_s, self.reception(now_ms))
        ip, port = self.latch.target
        try:
            self.rtcp.sendto(datagram, (ip, port + 1))
        except OSError:
            stream.failures += 1


def open_sockets(bind_ip: str, port: int) -> tuple[socket.socket, socket.socket]:
    """RTP on `port`, RTCP on the next one, both non-blocking; OSError when either is taken."""
    opened: list[socket.socket] = []
    try:
        for number in (port, port + 1):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            opened.append(sock)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EXPEDITED_FORWARDING)
            sock.bind((bind_ip, number))
    except OSError:
        for sock in opened:
            sock.close()
        raise
    return opened[0], opened[1]


def _disconnect(sock: socket.socket) -> None:
    """Let a connected UDP socket hear everybody again; its port stays (connect(2) with AF_UNSPEC)."""
    import ctypes

    nobody = struct.pack("=H14x", socket.AF_UNSPEC)
    if ctypes.CDLL(None, use_errno=True).connect(sock.fileno(), nobody, len(nobody)) != 0:
        raise OSError(ctypes.get_errno(), "disconnect")
