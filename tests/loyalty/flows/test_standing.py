"""A database that neither answers nor is away: no caller listens to silence for longer than a moment."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loyalty.engines import READERS
from loyalty.flows import portal
from loyalty.redemption import in_time
from loyalty.service import Loyalty
from pay_ivr.call import EndReason
from pay_ivr.catalogue import Key
from tests.support.line import ScriptedLine
from tests.support.members import NUMBER, OPEN_AT, TENANT, enrol, sunny
from vault import PinPurpose, PinResult

DEADLINE_S = 0.1
"""Of the product while nothing is answered; before that its own holds, whatever the machine is doing."""
CALL_MAX_S = 10.0
ITEMS, GOODBYE = "12345", "0"
"""Balance, redeem, movements, change PIN, lock card; the last key that the menu leaves free."""


class Standstill:
    """Keeps every reader of the database busy, from `begin` until `end`."""

    def __init__(self, loyalty: Loyalty, monkeypatch: pytest.MonkeyPatch) -> None:
        self._database = loyalty.members.database
        self._monkeypatch = monkeypatch
        self._over = threading.Event()
        self._readers: list[asyncio.Task[bool]] = []

    async def begin(self) -> None:
        self._monkeypatch.setattr(in_time, "LEDGER_DEADLINE_S", DEADLINE_S)
        wait = self._over.wait
        self._readers = [
            asyncio.create_task(self._database.read(TENANT, lambda _conn: wait())) for _ in range(READERS)
        ]
        await asyncio.sleep(0)  # they are first in the line now

    async def end(self) -> None:
        self._over.set()
        await asyncio.gather(*self._readers)


class LateLine(ScriptedLine):
    """A caller whose database stops answering once he is logged in."""

    def __init__(self, standstill: Standstill) -> None:
        super().__init__()
        self._standstill = standstill

    async def ask_pin(self, member_id: str, purpose: PinPurpose, born: str = "") -> PinResult:
        result = await super().ask_pin(member_id, purpose, born)
        await self._standstill.begin()
        return result


@pytest.fixture
async def loyalty(short_dir: Path, empty_file: Path) -> AsyncIterator[Loyalty]:
    """Anna's programme."""
    shutil.copy(empty_file, short_dir / "loyalty.db")
    async with sunny(short_dir) as made:
        yield made


async def test_every_item_of_the_menu_says_that_it_does_not_work_now(
    loyalty: Loyalty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the caller can go on."""
    await enrol(loyalty)
    standstill = Standstill(loyalty, monkeypatch)
    line = LateLine(standstill)
    line.keys(identify_menu="1", ask_number=NUMBER)
    line.pins.append(PinResult.OK)
    line.script[Key.MENU_LANGUAGE].extend([*ITEMS, GOODBYE])
    async with asyncio.timeout(CALL_MAX_S):
        await portal.run(line, loyalty, lambda: OPEN_AT)
    await standstill.end()
    assert len(ITEMS) == line.said.count("service_unavailable")
    assert ("loyalty_goodbye", EndReason.FLOW_FINISHED) == (line.said[-1], line.ended)


@pytest.mark.parametrize(
    "keys", [{"identify_menu": "1", "ask_number": NUMBER}, {"identify_menu": "2", "ask_postcode": "80331"}]
)
async def test_a_login_that_cannot_be_looked_up_goes_to_an_agent(
    loyalty: Loyalty, monkeypatch: pytest.MonkeyPatch, keys: dict[str, str]
) -> None:
    """By number, and by postcode and date of birth."""
    standstill = Standstill(loyalty, monkeypatch)
    await standstill.begin()
    line = ScriptedLine()
    line.lose_agent(None)
    line.keys(ask_birthdate="12311980", **keys)
    async with asyncio.timeout(CALL_MAX_S):
        await portal.run(line, loyalty, lambda: OPEN_AT)
    await standstill.end()
    assert ["service_unavailable", "to_agent"] == line.said[-3:-1]
    assert "connect_agent" in line.did
