"""Fingerprints: keyed hashes of a PAN, made in the cell, by which the vault knows a card again.

`fp_VERSION_LETTERS` is HMAC-SHA-256 of the whole PAN, `bin_VERSION_LETTERS` of its first digits, each under a
key of its own per purpose and tenant (`vault/keys.py`), cut to 128 bits. A hash without a key would be no
secret: with BIN and last 4 known, all middles are tried in under a second (PCI DSS 3.5.1.1 asks for keyed
hashes of the whole PAN). The broker sends the keys over the report socket right after the fork, as the one
message there that is not JSON, so that they never pass the spawner, whose memory every later cell inherits.
"""

import hmac
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vault.card import SecretDigits
    from vault.secret_page import SecretPage

KEYS_MARK = b"\x01"
"""First byte of the keys' message; a JSON object begins with a brace."""
KEY_BYTES = 32
VERSIONS_MAX = 4
"""Versions of one key valid at once, also in `vault/keys.py`: each costs two hashes per card."""
BIN_DIGITS = 8
"""Issuer identification number of ISO/IEC 7812-1 since 2017."""
DIGEST_BYTES = 16
"""128 bits of a keyed hash: no two cards of any tenant meet by chance."""

_ROW = 4 + 2 * KEY_BYTES
_LETTERS = bytes.maketrans(b"0123456789abcdef", b"abcdefghijklmnop")


class Fingerprints:
    """The hash keys of one cell, in its secret page; without keys there are no fingerprints."""

    def __init__(self, page: "SecretPage") -> None:
        self._rows = page.take(VERSIONS_MAX * _ROW)
        self._count = 0

    def load(self, message: bytes) -> None:
        """Takes the keys of `keys_message`; ValueError when it is none."""
        count, rest = divmod(len(message) - len(KEYS_MARK), _ROW)
        if message[: len(KEYS_MARK)] != KEYS_MARK or rest or not 0 < count <= VERSIONS_MAX:
            raise ValueError
        self._rows[: count * _ROW] = message[len(KEYS_MARK) :]
        self._count = count

    def of_card(self, pan: "SecretDigits") -> tuple[str, ...]:
        """The fingerprint under every version, newest first."""
        return tuple(f"fp_{version}_{_hashed(key, pan.view())}" for version, key in self._keys(0))

    def of_bin(self, pan: "SecretDigits") -> tuple[str, ...]:
        """The same for the first `BIN_DIGITS` digits alone."""
        digits = pan.view()[:BIN_DIGITS]
        return tuple(f"bin_{version}_{_hashed(key, digits)}" for version, key in self._keys(1))

    def _keys(self, place: int) -> Iterator[tuple[int, memoryview]]:
        for first in range(0, self._count * _ROW, _ROW):
            key = first + 4 + place * KEY_BYTES
            yield int.from_bytes(self._rows[first : first + 4], "big"), self._rows[key : key + KEY_BYTES]


def keys_message(versions: Iterable[tuple[int, bytes, bytes]]) -> bytes:
    """What the broker sends a new cell: (version, fingerprint key, BIN key), newest first."""
    return KEYS_MARK + b"".join(version.to_bytes(4, "big") + card + bin_ for version, card, bin_ in versions)


def letters(digest: bytes) -> str:
    """A digest as letters a-p, two per byte: no digit, so that it can never look like a PAN."""
    return digest.hex().encode().translate(_LETTERS).decode()


def _hashed(key: memoryview, digits: memoryview) -> str:
    return letters(hmac.digest(key, digits, "sha256")[:DIGEST_BYTES])
