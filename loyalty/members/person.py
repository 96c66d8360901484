"""Who takes part: the person as told to us, the member as the programme knows him, and what a caller claims.

A `Person` is personal data and lives in memory only for as long as somebody needs it; in the database it is
sealed. Neither it nor a part of it has a place in a log, an error or an audit entry: the class has no repr.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from enum import StrEnum
from typing import Any, Final

from loyalty.errors import LoyaltyError

TEXT_MAX = 120
"""Characters of a name, an address: the longest real ones stay below a hundred."""
NUMBER_DIGITS_MAX = 10
"""Open digits leave media as an answer only up to ten (decision 0016): no number may be longer."""
BORN_MIN = date(1900, 1, 1)
"""Nobody alive is older; a typing error often is."""
PHONE_DIGITS_MAX = 15
"""ITU-T E.164 §6: at most fifteen."""

_NUMBER = re.compile(rf"[0-9]{{1,{NUMBER_DIGITS_MAX}}}")
_EMAIL = re.compile(r"[^@\s,;<>\"]{1,64}@[A-Za-z0-9.\-]{1,190}")
_PHONE = re.compile(rf"\+[1-9][0-9]{{5,{PHONE_DIGITS_MAX - 1}}}")
_LANGUAGE = re.compile(r"[a-z]{2}-[A-Z]{2}")


class Status(StrEnum):
    """What a member may do."""

    ACTIVE = "active"
    """Everything."""
    LOCKED = "locked"
    """Ask, and speak with an agent; nothing is redeemed."""
    CLOSED = "closed"
    """Left the programme: kept for the legal period, found by no search (GDPR article 18)."""


class CardState(StrEnum):
    """What a card may do."""

    ACTIVE = "active"
    LOCKED = "locked"
    """Earning goes on, redeeming does not."""
    REPLACED = "replaced"
    """Its number opens nothing any more."""


class Role(StrEnum):
    """For what personal data are asked."""

    SERVICE = "service"
    """Calls, web, the tenant's systems: a closed member does not exist for them."""
    LEGAL = "legal"
    """Access, erasure, a court: closed members as well (GDPR articles 15, 17, 18)."""


class Reason(StrEnum):
    """Why something was done with a member or a card; a closed list, because the log tells it."""

    LOST = "lost"
    STOLEN = "stolen"
    DAMAGED = "damaged"
    FOUND = "found"
    """The card has turned up again."""
    FRAUD = "fraud"
    CLEARED = "cleared"
    """A suspicion was wrong."""
    ASKED = "asked"
    """The member wanted it."""
    MOVED = "moved"
    """To another address, to another name."""
    CORRECTED = "corrected"
    """They had been wrong."""


@dataclass(frozen=True, repr=False)
class Person:
    """Personal data of one member; empty text means: not told to us."""

    number: str
    """Customer number, digits; empty at enrolment: one is made."""
    given_name: str
    family_name: str
    postcode: str
    house_number: str
    born: date
    email: str
    phone: str
    """E.164 with its plus, e.g. a number for text messages."""
    language: str
    """de-DE, en-US …"""


FIELDS: Final = tuple(field.name for field in fields(Person))
"""Columns of a CSV file, keys of an export and of a change."""


@dataclass(frozen=True)
class Member:
    """A member as the programme knows him; no personal data."""

    member_id: str
    tenant: str
    programme: str
    account_id: str
    language: str
    status: Status
    card_id: str
    """The card of now."""
    card_last4: str
    card_state: CardState


@dataclass(frozen=True)
class Claim:
    """Whom a caller says to be; nothing is proven before the PIN."""

    member_id: str
    """An unknown caller gets a decoy: the same one for the same keys, shaped like a real one."""
    known: bool


@dataclass(frozen=True)
class Ambiguous:
    """Several members fit: ask for the house number."""


class PersonError(LoyaltyError):
    """Personal data that cannot be taken; `field` names which, the sentence never what."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__("person_invalid", f"{field}: {sentence}")
        self.field = field
        self.why = sentence


def normalised(person: Person, digits_min: int = 1, digits_max: int = NUMBER_DIGITS_MAX) -> Person:
    """The person with blanks trimmed and Unicode composed (NFC); PersonError names the first wrong field."""
    told = {name: _trimmed(name, getattr(person, name)) for name in FIELDS if name != "born"}
    told["number"] = re.sub(r"[ \-]", "", told["number"])
    told["phone"] = re.sub(r"[ \-/()]", "", told["phone"])
    person = Person(**told, born=person.born)
    _check(person, digits_min, digits_max)
    return person


def changed(person: Person, changes: Mapping[str, object]) -> Person:
    """The person with these fields replaced; the number is for life. PersonError for any other name."""
    for name, value in changes.items():
        if name not in FIELDS or name == "number":
            raise PersonError("changes", "a field that cannot be changed")
        if not isinstance(value, date if name == "born" else str):
            raise PersonError(name, "has another type")
    return normalised(replace(person, **dict(changes)))  # type: ignore[arg-type]


def person_json(person: Person) -> dict[str, str]:
    """The person as plain JSON values."""
    return {name: str(getattr(person, name)) for name in FIELDS}


def person_octets(person: Person) -> bytes:
    """The person as canonical JSON: what is sealed."""
    return json.dumps(person_json(person), ensure_ascii=False, sort_keys=True).encode()


def person_from_json(body: Mapping[str, str]) -> Person:
    """The person that `person_json` told."""
    told: dict[str, Any] = dict(body)
    return Person(**told | {"born": date.fromisoformat(body["born"])})


def person_from_octets(octets: bytes) -> Person:
    """The person that was sealed."""
    return person_from_json(json.loads(octets))


def keyed_digits(text: str) -> str:
    """What a telephone's keypad can say of a number, a card, a house number: its digits."""
    return "".join(char for char in text if char in "0123456789")


def plain_postcode(text: str) -> str:
    """A postcode as it is compared: letters and digits only, upper case."""
    return "".join(char for char in unicodedata.normalize("NFKC", text).upper() if char.isalnum())


def _trimmed(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise PersonError(name, "is no text")
    text = unicodedata.normalize("NFC", value).strip()
    if len(text) > TEXT_MAX:
        raise PersonError(name, f"longer than {TEXT_MAX} characters")
    if any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text):
        raise PersonError(name, "holds control characters or line breaks")
    return text


def _check(person: Person, digits_min: int, digits_max: int) -> None:
    number = person.number
    if number and not (_NUMBER.fullmatch(number) and digits_min <= len(number) <= digits_max):
        raise PersonError("number", f"takes {digits_min} to {digits_max} digits")
    if not person.family_name:
        raise PersonError("family_name", "is missing")
    if person.born < BORN_MIN:
        raise PersonError("born", "a date since 1900 is needed")
    if person.email and not _EMAIL.fullmatch(person.email):
        raise PersonError("email", "is no address")
    if person.phone and not _PHONE.fullmatch(person.phone):
        raise PersonError("phone", "needs the form +4930123456")
    if not _LANGUAGE.fullmatch(person.language):
        raise PersonError("language", "needs the form de-DE")
