"""THE DOOR of the PCI zone: the only names the rest of the house may import.

Inside: media plane, keypad, capture cells, providers, payments, tokens. No type and no call here can carry
a PAN, a CVV or a key (PCI DSS 3.3.1, 3.4.1); `tests/house/test_door.py` walks the annotations to prove it.
"""

from vault.books.report import CsvPage, Match, Reconciliation
from vault.books.report import Day as BookDay
from vault.books.report import Item as BookItem
from vault.client import Door
from vault.door import (
    Attempt,
    CardOnFile,
    Decline,
    DeclineReason,
    Field,
    FieldProblem,
    FieldProgress,
    FieldState,
    History,
    KeyLine,
    LinkAnswer,
    LinkPage,
    LinkState,
    MediaFact,
    NewPayment,
    NextStep,
    Page,
    Payment,
    PaymentChanged,
    PaymentState,
    Refused,
    Remote,
    Search,
    Step,
    StepName,
    StepState,
    Unreachable,
    VaultError,
    Why,
)
from vault.media.client import MediaClient

__all__ = [
    "Attempt",
    "BookDay",
    "BookItem",
    "CardOnFile",
    "CsvPage",
    "Decline",
    "DeclineReason",
    "Door",
    "Field",
    "FieldProblem",
    "FieldProgress",
    "FieldState",
    "History",
    "KeyLine",
    "LinkAnswer",
    "LinkPage",
    "LinkState",
    "Match",
    "MediaClient",
    "MediaFact",
    "NewPayment",
    "NextStep",
    "Page",
    "Payment",
    "PaymentChanged",
    "PaymentState",
    "Reconciliation",
    "Refused",
    "Remote",
    "Search",
    "Step",
    "StepName",
    "StepState",
    "Unreachable",
    "VaultError",
    "Why",
]
