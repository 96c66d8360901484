"""A loyalty programme with members on a real database: for flows without telephony and for whole nodes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from loyalty.database import Database
from loyalty.keys import Keys
from loyalty.members import Member, Person
from loyalty.programme import (
    Action,
    Announcement,
    Hours,
    MenuItem,
    Programme,
    Reward,
    RewardKind,
)
from loyalty.service import Loyalty, Surroundings
from pay_ivr.channels import Channels
from vault import Door

TENANT = "demo"
LANGUAGES = ("de-DE", "en-US", "es-ES", "fr-FR")
BORN = date(1980, 12, 31)
NUMBER = "4711001"
POSTCODE = "80331"
POINTS = 1_500
OPEN_AT = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
"""A Monday morning in Berlin: the agents are there."""
CLOSED_AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
"""A Sunday."""


def names(text: str) -> dict[str, str]:
    """The same name in every language."""
    return dict.fromkeys(LANGUAGES, text)


def programme(**told: Any) -> Programme:
    """Sunny Miles: a tree and a coffee, seven items in the menu."""
    menu = tuple(MenuItem(key=str(digit), action=action) for digit, action in enumerate(Action, 1))
    facts: dict[str, Any] = {
        "programme": "miles",
        "name": "Sunny Miles",
        "menu": menu,
        "hours": Hours.model_validate({"open": ["mon-fri 08:00-20:00"]}),
        "announcement": Announcement(until=date(2027, 1, 1), texts=names("We plant trees this week.")),
        "reward": (
            Reward(id="tree", kind=RewardKind.DONATION, points=500, charity="forest", names=names("a tree")),
            Reward(id="coffee", kind=RewardKind.VOUCHER, points=200, names=names("a coffee")),
        ),
    }
    return Programme(**(facts | told))


def person(**told: Any) -> Person:
    """A member's personal data, with what a test wants to be different."""
    facts: dict[str, Any] = {
        "number": NUMBER,
        "given_name": "Anna",
        "family_name": "Muster",
        "postcode": POSTCODE,
        "house_number": "12",
        "born": BORN,
        "email": "anna@example.com",
        "phone": "+4915112345678",
        "language": "de-DE",
    }
    return Person(**(facts | told))


@asynccontextmanager
async def sunny(
    folder: Path,
    told: Programme | None = None,
    clock: Callable[[], datetime] = lambda: OPEN_AT,
    door: Door | None = None,
    channels: Channels | None = None,
    url: str = "",
) -> AsyncIterator[Loyalty]:
    """The façade on the folder's database, which is new and without members where there was none.

    `url`: of a database elsewhere.
    """
    database = Database.open(url or folder / "loyalty.db")
    nobody: Any = None
    loyalty = Loyalty(
        Surroundings(
            database,
            Keys.open(folder, {}),
            {TENANT: told or programme()},
            door or nobody,  # the vault's door: no flow uses it but through its line
            channels or Channels({}),
            {},
            clock=clock,
        )
    )
    try:
        yield loyalty
    finally:
        await database.close()


async def enrol(loyalty: Loyalty, points: int = POINTS, **told: Any) -> Member:
    """A member with points, and codes for the coffee."""
    member = await loyalty.members.enrol(TENANT, person(**told), by="system:test")
    if points:
        await loyalty.earn(
            TENANT,
            member.member_id,
            points,
            f"R-{member.member_id}",
            key=f"e-{member.member_id}",
            by="key:shop",
        )
    return member


async def stock(loyalty: Loyalty, count: int = 5, first: int = 1) -> None:
    """Codes for the coffee."""
    codes = "".join(f"CAFE{number:04d}\n" for number in range(first, first + count))
    await loyalty.add_codes(TENANT, "coffee", codes, by="system:test")
