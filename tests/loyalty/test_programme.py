"""A programme from its file: what is right, which line is wrong, and what its clock says."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from loyalty.hours import HoursError, is_open, parse_opening
from loyalty.programme import Action, Programme, VoucherSource, programme_of, programmes_of
from pay_ivr.tenants import TenantError, load_tenant, load_tenants
from tests.support.loyalty import SUNNY, write_tenants

DEMO = Path("infra/tenants/demo.toml").read_text(encoding="utf-8")


def read(folder: Path, text: str) -> Programme | None:
    """The programme of a file with this text."""
    path = folder / "acme.toml"
    path.write_text(text, encoding="utf-8")
    return programme_of(load_tenant(path), folder)


def test_the_demo_tenant_has_one(tmp_path: Path):
    """Keys, actions and rewards as written."""
    programme = read(tmp_path, DEMO)
    assert programme is not None
    assert ("miles", Action.REDEEM, "2") == (
        programme.programme,
        programme.action_of("2"),
        programme.key_of(Action.REDEEM),
    )
    assert "un árbol plantado" == programme.reward_of("tree").name("es-ES")
    assert programme.action_of("9") is None


def test_tenants_without_a_section_have_none(tmp_path: Path):
    """They are left out, the others are found by name."""
    folder = write_tenants(tmp_path / "tenants")
    (folder / "plain.toml").write_text('name = "Plain"\n', encoding="utf-8")
    assert {"sunny", "rainy"} == set(programmes_of(load_tenants(folder), folder))


@pytest.mark.parametrize(
    ("old", "new", "field", "sentence"),
    [
        ('key = "2"', 'key = "1"', "loyalty.menu.1.key", "taken"),
        ('key = "2"', 'key = "12"', "loyalty.menu.1.key", "pattern"),
        ('action = "redeem"', 'action = "balance"', "loyalty.menu.1.action", "already"),
        ('action = "redeem"', 'action = "dance"', "loyalty.menu.1.action", "Input should be"),
        ('id = "coffee"', 'id = "tree"', "loyalty.reward.1.id", "has this id"),
        ('charity = "plant-for-the-planet"', 'charity = ""', "loyalty.reward.0.charity", "names its charity"),
        (', "fr-FR" = "un bon pour un café"', "", "loyalty.reward.1.names", "fr-FR is missing"),
        ("points = 200", "points = 0", "loyalty.reward.1.points", "greater than"),
        ("points = 200", "points = true", "loyalty.reward.1.points", "true and false"),
        ("points = 200", 'points = 200\nsource = "spa"', "loyalty.reward.1.source", "voucher_source"),
        ('"Europe/Berlin"', '"Europe/Nowhere"', "loyalty.timezone", "no such time zone"),
        ('"sat 09:00-14:00"', '"sat 14:00-09:00"', "loyalty.hours.open", "later on the same day"),
        ("payout_four_eyes_points = 5000", "payout_four_eyes_points = -1", "loyalty.payout_four", "greater"),
        ('["email", "sms"]', '["email", "email"]', "loyalty.reset_by", "twice"),
        ("expiry_months = 36", "expiry_month = 36", "loyalty.expiry_month", "not permitted"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, old: str, new: str, field: str, sentence: str):
    """File, line and field; the line is the one that was changed."""
    assert old in DEMO
    first, after = DEMO.split(old, 1)
    with pytest.raises(TenantError) as caught:
        read(tmp_path, first + new + after)
    said = str(caught.value)
    assert field in said
    assert sentence in said
    line = int(said.split(":")[1])
    lines = (first + new).splitlines()
    assert line in range(len(lines) - new.count("\n") - 1, len(lines) + 1), said


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/v",
        "https://shop.example:99999/v",
        "https://shop.example/v v",
        "https://shop.example/ü",
        "https://[::1/v",
        "https://anna@shop.example/v",
        "https:///v",
        "https://shop.example/v?order=",
    ],
)
def test_a_shop_that_cannot_be_called_is_refused(url: str):
    """Here and not with the first caller who wants a voucher."""
    with pytest.raises(ValidationError):
        VoucherSource(id="spa", url=url)


def test_an_agents_key_needs_agents_on_every_portal(tmp_path: Path):
    """Nobody is led to a phone that nobody has."""
    text = DEMO.replace('language = "fr-FR"\nagents = ["agent1"]', 'language = "fr-FR"')
    with pytest.raises(TenantError, match=r"loyalty\.menu\.6\.action: a number with a loyalty flow"):
        read(tmp_path, text)


def test_a_portal_without_a_programme_is_refused(tmp_path: Path):
    """The number is named that nobody could serve."""
    text = 'name = "X"\n[[telephony.did]]\nnumber = "123"\nflow = "loyalty.portal"\n'
    with pytest.raises(TenantError, match=r"acme\.toml:4: telephony\.did\.0\.flow"):
        read(tmp_path, text)


def test_an_announcement_ends_after_its_day(tmp_path: Path):
    """It is spoken until the last moment of the tenant's day."""
    text = SUNNY + (
        "[loyalty.announcement]\nuntil = 2026-03-10\n"
        'texts = { "de-DE" = "Samstag zu.", "en-US" = "Closed on Saturday." }\n'
    )
    programme = read(tmp_path, text)
    assert "Samstag zu." == programme.announced("de-DE", datetime(2026, 3, 10, 22, 59, tzinfo=UTC))
    assert programme.announced("de-DE", datetime(2026, 3, 10, 23, 0, tzinfo=UTC)) is None
    assert programme.announced("fr-FR", datetime(2026, 3, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("at", "there"),
    [
        ("2026-03-09T06:59", False),
        ("2026-03-09T07:00", True),  # Monday, 8:00 in Berlin
        ("2026-03-09T18:59", True),
        ("2026-03-09T19:00", False),
        ("2026-03-14T09:00", True),  # Saturday, 10:00
        ("2026-03-14T13:00", False),
        ("2026-03-15T10:00", False),  # Sunday
        ("2026-03-30T06:00", True),  # summer time: 8:00 is an hour earlier
    ],
)
def test_agents_are_there_by_the_tenants_clock(tmp_path: Path, at: str, there: bool):
    """Summer time included."""
    programme = read(tmp_path, DEMO)
    assert there == programme.agents_there(datetime.fromisoformat(at).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mon",
        "mon 8:00-9:00",
        "mon 08:00-24:01",
        "mon 09:00-09:00",
        "xxx 08:00-09:00",
        "mon-xxx 08:00-09:00",
    ],
)
def test_what_is_no_opening_is_refused(text: str):
    """With a sentence that shows one."""
    with pytest.raises(HoursError):
        parse_opening(text)


def test_a_span_of_days_may_pass_sunday():
    """Friday to Monday are four days."""
    assert (4, 5, 6, 0) == parse_opening("fri-mon 00:00-24:00").days
    assert is_open((), datetime(2026, 3, 9, 3, 0))  # noqa: DTZ001 - a local clock


@pytest.mark.parametrize(
    ("earned", "months", "expires"),
    [
        ("2026-01-31", 1, date(2026, 2, 28)),
        ("2024-01-30", 1, date(2024, 2, 29)),
        ("2026-03-31", 1, date(2026, 4, 30)),
        ("2026-12-15", 1, date(2027, 1, 15)),
        ("2026-12-15", 36, date(2029, 12, 15)),
        ("2026-12-15", 0, None),
    ],
)
def test_points_expire_the_same_day_some_months_on(earned: str, months: int, expires: date | None):
    """Or on the last day of a shorter month; with 0 never."""
    programme = Programme(programme="miles", name="Miles", expiry_months=months)
    assert expires == programme.expires(datetime.fromisoformat(f"{earned}T12:00").replace(tzinfo=UTC))
