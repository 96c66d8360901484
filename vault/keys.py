"""The vault's own keys and the providers' secrets: where they lie, how they are read, what is derived.

One key is one file `NAME.VERSION` (`NAME` alone is version 0) in `<data_dir>/keys/`, or in the folder of
systemd's credentials (`LoadCredential=`, systemd.exec(5)), which is only read. Names:

| name | holds | made by |
|---|---|---|
| `vault-hmac` | 32 random bytes, root of every keyed hash (RFC 5869 per purpose and tenant) | the broker |
| `pin-seal` | an RSA key for PINs sealed in a browser, as PEM | the broker, at first need |
| `PROVIDER.ROLE` | a provider's secret for every tenant of the node, as text | the operator |
| `PROVIDER.TENANT.ROLE` | the same for one tenant; it comes before the one for all | the operator |

Several versions may be valid at once: hashes are looked for under all, webhooks are checked against all, and
what is made anew is made with the newest. The bytes have a type of their own without text, repr, equality
or pickle; they are in no TOML, no environment, no log and no error.
"""

import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Never, Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault.door import VaultError
from vault.fingerprint import VERSIONS_MAX, letters

HMAC_NAME = "vault-hmac"
SEAL_NAME = "pin-seal"
HMAC_BYTES = 32
"""As long as the hash itself (RFC 2104 §3): longer adds nothing."""
SECRET_BYTES_MAX = 4096
"""A provider's secret is a line; a certificate chain by mistake is longer."""
VERSION_MAX = 999_999
"""No rotation schedule comes near."""
NAMES_MAX = 2_000
"""Files read at start: a few for each of a node's tenants."""
NEXT = ".next"
"""What an operator puts beside a secret, to be taken by `vault-key rotate`."""
CHECK_LETTERS = 8
"""Of a key's check value: enough to compare two nodes by eye, useless for guessing 256 bits."""

_NAME = re.compile(r"[a-z][a-z0-9_\-]{0,47}(?:(?:\.[a-z0-9][a-z0-9_\-]{0,39})?\.[a-z][a-z_\-]{0,31})?")
_FILE = re.compile(rf"(?P<name>{_NAME.pattern})(?:\.(?P<version>[0-9]{{1,6}}))?")


class KeyFault(VaultError):
    """A key that is missing, unreadable or unsafe; the sentence names the file, never what is in it."""


class Purpose(StrEnum):
    """What a derived key is good for; no two purposes share a key."""

    FINGERPRINT = "fingerprint"
    """Of a whole PAN: the same card again."""
    BIN = "bin"
    """Of a PAN's first digits: the same issuer's range again."""
    CALLER = "caller"
    """Of a caller's number: the same telephone again."""
    PIN = "pin"
    """The pepper of PINs: without it no stored hash can be tried."""
    PIN_SALT = "pin_salt"
    """Salts of members who have no PIN, so that they cost what others cost."""
    PIN_VALUE = "pin_value"
    """Root of the daily keys under which one PIN tried on many members is noticed."""
    PIN_CALLER = "pin_caller"
    """Of a caller's number where PINs are counted; no count of payments can be laid beside it."""
    PIN_CODE = "pin_code"
    """Of reset codes."""


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

    def __len__(self) -> int:
        return len(self._octets)

    def __repr__(self) -> str:
        return "<secret>"

    def _refuse(self, *_: object) -> Never:
        raise TypeError("a secret has no copy and no equality")

    __eq__ = __ne__ = _refuse
    __reduce__ = __reduce_ex__ = __getstate__ = __copy__ = __deepcopy__ = _refuse
    __hash__ = None  # type: ignore[assignment]


Versions = Mapping[str, tuple[int, ...]]
"""Name -> its versions, oldest first."""


class KeyProvider(Protocol):
    """A place where keys lie. Every method may raise `KeyFault`."""

    def versions(self) -> Versions:
        """What lies there."""

    def read(self, name: str, version: int) -> Secret:
        """One key."""

    def store(self, name: str, version: int, secret: Secret) -> None:
        """Puts a new one there, durable when it returns; an existing one is never overwritten."""

    def take_next(self, name: str, version: int) -> None:
        """Makes the operator's `NAME.next` that version."""

    def remove(self, name: str, version: int) -> None:
        """Overwrites and removes one; quiet when it is gone."""


@dataclass(frozen=True)
class _Access:
    """Who may be able to read a folder of keys."""

    forbidden_mode: int
    folder_mode: int | None
    """None: the folder is somebody else's work and only read."""


_OURS = _Access(forbidden_mode=0o077, folder_mode=0o700)
_SYSTEMD = _Access(forbidden_mode=0o007, folder_mode=None)
"""systemd gives the service's user access by an ACL, which shows as group bits."""


class KeyFiles:
    """Keys in a folder of ours: mode 0700, files 0600, of our own user or root, no symbolic links."""

    def __init__(self, folder: Path, access: _Access = _OURS) -> None:
        self._folder = folder
        self._access = access
        if access.folder_mode is not None:
            folder.mkdir(mode=access.folder_mode, exist_ok=True)
        self._check(os.lstat(folder), stat.S_ISDIR, folder.name)

    def versions(self) -> Versions:
        """Every file whose name is a key's; others are left alone."""
        found: dict[str, list[int]] = {}
        for entry in os.scandir(self._folder):
            known = _FILE.fullmatch(entry.name)
            if known is not None and not entry.name.endswith(NEXT):
                found.setdefault(known["name"], []).append(int(known["version"] or 0))
        if len(found) > NAMES_MAX:
            raise KeyFault("keys_too_many", f"More than {NAMES_MAX} keys. Is this the right folder?")
        return {name: tuple(sorted(versions)) for name, versions in found.items()}

    def read(self, name: str, version: int) -> Secret:
        """One key, exactly as it lies there; a provider's without the line's end."""
        octets = self._octets(self._file(name, version))
        return Secret(octets if name == HMAC_NAME else octets.strip())

    def store(self, name: str, version: int, secret: Secret) -> None:
        """A new file, synced together with its folder."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        path = self._file(name, version)
        try:
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                file.write(secret.reveal())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            raise KeyFault("key_unwritable", f"keys/{path.name} cannot be written.") from None
        self._sync()

    def take_next(self, name: str, version: int) -> None:
        """The file renamed, after it has passed the same checks as any other."""
        target = self._file(name, version)
        source = self._folder / (name + NEXT)
        self._octets(source)
        source.rename(target)
        self._sync()

    def remove(self, name: str, version: int) -> None:
        """Zeros over the bytes first: a journal or an SSD may keep older blocks, a plain restore does not."""
        path = self._file(name, version)
        try:
            size = path.stat(follow_symlinks=False).st_size
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb") as file:
                file.write(bytes(size))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
        except FileNotFoundError:
            return
        except OSError:
            raise KeyFault("key_unwritable", f"keys/{path.name} cannot be removed.") from None
        self._sync()

    def _file(self, name: str, version: int) -> Path:
        if not _NAME.fullmatch(name) or not 0 <= version <= VERSION_MAX:
            raise KeyFault("key_name", "Name a key as `vault-key list` does.")
        plain = self._folder / name
        if version == 0:
            return plain
        return plain.with_name(f"{name}.{version}")

    def _octets(self, path: Path) -> bytes:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise KeyFault("key_missing", f"keys/{path.name} is missing.") from None
        except OSError:
            raise KeyFault("key_unsafe", f"keys/{path.name} is a link or not readable.") from None
        try:
            self._check(os.fstat(descriptor), stat.S_ISREG, path.name)
            octets = os.read(descriptor, SECRET_BYTES_MAX + 1)
        finally:
            os.close(descriptor)
        if not 0 < len(octets) <= SECRET_BYTES_MAX:
            raise KeyFault("key_malformed", f"keys/{path.name} is empty or longer than a secret.")
        return octets

    def _check(self, found: os.stat_result, is_kind: Callable[[int], bool], name: str) -> None:
        if not is_kind(found.st_mode) or found.st_uid not in {0, os.geteuid()}:
            raise KeyFault("key_unsafe", f"{name}: not a plain file or folder of our own user.")
        if found.st_mode & self._access.forbidden_mode:
            raise KeyFault("key_unsafe", f"{name}: others may read it. Take their rights away (chmod go=).")

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Credentials(KeyFiles):
    """Keys that systemd hands to the service; they change by the unit and a restart, never by us."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _SYSTEMD)

    def store(self, name: str, version: int, secret: Secret) -> None:
        """Refused."""
        del name, version, secret
        raise _read_only()

    def take_next(self, name: str, version: int) -> None:
        """Refused."""
        del name, version
        raise _read_only()

    def remove(self, name: str, version: int) -> None:
        """Refused."""
        del name, version
        raise _read_only()


class KeyPlaces:
    """Several places as one; a name belongs to the first that has it, new names to the last."""

    def __init__(self, places: Iterable[KeyProvider]) -> None:
        self._places = tuple(places)

    def versions(self) -> Versions:
        """Every name with the versions of the place it belongs to."""
        found: dict[str, tuple[int, ...]] = {}
        for place in reversed(self._places):
            found |= place.versions()
        return found

    def read(self, name: str, version: int) -> Secret:
        """One key."""
        return self._place(name).read(name, version)

    def store(self, name: str, version: int, secret: Secret) -> None:
        """A new key in the place of its name."""
        self._place(name).store(name, version, secret)

    def take_next(self, name: str, version: int) -> None:
        """The operator's next version in the place of its name."""
        self._place(name).take_next(name, version)

    def remove(self, name: str, version: int) -> None:
        """One key less."""
        self._place(name).remove(name, version)

    def _place(self, name: str) -> KeyProvider:
        holders = (place for place in self._places if name in place.versions())
        return next(holders, self._places[-1])


def key_provider(data_dir: Path, environment: Mapping[str, str]) -> KeyProvider:
    """Where the keys of a node lie: systemd's credentials when the unit has some, then our own folder."""
    files = KeyFiles(data_dir / "keys")
    credentials = environment.get("CREDENTIALS_DIRECTORY", "")
    return KeyPlaces([Credentials(Path(credentials)), files]) if credentials else files


class Keys:
    """Every key of this process in memory; `load` reads them anew, all of them or none."""

    def __init__(self, place: KeyProvider) -> None:
        self.place = place
        self._held: dict[str, dict[int, Secret]] = {}
        self.load()

    def load(self) -> None:
        """What lies in the place now; the first version of `vault-hmac` is made when there is none."""
        if HMAC_NAME not in self.place.versions():
            self.place.store(HMAC_NAME, 1, Secret(secrets.token_bytes(HMAC_BYTES)))
        held: dict[str, dict[int, Secret]] = {}
        for name, versions in self.place.versions().items():
            if len(versions) > VERSIONS_MAX:
                raise KeyFault("keys_too_many", f"{name} has more than {VERSIONS_MAX} versions.")
            held[name] = {version: self.place.read(name, version) for version in versions}
        if any(len(secret) != HMAC_BYTES for secret in held[HMAC_NAME].values()):
            raise KeyFault("key_malformed", f"A version of {HMAC_NAME} has not {HMAC_BYTES} bytes.")
        self._held = held

    def versions(self) -> Versions:
        """What is held, oldest versions first."""
        return {name: tuple(sorted(versions)) for name, versions in self._held.items()}

    def check_value(self, name: str, version: int) -> str:
        """A few letters by which two people can tell that they hold the same key."""
        octets = self._held[name][version].reveal()
        return letters(hmac.digest(octets, b"pay-ivr key check value", "sha256"))[:CHECK_LETTERS]

    def derived(self, purpose: Purpose, tenant: str) -> tuple[tuple[int, Secret], ...]:
        """(version, key) for one purpose and one tenant, newest first; 32 bytes each (RFC 5869)."""
        info = f"pay-ivr/{purpose.value}/{tenant}".encode()
        roots = sorted(self._held[HMAC_NAME].items(), reverse=True)
        return tuple((version, _expanded(root, info)) for version, root in roots)

    def seals(self) -> tuple[tuple[int, Secret], ...]:
        """(version, PEM) of every key for sealed PINs, newest first; none before one was needed."""
        return tuple(sorted(self._held.get(SEAL_NAME, {}).items(), reverse=True))

    def secret(self, provider: str, tenant: str, role: str) -> Secret:
        """The newest version of a provider's secret; `KeyFault("key_missing")` names the missing file."""
        return self.secrets(provider, tenant, role)[0]

    def secrets(self, provider: str, tenant: str, role: str) -> tuple[Secret, ...]:
        """Every valid version, newest first: as webhooks are checked while their secret is changed."""
        own, shared = f"{provider}.{tenant}.{role}", f"{provider}.{role}"
        held = self._held.get(own) or self._held.get(shared)
        if not held:
            raise KeyFault("key_missing", f"Put the secret into keys/{own}, mode 0600.")
        return tuple(held[version] for version in sorted(held, reverse=True))


def _read_only() -> KeyFault:
    return KeyFault("key_source_read_only", "This key comes from the unit. Change its credentials there.")


def _expanded(root: Secret, info: bytes) -> Secret:
    return Secret(HKDF(SHA256(), HMAC_BYTES, salt=None, info=info).derive(root.reveal()))
