"""Negative controls: faults made on purpose, each of which the proof must see, or it proves nothing.

No part of the product is weakened. Two controls put into a real recording what a fault of the relay would put
there: 3 ms of each key's own tone at its press, and the caller's event packets. Five plant a canary that was
never keyed, for as long as the search takes: a line in the node's log, bytes in the broker's live memory, a
row that exists in a WAL page only; and of a card on its way to Stripe, a line of the wire and the form in the
broker's memory. One sends it to the simulator with the broker's own key. One lets a Python process of ours
hold a PAN as key objects.
"""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pay_ivr.proof.audio import FRAME, RATE_HZ, decode, encode
from pay_ivr.proof.canary import Canary
from pay_ivr.proof.canary_call import Exhibit
from pay_ivr.proof.claim import Cycle
from pay_ivr.proof.examine import PAYLOAD_TYPE, Cards, examine, search_files
from pay_ivr.proof.listening import NO_SCORE
from pay_ivr.proof.memory import PROC, Place, look, writable
from pay_ivr.proof.rtp_port import Datagram
from pay_ivr.proof.scan import search

LATE_SAMPLES = 3 * RATE_HZ // 1000
"""SECURE 3 ms late."""
HEADER_BYTES = 12
STACK_OFFSET = 256
"""Into the far end of the stack's mapping: pages that a running program has not come to."""
HOLDER = (
    "import sys\n"
    "held = [int(key) for key in sys.stdin.readline().strip()]\n"
    "print(len(held), flush=True)\n"
    "sys.stdin.readline()\n"
)


def secure_too_late(exhibits: Sequence[Exhibit], cycles: dict[str, Cycle]) -> bool:
    """True when 3 ms of every key on the agent's leg break the claim and give the digits away."""
    score, broken = NO_SCORE, 0
    for exhibit in exhibits:
        verdict = examine(late(exhibit), cycles[exhibit.agent_codec])
        score += verdict.agent_leg
        broken += any("not the relay's own" in one for one in verdict.breaches)
    return bool(exhibits) and broken == len(exhibits) and not score.by_chance


def late(exhibit: Exhibit) -> Exhibit:
    """The same call as if the first 3 ms of every key had passed the shield."""
    packets = list(exhibit.packets)
    arrivals = np.array([packet.at for packet in packets])
    for at, _key in exhibit.presses:
        place = int(np.searchsorted(arrivals, at))
        start = int(np.searchsorted(np.array(exhibit.sent_at), at))
        if place < len(packets) and start < len(exhibit.sent):
            tone = exhibit.sent[start][:LATE_SAMPLES]
            packets[place] = _with_tone(packets[place], tone, exhibit.agent_codec)
    return replace(exhibit, packets=packets)


def _with_tone(packet: Datagram, tone: np.ndarray[tuple[int], np.dtype[np.int16]], codec: str) -> Datagram:
    audio = decode(packet.data[HEADER_BYTES:], codec).copy()
    audio[: len(tone)] += tone
    return replace(packet, data=packet.data[:HEADER_BYTES] + encode(audio[:FRAME], codec))


def events_not_stripped(exhibit: Exhibit, cycle: Cycle) -> bool:
    """True when the caller's own event packets on the agent's leg are seen."""
    packets = sorted([*exhibit.packets, *exhibit.sent_events], key=lambda one: one.at)
    breaches = examine(replace(exhibit, packets=packets), cycle).breaches
    strange = any("not 20 ms of the negotiated codec" in one for one in breaches)
    return bool(exhibit.sent_events) and strange and exhibit.agent_codec in PAYLOAD_TYPE


def pan_in_log(log_file: Path, canary: Canary) -> bool:
    """True when a line of the node's log with a PAN is found."""
    return _found_in_log(
        log_file, canary, f'{{"event": "leg.key.heard", "keys": "{canary.pan}", "level": "debug"}}\n'
    )


def pan_in_wire_log(log_file: Path, canary: Canary) -> bool:
    """True when a line is found as an SDK at DEBUG would write it: the form that it sends."""
    return _found_in_log(
        log_file,
        canary,
        f'{{"event": "stripe.request.sent", "body": "{card_form(canary)}", "level": "debug"}}\n',
    )


def card_form(canary: Canary) -> str:
    """A card as the SDK sends it to Stripe."""
    month, year = int(canary.expiry[:2]), canary.expiry[2:]
    fields = {"number": canary.pan, "exp_month": month, "exp_year": f"20{year}", "cvc": canary.cvv}
    return "type=card&" + "&".join(f"card[{name}]={value}" for name, value in fields.items())


def _found_in_log(log_file: Path, canary: Canary, line: str) -> bool:
    size = log_file.stat().st_size
    with log_file.open("a", encoding="utf-8") as log:
        log.write(line)
    try:
        return _found([log_file.parent], canary, log_file.name)
    finally:
        _cut_out(log_file, line.encode(), size)


def _cut_out(log_file: Path, line: bytes, size: int) -> None:
    """Takes the planted line out again; lines that the node wrote meanwhile stay."""
    content = log_file.read_bytes()
    place = content.find(line, max(0, size - 1))
    if place >= 0:
        with log_file.open("rb+") as log:
            log.seek(place)
            log.write(b" " * (len(line) - 1))


def pan_in_memory(place: Place, canary: Canary) -> bool:
    """True when a PAN in the live memory of a process is found; what stood there is put back."""
    return _found_in_memory(place, canary, canary.pan)


def form_in_memory(place: Place, canary: Canary) -> bool:
    """The same for the form that carries a card to Stripe."""
    return _found_in_memory(place, canary, card_form(canary))


def pan_in_traffic(connections: Sequence[bytes], canary: Canary) -> bool:
    """True when a PAN is found in what came from the broker."""
    needles = Cards((canary,)).needles()
    return any(search(said, needles, "control") for said in connections)


def _found_in_memory(place: Place, canary: Canary, text: str) -> bool:
    with _planted(place.pid, text.encode()):
        looked = look(place, Cards((canary,)).needles())
    return looked is not None and any(hit.canary == canary.number for hit in looked[0].hits)


@contextlib.contextmanager
def _planted(pid: int, content: bytes) -> Iterator[None]:
    first = next(first for first, _last, name in writable(pid) if name == "[stack]") + STACK_OFFSET
    with (PROC / str(pid) / "mem").open("r+b", buffering=0) as memory:
        memory.seek(first)
        before = memory.read(len(content))
        memory.seek(first)
        memory.write(content)
        try:
            yield
        finally:
            memory.seek(first)
            memory.write(before)


def pan_in_wal(data_dir: Path, canary: Canary) -> bool:
    """True when a PAN that stands in a WAL page, and not yet in the database, is found."""
    path = data_dir / "control.db"
    database = sqlite3.connect(path)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA wal_autocheckpoint=0")
        database.execute("CREATE TABLE control (text TEXT)")
        database.execute("INSERT INTO control VALUES (?)", (canary.pan,))
        database.commit()
        in_database = canary.pan.encode() in path.read_bytes()
        return not in_database and _found([data_dir], canary, "control.db-wal")
    finally:
        database.close()
        for one in data_dir.glob("control.db*"):
            one.unlink()


def _found(folders: Sequence[Path], canary: Canary, name: str) -> bool:
    _sizes, hits = search_files(folders, Cards((canary,)))
    return any(hit.canary == canary.number and hit.where.endswith(name) for hit in hits)


def pan_as_objects(canary: Canary) -> bool:
    """True when a PAN is found that a Python process holds as a list of small integers."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        if holder.stdin is None or holder.stdout is None:
            return False
        holder.stdin.write(canary.pan + "\n")
        holder.stdin.flush()
        holder.stdout.readline()
        looked = look(Place("control", holder.pid), Cards((canary,)).needles())
    finally:
        holder.communicate("\n", timeout=10)
    return looked is not None and any(hit.encoding == "key objects" for hit in looked[0].hits)
