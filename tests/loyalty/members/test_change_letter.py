"""A change of personal data is told to the member: where he was known before, and where he is known now."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from loyalty.drain import LoyaltyRows
from loyalty.errors import LoyaltyError
from loyalty.members import FIELDS
from loyalty.members.change_letter import KINDS, WORDS, letter_of, told_at
from loyalty.programme import Programme
from loyalty.tables import DELIVERY
from pay_ivr.channels import SUBJECT_MAX, Channels, Medium
from pay_ivr.languages import languages
from pay_ivr.postman import Postman
from pay_ivr.senders import FolderChannel
from tests.loyalty.members.conftest import person
from tests.support.loyalty import House, open_house

BOTH = (Medium.EMAIL, Medium.SMS)
OLD_MAIL, NEW_MAIL = "anna@example.com", "neu@example.org"
OLD_PHONE, NEW_PHONE = "+498912345678", "+491701234567"
BY = "agent:anna"


class NoHooks:
    """A node without webhooks."""

    async def due(self, now_ms: int) -> tuple[()]:
        return ()

    async def tidy(self, now_ms: int) -> None:
        return


@pytest.fixture
async def house(short_dir: Path, empty_database: Path) -> AsyncIterator[House]:
    """A façade with a clock and channels."""
    shutil.copy(empty_database, short_dir / "loyalty.db")
    opened = open_house(short_dir, short_dir / "loyalty.db")
    yield opened
    await opened.database.close()


async def sent(house: House, folder: Path) -> list[dict[str, str]]:
    """What the postman has carried into the folder of messages."""
    channel = FolderChannel(folder)
    channels = Channels(dict.fromkeys(("sunny", "rainy"), dict.fromkeys(BOTH, channel)))
    await Postman(NoHooks(), [house.loyalty.deliveries], channels, {}, asyncio.Event()).round()
    return letters(folder)


def letters(folder: Path) -> list[dict[str, str]]:
    """What lies in a folder of messages."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]


@pytest.fixture
def _postman_s_clock(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pay_ivr.postman.now_ms", lambda: int(house.clock().timestamp() * 1000))


@pytest.mark.usefixtures("_postman_s_clock")
async def test_old_and_new_address_are_told_what_kind_of_data_was_changed(house: House, tmp_path: Path):
    """By the folder channel, in the member's language; neither the old nor the new data stand there."""
    member = await house.member()
    changes = {"email": NEW_MAIL, "phone": NEW_PHONE, "postcode": "10115", "house_number": "7"}
    await house.loyalty.members.change("sunny", member.member_id, changes, by=BY)
    messages = await sent(house, tmp_path)
    assert {OLD_MAIL, NEW_MAIL, OLD_PHONE, NEW_PHONE} == {one["to"] for one in messages}
    text = (
        "Sunny Miles\n\nIhre persönlichen Daten wurden geändert: Anschrift, E-Mail-Adresse, Telefonnummer.\n"
        "Wenn Sie das nicht veranlasst haben, rufen Sie uns bitte sofort an.\n"
    )
    assert {text} == {one["text"] for one in messages}
    assert {"Ihre Daten bei Sunny Miles"} == {one["subject"] for one in messages if "@" in one["to"]}


@pytest.mark.usefixtures("_postman_s_clock")
async def test_what_changes_nothing_or_is_refused_tells_nobody(house: House, tmp_path: Path):
    """The message is committed with the change, and only with it."""
    member = await house.member()
    await house.loyalty.members.change("sunny", member.member_id, {"email": OLD_MAIL}, by=BY)
    with pytest.raises(LoyaltyError):
        await house.loyalty.members.change("sunny", member.member_id, {"email": "no address"}, by=BY)
    assert [] == await sent(house, tmp_path)


async def test_the_log_tells_how_many_messages_were_filed(house: House):
    """In the entry of the change itself; nobody who was erased is written to."""
    members = house.loyalty.members
    member = await house.member(points=0)
    await members.change("sunny", member.member_id, {"email": NEW_MAIL}, by=BY)
    entries = [json.loads(row["body"]) for row in await LoyaltyRows(house.database.writer).pull(100)]
    (entry,) = [one for one in entries if one["name"] == "member.profile.changed"]
    assert {"fields": "email", "reason": "corrected", "messages": 2} == entry["data"]
    await members.erase("sunny", member.member_id, BY)
    left = select(DELIVERY.c.delivery_id).where(DELIVERY.c.tenant == "sunny")
    assert [] == await house.database.read("sunny", lambda conn: list(conn.execute(left)))


MAIL, SMS = Medium.EMAIL, Medium.SMS


@pytest.mark.parametrize(
    ("told", "media", "expected"),
    [
        ({"email": NEW_MAIL}, BOTH, ((MAIL, OLD_MAIL), (MAIL, NEW_MAIL))),
        ({"email": ""}, BOTH, ((MAIL, OLD_MAIL),)),
        ({"phone": NEW_PHONE}, BOTH, ((SMS, OLD_PHONE), (SMS, NEW_PHONE))),
        ({"postcode": "10115"}, BOTH, ((MAIL, OLD_MAIL),)),
        ({"postcode": "10115"}, (SMS,), ((SMS, OLD_PHONE),)),
        ({"phone": NEW_PHONE}, (MAIL,), ((MAIL, OLD_MAIL),)),
        ({"email": NEW_MAIL}, (), ()),
    ],
)
def test_somebody_who_was_known_before_is_always_told(told, media, expected):
    """Old and new of what was changed, by what the tenant can send."""
    before = person(email=OLD_MAIL, phone=OLD_PHONE)
    assert expected == told_at(before, replace(before, **told), media)


def test_a_first_address_does_not_replace_the_one_that_was_known():
    """A mail address that somebody adds is told, and so is the telephone that was there."""
    before = person(email="", phone=OLD_PHONE)
    after = replace(before, email=NEW_MAIL)
    assert ((SMS, OLD_PHONE), (MAIL, NEW_MAIL)) == told_at(before, after, BOTH)
    assert () == told_at(person(email="", phone=""), person(email="", phone="", postcode="1"), BOTH)


def test_every_language_has_a_word_for_every_field():
    """What can be changed has a name in every language of the house; subjects fit."""
    assert set(languages()) == set(WORDS)
    assert set(FIELDS) - {"number"} == set(KINDS)
    programme = Programme(programme="miles", name="M" * 60)
    for language, words in WORDS.items():
        assert set(KINDS.values()) == set(words.kinds)
        letter = letter_of(programme, list(KINDS), language)
        assert len(letter.subject) <= SUBJECT_MAX
        assert all(word in letter.text for word in words.kinds.values())
    assert letter_of(programme, ["born"], "en-US") == letter_of(programme, ["born"], "xx-XX")
