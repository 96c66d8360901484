"""`pay-ivr verify pins`: attacks on members' PINs, on the real book, store and limits, in virtual time.

`python -m vault.proof.pins [--guesses N] [--seed N] [--json FILE]`. Only the cell is left out: what it would
tell is made by a cheap keyed hash, so that a hundred thousand guesses take minutes. Each plan of attack must
find at most what `pin_bound.py` computes from the limits; the same attacks without limits must find more, or
the run proves nothing. One JSON line comes out.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hmac import digest
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import insert

from audit.outbox import stamp
from vault.door import NewPinEntry, PinPurpose, PinResult
from vault.fingerprint import DIGEST_BYTES, letters
from vault.keys import KeyFiles, Keys, Purpose
from vault.pin_book import PinBook, Ticket, caller_mark
from vault.pin_hash import PinKeys, Under
from vault.pin_progress import PinHashed
from vault.pin_store import PINS, PinStore
from vault.pin_velocity import DAY_S, NO_LIMITS, PinVelocity
from vault.proof.dice import seeded
from vault.proof.embedded_sql import Database
from vault.proof.kill_points import Points
from vault.proof.pin_bound import Span, bound, expected_by_one, expected_finds
from vault.proof.pin_people import People
from vault.store import Store
from vault.tenant import PaymentSection, PinSection, Tenant

OK, WRONG, CONTROL_SILENT = 0, 1, 3
"""Exit codes; 3: a negative control stayed under the bound, so that the run proves nothing."""
GUESSES = 100_000
MEMBERS = 5_000
"""Members of the tenant under attack; the attacker knows the id of every one."""
STRANGERS = 0.02
"""Part of the guesses at ids that belong to nobody."""
GUESSES_PER_S = 2.0
"""As fast as a hundred lines can key a PIN."""
BEGUN_MS = 1_700_000_000_000
TENANT = "demo"
NO_LOCK = 10**9
CONTROL_WEIGHT = 3
"""A control guesses so much longer: it has to find more than chance explains."""
KEPT_LOCKED = 2
"""Guesses at a member after his lock, to see that it holds."""
HONEST_PER_GUESS = 1.0
AT_HOME = 0.8
"""Part of the members whose PIN was right from their own telephone before."""
HONEST_MISS = 0.08
"""Part of honest entries that miss: a slip, or a PIN from before."""


@dataclass
class Tally:
    """What one plan came to."""

    plan: str
    guesses: int = 0
    members: int = 0
    """Whose PINs were guessed at one by one."""
    found: int = 0
    expected: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    limited: int = 0
    honest: Counter[str] = field(default_factory=Counter)

    @property
    def bound(self) -> int:
        """The most that may be found."""
        return bound(self.expected)

    def as_json(self) -> dict[str, Any]:
        """One object of the line."""
        return {
            "guesses": self.guesses,
            "found": self.found,
            "expected_at_most": round(self.expected, 3),
            "bound": self.bound,
            "answers": dict(sorted(self.answers.items())),
            "limited": self.limited,
            **({"honest": dict(sorted(self.honest.items()))} if self.honest else {}),
        }


class House:
    """One tenant with its members, on a database of its own."""

    def __init__(self, store: Store, keys: Keys, tenant: Tenant, people: People, dice: Random) -> None:
        self.book = PinBook(PinStore(store), keys, {TENANT: tenant})
        self.pin_store = PinStore(store)
        self.tenant = tenant
        self.people = people
        self.dice = dice
        self.now_ms = BEGUN_MS
        self.pins: dict[str, str] = {}
        self._store = store
        self._keys = keys

    async def settle_in(self, members: int) -> None:
        """Members with PINs of their own choice, as if each had set it."""
        rows = []
        ticket = await self._ticket("mem_nobody", "")
        made, proof = ticket.fresh, ticket.keys.proof
        assert proof is not None
        version, key = self._keys.derived(Purpose.PIN_CALLER, TENANT)[0]
        self.pins = {f"mem_{number}": self.people.choose(self.dice) for number in range(members)}
        for member_id, pin in self.pins.items():
            salt = self.dice.randbytes(16)
            hashed = cheap_hash(Under(proof.pepper, salt, proof.cost), member_id, pin)
            row = {"tenant": TENANT, "member_id": member_id, "misses": 0, "touched_ms": self.now_ms}
            row |= {"hash": hashed, "salt": letters(salt), "scheme": made.scheme, "home": ""}
            if self.dice.random() < AT_HOME:
                row["home"] = caller_mark(version, key.reveal(), f"+43{member_id}".encode()).name
            rows.append({**row, "key_version": made.key_version})
        async with self._store.changing() as change:
            await change.conn.execute(insert(PINS), rows)

    async def guess(self, member_id: str, pin: str, number: str) -> PinResult:
        """One entry from ticket to answer."""
        ticket = await self._ticket(member_id, number)
        return await self.book.judge(ticket, cell(ticket.keys, member_id, pin), self.now_ms)

    async def limited(self) -> int:
        """How many guesses the log says were limited."""
        async with self._store.engine.connect() as conn:
            wanted = "SELECT count(*) FROM outbox WHERE body LIKE '%pin.entry.limited%'"
            return int((await conn.exec_driver_sql(wanted)).scalar_one())

    async def _ticket(self, member_id: str, number: str) -> Ticket:
        new = NewPinEntry(TENANT, member_id, PinPurpose.VERIFY, caller_number=number)
        return await self.book.ticket(new, self.now_ms)


def cheap_hash(under: Under, member_id: str, pin: str) -> str:
    """In place of argon2id: as different for every pepper, salt, member and PIN."""
    return letters(digest(under.pepper + under.salt, f"{member_id}|{pin}".encode(), "sha256"))


def cell(keys: PinKeys, member_id: str, pin: str) -> PinHashed:
    """What a cell with these keys would tell of this PIN."""
    assert keys.proof is not None
    mark = letters(digest(keys.window_key, pin.encode(), "sha256")[:DIGEST_BYTES])
    return PinHashed(cheap_hash(keys.proof, member_id, pin), "", mark)


@dataclass(frozen=True)
class Plan:
    """One way to attack: which PINs, from which numbers, with whom beside."""

    name: str
    values: int = 1
    """How many of the most common PINs are tried in turn."""
    numbers: int = 1
    """From how many telephones."""
    withheld: bool = False
    honest: bool = False
    """Mixed with as many honest entries."""
    one_by_one: bool = False
    """At one member until he is locked, then at the next, on another day."""


PLANS = (
    Plan("one_member", values=400, numbers=10_000, one_by_one=True),
    Plan("one_number", values=200),
    Plan("one_pin_many_numbers", numbers=100_000),
    Plan("many_pins_many_numbers", values=200, numbers=100_000),
    Plan("withheld_numbers", values=200, withheld=True),
    Plan("among_honest_callers", values=200, numbers=100_000, honest=True),
)
CONTROLS = (PLANS[0], PLANS[2])
"""One for the lock and one for the limits, each without either."""


async def attack(house: House, plan: Plan, guesses: int) -> Tally:
    """The plan carried out; what it found, and what it might find at most where the usual limits hold."""
    tally = Tally(plan.name)
    span = await (_one_by_one if plan.one_by_one else _spray)(house, plan, guesses, tally)
    shares = [house.people.share[pin] for pin in house.people.ranked[: plan.values]]
    usual = PinSection()
    if plan.one_by_one:
        tally.expected = expected_by_one(usual.tries, tally.members, shares)
    else:
        rules, numbers = usual.velocity.rules(), plan.numbers
        tally.expected = expected_finds(rules, span, guesses, numbers, shares, withheld=plan.withheld)
    tally.limited = await house.limited()
    return tally


async def _spray(house: House, plan: Plan, guesses: int, tally: Tally) -> Span:
    """Every guess at another member, in the order of the PINs' popularity, as fast as the lines allow."""
    first_ms = house.now_ms
    victims = list(house.pins)
    house.dice.shuffle(victims)
    for place in range(guesses):
        house.now_ms += round(1000 / GUESSES_PER_S)
        pin = house.people.ranked[place % plan.values]
        victim = victims[place % len(victims)]
        if house.dice.random() < STRANGERS:
            victim = f"mem_x{place}"
        number = "" if plan.withheld else f"+49{place % plan.numbers}"
        await _guess(house, tally, victim, pin, number)
        if plan.honest and house.dice.random() < HONEST_PER_GUESS:
            await _honest(house, tally)
    return Span(first_ms, house.now_ms)


async def _one_by_one(house: House, plan: Plan, guesses: int, tally: Tally) -> Span:
    """The most common PINs at one member until he is found or locked, then a day's rest."""
    first_ms = house.now_ms
    for victim in house.pins:
        tally.members += 1
        locked = 0
        for place, pin in enumerate(house.people.ranked[: plan.values]):
            if tally.guesses >= guesses:
                return Span(first_ms, house.now_ms)
            house.now_ms += round(1000 / GUESSES_PER_S)
            answer = await _guess(house, tally, victim, pin, f"+49{place % plan.numbers}")
            locked += answer is PinResult.LOCKED
            if answer is PinResult.OK or locked > KEPT_LOCKED:
                break
        house.now_ms += DAY_S * 1000
        await house.pin_store.sweep(house.now_ms)
    return Span(first_ms, house.now_ms)


async def _guess(house: House, tally: Tally, victim: str, pin: str, number: str) -> PinResult:
    answer = await house.guess(victim, pin, number)
    tally.guesses += 1
    tally.answers[answer.value] += 1
    tally.found += answer is PinResult.OK
    return answer


async def _honest(house: House, tally: Tally) -> None:
    """A member from his own telephone with his own PIN, which he misses now and then."""
    member_id = f"mem_{house.dice.randrange(len(house.pins))}"
    slip = house.dice.random() < HONEST_MISS
    pin = f"{house.dice.randrange(10_000):04}" if slip else house.pins[member_id]
    answer = await house.guess(member_id, pin, f"+43{member_id}")
    tally.honest["slips" if slip else f"right_answered_{answer.value}"] += 1


def run(
    guesses: int,
    seed: int,
    folder: Path,
    processes: int = 1,
    plans: Sequence[Plan] = PLANS,
    controls: Sequence[Plan] = CONTROLS,
) -> dict[str, Any]:
    """Every plan with the limits of a tenant that sets none of its own, and the controls without any."""
    each = max(1, guesses // (len(plans) + CONTROL_WEIGHT * len(controls)))
    jobs = [(plan, True, each) for plan in plans]
    jobs += [(plan, False, each * CONTROL_WEIGHT) for plan in controls]
    places = [(folder / str(place), *job, seed) for place, job in enumerate(jobs)]
    if processes == 1:
        tallies = [_job(each_job) for each_job in places]
    else:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            tallies = list(pool.map(_job, places))
    return _findings(tallies[: len(plans)], tallies[len(plans) :])


def _job(job: tuple[Path, Plan, bool, int, int]) -> Tally:
    """One plan against a house of its own, with or without limits."""
    place, plan, held, guesses, seed = job
    place.mkdir()
    dice = seeded(f"{seed} {plan.name} {held}")

    async def carried_out() -> Tally:
        async with _house(place, PinSection() if held else _no_limits(), dice) as house:
            return await attack(house, plan, guesses)

    return asyncio.run(carried_out())


def _findings(plans: Sequence[Tally], controls: Sequence[Tally]) -> dict[str, Any]:
    people = People()
    broken = sorted(tally.plan for tally in plans if tally.found > tally.bound)
    silent = sorted(tally.plan for tally in controls if tally.found <= tally.bound)
    return {
        "plans": {tally.plan: tally.as_json() for tally in plans},
        "negative_control": {
            tally.plan: {"guesses": tally.guesses, "found": tally.found, "bound": tally.bound}
            for tally in controls
        },
        "most_common_pin_share": round(people.share[people.ranked[0]], 5),
        "bounds_broken": broken,
        "controls_silent": silent,
    }


def _no_limits() -> PinSection:
    """For the control alone: no file can say this of `tries`."""
    velocity = {name: getattr(NO_LIMITS, name) for name in PinVelocity.__dataclass_fields__}
    return PinSection.model_construct(**{**PinSection().model_dump(), **velocity, "tries": NO_LOCK})


@asynccontextmanager
async def _house(place: Path, pin: PinSection, dice: Random) -> AsyncIterator[House]:
    await (await Store.open(place / "vault.db")).close()
    database = Database()
    database.use(place / "vault.db", _Waits(dice))
    store = Store(database.engine)
    section = PaymentSection(
        provider="sandbox", currencies=("EUR",), amount_max_minor=1, purposes=("booking",)
    )
    tenant = Tenant(TENANT, live=False, section=section, pin=pin)
    house = House(store, Keys(KeyFiles(place / "keys")), tenant, People(), dice)
    try:
        await house.settle_in(MEMBERS)
        yield house
    finally:
        database.release()


class _Waits(Points):
    """Nobody is killed here, and nobody else runs."""

    async def pass_by(self, kind: str) -> None:
        """Goes on at once."""
        del kind


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the plans and prints what came out."""
    parser = argparse.ArgumentParser(prog="vault.proof.pins", description="Simulated attacks on PINs.")
    parser.add_argument("--guesses", type=int, default=GUESSES, help="of all plans together")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another run")
    parser.add_argument("--json", type=Path, help="write the JSON line here")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    memory = Path("/dev/shm")  # noqa: S108 - nothing in it is secret, and the folder is ours alone
    where = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="payivr-", dir=where) as folder:
        found = run(options.guesses, options.seed, Path(folder), os.cpu_count() or 1)
    found |= {"seed": options.seed, "seconds": round(time.monotonic() - begun, 1), "at": stamp()}
    line = json.dumps(found)
    sys.stdout.write(line + "\n")
    if options.json:
        options.json.write_text(line + "\n")
    if found["bounds_broken"]:
        return WRONG
    return CONTROL_SILENT if found["controls_silent"] else OK


if __name__ == "__main__":
    sys.exit(main())
