"""Members: who takes part, sealed; how callers are found; cards; files in and out; erasure."""

from loyalty.members.csv_form import BadRow
from loyalty.members.dossier import Others
from loyalty.members.erasure import Erased
from loyalty.members.exchange import Imported
from loyalty.members.letters import WAITING, Letter, file_letter
from loyalty.members.members import Members, NewCard
from loyalty.members.office import Pins
from loyalty.members.person import (
    FIELDS,
    Ambiguous,
    CardState,
    Claim,
    Member,
    Person,
    PersonError,
    Reason,
    Role,
    Status,
)
from loyalty.members.register import Change, Newcomer

__all__ = [
    "FIELDS",
    "WAITING",
    "Ambiguous",
    "BadRow",
    "CardState",
    "Change",
    "Claim",
    "Erased",
    "Imported",
    "Letter",
    "Member",
    "Members",
    "NewCard",
    "Newcomer",
    "Others",
    "Person",
    "PersonError",
    "Pins",
    "Reason",
    "Role",
    "Status",
    "file_letter",
]
