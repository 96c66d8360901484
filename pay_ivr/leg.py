"""One party of a call: its SIP dialog and its media endpoint, tied together by SDP.

Our own SDP goes to both sides and every re-INVITE is answered here (RFC 3264; reference 01 §5): the far
side never hears of it. This file hears INFO keys, so it has no logger and stores none.
"""

import asyncio
import secrets
from collections.abc import Coroutine
from enum import StrEnum
from typing import Protocol

from pay_ivr.ids import new_id
from pay_ivr.sip import sdp
from pay_ivr.sip.errors import SipError
from pay_ivr.sip.invite import InviteLeg
from pay_ivr.sip.legstate import EndReason
from vault import MediaClient, Remote, VaultError

MEDIA_GONE = "media_unreachable"
"""The client's code for a lost connection; one that hangs or says no has others."""


class Role(StrEnum):
    """Whose leg it is."""

    CALLER = "caller"
    AGENT = "agent"


class LegListener(Protocol):
    """Who is told about a leg's life."""

    def leg_ringing(self, leg: "Leg") -> None:
        """The peer's phone rings (UAC only)."""

    def leg_answered(self, leg: "Leg") -> None:
        """The dialog is up and its media is negotiated."""

    def leg_ended(self, leg: "Leg", reason: EndReason, status: int | None) -> None:
        """The dialog is over; told exactly once."""

    def leg_broken(self, leg: "Leg") -> None:
        """Media refused what SDP agreed; the leg carries no audio."""


class Leg:
    """A party's dialog and endpoint; an observer of the SIP leg it owns."""

    def __init__(self, role: Role, media: MediaClient, our_ip: str, listener: LegListener) -> None:
        self.leg_id = new_id("leg")
        self.role = role
        self.port = 0
        self.sip: InviteLeg | None = None
        self.negotiated: sdp.Negotiated | None = None
        self.ended = False
        self._media = media
        self._our_ip = our_ip
        self._listener = listener
        self._sdp_id = secrets.randbits(48)
        self._sdp_version = 0
        self._last_order: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Takes a media endpoint; Refused when the media process has no room."""
        self.port = await self._media.open_leg(self.leg_id, self.role.value)

    async def reopen(self) -> None:
        """Takes the same endpoint from a restarted media process; it comes up SECURE."""
        await self._media.open_leg(self.leg_id, self.role.value, port=self.port, resume=True)
        await self._tell_media()

    def offer(self) -> bytes:
        """Our SDP offer: G.711 µ-law and A-law, telephone-event."""
        self._sdp_version += 1
        return sdp.offer(self._our_ip, self.port, version=self._sdp_version, session_id=self._sdp_id)

    def answer(self, offered: bytes) -> bytes:
        """Our SDP answer to an offer; Malformed 488 when nothing fits."""
        self._sdp_version += 1
        body, self.negotiated = sdp.answer(
            sdp.parse_sdp(offered),
            self._our_ip,
            self.port,
            version=self._sdp_version,
            session_id=self._sdp_id,
        )
        self._in_order(self._tell_media())
        return body

    def close(self) -> None:
        """Gives the endpoint back; the dialog must be over or ending."""
        self._in_order(self._close_media())

    # What the SIP leg tells us (LegObserver).

    def on_ringing(self, _leg: InviteLeg) -> None:
        """180 came."""
        self._listener.leg_ringing(self)

    def on_answered(self, leg: InviteLeg, answered: bytes) -> None:
        """The peer's SDP answer came, in its 2xx or, after a late offer, in its ACK.

        One that leaves no audio ends the leg, and the listener hears of that end: a leg that is up and mute
        would keep the other party waiting for ever.
        """
        try:
            self.negotiated = sdp.accept(sdp.parse_sdp(answered))
        except SipError:
            leg.hang_up()
            return
        self._in_order(self._tell_media())
        self._listener.leg_answered(self)

    def on_confirmed(self, _leg: InviteLeg) -> None:
        """ACK came; media has been running since the answer."""

    def on_reinvite(self, _leg: InviteLeg, offered: bytes | None) -> bytes:
        """Hold, resume, new port: answered here, never passed on."""
        return self.offer() if offered is None else self.answer(offered)

    def on_info_key(self, _leg: InviteLeg, key: int) -> None:
        """One key cut from an INFO body: straight on to media, nothing kept."""
        self._media.info_key(self.leg_id, key)

    def on_ended(self, _leg: InviteLeg, reason: EndReason, status: int | None) -> None:
        """The dialog is over."""
        self.ended = True
        self._listener.leg_ended(self, reason, status)

    # Orders to media keep their sequence: a re-INVITE never overtakes the answer before it.

    def _in_order(self, order: Coroutine[None, None, None]) -> None:
        previous = self._last_order
        self._last_order = asyncio.create_task(self._after(previous, order), name="leg.order")

    async def settled(self) -> None:
        """Returns when media has carried out everything asked of it so far."""
        if self._last_order is not None:
            await asyncio.shield(self._last_order)

    async def _after(self, previous: asyncio.Task[None] | None, order: Coroutine[None, None, None]) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        try:
            await order
        except VaultError as error:
            # A media process that is gone comes back, and `reopen` then repeats what SDP agreed.
            if not self.ended and error.code != MEDIA_GONE:
                self._listener.leg_broken(self)

    async def _tell_media(self) -> None:
        agreed = self.negotiated
        if agreed is None:
            return
        source = self.sip.source.ip if self.sip is not None else ""
        await self._media.set_remote(
            self.leg_id,
            Remote(
                agreed.ip,
                agreed.port,
                agreed.codec,
                agreed.payload_type,
                agreed.event_types,
                agreed.direction,
                source,
            ),
        )

    async def _close_media(self) -> None:
        await self._media.close_leg(self.leg_id)
