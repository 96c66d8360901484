"""The keys of loyalty: root files, and what is derived from them per tenant and purpose.

A root is a file `LOYALTY.1`, `LOYALTY.2` …, 32 random bytes, in `<data_dir>/keys/` (folder 0700, file 0600,
of our own user or root, no link) or in the folder of systemd's credentials (`LoadCredential=`,
systemd.exec(5)), which is only read. The first is made at the first start. Capitals keep them apart from the
vault's keys in the same folder: the broker never reads them, and `vault-key` neither lists nor retires them.

What is written is written under the newest version and says so; what is looked for is looked for under all
of them (`loyalty/rotation.py` moves rows from one to the next). A process sees a version that is added or
taken away at its next database transaction.

Without these files no personal data can be read and no member found; they belong into the backup of the keys
and never beside the backup of the database.
"""

import hmac
import os
import re
import secrets
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Never, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from loyalty.errors import LoyaltyError

NAME = "LOYALTY"
"""Of the root, in files, lists and the log."""
FIRST = 1
VERSIONS_MAX = 4
"""Valid at once: everything that is looked for is hashed once for each."""
VERSION_MAX = 999
"""Three digits of a file's name; one a month would be enough for 83 years."""
KEY_BYTES = 32
"""AES-256 and HMAC-SHA-256 (RFC 2104 §3) both take as much and no more."""
OTHERS = 0o077
"""Mode bits that nobody else may have in our own folder."""
WORLD = 0o007
"""The same in systemd's folder: the ACL for the service's user shows as group bits there."""
SETTLED_S = 0.1
"""A folder that changed a moment ago may change again within the same tick of its clock: it is read again."""
CHECK_LETTERS = 8
"""Of a check value: two keys of one house share them once in four thousand million."""
_FILE = re.compile(rf"{NAME}\.([1-9][0-9]{{0,2}})")


class KeyFault(LoyaltyError):
    """A key that is missing, unreadable or unsafe; the sentence names the file, never what is in it."""


class Purpose(StrEnum):
    """What a derived key is good for; no two purposes share a key."""

    CHECK = "check"
    """Two people can tell that they hold the same root."""
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


class Ring:
    """Every version that is valid at one moment; it never changes."""

    def __init__(self, roots: Mapping[int, Secret]) -> None:
        for version, root in roots.items():
            if len(root) != KEY_BYTES:
                raise KeyFault("key_malformed", f"{file_name(version)} has not {KEY_BYTES} bytes.")
        self._roots = dict(roots)
        self._derived: dict[tuple[int, Purpose, str], Secret] = {}
        self.versions = tuple(sorted(roots, reverse=True))
        """The newest first."""
        self.newest = self.versions[0]

    def derived(self, purpose: Purpose, tenant: str, version: int | None = None) -> Secret:
        """32 bytes for one purpose and one tenant (HKDF-SHA-256, RFC 5869), derived once; newest if not said.

        KeyFault("key_missing") for a version that this node has not.
        """
        version = version or self.newest
        known = self._derived.get((version, purpose, tenant))
        if known is None:
            info = f"pay-ivr/loyalty/{purpose.value}/{tenant}".encode()
            kdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info)
            known = self._derived[version, purpose, tenant] = Secret(kdf.derive(self._root(version).reveal()))
        return known

    def check_value(self, version: int) -> str:
        """A few letters by which two people can tell that they hold the same key."""
        return self.derived(Purpose.CHECK, "", version).mac(b"").hex()[:CHECK_LETTERS]

    def _root(self, version: int) -> Secret:
        if version not in self._roots:
            sentence = f"keys/{file_name(version)} is missing here. Copy it from the node that made it."
            raise KeyFault("key_missing", sentence)
        return self._roots[version]


class Keys:
    """The keys of this process: the ring of now, read again when the folder has changed."""

    def __init__(self, ring: Ring, folder: Path | None = None) -> None:
        """`folder`: where versions come and go; None: nothing is looked for again."""
        self._ring = ring
        self._folder = folder
        self._seen_ns = 0
        """The folder's own time when it was read; 0: it has to be read again."""

    @classmethod
    def open(cls, data_dir: Path, environment: Mapping[str, str]) -> Self:
        """The keys of a node; the first root is made when there is none."""
        handed_over = environment.get("CREDENTIALS_DIRECTORY", "")
        if handed_over and (found := _versions(Path(handed_over))):
            return cls(_read_ring(Path(handed_over), found, WORLD))
        folder = data_dir / "keys"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(os.lstat(folder), folder.name, OTHERS, folder=True)
        if not _versions(folder):
            _make(folder / file_name(FIRST))
        return cls(_read_ring(folder, _versions(folder), OTHERS), folder)

    def ring(self) -> Ring:
        """Every version that is valid now; ask once per piece of work, which then sees one state of them.

        KeyFault: no version is left (`key_missing`), or one is unsafe or malformed.
        """
        if self._folder is not None:
            try:
                self._look_again(self._folder)
            except FileNotFoundError:
                raise _nothing_left() from None
        return self._ring

    def _look_again(self, folder: Path) -> None:
        """FileNotFoundError when the folder itself is gone."""
        changed_ns = folder.stat().st_mtime_ns
        if changed_ns != self._seen_ns:
            self._ring = _read_ring(folder, _versions(folder), OTHERS)
            settled = time.time_ns() - changed_ns > SETTLED_S * 1e9
            self._seen_ns = changed_ns if settled else 0

    def make(self, version: int) -> None:
        """A new root; KeyFault when the unit hands the keys over, or the file cannot be written."""
        _make(self.check_ours() / file_name(version))

    def destroy(self, version: int) -> None:
        """Zeros over the root, then no file of it; quiet when there is none."""
        _destroy(self.check_ours() / file_name(version))

    def check_ours(self) -> Path:
        """The folder in which versions come and go; KeyFault when the unit hands them over."""
        if self._folder is None:
            sentence = "These keys come from the unit. Change its credentials there."
            raise KeyFault("key_source_read_only", sentence)
        return self._folder


def file_name(version: int) -> str:
    """The file of a version."""
    return f"{NAME}.{version}"


def _versions(folder: Path) -> tuple[int, ...]:
    """Versions that have a file; other names are left alone."""
    found = (_FILE.fullmatch(path.name) for path in folder.iterdir())
    return tuple(int(match[1]) for match in found if match is not None)


def _read_ring(folder: Path, versions: tuple[int, ...], forbidden: int) -> Ring:
    roots: dict[int, Secret] = {}
    for version in versions:
        with suppress(FileNotFoundError):  # retired since the folder was looked through
            roots[version] = _read(folder / file_name(version), forbidden)
    if not roots:
        raise _nothing_left()
    return Ring(roots)


def _nothing_left() -> KeyFault:
    return KeyFault("key_missing", f"There is no {NAME} key in keys/ any more. Bring the backup back.")


def _make(path: Path) -> None:
    """A new root, synced with its folder; whoever comes second reads the file of the first.

    Written beside and linked into place: another process never sees a half file.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
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
        raise KeyFault("key_unwritable", f"keys/{path.name} cannot be written.") from None
    _sync(path.parent)


def _destroy(path: Path) -> None:
    """Zeros over the bytes first: a journal or an SSD may keep older blocks, a plain restore does not."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb") as file:
            file.write(bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return
    except OSError:
        raise KeyFault("key_unwritable", f"keys/{path.name} cannot be removed.") from None
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, forbidden: int) -> Secret:
    """The root; FileNotFoundError when it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
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
