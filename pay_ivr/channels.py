"""Messages to callers, by e-mail or SMS: what one is, what a channel does with it, what a tenant has.

An address is personal data: it is in no log, no repr and no exception of ours. A channel sends now and says
whether the other side took the message; whoever must not lose one stores it first and sends it again under
the same `key`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pay_ivr.facts import CallError

SUBJECT_MAX = 120
"""Characters: longer subjects are cut on every screen."""
TEXT_MAX = 4_000
"""Characters of a message; a receipt has some 300."""

_KEY = re.compile(r"[A-Za-z0-9_.:\-]{1,100}")
_EMAIL = re.compile(
    r"(?=.{3,254}$)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
)
"""RFC 5321 §4.1.2 without quoted local parts and address literals: nobody dictates those on the telephone."""
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
"""E.164 with its plus sign."""


class Medium(StrEnum):
    """How a message travels."""

    EMAIL = "email"
    SMS = "sms"


class ChannelError(CallError):
    """A message was not taken: `address_malformed`, `message_unsent` (retryable) or `message_refused`."""


@dataclass(frozen=True)
class Message:
    """One message to one person; `ChannelError("address_malformed")` when the address cannot be one."""

    key: str
    """The sender's own: the same message sent again has the same one."""
    medium: Medium
    to: str = field(repr=False)
    subject: str = field(repr=False)
    """Not sent by SMS."""
    text: str = field(repr=False)

    def __post_init__(self) -> None:
        check_address(self.medium, self.to)
        if not _KEY.fullmatch(self.key) or not self.subject.isprintable():
            raise ValueError("the key or the subject of a message has a wrong shape")
        if len(self.subject) > SUBJECT_MAX or not 0 < len(self.text) <= TEXT_MAX:
            raise ValueError("a message is empty or too long")


def check_address(medium: Medium, to: str) -> None:
    """ChannelError("address_malformed") for what cannot be one."""
    shape = _EMAIL if medium is Medium.EMAIL else _NUMBER
    if not shape.fullmatch(to):
        raise ChannelError("address_malformed", _HOW_TO_WRITE[medium])


_HOW_TO_WRITE = {
    Medium.EMAIL: "This is no e-mail address. Write it like name@example.com.",
    Medium.SMS: "This is no telephone number. Write it with its country, like +4915112345678.",
}


class Channel(Protocol):
    """One way to send messages."""

    async def send(self, message: Message) -> None:
        """Returns when the next host has taken the message; `ChannelError` otherwise.

        After `message_unsent` it may have been taken all the same: the same key may arrive twice.
        """


@dataclass(frozen=True)
class Parcel:
    """One stored message on its way."""

    tenant: str
    message: Message
    tries: int


class Tray(Protocol):
    """Where messages are stored until a channel has taken them; `Postman` empties it."""

    noun: str
    """What its messages are, in the log: `receipt`."""

    async def due(self, now_ms: int) -> tuple[Parcel, ...]:
        """Parcels whose time has come."""

    async def sent(self, parcel: Parcel) -> None:
        """The channel has taken it."""

    async def failed(self, parcel: Parcel, now_ms: int, *, retryable: bool) -> bool:
        """True when it will be tried again."""

    async def tidy(self, now_ms: int) -> None:
        """Forgets what has been kept long enough."""


class Channels:
    """Every tenant's channels."""

    def __init__(self, channels: Mapping[str, Mapping[Medium, Channel]]) -> None:
        self._channels = channels

    def media_of(self, tenant: str) -> tuple[Medium, ...]:
        """What a tenant can send by."""
        return tuple(medium for medium in Medium if medium in self._channels.get(tenant, {}))

    def check(self, tenant: str, medium: Medium) -> None:
        """ChannelError("channel_off") when the tenant has no such channel."""
        if medium not in self._channels.get(tenant, {}):
            raise ChannelError("channel_off", "This tenant does not send such messages. Use another channel.")

    async def send(self, tenant: str, message: Message) -> None:
        """As `check` and `Channel.send`."""
        self.check(tenant, message.medium)
        await self._channels[tenant][message.medium].send(message)
