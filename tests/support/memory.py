"""Searches the live memory of another process, as root."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_WRITABLE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) rw.. ")
_CHUNK = 1 << 20


@dataclass
class Search:
    """What a search of one process found."""

    hits: int = 0
    """Places where the pattern stands."""
    searched_bytes: int = 0
    sealed: int = 0
    """Mappings that the kernel does not show even to root (memfd_secret)."""


def search(pid: int, pattern: bytes) -> Search:
    """The pattern in all writable mappings of a process; PermissionError without the right to look."""
    found = Search()
    for content in _mappings(pid):
        if content is None:
            found.sealed += 1
        else:
            found.hits += content.count(pattern)
            found.searched_bytes += len(content)
    return found


def survivors(pid: int, patterns: Sequence[bytes]) -> list[int]:
    """Places in `patterns` of those that stand in a writable mapping of a process."""
    found: set[int] = set()
    for content in filter(None, _mappings(pid)):
        found.update(at for at, pattern in enumerate(patterns) if at not in found and pattern in content)
    return sorted(found)


def _mappings(pid: int) -> Iterator[bytes | None]:
    """What stands in each writable mapping; None for one that the kernel shows to nobody (memfd_secret)."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
            bounds = _WRITABLE.match(line)
            if bounds is None:
                continue
            first, last = (int(bound, 16) for bound in bounds.groups())
            try:
                memory.seek(first)
                yield b"".join(iter(lambda m=memory, end=last: m.read(min(_CHUNK, end - m.tell())), b""))
            except OSError:
                if "secretmem" in line:
                    yield None
