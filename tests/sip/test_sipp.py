"""SIPp as caller and agent around a bridge of ours, over real sockets on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from pay_ivr.sip.digest import Algorithm
from pay_ivr.sip.endpoint import SipSettings
from pay_ivr.sip.legstate import EndReason
from pay_ivr.sip.registrar import Registrar
from pay_ivr.sip.rim import Timers
from tests.support import sipp
from tests.support.b2bua import REINVITE_USER, Bridge

pytestmark = pytest.mark.tool("sipp")

WAIT_S = 20.0
"""For what takes milliseconds on an idle machine; who waits so long waits for ever."""
SETTINGS = {"udp_port": 0, "tcp_port": 0}


@asynccontextmanager
async def bridge(
    agent: sipp.Sipp | None = None, *, tcp_agent: bool = False, **settings
) -> AsyncIterator[Bridge]:
    """A bridge that calls `agent` for every caller, and leaves nothing behind."""
    target = f"sip:agent@127.0.0.1:{agent.port}" if agent else "sip:agent@127.0.0.1:9"
    made = Bridge(SipSettings(**{**SETTINGS, **settings}), target + (";transport=tcp" if tcp_agent else ""))
    await made.endpoint.start()
    try:
        yield made
    finally:
        await made.endpoint.stop()
    counters = made.endpoint.counters
    assert (0, 0, 0) == (counters["legs"], counters["dialogs"], counters.get("handler_failed", 0))


class Stage:
    """Programs of one test, ended with it."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def start(self, scenario: str, port: int | None = None, **how) -> sipp.Sipp:
        phone = await sipp.start(scenario, port, **how)
        self._stack.push_async_callback(phone.end)
        return phone

    async def play(self, scenario: str, port: int | None, **how) -> str:
        """Runs a scenario to its end; empty when it went as written."""
        return (await (await self.start(scenario, port, **how)).outcome()).failure

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    await made.close()


async def until(true: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """Waits for something that the network brings."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - what is waited for comes from outside
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("caller", "agent", "reason"),
    [
        ("caller", "agent", EndReason.REMOTE_HANG_UP),
        ("caller_waits", "agent_hangs_up", EndReason.LOCAL_HANG_UP),
        ("caller_cancels", "agent_rings", EndReason.CANCELLED),
        ("caller_holds", "agent", EndReason.REMOTE_HANG_UP),
        ("caller", "agent_holds", EndReason.REMOTE_HANG_UP),
        ("caller_late_offer", "agent", EndReason.REMOTE_HANG_UP),
        ("caller", "agent_rings_again", EndReason.REMOTE_HANG_UP),
        ("caller_refused_486", "agent_refuses_486", EndReason.REJECTED),
        ("caller_refused_603", "agent_refuses_603", EndReason.REJECTED),
        ("caller_refused_404", "agent_refuses_404", EndReason.REJECTED),
        ("caller_refused_500", "agent_refuses_503", EndReason.REJECTED),
        ("cseq_backwards", "agent", EndReason.REMOTE_HANG_UP),
        ("caller_cancels_too_late", "agent", EndReason.REMOTE_HANG_UP),
        ("caller_cancels", "agent_answers_the_cancel", EndReason.CANCELLED),
    ],
)
async def test_call_goes_as_written_on_both_sides(
    stage: Stage, caller: str, agent: str, reason: EndReason
) -> None:
    """Both SIPps see exactly what their scenarios say, four calls each."""
    phone = await stage.start(agent, calls=4)
    async with bridge(phone) as made:
        assert "" == await stage.play(caller, made.endpoint.udp_port, calls=4)
        assert "" == (await phone.outcome()).failure
        await until(lambda: len(made.ends) == 8)
        assert [reason] * 4 == [ended for name, ended, _ in made.ends if name == "caller"]


async def test_cancel_straight_after_100(stage: Stage) -> None:
    """The agent has perhaps not rung yet; the caller gets its 487 all the same."""
    phone = await stage.start("agent_rings")
    async with bridge(phone) as made:
        assert "" == await stage.play("caller_cancels_at_once", made.endpoint.udp_port)
        assert "" == (await phone.outcome()).failure


async def test_no_cancel_before_the_first_provisional(stage: Stage) -> None:
    """RFC 3261 §9.1: the agent's SIPp fails on a CANCEL that comes before its late 180."""
    phone = await stage.start("agent_rings_late")
    async with bridge(phone) as made:
        assert "" == await stage.play("caller_cancels_at_once", made.endpoint.udp_port)
        assert "" == (await phone.outcome()).failure


async def test_every_fork_that_answers_is_told(stage: Stage) -> None:
    """Four calls to two phones each: four second answers, each with its ACK and its BYE."""
    phone = await stage.start("agent_forks", calls=4)
    async with bridge(phone) as made:
        assert "" == await stage.play("caller_waits", made.endpoint.udp_port, calls=4)
        assert "" == (await phone.outcome()).failure
        assert (4, 4) == (made.endpoint.counters["forks"], made.confirmed)


async def test_glare_ends_with_our_offer_accepted(stage: Stage) -> None:
    """Both sides re-INVITE at once: 491 for both, ours comes again after the back-off."""
    phone = await stage.start("agent")
    async with bridge(phone) as made:
        assert "" == await stage.play("caller_glares", made.endpoint.udp_port, user=REINVITE_USER)
        assert [200] == made.reinvites


async def test_info_is_answered_and_never_given_on(stage: Stage) -> None:
    """The agent's SIPp fails on any INFO; without a permitted source the key is dropped and counted."""
    phone = await stage.start("agent")
    async with bridge(phone) as made:
        assert "" == await stage.play("caller_sends_info", made.endpoint.udp_port)
        assert "" == (await phone.outcome()).failure
        assert ([], 1, 0) == (made.keys, made.endpoint.counters["info_dropped"], made.sent("INFO"))


async def test_info_key_of_a_permitted_source_is_heard_once(stage: Stage) -> None:
    """The same call from a source on the list."""
    phone = await stage.start("agent")
    async with bridge(phone, info_from=frozenset({"127.0.0.1"})) as made:
        assert "" == await stage.play("caller_sends_info", made.endpoint.udp_port)
        assert ([5], 0) == (made.keys, made.sent("INFO"))


@pytest.mark.parametrize("caller_tcp", [True, False])
@pytest.mark.parametrize("agent_tcp", [True, False])
async def test_calls_over_streams(stage: Stage, caller_tcp: bool, agent_tcp: bool) -> None:
    """TCP on either side or both, hold included; everything of a call stays on its connection."""
    phone = await stage.start("agent", calls=4, tcp=agent_tcp)
    async with bridge(phone, tcp_agent=agent_tcp) as made:
        port = made.endpoint.tcp_port if caller_tcp else made.endpoint.udp_port
        assert "" == await stage.play("caller_holds", port, calls=4, tcp=caller_tcp)
        assert "" == (await phone.outcome()).failure
        assert caller_tcp + agent_tcp == len({line.peer for line in made.trace if line.transport == "TCP"})


async def test_lost_ack_is_eleven_answers_and_a_bye(stage: Stage) -> None:
    """With T1 at 50 ms, so that 64·T1 is 3.2 s; the counts do not depend on T1."""
    phone = await stage.start("agent")
    async with bridge(phone, timers=Timers(t1=0.05, t2=0.4, t4=0.5)) as made:
        assert "" == await stage.play("caller_never_acks", made.endpoint.udp_port)
        answers = [
            line
            for line in made.trace
            if line.direction == "out" and line.first_line == "SIP/2.0 200 OK" and line.cseq == "1 INVITE"
        ]
        assert (11, ("caller", EndReason.ACK_MISSING, 408)) == (len(answers), made.ends[0])


async def test_unreachable_agent_is_480(stage: Stage) -> None:
    """Nobody listens at the agent's port: timer B, then 480 for the caller."""
    async with bridge(timers=Timers(t1=0.05, t2=0.4, t4=0.5)) as made:
        assert "" == await stage.play("caller_refused_480", made.endpoint.udp_port)
        assert ("agent", EndReason.NO_RESPONSE, 408) == made.ends[0]


async def test_agent_that_only_rings_is_given_up(stage: Stage) -> None:
    """The ring time-out cancels the agent and refuses the caller with 480."""
    phone = await stage.start("agent_rings")
    async with bridge(phone) as made:
        made.ring_timeout_s = 1.0
        assert "" == await stage.play("caller_refused_480", made.endpoint.udp_port)
        assert "" == (await phone.outcome()).failure


@pytest.mark.proof
async def test_ringing_for_36_seconds_is_answered(stage: Stage) -> None:
    """Longer than timer B in real time."""
    phone = await stage.start("agent_rings_long", timeout_s=60)
    async with bridge(phone) as made:
        assert "" == await stage.play("caller", made.endpoint.udp_port, timeout_s=60)
        assert "" == (await phone.outcome()).failure


@pytest.mark.parametrize("scenario", ["options", "require_unknown", "bye_unknown"])
async def test_refusals_that_need_no_call(stage: Stage, scenario: str) -> None:
    """OPTIONS 200 with Allow; 420 with Unsupported; 481."""
    async with bridge() as made:
        assert "" == await stage.play(scenario, made.endpoint.udp_port)
        assert [] == made.ends


async def test_draining_node_sends_probes_and_calls_away(stage: Stage) -> None:
    """503 with Retry-After to OPTIONS and to new calls; the call that is up ends as it likes."""
    phone = await stage.start("agent_hangs_up")
    async with bridge(phone) as made:
        call = await stage.start("caller_waits", made.endpoint.udp_port)
        await until(lambda: made.confirmed == 1)
        made.endpoint.drain()
        assert "" == await stage.play("options_draining", made.endpoint.udp_port)
        assert "" == await stage.play("caller_overload", made.endpoint.udp_port)
        assert "" == (await call.outcome()).failure
        assert 1 == made.endpoint.counters["overload"]


async def test_burst_beyond_the_limit_is_refused_and_calls_inside_it_are_unharmed(stage: Stage) -> None:
    """30 calls at 100 a second into a node for ten: ten up, twenty 503 with Retry-After."""
    phone = await stage.start("agent", calls=10)
    async with bridge(phone, calls_max=10) as made:
        assert "" == await stage.play("caller_overload", made.endpoint.udp_port, calls=30, rate=100)
        assert "" == (await phone.outcome()).failure
        assert (10, 20) == (made.confirmed, made.endpoint.counters["overload"])


async def test_register_with_digest(stage: Stage) -> None:
    """401, then 200; the phone is found under its user and called where it registered."""
    registrar = Registrar("pay-ivr", {"agent1": "sesame"}.get, algorithms=[Algorithm.MD5])
    made = Bridge(SipSettings(**SETTINGS), registrar=registrar)
    await made.endpoint.start()
    try:
        port = made.endpoint.udp_port
        login = ("-au", "agent1", "-ap", "sesame")
        assert "" == await stage.play("register", port, user="agent1", options=login)
        assert ["127.0.0.1"] == [contact.flow.ip for contact in registrar.lookup("agent1")]
    finally:
        await made.endpoint.stop()


@pytest.mark.parametrize("user", ["agent1", "nobody"])
async def test_wrong_password_and_unknown_user_look_the_same(stage: Stage, user: str) -> None:
    """401 and 401 for both."""
    made = Bridge(
        SipSettings(**SETTINGS),
        registrar=Registrar("pay-ivr", {"agent1": "sesame"}.get, algorithms=[Algorithm.MD5]),
    )
    await made.endpoint.start()
    try:
        login = ("-au", user, "-ap", "guess")
        assert "" == await stage.play("register_refused", made.endpoint.udp_port, user=user, options=login)
        assert [] == made.registrar.lookup(user)
    finally:
        await made.endpoint.stop()
