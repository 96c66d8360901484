"""Logins of members on their web page: opaque ids, kept in memory, short.

A restart or a change of the node logs members out; they key their PIN again. Nothing about a login is ever
written down, and who holds the cookie holds nothing but this page.
"""

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from pay_ivr.facts import CallFact
from vault import PinChanged, PinPurpose, PinResult

IDLE_S = 10 * 60.0
"""A member who has left the table is logged out: PSD2 asks payment pages for five, a shop for thirty."""
AGE_S = 60 * 60.0
"""Longest, whatever he does: nobody needs an hour for a voucher."""
SESSIONS_MAX = 20_000
"""About 300 bytes each; the one used longest ago goes first."""
ID_BYTES = 32
"""256 bits: never guessed."""
RENEWED = frozenset({PinResult.OK, PinResult.EXPIRED})
"""Results with which a new PIN may be stored; of an entry whose end nobody has seen `EXPIRED` is told."""


@dataclass
class MemberLogin:
    """Who is logged in, and since when."""

    tenant: str
    member_id: str
    since: float
    seen: float


class MemberSessions:
    """Every login of this process; seconds of `now` since 1970."""

    def __init__(self) -> None:
        self._logins: OrderedDict[bytes, MemberLogin] = OrderedDict()

    def open(self, tenant: str, member_id: str, now: float) -> str:
        """A fresh login; its id is known here for the last time."""
        login_id = secrets.token_urlsafe(ID_BYTES)
        self._logins[_hashed(login_id)] = MemberLogin(tenant, member_id, now, now)
        if len(self._logins) > SESSIONS_MAX:
            self._logins.popitem(last=False)
        return login_id

    def find(self, tenant: str, login_id: str, now: float) -> MemberLogin | None:
        """The login, marked as used; None when it is over, or of another tenant."""
        name = _hashed(login_id)
        login = self._logins.get(name)
        if login is None or login.tenant != tenant:
            return None
        if now - login.seen > IDLE_S or now - login.since > AGE_S:
            del self._logins[name]
            return None
        login.seen = now
        self._logins.move_to_end(name)
        return login

    def close(self, login_id: str) -> None:
        """Ends one login; quiet when it is over already."""
        self._logins.pop(_hashed(login_id), None)

    def close_all(self, tenant: str, member_id: str) -> None:
        """Ends every login of a member: his PIN has changed, or an agent lets him try it again."""
        for name, login in list(self._logins.items()):
            if (login.tenant, login.member_id) == (tenant, member_id):
                del self._logins[name]

    def told(self, fact: CallFact) -> None:
        """Ends the logins of a member who has keyed a new PIN on the telephone."""
        if not isinstance(fact, PinChanged) or fact.entry.purpose is PinPurpose.VERIFY:
            return
        if fact.entry.result in RENEWED:
            self.close_all(fact.entry.tenant, fact.entry.member_id)


def _hashed(login_id: str) -> bytes:
    return hashlib.sha256(login_id.encode()).digest()
