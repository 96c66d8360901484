"""Any sequence of commands, asked one by one or at once: the books agree with a model and with themselves.

The model is told the same commands in the order in which they are asked, so that every answer is foreseen:
groups, keys and threads must not show. Each example has a programme of its own in one database.
"""

import asyncio
import itertools
import os
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from loyalty.database import Database
from loyalty.ledger import Balance, Command, Done, Expire, Outcome, Post, Rejected, Reverse, Void, next_lots
from tests.support.ledger_books import TREES, VOUCHER, Books
from tests.support.ledger_model import Model

MEMBERS = 3
FAST_EXAMPLES = 5
PROOF_EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "200"))
FIRST_LOTS = ((7, 2), (9, 5), (8, 9), (60, None))
"""Points and days: what is spent crosses lots."""
FAST_STEPS, PROOF_STEPS = 15, 25
_STANDS = "SELECT kind, posted FROM account WHERE tenant = :tenant AND programme = :programme"

_programmes = itertools.count(1)
_member = st.integers(0, MEMBERS - 1)
_came = st.integers(20, 60)
_went = st.integers(1, 25)
_life = st.sampled_from((None, 0, 1, 2, 2, 5, 5))
_which = st.integers(0, 255)
_earn = st.tuples(st.just("earn"), _member, _came, _life)
_redeem = st.tuples(st.just("redeem"), _member, _went, st.sampled_from((VOUCHER, TREES, "payout")))
_hold = st.tuples(st.just("hold"), _member, _went)
_part = st.tuples(st.just("reverse"), _which, st.integers(1, 8))
WISHES = st.one_of(
    _earn,
    _earn,
    _redeem,
    _redeem,
    _redeem,
    _hold,
    _hold,
    st.tuples(st.just("post"), _which),
    st.tuples(st.just("void"), _which),
    _part,
    _part,
    _part,
    st.tuples(st.just("reverse"), _which, st.none()),
    st.tuples(st.just("adjust"), _member, st.integers(-20, 20).filter(bool), _life),
    st.tuples(st.just("move"), _member, _member, _went),
    st.tuples(st.just("expire"), _member, st.integers(-1, 1)),
    st.tuples(st.just("earn_again"), _member, _which),
)
"""Something to ask for; numbers choose among the holds and journals that there are when it is asked."""
_ask = st.tuples(st.just("ask_at_once"), st.lists(WISHES, min_size=1, max_size=5), st.just(1))
STEPS = st.one_of(
    _ask,
    _ask,
    _ask,
    st.tuples(st.just("ask_at_once"), st.lists(WISHES, min_size=2, max_size=4), st.just(2)),
    st.tuples(st.just("give_goods_back"), _member, _which),
    st.tuples(st.just("ask_again"), _which, st.booleans()),
    st.tuples(st.just("let_days_pass"), st.integers(1, 2), st.booleans()),
    st.tuples(st.just("reap")),
)


@dataclass
class Stage:
    """What all examples of one test share."""

    database: Database
    runner: asyncio.Runner


class LedgerMachine(RuleBasedStateMachine):
    """One programme, its model, and members that anything may happen to."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.books = Books(self.stage.database, "machine", f"p{next(_programmes)}")
        self.model = Model(self.books.today)
        self.members = [self.run(self.books.member()) for _ in range(MEMBERS)]
        for member in self.members:
            self.model.add(member)
        first = [("earn", number, *lot) for number in range(MEMBERS) for lot in FIRST_LOTS]
        self.ask_at_once(first, 1)

    def run(self, coroutine: Any) -> Any:
        return self.stage.runner.run(coroutine)

    @rule(step=STEPS)
    def act(self, step: tuple[str, ...]) -> None:
        """One rule for all: of several, Hypothesis switches some off in an example, and little happens."""
        name, *more = step
        getattr(self, name)(*more)

    def ask_at_once(self, wishes: list[tuple[Any, ...]], times: int) -> None:
        """Some commands at the same moment, perhaps each of them twice."""
        commands = [self.command(*wish) for wish in wishes] * times
        self.compare(commands, self.run(self.books.all(*commands)))

    def give_goods_back(self, member: int, which: int) -> None:
        """All points are spent, then goods are given back: of themselves, wishes hardly ever make a debt."""
        account = self.members[member]
        earned = [name for name, deed in self.model.reversible(whole=False).items() if deed.taker == account]
        worth = self.model.worth(account)
        commands: list[Command] = [self.books.redeeming(account, worth)] if worth else []
        if earned:
            commands.append(Reverse(self.books.key(), earned[which % len(earned)], "returned"))
        self.compare(commands, self.run(self.books.all(*commands)))

    def ask_again(self, which: int, tamper: bool) -> None:
        """What was booked, under its key: the same answer, or a refusal when it is not the same."""
        command, done = list(self.model.keys.values())[which % len(self.model.keys)]
        if tamper:
            assert "key_reused" == self.run(self.books.refused(self.books.other(command)))
        else:
            assert replace(done, replayed=True) == self.run(self.books.do(command))

    def let_days_pass(self, days: int, swept: bool) -> None:
        """Lots end by their date; sometimes the nightly run sweeps them."""
        self.books.pass_days(days)
        self.model.today = self.books.today
        if swept:
            due = [member for member in self.members if self.model.has_due(member)]
            run = self.books.ledger.expire_due(self.books.tenant, self.books.programme, self.books.today)
            assert len(due) == self.run(run)
            self.model.sweep(due)

    def reap(self) -> None:
        """Holds whose time is over are freed."""
        over = self.model.holds_over(self.books.now)
        self.run(self.books.ledger.reap(self.books.now))
        for hold in over:
            self.model.free(hold)

    @invariant()
    def balances_agree(self) -> None:
        for member, balance in zip(self.members, self.run(self.balances()), strict=True):
            assert self.model.worth(member) == balance.available
            assert self.model.held(member) == balance.held
            assert self.model.members[member].debt == balance.owed
            assert (balance.next_expiry, balance.expiring_points) == self.model.next_end(member)

    def teardown(self) -> None:
        """The whole truth by SQL, once all has been done."""
        assert [] == self.run(self.books.faults())
        told, totals = dict(self.run(self.books.rows(_STANDS))), self.model.totals
        assert totals["spent"] == sum(told.get(kind, 0) for kind in (VOUCHER, TREES, "payout"))
        assert -totals["issued"] == told.get("issued", 0)
        assert totals["ended"] == told.get("expired", 0)
        assert totals["taken_away"] - totals["given"] == told.get("adjusted", 0)

    async def balances(self) -> list[Balance]:
        return list(await asyncio.gather(*map(self.books.balance, self.members)))

    def compare(self, commands: list[Command], outcomes: list[Outcome]) -> None:
        for command, outcome in zip(commands, outcomes, strict=True):
            known = self.model.keys.get(command.key.idem)
            if known is not None:
                assert replace(known[1], replayed=True) == outcome
                continue
            expected = self.model.do(command)
            if isinstance(expected, tuple):
                assert isinstance(outcome, Done), (command, outcome)
                assert (expected[0], False) == (outcome.available, outcome.replayed), command
                self.model.told(command, expected[1], outcome)
            else:
                assert Rejected(expected) == outcome, command

    def command(self, what: str, *more: Any) -> Command:
        books, first = self.books, more[0]
        match what:
            case "earn":
                return books.earning(self.members[first], more[1], self.day(more[2]))
            case "earn_again":
                used = sorted(self.model.receipts)
                return books.earning(self.members[first], 5, receipt=used[more[1] % len(used)])
            case "redeem":
                return books.redeeming(self.members[first], more[1], more[2])
            case "hold":
                return books.holding(self.members[first], more[1], minutes=24 * 60)
            case "post" if self.model.holds:
                return Post(books.key(), self.one_of(self.model.holds, first), VOUCHER)
            case "void" if self.model.holds:
                return Void(books.key(), self.one_of(self.model.holds, first))
            case "reverse":
                journal = self.one_of(self.model.reversible(whole=first % 8 == 0), first // 8)
                return Reverse(books.key(), journal, "returned", more[1])
            case "adjust":
                return books.adjusting(self.members[first], more[1], self.day(more[2]))
            case "move":
                return books.moving(self.members[first], self.members[more[1]], more[2])
            case "expire":
                return Expire(books.key(), self.members[first], books.days(more[1]))
            case _:
                return Void(books.key(), "hold_of_nobody")

    def day(self, days: int | None) -> date | None:
        return None if days is None else self.books.today + timedelta(days=days)

    @staticmethod
    def one_of(things: dict[str, Any], number: int) -> str:
        """A late one: what is old has been ended by now."""
        names = list(things)
        return names[-1 - number % min(len(names), 4)]


def run_machine(database: Database, examples: int, steps: int) -> None:
    """That many examples; the first failure is told without being shrunk, which could take minutes.

    Pages of lots are small, so that what is spent reaches beyond them.
    """
    with asyncio.Runner() as runner, mock.patch.object(next_lots, "FIRST", 2):
        machine = type("Machine", (LedgerMachine,), {"stage": Stage(database, runner)})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                phases=(Phase.generate,),
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_books_agree_with_the_model(ledger_database: Database):
    """L4, a few examples."""
    run_machine(ledger_database, FAST_EXAMPLES, FAST_STEPS)


@pytest.mark.proof
def test_books_agree_with_the_model_for_long(ledger_database: Database):
    """L4, two hundred examples and more of 25 steps."""
    run_machine(ledger_database, PROOF_EXAMPLES, PROOF_STEPS)
