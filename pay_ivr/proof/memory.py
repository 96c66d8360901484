"""Live memory, environments, command lines and hidden files of a node's processes, searched as root.

Every writable mapping of every long-lived process is read through the kernel's window on it, while the
process runs. Pages that have not changed since the look before were searched then, and are older than the
canaries that are new now: only the others, with their neighbours, are searched. Besides the bytes,
`KeyObjects` looks for digits as Python keeps them: small integers in order behind the pointers of a list, or
one hop further inside objects that a list or deque holds.

A living cell is the one place where a PAN may be; of cells this file only says that their secret pages cannot
be read (memfd_secret) and when they are gone.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pay_ivr.proof.scan import LONG, Hit, Needles, match, rows_apart, search

PROC = Path("/proc")
MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw\S+ \S+ \S+ \S+ *(.*)$")
CHUNK = 1 << 22
HIDDEN_FILE_MAX = 64 << 20
"""Bytes read of one deleted file or memfd: more than all prompts of a call."""
SMALL_INT_BYTES = 32
"""CPython keeps -5 to 256 as one array of these."""
SLOTS = (16, 24, 32, 40)
"""Bytes into an object where its first four slots are."""
WORD_STRIDES = range(2, 17)
"""Pointers apart: rows of small structures."""

PAGE_BYTES = 4096
BETWEEN = b"\xff" * PAGE_BYTES
"""Between two mappings: no digit in any encoding, and a whole page, so that words stay on their borders."""

Words = NDArray[np.uint64]
_NO_WORDS: Words = np.zeros(PAGE_BYTES // 8, np.uint64)
"""The same in words: points nowhere."""


@dataclass(frozen=True, repr=False)
class Before:
    """What a look at a process leaves for the next one."""

    pages: Mapping[int, int]
    """Address of a page → mark of its content."""
    zero: int | None
    """Where Python keeps the integer 0."""


@dataclass(frozen=True)
class Place:
    """One process: what it is called and its pid."""

    name: str
    pid: int


@dataclass(frozen=True)
class Looked:
    """What was seen of one process."""

    name: str
    read_bytes: int
    searched_bytes: int
    """Of those, in pages that had changed."""
    sealed: int
    """Mappings that the kernel does not show even to root."""
    int_tables: int
    """1 when Python's small integers were found, so that key objects could be looked for."""
    hits: frozenset[Hit]


@dataclass(frozen=True)
class CellSeen:
    """A living cell."""

    pid: int
    secret_pages: int
    unreadable: int
    """Of these, how many answered a reader with root's rights with an I/O error."""


def parents() -> dict[int, int]:
    """Pid → pid of its parent, of everything that runs."""
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it has just ended
            found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def node_processes(named: Mapping[str, int]) -> tuple[list[Place], list[int]]:
    """All processes of a node, its named ones and their descendants, and apart from them its living cells."""
    parent_of = parents()
    names = {pid: name for name, pid in named.items()}
    places, cells = [Place(name, pid) for name, pid in named.items()], []
    for pid in parent_of:
        if pid in names:
            continue
        above = pid
        while above in parent_of and above not in names:
            above = parent_of[above]
        if names.get(above) == "spawner":
            cells.append(pid)
        elif above in names:
            places.append(Place(f"{names[above]} child", pid))
    return places, cells


def look(place: Place, needles: Needles, before: Before | None = None) -> tuple[Looked, Before] | None:
    """One process's memory and surroundings; None when it has ended. PermissionError without root."""
    try:
        everything, sealed = read_memory(place.pid)
        surroundings = list(_surroundings(place.pid))
    except (FileNotFoundError, ProcessLookupError):
        return None
    where = f"memory of {place.name}"
    pages, segments = _changed(everything, before.pages if before is not None else {})
    zero = find_integers(everything) if before is None or before.zero is None else before.zero
    hits = search(BETWEEN.join(content for _, content in segments), needles, where, aligned=True)
    if zero is not None and segments:
        hits |= KeyObjects(segments, zero).search(needles, where)
    for what, data in surroundings:
        hits |= search(data, needles, f"{what} of {place.name}")
    sizes = (sum(len(content) for _, content in some) for some in (everything, segments))
    looked = Looked(place.name, next(sizes), next(sizes), sealed, int(zero is not None), frozenset(hits))
    return looked, Before(pages, zero)


def remember(place: Place) -> Before | None:
    """What the first look at a process needs, without a search; None when it has ended or is closed to us."""
    try:
        everything, _sealed = read_memory(place.pid)
    except OSError:
        return None
    return Before(_changed(everything, {})[0], find_integers(everything))


def _changed(
    segments: Sequence[tuple[int, bytes]], before: Mapping[int, int]
) -> tuple[dict[int, int], list[tuple[int, bytes]]]:
    """Marks of all pages, and the stretches of pages that are not as before, with one page on either side."""
    pages: dict[int, int] = {}
    stretches: list[tuple[int, bytes]] = []
    for first, content in segments:
        marks = [hash(content[at : at + PAGE_BYTES]) for at in range(0, len(content), PAGE_BYTES)]
        places = range(first, first + len(content), PAGE_BYTES)
        pages |= zip(places, marks, strict=True)
        new = np.array([before.get(at) != mark for at, mark in zip(places, marks, strict=True)])
        wide = np.concatenate([[False], new, [False]])
        near = wide[:-2] | wide[1:-1] | wide[2:]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], near.astype(np.int8), [0]]))) * PAGE_BYTES
        stretches += [
            (first + begin, content[begin:end])
            for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        ]
    return pages, stretches


def read_memory(pid: int) -> tuple[list[tuple[int, bytes]], int]:
    """Writable mappings as (address, bytes), and how many secret ones stayed closed."""
    segments, sealed = [], 0
    with (PROC / str(pid) / "mem").open("rb", buffering=0) as memory:
        for first, last, name in writable(pid):
            content = _read(memory, first, last)
            if content:
                segments.append((first, content))
            sealed += "secretmem" in name and not content
    return segments, sealed


def writable(pid: int) -> list[tuple[int, int, str]]:
    """First address, address behind, and name of every writable mapping."""
    lines = (PROC / str(pid) / "maps").read_text(encoding="utf-8", errors="replace").splitlines()
    found = (MAPPING.match(line) for line in lines)
    return [(int(one[1], 16), int(one[2], 16), one[3]) for one in found if one is not None]


def _read(memory: FileIO, first: int, last: int) -> bytes:
    """As much of a mapping as the kernel gives; a hole ends it."""
    parts = []
    try:
        memory.seek(first)
        while first < last:
            part = memory.read(min(CHUNK, last - first))
            if not part:
                break
            parts.append(part)
            first += len(part)
    except OSError:
        pass  # sealed, or unmapped a moment ago
    return b"".join(parts)


def _surroundings(pid: int) -> Iterator[tuple[str, bytes]]:
    """Environment, command line, and files that no folder shows: deleted ones and memfds."""
    folder = PROC / str(pid)
    yield "environment", (folder / "environ").read_bytes()
    yield "command line", (folder / "cmdline").read_bytes()
    for link in (folder / "fd").iterdir():
        try:
            target = str(link.readlink())
            if target.startswith("/memfd:") or (target.endswith("(deleted)") and "secretmem" not in target):
                with link.open("rb") as hidden:
                    yield "hidden file", hidden.read(HIDDEN_FILE_MAX)
        except OSError:
            continue  # closed, or not to be opened: a socket


def look_at_cell(pid: int) -> CellSeen | None:
    """What a reader with root's rights gets of a cell's secret pages; None when it has ended."""
    secret = unreadable = 0
    try:
        with (PROC / str(pid) / "mem").open("rb", buffering=0) as memory:
            for first, last, name in writable(pid):
                if "secretmem" in name:
                    secret += 1
                    unreadable += not _read(memory, first, last)
    except OSError:
        return None
    return CellSeen(pid, secret, unreadable)


def until_gone(pids: Sequence[int], timeout_s: float) -> list[int]:
    """Waits for processes to end; the pids that are still there."""
    until = time.monotonic() + timeout_s
    while left := [pid for pid in pids if (PROC / str(pid)).exists()]:
        if time.monotonic() > until:
            return left
        time.sleep(0.05)
    return []


def find_integers(segments: Sequence[tuple[int, bytes]]) -> int | None:
    """Where a Python process keeps the integer 0; None when it is no Python of a known kind.

    Four integers in a row tell: same type, size one, values 1 to 4 (PyLongObject of CPython 3.11 and 3.12).
    """
    for first, content in segments:
        words = np.frombuffer(content[: len(content) // 8 * 8], np.uint64)
        end = len(words) - 15
        if end <= 0:
            continue
        low = words.astype(np.uint32)
        good = (low[3 : 3 + end] == 1) & (low[7 : 7 + end] == 2) & (low[11 : 11 + end] == 3)
        for place in np.flatnonzero(good & (low[15 : 15 + end] == 4)).tolist():
            kinds, sizes = words[place + 1 : place + 16 : 4], words[place + 2 : place + 16 : 4]
            if len(set(kinds.tolist())) == 1 and kinds[0] and set(sizes.tolist()) in ({1}, {8}):
                return int(first + 8 * place - SMALL_INT_BYTES)
    return None


class KeyObjects:
    """Digits as Python objects, in one process's memory; `zero` is where it keeps the integer 0."""

    def __init__(self, segments: Sequence[tuple[int, bytes]], zero: int) -> None:
        """`segments` are addresses and contents, by address."""
        self._zero = zero
        each = [np.frombuffer(content[: len(content) // 8 * 8], np.uint64) for _, content in segments]
        self._words = np.concatenate([part for words in each for part in (words, _NO_WORDS)])
        self._addresses = np.array([first for first, _ in segments], np.uint64)
        self._lengths = np.array([len(words) for words in each], np.int64)
        self._places = np.concatenate([[0], np.cumsum(self._lengths + len(_NO_WORDS))[:-1]]).astype(np.int64)
        """Where each segment begins in `_words`."""

    def search(self, needles: Needles, where: str) -> set[Hit]:
        """PANs in order behind pointers, and behind pointers to objects."""
        digits = _as_digits(self._words, self._zero)
        hits = match(digits, needles, where, "key objects", LONG)
        hits |= rows_apart(digits, WORD_STRIDES, needles, where, "key objects")
        for hop in self._one_hop(digits):
            hits |= match(hop, needles, where, "objects of keys", LONG)
        return hits

    def _one_hop(self, digits: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """For each slot: the digit that stands in the object that each word points to."""
        last = self._addresses[-1] + np.uint64(8 * self._lengths[-1])
        words = self._words
        near = (words >= self._addresses[0]) & (words < last) & (words & np.uint64(7) == 0)
        pointers = np.flatnonzero(near)
        targets = words[pointers]
        segment = np.searchsorted(self._addresses, targets, "right") - 1
        offset = ((targets - self._addresses[segment]) >> np.uint64(3)).astype(np.int64)
        inside = offset < self._lengths[segment]
        pointers, places = pointers[inside], (self._places[segment] + offset)[inside]
        for slot in SLOTS:
            values = np.full(len(words), 255, np.uint8)
            values[pointers] = digits[places + slot // 8]
            yield values


def _as_digits(words: Words, zero: int) -> NDArray[np.uint8]:
    """0-9 where a word points to that small integer, 255 elsewhere."""
    away = words - np.uint64(zero)
    hit = (away < 10 * SMALL_INT_BYTES) & (away % np.uint64(SMALL_INT_BYTES) == 0)
    return np.where(hit, away // np.uint64(SMALL_INT_BYTES), 255).astype(np.uint8)
