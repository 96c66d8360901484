"""Who may come in: passwords, logins, access keys, and where a browser's request comes from.

Passwords are Argon2id in two threads of their own (40 ms each, the GIL released). Logins are opaque ids whose
SHA-256 is stored, so a stolen database opens nothing and every login can be ended. Unknown users cost the
same time and get the same answer as wrong passwords.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION

from agent_api.desk import Asker, DeskSettings
from agent_api.problems import DeskError
from pay_ivr.people import AccessKey, Agent, Login, NewAgent, SipSecret, Try
from pay_ivr.store import Store

COOKIE = "__Host-pay-ivr"
"""The prefix binds it to this host, the path / and TLS (RFC 6265bis §4.1.3.2); loopback counts as safe."""
SECRET_BYTES = 32
"""256 bits: logins and access keys are never guessed."""
KEY_HEAD = "pik"
"""First part of an access key, so that scanners of repositories can know one."""
PASSWORD_MIN = 12
"""PCI DSS 8.3.6."""
PASSWORD_MAX = 128
"""Argon2 takes more; nobody types more."""
HASH_THREADS = 2
"""At most this many hashes at once: 19 MiB and 40 ms each."""
HASHES_WAITING_MAX = 32
"""Above this a login waits longer than a second; better to say so."""
OPERATOR = "system:operator"
"""Actor on record of what is done at the machine's own command line."""
FIRST_SITES = frozenset({"same-origin", "none"})
"""Sec-Fetch-Site values of the console's own requests; `none` is the address bar."""

T = TypeVar("T")


def _nobody(hasher: PasswordHasher) -> str:
    """A hash that no password has: comparing with it costs what any other costs, making it nothing."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=")
        for length in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salt}${digest}"


class Passwords:
    """Argon2id with OWASP's small profile (19 MiB, 2 passes, 1 lane), off the event loop."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._pool = ThreadPoolExecutor(HASH_THREADS, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobody = _nobody(self._hasher)

    async def hash(self, password: str) -> str:
        """The encoded hash of a new password."""
        return await self._run(lambda: self._hasher.hash(password))

    async def fits(self, password_hash: str | None, password: str) -> bool:
        """Whether the password fits; None (unknown user) costs the same time and never fits."""
        return await self._run(lambda: self._verify(password_hash or self._nobody, password)) and (
            password_hash is not None
        )

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= HASHES_WAITING_MAX:
            raise DeskError("logins_busy", retry_after_s=3)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """The threads end when their present hash is done."""
        self._pool.shutdown(wait=True)


@dataclass(frozen=True, repr=False)
class NewLogin:
    """A fresh login: the only moment when its id is known in clear."""

    agent: Agent
    login_id: str


class Doorman:
    """Turns credentials into an `Asker`, or refuses."""

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        settings: DeskSettings,
        on_live_call: Callable[[Agent], bool],
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._settings = settings
        self._on_live_call = on_live_call

    async def log_in(
        self, user: str, password: str, new_password: str | None, now_ms: int, origin: str
    ) -> NewLogin:
        """A login for a right password; DeskError otherwise.

        A locked user is told what a wrong password is told, so that nobody learns who exists.
        """
        claimed = await self._store.claim_try(user, now_ms)
        fits = await self._passwords.fits(claimed.password_hash if claimed else None, password)
        if claimed is None:
            raise DeskError("login_refused")
        if not fits or claimed.locked:
            await self._refuse(claimed, "locked" if claimed.locked else "wrong_password", now_ms, origin)
        new_hash = await self._changed_password(claimed, password, new_password)
        login_id = secrets.token_urlsafe(SECRET_BYTES)
        if not await self._store.accept_login(claimed, _sha256(login_id), now_ms, origin, new_hash):
            await self._refuse(claimed, "wrong_password", now_ms, origin)  # it was right a moment ago
        return NewLogin(claimed.agent, login_id)

    async def _refuse(self, claimed: Try, reason: str, now_ms: int, origin: str) -> NoReturn:
        await self._store.refuse_login(claimed.agent, reason, now_ms, origin)
        raise DeskError("login_refused")

    async def _changed_password(self, claimed: Try, password: str, new_password: str | None) -> str | None:
        if new_password is None:
            if claimed.must_change:
                raise DeskError("password_change_needed")
            return None
        check_password(claimed.agent.agent_id, new_password, old=password)
        return await self._passwords.hash(new_password)

    async def asker(self, request: web.Request, now_ms: int) -> Asker:
        """Who sends this request; DeskError without a credential or with a wrong one."""
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        if authorization is not None:
            return await self._by_access_key(authorization)
        login_id = request.cookies.get(COOKIE)
        if login_id is None:
            raise DeskError("login_needed")
        return await self.by_login(_sha256(login_id), now_ms)

    async def by_login(self, login_sha256: bytes, now_ms: int) -> Asker:
        """The agent of a login that still holds, marked as being there; else DeskError("login_needed")."""
        login = await self._store.login(login_sha256)
        if login is None:
            raise DeskError("login_needed")
        if login.too_old(now_ms) or (login.idle(now_ms) and not self._on_live_call(login.agent)):
            await self._store.end_login(login_sha256, login.agent, now_ms)
            raise DeskError("login_needed")
        await self._store.touch_login(login_sha256, now_ms)
        return _agent_asker(login, login_sha256)

    async def keep_stream(self, login_sha256: bytes, now_ms: int) -> bool:
        """Whether an open stream may go on. A stream alone is nobody being there; a live call is."""
        login = await self._store.login(login_sha256)
        if login is None or login.too_old(now_ms):
            return False
        if self._on_live_call(login.agent):
            await self._store.touch_login(login_sha256, now_ms)
            return True
        return not login.idle(now_ms)

    async def _by_access_key(self, authorization: str) -> Asker:
        scheme, _, value = authorization.partition(" ")
        parts = value.strip().split("_", 2)
        if scheme.lower() != "bearer" or len(parts) != 3 or parts[0] != KEY_HEAD:
            raise DeskError("access_key_refused")
        stored = await self._store.access_key(parts[1])
        if stored is None or not hmac.compare_digest(stored[1], _sha256(parts[2])):
            raise DeskError("access_key_refused")
        return Asker(stored[0].tenant, f"key:{stored[0].prefix}", key=stored[0])

    def check_origin(self, request: web.Request) -> None:
        """Refuses a browser's request from another site (CSRF, and WebSockets, which have no preflight).

        Asked of everything that a cookie opens and that changes something. A page cannot forge
        `Sec-Fetch-Site`; `Origin` covers older browsers. Every browser sends one of them.
        """
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get(hdrs.ORIGIN)
        if site is not None and site not in FIRST_SITES:
            raise DeskError("origin_foreign")
        if origin is not None and not self._own(origin, request.host):
            raise DeskError("origin_foreign")
        if site is None and origin is None:
            raise DeskError("origin_foreign")

    def _own(self, origin: str, host: str) -> bool:
        if self._settings.public_origin is not None:
            return origin == self._settings.public_origin
        return names_host(origin, host)


def names_host(origin: str, host: str) -> bool:
    """True for an Origin header that names the host of its own request."""
    try:
        split = urlsplit(origin)
    except ValueError:
        return False
    return split.scheme in {"http", "https"} and split.netloc == host and split.path == ""


def _agent_asker(login: Login, login_sha256: bytes) -> Asker:
    agent = login.agent
    return Asker(agent.tenant, f"agent:{agent.agent_id}", agent=agent, login_sha256=login_sha256)


def _sha256(secret: str) -> bytes:
    """Enough for 256 random bits; only chosen passwords need a slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def check_password(user: str, password: str, *, old: str | None = None) -> None:
    """DeskError("password_weak") when too short, too long, the old one, or holding the user's name."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX or password == old or user in password.lower():
        raise DeskError("password_weak")


async def create_agent(
    store: Store, passwords: Passwords, agent: Agent, *, sip_realm: str, sip_password: str, now_ms: int
) -> str:
    """The one-time password of a new agent; it must be changed at the first login."""
    new, one_time = await _with_one_time(
        passwords, agent, SipSecret.of(agent.agent_id, sip_realm, sip_password)
    )
    await store.add_agent(new, now_ms, OPERATOR)
    return one_time


async def reset_agent(
    store: Store, passwords: Passwords, agent: Agent, *, sip_realm: str, sip_password: str, now_ms: int
) -> str:
    """Another one-time password for an agent, whose logins all end; his old passwords open nothing."""
    new, one_time = await _with_one_time(
        passwords, agent, SipSecret.of(agent.agent_id, sip_realm, sip_password)
    )
    await store.reset_agent(new, now_ms, OPERATOR)
    return one_time


async def _with_one_time(passwords: Passwords, agent: Agent, sip: SipSecret) -> tuple[NewAgent, str]:
    one_time = secrets.token_urlsafe(12)
    return NewAgent(agent, await passwords.hash(one_time), must_change=True, sip=sip), one_time


async def create_access_key(store: Store, *, tenant: str, label: str, now_ms: int) -> str:
    """A new access key in clear, for the integrator's eyes only: `pik_<prefix>_<secret>`."""
    prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(SECRET_BYTES)
    await store.add_access_key(AccessKey(prefix, tenant, label), _sha256(secret), now_ms, OPERATOR)
    return f"{KEY_HEAD}_{prefix}_{secret}"
