"""A node under a user of its own, as an operator runs one: what that user and others may see of the zone.

The proof is root; the node need not be. Where the interpreter or the checkout lies below a folder that only
root may enter, the node gets a mount namespace in which just these paths can be reached: nothing else of the
machine changes. `separation` then asks the kernel, as the node's own user and as a stranger.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NODE_UID: Final = 64_901
STRANGER_UID: Final = 64_902
"""Two users that no system hands out by itself (Debian: up to 59,999, then `nobody` and its like)."""
ZONE: Final = ("media", "broker", "spawner", "supervisor")
"""Processes whose memory not even their own user may read: the zone, and who holds the ends of its hatches.
Cells are asked as well."""
ASK_TIMEOUT_S: Final = 10.0
READABLE: Final = 'for one; do if ( : < "$one" ) 2>/dev/null; then echo "$one"; fi; done'
REACHED: Final = 'for one; do if [ -e "$one" ]; then echo "$one"; fi; done'
MOUNTS: Final = """
set -e
hide="$1"; shift
kept=""; number=0
mount -t tmpfs tmpfs /mnt
while [ "$1" != -- ]; do
  number=$((number + 1))
  mkdir -p "/mnt/$number"
  mount --bind "$1" "/mnt/$number"
  kept="$kept $number:$1"; shift
done
shift
mount -t tmpfs -o mode=755 tmpfs "$hide"
for one in $kept; do
  mkdir -p "${one#*:}"
  mount --bind "/mnt/${one%%:*}" "${one#*:}"
done
exec "$@"
"""
"""Hides a closed folder behind an empty one, with the named paths below it in their old places."""


@dataclass(frozen=True)
class Separation:
    """What the kernel let others do; zero is the good case."""

    uid: int
    memory_asked: int
    memory_read: int
    """Processes of the zone whose memory the node's own user could read."""
    files_asked: int
    files_reached: int
    """Sockets and files of the node that a stranger could reach."""

    @property
    def problems(self) -> list[str]:
        """What separates nothing."""
        found = []
        if self.memory_read or not self.memory_asked:
            found.append(f"its own user read the memory of {self.memory_read} processes of the zone")
        if self.files_reached or not self.files_asked:
            found.append(f"a stranger reached {self.files_reached} sockets and files of the node")
        return found


def command(arguments: Sequence[str]) -> list[str]:
    """What to start, as root, so that `arguments` run as the node's user."""
    start = ["setpriv", f"--reuid={NODE_UID}", f"--regid={NODE_UID}", "--clear-groups", *arguments]
    needed = {Path(sys.base_prefix), Path(sys.prefix), Path(__file__).resolve().parents[2]}
    closed = {path: _closed_above(path) for path in sorted(needed)}
    hidden = {folder for folder in closed.values() if folder is not None}
    for folder in sorted(hidden):
        below = [str(path) for path, above in closed.items() if above == folder]
        start = ["sh", "-c", MOUNTS, "sh", str(folder), *below, "--", *start]
    return ["unshare", "--mount", "--propagation", "private", *start] if hidden else start


def _closed_above(path: Path) -> Path | None:
    """The first folder on the way to a path that strangers may not enter."""
    way = [*reversed(path.parents), path]
    return next((folder for folder in way if not folder.stat().st_mode & 0o001), None)


def hand_over(folders: Iterable[Path]) -> None:
    """Everything below belongs to the node's user from now on."""
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NODE_UID, NODE_UID, follow_symlinks=False)


def separation(pids: Mapping[str, int], cells: Iterable[int], run_dir: Path) -> Separation:
    """Asks the kernel; one short-lived shell for each of the two users."""
    zone = [pids[name] for name in ZONE] + list(cells)
    memory = [f"/proc/{pid}/mem" for pid in zone]
    files = [str(path) for path in sorted(run_dir.iterdir())]
    return Separation(
        NODE_UID,
        len(memory),
        _count(NODE_UID, READABLE, memory),
        len(files),
        _count(STRANGER_UID, REACHED, files),
    )


def _count(uid: int, script: str, paths: Sequence[str]) -> int:
    """How many of the paths a user's shell names."""
    asked = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *paths],
        user=uid, group=uid, extra_groups=[], capture_output=True, check=True, timeout=ASK_TIMEOUT_S,
    )  # fmt: skip
    return len(asked.stdout.splitlines())
