"""The demo's own leak scan: the cards that were keyed, looked for where none may be.

Published test cards are full of repeated digits, which memory is full of too: here only whole PANs count, as
text, in hex and in base64. Fragments, packed and spread digits are the business of `pay-ivr verify leak`,
whose random canaries have no such twins.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pay_ivr.proof.memory import node_processes, read_memory
from pay_ivr.proof.rtp_port import Datagram, payload_of
from pay_ivr.proof.scenarios import Players
from pay_ivr.proof.stage import Stage

NOT_SCANNED = "not scanned: needs root"
AUDIO_TYPES = frozenset({0, 8})
Forms = Mapping[str, bytes]


def sweep(stage: Stage, players: Players) -> dict[str, Any]:
    """What was searched and what was found: `findings`, `where`, `memory`, sizes."""
    forms = {
        f"card {number} {name}": form
        for number, pan in enumerate(dict.fromkeys(players.cards), 1)
        for name, form in _forms(pan).items()
    }
    packets = players.agent.received()
    found = _found(forms, "console bytes", b"\n".join(players.desk.evidence))
    found += _found(forms, "API bytes", b"\n".join(players.integrator.evidence))
    files = _files(stage.folder)
    for path in files:
        found += _found(forms, f"file {path.relative_to(stage.folder)}", path.read_bytes())
    memory = _memory(stage, forms, found)
    found += _foreign_packets(packets)
    return {
        "findings": len(found),
        "where": found,
        "cards": len(dict.fromkeys(players.cards)),
        "agent_packets": len(packets),
        "files": len(files),
        "memory": "scanned" if memory else NOT_SCANNED,
        "memory_bytes": memory,
    }


def _forms(pan: str) -> dict[str, bytes]:
    """A whole PAN as it could stand in a file, a buffer or a string object."""
    digits = pan.encode()
    forms = {
        "as text": digits,
        "in groups": " ".join(pan[start : start + 4] for start in range(0, len(pan), 4)).encode(),
        "in UTF-16": pan.encode("utf-16-le"),
        "in UTF-32": pan.encode("utf-32-le"),
        "in hex": digits.hex().encode(),
    }
    for shift in range(3):
        # What stands before the PAN moves its base64; the bytes that depend on neighbours are cut off.
        coded = base64.b64encode(bytes(shift) + digits)
        forms[f"in base64, shift {shift}"] = coded[4 if shift else 0 : -4]
    return forms


def _found(forms: Forms, where: str, data: bytes) -> list[str]:
    return [f"{where}: {name}" for name, form in forms.items() if form in data]


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _memory(stage: Stage, forms: Forms, found: list[str]) -> dict[str, int]:
    """Bytes searched by process; empty without the right to look."""
    sizes: dict[str, int] = {}
    places, _cells = node_processes(stage.pids())
    for place in places:
        try:
            segments, _sealed = read_memory(place.pid)
        except PermissionError:
            return {}
        except (FileNotFoundError, ProcessLookupError):
            continue
        for _first, content in segments:
            found += _found(forms, f"memory of {place.name}", content)
        sizes[place.name] = sum(len(content) for _, content in segments)
    return sizes


def _foreign_packets(packets: Sequence[Datagram]) -> list[str]:
    """Whatever the agent's phone was sent besides plain audio: an event, an extension, another type."""
    counted = Counter(kind for kind in _types(packets) if kind not in AUDIO_TYPES)
    return [f"agent's phone: RTP payload type {kind}, {count} packet(s)" for kind, count in counted.items()]


def _types(packets: Sequence[Datagram]) -> Iterable[int]:
    for packet in packets:
        try:
            yield payload_of(packet.data)[0]
        except ValueError:
            yield -1
