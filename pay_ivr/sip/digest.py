"""Digest authentication, both ends: RFC 7616 and 8760, and the older forms phones still speak.

Pure: `now` in seconds is an argument, randomness can be given. MD5 is here because phones and PBXs know
nothing else; SHA-256 is asked for first (RFC 8760 §2.3). This file owns the rules that a nonce is ours, young
and counted, that guessing is slow, and that an unknown user looks exactly like a wrong password.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pay_ivr.sip.errors import LocalSipError, Malformed
from pay_ivr.sip.grammar import TOKEN, quoted, split_list, unquoted

NONCE_LIFETIME_S = 300.0
"""How long a nonce is good: a phone that registers every minute asks for a new one five times an hour."""
NONCES_MAX = 4_096
"""Nonces in use that are remembered with their counts; beyond it the oldest ones become stale."""
NC_WINDOW = 32
"""Counts that may overtake each other: requests of one phone in flight at once on UDP."""
FAILURES_MAX = 5
"""Wrong answers of one source for one user before it is locked out; a typing mistake takes two or three."""
SOURCE_FAILURES_MAX = 40
"""Wrong answers of one source for all users: a site behind one NAT has some phones, a scanner more names."""
FAILURE_WINDOW_S = 300.0
"""Wrong answers are forgotten this long after the last one, and a lock-out ends then."""
FAILURE_ENTRIES_MAX = 10_000
"""Pairs of source and user that are counted; beyond it the oldest are forgotten."""
USERNAME_MAX = 128
"""Characters of a user name we look up; longer ones count as wrong for their source."""

_RESPONSE = re.compile(r"[0-9a-fA-F]{32,64}")
_NC = re.compile(r"[0-9a-fA-F]{8}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{43}")


class Algorithm(StrEnum):
    """The hashes we speak, in the order we ask for them."""

    SHA256 = "SHA-256"
    MD5 = "MD5"


def digest_hex(algorithm: Algorithm, text: str | bytes) -> str:
    """The hash of a text in lower-case hex, as every part of the scheme uses it."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    if algorithm is Algorithm.MD5:
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
    return hashlib.sha256(data).hexdigest()


def ha1(algorithm: Algorithm, username: str, realm: str, password: str) -> str:
    """What a server may store instead of a password (RFC 7616 §3.4.2)."""
    return digest_hex(algorithm, f"{username}:{realm}:{password}")


@dataclass(frozen=True)
class Answered:
    """The parts of an answer that are hashed beside HA1; `qop` empty is the form of RFC 2069."""

    algorithm: Algorithm
    nonce: str
    method: str
    uri: str
    qop: str = ""
    nc: str = ""
    cnonce: str = ""
    body: bytes = field(default=b"", repr=False)

    def response(self, ha1_hex: str) -> str:
        """The response parameter (RFC 7616 §3.4.1, RFC 2069 §2.1.2)."""
        a2 = f"{self.method}:{self.uri}"
        if self.qop == "auth-int":
            a2 += f":{digest_hex(self.algorithm, self.body)}"
        ha2 = digest_hex(self.algorithm, a2)
        if not self.qop:
            return digest_hex(self.algorithm, f"{ha1_hex}:{self.nonce}:{ha2}")
        middle = f"{self.nonce}:{self.nc}:{self.cnonce}:{self.qop}"
        return digest_hex(self.algorithm, f"{ha1_hex}:{middle}:{ha2}")


# -- We answer a challenge


@dataclass(frozen=True, repr=False)
class Credentials:
    """A user name and its password; no representation shows either."""

    username: str
    password: str


@dataclass(frozen=True)
class Challenge:
    """One WWW-Authenticate or Proxy-Authenticate value that we can answer."""

    realm: str
    nonce: str
    algorithm: Algorithm
    qop: str
    """auth, auth-int, or empty when the server offers none (RFC 2069)."""
    opaque: str | None
    stale: bool
    """True when only the nonce was too old: the password may be right."""


def choose(values: Sequence[str]) -> Challenge | None:
    """The first challenge that we can answer: servers list the one they like best first (RFC 8760 §2.4)."""
    for value in values:
        try:
            challenge = parse_challenge(value)
        except Malformed:
            continue
        if challenge is not None:
            return challenge
    return None


def parse_challenge(value: str) -> Challenge | None:
    """A challenge taken apart; None for another scheme, hash or protection. Raises `Malformed`."""
    params = auth_params(value)
    if params is None:
        return None
    if "realm" not in params or "nonce" not in params:
        raise Malformed("challenge", "A challenge lacks its realm or nonce.")
    algorithm = _algorithm(params.get("algorithm", "MD5"))
    offered = [item.strip().lower() for item in params.get("qop", "").split(",") if item.strip()]
    qop = next((item for item in ("auth", "auth-int") if item in offered), None if offered else "")
    if algorithm is None or qop is None:
        return None
    stale = params.get("stale", "").lower() == "true"
    return Challenge(params["realm"], params["nonce"], algorithm, qop, params.get("opaque"), stale)


def worth_answering(challenge: Challenge, before: Challenge | None) -> bool:
    """True for a first challenge and for one that only calls our nonce old; else the password is wrong."""
    return before is None or (challenge.stale and challenge.nonce != before.nonce)


def authorization(
    challenge: Challenge,
    credentials: Credentials,
    method: str,
    uri: str,
    body: bytes = b"",
    nc: int = 1,
    *,
    cnonce: str | None = None,
) -> str:
    """The Authorization or Proxy-Authorization value for one request; `nc` grows with each use of a nonce."""
    cnonce = secrets.token_hex(16) if cnonce is None else cnonce
    answered = Answered(
        challenge.algorithm, challenge.nonce, method, uri, challenge.qop, f"{nc:08x}", cnonce, body
    )
    secret = ha1(challenge.algorithm, credentials.username, challenge.realm, credentials.password)
    parts = [
        f"username={quoted(credentials.username)}",
        f"realm={quoted(challenge.realm)}",
        f"nonce={quoted(challenge.nonce)}",
        f"uri={quoted(uri)}",
        f'response="{answered.response(secret)}"',
        f"algorithm={challenge.algorithm}",
    ]
    if challenge.qop:
        parts += [f"qop={challenge.qop}", f"nc={answered.nc}", f"cnonce={quoted(cnonce)}"]
    if challenge.opaque is not None:
        parts.append(f"opaque={quoted(challenge.opaque)}")
    return "Digest " + ", ".join(parts)


def auth_params(value: str) -> dict[str, str] | None:
    """Names in lower case and values without quotes of a Digest header; None for another scheme.

    Raises `Malformed` for a broken or repeated parameter.
    """
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    params: dict[str, str] = {}
    for item in split_list(rest):
        name, equals, text = item.partition("=")
        name, text = name.strip().lower(), text.strip()
        if not equals or not TOKEN.fullmatch(name) or name in params or "\0" in text:
            raise Malformed("auth_parameter", "An authentication parameter is broken or repeated.")
        params[name] = unquoted(text)
    return params


def _algorithm(name: str) -> Algorithm | None:
    return next((algorithm for algorithm in Algorithm if algorithm.value == name.upper()), None)


# -- We challenge


class Verdict(StrEnum):
    """What a server found; all but ACCEPTED are refused in the same words."""

    ACCEPTED = "accepted"
    MISSING = "missing"
    """No credentials for this realm: challenge."""
    STALE = "stale"
    """A nonce that is old, used or not ours; nothing was compared: challenge with `stale=true`."""
    WRONG = "wrong"
    """Counted: challenge again."""
    LOCKED = "locked"
    """Too many wrong ones; nothing was compared."""


@dataclass(frozen=True)
class Checked:
    """A verdict, and the user it holds for; empty unless ACCEPTED."""

    verdict: Verdict
    username: str = ""


Ha1Lookup = Callable[[str, Algorithm], str | None]
"""The HA1 in hex of a user for the server's realm and a hash; None for an unknown user."""


def ha1_from_passwords(realm: str, password_of: Callable[[str], str | None]) -> Ha1Lookup:
    """A lookup over passwords in the clear, for those who do not store HA1 values."""

    def lookup(username: str, algorithm: Algorithm) -> str | None:
        password = password_of(username)
        return None if password is None else ha1(algorithm, username, realm, password)

    return lookup


class DigestServer:
    """Challenges and checks for one realm.

    Nonces carry their own time and seal, so that only those in use take memory. `allow_legacy` accepts the
    answer of RFC 2069 (no qop, no count), once for each nonce; pyVoIP sends nothing else. `algorithms` are
    asked for in that order and no other is accepted: some phones read only the first challenge and give up
    when it is not MD5.
    """

    def __init__(
        self,
        realm: str,
        ha1_of: Ha1Lookup,
        *,
        secret: bytes | None = None,
        allow_legacy: bool = False,
        algorithms: Sequence[Algorithm] = tuple(Algorithm),
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        secret = random_bytes(32) if secret is None else secret
        if len(secret) < 16:
            raise LocalSipError("nonce_secret", "The secret of the nonces is shorter than 16 bytes.")
        self.realm = realm
        self._ha1_of = ha1_of
        self._allow_legacy = allow_legacy
        self._algorithms = tuple(algorithms)
        self._nonces = _Nonces(secret, realm, random_bytes)
        self._failures = _Failures()
        self._nobody = hmac.digest(secret, b"nobody", "sha256").hex()

    def challenges(self, now: float, source: str, *, stale: bool = False) -> list[str]:
        """The values of as many WWW-Authenticate rows, first choice first, all with the same nonce.

        The nonce is good for the address `source` alone.
        """
        nonce = self._nonces.issue(now, source)
        tail = ", stale=true" if stale else ""
        start = f'Digest realm={quoted(self.realm)}, nonce="{nonce}", qop="auth"'
        return [f"{start}, algorithm={algorithm}{tail}" for algorithm in self._algorithms]

    def check(self, value: str | None, method: str, now: float, source: str) -> Checked:
        """What an Authorization value is worth in a request with `method` from the address `source`.

        Never raises: a value that cannot be read is none. Its `uri` is hashed but not compared with the
        Request-URI, which proxies rewrite and pyVoIP gets wrong; a count is good only once anyway.
        """
        try:
            params = None if value is None else auth_params(value)
        except Malformed:
            params = None
        if params is None or params.get("realm") != self.realm:
            return Checked(Verdict.MISSING)
        username = params.get("username", "")
        username = username if len(username) <= USERNAME_MAX else ""
        if self._failures.locked(source, username, now):
            return Checked(Verdict.LOCKED)
        if not self._nonces.young(params.get("nonce", ""), now, source):
            # Not counted: only a nonce that was sent to an address shows that the answer comes from there.
            return Checked(Verdict.STALE)
        verdict = self._compared(params, username, method, now)
        if verdict is Verdict.WRONG:
            self._failures.count(source, username, now)
        if verdict is not Verdict.ACCEPTED:
            return Checked(verdict)
        self._failures.forget(source, username)
        return Checked(verdict, username)

    def _compared(self, params: dict[str, str], username: str, method: str, now: float) -> Verdict:
        answered = self._answered(params, method)
        if answered is None:
            return Verdict.WRONG
        known = self._ha1_of(username, answered.algorithm)
        expected = answered.response(self._nobody if known is None else known.lower())
        same = hmac.compare_digest(expected, params["response"].lower())
        if known is None or not same:
            return Verdict.WRONG
        fresh = self._nonces.use(answered.nonce, int(answered.nc or "1", 16), now)
        return Verdict.ACCEPTED if fresh else Verdict.STALE

    def _answered(self, params: dict[str, str], method: str) -> Answered | None:
        """The hashed parts of an answer in a form we asked for; None for any other."""
        algorithm = _algorithm(params.get("algorithm", "MD5"))
        complete = (
            params.get("nonce") and params.get("uri") and _RESPONSE.fullmatch(params.get("response", ""))
        )
        if algorithm not in self._algorithms or not complete:
            return None
        if "qop" not in params:
            plain = Answered(algorithm, params["nonce"], method, params["uri"])
            return plain if self._allow_legacy else None
        qop, nc, cnonce = params["qop"].lower(), params.get("nc", ""), params.get("cnonce", "")
        if qop != "auth" or not _NC.fullmatch(nc) or not cnonce:
            return None
        return Answered(algorithm, params["nonce"], method, params["uri"], params["qop"], nc, cnonce)


class _Nonces:
    """Sealed nonces, and the counts of those that were used.

    Layout before base64url: 8 bytes milliseconds, 8 random bytes, 16 bytes of an HMAC-SHA-256 over both, the
    realm and the address it was sent to. Counts are a high mark and a window of bits below it, as in
    RFC 4303 §3.4.3.
    """

    def __init__(self, secret: bytes, realm: str, random_bytes: Callable[[int], bytes]) -> None:
        self._secret = secret
        self._realm = realm.encode()
        self._random_bytes = random_bytes
        self._used: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._forgotten_ms = -1

    def issue(self, now: float, source: str) -> str:
        """A nonce of this moment for one address."""
        head = int(now * 1000).to_bytes(8, "big") + self._random_bytes(8)
        return base64.urlsafe_b64encode(head + self._seal(head, source)).rstrip(b"=").decode()

    def young(self, nonce: str, now: float, source: str) -> bool:
        """True for a nonce of ours for that address, neither too old nor possibly used and forgotten."""
        issued_ms = self._issued_ms(nonce, source)
        if issued_ms is None or not 0 <= now * 1000 - issued_ms <= NONCE_LIFETIME_S * 1000:
            return False
        return nonce in self._used or issued_ms > self._forgotten_ms

    def use(self, nonce: str, nc: int, now: float) -> bool:
        """Take one count; False when it was taken before, lies below the window, or is zero."""
        if nonce not in self._used:
            self._sweep(now)
        high, seen = self._used.get(nonce, (0, 0))
        if nc > high:
            shift = min(nc - high, NC_WINDOW)
            self._used[nonce] = (nc, (seen << shift | 1) & (2**NC_WINDOW - 1))
            return True
        bit = 1 << (high - nc) if nc > 0 and high - nc < NC_WINDOW else 0
        if not bit or seen & bit:
            return False
        self._used[nonce] = (high, seen | bit)
        return True

    def _sweep(self, now: float) -> None:
        """Make room: forget the oldest while they are too many or expired; the forgotten stay unusable."""
        while self._used:
            oldest = next(iter(self._used))
            issued_ms = _stamp(oldest)
            if len(self._used) < NONCES_MAX and now * 1000 - issued_ms <= NONCE_LIFETIME_S * 1000:
                return
            del self._used[oldest]
            self._forgotten_ms = max(self._forgotten_ms, issued_ms)

    def _issued_ms(self, nonce: str, source: str) -> int | None:
        if not _NONCE.fullmatch(nonce):
            return None
        data = base64.urlsafe_b64decode(nonce + "=")
        head, seal = data[:16], data[16:]
        return _stamp(nonce) if hmac.compare_digest(seal, self._seal(head, source)) else None

    def _seal(self, head: bytes, source: str) -> bytes:
        text = head + self._realm + b"\n" + source.encode()
        return hmac.digest(self._secret, text, "sha256")[:16]


def _stamp(nonce: str) -> int:
    """The milliseconds that a nonce of ours carries, whoever it was for."""
    return int.from_bytes(base64.urlsafe_b64decode(nonce + "=")[:8], "big")


class _Failures:
    """Wrong answers by source and user, and by source alone (user None); the oldest entry first."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, str | None], tuple[int, float]] = OrderedDict()

    def locked(self, source: str, username: str, now: float) -> bool:
        """True while this source has guessed too often, for this user or altogether."""
        limits = (((source, username), FAILURES_MAX), ((source, None), SOURCE_FAILURES_MAX))
        return any(self._count(key, now) >= limit for key, limit in limits)

    def count(self, source: str, username: str, now: float) -> None:
        """One more wrong answer, now."""
        for key in ((source, username), (source, None)):
            self._counts[key] = (self._count(key, now) + 1, now)
            self._counts.move_to_end(key)
        while len(self._counts) > FAILURE_ENTRIES_MAX:
            self._counts.popitem(last=False)

    def forget(self, source: str, username: str) -> None:
        """The right answer came: mistyping is over. What the source tried on others stays counted."""
        self._counts.pop((source, username), None)

    def _count(self, key: tuple[str, str | None], now: float) -> int:
        count, last = self._counts.get(key, (0, now))
        return count if now - last < FAILURE_WINDOW_S else 0
