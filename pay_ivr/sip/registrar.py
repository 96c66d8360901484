"""The registrar of the agents' phones: who may register, and on which flow each phone is reached.

RFC 3261 §10.3 with digest (RFC 8760) for one realm. The rule this file owns: nobody learns from an answer
whether a user exists, and a phone is called back on the flow it registered on (RFC 5626's idea without its
headers), which is what gets through address translation.

Not checked on purpose: the CSeq order of §10.3 step 7. Some phones start again with the same Call-ID and
CSeq 1 after every restart and would be locked out until their old binding expires; an old REGISTER cannot
be replayed here, because each nonce count is good once.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pay_ivr.sip.dialog import hop_of
from pay_ivr.sip.digest import Algorithm, DigestServer, Ha1Lookup, Verdict, ha1_from_passwords
from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.rim import Hop, Transport
from pay_ivr.sip.uri import parse_uri
from pay_ivr.sip.wire import NameAddr, Request, Response, name_addr, response_to

EXPIRES_DEFAULT_S = 3600
"""What a phone gets that does not say (RFC 3261 §10.3)."""
EXPIRES_MIN_S = 60
"""Shorter asks for more traffic than a phone is worth: 423."""
EXPIRES_MAX_S = 3600
"""Longer is shortened: a phone that vanished is called in vain for at most an hour."""
EXPIRES_DIGITS_MAX = 10
"""A 32-bit number; anything longer counts as unreadable (§20.19)."""
CONTACTS_MAX = 5
"""Phones of one agent; one more pushes the oldest out, because phones that crashed leave bindings behind."""

NEVER = 0


@dataclass(frozen=True)
class Contact:
    """One phone of one user."""

    uri: str
    """Raw Contact URI: the Request-URI of calls to this phone. Two phones may name the same."""
    flow: Hop
    """Where its REGISTER came from."""
    expires_at: float
    instance: str | None = None
    """`+sip.instance` as sent: the same phone with a new address replaces its old binding."""


class Registrar:
    """Bindings by user. Answers REGISTER; `lookup` says where a user's phones are now."""

    def __init__(
        self,
        realm: str,
        password_of: Callable[[str], str | None] | None = None,
        *,
        ha1_of: Ha1Lookup | None = None,
        allow_legacy: bool = False,
        algorithms: Sequence[Algorithm] = tuple(Algorithm),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Credentials come from `password_of`, or as HA1 values from `ha1_of`.

        With neither nobody can register. `allow_legacy` accepts RFC 2069 answers, which pyVoIP sends;
        `algorithms` are asked for in that order, MD5 alone where phones read only the first challenge.
        """
        lookup = ha1_of or ha1_from_passwords(realm, password_of or _nobody)
        self._digest = DigestServer(realm, lookup, allow_legacy=allow_legacy, algorithms=algorithms)
        self._clock = clock
        self._bindings: dict[str, list[Contact]] = {}
        self.on_change: Callable[[str], None] = _tell_nobody
        """Told the user whose bindings are not what they were; must not block."""

    def size(self) -> int:
        """Bindings of all users, expired ones included until they are looked for."""
        return sum(len(contacts) for contacts in self._bindings.values())

    def lookup(self, user: str) -> list[Contact]:
        """The phones of a user that are registered now, the latest first."""
        now = self._clock()
        current = [contact for contact in self._bindings.get(user, []) if contact.expires_at > now]
        self._keep(user, current)
        return current[::-1]

    def restore(self, user: str, contacts: Sequence[Contact]) -> None:
        """Bindings of an earlier run, the oldest first; what has registered since then is newer and wins."""
        if user not in self._bindings:
            self._bindings[user] = list(contacts[-CONTACTS_MAX:])

    def forget(self, user: str) -> None:
        """No phone of that user is called any more: he is gone, or his password is another one now."""
        self._keep(user, [])

    def knows_flow(self, source: Hop) -> bool:
        """True when a phone is registered on that flow."""
        return any(contact.flow.same_path(source) for contact in self._current())

    def connection_closed(self, connection: int) -> None:
        """A stream is gone, and with it every phone behind it."""
        for user in list(self._bindings):
            kept = [contact for contact in self._bindings[user] if contact.flow.connection != connection]
            self._keep(user, kept)

    def handle(self, request: Request, source: Hop) -> Response:
        """The answer to one REGISTER; raises Malformed for addresses we cannot read."""
        now = self._clock()
        values = request.get_all("Authorization")
        checked = self._digest.check(values[0] if values else None, request.method, now, source.ip)
        if checked.verdict is not Verdict.ACCEPTED:
            return self._challenge(request, now, source.ip, stale=checked.verdict is Verdict.STALE)
        user = parse_uri(name_addr(request.get("To") or "").uri).dialled
        if user != checked.username:
            return response_to(request, 403)
        return self._update(request, source, user, now)

    def _challenge(self, request: Request, now: float, source: str, *, stale: bool) -> Response:
        """401 in the same words for a missing, wrong, unknown or locked-out user."""
        response = response_to(request, 401)
        for challenge in self._digest.challenges(now, source, stale=stale):
            response.add("WWW-Authenticate", challenge)
        return response

    def _update(self, request: Request, source: Hop, user: str, now: float) -> Response:
        """All contacts of the request or none (§10.3 step 7)."""
        asked = [name_addr(value) for value in request.get_all("Contact")]
        if any(contact.uri == "*" for contact in asked):
            if len(asked) > 1 or _seconds(request.get("Expires")) != NEVER:
                return response_to(request, 400)
            self._keep(user, [])
            return self._listing(request, user, now)
        wanted = [(contact, _lifetime(contact, request)) for contact in asked]
        if any(NEVER < seconds < EXPIRES_MIN_S for _, seconds in wanted):
            response = response_to(request, 423)
            response.add("Min-Expires", str(EXPIRES_MIN_S))
            return response
        for contact, _ in wanted:
            hop_of(contact.uri)
        for contact, seconds in wanted:
            self._bind(user, contact, source, now + seconds if seconds else NEVER)
        return self._listing(request, user, now)

    def _bind(self, user: str, asked: NameAddr, source: Hop, expires_at: float) -> None:
        instance = asked.params.get("+sip.instance")
        kept = [
            contact
            for contact in self._bindings.get(user, [])
            if not _same_address(contact.uri, asked.uri)
            and (instance is None or contact.instance != instance)
        ]
        if expires_at != NEVER:
            kept.append(Contact(asked.uri, source, expires_at, instance))
        self._keep(user, kept[-CONTACTS_MAX:])

    def _keep(self, user: str, contacts: list[Contact]) -> None:
        """Users without phones take no memory."""
        if contacts == self._bindings.get(user, []):
            return
        if contacts:
            self._bindings[user] = contacts
        else:
            self._bindings.pop(user, None)
        self.on_change(user)

    def _listing(self, request: Request, user: str, now: float) -> Response:
        """200 with every current contact and its remaining seconds (§10.3 step 8)."""
        response = response_to(request, 200)
        for contact in self.lookup(user):
            response.add("Contact", f"<{contact.uri}>;expires={max(1, round(contact.expires_at - now))}")
        return response

    def _current(self) -> list[Contact]:
        now = self._clock()
        return [item for contacts in self._bindings.values() for item in contacts if item.expires_at > now]


def _lifetime(contact: NameAddr, request: Request) -> int:
    """Seconds for one contact: its own parameter, else the header, else the default (§10.2.1.1)."""
    seconds = _seconds(contact.params.get("expires"))
    if seconds is None:
        seconds = _seconds(request.get("Expires"))
    return min(EXPIRES_DEFAULT_S if seconds is None else seconds, EXPIRES_MAX_S)


def _seconds(text: str | None) -> int | None:
    """The number of an Expires; None when there is none we can read."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > EXPIRES_DIGITS_MAX:
        return None
    return int(text)


def _same_address(one: str, other: str) -> bool:
    """True for Contact URIs that reach the same place (§19.1.4, of the parameters only the transport)."""
    return _address(one) == _address(other)


def _address(uri: str) -> tuple[str, str, int | None, str]:
    try:
        parsed = parse_uri(uri)
    except Malformed:
        return ("", uri, None, "")
    transport = (parsed.params.get("transport") or Transport.UDP).upper()
    return (parsed.user, parsed.host.lower(), parsed.port, transport)


def _nobody(_user: str) -> str | None:
    return None


def _tell_nobody(_user: str) -> None:
    pass
