"""PINs that a browser has sealed: keys, one-time challenges, and a cell for each.

The broker hands out a public key and a challenge and carries the sealed blob to a cell, unread; what the cell
tells is judged by the same book, limits and locks as a keyed PIN. Challenges live in memory: a restart costs
whoever is just typing one more try.
"""

import asyncio
import base64
import binascii
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vault.door import NewPinEntry, PinProblem, PinResult, PinSeal, Refused, Unreachable
from vault.ids import new_id
from vault.keys import SEAL_NAME, Keys
from vault.live_pin import LivePin
from vault.pin_book import PinBook
from vault.pin_progress import PinFact, PinHashed, PinUnsealed
from vault.pin_seal import BLOB_BYTES, CHALLENGE_BYTES, private_key, public_key, seal_message
from vault.pins import Pins, now_ms
from vault.zone import Zone

CHALLENGE_LIVES_S = 300.0
"""Long enough to type a PIN twice and to look for a code."""
CHALLENGES_MAX = 10_000
"""Of all tenants together; the oldest go first: somebody who floods us makes others ask again, no more."""
AT_ONCE_MAX = 8
"""Cells that hash sealed PINs at once; the rest wait. Each costs a core for some 30 ms."""
WAITING_MAX = 200
"""Sealed PINs that wait for a cell; more is a flood."""
CELL_TIMEOUT_S = 10.0
"""A cell that needs longer is lost."""


@dataclass(frozen=True, repr=False)
class _SealKey:
    """One version of the key, ready to use: reading PEM checks primes and takes longer than any hash."""

    public: str
    private: bytes


class PinSeals:
    """Sealed PINs of this node."""

    def __init__(
        self,
        pins: Pins,
        book: PinBook,
        zone: Zone,
        keys: Keys,
        make_key: Callable[[], Awaitable[object]],
    ) -> None:
        """`make_key` makes the first version of the key, on record."""
        self._pins = pins
        self._book = book
        self._zone = zone
        self._keys = keys
        self._make_key = make_key
        self._read: dict[int, _SealKey] = {}
        self._challenges: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        """Challenge -> tenant and the loop's time at which it is void; in the order of their ends."""
        self._making = asyncio.Lock()
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0

    async def seal(self, tenant: str) -> PinSeal:
        """The newest public key and a fresh challenge."""
        self._book.section(tenant)
        async with self._making:
            if not self._keys.seals():
                await self._make_key()
        version, _ = self._keys.seals()[0]
        key = await self._key(version)
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        until = asyncio.get_running_loop().time() + CHALLENGE_LIVES_S
        self._challenges[challenge] = (tenant, until)
        while len(self._challenges) > CHALLENGES_MAX:
            self._challenges.popitem(last=False)
        return PinSeal(f"{SEAL_NAME}.{version}", key.public, base64.b64encode(challenge).decode())

    async def check(
        self, new: NewPinEntry, key_id: str, challenge: str, sealed: str
    ) -> PinResult | PinProblem:
        """What a sealed PIN comes to."""
        self._pins.check_zone(new.tenant)
        asked = self._taken(new.tenant, challenge)
        blob = _octets(sealed, BLOB_BYTES)
        key = await self._key_of(key_id)
        if self._waiting >= WAITING_MAX:
            raise Refused("pins_used", "Too many PINs are being checked. Try again.", retryable=True)
        self._waiting += 1
        try:
            async with self._room:
                return await self._in_cell(new, seal_message(asked, blob, key.private))
        finally:
            self._waiting -= 1

    async def _in_cell(self, new: NewPinEntry, message: bytes) -> PinResult | PinProblem:
        """One cell from fork to end."""
        live = LivePin(new_id("pin"), await self._book.ticket(new, now_ms()))
        form = self._book.section(new.tenant).form
        forked = await self._zone.fork_pin(live.entry_id, new.purpose, form, sealed=True)
        answer: asyncio.Future[PinFact | None] = asyncio.get_running_loop().create_future()
        live.meet(forked.pid, forked.report, lambda _, fact: _settle(answer, fact), lambda _: _lost(answer))
        live.hand_seal(message)
        try:
            async with asyncio.timeout(CELL_TIMEOUT_S):
                told = await answer
        except TimeoutError:
            told = None
        finally:
            live.stop()
            await self._zone.kill(forked.pid)
        match told:
            case PinHashed(easy=True):
                return await self._book.judge_easy(live.ticket, told, now_ms())
            case PinHashed():
                return await self._book.judge(live.ticket, told, now_ms())
            case PinUnsealed(None):
                raise Refused("pin_seal_broken", "The sealed PIN cannot be opened. Load the page again.")
            case PinUnsealed(problem) if problem is not None:
                return problem
        raise Unreachable("spawner_unreachable", "The cell was lost; nothing was tried.", retryable=True)

    def _taken(self, tenant: str, text: str) -> bytes:
        """The challenge, used up; `Refused` when it is none of this tenant's, or void."""
        challenge = _octets(text, CHALLENGE_BYTES)
        now = asyncio.get_running_loop().time()
        while self._challenges and next(iter(self._challenges.values()))[1] <= now:
            self._challenges.popitem(last=False)
        if self._challenges.pop(challenge, ("", 0.0))[0] != tenant:
            raise Refused("pin_challenge", "The challenge is used or void. Load the page again.")
        return challenge

    async def _key_of(self, key_id: str) -> _SealKey:
        name, _, version = key_id.rpartition(".")
        held = dict(self._keys.seals())
        if name != SEAL_NAME or not version.isdecimal() or int(version) not in held:
            raise Refused("pin_seal_broken", "The key is not valid any more. Load the page again.")
        return await self._key(int(version))

    async def _key(self, version: int) -> _SealKey:
        if (known := self._read.get(version)) is not None:
            return known
        pem = dict(self._keys.seals())[version].reveal()
        key = await asyncio.to_thread(lambda: _SealKey(_spki(pem), private_key(pem)))
        self._read = {held: self._read[held] for held, _ in self._keys.seals() if held in self._read}
        self._read[version] = key
        return key


def _settle(answer: "asyncio.Future[PinFact | None]", fact: PinFact) -> None:
    if isinstance(fact, PinHashed | PinUnsealed) and not answer.done():
        answer.set_result(fact)


def _lost(answer: "asyncio.Future[PinFact | None]") -> None:
    if not answer.done():
        answer.set_result(None)


def _octets(text: str, size: int) -> bytes:
    """The bytes of a base64 text; `Refused` unless there are `size`."""
    try:
        octets = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        octets = b""
    if len(octets) != size:
        raise Refused("pin_seal_broken", "The sealed PIN or its challenge is not of the right length.")
    return octets


def _spki(pem: bytes) -> str:
    return base64.b64encode(public_key(pem)).decode()
