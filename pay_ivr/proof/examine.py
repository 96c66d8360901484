"""What becomes of a round's exhibits: the claim, the copies, the attacker, the search for cards.

Runs in a process of its own: it must not take the time away in which telephones send.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pay_ivr.proof.canary import Canary
from pay_ivr.proof.canary_call import Exhibit
from pay_ivr.proof.claim import Copies, Cycle, frames, rate_breaches, stream_breaches
from pay_ivr.proof.listening import NO_SCORE, Score, attack, of_agent_leg, of_caller
from pay_ivr.proof.memory import Before, CellSeen, Looked, Place, look, look_at_cell, remember
from pay_ivr.proof.plan import TONE_TRANSPORTS
from pay_ivr.proof.scan import Hit, Needles, search

NICE = 5
"""Behind the telephones and the node."""
PAYLOAD_TYPE = {"PCMU": 0, "PCMA": 8}


@dataclass(frozen=True, repr=False)
class Cards:
    """What to search for: cards of this round, of earlier ones, and decoys like those of this round."""

    fresh: tuple[Canary, ...]
    old: tuple[Canary, ...] = ()
    decoys: tuple[Canary, ...] = ()

    def needles(self) -> Needles:
        """Ready to search."""
        return Needles((*self.fresh, *self.decoys), self.old)


@dataclass
class Verdict:
    """What was seen of one call."""

    breaches: list[str] = field(default_factory=list)
    packets: int = 0
    in_secure: int = 0
    heard_before: bool = False
    """The caller's voice reached the agent outside SECURE, where it should."""
    agent_leg: Score = NO_SCORE
    own_audio: Score = NO_SCORE


@dataclass
class NodeSeen:
    """What one search of the live node saw."""

    processes: list[Looked] = field(default_factory=list)
    cells: list[CellSeen] = field(default_factory=list)
    denied: int = 0
    """Processes that we had no right to look at."""
    after: dict[int, Before] = field(default_factory=dict)
    """Pid → what the next search needs."""


def behave() -> None:
    """Start of the examining process."""
    os.nice(NICE)


def examine(exhibit: Exhibit, cycle: Cycle) -> Verdict:
    """The exact claim and the attacker, on one call."""
    verdict = Verdict(packets=len(exhibit.packets))
    verdict.breaches += stream_breaches(exhibit.packets, PAYLOAD_TYPE[exhibit.agent_codec])
    try:
        heard = frames(exhibit.packets, exhibit.window)
        everything = frames(exhibit.packets)
    except ValueError:
        return verdict
    verdict.in_secure = len(heard)
    verdict.breaches += cycle.breaches(heard) + rate_breaches(heard)
    copies = Copies(exhibit.sent)
    if copied := copies.count(heard):
        verdict.breaches.append(f"{copied} pieces of the caller's audio were heard in SECURE")
    same_law = exhibit.agent_codec == exhibit.run.caller_codec
    outside = [frame for frame in everything if frame.at < exhibit.window.start]
    verdict.heard_before = not same_law or copies.count(outside) > 0
    verdict.agent_leg = attack([of_agent_leg(heard, exhibit.agent_codec, exhibit.presses)])
    if exhibit.run.transport in TONE_TRANSPORTS and exhibit.run.network == "clean":
        verdict.own_audio = attack([of_caller(exhibit.sent, exhibit.sent_at, exhibit.presses)])
    return verdict


def search_foreign(exhibits: Sequence[Exhibit], cards: Cards) -> set[Hit]:
    """Cards in what foreign sockets received."""
    needles = cards.needles()
    hits: set[Hit] = set()
    for exhibit in exhibits:
        for where, data in exhibit.foreign.items():
            hits |= search(data, needles, where)
    return hits


def search_traffic(connections: Sequence[bytes], where: str, cards: Cards) -> set[Hit]:
    """Cards in what was sent over connections, each by itself."""
    needles = cards.needles()
    return {hit for said in connections for hit in search(said, needles, where)}


def search_files(folders: Sequence[Path], cards: Cards) -> tuple[dict[str, int], set[Hit]]:
    """Bytes per file, and cards in them; a file that goes meanwhile is gone."""
    needles = cards.needles()
    sizes: dict[str, int] = {}
    hits: set[Hit] = set()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            try:
                if not path.is_file():
                    continue
                data = path.read_bytes()
            except OSError:
                continue
            name = str(path.relative_to(folder.parent))
            sizes[name] = len(data)
            hits |= search(data, needles, name)
    return sizes, hits


def search_node(
    places: Sequence[Place], cells: Sequence[int], cards: Cards, before: Mapping[int, Before] | None = None
) -> NodeSeen:
    """Cards in the live memory of every process of a node but its cells; in every page without `before`."""
    needles = cards.needles()
    seen = NodeSeen()
    for place in places:
        try:
            looked = look(place, needles, (before or {}).get(place.pid))
        except PermissionError:
            seen.denied += 1
            continue
        if looked is not None:
            seen.processes.append(looked[0])
            seen.after[place.pid] = looked[1]
    looked_at = (look_at_cell(pid) for pid in cells)
    seen.cells += [cell for cell in looked_at if cell is not None]
    return seen


def remember_node(places: Sequence[Place]) -> dict[int, Before]:
    """The node's memory before there is any canary: nothing to search for yet."""
    remembered = ((place.pid, remember(place)) for place in places)
    return {pid: before for pid, before in remembered if before is not None}


def sizes_of(seen: Sequence[NodeSeen]) -> Mapping[str, int]:
    """Process name → most bytes read at once."""
    found: dict[str, int] = {}
    for one in seen:
        for process in one.processes:
            found[process.name] = max(found.get(process.name, 0), process.read_bytes)
    return found
