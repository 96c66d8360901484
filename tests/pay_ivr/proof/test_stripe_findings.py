"""What fails a proof on the way to Stripe: scenarios that did not happen, a line that was not heard."""

from dataclasses import replace

from pay_ivr.proof.plan import DEFAULT_RUNS
from pay_ivr.proof.scan import Hit
from pay_ivr.proof.stripe_findings import TO_PROVIDER, StripeFindings, Told
from pay_ivr.proof.stripe_plan import Scenario, When, stripe_rounds
from pay_ivr.proof.stripe_provider import BrokerTraffic


def clean() -> StripeFindings:
    """Every scenario came through."""
    planned = tuple(run for one in stripe_rounds(DEFAULT_RUNS, 40) for run in one.runs)
    told = [Told(run, (When.FIELD,), came_through=True, state="settled", breaches=0) for run in planned]
    return StripeFindings(planned, told, BrokerTraffic((b"GET /v1/charges",), 9, 12, 0), 4711)


def test_scenarios_that_happened_are_no_problem() -> None:
    """The counterpart of what follows."""
    assert [] == clean().problems()


def test_a_scenario_that_nobody_went_through_is_one() -> None:
    """One of two calls is enough; a call in which memory was never searched is none."""
    findings = clean()
    findings.told = [
        replace(one, came_through=one.run.scenario is not Scenario.DECLINED) for one in findings.told
    ]
    assert ["Stripe, declined, then another card: no call went so"] == findings.problems()
    findings = clean()
    findings.told = [replace(one, searched=()) for one in findings.told]
    assert len(Scenario) == len(findings.problems())


def test_a_line_that_was_not_heard_whole_is_one() -> None:
    """No request, or one that was not kept: then nothing is known of what the broker sends."""
    findings = clean()
    findings.traffic = BrokerTraffic((), 0, 12, 0)
    assert ["Stripe: nothing came from the broker, or nothing from a cell"] == findings.problems()
    findings.traffic = replace(clean().traffic, dropped=2)
    assert ["Stripe: 2 requests of the broker could not be searched"] == findings.problems()


def test_card_data_is_counted_at_its_scenario() -> None:
    """By the number of either card of its calls; and once more for the line that it came over."""
    findings = clean()
    declined = next(run for run in findings.planned if run.scenario is Scenario.DECLINED)
    report = findings.report([Hit(TO_PROVIDER, "ascii", declined.number + 1, 0, 16, decoy=False)])
    assert 1 == report["scenarios"][Scenario.DECLINED.value]["places_with_card_data"]
    assert 0 == report["scenarios"][Scenario.APPROVED.value]["places_with_card_data"]
    assert 1 == report["broker_to_provider"]["places_with_card_data"]
