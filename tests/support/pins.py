"""A desk for PINs in a real zone, and a browser that seals them."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.support.zone import WAIT_S, ZoneProcesses
from vault import (
    Door,
    NewPinEntry,
    PinChanged,
    PinEntry,
    PinProblem,
    PinPurpose,
    PinResult,
    PinSeal,
    PinWhy,
)

AGENT = "agent:anna"


def new_pin(purpose: PinPurpose = PinPurpose.VERIFY, member: str = "mem_one", **changes: Any) -> NewPinEntry:
    """A valid request; `changes` replace its fields."""
    values: dict[str, Any] = {
        "tenant": "demo",
        "member_id": member,
        "purpose": purpose,
        "call_id": "call_one",
        "leg_id": "leg_one",
        "caller_number": f"+49 of {member}",
    }
    return NewPinEntry(**{**values, **changes})


class PinDesk:
    """The app's end of the door for PINs, and everything it was told about them."""

    def __init__(self, zone: ZoneProcesses) -> None:
        self.zone = zone
        self.door = Door(zone.run_dir / "vault.sock")
        self.told: list[PinChanged] = []
        """Not looked at so far."""
        self.all_told: list[PinChanged] = []
        self._reading: asyncio.Task[None] | None = None
        self._seals: dict[str, RSAPublicKey] = {}

    async def open(self) -> None:
        await self.door.connect()
        facts = self.door.pin_facts()

        async def read() -> None:
            async for changed in facts:
                self.told.append(changed)
                self.all_told.append(changed)

        self._reading = asyncio.create_task(read())

    async def close(self) -> None:
        await self.door.close()
        if self._reading is not None:
            await self._reading

    async def until(self, wanted: Callable[[PinChanged], bool], within_s: float = WAIT_S) -> PinChanged:
        """The first fact not looked at before that `wanted` accepts; older ones are forgotten."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            while self.told:
                if wanted(changed := self.told.pop(0)):
                    return changed
            await asyncio.sleep(0.005)
        raise AssertionError(f"not told within {within_s} s; broker said: {self.zone.broker_log()}")

    async def why(self, *wanted: PinWhy) -> PinChanged:
        """The first fact from now on with one of these reasons."""
        return await self.until(lambda changed: changed.why in wanted)

    async def result(self) -> PinResult:
        """What the entry under way comes to."""
        found = (await self.why(PinWhy.RESULT)).entry
        assert (None, 0, False) == (found.field, found.digits, found.secure)
        assert found.result is not None
        return found.result

    async def opened(
        self, purpose: PinPurpose = PinPurpose.VERIFY, member: str = "mem_one", **changes: Any
    ) -> PinEntry:
        """An entry whose first field takes keys."""
        entry = await self.door.open_pin(new_pin(purpose, member, **changes))
        await self.why(PinWhy.FIELD_OPENED)
        return entry

    async def keyed(
        self, keys: str, purpose: PinPurpose = PinPurpose.VERIFY, member: str = "mem_one", **changes: Any
    ) -> PinResult:
        """One entry from open to result."""
        await self.opened(purpose, member, **changes)
        await self.zone.press(keys, changes.get("leg_id", "leg_one"))
        return await self.result()

    async def sealed(
        self, *fields: str, purpose: PinPurpose = PinPurpose.VERIFY, member: str = "mem_one", **changes: Any
    ) -> PinResult | PinProblem:
        """What a browser's PIN comes to."""
        seal = await self.door.pin_seal(changes.get("tenant", "demo"))
        new = new_pin(purpose, member, **{"call_id": "", "leg_id": "", **changes})
        return await self.door.check_sealed_pin(new, seal.key_id, seal.challenge, self.blob(seal, *fields))

    def blob(self, seal: PinSeal, *fields: str) -> str:
        """The fields sealed as `PinSeal` says."""
        if seal.key_id not in self._seals:
            public = load_der_public_key(base64.b64decode(seal.public_key))
            assert isinstance(public, RSAPublicKey)
            self._seals[seal.key_id] = public
        plain = base64.b64decode(seal.challenge) + b"".join(
            bytes([len(one)]) + one.encode() for one in fields
        )
        return base64.b64encode(
            self._seals[seal.key_id].encrypt(plain, OAEP(MGF1(SHA256()), SHA256(), None))
        ).decode()

    async def member_with(self, pin: str, member: str = "mem_one") -> None:
        """A member whose first PIN this is."""
        set_ = await self.sealed(pin, pin, purpose=PinPurpose.SET, member=member, by=AGENT)
        assert PinResult.OK is set_


@asynccontextmanager
async def pin_desk_at(zone: ZoneProcesses, leg_id: str = "leg_one") -> AsyncIterator[PinDesk]:
    """A desk with a caller's leg open."""
    desk = PinDesk(zone)
    zone.open_leg(leg_id)
    await desk.open()
    try:
        yield desk
    finally:
        await desk.close()
        zone.media("close_leg", leg_id=leg_id)
