"""Whose packets a leg takes."""

import pytest

from vault.media.latch import Latch

SDP = ("192.0.2.10", 4000)


@pytest.mark.parametrize(
    ("sender", "admitted"),
    [
        (SDP, True),
        (("192.0.2.10", 4002), True),
        (("198.51.100.7", 61_000), True),
        (("203.0.113.66", 4000), False),
    ],
)
def test_before_the_latch_only_sdp_and_sip_source_count(sender: tuple[str, int], admitted: bool) -> None:
    """The SDP's address, its IP from another port, the SIP source's IP; nobody else."""
    assert admitted == Latch(SDP, "198.51.100.7").admits(sender)


def test_after_the_latch_only_the_peer_counts() -> None:
    """Not even the SDP's own address takes the place of a latched peer."""
    latch = Latch(SDP, "198.51.100.7").latched(("198.51.100.7", 61_000))
    assert latch.admits(("198.51.100.7", 61_000))
    assert not latch.admits(SDP)
    assert not latch.admits(("198.51.100.7", 61_001))
    assert ("198.51.100.7", 61_000) == latch.target


def test_signalling_renews_the_latch_only_with_something_new() -> None:
    """The same remote keeps the peer, another one opens the latch."""
    latch = Latch(SDP, "198.51.100.7").latched(("198.51.100.7", 61_000))
    assert latch is latch.renewed(SDP, "198.51.100.7")
    newer = latch.renewed(("192.0.2.10", 5000), "198.51.100.7")
    assert (None, ("192.0.2.10", 5000)) == (newer.peer, newer.target)


def test_without_a_sip_source_only_the_sdp_counts() -> None:
    """An empty source IP admits nobody."""
    assert Latch(SDP).admits(SDP)
    assert not Latch(SDP).admits(("203.0.113.66", 4000))
