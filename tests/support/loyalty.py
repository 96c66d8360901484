"""Loyalty as an app has it: two tenants from files, a real database, a clock and a post box of the test's."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from loyalty.database import Database
from loyalty.keys import Keys
from loyalty.members import Member, Person
from loyalty.programme import programmes_of
from loyalty.redemption.sources import Source
from loyalty.service import Loyalty, Surroundings
from pay_ivr.channels import ChannelError, Channels, Medium, Message
from pay_ivr.tenants import load_tenants
from vault import Door

START = datetime(2026, 3, 10, 11, 0, tzinfo=UTC)
SUNNY = """
name = "Sunny Shops"
[telephony]
languages = ["de-DE", "en-US"]
[loyalty]
programme = "miles"
name = "Sunny Miles"
hold_minutes = 10
payout_four_eyes_points = 1000
payout_minor_per_100_points = 50
reset_by = ["email"]
[[loyalty.reward]]
id = "tree"
kind = "donation"
points = 100
charity = "trees"
names = { "de-DE" = "ein Baum", "en-US" = "a tree" }
[[loyalty.reward]]
id = "coffee"
kind = "voucher"
points = 200
per_day_max = 3
names = { "de-DE" = "ein Kaffee", "en-US" = "a coffee" }
[[loyalty.reward]]
id = "sauna"
kind = "voucher"
points = 300
source = "spa"
names = { "de-DE" = "eine Sauna", "en-US" = "a sauna" }
[[loyalty.reward]]
id = "bike"
kind = "donation"
points = 10
charity = "wheels"
per_member_max = 2
total_max = 3
until = 2026-12-31
names = { "de-DE" = "ein Rad", "en-US" = "a bike" }
[[loyalty.voucher_source]]
id = "spa"
url = "http://127.0.0.1:9/orders"
"""
RAINY = """
name = "Rainy Shops"
[telephony]
languages = ["en-US"]
[loyalty]
programme = "miles"
name = "Rainy Miles"
timezone = "America/New_York"
[[loyalty.reward]]
id = "coffee"
kind = "voucher"
points = 200
names = { "en-US" = "a coffee" }
"""


@dataclass
class Clock:
    """A clock that a test turns."""

    now: datetime = START

    def __call__(self) -> datetime:
        """This moment."""
        return self.now

    def turn(self, **by: float) -> None:
        """Later, by `timedelta`'s words."""
        self.now += timedelta(**by)


@dataclass
class PostBox:
    """A channel that keeps what it is sent; `away` makes it fail, once for each entry."""

    taken: list[Message] = field(default_factory=list)
    away: list[ChannelError] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        """Kept, or refused."""
        if self.away:
            raise self.away.pop(0)
        self.taken.append(message)


@dataclass
class House:
    """An open façade and what a test wants to turn or see."""

    loyalty: Loyalty
    database: Database
    clock: Clock
    post: PostBox

    async def member(self, tenant: str = "sunny", points: int = 1_000, **told: object) -> Member:
        """A new member with so many points."""
        person = replace(somebody(), **told)
        member = await self.loyalty.members.enrol(tenant, person, by="agent:anna")
        if points:
            receipt = f"start-{member.member_id}"
            await self.loyalty.earn(tenant, member.member_id, points, receipt, key=receipt, by="key:shop")
        return member

    async def available(self, member: Member) -> int:
        """What the member can spend."""
        return (await self.loyalty.balance(member.tenant, member.member_id)).available


def somebody() -> Person:
    """A person without a number; his addresses are nobody's."""
    return Person(
        "",
        "Anna",
        "Grünwaldt",
        "80331",
        "12a",
        date(1980, 12, 31),
        "anna@example.com",
        "+498912345678",
        "de-DE",
    )


def write_tenants(folder: Path) -> Path:
    """A folder with both tenants' files."""
    folder.mkdir(exist_ok=True)
    (folder / "sunny.toml").write_text(SUNNY, encoding="utf-8")
    (folder / "rainy.toml").write_text(RAINY, encoding="utf-8")
    return folder


def open_house(
    data_dir: Path, database: Path | str, sources: Mapping[tuple[str, str], Source] | None = None
) -> House:
    """Everything open; closing is `house.database.close()`."""
    folder = write_tenants(data_dir / "tenants")
    programmes = programmes_of(load_tenants(folder), folder)
    opened, clock, post = Database.open(database), Clock(), PostBox()
    both = {Medium.EMAIL: post, Medium.SMS: post}
    around = Surroundings(
        database=opened,
        keys=Keys.open(data_dir, {}),
        programmes=programmes,
        door=Door(data_dir / "vault.sock"),
        channels=Channels(dict.fromkeys(programmes, both)),
        sources=sources or {},
        clock=clock,
    )
    return House(Loyalty(around), opened, clock, post)
