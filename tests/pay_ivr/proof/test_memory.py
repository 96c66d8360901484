"""Live memory of a real process is read and searched, and what cannot be read is said."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pay_ivr.proof.canary import Canary, make_canary
from pay_ivr.proof.controls import pan_as_objects, pan_in_memory
from pay_ivr.proof.memory import Place, look, node_processes, remember, until_gone
from pay_ivr.proof.scan import Needles

pytestmark = pytest.mark.root

KEEPER = """
import collections, sys
class Press:
    __slots__ = ("key", "at")
    def __init__(self, key): self.key, self.at = key, 1.0
kept = []
print("up", flush=True)
for line in sys.stdin:
    keys = line.strip()
    kept.append(collections.deque([Press(int(key)) for key in keys], maxlen=16))
    del keys, line
    print("kept", flush=True)
"""


class Keeper:
    """A Python process that keeps keys as a phone system might: objects in a deque."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.place = Place("keeper", self.process.pid)
        self._answer()

    def keep(self, card: Canary) -> None:
        """Give it a card."""
        assert self.process.stdin is not None
        self.process.stdin.write(card.pan + "\n")
        self.process.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.readline()


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    """A process that is ended by its own pid."""
    one = Keeper()
    yield one
    one.process.communicate(timeout=10)


def encodings(keeper: Keeper, needles: Needles, before: bool = False) -> set[str]:
    """What is found in the process."""
    looked = look(keeper.place, needles, remember(keeper.place) if before else None)
    assert looked is not None
    assert looked[0].int_tables == 1
    return {hit.encoding for hit in looked[0].hits if hit.digits >= 10}


def test_keys_in_objects_of_a_deque_are_found(keeper: Keeper) -> None:
    """No byte of the PAN stands next to another: the pointers tell."""
    card = make_canary(1, 2026)
    keeper.keep(card)
    assert "objects of keys" in encodings(keeper, Needles([card]))


def test_list_of_small_integers_is_found() -> None:
    """A list of ints is a row of pointers."""
    assert pan_as_objects(make_canary(1, 2026))


def test_card_that_was_never_given_is_not_found(keeper: Keeper) -> None:
    """The search sees nothing that is not there."""
    keeper.keep(make_canary(1, 2026))
    assert set() == encodings(keeper, Needles([make_canary(2, 2026)]))


def test_only_changed_pages_are_searched_again(keeper: Keeper) -> None:
    """What came after the look before is found; nothing is searched when nothing changed."""
    first = remember(keeper.place)
    assert first is not None
    card = make_canary(1, 2026)
    keeper.keep(card)
    looked = look(keeper.place, Needles([card]), first)
    assert looked is not None
    again = look(keeper.place, Needles([card]), looked[1])
    assert again is not None
    assert any(hit.digits == 16 for hit in looked[0].hits)
    assert (0, looked[0].read_bytes) == (again[0].searched_bytes, again[0].read_bytes)


def test_pan_written_into_a_live_process_is_found_and_taken_out(keeper: Keeper) -> None:
    """The control on the broker does the same."""
    card = make_canary(1, 2026)
    assert pan_in_memory(keeper.place, card)
    assert set() == encodings(keeper, Needles([card]))


def test_environment_and_command_line_are_searched() -> None:
    """A secret in either is readable for everybody of the same user."""
    card, other = make_canary(1, 2026), make_canary(2, 2026)
    program = [sys.executable, "-c", "import sys; sys.stdin.read()", card.pan]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, env=os.environ | {"KEYS": other.pan})
    try:
        looked = look(Place("one", process.pid), Needles([card, other]))
    finally:
        process.communicate(timeout=10)
    assert looked is not None
    where = {(hit.where, hit.canary) for hit in looked[0].hits}
    assert {("command line of one", 1), ("environment of one", 2)} <= where


def test_process_that_has_ended_is_nothing(keeper: Keeper) -> None:
    """Voices come and go while the search runs."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert (None, []) == (look(Place("gone", process.pid), Needles([])), until_gone([process.pid], 0.0))


def test_descendants_belong_to_the_node_and_cells_stand_apart() -> None:
    """What a spawner forks is a cell; what others start is searched with them."""
    program = (
        "import subprocess, sys; print(subprocess.Popen(['sleep', '5']).pid, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        places, none = node_processes({"app": process.pid})
        _spawner, cells = node_processes({"spawner": process.pid})
    finally:
        os.kill(child, 9)
        process.communicate(timeout=10)
    assert ({"app", "app child"}, [], [child]) == ({one.name for one in places}, none, cells)
