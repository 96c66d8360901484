"""The leak proof itself, on few calls: a real node, sandbox and Stripe, live memory, all controls."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pay_ivr.proof.plan import TALK_TRANSPORTS
from pay_ivr.proof.stripe_plan import SAMPLE


@pytest.mark.slow
@pytest.mark.root
def test_one_round_of_canary_calls_is_clean(tmp_path: Path) -> None:
    """`pay-ivr verify leak --runs 6`: exit 0, nothing found, every control caught."""
    report_file = tmp_path / "leak.json"
    command = [sys.executable, "-m", "pay_ivr", "verify", "leak", "--runs", "6", "--json", str(report_file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    report = json.loads(report_file.read_text(encoding="utf-8"))
    assert [] == report["findings"]
    assert {"caught"} == set(report["controls"].values())
    scenarios, _stops = SAMPLE
    runs = 6 + len(TALK_TRANSPORTS) + len(scenarios)
    assert ("scanned", runs, 0) == (report["memory"], report["runs"], ended.returncode), ended.stdout
    went = {name: one["came_through"] for name, one in report["stripe"]["scenarios"].items()}
    assert dict.fromkeys(scenarios, 1) == went
    assert report["stripe"]["broker_to_provider"]["requests"] > 0
