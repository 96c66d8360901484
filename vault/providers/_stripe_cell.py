"""Stripe, the cell's side: a card in, a payment method's id out, and nothing of the card left behind.

Creating a payment method moves no money, so a lost answer may simply be asked for again. The SDK makes text
of the card: of the form it sends, of what it would log, of what went wrong. All of that is dropped before
`tokenise` returns, the connection included, and the C library overwrites what is dropped
(`vault/posture.py`, `SPAWNER_ENVIRONMENT`); what a cell keeps is the secret page. Nothing is read from a file
and no name is looked up after the cell is walled in.
"""

import gc
import ssl
import time
import traceback
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from vault.door import Field
from vault.posture import Needs
from vault.providers._stripe_config import Config, config_of, is_numeric
from vault.providers._stripe_failures import Failure, decline_of, failure_of
from vault.providers._stripe_sdk import stripe
from vault.providers.base import TokenResult

if TYPE_CHECKING:
    from vault.card import Card

CONNECT_TIMEOUT_S = 4.0
"""The caller waits on the line; a host that is up answers in a tenth of a second."""
READ_TIMEOUT_S = 10.0
"""No issuer is asked: Stripe itself answers."""
RETRIES = 1
"""Two tries take at most half a minute, and no money moves with either."""
_CENTURY = 100

FIELDS = {
    "incorrect_number": Field.PAN,
    "invalid_number": Field.PAN,
    "invalid_expiry_month": Field.EXPIRY,
    "invalid_expiry_year": Field.EXPIRY,
    "expired_card": Field.EXPIRY,
    "invalid_cvc": Field.CVV,
    "incorrect_cvc": Field.CVV,
}
"""Stripe's code -> the field to key again."""
PARAMETERS = {
    "number": Field.PAN,
    "card[number]": Field.PAN,
    "exp_month": Field.EXPIRY,
    "exp_year": Field.EXPIRY,
    "card[exp_month]": Field.EXPIRY,
    "card[exp_year]": Field.EXPIRY,
    "cvc": Field.CVV,
    "card[cvc]": Field.CVV,
}
"""Parameter that Stripe blames -> the field, where its code is no better than "invalid"."""


class StripeCell:
    """One tenant's account; made before the cell is walled in, because it reads the authorities' file."""

    tokenise_first = True

    def __init__(self, config: dict[str, Any], http: stripe.HTTPClient | None = None) -> None:
        self._config = config_of(config)
        self.needs = Needs(tcp_ports=(self._config.egress_port,))
        """Asked by the cell before it walls itself in."""
        self._adapter = _Adapter(self._config, str(config.get("address", "")))
        self._http = http or stripe.RequestsClient(
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            session=_session(self._adapter),
            proxy=self._config.egress_proxy or None,
        )
        self._methods: Any = None

    def take_secret(self, secret: bytes) -> None:
        """The restricted key of the account; without it there is no token."""
        client = stripe.StripeClient(
            secret.decode("ascii"),
            http_client=self._http,
            max_network_retries=RETRIES,
            base_addresses={"api": self._config.api_base},
        )
        self._methods = client.v1.payment_methods

    def tokenise(self, card: "Card") -> TokenResult:
        """The payment method's id, the field that Stripe refuses, or a code without a digit."""
        try:
            return TokenResult(_created(self._methods, card))
        except Exception as error:  # noqa: BLE001 - every failure becomes a code; what it holds is dropped
            result = _refusal(error)
            _forget(error)
        finally:
            self._http.close()  # type: ignore[no-untyped-call] # the TLS record of the request lives as long as its connection
            self._adapter.close()
        gc.collect()  # a failed request and its exceptions refer to each other
        return result

    def authorise(
        self, card: "Card", request: dict[str, Any], call: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Never asked of a provider that tokenises first: nothing is sent."""
        del card, request, call
        return {"kind": "never_sent"}


def _created(methods: Any, card: "Card") -> str:
    """Here the card becomes text; the frame is gone when the answer is there."""
    made = methods.create(
        {
            "type": "card",
            "card": {
                "number": _text(card.pan.view()),
                "exp_month": int(_text(card.expiry.view()[:2])),
                "exp_year": _year(int(_text(card.expiry.view()[2:])), time.gmtime().tm_year),
                "cvc": _text(card.cvv.view()),
            },
        }
    )
    return str(made.id)


def _text(view: memoryview) -> str:
    return bytes(view).decode("ascii")


def _year(two_digits: int, this_year: int) -> int:
    """The next year that ends so, this one included; as `vault/card.py` reads it."""
    return this_year + (two_digits - this_year) % _CENTURY


def _refusal(error: Exception) -> TokenResult:
    """Which field, or a code in letters: Stripe's where it is about the card, ours where it is not."""
    failure = failure_of(error)
    if failure in {Failure.CARD, Failure.INVALID} and isinstance(error, stripe.StripeError):
        said = decline_of(error)
        code = said.get("decline_code") or said.get("code") or "card_refused"
        field = FIELDS.get(said.get("code", "")) or PARAMETERS.get(said.get("param", ""))
        return TokenResult(None, field, code)
    if failure is Failure.NOT_EXECUTED:
        return TokenResult(None, None, "provider_refused")
    return TokenResult(None, None, "provider_unreachable")


def _forget(error: BaseException) -> None:
    """Empties every frame that the error and its causes passed through, and what they carry."""
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        seen.append(found)
        found = found.__cause__ or found.__context__
    for one in seen:
        traceback.clear_frames(one.__traceback__)
        one.__traceback__ = one.__cause__ = one.__context__ = None
        one.args = ()
        one.__dict__.clear()  # requests' errors hold the request, and so the form


class _Adapter(HTTPAdapter):
    """Connects to a numeric address with the TLS context made beforehand; the certificate names the host."""

    def __init__(self, config: Config, address: str) -> None:
        self._tls = _authorities(config.ca_file or stripe.ca_bundle_path)
        self._host = config.host
        self._address = "" if config.egress_proxy or is_numeric(config.host) else address
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        """With our TLS context."""
        super().init_poolmanager(*args, **named, ssl_context=self._tls)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        """With our TLS context; it is for Stripe, the proxy itself is plain."""
        return super().proxy_manager_for(proxy, **named, ssl_context=self._tls)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: object, cert: object = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Where to connect, and whose certificate it must be; no file is named, the context has it."""
        del verify, cert
        parts = urlsplit(str(request.url))
        target = {"scheme": parts.scheme, "host": self._address or parts.hostname, "port": parts.port}
        tls: dict[str, Any] = {"cert_reqs": "CERT_REQUIRED"}
        if self._address:
            tls |= {"server_hostname": self._host, "assert_hostname": self._host}
            request.headers["Host"] = parts.netloc
        return target, tls

    def cert_verify(self, conn: Any, url: str, verify: object, cert: object) -> None:
        """Nothing more: the pool has its context."""
        del conn, url, verify, cert


@lru_cache(maxsize=8)
def _authorities(ca_file: str) -> ssl.SSLContext:
    """TLS 1.2 and later; the file is parsed once in the spawner, and a cell inherits the result."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _session(adapter: HTTPAdapter) -> requests.Session:
    """No proxy, no password file and no certificate path from the environment."""
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", adapter)
    return session


def rehearse() -> None:
    """Everything a cell will import is imported now: it can open no file. Nothing leaves the machine."""
    _authorities(stripe.ca_bundle_path)
    cell = StripeCell({"api_base": "https://127.0.0.1:1"})
    cell.take_secret(b"rehearsal")
    answers: tuple[tuple[int, bytes], ...] = (
        (200, b'{"id": "pm_rehearsal", "object": "payment_method"}'),
        (402, b'{"error": {"type": "card_error", "code": "incorrect_number", "param": "number"}}'),
        (400, b'{"error": {"type": "idempotency_error"}}'),
        (500, b"<html></html>"),
    )
    for status, body in answers:
        client = stripe.StripeClient("rehearsal", http_client=_Rehearsal(status, body))
        try:
            client.v1.payment_methods.create({"type": "card", "card": {"number": "0", "exp_month": 1}})
        except stripe.StripeError as error:
            _forget(error)
    try:  # nobody listens on port 1: the failing path of every library
        cell._methods.create({"type": "card"}, {"max_network_retries": 0})  # noqa: SLF001
    except stripe.StripeError as error:
        _forget(error)


class _Rehearsal(stripe.HTTPClient):
    """Answers without a network."""

    name = "rehearsal"

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__()
        self._answer: tuple[bytes, int, dict[str, str]] = (body, status, {})

    def request(self, *_: Any, **__: Any) -> Any:
        """The one answer."""
        return self._answer
