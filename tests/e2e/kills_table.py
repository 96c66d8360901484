"""The table in `docs/kill-table.md`: what is expected of each kill, and the run that measures it.

`python -m tests.e2e.kills_table` plays all of it and writes the page; `tests/e2e/test_kills.py` plays it too
and compares. Nothing in the table is written by hand but the expectations below.
"""

import asyncio
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.node import node_facts
from tests.support.kills import AUDIO_LOST, BACK_S, LANGUAGE, NEWS, House, Scene, Seen, Step, Victim

PAGE = Path(__file__).parents[2] / "docs" / "kill-table.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"


@dataclass(frozen=True)
class Expected:
    """One cell: what everybody is told by itself, and what has to be done then."""

    goes_on: tuple[str, ...]
    state: str = ""
    sees: tuple[str, ...] = ()
    hears: tuple[Key, ...] = ()


CARD = ("key pan", "key expiry", "key cvv", "charge")
FRESH = ("new payment", *CARD)
NEW_CALL = ("new call", *FRESH)
SILENCE = (AUDIO_LOST,)
RESTARTED = ("capture_restarted", "field_opened")
AGAIN = (Key.CAPTURE_RESTARTED,)
RESULT = Expected((), "settled", ("authorised",))
PAN_AGAIN = Expected(CARD, "capturing", RESTARTED, AGAIN)
ENDED = Expected(FRESH, "expired", ("expired",), (Key.EXPIRED,))
UNTOUCHED = {
    Step.BRIDGED: Expected(FRESH),
    Step.READY: Expected(("charge",), "ready"),
    Step.AUTHORISING: RESULT,
    Step.RESULT: Expected(FRESH, "settled"),
}
"""Steps at which most kills change nothing."""
WITHOUT_CELL = {
    **UNTOUCHED,
    Step.MID_PAN: PAN_AGAIN,
    Step.BETWEEN: PAN_AGAIN,
    Step.DECLINED: Expected(("retry", *CARD), "declined"),
}


def _lost(state: str = "") -> Expected:
    return Expected(NEW_CALL, state, ("node_failed",), (Key.TECHNICAL_PROBLEM,))


EXPECTED: Mapping[Victim, Mapping[Step, Expected]] = {
    Victim.MEDIA: {
        Step.BRIDGED: Expected(FRESH, sees=SILENCE),
        Step.MID_PAN: Expected(CARD, "capturing", SILENCE + RESTARTED, AGAIN),
        Step.BETWEEN: Expected(CARD[1:], "capturing", SILENCE + RESTARTED, AGAIN),
        Step.READY: Expected(("charge",), "ready", SILENCE),
        Step.AUTHORISING: Expected((), "settled", (*SILENCE, "authorised")),
        Step.RESULT: Expected(FRESH, "settled", SILENCE),
        Step.DECLINED: Expected(("retry", *CARD[2:]), "declined", SILENCE),
    },
    Victim.BROKER: {
        **UNTOUCHED,
        Step.MID_PAN: ENDED,
        Step.BETWEEN: ENDED,
        Step.READY: Expected(("charge",), "ready", ("ready",)),
        Step.AUTHORISING: Expected((), "settled", ("unknown", "authorised"), (Key.UNKNOWN_OUTCOME,)),
        Step.DECLINED: Expected(("retry", *CARD), "declined", ("declined",)),
    },
    Victim.SPAWNER: WITHOUT_CELL,
    Victim.CELL: WITHOUT_CELL,
    Victim.AUDIT: {
        **UNTOUCHED,
        Step.MID_PAN: Expected(CARD, "capturing"),
        Step.BETWEEN: Expected(CARD[1:], "capturing"),
        Step.DECLINED: Expected(("retry", *CARD[2:]), "declined"),
    },
    Victim.APP: {
        Step.BRIDGED: _lost(),
        Step.MID_PAN: _lost("cancelled"),
        Step.BETWEEN: _lost("cancelled"),
        Step.READY: _lost("cancelled"),
        Step.AUTHORISING: _lost("settled"),
        Step.RESULT: _lost("settled"),
        Step.DECLINED: _lost("declined"),
    },
}
SORRY_S = 3.0
"""How long the caller listens before hanging up: half of the prompt, enough to know it by its frames."""
NO_CELL = frozenset({Step.BRIDGED, Step.RESULT})
"""Steps at which no cell lives."""


# --- playing it ---------------------------------------------------------------------------------------------


async def play(house: House, victim: Victim, steps: Iterable[Step]) -> dict[Step, Seen]:
    """Fresh calls at these steps, the kill, and what was seen of each; every call is over afterwards."""
    scenes = await house.stage_all(steps)
    before = node_facts(house.stage.settings)["pid"]
    house.kill(victim, scenes)
    if victim is Victim.APP:
        await house.app_is_back(before)
        found = await asyncio.gather(*(_on_a_new_call(house, scene) for scene in scenes))
    else:
        found = await asyncio.gather(*(_on_the_same_call(house, victim, scene) for scene in scenes))
    await asyncio.gather(*(scene.caller.hang_up() for scene in scenes))
    await asyncio.gather(*(scene.agent.ended.wait() for scene in scenes))
    return {scene.step: seen for scene, seen in zip(scenes, found, strict=True)}


async def _on_the_same_call(house: House, victim: Victim, scene: Scene) -> Seen:
    news = await house.news(scene, EXPECTED[victim][scene.step].sees)
    await house.going_on(scene)
    return await house.seen(scene, news)


async def _on_a_new_call(house: House, scene: Scene) -> Seen:
    """The app is gone and back: its calls are over, its payments are not."""
    snapshot = await house.come_back(scene)
    scene.moved_at = asyncio.get_running_loop().time()
    why = tuple(one["ended_reason"] for one in snapshot["calls"] if one["call_id"] == scene.call_id)
    state = await house.settled_state(scene)
    await asyncio.sleep(SORRY_S)
    statuses = [await house.bye(scene.caller), await house.bye(scene.agent)]
    hears = await house.heard(scene, NEWS)
    lost = await house.seen(scene, Seen(hears, why, state, ()))
    await house.register(scene)
    await house.ring(scene)
    scene.moves[:] = ["new call"] if statuses == [481, 481] else [f"BYE answered {statuses}"]
    await house.going_on(scene)
    return house.joined(lost, await house.seen(scene, lost))


def wrong(victim: Victim, step: Step, seen: Seen) -> list[str]:
    """What of one cell is not as it must be; empty when all is well."""
    expected = EXPECTED[victim][step]
    hears = tuple(key.value for key in expected.hears)
    checks = {
        f"heard {seen.hears}, not {hears}": seen.hears == hears,
        f"told {seen.sees}, not {expected.sees}": seen.sees == expected.sees,
        f"state {seen.state}, not {expected.state}": seen.state == expected.state,
        f"went on with {seen.goes_on}": seen.goes_on == expected.goes_on,
        f"charged {seen.charges}": max(seen.charges) == seen.charges[-1] == 1,
        f"an attempt was executed {seen.executions_max} times": seen.executions_max == 1,
        "vault and books disagree": seen.agrees,
        f"{seen.leaked} caller packets crossed while SECURE": seen.leaked == 0,
        "no caller packet ever crossed: nothing was measured": seen.passed > 0,
        f"back after {seen.back_s} s": seen.back_s < BACK_S,
    }
    return [f"{victim} × {step}: {what}" for what, well in checks.items() if not well]


# --- the page -----------------------------------------------------------------------------------------------


def table(measured: Mapping[tuple[Victim, Step], Seen] | None = None) -> str:
    """The table as Markdown; without measurements the last column is empty."""
    rows = [
        "| killed | step | caller hears | console is told | goes on with | charges | log | back after s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for victim, steps in EXPECTED.items():
        for step in Step:
            seen = (measured or {}).get((victim, step))
            rows.append(_row(victim, step, steps[step], "" if seen is None else f"{seen.back_s:.1f}"))
    return "\n".join(rows) + "\n"


@cache
def words() -> Catalogue:
    """The catalogue, read once: it takes a moment."""
    return Catalogue()


def _row(victim: Victim, step: Step, expected: Expected, back_s: str) -> str:
    if victim is Victim.CELL and step in NO_CELL:
        return f"| {victim} | {step} | – | – | no cell lives then | – | – |  |"
    hears = " ".join(f"“{words().text(LANGUAGE, key)}”" for key in expected.hears) or "nothing of it"
    told = ", ".join(f"`{why}`" for why in expected.sees) or "nothing new"
    sees = f"{told}; payment `{expected.state}`" if expected.state else told
    moves = ", ".join(expected.goes_on) or "nothing to do"
    charges = _charges(step, expected)
    return f"| {victim} | {step} | {hears} | {sees} | {moves} | {charges} | whole | {back_s} |"


def _charges(step: Step, expected: Expected) -> str:
    if "new payment" not in expected.goes_on or step is Step.BRIDGED:
        return "1"
    return f"{int(expected.state == 'settled')}, new payment 1"


def without_seconds(text: str) -> str:
    """The table without what differs from run to run."""
    return re.sub(r"\| [0-9.]* ?\|$", "|  |", text, flags=re.MULTILINE)


def table_of_page() -> str:
    """The table as it stands in the docs."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


async def play_all() -> tuple[dict[tuple[Victim, Step], Seen], list[str]]:
    """Every cell, a node per victim; what was measured, and what was wrong."""
    measured: dict[tuple[Victim, Step], Seen] = {}
    faults: list[str] = []
    for victim in Victim:
        with tempfile.TemporaryDirectory(prefix="payivr-") as folder:
            house = House(Path(folder), Step)
            try:
                await house.open()
                found = await play(house, victim, Step)
                faults += [f"{victim}: {each}" for each in await house.log_is_whole()]
            finally:
                await house.close()
        for step, seen in found.items():
            measured[victim, step] = seen
            faults += wrong(victim, step, seen)
    return measured, faults


def main() -> int:
    """Plays all of it and writes the page when nothing is wrong."""
    measured, faults = asyncio.run(play_all())
    for fault in faults:
        sys.stderr.write(fault + "\n")
    if not faults:
        head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(head + BEGIN + table(measured) + END + rest.partition(END)[2], encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
