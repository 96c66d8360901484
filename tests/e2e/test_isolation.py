"""The app at full load and the media beside it: no packet waits for somebody else's interpreter lock."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import pytest

from pay_ivr.proof.audio import encode
from pay_ivr.proof.rtp_port import Datagram, payload_of
from tests.support.node import Node, Talk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.proof,
    pytest.mark.asyncio(loop_scope="module"),
]

AGENTS = 3
"""Calls at once: with 50 packets a second each, the 99th percentile of a round is its third or so."""
ROUNDS = 4
ROUND_S = 1.5
SETTLE_S = 0.2
"""Until a flood has come to speed, and until the app has answered what is left of it."""
DELAY_RATIO_MAX = 2.0
DELAY_SLACK_S = 0.001
"""The app now competes with the telephones of this test for two cores; a shared interpreter lock would cost
its switch interval of 5 ms, and more than once."""
BUSY_SHARE_MIN = 0.8
"""Of a round in which the app under the flood had work to do, whether or not it was given a core."""
FLOOD = """
import socket, sys
request = b"GET /v1/calls HTTP/1.1\\r\\nHost: " + sys.argv[1].encode() + b"\\r\\n\\r\\n"
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as desk:
    while True:
        desk.sendall(request * 64)
        answers = 0
        while answers < 64:
            answers += desk.recv(1 << 20).count(b"HTTP/1.1 ")
"""
"""Asks faster than any desk can answer, 64 requests at a time, from a process of its own."""


@contextmanager
def flooded(address: str, port: int) -> Iterator[None]:
    """The app answers as many requests as it can."""
    flood = subprocess.Popen([sys.executable, "-c", FLOOD, address, str(port)])
    try:
        yield
        assert flood.poll() is None
    finally:
        flood.kill()
        flood.wait()


def wanted_s(pid: int) -> float:
    """Seconds in which a process ran or waited for a core (the kernel's schedstat, in nanoseconds)."""
    ran, waited, _slices = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
    return (int(ran) + int(waited)) / 1e9


def delays_s(talks: Sequence[Talk], since: float) -> list[float]:
    """What lay between a caller's frame leaving and its arrival at the agent's phone."""
    found = []
    for talk in talks:
        arrived = {payload_of(packet.data)[3]: packet.at for packet in heard(talk, since)}
        rtp = talk.caller.rtp
        recent = [number for number, at in enumerate(rtp.sent_at) if at >= since]
        left = {encode(rtp.sent_samples[number], rtp.codec): rtp.sent_at[number] for number in recent}
        found += [arrived[payload] - at for payload, at in left.items() if payload in arrived]
    return found


def heard(talk: Talk, since: float) -> list[Datagram]:
    """RTP of the agent's phone, from some moment on."""
    assert talk.place.phone is not None
    return [packet for packet in talk.place.phone.rtp.received if packet.at >= since]


async def one_round(talks: Sequence[Talk]) -> float:
    """The 99th percentile of the delay, in seconds."""
    since = time.monotonic()
    await asyncio.sleep(ROUND_S)
    delays = sorted(delays_s(talks, since))
    assert len(delays) > 0.8 * len(talks) * ROUND_S * 50
    return delays[int(0.99 * len(delays))]


async def test_a_busy_app_delays_no_packet(node: Node) -> None:
    """With the app at the limit of its core, the agents' legs are at most twice as late as before."""
    desk = urlsplit(node.stage.facts["http_url"])
    app = node.stage.pids()["app"]
    idle, busy, shares = [], [], []
    async with AsyncExitStack() as stack:
        talks = [await stack.enter_async_context(place.call()) for place in node.places]
        await asyncio.sleep(SETTLE_S)
        for _ in range(ROUNDS):
            idle.append(await one_round(talks))
            with flooded(str(desk.hostname), int(desk.port or 80)):
                await asyncio.sleep(SETTLE_S)
                used, since = wanted_s(app), time.monotonic()
                busy.append(await one_round(talks))
                shares.append((wanted_s(app) - used) / (time.monotonic() - since))
            await asyncio.sleep(SETTLE_S)
    print(
        f"\np99 {median(idle) * 1e6:.0f} us idle, {median(busy) * 1e6:.0f} us busy, app {median(shares):.2f}"
    )
    assert median(shares) > BUSY_SHARE_MIN
    assert median(busy) <= DELAY_RATIO_MAX * median(idle) + DELAY_SLACK_S
