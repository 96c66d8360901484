"""`python -m vault.media --run-dir R`: one media process; ends with its parent, or on SIGTERM."""

import os

# Before numpy is imported: one thread, no pool that would compete with the packets.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import signal
import socket
from pathlib import Path

from vault.hatch import inherited
from vault.media.process import LEGS_MAX, MediaSettings, run
from vault.media.upkeep import ORPHAN_MS
from vault.posture import die_with_parent, make_private


def main() -> None:
    """Read the command line and carry media until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m vault.media", description="The media process of pay-ivr."
    )
    parser.add_argument("--run-dir", type=Path, required=True, help="directory of the control sockets")
    parser.add_argument("--bind-ip", default="127.0.0.1", help="address of the RTP ports")
    parser.add_argument("--port-first", type=int, default=20_000)
    parser.add_argument("--port-last", type=int, default=29_999)
    parser.add_argument("--legs-max", type=int, default=LEGS_MAX)
    parser.add_argument(
        "--orphan-ms", type=int, default=int(ORPHAN_MS), help="end legs this long after the app"
    )
    parser.add_argument(
        "--no-native", dest="native", action="store_false", help="carry packets in Python alone"
    )
    parser.add_argument("--hatch", type=_hatch, help="descriptor of the broker's hatch; none: no captures")
    parser.add_argument("--info-keys", action="store_true", help="take keys that the app cut from SIP INFO")
    options = parser.parse_args()
    if not 1024 <= options.port_first < options.port_last <= 65_535:
        parser.error("the port range must lie within 1024-65535 and hold at least two ports")
    if not 1 <= options.legs_max <= 10_000:
        parser.error("--legs-max must be between 1 and 10000")
    if not 1_000 <= options.orphan_ms <= 600_000:
        parser.error("--orphan-ms must be between 1000 and 600000")
    die_with_parent(signal.SIGTERM)
    make_private()
    run(MediaSettings(**vars(options)))


def _hatch(number: str) -> socket.socket:
    return inherited(int(number))


if __name__ == "__main__":
    main()
