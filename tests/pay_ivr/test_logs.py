"""The log's nets: no locals in tracebacks, no card-like run in a line."""

import json
import subprocess
import sys

import pytest

from pay_ivr.logs import without_cards


@pytest.mark.parametrize(
    "line",
    ["pan 4242424242424242 end", '{"a": "4242 4242 4242 4242"}', "5555-5555-5555-4444", "378282246310005"],
)
def test_a_card_like_run_is_taken_out_of_a_line(line: str) -> None:
    """Plain, spaced and dashed."""
    assert "removed" in without_cards(line)


@pytest.mark.parametrize(
    "line", ["call_abcdefgh 1234567", "4242424242424243", "2026-01-01T00:00:00.000Z", "id 12"]
)
def test_an_ordinary_line_stays_as_it_is(line: str) -> None:
    """Not every number is a card."""
    assert line == without_cards(line)


def test_tracebacks_and_foreign_records_show_no_locals_and_no_card() -> None:
    """Everything goes through one handler: structlog, logging, warnings and exceptions alike."""
    program = """
import logging, warnings
from pay_ivr.logs import log, start_logging
start_logging("DEBUG")
def fails():
    local_with_card = "4242424242424242"
    raise ValueError("broken")
try:
    fails()
except ValueError:
    log.exception("call.flow.failed", call_id="call_a")
    logging.getLogger("foreign").exception("it broke")
logging.getLogger("foreign").warning("number %s", "4242 4242 4242 4242")
warnings.warn("4242424242424242")
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    lines = [json.loads(line) for line in result.stderr.splitlines()]

    assert "4242" not in result.stderr
    assert "local_with_card =" not in result.stderr.replace('local_with_card = \\"', "")
    assert {"call.flow.failed", "it broke"} <= {line["event"] for line in lines}
