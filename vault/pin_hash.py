"""What becomes of a PIN: a peppered, slow hash, and the mark by which one value tried on many is noticed.

    hash  = argon2id(HMAC-SHA-256(pepper of the tenant, tenant | member | PIN), salt)      RFC 9106, RFC 2104
    mark  = HMAC-SHA-256(key of the tenant and of the present window, PIN)
    code  = HMAC-SHA-256(key of the tenant, tenant | member | reset code)

Every part of a message that is hashed is preceded by its length. With the member's id in it, the same PIN of
two members looks different and a row cannot be moved from one to the other (ISO 9564-1: substitution). The
pepper is no part of any database; without it ten thousand PINs cannot even be tried. All of it is computed in
the cell: the broker hands over keys in one message of bytes, past the spawner, and gets letters back.
"""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from vault.fingerprint import DIGEST_BYTES, letters
from vault.secret_page import SecretPage

PIN_KEYS_MARK = b"\x03"
"""First byte of the keys' message; a JSON object begins with a brace."""
BODY_MAX = 1024
"""Bytes of that message: ids, seven keys and salts; about 400 are used."""
WORK_MAX = 256
"""Bytes of a message that is hashed: two ids of at most 121 bytes together, and 12 digits."""
SALT_BYTES = 16
"""RFC 9106 §3.1."""
HASH_BYTES = 32
_COST_PART = 4


@dataclass(frozen=True)
class Cost:
    """What one hash costs (RFC 9106 §4); stored with every hash, so that it can be raised."""

    kib: int = 19 * 1024
    rounds: int = 2
    lanes: int = 1
    """OWASP's least for argon2id, 22 ms here: the pepper carries the weight, and locking the rest."""

    def as_bytes(self) -> bytes:
        """Three numbers of four bytes."""
        return b"".join(part.to_bytes(_COST_PART, "big") for part in (self.kib, self.rounds, self.lanes))


@dataclass(frozen=True, repr=False)
class Under:
    """What one hash is made under."""

    pepper: bytes
    salt: bytes
    cost: Cost


@dataclass(frozen=True, repr=False)
class PinKeys:
    """Everything that one cell needs to hash; what it does not need is None or empty."""

    tenant: str
    member_id: str
    born: str
    """ISO date of birth for the blocklist, or empty."""
    window_key: bytes
    proof: Under | None
    """Of the stored hash of the PIN that is tried."""
    fresh: Under | None
    """Of the hash that will be stored."""
    code_key: bytes

    def message(self) -> bytes:
        """What the broker sends the cell."""
        parts = [self.tenant.encode(), self.member_id.encode(), self.born.encode(), self.window_key]
        for under in (self.proof, self.fresh):
            parts += [under.pepper, under.salt, under.cost.as_bytes()] if under else [b"", b"", b""]
        return PIN_KEYS_MARK + b"".join(
            len(part).to_bytes(2, "big") + part for part in (*parts, self.code_key)
        )


class PinHasher:
    """The keys of one cell, in its secret page, and what is hashed with them."""

    def __init__(self, page: SecretPage) -> None:
        self._body = page.take(BODY_MAX)
        self._work = page.take(WORK_MAX)
        self._parts: list[memoryview] = []

    def load(self, message: bytes) -> None:
        """Takes the keys of `PinKeys.message`; ValueError when it is none."""
        size = len(message) - len(PIN_KEYS_MARK)
        if not message.startswith(PIN_KEYS_MARK) or size > BODY_MAX:
            raise ValueError
        self._body[:size] = message[len(PIN_KEYS_MARK) :]
        self._parts = list(_parts(self._body[:size]))
        if len(self._parts) != len(_NAMES):
            raise ValueError

    @property
    def born(self) -> str:
        """The owner's birth date, or empty."""
        return bytes(self._part("born")).decode()

    @property
    def renews(self) -> bool:
        """True when a hash to be stored is asked for."""
        return len(self._part("fresh_pepper")) > 0

    def proof(self, digits: memoryview) -> str:
        """The hash of the PIN that is tried, as letters."""
        return self._slow("proof", digits)

    def fresh(self, digits: memoryview) -> str:
        """The hash to be stored, as letters."""
        return self._slow("fresh", digits)

    def code(self, digits: memoryview) -> str:
        """The keyed hash of a reset code, as letters."""
        return letters(self._keyed(self._part("code_key"), digits))

    def mark(self, digits: memoryview) -> str:
        """By which this value is counted in the present window, whoever tries it, as letters."""
        return letters(hmac.digest(self._part("window_key"), digits, "sha256")[:DIGEST_BYTES])

    def _slow(self, which: str, digits: memoryview) -> str:
        cost = self._part(f"{which}_cost")
        kib, rounds, lanes = (
            int.from_bytes(cost[at : at + _COST_PART], "big") for at in range(0, 12, _COST_PART)
        )
        salt = bytes(self._part(f"{which}_salt"))
        slow = Argon2id(salt=salt, length=HASH_BYTES, iterations=rounds, lanes=lanes, memory_cost=kib)
        return letters(slow.derive(self._keyed(self._part(f"{which}_pepper"), digits)))

    def _keyed(self, key: memoryview, digits: memoryview) -> bytes:
        """The HMAC over tenant, member and digits; the message is put together in the secret page."""
        end = 0
        for part in (self._part("tenant"), self._part("member_id"), digits):
            self._work[end] = len(part)
            self._work[end + 1 : end + 1 + len(part)] = part
            end += 1 + len(part)
        try:
            return hmac.digest(key, self._work[:end], "sha256")
        finally:
            self._work[:end] = bytes(end)

    def _part(self, name: str) -> memoryview:
        return self._parts[_PLACES[name]]


_NAMES = (
    *("tenant", "member_id", "born", "window_key"),
    *("proof_pepper", "proof_salt", "proof_cost"),
    *("fresh_pepper", "fresh_salt", "fresh_cost", "code_key"),
)
_PLACES = {name: place for place, name in enumerate(_NAMES)}
"""The parts of the message, in their order."""


def _parts(body: memoryview) -> Iterator[memoryview]:
    while len(body) > 0:
        length = int.from_bytes(body[:2], "big")
        if len(body) < 2 + length:
            raise ValueError
        yield body[2 : 2 + length]
        body = body[2 + length :]


def code_digest(key: bytes, tenant: str, member_id: str, code: bytes) -> str:
    """What is stored of a reset code that the broker has drawn; the same as `PinHasher.code`."""
    parts = (tenant.encode(), member_id.encode(), code)
    return letters(hmac.digest(key, b"".join(bytes([len(part)]) + part for part in parts), "sha256"))


def preload() -> None:
    """Loads in the spawner what a cell will use and could not open."""
    Argon2id(salt=bytes(SALT_BYTES), length=HASH_BYTES, iterations=1, lanes=1, memory_cost=8).derive(b"")
