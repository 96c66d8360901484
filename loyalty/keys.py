"""The keys of loyalty: one root file, and what is derived from it per tenant and purpose.

The root is the file `LOYALTY.1`, 32 random bytes, in `<data_dir>/keys/` (folder 0700, file 0600, of our own
user or root, no link) or in the folder of systemd's credentials (`LoadCredential=`, systemd.exec(5)), which
is only read. It is made at the first start. Capitals keep it apart from the vault's keys in the same folder:
the broker never reads it, and `vault-key` neither lists nor retires it.

Without this file no personal data can be read and no member found; it belongs into the backup of the keys
and never beside the backup of the database.
"""

import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Never, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from loyalty.errors import LoyaltyError

FILE_NAME = "LOYALTY.1"
KEY_BYTES = 32
"""AES-256 and HMAC-SHA-256 (RFC 2104 §3) both take as much and no more."""
OTHERS = 0o077
"""Mode bits that nobody else may have in our own folder."""
WORLD = 0o007
"""The same in systemd's folder: the ACL for the service's user shows as group bits there."""


class KeyFault(LoyaltyError):
    """A key that is missing, unreadable or unsafe; the sentence names the file, never what is in it."""


class Purpose(StrEnum):
    """What a derived key is good for; no two purposes share a key."""

    INDEX = "index"
    """Blind indexes: find a member without storing what was asked for."""
    WRAP = "wrap"
    """Around the data key of each member."""
    DECOY = "decoy"
    """Ids of members that do not exist."""
    IDENTITY = "identity"
    """Member ids from idempotency keys."""
    STOCK = "stock"
    """Voucher codes that wait for their member."""


class Secret:
    """Key bytes that can be used and forgotten, and nothing else."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = bytearray(octets)

    def reveal(self) -> bytes:
        """The bytes, for the one call that needs them."""
        return bytes(self._octets)

    def wipe(self) -> None:
        """Overwrites our copy; what `reveal` gave away is not ours to overwrite."""
        for index in range(len(self._octets)):
            self._octets[index] = 0

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA-256 of the message, 32 bytes."""
        return hmac.digest(self._octets, message, "sha256")

    def __len__(self) -> int:
        return len(self._octets)

    def __repr__(self) -> str:
        return "<secret>"

    def _refuse(self, *_: object) -> Never:
        raise TypeError("a secret has no copy and no equality")

    __eq__ = __ne__ = _refuse
    __reduce__ = __reduce_ex__ = __getstate__ = __copy__ = __deepcopy__ = _refuse
    __hash__ = None  # type: ignore[assignment]


class Keys:
    """The derived keys of this process."""

    def __init__(self, root: Secret) -> None:
        if len(root) != KEY_BYTES:
            raise KeyFault("key_malformed", f"{FILE_NAME} has not {KEY_BYTES} bytes.")
        self._root = root
        self._derived: dict[tuple[Purpose, str], Secret] = {}

    @classmethod
    def open(cls, data_dir: Path, environment: Mapping[str, str]) -> Self:
        """The keys of a node; the root file is made when there is none."""
        handed_over = environment.get("CREDENTIALS_DIRECTORY", "")
        if handed_over and (Path(handed_over) / FILE_NAME).exists():
            return cls(_read(Path(handed_over) / FILE_NAME, WORLD))
        folder = data_dir / "keys"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(os.lstat(folder), folder.name, OTHERS, folder=True)
        path = folder / FILE_NAME
        if not os.path.lexists(path):
            _make(path)
        return cls(_read(path, OTHERS))

    def derived(self, purpose: Purpose, tenant: str) -> Secret:
        """32 bytes for one purpose and one tenant (HKDF-SHA-256, RFC 5869); derived once."""
        known = self._derived.get((purpose, tenant))
        if known is None:
            info = f"pay-ivr/loyalty/{purpose.value}/{tenant}".encode()
            kdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info)
            known = self._derived[purpose, tenant] = Secret(kdf.derive(self._root.reveal()))
        return known


def _make(path: Path) -> None:
    """A new root, synced with its folder; whoever comes second reads the file of the first.

    Written beside and linked into place: another process never sees a half file.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    beside = path.with_name(f"{FILE_NAME}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path, follow_symlinks=False)
        except FileExistsError:
            pass
        finally:
            beside.unlink()
    except OSError:
        raise KeyFault("key_unwritable", f"keys/{FILE_NAME} cannot be written.") from None
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, forbidden: int) -> Secret:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise KeyFault("key_unsafe", f"keys/{path.name} is a link or not readable.") from None
    try:
        _check(os.fstat(descriptor), path.name, forbidden, folder=False)
        return Secret(os.read(descriptor, KEY_BYTES + 1))
    finally:
        os.close(descriptor)


def _check(found: os.stat_result, name: str, forbidden: int, *, folder: bool) -> None:
    is_kind = stat.S_ISDIR if folder else stat.S_ISREG
    if not is_kind(found.st_mode) or found.st_uid not in {0, os.geteuid()}:
        raise KeyFault("key_unsafe", f"{name}: not a plain file or folder of our own user.")
    if found.st_mode & forbidden:
        raise KeyFault("key_unsafe", f"{name}: others may read it. Take their rights away (chmod go=).")
