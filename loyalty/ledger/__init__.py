"""The points ledger: double entry, append-only, one write path; see docs/ledger.md."""

from loyalty.ledger.accounts import clawback_of, close_in, open_in
from loyalty.ledger.commands import (
    Adjust,
    Command,
    Done,
    Earn,
    Expire,
    Hold,
    Key,
    Move,
    Outcome,
    Post,
    Redeem,
    Refusal,
    Rejected,
    Reverse,
    Void,
)
from loyalty.ledger.group import book
from loyalty.ledger.jobs import DueHold, Reaped
from loyalty.ledger.ledger import Ledger
from loyalty.ledger.reads import Balance, Movement, RollForward

__all__ = [
    "Adjust",
    "Balance",
    "Command",
    "Done",
    "DueHold",
    "Earn",
    "Expire",
    "Hold",
    "Key",
    "Ledger",
    "Move",
    "Movement",
    "Outcome",
    "Post",
    "Reaped",
    "Redeem",
    "Refusal",
    "Rejected",
    "Reverse",
    "RollForward",
    "Void",
    "book",
    "clawback_of",
    "close_in",
    "open_in",
]
