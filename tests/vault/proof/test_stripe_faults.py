"""Faults come from the seed, happen at the point they name, and leave the truth at the host."""

import json
import re
from pathlib import Path

import pytest

from tests.support.stripe_caller import NOW, Caller
from vault.proof.stripe_faults import CARRIAGE, EARLY, UNREAD, Carriage, Fault, Faults
from vault.proof.stripe_host import Answer, StripeHost

PAGE = Path(__file__).parents[3] / "docs" / "stripe-simulator.md"
PARAMS = {"amount": 5, "currency": "eur"}
STORED = {Fault.FALSE_500: 500, Fault.EMPTY_500: 500}


def made_with(fault: Fault) -> tuple[Caller, Answer, Answer]:
    """A host, its answer to a first request that meets the fault, and the answer to the same one again."""
    caller = Caller(StripeHost(1))
    caller.host.faults.order(fault, path_end="/payment_intents")
    request = caller.request("POST", "/v1/payment_intents", PARAMS, "k")
    return caller, caller.host.exchange(request, NOW), caller.host.exchange(request, NOW)


@pytest.mark.parametrize("fault", Fault)
def test_the_same_key_again_tells_the_truth_or_executes(fault: Fault) -> None:
    """After any fault the second try with the key gives the one intent, or the stored 500."""
    caller, first, second = made_with(fault)
    assert CARRIAGE.get(fault, Carriage.DELIVER) == first.carriage
    assert STORED.get(fault, 200) == second.reply.status
    assert (0 if fault is Fault.EMPTY_500 else 1) == len(caller.host.books.every("payment_intent"))
    replayed = "idempotent-replayed" in second.reply.headers
    assert (fault not in UNREAD | EARLY) == replayed


def test_the_page_tells_of_every_fault_and_every_route() -> None:
    """Fault by fault what was executed, and each route under its permission."""
    page = PAGE.read_text("utf-8")
    told = re.findall(r"^\| `([a-z_0-9]+)` \| (yes|no) \|", page, re.MULTILINE)
    executed = [
        (fault.value, "no" if fault in UNREAD | EARLY | {Fault.EMPTY_500} else "yes") for fault in Fault
    ]
    assert executed == told
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (`[A-Z]+ .*) \|$", page, re.MULTILINE))
    for route in StripeHost(1).routes:
        name = f"`{route.method} {route.path.removeprefix('/v1/')}`"
        assert name in rows[route.permission].split(", ")


def test_a_false_500_says_that_a_retry_is_pointless() -> None:
    """The SDK gives up at once, the charge may have happened."""
    _, first, second = made_with(Fault.FALSE_500)
    assert ("false", "false") == tuple(one.reply.headers["stripe-should-retry"] for one in (first, second))


def test_a_garbled_answer_is_no_json_and_the_stored_one_is_whole() -> None:
    """Only the way was broken."""
    _, first, second = made_with(Fault.GARBAGE_200)
    with pytest.raises(ValueError, match=r"."):
        json.loads(first.reply.body)
    assert "payment_intent" == json.loads(second.reply.body)["object"]


def test_draws_repeat_with_the_seed_and_keep_their_shares() -> None:
    """Each request's draw depends on seed and number alone."""
    shares = {Fault.ANSWER_LOST: 0.2, Fault.RATE_429: 0.1}
    runs = []
    for seed in (1, 1, 2):
        faults = Faults(seed, shares)
        runs.append([faults.draw("POST", "/", "") for _ in range(2000)])
    assert runs[0] == runs[1] != runs[2]
    assert 300 < runs[0].count(Fault.ANSWER_LOST) < 500
    assert 120 < runs[0].count(Fault.RATE_429) < 280


def test_an_ordered_fault_waits_for_its_request_and_happens_once() -> None:
    """By method, end of the path and end of the key."""
    faults = Faults(1)
    faults.order(Fault.BODY_CUT, method="POST", path_end="/confirm", key_end=":1")
    draws = [
        faults.draw("POST", "/v1/payment_intents", "p:1"),
        faults.draw("POST", "/v1/payment_intents/x/confirm", "p:2"),
        faults.draw("POST", "/v1/payment_intents/x/confirm", "p:1"),
        faults.draw("POST", "/v1/payment_intents/x/confirm", "p:1"),
    ]
    assert [None, None, Fault.BODY_CUT, None] == draws
    assert [Fault.BODY_CUT] == faults.drawn
