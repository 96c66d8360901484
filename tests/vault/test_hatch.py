"""The hatch: a connection without a name, for whoever holds an end, and for nobody else."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault.hatch import answer, hatch, inherited, knock

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = hatch()
    with ours, theirs:
        yield ours, theirs


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_knock_becomes_a_connection(ends: Ends) -> None:
    """Whole messages, both ways."""
    with knock(ends[0]) as ours:
        theirs = answer(ends[1])
        assert theirs is not None
        with theirs:
            ours.send(b"one")
            theirs.send(b"two")
            assert (b"one", b"two") == (theirs.recv(9), ours.recv(9))


def test_a_knock_waits_for_a_process_that_is_being_restarted(ends: Ends) -> None:
    """Nobody listens yet; what was said meanwhile is there."""
    with knock(ends[0]) as ours:
        ours.send(b"early")
        again = socket.socket(fileno=os.dup(ends[1].fileno()))
        with again, answer(again) or socket.socket() as theirs:
            assert b"early" == theirs.recv(9)


def test_knocks_that_nobody_answers_have_an_end(ends: Ends) -> None:
    """Ten wait or so, then OSError; no descriptor is lost."""
    before, knocks = open_files(), []
    with pytest.raises(BlockingIOError):
        knocks.extend(knock(ends[0]) for _ in range(1000))
    while (peer := answer(ends[1])) is not None:
        peer.close()
    for each in knocks:
        each.close()
    assert before == open_files()


def test_without_another_side_there_is_an_error(ends: Ends) -> None:
    """Nobody holds the other end any more."""
    ends[1].close()
    with pytest.raises(ConnectionRefusedError):
        knock(ends[0])


def test_nobody_there_is_none(ends: Ends) -> None:
    """Without a knock there is nothing to wait for."""
    assert answer(ends[1]) is None


@pytest.mark.parametrize("number", [-1, 4_000, 10**12])
def test_a_number_that_is_no_descriptor_is_refused(number: int) -> None:
    """ValueError, whatever the number."""
    with pytest.raises(ValueError, match="no hatch"):
        inherited(number)


def test_another_kind_of_descriptor_is_refused_and_left_open() -> None:
    """A file, a stream, a datagram socket with a name."""
    named = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    named.bind("")
    with Path("/dev/null").open("rb") as file, socket.socket() as stream, named:
        for each in (file, stream, named):
            with pytest.raises(ValueError, match="no hatch"):
                inherited(each.fileno())
            os.fstat(each.fileno())


def test_an_inherited_end_goes_no_further(ends: Ends) -> None:
    """It is lost with the next exec."""
    number = os.dup(ends[1].fileno())
    os.set_inheritable(number, True)
    with inherited(number) as end:
        assert (False, False) == (end.get_inheritable(), end.getblocking())
