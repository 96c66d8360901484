"""Stripe's webhooks: who signed them, when, and what they point at."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.door import Refused
from vault.providers._stripe_sdk import stripe
from vault.providers._stripe_webhook import BODY_MAX, parsed
from vault.providers.base import Notice

OLD, NEW, FOREIGN = b"whsec_old", b"whsec_new", b"whsec_foreign"
NOW = 1_800_000_000.0


def event(about: dict[str, Any] | None = None, **members: Any) -> bytes:
    about = {"object": "payment_intent", "id": "pi_one"} if about is None else about
    body = {"id": "evt_one", "object": "event", "type": "payment_intent.succeeded", "created": int(NOW)}
    return json.dumps(body | {"data": {"object": about}} | members).encode()


def signature(raw: bytes, secret: bytes = NEW, at: float = NOW) -> dict[str, str]:
    made = stripe.WebhookSignature.generate_signature_header(raw.decode(), secret.decode(), int(at))
    return {"Stripe-Signature": made}


def test_a_signed_event_is_a_notice():
    """Where to look, and the event's own id to know it again."""
    raw = event()
    expected = Notice("evt_one", "2027-01-15T08:00:00.000Z", "payment_intent.succeeded", "pi_one")
    assert expected == parsed(signature(raw), raw, [NEW], NOW)
    assert expected == parsed({"STRIPE-SIGNATURE": signature(raw)["Stripe-Signature"]}, raw, [NEW], NOW)


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_while_the_secret_is_changed_both_are_good(secret):
    """Rotation without a lost webhook."""
    raw = event()
    assert "evt_one" == parsed(signature(raw, secret), raw, [NEW, OLD], NOW).event_id


@pytest.mark.parametrize(
    ("about", "reference"),
    [
        ({"object": "charge", "id": "ch_one", "payment_intent": "pi_one"}, "pi_one"),
        ({"object": "checkout.session", "id": "cs_one", "payment_intent": None}, "cs_one"),
        ({"object": "checkout.session", "id": "cs_one", "payment_intent": "pi_one"}, "cs_one"),
        ({"object": "payout", "id": "po_one"}, ""),
    ],
)
def test_the_notice_names_the_payment(about, reference):
    """Or nothing, when the event is about none."""
    raw = event(about)
    assert reference == parsed(signature(raw), raw, [NEW], NOW).provider_ref


@pytest.mark.parametrize("at", [NOW - 300, NOW, NOW + 60])
def test_clocks_may_differ_a_little(at):
    """Five minutes back, one ahead."""
    raw = event()
    assert "evt_one" == parsed(signature(raw, at=at), raw, [NEW], NOW).event_id


@pytest.mark.parametrize("at", [NOW - 301, NOW + 61, 0, NOW + 10**9])
def test_an_old_or_future_event_is_refused(at):
    """The SDK's own verifier would take one from the future for ever."""
    raw = event()
    with pytest.raises(Refused) as refused:
        parsed(signature(raw, at=at), raw, [NEW], NOW)
    assert "webhook_invalid" == refused.value.code


@pytest.mark.parametrize(
    ("headers", "raw"),
    [
        (signature(event(), FOREIGN), event()),
        (signature(event()), event(id="evt_two")),
        ({}, event()),
        ({"Stripe-Signature": ""}, event()),
        ({"Stripe-Signature": "t=,v1="}, event()),
        ({"Stripe-Signature": "t=1800000000"}, event()),
        (signature(b"[]"), b"[]"),
        (signature(b"no json"), b"no json"),
        (signature(event(type=3)), event(type=3)),
        (signature(event(created="today")), event(created="today")),
        (signature(b" " * (BODY_MAX + 1)), b" " * (BODY_MAX + 1)),
        ({"Stripe-Signature": "v1=aa,t=1800000000"}, b"\xff\xfe"),
    ],
)
def test_anything_else_is_refused(headers, raw):
    """One answer for every reason, so that nobody learns which."""
    with pytest.raises(Refused) as refused:
        parsed(headers, raw, [NEW, OLD], NOW)
    assert "webhook_invalid" == refused.value.code


@given(raw=st.binary(max_size=300), header=st.text(max_size=120))
def test_no_bytes_get_through_unsigned(raw, header):
    """And none end in anything but a refusal."""
    with pytest.raises(Refused):
        parsed({"Stripe-Signature": header}, raw, [NEW], NOW)


@given(place=st.integers(0, 199), bit=st.integers(0, 7))
def test_one_changed_bit_is_enough(place, bit):
    """Anywhere in the body."""
    raw = bytearray(event())
    headers = signature(bytes(raw))
    raw[place % len(raw)] ^= 1 << bit
    with pytest.raises(Refused):
        parsed(headers, bytes(raw), [NEW], NOW)
