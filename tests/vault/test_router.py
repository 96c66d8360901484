"""The router: what it decides, what it calls, and the seven things that it must never do."""

import asyncio
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.scripted_provider import Act, Called, ScriptedProvider
from vault.door import PaymentState, Refused
from vault.keys import Keys, Secret, key_provider
from vault.payment import attempt_key
from vault.providers.base import (
    NEVER_SENT,
    AttemptRequest,
    Order,
    Outcome,
    OutcomeKind,
    StepKind,
    StepRequest,
)
from vault.readiness import lacking
from vault.router import Router, tried_of
from vault.routing import (
    CELL_GONE,
    MISS_WINDOW_S,
    MISSES_MAX,
    OPEN_S,
    SOFT_DECLINES,
    Breaker,
    Decision,
    Heard,
    Stay,
    Tried,
    able,
    first,
    following,
    heard_in,
)
from vault.store import AttemptRow
from vault.tenant import read_tenants

ROUTE = ("alpha", "beta", "gamma")
ORDER = Order("pay_one", "demo", 1995, "EUR", "moto_agent")
K = OutcomeKind
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How fast an example is made says something about a busy machine, and nothing about the code."""

# --- decisions --------------------------------------------------------------------------------------------

kinds = st.sampled_from([*OutcomeKind, None])
codes = st.sampled_from([*sorted(SOFT_DECLINES), "", "lost_card", "fraudulent", "do_not_honor", "new_code"])
advices = st.sampled_from(["", "do_not_try_again", "try_again_later", "confirm_card_data"])
tries = st.builds(Tried, st.sampled_from(ROUTE), kinds, codes, advices)
histories = st.lists(tries, min_size=1, max_size=5)
breakers = st.dictionaries(
    st.sampled_from(ROUTE),
    st.builds(Breaker, st.integers(0, 3), st.floats(0, 100), st.floats(0, 200)),
)
moments = st.floats(0, 300)
payables = st.sets(st.sampled_from(ROUTE))
anything = given(histories, breakers, moments, st.booleans(), payables)


def decided(history, held, now, cascade, payable) -> Decision:
    return following(ROUTE, history, held, now, cascade=cascade, payable=payable)


@CALM
@anything
def test_no_attempt_follows_one_without_a_definite_answer(history, held, now, cascade, payable):
    """Neither at another provider nor at the same: only `fetch` may go on."""
    if {None, K.UNKNOWN} & {tried.kind for tried in history}:
        assert decided(history, held, now, cascade, payable).provider is None


@CALM
@anything
def test_provider_changes_only_after_never_sent_or_one_soft_decline(history, held, now, cascade, payable):
    """Hard declines, doubts about a person and whatever nobody knows stay where they were said."""
    decision = decided(history, held, now, cascade, payable)
    last = history[-1]
    if decision.moves:
        soft = last.raw_code in SOFT_DECLINES and last.advice in {"", "try_again_later"}
        assert last.kind is K.NEVER_SENT or (cascade and last.kind is K.DECLINED and soft)
        assert {tried.kind for tried in history} <= {K.NEVER_SENT, K.DECLINED}
        assert decision.provider not in {tried.provider for tried in history}
    elif decision.provider is not None and decision.stay is not Stay.FIRST:
        assert last.provider == decision.provider


@CALM
@anything
def test_provider_is_not_left_while_somebody_could_pay_there(history, held, now, cascade, payable):
    """No attempt where a link at another provider is open, whatever the history."""
    decision = decided(history, held, now, cascade, payable)
    if decision.provider is not None:
        assert payable <= {decision.provider}


@CALM
@given(breakers, moments, payables)
def test_payment_with_an_open_link_begins_where_the_link_is(held, now, payable):
    """Two open links leave nowhere to begin."""
    decision = following(ROUTE, (), held, now, payable=payable)
    if not payable:
        assert (first(ROUTE, held, now), Stay.FIRST) == (decision.provider, decision.stay)
    elif len(payable) == 1:
        assert payable == {decision.provider}
    else:
        assert decision.provider is None


@CALM
@anything
def test_paid_payment_is_not_tried_again(history, held, now, cascade, payable):
    """Whatever came after it in the history."""
    if K.AUTHORISED in {tried.kind for tried in history}:
        assert (None, Stay.PAID) == (
            decided(history, held, now, cascade, payable).provider,
            decided(history, held, now, cascade, payable).stay,
        )


@CALM
@given(st.lists(st.sampled_from(ROUTE), min_size=2, max_size=6))
def test_declines_move_a_payment_on_once_at_most(providers):
    """A second cascade does not happen, even where it is switched on."""
    history = [Tried(name, K.DECLINED, "try_again_later") for name in providers]
    cascades = sum(a != b for a, b in pairwise(providers))
    decision = following(ROUTE, history, {}, 0.0, cascade=True)
    assert decision.moves is (cascades == 0)


def test_cascade_is_off_unless_it_is_switched_on():
    """By default a decline is an answer."""
    history = [Tried("alpha", K.DECLINED, "try_again_later")]
    assert Decision("alpha", Stay.DECLINED) == following(ROUTE, history, {}, 0.0)
    assert Decision("beta") == following(ROUTE, history, {}, 0.0, cascade=True)


def test_never_sent_goes_down_the_route_and_ends_where_it_ends():
    """Each provider once; then the last one again, if the caller tries again."""
    history: list[Tried] = []
    taken = []
    for _ in range(4):
        decision = following(ROUTE, history, {}, 0.0)
        taken.append(decision)
        history.append(Tried(str(decision.provider), K.NEVER_SENT))
    assert [
        Decision("alpha", Stay.FIRST),
        Decision("beta"),
        Decision("gamma"),
        Decision("gamma", Stay.NOBODY_ELSE),
    ] == taken


def test_open_breaker_is_passed_over_while_another_works():
    """When nobody works, the preferred one is tried all the same."""
    shut = Breaker(MISSES_MAX, 0.0, OPEN_S)
    assert "beta" == first(ROUTE, {"alpha": shut}, 1.0)
    assert "alpha" == first(ROUTE, dict.fromkeys(ROUTE, shut), 1.0)
    assert "alpha" == first(ROUTE, {"alpha": shut}, OPEN_S)
    never_sent = [Tried("alpha", K.NEVER_SENT)]
    assert Decision("gamma") == following(ROUTE, never_sent, {"beta": shut}, 1.0)
    assert Decision("alpha", Stay.NOBODY_ELSE) == following(
        ROUTE, never_sent, {"beta": shut, "gamma": shut}, 1.0
    )


@pytest.mark.parametrize(
    ("order", "lacking", "by_link"),
    [
        (ORDER, "moto", False),
        (replace(ORDER, sca_basis="moto_unattended"), "moto", False),
        (replace(ORDER, settle_later=True), "settle_later", False),
        (replace(ORDER, keep_card=True), "keeps_cards", False),
        (replace(ORDER, sca_basis="mit"), "keeps_cards", False),
        (replace(ORDER, sca_basis="link_3ds"), "links", True),
    ],
)
def test_provider_that_cannot_do_it_is_not_asked(order, lacking, by_link):
    """What a payment needs is known before it begins."""
    provider = ScriptedProvider("alpha")
    assert able(order, provider.abilities, by_link=by_link)
    assert not able(order, provider.able(**{lacking: False}).abilities, by_link=by_link)


# --- breakers ---------------------------------------------------------------------------------------------

heards = st.lists(st.tuples(st.sampled_from(Heard), st.floats(0, 40)), max_size=40)


@CALM
@given(heards)
def test_breaker_opens_by_misses_only(story):
    """Answers close it, declines among them; a 5xx or a cut connection neither opens nor closes."""
    breaker, now, row, last_miss = Breaker(), 0.0, 0, 0.0
    for heard, pause_s in story:
        now += pause_s
        before, breaker = breaker, breaker.after(heard, now)
        if heard is Heard.ANSWERED:
            row = 0
            assert Breaker() == breaker
        elif heard is Heard.LOST:
            assert before == breaker
        else:
            row = row + 1 if now - last_miss <= MISS_WINDOW_S or before.closed_to else 1
            last_miss = now
            assert breaker.lets_through(now) is (row < MISSES_MAX)


def test_one_payment_at_a_time_tries_a_provider_that_was_left():
    """Its answer lets the others come back; a miss leaves it alone for another pause."""
    shut = Breaker(MISSES_MAX, 0.0, OPEN_S)
    assert not shut.lets_through(OPEN_S - 0.1)
    trial = shut.tried(OPEN_S)
    assert not trial.lets_through(OPEN_S + 1)
    assert trial.after(Heard.ANSWERED, OPEN_S + 2).lets_through(OPEN_S + 2)
    again = trial.after(Heard.TIMED_OUT, OPEN_S + 2)
    assert not again.lets_through(2 * OPEN_S + 1.9)
    assert again.lets_through(2 * OPEN_S + 2)
    assert Breaker() == Breaker().tried(5.0)


def test_our_own_failure_is_no_miss_of_the_provider():
    """A cell that is gone sends nothing, and no provider is to blame."""
    assert Heard.LOST is heard_in(Outcome(K.NEVER_SENT, CELL_GONE))
    assert Heard.NEVER_SENT is heard_in(NEVER_SENT)
    assert Heard.LOST is heard_in(Outcome(K.UNKNOWN))
    assert Heard.ANSWERED is heard_in(Outcome(K.DECLINED, "lost_card"))


def test_our_own_failure_moves_no_payment():
    """Another provider would not have got it either."""
    row = stored(Outcome(K.DECLINED, CELL_GONE), "alpha", "alpha_pay_one", 1)
    assert Decision("alpha", Stay.DECLINED) == following(ROUTE, [tried_of(row)], {}, 0.0, cascade=True)


# --- the whole, with providers ----------------------------------------------------------------------------


@dataclass
class House:
    """Three scripted providers behind a router, with a clock that is moved by hand."""

    scripts: Sequence[Sequence[Act]] = ((), (), ())
    prepares: Sequence[Sequence[Act]] = ((), (), ())
    cascade: bool = False
    calls: list[Called] = field(default_factory=list)
    now: float = 1_000.0

    def __post_init__(self) -> None:
        self.providers = {
            ("demo", name): ScriptedProvider(name, self.calls, iter(acts), iter(prepares))
            for name, acts, prepares in zip(ROUTE, self.scripts, self.prepares, strict=True)
        }
        cascading = {"demo"} if self.cascade else ()
        self.router = Router({"demo": ROUTE}, self.providers, cascading=cascading, clock=lambda: self.now)

    async def attempt(self, provider: str, reference: str, number: int) -> AttemptRow:
        """One attempt with a card that was keyed for this provider."""
        key = attempt_key(ORDER.payment_id, number)
        token = f"tok_{provider}_{number}"
        request = AttemptRequest(reference, key, number, token, 1995, "EUR", "moto_agent")
        sending = self.router.at("demo", provider).authorise(request)
        outcome = await self.router.outcome("demo", provider, sending, 0.02)
        return stored(outcome, provider, reference, number)

    def sent(self, method: str = "authorise") -> list[Called]:
        return [called for called in self.calls if called.method == method]


_STATES = {
    K.AUTHORISED: PaymentState.SETTLED,
    K.DECLINED: PaymentState.DECLINED,
    K.NEVER_SENT: PaymentState.DECLINED,
    K.REQUIRES_ACTION: PaymentState.NEEDS_ACTION,
    K.UNKNOWN: PaymentState.UNKNOWN,
}


def stored(outcome: Outcome, provider: str, reference: str, number: int) -> AttemptRow:
    """The row that the broker keeps of an attempt."""
    raw_code = "never_sent" if outcome.kind is K.NEVER_SENT else outcome.raw_code
    key = attempt_key(ORDER.payment_id, number)
    return AttemptRow(
        ORDER.payment_id,
        number,
        key,
        _STATES[outcome.kind],
        "2026-01-02T03:04:05.000Z",
        raw_code,
        outcome.advice,
        provider=provider,
        provider_ref=reference,
    )


async def live(house: House, resolves: Sequence[OutcomeKind | None], link_at: str | None) -> list[AttemptRow]:
    """A payment as charges live it, up to five attempts; `resolves`: what a fetch finds, None for nothing."""
    try:
        begun = await house.router.begin(ORDER)
    except Refused:
        return []
    name, reference = begun.provider, begun.provider_ref
    attempts: list[AttemptRow] = []
    found = iter(resolves)
    payable = {link_at} if link_at else set()
    if payable - {name}:
        return []
    for number in range(1, 6):
        attempt = await house.attempt(name, reference, number)
        if attempt.state is PaymentState.UNKNOWN and (kind := next(found, None)) is not None:
            attempt = stored(Outcome(kind, "fetched"), name, reference, number)
        attempts.append(attempt)
        house.now += 7
        decision = house.router.following(ORDER, attempts, payable)
        if decision.provider is None:
            break
        if decision.moves:
            name = decision.provider
            try:
                reference = await house.router.at("demo", name).prepare(ORDER)
            except Exception:
                break
    return attempts


scripts = st.tuples(*(st.lists(st.sampled_from(Act), max_size=4) for _ in ROUTE))
beginnings = st.tuples(*(st.lists(st.sampled_from(list(Act)), max_size=2) for _ in ROUTE))
resolutions = st.lists(st.sampled_from([None, K.AUTHORISED, K.DECLINED, K.NEVER_SENT]), max_size=4)


@settings(CALM, max_examples=150)
@given(scripts, beginnings, resolutions, st.booleans(), st.sampled_from([None, *ROUTE]))
def test_a_router_never_does_what_it_must_never_do(acts, prepares, resolves, cascade, link_at):
    """The seven rules, read off everything that three providers were asked in a payment's life."""
    no_stalls = tuple([act for act in each if act is not Act.STALL] for each in prepares)
    house = House(acts, no_stalls, cascade)
    attempts = asyncio.run(live(house, resolves, link_at))
    sent = house.sent()
    moves = [(a, b) for a, b in pairwise(attempts) if a.provider != b.provider]
    kinds_of = [tried_of(attempt).kind for attempt in attempts]

    assert not {K.UNKNOWN, None} & set(kinds_of[:-1])  # 1, 3: nothing follows what nobody knows
    assert {link_at} >= {a.provider for a in attempts} or link_at is None  # 2
    for before, _after in moves:  # 2, 4
        tried = tried_of(before)
        assert tried.kind is K.NEVER_SENT or (cascade and tried.raw_code in SOFT_DECLINES)
        assert tried.advice != "do_not_try_again"
    assert 1 >= sum(tried_of(before).kind is K.DECLINED for before, _ in moves)
    assert len({called.key for called in sent}) == len(sent)  # 5
    assert all(called.token.split("_")[1] == called.provider for called in sent)
    assert all(called.provider_ref.split("_")[0] == called.provider for called in sent)
    assert 1 >= kinds_of.count(K.AUTHORISED)


@settings(CALM, max_examples=50)
@given(scripts, st.sampled_from(["settle", "void", "refund"]))
def test_steps_go_to_the_provider_of_the_charge(acts, step):
    """Rule 6, also when the breakers stand against that provider now."""

    async def scene() -> None:
        house = House(acts)
        attempts = await live(house, (), None)
        for name in ROUTE:
            for _ in range(MISSES_MAX):
                sending = ScriptedProvider(name, acts=iter([Act.NOT_SENT])).authorise(REQUEST)
                await house.router.outcome("demo", name, sending, 0.02)
        charged = [attempt for attempt in attempts if tried_of(attempt).kind is K.AUTHORISED]
        for attempt in charged:
            request = StepRequest(attempt.provider_ref, f"pay_one:{step}:1", 1995, "EUR")
            done = await getattr(house.router.at("demo", attempt.provider), step)(request)
            assert StepKind.DONE is done.kind
        assert [attempt.provider for attempt in charged] == [called.provider for called in house.sent(step)]

    asyncio.run(scene())


REQUEST = AttemptRequest("alpha_pay_one", "pay_one:authorise:1", 1, "tok_alpha_1", 1995, "EUR", "moto_agent")
ANSWERS = [Act.AUTHORISED, Act.SOFT, Act.HARD, Act.FRAUD, Act.ACTION]
LOSSES = [Act.CUT, Act.SERVER_ERROR, Act.LOCK_TIMEOUT]


@settings(CALM, max_examples=50)
@given(st.lists(st.sampled_from([*ANSWERS, *LOSSES]), min_size=1, max_size=20))
def test_neither_declines_nor_lost_answers_are_an_outage(acts):
    """Rules 3 and 7: the preferred provider stays the preferred one."""

    async def scene() -> None:
        house = House((acts, (), ()))
        for _ in acts:
            await house.router.outcome(
                "demo", "alpha", house.providers["demo", "alpha"].authorise(REQUEST), 1
            )
        assert "alpha" == house.router.first(ORDER)

    asyncio.run(scene())


@pytest.mark.parametrize("act", list(Act))
async def test_everything_but_a_definite_answer_is_unknown(act):
    """A 5xx, a cut connection, silence: not one of them is "not executed"."""
    outcome = await House().router.outcome(
        "demo", "alpha", ScriptedProvider("alpha", acts=iter([act])).authorise(REQUEST), 0.02
    )
    unsent, lost = {Act.UNSENT, Act.NOT_SENT}, {*LOSSES, Act.STALL}
    assert (act in unsent) is (outcome.kind is K.NEVER_SENT)
    assert (act in lost) is (outcome.kind is K.UNKNOWN)


@pytest.mark.parametrize("act", [Act.UNSENT, Act.NOT_SENT, Act.STALL])
async def test_provider_that_cannot_be_reached_is_left_for_a_while(act):
    """After three misses payments begin elsewhere; after the pause one of them tries it again."""
    house = House(([act] * MISSES_MAX, (), ()))
    alpha = house.providers["demo", "alpha"]
    for _ in range(MISSES_MAX):
        assert "alpha" == house.router.first(ORDER)
        await house.router.outcome("demo", "alpha", alpha.authorise(REQUEST), 0.02)
    assert "beta" == (await house.router.begin(ORDER)).provider
    house.now += OPEN_S
    assert "alpha" == (await house.router.begin(ORDER)).provider
    assert "alpha" == house.router.first(ORDER)


async def test_breakers_of_tenants_are_apart():
    """One tenant's wrong proxy sends no other tenant's payments elsewhere."""
    calls: list[Called] = []
    providers = {(tenant, name): ScriptedProvider(name, calls) for tenant in ("a", "b") for name in ROUTE}
    router = Router({"a": ROUTE, "b": ROUTE}, providers)
    for _ in range(MISSES_MAX):
        sending = ScriptedProvider("alpha", acts=iter([Act.NOT_SENT])).authorise(REQUEST)
        await router.outcome("a", "alpha", sending, 1)
    assert "beta" == router.first(replace(ORDER, tenant="a"))
    assert "alpha" == router.first(replace(ORDER, tenant="b"))


async def test_begin_goes_on_only_when_nothing_was_sent():
    """A provider that may have heard of the payment is asked again, not replaced."""
    house = House(prepares=([Act.NOT_SENT], [Act.NOT_SENT], ()))
    begun = await house.router.begin(ORDER)
    assert ("gamma", "gamma_pay_one") == (begun.provider, begun.provider_ref)
    house = House(prepares=([Act.CUT], (), ()))
    with pytest.raises(Refused) as refused:
        await house.router.begin(ORDER)
    assert ("provider_unreachable", True) == (refused.value.code, refused.value.retryable)
    assert ["alpha"] == [called.provider for called in house.sent("prepare")]


async def test_begin_is_refused_when_nobody_can_be_reached():
    """Every provider was tried once."""
    house = House(prepares=([Act.NOT_SENT],) * 3)
    with pytest.raises(Refused) as refused:
        await house.router.begin(ORDER)
    assert "provider_unreachable" == refused.value.code
    assert list(ROUTE) == [called.provider for called in house.sent("prepare")]


async def test_begin_is_refused_when_nobody_is_able():
    """The sentence says that another way is needed, not another try."""
    provider = ScriptedProvider("alpha").able(links=False)
    router = Router({"demo": ("alpha",)}, {("demo", "alpha"): provider})
    with pytest.raises(Refused) as refused:
        await router.begin(ORDER, by_link=True)
    assert ("provider_unable", False) == (refused.value.code, refused.value.retryable)


def test_unknown_places_are_refused():
    """A tenant whose file is gone, or a provider that it does not have."""
    house = House()
    for place in (("demo", "delta"), ("nobody", "alpha")):
        with pytest.raises(Refused) as refused:
            house.router.at(*place)
        assert "tenant_unknown" == refused.value.code


@pytest.mark.parametrize("state", list(PaymentState))
def test_stored_attempt_of_a_strange_state_counts_as_unknown(state):
    """Only what is definite is read as such."""
    row = stored(Outcome(K.DECLINED, "lost_card"), "alpha", "ref", 1)
    kind = tried_of(replace(row, state=state)).kind
    definite = {
        PaymentState.AUTHORISING: None,
        PaymentState.AUTHORISED: K.AUTHORISED,
        PaymentState.SETTLED: K.AUTHORISED,
        PaymentState.CHECKED: K.AUTHORISED,
        PaymentState.DECLINED: K.DECLINED,
        PaymentState.NEEDS_ACTION: K.REQUIRES_ACTION,
    }
    assert definite.get(state, K.UNKNOWN) is kind


# --- with the sandboxes -----------------------------------------------------------------------------------

TENANT = """name = "Demo"
live = false
[payment]
providers = ["sandbox_direct", "sandbox"]
currencies = ["EUR"]
amount_max_minor = 500000
purposes = ["booking"]
[payment.sandbox_direct]
unreachable = true
"""


KEYLESS = """name = "Shop"
live = false
[payment]
provider = "stripe"
currencies = ["EUR"]
amount_max_minor = 500000
purposes = ["booking"]
"""


async def test_real_providers_fail_over_and_keep_their_charge(tmp_path):
    """The preferred sandbox refuses connections: the payment begins, is charged and refunded at the other."""
    (tmp_path / "demo.toml").write_text(TENANT)
    router = Router.opened(tmp_path, read_tenants(tmp_path), [("gone", "sandbox"), ("gone", "no_such_file")])
    assert (("demo", "sandbox"), ("demo", "sandbox_direct"), ("gone", "sandbox")) == router.places()
    begun = await router.begin(ORDER)
    assert "sandbox" == begun.provider
    sandbox = router.at("demo", "sandbox")
    token = "sbx_approved_visa_4242_12_2031_abc"
    request = AttemptRequest(begun.provider_ref, "pay_one:authorise:1", 1, token, 1995, "EUR", "moto_agent")
    outcome = await router.outcome("demo", "sandbox", sandbox.authorise(request), 5)
    refunded = await sandbox.refund(StepRequest(begun.provider_ref, "pay_one:refund:1", 1995, "EUR"))
    assert (K.AUTHORISED, StepKind.DONE) == (outcome.kind, refunded.kind)
    elsewhere = router.at("demo", "sandbox_direct")
    refused = await elsewhere.refund(StepRequest(begun.provider_ref, "pay_one:refund:2", 1, "EUR"))
    assert StepKind.NEVER_SENT is refused.kind
    await router.close()


async def test_a_missing_key_costs_its_tenant_its_provider_and_nobody_else(tmp_path):
    """The node starts; the tenant is told to look at its set-up, and is served once the keys are there."""
    (tmp_path / "demo.toml").write_text(TENANT)
    (tmp_path / "shop.toml").write_text(KEYLESS)
    keys = Keys(key_provider(tmp_path, {}))
    router = Router.opened(tmp_path, read_tenants(tmp_path), (), keys)
    assert "sandbox" == (await router.begin(ORDER)).provider
    assert {("shop", "stripe"): "key_missing"} == {at: why.code for at, why in router.unusable.items()}
    for asked in (lambda: router.at("shop", "stripe"), lambda: router.first(replace(ORDER, tenant="shop"))):
        with pytest.raises(Refused) as refused:
            asked()
        assert "provider_unusable" == refused.value.code
    for role in ("broker", "cell"):
        keys.place.store(f"stripe.{role}", 1, Secret(f"rk_test_{role}".encode()))
    keys.load()
    await router.renew("stripe")
    assert ({}, "stripe") == (router.unusable, router.first(replace(ORDER, tenant="shop")))
    await router.close()


async def test_a_library_that_does_not_load_is_a_refusal(tmp_path, monkeypatch):
    """A second provider of the tenant takes its place; the words name the file and the kind of failure."""
    (tmp_path / "demo.toml").write_text(TENANT)
    monkeypatch.setitem(sys.modules, "vault.providers._sandbox_host", None)
    router = Router.opened(tmp_path, read_tenants(tmp_path))
    assert {"provider_not_loaded"} == {why.code for why in router.unusable.values()}
    assert all("does not load: ModuleNotFoundError" in why.sentence for why in router.unusable.values())
    assert () == router.places()


def test_the_check_names_every_missing_key(tmp_path):
    """A key of the node or of the tenant will do; nothing is made by looking."""
    (tmp_path / "shop.toml").write_text(KEYLESS)
    tenants = read_tenants(tmp_path).values()
    assert ["stripe.shop.broker"] == [
        name
        for sentence in lacking(tenants, {"stripe.cell"})
        for name in re.findall(r"keys/([a-z.]+),", sentence)
    ]
    assert [] == list(lacking(tenants, {"stripe.shop.broker", "stripe.cell"}))
    assert ["shop.toml"] == [path.name for path in tmp_path.iterdir()]


def test_the_check_names_authorities_that_cannot_be_read(tmp_path):
    """A provider's own file, missing or no PEM; without one there is nothing to look at."""
    keys = {"stripe.broker", "stripe.cell"}
    for content in (None, "no PEM"):
        if content is not None:
            (tmp_path / "own.pem").write_text(content)
        text = f'{KEYLESS}\n[payment.stripe]\nca_file = "{tmp_path}/own.pem"\n'
        (tmp_path / "shop.toml").write_text(text)
        (said,) = lacking(read_tenants(tmp_path).values(), keys)
        assert "shop.toml: stripe is refused. Its ca_file" in said
