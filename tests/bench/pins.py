"""Can a stranger be told from a member by the time a wrong PIN takes? `python -m tests.bench.pins`.

In every round, in random order: a wrong PIN of a member, one of an id that belongs to nobody, and a second
wrong one of another member (which shows what noise alone does). All over the door of a real zone, sealed, so
that no hand at a keypad blurs it. Ends with 1 when strangers are slower or quicker in more rounds than chance
explains and by more than `TOLERANCE`; `var/bench/pins.json` keeps all rounds.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from math import comb
from pathlib import Path
from random import Random

from tests.support.pins import PinDesk, pin_desk_at
from tests.support.zone import ZoneProcesses, running_zone
from vault import PinResult

OUT = Path("var/bench/pins.json")
TOLERANCE = 0.02
"""Half a millisecond of thirty: less than two identical calls differ on any network."""
CHANCE = 0.001
ARMS = ("member", "stranger", "other_member")
NO_LIMITS = "\n".join(
    f"{who}_misses_per_{when} = 0"
    for who in ("caller", "withheld", "value", "tenant")
    for when in ("hour", "day")
)


async def rounds_of(desk: PinDesk, count: int, dice: Random) -> list[dict[str, float]]:
    """Seconds of each arm, round by round; nobody misses more than once."""
    found = []
    for place in range(count):
        for arm in ("member", "other_member"):
            await desk.member_with("4711", f"mem_{arm}_{place}")
        took: dict[str, float] = {}
        for arm in dice.sample(ARMS, len(ARMS)):
            begun = time.perf_counter()
            answer = await desk.sealed("8361", member=f"mem_{arm}_{place}")
            took[arm] = time.perf_counter() - begun
            assert answer is PinResult.WRONG
        found.append(took)
    return found


def compared(rounds: list[dict[str, float]], arm: str) -> dict[str, float]:
    """One arm against `member`: median of the ratios, and in how many rounds it was the slower one."""
    ratios = [took[arm] / took["member"] for took in rounds]
    slower = sum(ratio > 1 for ratio in ratios)
    return {
        "ratio": round(statistics.median(ratios), 4),
        "slower": slower,
        "chance": round(_two_sided(slower, len(ratios)), 4),
    }


def _two_sided(slower: int, rounds: int) -> float:
    """How often a fair coin is at least as lopsided."""
    least = min(slower, rounds - slower)
    return min(1.0, 2 * sum(comb(rounds, heads) for heads in range(least + 1)) / 2**rounds)


def measure(zone: ZoneProcesses, count: int) -> dict[str, object]:
    """Everything, with the verdict."""

    async def carried_out() -> list[dict[str, float]]:
        async with pin_desk_at(zone) as desk:
            return await rounds_of(desk, count, Random(1))

    rounds = asyncio.run(carried_out())
    stranger = compared(rounds, "stranger")
    told_apart = stranger["chance"] < CHANCE and abs(stranger["ratio"] - 1) > TOLERANCE
    return {
        "median_ms": {arm: round(statistics.median(one[arm] for one in rounds) * 1000, 2) for arm in ARMS},
        "stranger_vs_member": stranger,
        "member_vs_member": compared(rounds, "other_member"),
        "told_apart": told_apart,
        "rounds": rounds,
    }


def main() -> int:
    """1 when strangers can be told apart."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    with running_zone() as zone:
        path = zone.tenants_dir / "demo.toml"
        path.write_text(path.read_text() + f"[pin]\n{NO_LIMITS}\n")
        zone.kill("broker")
        zone.heal()
        found = measure(zone, options.rounds)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found))
    shown = {name: value for name, value in found.items() if name != "rounds"}
    sys.stdout.write(json.dumps(shown, indent=1) + "\n")
    return 1 if found["told_apart"] else 0


if __name__ == "__main__":
    sys.exit(main())
