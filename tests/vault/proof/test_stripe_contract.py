"""The oracle made of the SDK's own types: it accepts what we send and refuses what Stripe would not know."""

from typing import Any

import pytest
import stripe

from tests.support import stripe_contract
from tests.support.stripe_contract import ContractBroken, accept, accept_wire
from vault.proof.stripe_host import StripeHost

INTENTS = "/v1/payment_intents"
GOOD: dict[str, Any] = {
    "amount": 1995,
    "currency": "eur",
    "allowed_payment_method_types": ["card"],
    "capture_method": "manual",
    "metadata": {"payment_id": "pay_x"},
    "payment_method_options": {"card": {"moto": True}},
}


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (INTENTS, GOOD),
        (f"{INTENTS}/pi_x/confirm", {"payment_method": "pm_x", "off_session": True}),
        (f"{INTENTS}/pi_x/capture", {"amount_to_capture": 5}),
        (f"{INTENTS}/pi_x/cancel", {"cancellation_reason": "abandoned"}),
        ("/v1/refunds", {"payment_intent": "pi_x", "amount": 5, "metadata": {"step": "s"}}),
        ("/v1/payment_methods", {"type": "card", "card": {"number": "0", "exp_month": 1, "exp_year": 30}}),
    ],
)
def test_what_we_send_is_accepted(path: str, params: dict[str, Any]) -> None:
    """The shapes of our adapter."""
    accept("POST", path, params)


@pytest.mark.parametrize(
    ("path", "params", "reason"),
    [
        (INTENTS, GOOD | {"amount": "1995"}, "amount: int_type"),
        (INTENTS, GOOD | {"amout": 1}, "amout: extra_forbidden"),
        (INTENTS, GOOD | {"payment_method_options": {"card": {"mot": True}}}, "mot: extra_forbidden"),
        (
            INTENTS,
            GOOD | {"payment_method_data": {"type": "card", "card": {"number": "0"}}},
            "payment_method_data.card: extra_forbidden",
        ),
        (INTENTS, {"amount": 5}, "currency: missing"),
        (INTENTS, GOOD | {"idempotency_key": "k"}, "idempotency_key: extra_forbidden"),
        (f"{INTENTS}/pi_x/confirm", {"moto": True}, "moto: extra_forbidden"),
        ("/v1/sources", {}, "no service"),
    ],
)
def test_what_stripe_does_not_know_is_refused(path: str, params: dict[str, Any], reason: str) -> None:
    """A raw card in an intent, a misspelt name, an amount as text."""
    with pytest.raises(ContractBroken, match=reason):
        accept("POST", path, params)


def test_a_refusal_quotes_no_value() -> None:
    """It stands in test output, where a card must not be."""
    raw = {"type": "card", "card": {"number": 4242424242424242, "exp_month": 1, "exp_year": 30}}
    with pytest.raises(ContractBroken) as caught:
        accept("POST", "/v1/payment_methods", raw)
    assert "4242" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_form_is_all_text() -> None:
    """On the wire numbers and flags are words, and must be ones."""
    accept_wire("POST", INTENTS, {"amount": "1995", "currency": "eur", "confirm": "true"})
    with pytest.raises(ContractBroken, match="confirm: bool"):
        accept_wire("POST", INTENTS, {"amount": "1995", "currency": "eur", "confirm": "maybe"})


def test_the_oracle_knows_every_route_of_the_host_and_every_one_of_its_parameters() -> None:
    """What the host takes, the SDK must be able to say: neither a route nor a parameter is invented."""
    for route in StripeHost(1).routes:
        path = route.path.replace("{id}", "xx_x")
        unknown = [
            name for name in route.fields if f"{name}: extra_forbidden" in said(route.method, path, name)
        ]
        assert [] == unknown, route.path


def said(method: str, path: str, name: str) -> str:
    """What the oracle says to a parameter whose value fits nothing."""
    with pytest.raises(ContractBroken) as caught:
        accept_wire(method, path, {name: object()})
    return str(caught.value)


def test_a_watched_client_is_checked_before_it_encodes() -> None:
    """An amount as text would look right on the wire; here it is seen."""
    client = stripe.StripeClient("sk_test_x", http_client=_Deaf())
    with stripe_contract.watched() as seen:
        client.v1.payment_intents.create(GOOD)  # type: ignore[arg-type]
        with pytest.raises(ContractBroken):
            client.v1.payment_intents.create(GOOD | {"amount": "1995"})  # type: ignore[arg-type]
    assert [("POST", INTENTS)] == seen


class _Deaf(stripe.HTTPClient):
    name = "deaf"

    def request(self, *_: Any, **__: Any) -> Any:
        return "{}", 200, {}
