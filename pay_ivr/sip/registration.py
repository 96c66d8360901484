"""We register at somebody's PBX: one address of record, refreshed, retried, removed at the end.

RFC 3261 §10.2 with 423 and digest. The rule this file owns: one REGISTER at a time, one Call-ID for its whole
life, and a far side that is down is asked ever more rarely, but for ever.
"""

import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from pay_ivr.sip.dialog import MAX_FORWARDS, checked_target
from pay_ivr.sip.digest import Credentials
from pay_ivr.sip.errors import Malformed, SipError
from pay_ivr.sip.login import Login
from pay_ivr.sip.rim import TimerHandle, Transport
from pay_ivr.sip.transaction import Failure, TransactionLayer
from pay_ivr.sip.wire import Request, Response, name_addr

EXPIRES_S = 600
"""What we ask for: a PBX that lost its table finds us again within ten minutes."""
EXPIRES_MIN_S = 30
"""A registrar that grants less would be asked more often than this; we do not go below."""
EXPIRES_MAX_S = 86_400
"""A registrar that grants or demands more than a day is not believed."""
REFRESH_AT = 0.8
"""Share of the granted time after which we refresh: room for a lost REGISTER and its repeats."""
RETRY_S = 30.0
"""First wait after a failure (RFC 5626 §4.5); doubled with each further one."""
RETRY_MAX_S = 600.0


class RegistrationState(StrEnum):
    """What the far side thinks of us, as far as we know."""

    ASKING = "asking"
    REGISTERED = "registered"
    FAILED = "failed"
    """Refused or unreachable; the next try is planned."""
    REMOVED = "removed"


class RegistrationHome(Protocol):
    """What a registration needs of its endpoint."""

    layer: TransactionLayer

    def contact(self, transport: Transport) -> str:
        """Our Contact value for that transport."""


class Registration:
    """One address of record of ours at one registrar."""

    def __init__(
        self,
        home: RegistrationHome,
        aor_uri: str,
        registrar_uri: str,
        credentials: Credentials | None,
        on_change: Callable[[RegistrationState, int | None], None],
        expires_s: int = EXPIRES_S,
    ) -> None:
        """Nothing is sent before `start`. LocalSipError("target") for a registrar that leads nowhere.

        `on_change` gets each new state and the status that made it, None when nothing was answered.
        """
        self.state = RegistrationState.ASKING
        self._home = home
        self._aor_uri = aor_uri
        self._registrar_uri = registrar_uri
        self._hop = checked_target(registrar_uri)
        self._credentials = credentials
        self._login = Login(credentials)
        self._on_change = on_change
        self._expires_s = expires_s
        self._call_id = secrets.token_hex(16)
        self._from = f"<{aor_uri}>;tag={secrets.token_hex(8)}"
        self._cseq = 0
        self._retry_s = RETRY_S
        self._removing = False
        self._asking = False
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        """Registers now, and again whenever it is time."""
        self._ask()

    def remove(self) -> None:
        """Takes our binding away; one try, because the far side forgets it by itself."""
        self._removing = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._asking:
            self._ask()

    def _ask(self) -> None:
        self._timer = None
        self._login = Login(self._credentials)
        self._send(())

    def _send(self, login: tuple[tuple[str, str], ...]) -> None:
        self._cseq += 1
        request = Request("REGISTER", self._registrar_uri)
        for name, value in (
            ("Max-Forwards", MAX_FORWARDS),
            ("From", self._from),
            ("To", f"<{self._aor_uri}>"),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._cseq} REGISTER"),
            ("Contact", self._home.contact(self._hop.transport)),
            ("Expires", "0" if self._removing else str(self._expires_s)),
            *login,
        ):
            request.add(name, value)
        self._asking = True
        try:
            self._home.layer.request(
                request, self._hop, lambda response: self._on_response(request, response), self._on_failure
            )
        except SipError:
            self._asking = False
            self._failed(None)

    def _on_response(self, request: Request, response: Response) -> None:
        if response.status < 200:
            return
        answers = self._login.answers(request, response)
        if answers is not None:
            self._send(answers)
            return
        self._asking = False
        if response.status < 300:
            self._succeeded(request, response)
        elif response.status == 423 and self._lengthened(response):
            self._ask()
        else:
            self._failed(response.status)

    def _on_failure(self, failure: Failure) -> None:
        self._asking = False
        self._failed(408 if failure is Failure.TIMEOUT else 503)

    def _succeeded(self, request: Request, response: Response) -> None:
        self._retry_s = RETRY_S
        if request.get("Expires") == "0":
            self._become(RegistrationState.REMOVED, response.status)
        elif self._removing:
            self._ask()
        else:
            seconds = max(EXPIRES_MIN_S, min(self._granted(response), EXPIRES_MAX_S)) * REFRESH_AT
            self._timer = self._home.layer.rim.call_later(seconds, self._ask)
            self._become(RegistrationState.REGISTERED, response.status)

    def _granted(self, response: Response) -> int:
        """Seconds for our own Contact, else the Expires header, else what we asked for (§10.2.4)."""
        ours = name_addr(self._home.contact(self._hop.transport)).uri
        try:
            contacts = [name_addr(value) for value in response.get_all("Contact")]
        except Malformed:
            contacts = []
        texts = [contact.params.get("expires") for contact in contacts if contact.uri == ours]
        seconds = [_seconds(text) for text in (*texts, response.get("Expires"))]
        return next((value for value in seconds if value is not None), self._expires_s)

    def _lengthened(self, response: Response) -> bool:
        """True when the registrar wants longer times and we can ask for them (§10.2.8)."""
        wanted = _seconds(response.get("Min-Expires"))
        if wanted is None or not self._expires_s < wanted <= EXPIRES_MAX_S:
            return False
        self._expires_s = wanted
        return True

    def _failed(self, status: int | None) -> None:
        if self._removing:
            self._become(RegistrationState.REMOVED, status)
            return
        # A little disorder, so that a hundred nodes do not come back together.
        seconds = self._retry_s * (0.5 + secrets.randbelow(501) / 1_000)
        self._retry_s = min(2 * self._retry_s, RETRY_MAX_S)
        self._timer = self._home.layer.rim.call_later(seconds, self._ask)
        self._become(RegistrationState.FAILED, status)

    def _become(self, state: RegistrationState, status: int | None) -> None:
        if self.state is not state:
            self.state = state
            self._on_change(state, status)


def _seconds(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 10 else None
