"""The Stripe host: money moves once, states are kept, and nothing of a card stays."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import stripe_contract
from tests.support.stripe_caller import AMEX, GOOD, NOW, Caller
from vault.proof.stripe_account import HOLD_OFF_LINE_S, HOLD_S, Account
from vault.proof.stripe_failure import Failure
from vault.proof.stripe_host import StripeHost, Ticket

DAY_S = 86_400
DECLINED = {
    "4000000000000002": ("card_declined", "generic_decline"),
    "4000000000009995": ("card_declined", "insufficient_funds"),
    "4000000000009987": ("card_declined", "lost_card"),
    "4000000000009979": ("card_declined", "stolen_card"),
    "4000000000000069": ("expired_card", "expired_card"),
    "4000000000000127": ("incorrect_cvc", "incorrect_cvc"),
    "4000000000000119": ("processing_error", "processing_error"),
}
AUTHENTICATED = "4000002760003184"


@pytest.fixture
def caller() -> Caller:
    return Caller(StripeHost(1))


def code(body: Any) -> str:
    """The error's code."""
    return body["error"].get("code", body["error"]["type"])


# --- one execution per key ---------------------------------------------------------------------------------


def test_the_same_key_charges_once_and_answers_alike(caller: Caller) -> None:
    """The second answer is the stored first one and says so."""
    intent, method = caller.intent(), caller.card()
    first = caller.post(f"payment_intents/{intent}/confirm", {"payment_method": method}, "k")
    again = caller.post(f"payment_intents/{intent}/confirm", {"payment_method": method}, "k")
    assert first == again
    assert "true" == caller.headers["idempotent-replayed"]
    assert 1 == len(caller.host.successful_charges())


def test_a_new_key_for_the_same_order_charges_again(caller: Caller) -> None:
    """The naive retry: the host does nothing to save a caller who makes up new keys."""
    params = {"amount": 1995, "currency": "eur", "allowed_payment_method_types": ["card"], "confirm": True}
    for key in ("one", "two"):
        caller.post("payment_intents", params | {"payment_method": caller.card()}, key)
    assert 2 == len(caller.host.successful_charges())


@pytest.mark.parametrize("change", [{"amount": 1}, {"currency": "usd"}])
def test_a_key_with_other_parameters_is_an_idempotency_error(caller: Caller, change: dict[str, Any]) -> None:
    """Matched by type, as the SDK does."""
    params = {"amount": 1995, "currency": "eur"}
    caller.post("payment_intents", params, "k")
    assert "idempotency_error" == caller.post("payment_intents", params | change, "k")["error"]["type"]
    assert 400 == caller.status


def test_a_key_on_another_path_is_an_idempotency_error(caller: Caller) -> None:
    """What a fence does on purpose: the key is used up for everything else."""
    intent = caller.intent()
    caller.post(f"payment_intents/{intent}", {"metadata": {"fence": "yes"}}, "k")
    body = caller.confirm(intent, key="k")
    assert "idempotency_error" == body["error"]["type"]
    assert [] == caller.host.successful_charges()


def test_order_of_fields_does_not_matter_to_a_key(caller: Caller) -> None:
    """The fingerprint is of the content."""
    first = caller.post("payment_intents", {"amount": 5, "currency": "eur"}, "k")
    assert first == caller.post("payment_intents", {"currency": "eur", "amount": 5}, "k")


def test_a_key_in_flight_is_a_conflict_and_executes_once(caller: Caller) -> None:
    """409 while the first is executing, its answer afterwards."""
    request = caller.request("POST", "/v1/payment_intents", {"amount": 5, "currency": "eur"}, "k")
    ticket = caller.host.begin(request, NOW)
    assert isinstance(ticket, Ticket)
    conflict = caller.host.handle(request, NOW)
    assert (409, "idempotency_key_in_use") == (conflict.status, code(json.loads(conflict.body)))
    done = caller.host.finish(ticket, NOW)
    assert done.body == caller.host.handle(request, NOW).body
    assert 1 == len(caller.host.books.every("payment_intent"))


def test_refused_parameters_do_not_use_up_a_key(caller: Caller) -> None:
    """Stripe stores an answer only once execution began."""
    caller.post("payment_intents", {"amount": 5}, "k")
    assert 400 == caller.status
    caller.post("payment_intents", {"amount": 5, "currency": "eur"}, "k")
    assert 200 == caller.status


def test_a_decline_is_stored_under_its_key(caller: Caller) -> None:
    """A 402 is final for the key; a good card needs a new one."""
    intent = caller.intent()
    declined = caller.post(
        f"payment_intents/{intent}/confirm", {"payment_method": caller.card("4000000000000002")}, "k"
    )
    method = declined["error"]["payment_method"]["id"]
    again = caller.post(f"payment_intents/{intent}/confirm", {"payment_method": method}, "k")
    assert (402, declined) == (caller.status, again)


def test_a_forgotten_key_executes_again(caller: Caller) -> None:
    """After 24 hours a key protects nobody."""
    for _ in range(2):
        caller.post("payment_intents", {"amount": 5, "currency": "eur"}, "k")
        caller.now += DAY_S
    assert 2 == len(caller.host.books.every("payment_intent"))


def test_a_key_of_256_characters_is_refused(caller: Caller) -> None:
    """Stripe's limit is 255."""
    caller.post("payment_intents", {"amount": 5, "currency": "eur"}, "k" * 256)
    assert 400 == caller.status


# --- who may do what ---------------------------------------------------------------------------------------


def test_the_cells_key_makes_payment_methods_and_nothing_else(caller: Caller) -> None:
    """403 for every other route, reading included."""
    caller.key = caller.host.keys.cell
    assert caller.card().startswith("pm_")
    for route in caller.host.routes:
        caller.send(route.method, route.path.replace("{id}", "pi_xxxx"))
        expected = {400} if (route.method, route.path) == ("POST", "/v1/payment_methods") else {403}
        allowed = {404, 200} if route.permission == "payment_methods" else set()
        assert caller.status in expected | allowed, route.path


def test_the_brokers_key_sends_no_raw_card(caller: Caller) -> None:
    """The broker never needs one."""
    caller.key = caller.host.keys.broker
    assert "" == caller.card()
    assert 403 == caller.status
    assert caller.intent().startswith("pi_")


def test_an_unknown_key_is_unauthorised(caller: Caller) -> None:
    """401, before anything is looked at."""
    caller.key = "sk_test_of_somebody_else"
    caller.get("balance")
    assert 401 == caller.status


# --- parameters --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "params", "param"),
    [
        ("payment_intents", {"amount": 5, "currency": "eur", "amout": 1}, "amout"),
        ("payment_intents", {"amount": 5}, "currency"),
        ("payment_intents", {"amount": "5.00", "currency": "eur"}, "amount"),
        ("payment_intents", {"amount": 5, "currency": "xxx"}, "currency"),
        ("payment_intents", {"amount": 100_000_000, "currency": "eur"}, "amount"),
        (
            "payment_intents",
            {"amount": 5, "currency": "eur", "payment_method_options": {"card": {"mot": True}}},
            "payment_method_options[card][mot]",
        ),
        ("payment_intents", {"amount": 5, "currency": "eur", "customer": "cus_nobody"}, "customer"),
        ("refunds", {"amount": 5}, "charge"),
        ("payment_methods", {"type": "card", "card": {"number": GOOD}}, "card[exp_month]"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(
    caller: Caller, path: str, params: dict[str, Any], param: str
) -> None:
    """A misspelt, missing or mistyped parameter is a 400 with its bracketed name."""
    assert param == caller.post(path, params)["error"]["param"]
    assert caller.status in {400, 404}


def test_an_account_without_moto_does_not_know_the_parameter() -> None:
    """As an account that Stripe has not enabled."""
    caller = Caller(StripeHost(1, Account(moto=False)))
    body = caller.confirm(caller.intent())
    assert ("parameter_unknown", "payment_method_options[card][moto]") == (code(body), body["error"]["param"])


def test_an_intent_that_may_redirect_wants_a_return_url(caller: Caller) -> None:
    """The trap of an intent made without `allowed_payment_method_types`."""
    intent = caller.post("payment_intents", {"amount": 5, "currency": "eur"})["id"]
    assert "return_url" == caller.confirm(intent)["error"]["param"]
    assert "succeeded" == caller.confirm(intent, return_url="https://shop.test/done")["status"]


# --- cards -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pan", "codes"), DECLINED.items())
def test_a_declined_card_leaves_the_intent_open_for_another(
    caller: Caller, pan: str, codes: tuple[str, str]
) -> None:
    """402 with both codes and the intent; then the same intent takes a good card."""
    intent = caller.intent()
    error = caller.confirm(intent, pan)["error"]
    assert (402, *codes) == (caller.status, error["code"], error["decline_code"])
    assert "requires_payment_method" == error["payment_intent"]["status"]
    assert "succeeded" == caller.confirm(intent)["status"]
    charges = [one["status"] for one in caller.get("charges", {"payment_intent": intent})["data"]]
    assert ["succeeded", "failed"] == charges


def test_a_card_that_asks_for_authentication(caller: Caller) -> None:
    """requires_action on the line, a 402 where nobody can answer, succeeded after the issuer's page."""
    intent = caller.intent()
    assert "requires_action" == caller.confirm(intent, AUTHENTICATED)["status"]
    error = caller.confirm(intent, AUTHENTICATED, error_on_requires_action=True)["error"]
    assert "authentication_required" == error["code"]
    caller.confirm(intent, AUTHENTICATED)
    assert "succeeded" == caller.host.intents.authenticated(intent, NOW, passed=True)["status"]
    assert 1 == len(caller.host.successful_charges())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"number": "4242"}, "incorrect_number"),
        ({"exp_month": 13}, "invalid_expiry_month"),
        ({"exp_year": 2020}, "invalid_expiry_year"),
        ({"cvc": "12"}, "invalid_cvc"),
        ({"cvc": "1234"}, "invalid_cvc"),
    ],
)
def test_a_wrong_field_of_a_card_is_named(caller: Caller, changes: dict[str, Any], expected: str) -> None:
    """402 with the field's own code, no payment method made."""
    card = {"number": GOOD, "exp_month": 12, "exp_year": 2030, "cvc": "123"} | changes
    assert expected == code(caller.post("payment_methods", {"type": "card", "card": card}))
    assert [] == caller.host.books.every("payment_method")


def test_the_canary_range_is_taken_only_where_it_is_allowed() -> None:
    """Any other PAN is refused as a real card in test mode."""
    canary = "9999001234567891"
    error = Caller(StripeHost(1)).post("payment_methods", _card(canary))["error"]
    assert "test_mode_live_card" == error["decline_code"]
    caller = Caller(StripeHost(1, Account(canary=True)))
    assert "succeeded" == caller.confirm(caller.intent(), canary)["status"]
    late = caller.card(canary, exp_year=2040)
    error = caller.post(f"payment_intents/{caller.intent()}/confirm", {"payment_method": late})["error"]
    assert "insufficient_funds" == error["decline_code"]


@pytest.mark.parametrize("pan", [GOOD, AMEX, "4000000000000002", "4242424242424241"])
def test_no_pan_stays_in_the_host(pan: str) -> None:
    """Walked through every object that the host holds: no PAN, no nine digits of one, as text or bytes."""
    caller = Caller(StripeHost(1))
    caller.confirm(caller.intent(), pan)
    held = repr(_held(caller.host))
    assert "payment_method" in held
    assert [] == [start for start in range(len(pan) - 8) if pan[start : start + 9] in held]


def test_the_same_card_has_the_same_fingerprint_in_one_account_only() -> None:
    """Stripe's fingerprint is per account, and no hash that others could compute."""
    found = {
        (seed, number): Caller(StripeHost(seed)).post("payment_methods", _card(GOOD))["card"]["fingerprint"]
        for seed in (1, 2)
        for number in (1, 2)
    }
    assert found[1, 1] == found[1, 2] != found[2, 1]


def test_a_card_without_a_customer_is_used_up_by_its_charge(caller: Caller) -> None:
    """A second charge needs a customer; a declined card may be tried again."""
    method = caller.card()
    confirm = {"payment_method": method}
    assert "succeeded" == caller.post(f"payment_intents/{caller.intent()}/confirm", confirm)["status"]
    caller.post(f"payment_intents/{caller.intent()}/confirm", confirm)
    assert 400 == caller.status


def test_a_kept_card_is_charged_without_its_holder(caller: Caller) -> None:
    """setup_future_usage keeps it for the customer; off_session uses it; detached it is gone for good."""
    customer = caller.post("customers", {"name": "A. Caller"})["id"]
    method = caller.confirm(caller.intent(customer=customer, setup_future_usage="off_session"))[
        "payment_method"
    ]
    assert [method] == [one["id"] for one in caller.get(f"customers/{customer}/payment_methods")["data"]]
    for expected in (200, 400):
        intent = caller.intent(customer=customer)
        caller.post(f"payment_intents/{intent}/confirm", {"payment_method": method, "off_session": True})
        assert expected == caller.status
        if expected == 200:
            caller.post(f"payment_methods/{method}/detach")


def test_another_customers_card_is_refused(caller: Caller) -> None:
    """A kept card belongs to one customer."""
    one, other = (caller.post("customers", {"name": name})["id"] for name in "ab")
    method = caller.post(f"payment_methods/{caller.card()}/attach", {"customer": one})["id"]
    intent = caller.intent(customer=other)
    caller.post(f"payment_intents/{intent}/confirm", {"payment_method": method})
    assert 400 == caller.status


def test_a_deleted_customer_takes_the_cards_along(caller: Caller) -> None:
    """Deleted stays deleted, and can be read as such."""
    customer = caller.post("customers", {"name": "A"})["id"]
    caller.post(f"payment_methods/{caller.card()}/attach", {"customer": customer})
    assert caller.send("DELETE", f"/v1/customers/{customer}")["deleted"] is True
    assert caller.get(f"customers/{customer}")["deleted"] is True
    assert {None} == {one["customer"] for one in caller.host.books.every("payment_method")}
    caller.post("payment_intents", {"amount": 5, "currency": "eur", "customer": customer})
    assert 400 == caller.status


# --- holds, captures, refunds ------------------------------------------------------------------------------


def test_a_hold_is_captured_in_part_and_the_rest_is_free(caller: Caller) -> None:
    """One capture; a second or a greater one is refused."""
    intent = caller.intent(2000, capture_method="manual")
    assert ("requires_capture", 2000) == _of(caller.confirm(intent), "status", "amount_capturable")
    too_much = caller.post(f"payment_intents/{intent}/capture", {"amount_to_capture": 2001})
    assert "amount_too_large" == code(too_much)
    done = caller.post(f"payment_intents/{intent}/capture", {"amount_to_capture": 1500})
    assert ("succeeded", 1500, 0) == _of(done, "status", "amount_received", "amount_capturable")
    caller.post(f"payment_intents/{intent}/capture")
    assert 400 == caller.status
    assert [1500] == [one["amount"] for one in caller.get("balance_transactions")["data"]]


@pytest.mark.parametrize(("off_line", "holds_s"), [(False, HOLD_S), (True, HOLD_OFF_LINE_S)])
def test_a_hold_lapses_when_the_charge_says_so(caller: Caller, off_line: bool, holds_s: int) -> None:
    """`capture_before` is on the charge; a second later Stripe has canceled the intent."""
    customer = caller.post("customers", {"name": "A"})["id"]
    intent = caller.intent(capture_method="manual", customer=customer)
    found = caller.confirm(intent, off_session=off_line, expand=["latest_charge"])
    before = found["latest_charge"]["payment_method_details"]["card"]["capture_before"]
    assert int(NOW + holds_s) == before
    caller.now = before - 1
    assert "requires_capture" == caller.get(f"payment_intents/{intent}")["status"]
    caller.now = before
    ended = caller.get(f"payment_intents/{intent}")
    assert ("canceled", "automatic") == _of(ended, "status", "cancellation_reason")


def test_what_is_canceled_can_neither_be_captured_nor_confirmed(caller: Caller) -> None:
    """A canceled hold gives the money back; a succeeded intent cannot be canceled."""
    intent = caller.intent(capture_method="manual")
    caller.confirm(intent)
    assert "canceled" == caller.post(f"payment_intents/{intent}/cancel")["status"]
    for step in ("capture", "confirm", "cancel"):
        error = caller.post(f"payment_intents/{intent}/{step}")
        assert "payment_intent_unexpected_state" == code(error)
        assert "canceled" == error["error"]["payment_intent"]["status"]
    caller.post(f"payment_intents/{caller.paid()}/cancel")
    assert 400 == caller.status


def test_metadata_may_change_in_any_state_but_the_amount_may_not(caller: Caller) -> None:
    """An empty value takes its key away."""
    intent = caller.paid(metadata={"a": "1", "b": "2"})
    assert {"b": "2"} == caller.post(f"payment_intents/{intent}", {"metadata": {"a": ""}})["metadata"]
    caller.post(f"payment_intents/{intent}", {"amount": 1})
    assert 400 == caller.status


@given(st.lists(st.integers(1, 1200), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_refunds_never_exceed_what_was_captured(amounts: list[int]) -> None:
    """Any sequence: the accepted ones sum to at most the captured amount, and the ledger agrees."""
    caller = Caller(StripeHost(1))
    intent = caller.paid(1995)
    left = 1995
    for amount in amounts:
        caller.post("refunds", {"payment_intent": intent, "amount": amount})
        assert (200 if amount <= left else 400) == caller.status
        left -= amount if amount <= left else 0
    booked = [one["amount"] for one in caller.get("balance_transactions", {"limit": 100})["data"]]
    assert left == sum(booked)


def test_a_refund_of_everything_twice_is_refused(caller: Caller) -> None:
    """The whole once, then charge_already_refunded; nothing of an unpaid intent."""
    intent = caller.paid()
    assert 1995 == caller.post("refunds", {"payment_intent": intent, "reason": "duplicate"})["amount"]
    assert "charge_already_refunded" == code(caller.post("refunds", {"payment_intent": intent}))
    caller.post("refunds", {"payment_intent": caller.intent()})
    assert 400 == caller.status


# --- the ledger --------------------------------------------------------------------------------------------


def test_a_week_of_payments_pays_out_what_its_entries_add_up_to(caller: Caller) -> None:
    """Charges, partial refund, dispute won and lost, two payouts: each payout is the sum of its entries."""
    first, second, third = (caller.paid(amount) for amount in (1995, 5000, 700))
    caller.post("refunds", {"payment_intent": first, "amount": 495})
    charges = [one["id"] for one in caller.host.successful_charges()]
    won, lost = (caller.host.refunds.dispute(one, caller.now)["id"] for one in charges[1:])
    assert "charge_disputed" == code(caller.post("refunds", {"payment_intent": third}))
    caller.host.refunds.win(won, caller.now)
    caller.host.refunds.lose(lost, caller.now)
    assert caller.host.ledger.pay_out("eur", caller.now) is None
    payouts = []
    for _ in range(2):
        caller.now += 3 * DAY_S
        payouts.append(caller.host.ledger.pay_out("eur", caller.now))
        caller.paid(3300)
    assert None not in payouts[:1]
    for payout in filter(None, payouts):
        entries = caller.get("balance_transactions", {"payout": payout["id"], "limit": 100})["data"]
        assert 0 == sum(one["net"] for one in entries)
        assert {"available"} == {one["status"] for one in entries}
        assert payout["amount"] == -next(one["net"] for one in entries if one["type"] == "payout")
    assert second != third


@pytest.mark.parametrize(("currency", "fee"), [("eur", 55), ("jpy", 30), ("bhd", 280)])
def test_fees_follow_the_minor_digits_of_the_currency(caller: Caller, currency: str, fee: int) -> None:
    """1.5 % of 2,000 minor units, and a quarter of the main unit where it has minor digits."""
    caller.paid(2000, currency=currency)
    entry = caller.get("balance_transactions")["data"][0]
    assert (2000, fee, 2000 - fee) == _of(entry, "amount", "fee", "net")


def test_the_default_capture_method_books_a_moment_later(caller: Caller) -> None:
    """`automatic_async`: null in the answer, there with the next request."""
    intent = caller.intent(capture_method="automatic_async")
    found = caller.confirm(intent, expand=["latest_charge"])
    assert ("succeeded", None) == (found["status"], found["latest_charge"]["balance_transaction"])
    later = caller.get(f"payment_intents/{intent}", {"expand": ["latest_charge.balance_transaction"]})
    assert 1995 == later["latest_charge"]["balance_transaction"]["amount"]


def test_the_balance_is_pending_until_the_days_are_over(caller: Caller) -> None:
    """Net of fees, by status."""
    caller.paid(2000)
    assert [{"amount": 1945, "currency": "eur"}] == caller.get("balance")["pending"]
    caller.now += 3 * DAY_S
    assert [{"amount": 1945, "currency": "eur"}] == caller.get("balance")["available"]


# --- reading -----------------------------------------------------------------------------------------------


def test_pages_show_every_object_once_newest_first(caller: Caller) -> None:
    """Forwards and backwards."""
    made = [caller.intent() for _ in range(7)]
    seen: list[str] = []
    page = caller.get("payment_intents", {"limit": 3})
    while True:
        seen += [one["id"] for one in page["data"]]
        if not page["has_more"]:
            break
        page = caller.get("payment_intents", {"limit": 3, "starting_after": seen[-1]})
    assert made[::-1] == seen
    back = caller.get("payment_intents", {"limit": 3, "ending_before": made[2]})
    assert ([made[5], made[4], made[3]], True) == ([one["id"] for one in back["data"]], back["has_more"])


def test_search_finds_by_metadata_only_after_the_lag(caller: Caller) -> None:
    """Search is no way to learn what became of a request a moment ago."""
    intent = caller.intent(metadata={"payment_id": "pay_x"})
    query = {"query": "metadata['payment_id']:'pay_x' AND status:'requires_payment_method'"}
    assert [] == caller.get("payment_intents/search", query)["data"]
    caller.now += 60
    assert [intent] == [one["id"] for one in caller.get("payment_intents/search", query)["data"]]


def test_created_bounds_are_kept(caller: Caller) -> None:
    """Both `gte` and `lt`, as a feed asks for them."""
    caller.paid()
    for created, count in (({"gte": int(NOW)}, 1), ({"lt": int(NOW)}, 0), ({"gt": int(NOW)}, 0)):
        assert count == len(caller.get("balance_transactions", {"created": created})["data"])


def test_objects_have_what_the_sdk_says_they_always_have(caller: Caller) -> None:
    """A superset of the members that the SDK's own types call always present."""
    caller.post("customers", {"name": "A"})
    intent = caller.paid()
    caller.post("refunds", {"payment_intent": intent, "amount": 1})
    caller.host.refunds.dispute(caller.host.successful_charges()[0]["id"], NOW)
    caller.paid(50_000)
    caller.host.ledger.pay_out("eur", NOW + 9 * DAY_S)
    caller.post("setup_intents")
    caller.post("checkout/sessions", _page())
    for kind in stripe_contract.KINDS:
        things = caller.host.books.every(kind)
        assert things, kind
        assert set() == stripe_contract.members(kind) - set(things[0]), kind


# --- account check, pages ----------------------------------------------------------------------------------


def test_a_setup_intent_checks_a_card_without_moving_money(caller: Caller) -> None:
    """Good, declined and asking cards; nothing in the balance."""
    for pan, expected in ((GOOD, "succeeded"), ("4000000000000002", 402), (AUTHENTICATED, "requires_action")):
        found = caller.post("setup_intents", {"confirm": True, "payment_method": caller.card(pan)})
        assert expected == (found["status"] if caller.status == 200 else caller.status)
    assert [] == caller.get("balance_transactions")["data"]
    pending = caller.get("setup_intents")["data"][0]["id"]
    assert "canceled" == caller.post(f"setup_intents/{pending}/cancel")["status"]


def test_a_page_is_paid_by_the_card_that_passes(caller: Caller) -> None:
    """A decline leaves it open; the same intent takes the next card; paid it is closed."""
    page = caller.post("checkout/sessions", _page(payment_intent_data={"metadata": {"payment_id": "p"}}))
    assert ("open", "unpaid", None, 2500) == _of(
        page, "status", "payment_status", "payment_intent", "amount_total"
    )
    with pytest.raises(Failure):
        caller.host.checkout.pay(page["id"], "4000000000000002", NOW)
    caller.host.checkout.pay(page["id"], AUTHENTICATED, NOW, authenticates=False)
    paid = caller.host.checkout.pay(page["id"], AUTHENTICATED, NOW)
    assert ("complete", "paid", None) == _of(paid, "status", "payment_status", "url")
    assert {"payment_id": "p"} == caller.get(f"payment_intents/{paid['payment_intent']}")["metadata"]
    assert 1 == len(caller.host.successful_charges())
    with pytest.raises(Failure):
        caller.host.checkout.pay(page["id"], GOOD, NOW)


def test_a_page_ends_by_request_or_by_itself(caller: Caller) -> None:
    """Expired pages take no card, and expire once."""
    one = caller.post("checkout/sessions", _page(expires_at=int(NOW) + 1800))["id"]
    other = caller.post("checkout/sessions", _page())["id"]
    assert "expired" == caller.post(f"checkout/sessions/{other}/expire")["status"]
    caller.post(f"checkout/sessions/{other}/expire")
    assert 400 == caller.status
    caller.now += 1801
    assert "expired" == caller.get(f"checkout/sessions/{one}")["status"]
    caller.post("checkout/sessions", _page(expires_at=int(NOW) + 60))
    assert 400 == caller.status


# --- the whole ---------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from(["confirm", "capture", "cancel", "refund"]), st.integers(0, 3)), max_size=12
    )
)
@settings(max_examples=60, deadline=None)
def test_no_sequence_of_steps_charges_an_intent_twice(steps: list[tuple[str, int]]) -> None:
    """Whatever is asked, with new or old keys: one charge at most, and the same bytes for the same seed."""
    ends = []
    for _ in range(2):
        caller = Caller(StripeHost(7))
        intent, method = caller.intent(capture_method="manual"), caller.card()
        for step, number in steps:
            if step == "refund":
                caller.post("refunds", {"payment_intent": intent, "amount": 900}, f"{step}{number}")
            else:
                params = {"payment_method": method} if step == "confirm" else {}
                caller.post(f"payment_intents/{intent}/{step}", params, f"{step}{number}")
        assert len(caller.host.successful_charges()) <= 1
        ends.append(
            json.dumps([caller.get(f"payment_intents/{intent}"), caller.get("events", {"limit": 100})])
        )
    assert ends[0] == ends[1]


def _of(thing: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(thing[name] for name in names)


def _card(pan: str) -> dict[str, Any]:
    return {"type": "card", "card": {"number": pan, "exp_month": 12, "exp_year": 2030, "cvc": "123"}}


def _page(**params: Any) -> dict[str, Any]:
    price = {"currency": "eur", "unit_amount": 2500, "product_data": {"name": "Order"}}
    lines = [{"price_data": price, "quantity": 1}]
    return {"mode": "payment", "line_items": lines, "success_url": "https://shop.test/done"} | params


def _held(thing: Any, seen: set[int] | None = None) -> list[str]:
    """Everything reachable from an object, as text."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return []
    seen.add(id(thing))
    if isinstance(thing, str | bytes | int | float):
        return [repr(thing)]
    if isinstance(thing, dict):
        return [text for pair in thing.items() for one in pair for text in _held(one, seen)]
    if isinstance(thing, list | tuple | set | frozenset):
        return [text for one in thing for text in _held(one, seen)]
    inside = list(getattr(thing, "__dict__", {}).values())
    inside += [getattr(thing, name) for name in getattr(type(thing), "__slots__", ()) if hasattr(thing, name)]
    return [text for one in inside for text in _held(one, seen)]
