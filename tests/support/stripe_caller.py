"""A caller of the host without SDK and network, for tests of the host alone."""

import itertools
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from stripe._encode import _api_encode

from vault.proof.stripe_host import Request, StripeHost

NOW = 1_790_000_000.0
GOOD, AMEX = "4242424242424242", "378282246310005"


@dataclass
class Caller:
    """Sends requests at a time of its own."""

    host: StripeHost
    now: float = NOW
    key: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    _numbers: itertools.count = field(default_factory=lambda: itertools.count(1))

    def request(self, method: str, path: str, params: dict[str, Any] | None = None, key: str = "") -> Request:
        """A request as the SDK would send it."""
        encoded = urlencode(list(_api_encode(params or {})))
        headers = {"authorization": f"Bearer {self.key or self.host.keys.full}"}
        if method == "POST":
            headers["content-type"] = "application/x-www-form-urlencoded"
            headers["idempotency-key"] = key or f"key {next(self._numbers)}"
            return Request(method, path, headers, encoded.encode())
        return Request(method, f"{path}?{encoded}" if encoded else path, headers)

    def send(self, method: str, path: str, params: dict[str, Any] | None = None, key: str = "") -> Any:
        """The answer's JSON body; its status and headers are kept."""
        reply = self.host.handle(self.request(method, path, params, key), self.now)
        self.status, self.headers = reply.status, reply.headers
        return json.loads(reply.body)

    def post(self, path: str, params: dict[str, Any] | None = None, key: str = "") -> Any:
        """POST /v1/<path>."""
        return self.send("POST", f"/v1/{path}", params, key)

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        """GET /v1/<path>."""
        return self.send("GET", f"/v1/{path}", params)

    def card(self, pan: str = GOOD, **changes: Any) -> str:
        """The id of a new payment method."""
        cvv = "1234" if pan.startswith("3") else "123"
        card = {"number": pan, "exp_month": 12, "exp_year": 2030, "cvc": cvv} | changes
        return self.post("payment_methods", {"type": "card", "card": card}).get("id", "")

    def intent(self, amount: int = 1995, **params: Any) -> str:
        """The id of a new PaymentIntent for cards."""
        fixed = {"amount": amount, "currency": "eur", "allowed_payment_method_types": ["card"]}
        return self.post("payment_intents", {**fixed, "capture_method": "automatic"} | params)["id"]

    def confirm(self, intent: str, pan: str = GOOD, key: str = "", **params: Any) -> Any:
        """Confirms with a new payment method, as a telephone order."""
        moto = {"card": {"moto": True}}
        given = {"payment_method": self.card(pan), "payment_method_options": moto} | params
        return self.post(f"payment_intents/{intent}/confirm", given, key)

    def paid(self, amount: int = 1995, **params: Any) -> str:
        """The id of a PaymentIntent that has succeeded."""
        intent = self.intent(amount, **params)
        self.confirm(intent)
        assert 200 == self.status
        return intent
