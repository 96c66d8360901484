"""Webhooks are signed so that the SDK believes them, and arrive as unkindly as the plan says."""

import json

import pytest
import stripe

from tests.support.stripe_caller import NOW, Caller
from vault.proof.stripe_account import Account
from vault.proof.stripe_host import StripeHost
from vault.proof.stripe_webhooks import RETRY_S, Delivery, DeliveryPlan

URL = "http://127.0.0.1/hook"
SECRET = "whsec_of_a_test"


def caller_with(plan: DeliveryPlan | None = None, seed: int = 1) -> Caller:
    return Caller(StripeHost(seed, Account(webhook_secrets={URL: SECRET}), plan=plan))


def kinds(deliveries: list[Delivery]) -> list[str]:
    """Event types in the order of delivery."""
    return [json.loads(one.body)["type"] for one in deliveries]


def test_the_sdk_verifies_what_the_host_signs() -> None:
    """With the right secret only, and for an unchanged body."""
    caller = caller_with()
    caller.paid()
    delivery = caller.host.webhooks.due(NOW)[0]
    header = delivery.headers["stripe-signature"]
    assert stripe.WebhookSignature.verify_header(delivery.body, header, SECRET, tolerance=None)
    for body, secret in ((delivery.body + b" ", SECRET), (delivery.body, "whsec_other")):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(body, header, secret, tolerance=None)


def test_a_kind_plan_delivers_every_event_once_in_order() -> None:
    """Without delays: creation, charge, success."""
    caller = caller_with()
    caller.paid()
    assert ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"] == kinds(
        caller.host.webhooks.due(NOW)
    )
    assert [] == caller.host.webhooks.due(NOW)


def test_an_unkind_plan_repeats_reorders_and_delays_and_loses_nothing() -> None:
    """Every event comes at least once, some twice, not in order; the same seed does the same."""
    plan = DeliveryPlan(delay_s_max=600.0, twice_share=0.5, lost_share=0.3)
    runs = []
    for _ in range(2):
        caller = caller_with(plan)
        for _ in range(10):
            caller.paid()
        runs.append(
            [one.event_id for second in range(0, 1300, 10) for one in caller.host.webhooks.due(NOW + second)]
        )
    made = [one["id"] for one in reversed(caller.host.books.every("event"))]
    first_seen = list(dict.fromkeys(runs[0]))
    assert runs[0] == runs[1]
    assert set(made) == set(first_seen)
    assert made != first_seen
    assert len(runs[0]) > len(made)


def test_a_refused_delivery_comes_again_signed_anew() -> None:
    """Until its retries are used up."""
    caller = caller_with()
    caller.intent()
    now, dates = NOW, []
    for _ in range(len(RETRY_S) + 1):
        (delivery,) = caller.host.webhooks.due(now)
        dates.append(delivery.headers["stripe-signature"].split(",")[0])
        caller.host.webhooks.failed(delivery, now)
        now = caller.host.webhooks.next_at() or now + 10**6
    assert [] == caller.host.webhooks.due(now)
    assert len(set(dates)) == len(RETRY_S) + 1


def test_events_can_be_listed_by_type() -> None:
    """What a sweep reads when webhooks are lost."""
    caller = caller_with()
    caller.paid()
    found = caller.get("events", {"type": "payment_intent.succeeded"})["data"]
    assert ["payment_intent.succeeded"] == [one["type"] for one in found]
    assert found[0] == caller.get(f"events/{found[0]['id']}")
    both = caller.get("events", {"types": ["payment_intent.created", "charge.succeeded"]})["data"]
    assert 2 == len(both)


def test_an_event_names_the_request_that_caused_it() -> None:
    """With the idempotency key of that request."""
    caller = caller_with()
    caller.post("payment_intents", {"amount": 5, "currency": "eur"}, "our key")
    assert "our key" == caller.host.books.every("event")[0]["request"]["idempotency_key"]
