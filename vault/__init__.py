"""THE DOOR of the PCI zone: the only names the rest of the house may import.

Inside: media plane, keypad, capture cells, providers, payments, tokens. No type and no call here can carry
a PAN, a CVV or a key (PCI DSS 3.3.1, 3.4.1); `tests/house/test_door.py` walks the annotations to prove it.
"""

from vault.client import Door
from vault.door import (
    Attempt,
    Decline,
    DeclineReason,
    Field,
    FieldProblem,
    FieldProgress,
    FieldState,
    History,
    KeyLine,
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
    "Decline",
    "DeclineReason",
    "Door",
    "Field",
    "FieldProblem",
    "FieldProgress",
    "FieldState",
    "History",
    "KeyLine",
    "MediaClient",
    "MediaFact",
    "NewPayment",
    "NextStep",
    "Page",
    "Payment",
    "PaymentChanged",
    "PaymentState",
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
