"""Members: who takes part, sealed; how callers are found; cards; files in and out; erasure."""

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
    "Ambiguous",
    "CardState",
    "Change",
    "Claim",
    "Member",
    "Members",
    "NewCard",
    "Newcomer",
    "Person",
    "PersonError",
    "Pins",
    "Reason",
    "Role",
    "Status",
]
