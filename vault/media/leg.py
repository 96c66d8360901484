"""One party's media: two UDP sockets, its latch, what we heard, and the stream we send it.

Ordinary audio takes the short way of `lane.py`, which this file opens and closes; `step_aside` counts its run
when somebody asks. Everything else comes to `on_unusual`, which only lets audio of the negotiated payload
type through (RFC 3550, RFC 3551, RFC 4733). This file owns the rule that a packet leaves only by `through`, a
stream that `relay.py` sets and takes away.
"""

import socket
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

from vault.door import Remote
from vault.media import rtcp
from vault.media.ear import Ear
from vault.media.lane import BUFFER, CLOSED, DATAGRAM_BYTES_MAX, LAWS, NOBODY, NOISES, Lane
from vault.media.latch import Address, Latch
from vault.media.ports import disconnect
from vault.media.rtp import (
    FIRST_BYTE,
    FRAME_BYTES,
    GAP_MAX,
    HEADER,
    MARKER,
    PAYLOAD_BYTES_MAX,
    OwnStream,
    Packet,
    read,
)

JITTER_STEP_MAX: Final = 80_000
"""Ten seconds of clock units: a larger step is a wrapped or restarted time stamp, not jitter."""
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

_VIEW: Final = memoryview(BUFFER)


class Watcher(Protocol):
    """The event loop, as the relay and its legs need it."""

    def watch(self, sock: socket.socket, handler: Callable[[int], None]) -> None:
        """Call `handler(units)` whenever `sock` can be read; a second call changes the handler."""

    def lane(self, sock: socket.socket) -> Lane:
        """The lane of a socket that is about to be watched."""

    def carry(self, sock: socket.socket, unusual: Callable[[int, int], None]) -> None:
        """Read `sock` itself; `unusual(length, units)` for a datagram that its lane left in BUFFER."""

    def hum(self, sock: socket.socket) -> None:
        """Send noise by this socket's lane with every `noise`."""

    def hush(self, sock: socket.socket) -> None:
        """No noise by this socket's lane any more."""

    def noise(self, units: int) -> int:
        """One frame of noise by every lane that hums; how many of them have ended."""

    def unwatch(self, sock: socket.socket) -> None:
        """Forget a socket that is about to be closed."""


class Role(StrEnum):
    """Whose leg it is: keys are heard on a caller's leg only."""

    CALLER = "caller"
    AGENT = "agent"


class Leg:
    """One party of a call; `relay.py` decides, this class carries."""

    __slots__ = (
        "_carry",
        "_lane",
        "_missing",
        "_next",
        "_rtcp_name",
        "_watch",
        "aligned",
        "audio_type",
        "base",
        "counts",
        "cycles",
        "ear",
        "event_types",
        "heard_ms",
        "heard_packets",
        "latch",
        "leg_id",
        "on_latched",
        "peer_ssrc",
        "port",
        "remote",
        "role",
        "rtcp",
        "rtcp_heard",
        "rtcp_heard_ms",
        "rtcp_loss",
        "rtp",
        "stream",
        "through",
    )

    def __init__(
        self,
        leg_id: str,
        role: Role,
        sockets: tuple[socket.socket, socket.socket],
        watcher: Watcher,
        on_latched: Callable[["Leg"], None],
    ) -> None:
        self.leg_id = leg_id
        self.role = role
        self.rtp, self.rtcp = sockets
        self.port: int = self.rtp.getsockname()[1]
        self._lane = watcher.lane(self.rtp)
        self.stream = OwnStream(self._send_unlatched)
        self.through: OwnStream | None = None
        """Where this leg's audio goes at once; None while nobody may have it."""
        self.ear: Ear | None = None
        """Callers only: hears keys; set by `hear_with`."""
        self.remote: Remote | None = None
        self.latch: Latch | None = None
        self.audio_type = -1
        self.aligned = False
        """The numbers of `through` follow this leg's packets."""
        self.event_types: frozenset[int] = frozenset()
        self.on_latched = on_latched
        self._watch, self._carry = watcher.watch, watcher.carry
        self._rtcp_name = rtcp.own_name()
        self.rtcp_heard = rtcp.Heard()
        self.rtcp_heard_ms = 0.0
        self.heard_ms = 0.0
        """When anything last came from the peer, kept by the housekeeping."""
        self.heard_packets = 0
        self.counts = dict.fromkeys(COUNTS, 0)
        self._forget_peer()
        watcher.watch(self.rtp, self.on_unlatched)
        watcher.watch(self.rtcp, self.on_rtcp)

    def _forget_peer(self) -> None:
        """Start the reception figures anew: the next packet opens a stream."""
        self.aligned = False
        self.peer_ssrc = -1
        self._next = 0
        """Sequence number expected next off the short way, 65536 after 65535: then a new cycle starts."""
        self.cycles = 0
        """65536 for each time the sequence number began anew (RFC 3550 A.1)."""
        self.base = 0
        """First sequence number."""
        self._missing = 0
        """Packets that have not come, or not yet."""
        self.heard_packets = 0
        self._lane.jitter = self._lane.transit = 0
        self.rtcp_loss = rtcp.LossCount()

    # -- signalling ------------------------------------------------------------------------------------------

    def set_remote(self, remote: Remote) -> None:
        """Take what SDP said; a new address opens the latch again, the same one keeps it."""
        before = self.latch
        address = (remote.ip, remote.port)
        self.latch = before.renewed(address, remote.source_ip) if before else Latch(address, remote.source_ip)
        if self.latch is not before and before is not None and before.peer is not None:
            disconnect(self.rtp)
            self.stream.route(self._send_unlatched, NOBODY)
            self._watch(self.rtp, self.on_unlatched)
        self.step_aside()
        self.remote = remote
        self.audio_type = remote.payload_type
        self.event_types = frozenset(kind for kind, _ in remote.event_types)
        self.stream.use(remote.payload_type)

    def hear_with(self, ear: Ear) -> None:
        """Let `ear` hear this leg from its first packet."""
        self.ear = ear
        self._lane.row = ear.row

    def lead_to(self, through: OwnStream | None) -> None:
        """Send this leg's audio on by `through` from the next packet, or to nobody."""
        if through is self.through:
            return
        self.step_aside()
        if through is not None:
            through.catch_up()
        if self.through is not None:
            self.through.feeder = None
        self.through = through
        self.aligned = False
        if through is not None:
            through.feeder = self.step_aside

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
        self.lead_to(None)
        self.stream.catch_up()
        self.rtp.close()
        self.rtcp.close()

    # -- packets in ------------------------------------------------------------------------------------------

    def _go_short(self, sequence: int, timestamp: int) -> None:
        """The packet just moved on was ordinary: the next one takes the short way."""
        lane, to = self._lane, self.through
        head = (FIRST_BYTE << 8 | self.audio_type) << 48 | sequence << 32 | timestamp
        if to is None:
            lane.out_fd = NOBODY
        elif to.number < 0:
            return  # the other party is not latched yet: its packets have no connected socket to leave by
        else:
            lane.out_fd, lane.out_ssrc, lane.law = to.number, to.ssrc, LAWS.index(to.translate)
        lane.open(head, self.peer_ssrc, 0 if to is None else to.head - head)

    def hum(self, at: int) -> bool:
        """Let the lane send noise after our own stream's last frame; False when Python must go on."""
        stream, remote = self.stream, self.remote
        if stream.number < 0 or stream.restart or remote is None:
            return False
        if not self._lane.begin_hum(stream.head, stream.ssrc, NOISES.index(remote.codec), at):
            return False
        stream.feeder = self.hush
        return True

    @property
    def noise_at(self) -> int:
        """Which frame of the noise the lane sent last."""
        return self._lane.hum_at

    @property
    def hums(self) -> bool:
        """Whether the lane still sends noise."""
        return self._lane.hum != 0

    def hush(self) -> None:
        """Stop humming, and count what the lane sent."""
        lane = self._lane
        lane.hum = 0
        self.stream.feeder = None
        hummed, lane.hummed = lane.hummed, 0
        failures, lane.hum_failures = lane.hum_failures, 0
        if hummed:
            self.stream.passed(hummed - failures, failures, lane.own, lane.hum_units)

    def step_aside(self) -> None:
        """Leave the short way, and count its run in our own figures and in those of `through`."""
        lane = self._lane
        lane.ssrc = CLOSED
        run, lane.run = lane.run, 0
        failures, lane.failures = lane.failures, 0
        if run == 0:
            return
        last = lane.last
        self._next = (last >> 32 & 0xFFFF) + 1
        if self.through is not None:
            self.through.passed(
                run - failures, failures, last + lane.shift, (last & 0xFFFFFFFF) + lane.transit
            )

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
        self.stream.route(self.rtp.send, self.rtp.fileno())
        self._forget_peer()
        self._carry(self.rtp, self.on_unusual)
        return True

    def _read_stale(self, peer: Address, units: int) -> None:
        """Empty the queue that filled before `connect`: the kernel checked nobody's address for those."""
        for _ in range(STALE_MAX):
            try:
                length, sender = self.rtp.recvfrom_into(BUFFER)
            except OSError:
                return
            if sender == peer:
                self.on_unusual(length, units)
            else:
                self.counts["foreign"] += 1

    def on_unusual(self, length: int, units: int) -> None:
        """One datagram of the connected peer, in BUFFER, that is not the ordinary next one."""
        self.step_aside()
        packet = read(BUFFER, length) if length < DATAGRAM_BYTES_MAX else None
        if packet is None:
            self.counts["bad"] += 1
            return
        self._take(packet, units)

    def _take(self, packet: Packet, units: int) -> None:
        expected = self._next & 0xFFFF
        extended = self._place(packet, units)
        newest = extended == self.highest
        size = packet.end - packet.start
        if packet.payload_type == self.audio_type and 0 < size <= PAYLOAD_BYTES_MAX:
            self._hear(packet, newest and (packet.sequence == expected or extended == self.base), expected)
            if self.through is not None:
                self._pass_on(self.through, packet, extended, units)
            if newest and size == FRAME_BYTES:
                self._go_short(packet.sequence, packet.timestamp)
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
        lane = self._lane
        return self.cycles + (lane.last >> 32 & 0xFFFF if lane.run else self._next - 1)

    @property
    def jitter(self) -> int:
        """Interarrival jitter in sixteenths of a clock unit (RFC 3550 A.8)."""
        return self._lane.jitter

    @property
    def packets(self) -> int:
        """Received of the present stream, late ones included."""
        return self.highest - self.base + 1 - self._missing if self.peer_ssrc >= 0 else 0

    def _place(self, packet: Packet, units: int) -> int:
        """Extended sequence number of `packet`; moves the reception figures (RFC 3550 A.1, A.3, A.8)."""
        ahead = (packet.sequence - self._next) & 0xFFFF
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
        self.cycles, self._next = extended - packet.sequence, packet.sequence + 1
        self._spread(packet, units)
        return extended

    def _open_stream(self, packet: Packet, units: int) -> int:
        """The first packet of a source, or of one that has jumped: the reception figures start here."""
        if self.peer_ssrc >= 0:
            self.counts["restarts"] += 1
        self._forget_peer()
        self.peer_ssrc = packet.ssrc
        self.base = packet.sequence
        self._next = packet.sequence + 1
        self._lane.transit = units - packet.timestamp
        return packet.sequence

    def _spread(self, packet: Packet, units: int) -> None:
        lane = self._lane
        transit = units - packet.timestamp
        step = abs(transit - lane.transit)
        lane.transit = transit
        if step < JITTER_STEP_MAX:
            lane.jitter += step - ((lane.jitter + 8) >> 4)

    def _hear(self, packet: Packet, in_order: bool, expected: int) -> None:
        ear = self.ear
        if ear is None:
            return
        payload = _VIEW[packet.start : packet.end]
        if len(payload) != FRAME_BYTES:
            ear.ragged(payload)
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
        to.sent += 1

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
        packets = stream.packets
        sent = (stream.timestamp_at(units), packets, packets * FRAME_BYTES) if packets else None
        datagram = rtcp.report(stream.ssrc, self._rtcp_name, sent, wall_s, self.reception(now_ms))
        ip, port = self.latch.target
        try:
            self.rtcp.sendto(datagram, (ip, port + 1))
        except OSError:
            stream.failures += 1
