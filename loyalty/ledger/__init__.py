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
from loyalty.ledger.reads import Balance, Movement, RollForward

__all__ = [
    "Adjust",
    "Balance",
    "Command",
    "Done",
    "Earn",
    "Expire",
    "Hold",
    "Key",
    "Move",
    "Movement",
    "Outcome",
    "Post",
    "Redeem",
    "Refusal",
    "Rejected",
    "Reverse",
    "RollForward",
    "Void",
    "clawback_of",
    "close_in",
    "open_in",
]
