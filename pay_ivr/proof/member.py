"""The demo's member: enrolled, with points, a PIN and a voucher to be had; how he goes through the portal.

He keys when he hears what he is asked: what reaches his ear is compared with the prompts as the node's own
voice speaks them.
"""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from loyalty.database import Database
from loyalty.keys import Keys
from loyalty.members import Person
from loyalty.programme import programmes_of
from loyalty.service import Loyalty, Surroundings
from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.channels import Channels
from pay_ivr.proof.sip_phone import SipPhone
from pay_ivr.settings import Settings
from pay_ivr.speech import Speech
from pay_ivr.tenants import load_tenants
from vault import Door, NewPinEntry, PinPurpose, PinResult

TENANT, REWARD = "demo", "coffee"
LANGUAGE = "de-DE"
NUMBER, PIN = "4711001", "4913"
POINTS = 1_500
CODE = "K7P4QX9A"
BY = "system:demo"
PERSON = Person(
    number=NUMBER,
    given_name="Erika",
    family_name="Mustermann",
    postcode="80331",
    house_number="12",
    born=date(1980, 12, 31),
    email="erika@example.com",
    phone="",
    language=LANGUAGE,
)
FRAME_HEAD = 12
"""Bytes of an RTP header (RFC 3550 §5.1)."""
BEGINNING = 6_000
"""Bytes of three quarters of a second: enough to tell any two prompts apart."""
HEARD_S = 30.0
"""A prompt comes within a second or two; on a busy machine later."""
LOOK_EVERY_S = 0.1


@asynccontextmanager
async def programme_of(settings: Settings) -> AsyncIterator[Loyalty]:
    """The node's programme, beside the node, as an operator's commands have it."""
    programmes = programmes_of(load_tenants(settings.tenants_dir), settings.tenants_dir)
    database = await asyncio.to_thread(Database.open, settings.loyalty)
    door = Door(settings.sockets / "vault.sock")
    try:
        keys = Keys.open(settings.data_dir, os.environ)
        yield Loyalty(Surroundings(database, keys, programmes, door, Channels({}), {}))
    finally:
        await database.close()


async def enrol(settings: Settings) -> str:
    """The member's id; he has points, a PIN, and a voucher waits in the stock."""
    async with programme_of(settings) as loyalty:
        member = await loyalty.members.enrol(TENANT, PERSON, by=BY)
        await loyalty.open_balance(TENANT, member.member_id, POINTS, expires=None, by=BY)
        await loyalty.add_codes(TENANT, REWARD, CODE, by=BY)
    door = Door(settings.sockets / "vault.sock")
    await door.connect()
    try:
        await _set_pin(door, member.member_id)
    finally:
        await door.close()
    return member.member_id


async def _set_pin(door: Door, member_id: str) -> None:
    """The first PIN, sealed as a browser does: challenge, then the PIN twice, each with its length."""
    seal = await door.pin_seal(TENANT)
    public = load_der_public_key(base64.b64decode(seal.public_key))
    assert isinstance(public, RSAPublicKey)
    plain = base64.b64decode(seal.challenge) + 2 * (bytes([len(PIN)]) + PIN.encode())
    sealed = base64.b64encode(public.encrypt(plain, OAEP(MGF1(SHA256()), SHA256(), None))).decode()
    new = NewPinEntry(TENANT, member_id, PinPurpose.SET, by="agent:agent1")
    result = await door.check_sealed_pin(new, seal.key_id, seal.challenge, sealed)
    assert result is PinResult.OK


@dataclass
class Listener:
    """The member with his telephone at the ear."""

    phone: SipPhone
    speech: Speech
    _heard: int = field(default=0, init=False)

    async def asked(self, key: Key, answer: str, **values: Any) -> None:
        """Keys the answer as soon as the question has begun."""
        await self.hears(key, **values)
        await asyncio.sleep(0.3)
        await self.phone.key(answer)

    async def hears(self, key: Key, **values: Any) -> None:
        """Returns when the prompt has begun, after everything heard before; TimeoutError otherwise."""
        said = (await self.speech.prompt(LANGUAGE, key, **values)).ulaw[:BEGINNING]
        async with asyncio.timeout(HEARD_S):
            while (at := self._sound().find(said, self._heard)) < 0:
                await asyncio.sleep(LOOK_EVERY_S)
        self._heard = at + len(said)

    def _sound(self) -> bytes:
        return b"".join(packet.data[FRAME_HEAD:] for packet in self.phone.rtp.received)


def voice_of(settings: Settings) -> Speech:
    """The node's voice once more; prompts that the node has rendered are read from its own folder."""
    return Speech(Catalogue(), settings.data_dir)
