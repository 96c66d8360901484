"""What fails a proof, and the statistics behind it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pay_ivr.proof.examine import NodeSeen
from pay_ivr.proof.findings import CONTROLS, Findings, poisson_upper
from pay_ivr.proof.listening import Score, exact_interval
from pay_ivr.proof.memory import CellSeen, Looked
from pay_ivr.proof.other_user import Separation
from pay_ivr.proof.plan import DEFAULT_RUNS, TRANSPORTS, Moment, all_runs, make_plan
from pay_ivr.proof.scan import Hit
from pay_ivr.proof.talking import TalkVerdict


def clean() -> Findings:
    """A proof in which everything is as it should be."""
    looked = Looked("media", 100, 10, 0, 1, frozenset())
    return Findings(
        runs=6,
        presses=320,
        seen=[NodeSeen([looked], [CellSeen(1, 1, 1)])],
        controls=dict.fromkeys(CONTROLS, True),
        judged=6,
        completed=5,
        ended_early=1,
        decoys_per_canary=32,
        agent_leg=Score(320, 32),
        own_audio=Score(40, 40),
        separation=Separation(64901, 4, 0, 9, 0),
        talks=[TalkVerdict(Score(6, 1), Score(6, 6), 0, 6, voice_heard=True)] * 4,
    )


def test_clean_proof_is_ok() -> None:
    """The counterpart of all that follows."""
    assert (True, []) == (clean().ok, clean().problems())


def test_a_voice_is_not_asked_for_where_the_machine_stood_still() -> None:
    """It says nothing of the gate; the other pauses do."""
    findings = clean()
    findings.talks[0] = replace(findings.talks[0], voice_heard=False, stood_still=True)
    assert findings.ok


FAULTS: dict[str, Callable[[Findings], object]] = {
    "breach": lambda one: one.breaches.append("call 1: 3 of 9 payloads"),
    "whole PAN": lambda one: one.hits.add(Hit("log", "ascii", 1, 0, 16, decoy=False)),
    "many short fragments": lambda one: one.hits.update(
        Hit("log", "ascii", n, 4, 6, decoy=False) for n in range(3)
    ),
    "attacker": lambda one: setattr(one, "agent_leg", Score(320, 64)),
    "fewer presses than planned": lambda one: setattr(one, "agent_leg", Score(300, 30)),
    "deaf attacker": lambda one: setattr(one, "own_audio", Score(40, 30)),
    "cards not taken": lambda one: setattr(one, "completed", 3),
    "caller never heard": lambda one: setattr(one, "unheard", 1),
    "key decoded in TALK": lambda one: one.talks.__setitem__(0, replace(one.talks[0], decoded=1)),
    "attacker in TALK": lambda one: one.talks.__setitem__(0, replace(one.talks[0], agent_leg=Score(6, 6))),
    "deaf receiver in TALK": lambda one: one.talks.__setitem__(0, replace(one.talks[0], decoded_own=2)),
    "one voice missing in TALK": lambda one: one.talks.__setitem__(
        0, replace(one.talks[0], voice_heard=False)
    ),
    "no voice, and a machine that stood still": lambda one: one.talks.__setitem__(
        slice(4), [replace(one.talks[0], voice_heard=False, stood_still=True)] * 4
    ),
    "a pause is missing": lambda one: one.talks.pop(),
    "memory open to its own user": lambda one: setattr(one, "separation", Separation(1, 4, 1, 9, 0)),
    "sockets open to a stranger": lambda one: setattr(one, "separation", Separation(1, 4, 0, 9, 2)),
    "cell left": lambda one: setattr(one, "cells_left", 1),
    "readable secret page": lambda one: one.seen[0].cells.append(CellSeen(2, 1, 0)),
    "memory closed": lambda one: setattr(one.seen[0], "denied", 1),
    "memory never searched": lambda one: one.seen.clear(),
    "control missed": lambda one: one.controls.update({CONTROLS[0]: False}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_any_fault_fails_the_proof(fault: str) -> None:
    """Each alone."""
    findings = clean()
    FAULTS[fault](findings)
    assert not findings.ok
    assert not findings.report()["ok"]


def test_memory_that_was_not_searched_is_called_so() -> None:
    """Without root the rest still runs, and the proof does not pass."""
    findings = clean()
    findings.seen.clear()
    assert "not_scanned" == findings.report()["memory"]


def test_one_short_fragment_may_be_chance() -> None:
    """One number in three places is one piece; it is reported and does not fail the proof alone."""
    findings = clean()
    findings.hits |= {
        Hit(where, "ascii", 1, 4, 6, decoy=False) for where in ("log", "app.db", "memory of app")
    }
    assert (True, 1, 3) == (findings.ok, findings.suspects, len(findings.report()["chance_suspects"]))


def test_bounds_against_published_values() -> None:
    """Clopper-Pearson for 10 of 100 at 95 % is 4.90 % to 17.62 %; Poisson: P(X <= 1 | 0.04) > 0.999."""
    low, high = exact_interval(100, 10, 0.95)
    assert (0.0490, 0.1762) == (round(low, 4), round(high, 4))
    assert (0, 1, 8) == (poisson_upper(0.0005), poisson_upper(0.04), poisson_upper(2.0))
    assert ((0.0, 1.0), 1.0) == ((exact_interval(9, 0)[0], exact_interval(9, 9)[1]), Score(9, 9).accuracy)


def test_attacker_bound_at_fixed_n() -> None:
    """320 presses: 32 by chance, more than 50 is knowledge (one-sided 99.9 %)."""
    scores = [Score(320, right) for right in (0, 50, 51)]
    assert (50, True, False) == (scores[0].bound, scores[1].by_chance, scores[2].by_chance)


def test_default_plan_covers_every_transport_moment_and_network() -> None:
    """And asks the attacker at least 320 times."""
    runs = list(all_runs(make_plan(DEFAULT_RUNS)))
    assert (set(TRANSPORTS), set(Moment)) == ({one.transport for one in runs}, {one.moment for one in runs})
    assert 4 == len({one.network for one in runs})
    assert sum(one.presses for one in runs) >= 320
    assert any(one.race_ms is not None for one in runs)
