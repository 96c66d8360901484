"""Searches bytes for canary cards: whole PANs and fragments, in eight encodings and spread over structures.

| encoding | a digit is | shortest fragment |
|---|---|---|
| ascii | 0x30-0x39, also with one blank, dash or dot between groups (then 10) | 6 |
| utf-16le | two bytes | 6 |
| utf-32le | four bytes | 6 |
| base64 | of ASCII, at each of its 3 alignments | 6 at the alignment of the text, 8 at any |
| hex | of ASCII, `3d` | 6 |
| raw | one byte 0-9 | 10 |
| int32 | four bytes little endian, 0-9 | 10 |
| bcd | half a byte, either half first | 10 |
| stride 2-64 | ASCII or raw, every nth byte | the first 10 |
| info | bodies `Signal=d` in order | 6 |

The shortest fragment is where chance ends: six digits of packed BCD are 24 bits, which any megabyte holds. A
fragment under `LONG` counts only when the digits around it do not contradict the PAN: a number that merely
happens to contain six digits in a row is none. The BIN and the last four are no secret: alone they never
count, and a short fragment has three digits beyond the BIN. What chance is left is measured by decoys, see
`canary.py`.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pay_ivr.proof.canary import BIN, PAN_DIGITS, Canary

WINDOW = 6
"""Digits of the shortest fragment."""
SECRET_MIN = 3
"""Digits beyond the BIN in it: with fewer, 9990000 in any table of numbers would be one."""
LONG = 10
"""A fragment of so many digits counts wherever it stands."""
OLD_SHORTEST = 8
"""Of a canary of an earlier round: six digits of a thousand cards would be found by chance."""
STRIDES = range(2, 65)
CVV_NEAR = 16
"""Bytes between last 4 and CVV: a JSON name, a log key, a column or two."""
SIGNAL = re.compile(rb"ignal\s*[=:]\s*\"?([0-9])")
"""`Signal=d` of application/dtmf-relay, and of anything that names it so."""
GROUP_DIGITS = (2, 6)
GROUP_MARKS = tuple(b" -.")
GROUPS_MIN = 3
CLOCK = re.compile(rb"[0-9]{2}:[0-9]{2}[.,]$")
"""A run of digits behind this is the fraction of a second."""
BASE64_LETTERS = (b"MNO", b"DTjz", b"AEIMQUYcgk", b"wxyz012345")
"""Three ASCII digits make four letters, one of each."""

Bytes = NDArray[np.uint8]
Digits = NDArray[np.uint8]
"""0-9; anything above is none."""
Places = NDArray[np.int64]

_PAIR = np.array(
    [high * 10 + low if max(high, low) < 10 else 255 for high in range(16) for low in range(16)], np.uint8
)


@dataclass(frozen=True)
class Hit:
    """A piece of a card where none may be; names places, never digits."""

    where: str
    encoding: str
    canary: int
    first: int
    """Place in the PAN, from 0; -1 for a CVV next to its last 4."""
    digits: int
    decoy: bool

    @property
    def short(self) -> bool:
        """True when chance can make it."""
        return self.digits < OLD_SHORTEST

    def __str__(self) -> str:
        if self.first < 0:
            return f"{self.where}: CVV of canary {self.canary} next to its last 4"
        piece = f"{self.digits} digits of canary {self.canary} from place {self.first}"
        return f"{self.where}: {piece}, {self.encoding}"


@dataclass(frozen=True)
class Needle:
    """One PAN as numbers, and the shortest fragment of it that is looked for."""

    card: Canary
    digits: tuple[int, ...]
    shortest: int


class Needles:
    """Cards to look for: of `fresh` every fragment, of `old` only long ones."""

    def __init__(self, fresh: Iterable[Canary], old: Iterable[Canary] = ()) -> None:
        self.needles = tuple(
            Needle(card, tuple(map(int, card.pan)), shortest)
            for cards, shortest in ((fresh, WINDOW), (old, OLD_SHORTEST))
            for card in cards
        )
        self._windows: dict[int, list[tuple[Needle, int]]] = {}
        for needle in self.needles:
            for first in range(PAN_DIGITS - WINDOW + 1):
                code = int("".join(map(str, needle.digits[first : first + WINDOW])))
                self._windows.setdefault(code, []).append((needle, first))
        self._windows.pop(int(BIN), None)
        self.known = np.zeros(10**WINDOW, np.bool_)
        self.known[list(self._windows)] = True
        self.heads = frozenset(one.digits[:LONG] for one in self.needles)
        """The first digits of every PAN."""
        rows = (card.digits[n : n + LONG] for card in self.needles for n in range(PAN_DIGITS - LONG + 1))
        self.long = np.unique(np.array([int("".join(map(str, row))) for row in rows], np.int64))
        """Every row of `LONG` digits as a number."""
        self._beside = {(one.card.last4, one.card.cvv): one.card for one in self.needles}

    def at(self, code: int) -> Sequence[tuple[Needle, int]]:
        """The PANs that hold these six digits, and where."""
        return self._windows.get(code, ())

    def beside(self, last4: str, cvv: str) -> Canary | None:
        """The card with this last 4 and this CVV."""
        return self._beside.get((last4, cvv))


def search(data: bytes, needles: Needles, where: str, *, aligned: bool = False) -> set[Hit]:
    """Everything of the cards in `data`. `aligned`: memory, where wide digits stand on their own borders."""
    memory = np.frombuffer(data, np.uint8)
    hits = _text(data, memory, needles, where)
    hits |= _wide(memory, needles, where, step=1 if not aligned else 4)
    hits |= match(memory, needles, where, "raw", LONG)
    hits |= _packed(memory, needles, where)
    hits |= _spread(memory, needles, where)
    return hits


# --- digit strings ----------------------------------------------------------------------------------


def match(
    values: Digits, needles: Needles, where: str, encoding: str, shortest: int = WINDOW, text: bytes = b""
) -> set[Hit]:
    """Fragments in a row of digits; `text` is what they were read from, to tell the fraction of a second."""
    found: set[Hit] = set()
    for place, code in _known_windows(values, needles, shortest):
        for needle, first in needles.at(code):
            hit = _grown(values, place, needle, first, shortest)
            if hit is not None and not (text and CLOCK.search(text[max(0, hit[2] - 6) : hit[2]])):
                found.add(Hit(where, encoding, needle.card.number, hit[0], hit[1], needle.card.decoy))
    return found


def _known_windows(values: Digits, needles: Needles, shortest: int) -> Iterator[tuple[int, int]]:
    """(place, code) of six digits in a row that a card holds, and that go on for `shortest` digits."""
    places = _rows_of(values, needles.known, shortest)
    codes = _codes(values, places)
    yield from zip(places.tolist(), codes.tolist(), strict=True)


def _rows_of(values: Digits, known: NDArray[np.bool_], shortest: int) -> Places:
    if len(values) < shortest:
        return np.empty(0, np.int64)
    digit = values < 10
    # Zeros are what most of a memory is made of; a long fragment has a window that begins with another digit.
    starts = digit & (values != 0) if shortest > WINDOW else digit
    length = len(values) - WINDOW + 1
    row = starts[:length]
    for step in range(1, WINDOW):
        row = row & digit[step : length + step]
    places = np.flatnonzero(row)
    places = places[known[_codes(values, places)]]
    if shortest > WINDOW:
        more = places + (shortest - WINDOW)
        places = places[more < length]
        more = places + (shortest - WINDOW)
        whole = np.logical_and.reduce([digit[more + step] for step in range(WINDOW)])
        places = places[whole]
        places = places[known[_codes(values, places + (shortest - WINDOW))]]
    return places


def _codes(values: Digits, places: Places) -> Places:
    code = np.zeros(len(places), np.int64)
    for step in range(WINDOW):
        code = code * 10 + values[places + step]
    return code


def _grown(
    values: Digits, place: int, needle: Needle, first: int, shortest: int
) -> tuple[int, int, int] | None:
    """(first place in the PAN, digits, place in `values`), or None when the surroundings contradict."""
    begin, end = place, place + WINDOW
    start, stop = first, first + WINDOW
    while start > 0 and begin > 0 and values[begin - 1] == needle.digits[start - 1]:
        start, begin = start - 1, begin - 1
    while stop < PAN_DIGITS and end < len(values) and values[end] == needle.digits[stop]:
        stop, end = stop + 1, end + 1
    digits = stop - start
    contradicted = (start > 0 and begin > 0 and values[begin - 1] < 10) or (
        stop < PAN_DIGITS and end < len(values) and values[end] < 10
    )
    beyond_bin = stop - max(start, len(BIN))
    if digits < max(shortest, needle.shortest) or (
        digits < LONG and (contradicted or beyond_bin < SECRET_MIN)
    ):
        return None
    return start, digits, begin


# --- encodings --------------------------------------------------------------------------------------


def _ascii(memory: Bytes) -> Digits:
    return memory - np.uint8(0x30)


def _text(data: bytes, memory: Bytes, needles: Needles, where: str) -> set[Hit]:
    """ASCII plain and grouped, base64, hex, INFO bodies, CVV next to last 4."""
    values = _ascii(memory)
    hits = match(values, needles, where, "ascii", text=data)
    starts, ends = _runs(values)
    hits |= _beside(values, starts, ends, needles, where)
    for digits in _grouped(memory, values, starts, ends):
        hits |= match(digits, needles, where, "ascii grouped", LONG)
    for piece in _base64_pieces(data, memory):
        hits |= match(_ascii(np.frombuffer(piece, np.uint8)), needles, where, "base64")
    for digits in _hex_rows(memory):
        hits |= match(digits, needles, where, "hex")
    signals = b"".join(SIGNAL.findall(data))
    return hits | match(_ascii(np.frombuffer(signals, np.uint8)), needles, where, "info")


def _runs(values: Digits) -> tuple[Places, Places]:
    """First place of every run of digits, and the place behind it."""
    digit = np.concatenate([[False], values < 10, [False]])
    edges = np.flatnonzero(digit[1:] != digit[:-1])
    return edges[::2], edges[1::2]


def _grouped(memory: Bytes, values: Digits, starts: Places, ends: Places) -> Iterator[Digits]:
    """Runs of two to six digits with one blank, dash or dot between them, put together."""
    lengths = ends - starts
    small = (lengths >= GROUP_DIGITS[0]) & (lengths <= GROUP_DIGITS[1])
    joined = small[:-1] & small[1:] & (starts[1:] - ends[:-1] == 1)
    joined &= np.isin(memory[np.minimum(ends[:-1], len(memory) - 1)], GROUP_MARKS)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], joined.astype(np.int8), [0]])))
    for first, behind in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if behind - first + 1 >= GROUPS_MIN:
            groups = range(first, behind + 1)
            yield np.concatenate([values[starts[group] : ends[group]] for group in groups])


def _base64_pieces(data: bytes, memory: Bytes) -> Iterator[bytes]:
    """Text behind groups of base64 that can be three digits, with a group on either side."""
    letters = [np.isin(np.arange(256), tuple(group)) for group in BASE64_LETTERS]
    places = np.flatnonzero(letters[0][memory[: max(0, len(memory) - 3)]])
    for step in range(1, 4):
        places = places[letters[step][memory[places + step]]]
    taken = set(places.tolist())
    for place in sorted(taken):
        if place - 4 in taken:
            continue
        end = place
        while end in taken:
            end += 4
        begin = place - 4 if place >= 4 else place
        yield _unbase64(data[begin : end + 4])


def _unbase64(letters: bytes) -> bytes:
    clean = re.sub(rb"[^A-Za-z0-9+/]", b"A", letters)
    return base64.b64decode(clean + b"A" * (-len(clean) % 4))


def _hex_rows(memory: Bytes) -> Iterator[Digits]:
    """Hex pairs as digits, from the first byte and from the second."""
    for offset in (0, 1):
        pairs = memory[offset : offset + (len(memory) - offset) // 2 * 2].reshape(-1, 2)
        yield np.where(pairs[:, 0] == ord("3"), _ascii(pairs[:, 1]), np.uint8(255))


def _wide(memory: Bytes, needles: Needles, where: str, *, step: int) -> set[Hit]:
    """UTF-16, UTF-32 and int32: digits in units of two or four bytes."""
    hits: set[Hit] = set()
    for width, kind, offsets in (
        (2, np.uint16, range(0, 2, min(step, 2))),
        (4, np.uint32, range(0, 4, step)),
    ):
        for offset in offsets:
            usable = memory[offset : offset + (len(memory) - offset) // width * width]
            units = usable.view(kind)
            name = "utf-16le" if width == 2 else "utf-32le"
            hits |= match(_digits(units, 0x30), needles, where, name)
            if width == 4:
                hits |= match(_digits(units, 0), needles, where, "int32", LONG)
    return hits


def _digits(units: NDArray[Any], first: int) -> Digits:
    """Units as digits: `first` is nought. Unsigned, so that what is below it becomes large."""
    return np.asarray(np.minimum(units - units.dtype.type(first), 255), np.uint8)


def _packed(memory: Bytes, needles: Needles, where: str) -> set[Hit]:
    """Packed BCD: five bytes are ten digits; where a card has these in a row, it is looked at closely."""
    pairs = _PAIR.take(memory)
    length = len(pairs) - 4
    if length <= 0:
        return set()
    good = pairs < 100
    row = good[:length] & (pairs[:length] != 0)
    for step in range(1, 5):
        row = row & good[step : length + step]
    places = np.flatnonzero(row)
    code = np.zeros(len(places), np.int64)
    for step in range(3):
        code = code * 100 + pairs[places + step]
    places, code = places[needles.known[code]], code[needles.known[code]]
    for step in (3, 4):
        code = code * 100 + pairs[places + step]
    places = places[np.isin(code, needles.long)]
    hits: set[Hit] = set()
    for place in places.tolist():
        around = memory[max(0, place - 8) : place + 16]
        halves = np.stack([around >> 4, around & 15], 1).reshape(-1)
        hits |= match(halves, needles, where, "bcd", LONG)
    return hits


def _spread(memory: Bytes, needles: Needles, where: str) -> set[Hit]:
    hits = rows_apart(_ascii(memory), STRIDES, needles, where, "ascii")
    return hits | rows_apart(memory, STRIDES, needles, where, "raw")


def rows_apart(values: Digits, strides: range, needles: Needles, where: str, name: str) -> set[Hit]:
    """A PAN on every nth place, from its first digit; every canary begins with the same BIN."""
    hits: set[Hit] = set()
    starts = np.flatnonzero(values == int(BIN[0]))
    for stride in strides:
        places = starts[: np.searchsorted(starts, len(values) - stride * (LONG - 1))]
        for step, digit in enumerate(map(int, BIN)):
            places = places[values[places + step * stride] == digit]
        for place in places.tolist():
            row = values[place : place + stride * PAN_DIGITS : stride]
            if tuple(row[:LONG].tolist()) in needles.heads:
                hits |= match(row, needles, where, f"{name} stride {stride}", LONG)
    return hits


def _beside(values: Digits, starts: Places, ends: Places, needles: Needles, where: str) -> set[Hit]:
    """CVV next to last 4: two runs of digits, three and four long, with little between them."""
    lengths, gaps = ends - starts, starts[1:] - ends[:-1]
    three_and_four = (lengths[:-1] + lengths[1:] == 7) & (abs(lengths[:-1] - lengths[1:]) == 1)
    hits: set[Hit] = set()
    for place in np.flatnonzero((gaps <= CVV_NEAR) & three_and_four).tolist():
        first, second = ("".join(map(str, values[starts[n] : ends[n]])) for n in (place, place + 1))
        last4, cvv = (first, second) if len(first) == 4 else (second, first)
        card = needles.beside(last4, cvv)
        if card is not None:
            hits.add(Hit(where, "ascii", card.number, -1, WINDOW, card.decoy))
    return hits
