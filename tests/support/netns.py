"""A network namespace of its own whose kernel drops UDP datagrams at random; needs root."""

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


async def run_in_bad_network(module: str, loss: float, *arguments: str, timeout_s: float) -> str:
    """What `python -m module arguments` prints in a namespace that loses that share of all UDP.

    Raises RuntimeError with what it said when it fails.
    """
    rule = (
        f"iptables -A INPUT -p udp -m statistic --mode random --probability {loss} -j DROP && "
        if loss
        else ""
    )
    program = f'ip link set lo up && {rule}exec "$0" -m "$@"'
    process = await asyncio.create_subprocess_exec(
        *("unshare", "-n", "sh", "-c", program, sys.executable, module, *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(err.decode()[-2_000:])
    return out.decode()
