"""A tenant's loyalty programme: section `[loyalty]` of its file. Data, never code.

What a caller's menu offers, what points buy, how long they live and when agents are there stands here, one
programme per tenant. Everything is checked when a node starts and by `pay-ivr check`, which names file and
line; nothing in here is looked up or parsed again while somebody is on the line.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from loyalty.hours import HoursError, Opening, is_open, parse_opening
from pay_ivr.channels import Medium
from pay_ivr.tenants import Tenant, checked_section, fault_at, sections

POINTS_MAX = 10**9
"""Of one movement: far above any programme, far below where 64 bits end even after 10^9 movements."""
REWARDS_MAX = 200
"""A caller cannot choose among more, and nobody's web page shows more without a search."""
SPOKEN_MAX = 300
"""Characters of an announcement: half a minute, then a caller hangs up."""
STOCK = "stock"
"""The voucher source that every programme has: codes of our own."""
FLOWS = "loyalty."
"""Flows of this package are found under this name."""

Points = Annotated[int, Field(ge=1, le=POINTS_MAX)]
Name = Annotated[str, Field(min_length=1, max_length=60)]
Tag = Annotated[str, Field(pattern=r"^[a-z]{2}-[A-Z]{2}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


class Action(StrEnum):
    """What a key of the menu does."""

    BALANCE = "balance"
    REDEEM = "redeem"
    MOVEMENTS = "movements"
    CHANGE_PIN = "change_pin"
    LOCK_CARD = "lock_card"
    LANGUAGE = "language"
    AGENT = "agent"


class RewardKind(StrEnum):
    """What a reward is."""

    DONATION = "donation"
    """Points go to a charity of the tenant; there is a receipt."""
    VOUCHER = "voucher"
    """A code, issued once, from our own stock or by a provider."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, value: Any) -> Any:
        if isinstance(value, bool):  # Python would count it as 1
            raise ValueError("true and false are no values here")  # noqa: TRY004 - pydantic's own
        return value


class MenuItem(_Section):
    """`[[loyalty.menu]]`: one key of the menu after the login."""

    key: str = Field(pattern=r"^[0-9]$")
    """The digit a caller presses; each stands once."""
    action: Action
    """`balance`, `redeem`, `movements`, `change_pin`, `lock_card`, `language` or `agent`."""


class Reward(_Section):
    """`[[loyalty.reward]]`: one thing that points buy."""

    id: Slug
    """Its name for programs, never changed: redemptions keep it."""
    kind: RewardKind
    """`donation` or `voucher`."""
    points: Points
    """What it costs."""
    charity: str = Field(default="", pattern=r"^([a-z][a-z0-9_-]{0,39})?$")
    """Whom a donation goes to; the ledger has an account of that name."""
    source: str = Field(default=STOCK, pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    """Where the code of a voucher comes from: `stock` (`pay-ivr voucher import`), or the id of a
    `[[loyalty.voucher_source]]`."""
    per_day_max: int = Field(default=0, ge=0, le=10_000)
    """How often one member may have it on one day of the tenant's clock; 0: no limit."""
    per_member_max: int = Field(default=0, ge=0, le=10_000)
    """How often one member may have it at all; 0: no limit."""
    total_max: int = Field(default=0, ge=0, le=POINTS_MAX)
    """How often it is given to all members together; 0: no limit."""
    until: date | None = None
    """The last day on which it can be had."""
    names: Mapping[Tag, Name]
    """As spoken and written, in every language of the tenant."""

    @property
    def from_stock(self) -> bool:
        """A voucher whose codes are ours."""
        return self.kind is RewardKind.VOUCHER and self.source == STOCK

    def name(self, language: str) -> str:
        """Its name in that language, or in the first one that it has."""
        return self.names.get(language) or next(iter(self.names.values()))


def _opening(value: Any) -> Opening:
    if isinstance(value, Opening):
        return value
    try:
        return parse_opening(value if isinstance(value, str) else "")
    except HoursError as error:
        raise ValueError(str(error)) from None


class Hours(_Section):
    """`[loyalty.hours]`: when agents are there. Self-service is always open."""

    open: tuple[Annotated[Opening, BeforeValidator(_opening)], ...] = Field(default=(), max_length=50)
    """Days and times of the tenant's clock, like `mon-fri 08:00-20:00`; none: around the clock."""
    closed: tuple[date, ...] = Field(default=(), max_length=400)
    """Days on which nobody is there, whatever `open` says."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )


class VoucherSource(_Section):
    """`[[loyalty.voucher_source]]`: a shop's own service that issues codes while the caller waits."""

    id: Slug
    """As a reward's `source` names it. The service's token is the file `keys/voucher-<tenant>-<id>`."""
    url: Annotated[str, Field(max_length=300)]
    """`https://shop.example/vouchers`; `http://` only on loopback. Below it every order has its own name."""
    ca_file: str = ""
    """As of `[messages.smtp]`."""

    @field_validator("url")
    @classmethod
    def _is_ours_to_call(cls, value: str) -> str:
        url = urlsplit(value)
        plain = value.isascii() and value.isprintable() and " " not in value
        if not plain or not url.hostname or url.port == 0 or url.username or url.query or url.fragment:
            raise ValueError("url must be like https://shop.example/vouchers")
        if url.scheme != "https" and not (
            url.scheme == "http" and url.hostname in {"127.0.0.1", "localhost"}
        ):
            raise ValueError("https only; http is for a host on loopback")
        return value


class Announcement(_Section):
    """`[loyalty.announcement]`: spoken after the welcome, until a day."""

    until: date
    """The last day on which it is spoken."""
    texts: Mapping[Tag, Annotated[str, Field(min_length=1, max_length=SPOKEN_MAX)]]
    """In every language of the tenant."""


STANDARD_MENU = (
    MenuItem(key="1", action=Action.BALANCE),
    MenuItem(key="2", action=Action.REDEEM),
    MenuItem(key="3", action=Action.MOVEMENTS),
    MenuItem(key="4", action=Action.CHANGE_PIN),
    MenuItem(key="5", action=Action.LOCK_CARD),
    MenuItem(key="6", action=Action.LANGUAGE),
)


class Programme(_Section):
    """`[loyalty]` of a tenant's file."""

    programme: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    """Its name in the ledger, never changed: points of two programmes never meet."""
    name: Name
    """As spoken and written."""
    number_digits: tuple[
        Annotated[int, Field(ge=4, le=10)],
        Annotated[int, Field(ge=4, le=10)],
    ] = (6, 10)
    """Fewest and most digits of a customer or card number."""
    postcode_digits: tuple[
        Annotated[int, Field(ge=3, le=10)],
        Annotated[int, Field(ge=3, le=10)],
    ] = (5, 5)
    """Fewest and most digits of a postcode; when they are the same, nobody has to wait or to press `#`."""
    expiry_months: int = Field(default=36, ge=0, le=240)
    """How long earned points live; 0: for ever."""
    hold_minutes: int = Field(default=15, ge=2, le=1_440)
    """How long points of an unfinished redemption are kept before it is looked into."""
    timezone: str = Field(default="Europe/Berlin", max_length=60)
    """The tenant's clock: days of limits, of expiry and of the agents' hours."""
    payout_four_eyes_points: int = Field(default=0, ge=0, le=POINTS_MAX)
    """A payout of more points is released by a second agent; 0: every one is."""
    adjust_points_max: int = Field(default=5_000, ge=0, le=POINTS_MAX)
    """How many points one person may give or take at a time, for a complaint or a mistake."""
    payout_currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")
    """Of payouts, ISO 4217."""
    payout_minor_per_100_points: int = Field(default=0, ge=0, le=1_000_000)
    """What a hundred points are worth in minor units of that currency; 0: no payouts."""
    reset_by: tuple[Medium, ...] = Field(default=(), max_length=2)
    """How a reset code of a PIN may travel, the preferred way first; none: only a letter of your own."""
    deliver_by: tuple[Medium, ...] = Field(default=(Medium.EMAIL, Medium.SMS), max_length=2)
    """How vouchers and receipts are sent: the first way for which the member has an address; none: not."""
    hours: Hours = Hours()
    """When agents are there; see `[loyalty.hours]`."""
    menu: tuple[MenuItem, ...] = Field(default=STANDARD_MENU, min_length=1, max_length=10)
    """See `[[loyalty.menu]]`; default: all but `agent`, on the keys 1 to 6."""
    reward: tuple[Reward, ...] = Field(default=(), max_length=REWARDS_MAX)
    """See `[[loyalty.reward]]`."""
    voucher_source: tuple[VoucherSource, ...] = Field(default=(), max_length=20)
    """See `[[loyalty.voucher_source]]`."""
    announcement: Announcement | None = None
    """See `[loyalty.announcement]`."""

    @field_validator("timezone")
    @classmethod
    def _exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, OSError, ValueError):  # unknown, a folder, or no name at all
            raise ValueError("there is no such time zone") from None
        return value

    @field_validator("number_digits", "postcode_digits")
    @classmethod
    def _in_order(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[0] > value[1]:
            raise ValueError("the fewest come first")
        return value

    def action_of(self, key: str) -> Action | None:
        """What a key of the menu does; None when it does nothing."""
        return next((item.action for item in self.menu if item.key == key), None)

    def key_of(self, action: Action) -> str | None:
        """The key of an action; None when the menu does not offer it."""
        return next((item.key for item in self.menu if item.action is action), None)

    def reward_of(self, reward_id: str) -> Reward | None:
        """The reward of that name."""
        return next((one for one in self.reward if one.id == reward_id), None)

    def source_of(self, reward: Reward) -> VoucherSource | None:
        """Who issues the reward's codes; None for our own stock."""
        return next((one for one in self.voucher_source if one.id == reward.source), None)

    def local(self, at: datetime) -> datetime:
        """A moment on the tenant's clock."""
        return at.astimezone(ZoneInfo(self.timezone))

    def today(self, at: datetime) -> date:
        """The tenant's day at a moment."""
        return self.local(at).date()

    def midnight(self, at: datetime) -> datetime:
        """When the tenant's day began, in UTC: limits per day count from here."""
        start = datetime.combine(self.today(at), time(), tzinfo=ZoneInfo(self.timezone))
        return start.astimezone(UTC)

    def agents_there(self, at: datetime) -> bool:
        """True within the agents' hours."""
        local = self.local(at)
        return local.date() not in self.hours.closed and is_open(self.hours.open, local)

    def announced(self, language: str, at: datetime) -> str | None:
        """What is to be announced now in that language."""
        if self.announcement is None or self.today(at) > self.announcement.until:
            return None
        return self.announcement.texts.get(language)

    def expires(self, at: datetime) -> date | None:
        """The day from which points earned now are no longer there; None: never."""
        return _months_later(self.today(at), self.expiry_months) if self.expiry_months else None


def _months_later(day: date, months: int) -> date:
    """The same day some months on, or the last day of a shorter month."""
    total = day.year * 12 + day.month - 1 + months
    year, month = divmod(total, 12)
    for candidate in (day.day, 30, 29, 28):
        if candidate <= day.day:
            try:
                return date(year, month + 1, candidate)
            except ValueError:
                continue
    raise AssertionError  # every month has 28 days


@dataclass(frozen=True)
class _Problem:
    place: tuple[str | int, ...]
    sentence: str


def programmes_of(tenants: Mapping[str, Tenant], tenants_dir: Path) -> dict[str, Programme]:
    """The programme of every tenant that has one; TenantError names file and line."""
    found = {name: programme_of(tenant, tenants_dir) for name, tenant in tenants.items()}
    return {name: programme for name, programme in found.items() if programme is not None}


def programme_of(tenant: Tenant, tenants_dir: Path) -> Programme | None:
    """The tenant's programme, or None without `[loyalty]`; TenantError names file, line and field."""
    path = tenants_dir / f"{tenant.tenant_id}.toml"
    if "loyalty" not in sections(path):
        if (number := _portal(tenant)) is not None:
            raise fault_at(path, ("telephony", "did", number, "flow"), "needs a section [loyalty]")
        return None
    programme = checked_section(path, "loyalty", Programme)
    for problem in _problems(programme, tenant):
        raise fault_at(path, problem.place, problem.sentence)
    return programme


def _portal(tenant: Tenant) -> int | None:
    dids = enumerate(tenant.telephony.did)
    return next((number for number, did in dids if did.flow.startswith(FLOWS)), None)


def _problems(programme: Programme, tenant: Tenant) -> Iterator[_Problem]:
    """What no single field shows, in the order of the file's sections."""
    yield from _of_menu(programme, tenant)
    yield from _of_rewards(programme, _languages(tenant))
    if programme.announcement is not None:
        lacking = _lacking(programme.announcement.texts, _languages(tenant))
        if lacking:
            yield _Problem(("loyalty", "announcement", "texts"), f"{lacking} is missing")
    for field in ("reset_by", "deliver_by"):
        if len(set(getattr(programme, field))) < len(getattr(programme, field)):
            yield _Problem(("loyalty", field), "one of them stands there twice")


def _of_menu(programme: Programme, tenant: Tenant) -> Iterator[_Problem]:
    keys: set[str] = set()
    actions: set[Action] = set()
    for number, item in enumerate(programme.menu):
        if item.key in keys:
            yield _Problem(("loyalty", "menu", number, "key"), "this key is taken by an item above")
        if item.action in actions:
            yield _Problem(("loyalty", "menu", number, "action"), "an item above does this already")
        keys.add(item.key)
        actions.add(item.action)
        portals = [did for did in tenant.telephony.did if did.flow.startswith(FLOWS)]
        if item.action is Action.AGENT and not all(did.agents for did in portals):
            yield _Problem(
                ("loyalty", "menu", number, "action"), "a number with a loyalty flow has no agents"
            )


def _of_rewards(programme: Programme, languages: tuple[str, ...]) -> Iterator[_Problem]:
    sources = {STOCK}
    for number, source in enumerate(programme.voucher_source):
        if source.id in sources:
            yield _Problem(("loyalty", "voucher_source", number, "id"), "this id is taken")
        sources.add(source.id)
    seen: set[str] = set()
    for number, reward in enumerate(programme.reward):
        place = ("loyalty", "reward", number)
        if reward.id in seen:
            yield _Problem((*place, "id"), "a reward above has this id")
        seen.add(reward.id)
        if (reward.kind is RewardKind.DONATION) != bool(reward.charity):
            yield _Problem((*place, "charity"), "a donation names its charity, a voucher has none")
        if reward.source not in (sources if reward.kind is RewardKind.VOUCHER else {STOCK}):
            yield _Problem((*place, "source"), "there is no such [[loyalty.voucher_source]]")
        if lacking := _lacking(reward.names, languages):
            yield _Problem((*place, "names"), f"{lacking} is missing")


def _languages(tenant: Tenant) -> tuple[str, ...]:
    """Every language in which a caller or a page of this tenant may want a name."""
    of_numbers = (did.language for did in tenant.telephony.did)
    return tuple(dict.fromkeys([*tenant.telephony.languages, *of_numbers]))


def _lacking(texts: Mapping[str, str], languages: tuple[str, ...]) -> str:
    return next((language for language in languages if language not in texts), "")
