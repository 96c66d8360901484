"""Bad networks on a fake clock: calls come up and end, and every table is empty afterwards."""

from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pay_ivr.sip.invite import InviteLeg
from pay_ivr.sip.legstate import LIVE, EndReason, LegState
from tests.support.sipnet import SDP, Net, Node, Observed, Weather

CALLER, CALLED = "192.0.2.1", "192.0.2.2"


class Traffic:
    """Calls between two nodes through one weather; what each side does and when comes from the seed."""

    def __init__(self, weather: Weather, seed: int) -> None:
        self.net = Net(weather, seed)
        self.random = Random(seed)
        self.caller = Node(self.net, CALLER)
        self.called = Node(self.net, CALLED)
        self.called.decide = self._decide
        self.calls: list[tuple[InviteLeg, Observed]] = []

    def _later(self, low: float, high: float, action) -> None:
        self.net.clock.call_later(self.random.uniform(low, high), action)

    def _decide(self, leg: InviteLeg) -> None:
        """Rings, then answers, refuses or leaves it; whatever it does may come too late for a CANCEL."""
        leg.ring()
        fate = self.random.random()
        if fate < 0.7:
            self._later(0, 3, lambda: leg.answer(SDP) if leg.state is LegState.RINGING else None)
        elif fate < 0.9:
            self._later(0, 3, lambda: leg.reject(486) if leg.state is LegState.RINGING else None)

    def start(self, count: int, per_second: float) -> None:
        for number in range(count):
            self.net.clock.call_later(number / per_second, self._call)

    def _call(self) -> None:
        leg, observer = self.caller.call(f"4930@{CALLED}", ring_timeout_s=8)
        self.calls.append((leg, observer))
        if self.random.random() < 0.3:
            self._later(0, 6, leg.hang_up)
        self._later(6, 12, lambda: leg.reinvite(SDP) if leg.state is LegState.UP else None)
        self._later(6, 12, self._reinvite_back)
        self._later(15, 20, leg.hang_up)

    def _reinvite_back(self) -> None:
        leg = self.random.choice(self.called.legs) if self.called.legs else None
        if leg is not None and leg.state is LegState.UP:
            leg.reinvite(SDP)

    def ends(self) -> list[int]:
        """How often each observer of both sides was told the end."""
        observers = [observer for _, observer in self.calls] + self.called.observers
        return [len(observer.ended) for observer in observers]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "weather",
    [
        Weather(),
        Weather(loss=0.1),
        Weather(loss=0.2, doubled=0.1, delay_s=(0.001, 0.4)),
        Weather(loss=0.5, doubled=0.3, delay_s=(0.001, 2.0)),
    ],
    ids=["fair", "rain", "storm", "hurricane"],
)
def test_every_call_ends_once_and_no_table_keeps_anything(weather: Weather, seed: int) -> None:
    """100 calls with CANCELs, refusals, re-INVITEs from both sides and crossing BYEs, by a seed."""
    traffic = Traffic(weather, seed)
    traffic.start(100, per_second=20)
    traffic.net.clock.run(700)
    assert {1} == set(traffic.ends())
    assert (True, True, 0) == (traffic.caller.empty(), traffic.called.empty(), traffic.net.clock.pending)
    assert [] == [leg.state for leg, _ in traffic.calls if leg.state is not LegState.ENDED]


@pytest.mark.parametrize("loss", [0.1, 0.2])
def test_calls_succeed_in_spite_of_loss(loss: float) -> None:
    """At 10 and 20 % loss in both directions every one of 200 calls comes up."""
    net = Net(Weather(loss=loss), seed=7)
    caller, called = Node(net, CALLER), Node(net, CALLED)

    def answer(leg: InviteLeg) -> None:
        leg.ring()
        leg.answer(SDP)

    called.decide = answer
    calls = []
    for number in range(200):
        net.clock.call_later(number / 20, lambda: calls.append(caller.call(f"1@{CALLED}")))
    net.clock.run(60)
    assert 200 == sum(leg.state is LegState.UP for leg, _ in calls)
    for leg, _ in calls:
        leg.hang_up()
    net.clock.run(300)
    assert (True, True) == (caller.empty(), called.empty())
    assert {EndReason.LOCAL_HANG_UP} == {observer.ended[0][0] for _, observer in calls}


ACTIONS = st.lists(
    st.tuples(
        st.floats(0, 6),
        st.sampled_from(["caller", "called"]),
        st.sampled_from(["ring", "answer", "reject", "reinvite", "hang_up"]),
    ),
    max_size=10,
)
WEATHERS = st.builds(
    Weather,
    loss=st.sampled_from([0.0, 0.2, 0.6]),
    doubled=st.sampled_from([0.0, 0.3]),
    delay_s=st.sampled_from([(0.01, 0.01), (0.001, 1.0)]),
)


ALL_ELEVEN_LOST = [
    (2.0, "called", "answer"),
    (2.0, "caller", "reinvite"),
    (3.0, "caller", "reinvite"),
    (1.0, "caller", "ring"),
]
"""With seed 669 and this loss no BYE arrives: whoever was called cannot know."""


@settings(max_examples=100, deadline=None)
@given(weather=WEATHERS, actions=ACTIONS, seed=st.integers(0, 10_000))
@example(weather=Weather(loss=0.6, delay_s=(0.01, 0.01)), actions=ALL_ELEVEN_LOST, seed=669)
def test_any_order_of_verbs_in_any_weather_ends_clean(weather: Weather, actions: list, seed: int) -> None:
    """Verbs at any moment, on either side: each observer hears one end, and nothing is left.

    A leg that no BYE reached stands until its own side ends it, and then ends as clean.
    """
    net = Net(weather, seed)
    caller, called = Node(net, CALLER), Node(net, CALLED)
    leg, observer = caller.call(f"1@{CALLED}")
    for pause, side, verb in actions:
        net.clock.run(pause)
        act(leg if side == "caller" else next(iter(called.legs), None), verb)
    leg.hang_up()
    net.clock.run(600)
    for deaf in [one for one in called.legs if one.state in LIVE]:
        assert "BYE" not in net.heard_by(CALLED)
        deaf.hang_up()
    net.clock.run(600)
    assert {1} == {len(each.ended) for each in [observer, *called.observers]}
    assert (True, True, 0) == (caller.empty(), called.empty(), net.clock.pending)


def act(leg: InviteLeg | None, verb: str) -> None:
    """The verb, where the leg's state allows it."""
    undecided = leg is not None and leg.is_uas and leg.state in {LegState.ARRIVED, LegState.RINGING}
    if leg is None or leg.state not in LIVE:
        return
    if verb == "ring" and undecided:
        leg.ring()
    elif verb == "answer" and undecided:
        leg.answer(SDP)
    elif verb == "reject" and undecided:
        leg.reject(486)
    elif verb == "reinvite" and leg.state is LegState.UP:
        leg.reinvite(SDP)
    elif verb == "hang_up":
        leg.hang_up()
