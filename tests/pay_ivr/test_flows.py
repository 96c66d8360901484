"""The flows, without telephony: what is said, what is done, and that nothing is charged without key 1."""

import asyncio

import pytest

from pay_ivr.call import EndReason
from pay_ivr.codes import PreparedPayment
from pay_ivr.facts import CallError
from pay_ivr.flow import Flows, Keyed, flow_names, load_flow
from pay_ivr.flows import agent_assisted, unattended_payment
from tests.support.line import TOO_OFTEN, ScriptedLine, a_decline, a_payment
from vault import PaymentState, Why

PREPARED = PreparedPayment("12345678", "demo", 1995, "EUR", "R-1", "invoice")


def test_flows_are_found_by_their_file_names() -> None:
    """A flow is added by adding its file."""
    assert ("agent_assisted", "loyalty.portal", "unattended_payment") == flow_names()
    assert load_flow("agent_assisted") is agent_assisted.run
    with pytest.raises(CallError, match=r"agent_assisted, loyalty\.portal, unattended_payment"):
        load_flow("os.path")


async def test_a_flow_of_another_package_gets_its_service() -> None:
    """`run(line, loyalty)`; without the service the flow is refused, and those that would run are named."""
    line, seen = ScriptedLine(), []

    class Service:
        def programme(self, tenant: str) -> None:
            seen.append(tenant)
            raise CallError("no_programme", "None.")

    with pytest.raises(CallError, match=r"flows are: agent_assisted, unattended_payment$"):
        Flows().load("loyalty.portal")
    with pytest.raises(CallError, match="None"):
        await Flows({"loyalty": Service()}).load("loyalty.portal")(line)  # type: ignore[arg-type]
    assert ["demo"] == seen


async def test_without_an_agent_the_assisted_flow_is_over() -> None:
    """The line has refused the caller already."""
    line = ScriptedLine(agent=False)

    await agent_assisted.run(line)

    assert (["connect_agent"], None) == (line.did, line.ended)


@pytest.mark.parametrize("payment", [None, a_payment(PaymentState.CREATED)])
async def test_an_agent_who_goes_with_nothing_open_ends_the_call(payment: object) -> None:
    """A payment that was only written down is nothing the caller knows of."""
    line = ScriptedLine()
    running = asyncio.ensure_future(agent_assisted.run(line))
    await asyncio.sleep(0)

    line.lose_agent(payment)  # type: ignore[arg-type]
    await running

    assert (EndReason.AGENT_HUNG_UP, []) == (line.ended, line.said)


async def test_a_lost_agent_is_replaced_by_the_key_one() -> None:
    """The caller finishes keying, confirms, is charged once, and hears the end."""
    line = ScriptedLine()
    line.step(Why.KEY, PaymentState.CAPTURING)
    line.step(Why.READY, PaymentState.READY)
    line.step(Why.CONFIRMED, PaymentState.READY)
    line.step(Why.CHARGING, PaymentState.AUTHORISING)
    line.step(Why.AUTHORISED, PaymentState.AUTHORISED)
    line.lose_agent(a_payment(PaymentState.CAPTURING))

    await agent_assisted.run(line)

    assert ["connect_agent", "ask_confirm", "charge"] == line.did
    assert (["goodbye"], EndReason.FLOW_FINISHED) == (line.said, line.ended)


async def test_a_payment_that_was_ready_is_confirmed_before_it_is_charged() -> None:
    """The agent went between `ready` and `charge`: consent has to come from the caller."""
    line = ScriptedLine()
    line.step(Why.CANCELLED, PaymentState.CANCELLED)
    line.lose_agent(a_payment(PaymentState.READY))

    await agent_assisted.run(line)

    assert ["connect_agent", "ask_confirm"] == line.did


async def test_the_unattended_flow_takes_a_code_and_a_payment() -> None:
    """Welcome, code, amount and reference, capture, key 1, result."""
    line = ScriptedLine()
    line.keyed.append(Keyed("12345678", "complete"))
    line.codes["12345678"] = PREPARED
    line.step(Why.READY, PaymentState.READY)
    line.step(Why.CONFIRMED, PaymentState.READY)
    line.step(Why.AUTHORISED, PaymentState.AUTHORISED)

    await unattended_payment.run(line)

    assert ["answer", "pay 1995 EUR", "ask_confirm", "charge"] == line.did
    assert ["unattended_welcome", "ask_code", "code_confirm", "goodbye"] == line.said


async def test_a_decline_is_retried_while_attempts_are_left() -> None:
    """Another card, another attempt; then the end is said."""
    line = ScriptedLine()
    line.keyed.append(Keyed("12345678", "complete"))
    line.codes["12345678"] = PREPARED
    line.step(Why.DECLINED, PaymentState.DECLINED, decline=a_decline(), attempt=1, attempts_left=2)
    line.step(Why.DECLINED, PaymentState.DECLINED, decline=a_decline(), attempt=3, attempts_left=0)

    await unattended_payment.run(line)

    assert ["answer", "pay 1995 EUR", "capture"] == line.did
    assert ["code_confirm", "not_charged_goodbye"] == line.said[-2:]


async def test_a_decline_that_forbids_a_retry_ends_the_payment() -> None:
    """No second try of a card that must not be tried again."""
    line = ScriptedLine()
    line.keyed.append(Keyed("12345678", "complete"))
    line.codes["12345678"] = PREPARED
    line.step(Why.DECLINED, PaymentState.DECLINED, decline=a_decline(retry=False), attempts_left=2)

    await unattended_payment.run(line)

    assert "capture" not in line.did


@pytest.mark.parametrize(
    ("keyed", "goodbye"),
    [
        ([], "no_input_goodbye"),
        ([Keyed("1", "complete")] * 3, "too_many_attempts_goodbye"),
        ([Keyed("99999999", "complete")], "too_many_attempts_goodbye"),
    ],
)
async def test_no_code_means_a_goodbye_with_a_reason(keyed: list[Keyed], goodbye: str) -> None:
    """Silence, wrong codes and guessing each have their end."""
    line = ScriptedLine()
    line.keyed.extend(keyed)
    line.codes["99999999"] = TOO_OFTEN

    await unattended_payment.run(line)

    assert (goodbye, EndReason.FLOW_FINISHED) == (line.said[-1], line.ended)


async def test_a_refused_capture_charges_nothing_and_says_so() -> None:
    """The vault's refusal is told, not swallowed."""
    line = ScriptedLine()
    line.refuse_capture = True
    line.keyed.append(Keyed("12345678", "complete"))
    line.codes["12345678"] = PREPARED

    await unattended_payment.run(line)

    assert ["code_confirm", "not_charged_goodbye"] == line.said[-2:]


async def test_an_agent_lost_after_a_decline_leaves_a_retry_to_the_caller() -> None:
    """The decline was told while the agent was there; nobody tells it again: the flow goes on from it."""
    line = ScriptedLine()
    line.step(Why.CANCELLED, PaymentState.CANCELLED)
    line.lose_agent(a_payment(PaymentState.DECLINED, decline=a_decline(), attempt=1, attempts_left=2))

    await agent_assisted.run(line)

    assert ["connect_agent", "capture"] == line.did


async def test_an_agent_lost_after_a_last_decline_ends_the_call() -> None:
    """No attempt is left: the caller hears that nothing was charged."""
    line = ScriptedLine()
    line.lose_agent(a_payment(PaymentState.DECLINED, decline=a_decline(), attempt=3, attempts_left=0))

    await agent_assisted.run(line)

    assert (["not_charged_goodbye"], EndReason.FLOW_FINISHED) == (line.said, line.ended)


async def test_a_retry_that_is_refused_is_not_passed_over_in_silence() -> None:
    """The caller hears that nothing was charged, and one farewell."""
    line = ScriptedLine()
    line.refuse_capture = True
    line.lose_agent(a_payment(PaymentState.DECLINED, decline=a_decline(), attempt=1, attempts_left=2))

    await agent_assisted.run(line)

    assert ["not_charged_goodbye"] == line.said
