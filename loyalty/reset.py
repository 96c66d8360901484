"""A reset code of a PIN on its way to the member, out of band: made by the vault, shown to nobody here.

It is not stored: it is good for ten minutes, and whoever wanted it is still on the line to ask for another.
"""

from collections.abc import Mapping
from typing import Protocol

from loyalty.answers import CodeNotSent, CodeSent, Refusal
from loyalty.errors import LoyaltyError
from loyalty.members import Members, Status
from loyalty.programme import Programme
from loyalty.redemption.deliveries import address_of
from loyalty.redemption.words import reset_letter
from pay_ivr.channels import ChannelError, Channels, Message
from pay_ivr.ids import new_id
from vault import VaultError


class Pins(Protocol):
    """Who makes reset codes; `vault.Door` is one."""

    async def issue_reset_code(self, tenant: str, member_id: str, by: str) -> str:
        """A new code, told once; the one before is good no more."""


class ResetCodes:
    """Sends reset codes."""

    def __init__(
        self, members: Members, pins: Pins, channels: Channels, programmes: Mapping[str, Programme]
    ) -> None:
        self._members = members
        self._pins = pins
        self._channels = channels
        self._programmes = programmes

    async def send(self, tenant: str, member_id: str, *, by: str) -> CodeSent | CodeNotSent:
        """A new code to the first address of the member that the tenant sends reset codes to."""
        try:
            member = await self._members.get(tenant, member_id)
            person = await self._members.person(tenant, member_id)
        except LoyaltyError as error:
            if error.code != "member_unknown":
                raise
            return CodeNotSent(Refusal.MEMBER_UNKNOWN)
        if member.status is not Status.ACTIVE:
            return CodeNotSent(Refusal.MEMBER_LOCKED)
        programme = self._programmes[tenant]
        able = self._channels.media_of(tenant)
        to = address_of(person, [medium for medium in programme.reset_by if medium in able])
        if to is None:
            return CodeNotSent(Refusal.NO_ADDRESS)
        try:
            code = await self._pins.issue_reset_code(tenant, member_id, by)
        except VaultError as error:
            raise LoyaltyError(error.code, error.sentence, retryable=error.retryable) from None
        letter = reset_letter(programme, code, person.language)
        try:
            message = Message(f"reset.{new_id('rst')}", to[0], to[1], letter.subject, letter.text)
            await self._channels.send(tenant, message)
        except ChannelError:
            return CodeNotSent(Refusal.NOT_SENT)
        return CodeSent(to[0])
