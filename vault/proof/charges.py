"""`pay-ivr verify charges`: thousands of lives of the payment path, each with other faults and other deaths.

`python -m vault.proof.charges [--seeds N] [--first N] [--seed N] [--json FILE]`. What a life is stands in
`life.py`, what must be true after it in `verdicts.py`, what is covered in docs/charges-proof.md. One JSON
line comes out. A seed that fails is replayed with `--seed`: the same life, told line by line.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vault.proof.life import NAIVE_SALES, Life, Workshop
from vault.proof.verdicts import FINDINGS, SURPRISES

OK, WRONG, CONTROL_SILENT = 0, 1, 3
"""Exit codes; 3: the negative control found nothing, so that the run proves nothing."""
SEEDS = 5_000
LOT = 20
"""Seeds that a process takes at once; of each lot the first one also counts the places where it waits."""
SHOWN = 20
"""Failing seeds that are named."""
TOLD_EVERY_S = 10.0


@dataclass
class Tally:
    """What many lives came to together."""

    seeds: int = 0
    payments: int = 0
    requests: int = 0
    waits: int = 0
    kills: int = 0
    naive_doubles: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    webhooks: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    killed_at: Counter[str] = field(default_factory=Counter)
    waited_at: set[str] = field(default_factory=set)
    failing: list[tuple[int, list[str]]] = field(default_factory=list)

    def add(self, life: Life) -> None:
        """One more life."""
        self.seeds += 1
        self.payments += life.payments
        self.requests += life.requests
        self.waits += life.waits
        self.kills += len(life.killed_at)
        self.naive_doubles += life.naive_doubles
        self.faults += life.faults
        self.webhooks += life.webhooks
        self.orders += life.ends
        self.found += life.findings.counts
        self.killed_at += Counter(life.killed_at)
        self.waited_at |= {*life.sites, *life.killed_at}
        if life.findings.sentences:
            self.failing.append((life.seed, life.findings.sentences))

    def join(self, other: "Tally") -> None:
        """What another process found."""
        for name in ("seeds", "payments", "requests", "waits", "kills", "naive_doubles"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("faults", "webhooks", "orders", "found", "killed_at"):
            getattr(self, name).update(getattr(other, name))
        self.waited_at |= other.waited_at
        self.failing += other.failing

    def as_json(self) -> dict[str, Any]:
        """The one line."""
        return {
            "seeds": self.seeds,
            "payments": self.payments,
            **{kind: self.found[kind] for kind in FINDINGS},
            "failing_seeds": sorted(seed for seed, _ in self.failing)[:SHOWN],
            "negative_control": {
                "sales": self.seeds * NAIVE_SALES,
                "charged_twice": self.naive_doubles,
            },
            "kills": self.kills,
            "places_killed": len(self.killed_at),
            "places": len(self.waited_at),
            "waits": self.waits,
            "requests": self.requests,
            "faults": dict(sorted(self.faults.items())),
            "webhooks": dict(sorted(self.webhooks.items())),
            "orders": dict(sorted(self.orders.items())),
        }

    @property
    def code(self) -> int:
        """The exit code."""
        if self.failing:
            return WRONG
        return OK if self.naive_doubles else CONTROL_SILENT


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the seeds, or one of them, and prints what came out."""
    options = _options(arguments)
    if options.seed is not None:
        return replay(options.seed)
    tally, begun = Tally(), time.monotonic()
    told = begun
    for lot in run(range(options.first, options.first + options.seeds)):
        tally.join(lot)
        for seed, sentences in lot.failing:
            sys.stderr.write(f"seed {seed}: {sentences[0]}\n")
        if time.monotonic() - told > TOLD_EVERY_S:
            told = time.monotonic()
            sys.stderr.write(f"{tally.seeds} of {options.seeds} seeds\n")
    body = {**tally.as_json(), "seconds": round(time.monotonic() - begun, 1), "processes": os.cpu_count()}
    line = json.dumps(body)
    sys.stdout.write(line + "\n")
    if options.json:
        options.json.write_text(line + "\n")
    return tally.code


def run(seeds: range) -> Iterator[Tally]:
    """Lots of seeds as they are done, by as many processes as there are cores."""
    lots = [seeds[start : start + LOT] for start in range(0, len(seeds), LOT)]
    spawn = multiprocessing.get_context("spawn")
    with (
        _folder() as folder,
        ProcessPoolExecutor(os.cpu_count(), spawn, initializer=_begin, initargs=(folder,)) as pool,
    ):
        yield from pool.map(_lot, lots)


def replay(seed: int) -> int:
    """Tells one life line by line; 1 when something is wrong in it."""
    with _folder() as folder:
        life = Workshop(folder).live(seed, _print)
    for sentence in life.findings.sentences:
        sys.stdout.write(sentence + "\n")
    sys.stdout.write(f"seed {seed}: {'wrong' if life.findings.sentences else 'nothing is wrong'}\n")
    return WRONG if life.findings.sentences else OK


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


_shop: list[Workshop] = []
"""This process's own."""


def _begin(folder: Path) -> None:
    own = folder / str(os.getpid())
    own.mkdir()
    _shop.append(Workshop(own))


def _lot(seeds: range) -> Tally:
    tally = Tally()
    for seed in seeds:
        try:
            life = _shop[0].live(seed, sites=seed == seeds[0])
        except Exception as error:  # noqa: BLE001 - the other lives are worth their telling
            life = Life(seed)
            life.findings.add(SURPRISES, f"the life itself ended with {type(error).__name__}: replay it")
        tally.add(life)
    return tally


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for every file of the run, in memory where the machine has such a place."""
    memory = Path("/dev/shm")  # noqa: S108 - nothing in it is secret, and the folder is ours alone
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="payivr-", dir=place) as name:
        yield Path(name)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vault.proof.charges", description="Simulated lives of payments.")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many lives")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this one and tell it line by line")
    parser.add_argument("--json", type=Path, help="write the JSON line here")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
