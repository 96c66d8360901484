"""Recordings that were imported: which there are, for whom, and the sound of a sentence joined from them.

`<data_dir>/recordings/<tenant>/<language>/`: packets of µ-law, and `index.json`, which is replaced as a
whole; a running node sees a new index at the next sentence. `_house` stands for every tenant. Names:
`ask_pin` for a sentence, `balance.1` for its first fixed piece, `say.funfundneunzig` for words of values.
This file owns the rule that a sentence is recorded whole or not at all: recording and voice are never joined.
"""

import hashlib
import json
import os
import secrets
from base64 import b32encode
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pay_ivr.catalogue import Said
from pay_ivr.pieces import PAUSE, Piece, assemble, letters
from pay_ivr.sentences import VALUES
from pay_ivr.sound import PACKET_SAMPLES

FOLDER = "recordings"
HOUSE = "_house"
"""The owner of recordings that every tenant may use; no tenant is called so (`USER_PATTERN`)."""
INDEX = "index.json"
INDEX_BYTES_MAX = 2_000_000
"""Some thousand recordings."""
SAY = "say."
SILENCE = b"\xff" * PACKET_SAMPLES
PAUSE_PACKETS = 12
"""A quarter of a second between two groups of a code, as the synthetic voice leaves at a comma."""
SOUNDS_MAX = 512
"""Sounds kept in memory, 40 kB each; the words of numbers are needed in nearly every call."""


@dataclass(frozen=True)
class Recording:
    """One imported recording."""

    name: str
    file: str
    sha256: str
    """Of its packets, base 32 and lower case, as the audit log has it: hex could look like a PAN."""
    words: str
    """What the speaker had to read when it was imported; fixed pieces are found by it."""


class _List:
    """One index as it was read, with what is looked for in every sentence."""

    def __init__(self, changed: int, recordings: Mapping[str, Recording]) -> None:
        self.changed = changed
        self.recordings = recordings
        self._fixed = {(name.rpartition(".")[0], one.words): name for name, one in recordings.items()}
        self._spoken = frozenset(name.removeprefix(SAY) for name in recordings if name.startswith(SAY))

    def parts_of(self, key: str, piece: Piece) -> Sequence[str]:
        """The recordings that say one piece; none when one is missing."""
        if not piece.value:
            return [name] if (name := self._fixed.get((key, piece.text))) else []
        if (whole := letters(piece.text)) in self._spoken:
            return [SAY + whole]
        words = None if piece.whole else assemble(piece.text, self._spoken)
        return [SAY + word if word != PAUSE else PAUSE for word in words or ()]


_NOTHING = _List(0, {})


def digest_of(ulaw: bytes) -> str:
    """The hash of a recording's packets as it stands in the index and in the log."""
    return b32encode(hashlib.sha256(ulaw).digest()).decode().rstrip("=").lower()


class Recordings:
    """Reads what was imported, and replaces it. One object per process; files are its only state."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER
        self._lists: dict[Path, _List] = {}
        self._sounds: OrderedDict[str, bytes] = OrderedDict()

    def names(self, owner: str, language: str) -> Mapping[str, Recording]:
        """All recordings of a tenant (or `HOUSE`) in a language; none when the index cannot be read."""
        return self._list(owner, language).recordings

    def _list(self, owner: str, language: str) -> "_List":
        path = self._folder / owner / language / INDEX
        try:
            changed = path.stat().st_mtime_ns
        except FileNotFoundError:
            return _NOTHING
        known = self._lists.get(path)
        if known is None or known.changed != changed:
            known = self._lists[path] = _List(changed, _read_index(path))
        return known

    def owners(self) -> tuple[tuple[str, str], ...]:
        """(owner, language) of everything imported."""
        return tuple(
            (path.parent.parent.name, path.parent.name) for path in self._folder.glob(f"*/*/{INDEX}")
        )

    def sound(self, owner: str, language: str, name: str) -> bytes:
        """The packets of one recording; empty when the file is missing or not what was imported."""
        found = self.names(owner, language).get(name)
        if found is None:
            return b""
        if found.sha256 not in self._sounds:
            self._keep(found.sha256, self._folder / owner / language / found.file)
        return self._sounds.get(found.sha256, b"")

    def said(self, owner: str, language: str, sentence: Said) -> bytes:
        """The whole sentence from recordings; empty when one of its pieces has none."""
        parts = self.parts(owner, language, sentence)
        sounds = [self.sound(owner, language, part) if part else SILENCE * PAUSE_PACKETS for part in parts]
        return b"".join(sounds) if all(sounds) else b""

    def parts(self, owner: str, language: str, sentence: Said) -> tuple[str, ...]:
        """The recordings that say a sentence, `PAUSE` between groups; none when one is missing."""
        known = self._list(owner, language)
        if sentence.key not in VALUES:
            return (sentence.key,) if sentence.key in known.recordings else ()
        parts: list[str] = []
        for piece in sentence.pieces:
            found = known.parts_of(sentence.key, piece)
            if not found:
                return ()
            parts += found
        return tuple(parts)

    def store(self, owner: str, language: str, made: Mapping[str, tuple[str, bytes]]) -> None:
        """Puts in recordings (name → words, packets) or replaces them; all of them at once or none."""
        folder = self._folder / owner / language
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = {name: _recording(name, words, ulaw) for name, (words, ulaw) in made.items()}
        for name, one in fresh.items():
            _write(folder / one.file, made[name][1])
        self._replace(folder, {**self.names(owner, language), **fresh})

    def remove(self, owner: str, language: str, names: Iterable[str]) -> None:
        """Takes recordings out; what is said from now on is the next best."""
        gone = set(names)
        kept = {name: one for name, one in self.names(owner, language).items() if name not in gone}
        self._replace(self._folder / owner / language, kept)

    def _replace(self, folder: Path, recordings: Mapping[str, Recording]) -> None:
        rows = [asdict(one) for _, one in sorted(recordings.items())]
        _write(folder / INDEX, json.dumps({"recordings": rows}, indent=1, ensure_ascii=False).encode())
        self._lists.pop(folder / INDEX, None)
        wanted = {INDEX, *(one.file for one in recordings.values())}
        for path in folder.iterdir():
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def _keep(self, digest: str, path: Path) -> None:
        try:
            ulaw = path.read_bytes()
        except OSError:
            return
        if digest_of(ulaw) == digest and len(ulaw) % PACKET_SAMPLES == 0:
            self._sounds[digest] = ulaw
        if len(self._sounds) > SOUNDS_MAX:
            self._sounds.popitem(last=False)


def _recording(name: str, words: str, ulaw: bytes) -> Recording:
    digest = digest_of(ulaw)
    return Recording(name, f"{name}-{digest[:16]}.ulaw", digest, words)


def _read_index(path: Path) -> Mapping[str, Recording]:
    try:
        body = path.read_bytes()
        rows = json.loads(body)["recordings"] if len(body) <= INDEX_BYTES_MAX else []
        found = [Recording(**row) for row in rows]
        return {one.name: one for one in found if Path(one.file).name == one.file}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(path: Path, body: bytes) -> None:
    """All of it or nothing, and still there after a power cut."""
    beside = path.with_name(f".{secrets.token_hex(8)}")
    with beside.open("xb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
