"""A member's telephone call to a whole node: keys with a telephone, listens, knows what was said.

What reaches the caller's ear is compared, frame by frame, with the prompts as the node's voice speaks them.
"""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import ceil
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from loyalty.members import Member
from pay_ivr.catalogue import Key
from pay_ivr.payment_voice import Sentence
from pay_ivr.proof.sip_phone import SipPhone
from pay_ivr.speech import Speech
from tests.support.node import KEY_MS, Node, until
from vault import Door, NewPinEntry, PinPurpose, PinResult

FRAME: Final = 160
"""Bytes of 20 ms."""
BEGINNING: Final = 60
"""Frames of a bit more than a second: enough to tell any two sentences apart by their beginnings."""
SAME: Final = 0.9
"""Of a sentence's frames; a busy machine may send one too late, and the relay leaves it out."""
HEARD_S: Final = 40.0
"""A sentence comes within a few seconds on an idle machine."""


def found_in(heard: Sequence[bytes], said: Sequence[bytes], first: int) -> range | None:
    """The sentence's place among the frames heard from `first` on; None when it was not heard."""
    sounding = [frame for frame in said if len(set(frame)) > 1]
    lacking_max = len(sounding) - ceil(SAME * len(sounding))
    starts = {frame: place for place, frame in enumerate(sounding[: lacking_max + 1])}
    for begin in range(first, len(heard)):
        if heard[begin] in starts:
            lacking = skipped = starts[heard[begin]]
            place = begin
            for frame in sounding[skipped:]:
                try:
                    place = heard.index(frame, place, place + GAP) + 1
                except ValueError:
                    lacking += 1
                    if lacking > lacking_max:
                        break
            else:
                return range(max(first, begin - skipped), place)
    return None


GAP: Final = 50
"""Frames of silence within a sentence are skipped; a pause between words is shorter than a second."""


async def set_pin(node: Node, tenant: str, member: Member, pin: str) -> None:
    """The member's first PIN, sealed as a browser would."""
    door = Door(node.stage.settings.sockets / "vault.sock")
    await door.connect()
    try:
        seal = await door.pin_seal(tenant)
        public = load_der_public_key(base64.b64decode(seal.public_key))
        assert isinstance(public, RSAPublicKey)
        plain = base64.b64decode(seal.challenge) + 2 * (bytes([len(pin)]) + pin.encode())
        sealed = base64.b64encode(public.encrypt(plain, OAEP(MGF1(SHA256()), SHA256(), None))).decode()
        new = NewPinEntry(tenant, member.member_id, PinPurpose.SET, by="agent:agent1")
        assert PinResult.OK is await door.check_sealed_pin(new, seal.key_id, seal.challenge, sealed)
    finally:
        await door.close()


class PortalCall:
    """One caller on the line."""

    def __init__(self, phone: SipPhone, speech: Speech, language: str, transport: str) -> None:
        self.phone = phone
        self.language = language
        self.heard_so_far = 0
        """Up to here of `heard` the caller has listened."""
        self._frames: list[bytes] = []
        self._speech = speech
        self._transport = transport

    @property
    def heard(self) -> list[bytes]:
        """Every frame that the caller's ear was given, µ-law, in the order of arrival."""
        self._frames += [one.data[12:] for one in self.phone.rtp.received[len(self._frames) :]]
        return self._frames

    async def spoken(self, sentence: Sentence) -> list[bytes]:
        """The sentence as the node says it, frame by frame."""
        language = sentence.language or self.language
        said = (await self._speech.prompt(language, sentence.key, **sentence.values)).ulaw
        return [said[start : start + FRAME] for start in range(0, len(said), FRAME)]

    async def hears(self, *sentences: Sentence, whole: bool = True) -> bytes:
        """The sound of the last one, µ-law; these were said in this order after what was heard before."""
        said: list[bytes] = []
        for sentence in sentences:
            said = await self.spoken(sentence)
            said = said if whole else said[:BEGINNING]
            before = self.heard_so_far
            try:
                await until(
                    lambda said=said, before=before: bool(found_in(self.heard, said, before)), HEARD_S, 0.1
                )
            except TimeoutError:
                seconds = (len(self.heard) - before) / 50
                raise AssertionError(f"{sentence.key} was not heard in {seconds:.1f} s of sound") from None
            found = found_in(self.heard, said, before) or range(before, before)
            self.heard_so_far = found.stop
        return b"".join(self.heard[found.start : found.stop])

    async def begins(self, key: Key, **values: str | int) -> None:
        """Returns when the caller has heard a second of it."""
        await self.hears(Sentence(key, values), whole=False)

    async def key(self, keys: str) -> None:
        """Presses keys in the way of this caller's telephone."""
        on_ms = KEY_MS if self._transport == "event" else 100
        await self.phone.key(keys, self._transport, on_ms=on_ms, gap_ms=on_ms)


@asynccontextmanager
async def portal_call(
    node: Node, number: str, caller: str, speech: Speech, language: str, transport: str = "event"
) -> AsyncIterator[PortalCall]:
    """A caller connected to that number; hung up afterwards. `inband` callers offer no events at all."""
    phone = SipPhone(caller, seed=int(caller[-4:]), offers_events=transport == "event")
    await phone.open(node.sip_port)
    try:
        await phone.call(number)
        yield PortalCall(phone, speech, language, transport)
        await phone.hang_up()
    finally:
        phone.close()


def data_of(node: Node) -> Path:
    """The node's data directory."""
    return node.stage.folder / "data"
