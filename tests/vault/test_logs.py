"""The broker's log: JSON lines, tracebacks without locals, and nothing that looks like a PAN."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import asyncio, logging, threading, warnings, structlog
from vault.logs import set_up
set_up("info", "vault.test")
log = structlog.get_logger("vault.test")
pan = "4242" * 4

def fail():
    kept_in_a_local = pan
    raise RuntimeError("broken")

log.info("payment.fact.told", payment_id="pay_a", number=int(pan), text="4242-4242-4242-4242")
log.debug("payment.fact.hidden", text=pan)
log.info("payment.fact.nested", nested={"list": [int(pan), (1, pan)]}, small=7)
arabic = pan.translate({48 + digit: 0x660 + digit for digit in range(10)})
logging.getLogger("foreign").warning("card %s and %s", pan, arabic)
warnings.warn("warned about " + pan)
try:
    fail()
except RuntimeError:
    log.exception("vault.work.failed")
    logging.getLogger("foreign").exception("foreign")
thread = threading.Thread(target=fail)
thread.start()
thread.join()

async def forgotten():
    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(0)

asyncio.run(forgotten())
fail()
"""


def test_no_route_to_the_log_shows_a_pan_or_a_local():
    """Our lines, foreign ones, warnings, tracebacks, threads, the event loop, the last exception."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, check=False, capture_output=True, text=True, timeout=30
    )
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert len(lines) == 9
    assert {"vault.test"} == {line["component"] for line in lines}
    assert all({"event", "level", "timestamp", "logger"} <= line.keys() for line in lines)
    text = json.dumps(lines, ensure_ascii=False)
    assert "4242" not in text
    assert "٤٢٤٢" not in text
    assert "kept_in_a_local" not in text.replace("kept_in_a_local = pan", "")
    assert text.count("RuntimeError") >= 5
    assert lines[-1]["event"] == "process.error.uncaught"
