"""What a cell costs a Stripe tenant: `python -m tests.bench.stripe_cell [--rounds 40]`, as root.

Compared on one machine in one run, so that ratios mean something: a token made in this process over a new TLS
connection, and one made by a walled-in cell, counted from the last key of the CVV to `ready`.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from tests.support.cell import SpawnerEnds, spawner
from tests.support.stripe_ends import VISA, card_of
from tests.support.stripe_process import Account, stripe_account
from vault.door import Field
from vault.progress import Open, PostureTold, Ready
from vault.providers._stripe_cell import StripeCell


def in_process(account: Account) -> float:
    """Seconds for one token, TLS handshake included."""
    cell, card = StripeCell(account.config()), card_of(VISA)
    cell.take_secret(account.keys["cell"].encode())
    begun = time.perf_counter()
    assert cell.tokenise(card).token
    return time.perf_counter() - begun


def in_cell(house: SpawnerEnds, account: Account) -> tuple[float, float, int]:
    """Seconds from fork to posture, seconds from the last key to ready, private kilobytes then."""
    begun = time.perf_counter()
    cell = house.fork("stripe", config=account.config())
    account.hand_key(cell.report)
    cell.until(PostureTold)
    forked_s = time.perf_counter() - begun
    cell.say(Open(Field.PAN))
    cell.press(VISA + "#" + "1231" + "12")
    time.sleep(0.05)
    begun = time.perf_counter()
    cell.press("3")
    cell.until(Ready, 30.0)
    ready_s = time.perf_counter() - begun
    private_kb = _private_kb(cell.pid)
    cell.hang_up()
    house.cell_end()
    return forked_s, ready_s, private_kb


def _private_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty", "Private_Clean")))


def measure(rounds: int) -> dict[str, float]:
    """Medians, and the ratio that the wall costs."""
    with tempfile.TemporaryDirectory(prefix="payivr-") as folder:
        Path(folder).chmod(0o755)
        with stripe_account(Path(folder)) as account:
            house = ("-m", "vault.spawner", "--provider", "stripe", "--run-dir")
            with spawner(Path(folder), command=house) as ends:
                rss_kb = _private_kb(ends.process.pid)
                cells, here = [], []
                for _ in range(rounds):
                    cells.append(in_cell(ends, account))
                    here.append(in_process(account))
    forked, ready, private = ([one[place] for one in cells] for place in range(3))
    return {
        "fork_to_posture_ms": round(statistics.median(forked) * 1000, 2),
        "key_to_ready_in_cell_ms": round(statistics.median(ready) * 1000, 2),
        "tokenise_in_process_ms": round(statistics.median(here) * 1000, 2),
        "cell_over_in_process": round(statistics.median(ready) / statistics.median(here), 2),
        "cell_private_kb": statistics.median(private),
        "spawner_private_kb": rss_kb,
    }


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    print(json.dumps(measure(parser.parse_args().rounds), indent=2))


if __name__ == "__main__":
    main()
