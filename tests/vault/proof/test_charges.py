"""Lives of the payment path under simulated faults and kills: a sample here, 5,000 in `make proof`."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from vault import charges as product
from vault.proof import charges
from vault.proof.life import Life, Workshop
from vault.proof.stripe_faults import Fault
from vault.proof.verdicts import FINDINGS, Findings
from vault.providers.base import NEVER_SENT

FIRST, SAMPLE = 3, 6
"""Lives of the sample: the fewest neighbours in which every fault happens."""
LOOKED_THROUGH = 30
"""Lives within which a mistake must show."""
OF_A_STORED_500 = (9, 21)
"""Lives in which Stripe kept a 500 for a day: under a refund's key, under a fence's."""
OF_A_LOST_CANCELLATION = 1
"""The intent of a fenced attempt was cancelled, and the answer lost."""
OF_A_STALE_READING = 1406
"""A webhook moved a payment between its reading for the upkeep and its turn."""


OF_A_READY_PAYMENT = 789
"""A kept card's payment was made, and its maker died before the answer: whoever asks again has to find it."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    shop = Workshop(tmp_path_factory.mktemp("charges"))
    yield shop
    shop.close()


@pytest.mark.parametrize(
    "seed", [*OF_A_STORED_500, OF_A_LOST_CANCELLATION, OF_A_STALE_READING, OF_A_READY_PAYMENT]
)
def test_a_life_that_was_wrong_once_is_right(shop, seed):
    """Each of these seeds has shown a fault of the product."""
    assert [] == shop.live(seed).findings.sentences


def test_a_seed_is_the_same_life_to_the_last_line(shop):
    """Whatever the process did before: the same requests, kills and facts at the same times."""
    told: list[list[str]] = []
    for seed in (3, 4, 3):
        lines: list[str] = []
        shop.live(seed, lines.append)
        told.append(lines)
    assert told[0] == told[2] != told[1]


def test_the_run_counts_everything_and_the_control_is_not_silent(tmp_path):
    """A sample: nothing is wrong, every fault and many deaths have happened, the naive one doubled."""
    file = tmp_path / "charges.json"
    command = [sys.executable, "-m", "vault.proof.charges", "--first", str(FIRST), "--seeds", str(SAMPLE)]
    command += ["--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    body = json.loads(file.read_text())
    assert (charges.OK, body) == (done.returncode, json.loads(done.stdout)), done.stderr
    assert [0] * len(FINDINGS) == [body[kind] for kind in FINDINGS]
    assert body["negative_control"]["charged_twice"] > 0
    assert body["kills"] > SAMPLE / 2
    assert {fault.value for fault in Fault} <= set(body["faults"])
    assert body["webhooks"]["known"] > 0


@pytest.mark.parametrize(
    ("doubles", "wrong", "code"),
    [(1, False, charges.OK), (1, True, charges.WRONG), (0, False, charges.CONTROL_SILENT)],
)
def test_a_silent_control_and_a_finding_are_told_by_the_exit_code(doubles, wrong, code):
    """A simulation in which nothing can go wrong proves nothing."""
    life = Life(1, naive_doubles=doubles)
    if wrong:
        life.findings.add("double_charges", "R-1 is charged 2 times")
    tally = charges.Tally()
    tally.add(life)
    assert code == tally.code


def test_a_life_that_raises_is_a_finding_and_the_others_are_told(monkeypatch, tmp_path):
    """Five thousand lives are not thrown away for one."""

    class Broken(Workshop):
        def live(self, seed, *_, **__):
            if seed == 1:
                raise KeyError(seed)
            return Life(seed, naive_doubles=1)

    broken = Broken(tmp_path)
    monkeypatch.setattr(charges, "_shop", [broken])
    tally = charges._lot(range(3))
    broken.close()
    assert (3, [1], charges.WRONG) == (tally.seeds, [seed for seed, _ in tally.failing], tally.code)


def test_findings_are_counted_by_kind():
    """The one line says how many, the sentences say what."""
    findings = Findings()
    findings.add("unresolved", "pay_a")
    findings.add("unresolved", "pay_b")
    assert (2, ["unresolved: pay_a", "unresolved: pay_b"]) == (
        findings.counts["unresolved"],
        findings.sentences,
    )


def test_a_mistake_of_the_product_is_found(shop, monkeypatch):
    """An attempt under way at a kill taken for one that never ran: what it charged is found unreported."""
    monkeypatch.setattr(product, "UNKNOWN", NEVER_SENT)
    lives = (shop.live(seed) for seed in range(6, LOOKED_THROUGH))
    assert any(life.findings.counts["charged_not_reported"] for life in lives)
