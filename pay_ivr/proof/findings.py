"""What a leak proof has found, as numbers, as a table and as JSON."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pay_ivr.proof.canary_call import Exhibit
from pay_ivr.proof.examine import NodeSeen, Verdict, sizes_of
from pay_ivr.proof.listening import CHANCE, CONFIDENCE, INTERVAL, NO_SCORE, Score, exact_interval
from pay_ivr.proof.other_user import Separation
from pay_ivr.proof.plan import TALK_PRESSES, TALK_TRANSPORTS
from pay_ivr.proof.scan import Hit
from pay_ivr.proof.stripe_findings import StripeFindings
from pay_ivr.proof.talking import TalkVerdict, total

POSITIVE_CONTROL = 0.9
"""On the caller's own audio the attacker must be right at least so often."""
COMPLETE_SHARE = 0.9
"""Of the calls must take the card to the end: a proof on calls that fail proves little."""
CLAIM = (
    "From the SECURE confirmation to its end, and at least one second after the card's last key, every"
    " payload on the agent's leg is one of the relay's own noise frames, in the relay's own order; in every"
    " mode the leg is one plain RTP stream of the negotiated codec."
)
TALK_LABEL = "best effort, no speech over the tones"
CONTROLS = (
    "SECURE 3 ms late",
    "events not stripped",
    "PAN in a log line",
    "PAN in broker memory",
    "PAN in a WAL page",
    "PAN as key objects",
    "PAN in a line of Stripe's wire",
    "PAN in what the broker sends",
    "form of a card in broker memory",
)


@dataclass
class Findings:
    """The state of one proof."""

    runs: int
    presses: int
    """Of uniformly drawn digits that the plan makes: the attacker's n."""
    breaches: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    hits: set[Hit] = field(default_factory=set)
    seen: list[NodeSeen] = field(default_factory=list)
    controls: dict[str, bool] = field(default_factory=dict)
    cells_left: int = 0
    decoys_per_canary: int = 1
    seconds: float = 0.0
    file_sizes: dict[str, int] = field(default_factory=dict)
    foreign_bytes: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    ended_early: int = 0
    """Calls whose card was never complete, on purpose."""
    completed: int = 0
    unheard: int = 0
    packets: int = 0
    in_secure: int = 0
    agent_leg: Score = NO_SCORE
    own_audio: Score = NO_SCORE
    separation: Separation | None = None
    """What others on the machine could see of the node; None without root."""
    talks: list[TalkVerdict] = field(default_factory=list)
    """One per call with a pause."""
    stripe: StripeFindings = field(default_factory=StripeFindings)

    # --- what comes in -------------------------------------------------------------------------------

    def judge(self, exhibit: Exhibit, verdict: Verdict) -> None:
        """One call."""
        self.judge_capture(exhibit, verdict)
        self.judged += 1
        self.ended_early += exhibit.run.ends_early
        self.completed += exhibit.last4_shown
        self.packets += verdict.packets
        self.unheard += not verdict.heard_before
        if exhibit.trouble:
            self.troubles.append(f"{_name(exhibit)}: {exhibit.trouble}")

    def judge_capture(self, exhibit: Exhibit, verdict: Verdict) -> None:
        """One capture, of which a call can have several."""
        self.in_secure += verdict.in_secure
        self.agent_leg += verdict.agent_leg
        self.own_audio += verdict.own_audio
        self.breaches += [f"{_name(exhibit)}: {one}" for one in verdict.breaches]

    def foreign(self, exhibits: Iterable[Exhibit], hits: set[Hit]) -> None:
        """The search of what foreign sockets received."""
        for exhibit in exhibits:
            for where, data in exhibit.foreign.items():
                self.foreign_bytes[where] += len(data)
        self.hits |= hits

    def files(self, sizes: Mapping[str, int], hits: set[Hit]) -> None:
        """The search of the node's files."""
        for name, size in sizes.items():
            self.file_sizes[name] = max(size, self.file_sizes.get(name, 0))
        self.hits |= hits

    # --- what comes out ------------------------------------------------------------------------------

    def so_far(self) -> str:
        """One line of progress."""
        return (
            f"{len(self.breaches)} breaches, {len(self.leaks())} places with card data,"
            f" attacker {self.agent_leg.right} of {self.agent_leg.count}, bound {self.agent_leg.bound}"
        )

    def _canary_hits(self) -> set[Hit]:
        return {hit for hit in self._all_hits() if not hit.decoy}

    def _all_hits(self) -> set[Hit]:
        in_memory = (hit for seen in self.seen for process in seen.processes for hit in process.hits)
        return self.hits.union(in_memory)

    @property
    def expected_chance_hits(self) -> float:
        """Short fragments that chance makes of so many canaries, as the decoys show."""
        return (len(_pieces(hit for hit in self._all_hits() if hit.decoy)) + 1) / self.decoys_per_canary

    @property
    def suspects(self) -> int:
        """Short fragments of canaries that were seen."""
        return len(_pieces(self._canary_hits()))

    def leaks(self) -> list[str]:
        """Card data that chance does not explain."""
        return sorted(map(str, self._judged_hits()))

    def _judged_hits(self) -> set[Hit]:
        """All places, without short fragments as long as chance explains their number."""
        hits = self._canary_hits()
        short = {hit for hit in hits if hit.short}
        by_chance = self.suspects <= poisson_upper(self.expected_chance_hits)
        return hits - short if by_chance else hits

    def problems(self) -> list[str]:
        """Everything that lets the proof fail, besides controls and memory."""
        found = [*self.leaks(), *self.breaches]
        if not self.agent_leg.by_chance:
            found.append(
                f"the attacker was right in {self.agent_leg.right} of {self.agent_leg.count} presses"
            )
        if self.agent_leg.count != self.presses:
            found.append(f"{self.agent_leg.count} presses were attacked, {self.presses} were planned")
        if self.own_audio.accuracy < POSITIVE_CONTROL:
            found.append("the attacker cannot hear the caller's own tones")
        if self.completed < COMPLETE_SHARE * (self.judged - self.ended_early):
            found.append(f"only {self.completed} of {self.judged - self.ended_early} cards were taken")
        if self.unheard:
            found.append(f"{self.unheard} callers were not heard by their agents before the capture")
        if self.cells_left:
            found.append(f"{self.cells_left} cells outlived their payments")
        found += self.separation.problems if self.separation else []
        found += self.stripe.problems()
        return found + self._talk_problems() + self._memory_problems()

    def _talk_problems(self) -> list[str]:
        talk = total(self.talks)
        found = [f"{talk.decoded} keys were decoded on agents' legs in TALK"] if talk.decoded else []
        if not talk.agent_leg.by_chance:
            found.append(
                f"the attacker was right in {talk.agent_leg.right} of {talk.agent_leg.count} presses in TALK"
            )
        if len(self.talks) < len(TALK_TRANSPORTS):
            found.append(f"only {len(self.talks)} of {len(TALK_TRANSPORTS)} pauses could be judged")
        planned = len(self.talks) * TALK_PRESSES
        if min(talk.own_audio.right, talk.decoded_own) < POSITIVE_CONTROL * planned:
            found.append("attacker or receiver cannot hear what callers keyed in TALK")
        silent = sum(not one.voice_heard and not one.stood_still for one in self.talks)
        if silent:
            found.append(f"in {silent} of {len(self.talks)} pauses the caller's voice did not come through")
        if not any(one.voice_heard for one in self.talks):
            found.append("in no pause the caller's voice came through")
        return found

    def _memory_problems(self) -> list[str]:
        cells = [cell for seen in self.seen for cell in seen.cells]
        open_pages = sum(cell.secret_pages - cell.unreadable for cell in cells)
        blind = {
            p.name for seen in self.seen for p in seen.processes if not p.int_tables and "child" not in p.name
        }
        found = [f"{open_pages} secret pages of cells could be read"] if open_pages else []
        return found + [f"key objects of the {name} could not be looked for" for name in sorted(blind)]

    @property
    def memory(self) -> str:
        """`scanned`, or `not_scanned` where the right to look was missing."""
        complete = bool(self.seen) and not any(seen.denied for seen in self.seen)
        return "scanned" if complete else "not_scanned"

    @property
    def ok(self) -> bool:
        """Clean, and able to see."""
        caught = all(self.controls.get(name, False) for name in CONTROLS)
        return not self.problems() and caught and self.memory == "scanned"

    def report(self) -> dict[str, Any]:
        """For a JSON file."""
        cells = [cell for seen in self.seen for cell in seen.cells]
        return {
            "ok": self.ok,
            "runs": self.judged,
            "findings": self.problems(),
            "troubles": self.troubles,
            "claim": {"text": CLAIM, "packets": self.packets, "packets_in_secure": self.in_secure,
                      "breaches": len(self.breaches)},
            "cards": {"taken": self.completed, "ended_mid_field": self.ended_early},
            "attacker": self._attacker(),
            "talk": self._talk(),
            "stripe": self.stripe.report(self._judged_hits()),
            "scanned": {
                "foreign": dict(self.foreign_bytes),
                "files": self.file_sizes,
                "memory": dict(sizes_of(self.seen)),
                "memory_searches": len(self.seen),
            },
            "cells": {"seen": len({cell.pid for cell in cells}), "left": self.cells_left,
                      "secret_pages": sum(cell.secret_pages for cell in cells),
                      "secret_pages_unreadable": sum(cell.unreadable for cell in cells)},
            "memory": self.memory,
            "separation": asdict(self.separation) if self.separation else "not_asked",
            "expected_chance_hits": round(self.expected_chance_hits, 3),
            "chance_suspects": sorted(str(hit) for hit in self._canary_hits() if hit.short),
            "controls": {name: "caught" if self.controls.get(name) else "missed" for name in CONTROLS},
            "seconds": round(self.seconds, 1),
        }  # fmt: skip

    def _attacker(self) -> dict[str, Any]:
        score = self.agent_leg
        return {
            "n": score.count,
            "right": score.right,
            "accuracy": round(score.accuracy, 4),
            "chance": CHANCE,
            "interval": [round(end, 4) for end in exact_interval(score.count, score.right)],
            "interval_confidence": INTERVAL,
            "bound": score.bound,
            "bound_confidence": CONFIDENCE,
            "on_callers_own_audio": {
                "n": self.own_audio.count,
                "accuracy": round(self.own_audio.accuracy, 4),
            },
        }

    def _talk(self) -> dict[str, Any]:
        talk = total(self.talks)
        score = talk.agent_leg
        return {
            "label": TALK_LABEL,
            "calls": len(self.talks),
            "presses": score.count,
            "decoded": talk.decoded,
            "decoded_in_callers_own_audio": talk.decoded_own,
            "right": score.right,
            "interval": [round(end, 4) for end in exact_interval(score.count, score.right)],
            "bound": score.bound,
            "accuracy_on_callers_own_audio": round(talk.own_audio.accuracy, 4),
            "voices_heard": sum(one.voice_heard for one in self.talks),
            "stood_still": sum(one.stood_still for one in self.talks),
        }

    def table(self) -> list[str]:
        """For a person."""
        rows = [*self._figures()]
        rows += [
            ("control", f"{name}: {'caught' if self.controls.get(name) else 'MISSED'}") for name in CONTROLS
        ]
        rows += [("trouble", one) for one in self.troubles]
        rows += [("FINDING", one) for one in self.problems()]
        lines = [f"{name:<16} {text}" for name, text in rows]
        return [*lines, f"{'clean' if self.ok else 'NOT CLEAN'} after {self.seconds:.0f} s"]

    def _figures(self) -> Iterator[tuple[str, str]]:
        attacker, memory = self._attacker(), sizes_of(self.seen)
        low, high = attacker["interval"]
        own = attacker["on_callers_own_audio"]["accuracy"]
        yield "calls", f"{self.judged}, cards taken {self.completed}, ended mid-field {self.ended_early}"
        yield (
            "agents' legs",
            f"{self.packets} packets, {self.in_secure} in SECURE, {len(self.breaches)} breaches",
        )
        yield "attacker", f"{attacker['right']} of {attacker['n']} right ({low:.3f} to {high:.3f})"
        yield "", f"chance explains up to {attacker['bound']}; on the caller's own audio {own:.3f}"
        talk = self._talk()
        yield "TALK", f"{talk['label']}: {talk['decoded']} of {talk['presses']} keys decoded"
        yield "", f"attacker {talk['right']} right, chance explains up to {talk['bound']}"
        yield from self.stripe.rows(self._judged_hits())
        yield "foreign sockets", f"{sum(self.foreign_bytes.values()) / 1e6:.1f} MB"
        yield "files", f"{len(self.file_sizes)}, {sum(self.file_sizes.values()) / 1e6:.1f} MB"
        size = sum(memory.values()) / 1e6
        yield (
            "live memory",
            f"{self.memory}: {len(memory)} kinds of process, {size:.0f} MB, {len(self.seen)} times",
        )
        if self.separation is not None:
            apart = self.separation
            yield (
                "users",
                f"node as uid {apart.uid}: {apart.memory_read} of {apart.memory_asked} zone memories open",
            )
            yield (
                "",
                f"to it; {apart.files_reached} of {apart.files_asked} sockets and files open to a stranger",
            )
        yield "chance", f"{self.expected_chance_hits:.2f} short fragments expected, {self.suspects} seen"


def _name(exhibit: Exhibit) -> str:
    run = exhibit.run
    return f"call {run.number} ({run.transport}, {run.caller_codec} to {exhibit.agent_codec}, {run.network})"


def _pieces(hits: Iterable[Hit]) -> set[tuple[int, int, int]]:
    """Short fragments, each once: a number that a log, a table and a cache repeat is one piece of chance."""
    return {(hit.canary, hit.first, hit.digits) for hit in hits if hit.short}


def poisson_upper(expected: float, confidence: float = CONFIDENCE) -> int:
    """Most events that chance explains when it makes `expected` on average."""
    at_most, count = math.exp(-expected), 0
    term = at_most
    while at_most < confidence:
        count += 1
        term *= expected / count
        at_most += term
    return count
