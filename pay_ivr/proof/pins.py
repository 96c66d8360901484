"""`pay-ivr verify pins`: the vault's own simulation of attacks on PINs, as a process of its own."""

import subprocess
import sys
from pathlib import Path


def run_pins(*, guesses: int, seed: int, json_file: Path | None) -> int:
    """Its exit code: 0 when every bound holds, 1 when one is broken, 3 when a control stayed silent."""
    command = [sys.executable, "-m", "vault.proof.pins", "--guesses", str(guesses), "--seed", str(seed)]
    if json_file is not None:
        command += ["--json", str(json_file)]
    return subprocess.run(command, check=False).returncode
