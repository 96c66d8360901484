"""Phones over a restart: written behind the registrar, read before the first call, gone with their agent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pay_ivr.people import Agent, NewAgent, SipSecret
from pay_ivr.phones import Phones
from pay_ivr.sip.registrar import EXPIRES_MAX_S, Contact, Registrar
from pay_ivr.sip.rim import Hop, Transport
from pay_ivr.store import Store

ANNA = NewAgent(
    Agent("anna", "demo", "de-DE"), "hash", must_change=True, sip=SipSecret.of("anna", "pay-ivr", "phone")
)
DESK_PHONE = Contact("sip:anna@10.0.0.7:5062;ob", Hop(Transport.UDP, "192.0.2.9", 31_000), 700.0, '"<urn:1>"')
SOFT_PHONE = Contact("sip:anna@10.0.0.8", Hop(Transport.UDP, "192.0.2.9", 31_001), 500.0)
ON_A_STREAM = Contact("sip:anna@10.0.0.9;transport=tcp", Hop(Transport.TCP, "192.0.2.9", 4000, 3), 900.0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A fresh app.db with one agent."""
    opened = await Store.open(tmp_path / "app.db")
    await opened.add_agent(ANNA, 0, "system:operator")
    yield opened
    await opened.close()


class Run:
    """One life of the app: its monotonic clock starts at `now`, the wall clock is `wall_s` later."""

    def __init__(self, store: Store, now: float = 100.0, wall_s: float = 1_000_000.0) -> None:
        self.now = now
        self.wall_s = wall_s
        self.registrar = Registrar("pay-ivr", clock=lambda: self.now)
        self.phones = Phones(
            store,
            self.registrar,
            clock=lambda: self.now,
            wall_ms=lambda: round(1000 * (self.wall_s + self.now)),
        )

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Registrar]:
        """Restored and following; written out at the end."""
        await self.phones.restore()
        writing = asyncio.create_task(self.phones.run())
        yield self.registrar
        await self.phones.flush()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


def register(registrar: Registrar, *contacts: Contact) -> None:
    """What REGISTER does when digest has let it in."""
    registrar._keep("anna", [*registrar.lookup("anna")[::-1], *contacts])


async def test_a_phone_is_known_after_a_restart_with_the_time_it_had_left(store: Store) -> None:
    """Another monotonic clock, 60 s later by the wall: same order, same flow, 60 s less."""
    async with Run(store).up() as before:
        register(before, DESK_PHONE, SOFT_PHONE)
    later = Run(store, now=5.0, wall_s=1_000_000.0 + 100 + 60 - 5)
    async with later.up() as after:
        assert [
            replace(SOFT_PHONE, expires_at=5.0 + 400 - 60),
            replace(DESK_PHONE, expires_at=5.0 + 600 - 60),
        ] == after.lookup("anna")


async def test_a_phone_on_a_stream_is_not_kept(store: Store) -> None:
    """Its connection died with the app."""
    async with Run(store).up() as before:
        register(before, ON_A_STREAM, SOFT_PHONE)
    async with Run(store).up() as after:
        assert [SOFT_PHONE] == after.lookup("anna")


async def test_a_phone_that_ran_out_or_left_is_not_put_back(store: Store) -> None:
    """The disk follows the registrar in both directions."""
    async with Run(store).up() as before:
        register(before, DESK_PHONE, SOFT_PHONE)
    async with Run(store, now=501.0).up() as after:
        assert [DESK_PHONE] == after.lookup("anna")
        after.forget("anna")
    assert 0 == await Run(store).phones.restore()


@pytest.mark.parametrize("removed", [True, False])
async def test_a_removed_or_reset_agent_has_no_phone_after_a_restart(store: Store, removed: bool) -> None:
    """Also when the app was down while the operator did it."""
    async with Run(store).up() as before:
        register(before, DESK_PHONE)
    if removed:
        await store.remove_agent(ANNA.agent, 1, "system:operator")
    else:
        await store.reset_agent(ANNA, 1, "system:operator")
    assert 0 == await Run(store).phones.restore()


async def test_a_wall_clock_set_back_makes_no_phone_eternal(store: Store) -> None:
    """What is left is never more than a registration may last."""
    async with Run(store).up() as before:
        register(before, DESK_PHONE)
    async with Run(store, wall_s=0.0).up() as after:
        assert [100.0 + EXPIRES_MAX_S] == [phone.expires_at for phone in after.lookup("anna")]


async def test_a_phone_that_registers_often_waits_once(store: Store) -> None:
    """A hundred refreshes before the first write are one write, of the last state."""
    run = Run(store)
    await run.phones.restore()
    for second in range(100):
        register(run.registrar, replace(SOFT_PHONE, uri=f"sip:anna@10.0.0.{second}"))
        run.registrar.forget("anna")
    register(run.registrar, DESK_PHONE)
    assert 1 == run.phones._queue.qsize()
    writing = asyncio.create_task(run.phones.run())
    await run.phones.flush()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert 1 == await Run(store).phones.restore()
