"""`pay-ivr verify charges`: the vault's own simulation of its payment path, as a process of its own."""

import subprocess
import sys
from pathlib import Path


def run_charges(*, seeds: int, seed: int | None, json_file: Path | None) -> int:
    """Its exit code: 0 when nothing is wrong, 1 when something is, 3 when the control stayed silent."""
    command = [sys.executable, "-m", "vault.proof.charges", "--seeds", str(seeds)]
    if seed is not None:
        command += ["--seed", str(seed)]
    if json_file is not None:
        command += ["--json", str(json_file)]
    return subprocess.run(command, check=False).returncode
