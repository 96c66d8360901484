"""THE DOOR of the PCI zone: the only names the rest of the house may import.

Inside: media plane, keypad, capture cells, providers, payments, tokens. No type and no call here can carry
a PAN, a CVV or a key (PCI DSS 3.3.1, 3.4.1); `tests/house/test_door.py` walks the annotations to prove it.
"""

from vault.client import Door
from vault.door import (
    Decline,
    DeclineReason,
    Field,
    FieldProblem,
    FieldProgress,
    FieldState,
    MediaFact,
    NewPayment,
    NextStep,
    Payment,
    PaymentChanged,
    PaymentState,
    Refused,
    Remote,
    Unreachable,
    VaultError,
    Why,
)
from vault.media.client import MediaClient

__all__ = [
    "Decline",
    "DeclineReason",
    "Door",
    "Field",
    "FieldProblem",
    "FieldProgress",
    "FieldState",
    "MediaClient",
    "MediaFact",
    "NewPayment",
    "NextStep",
    "Payment",
    "PaymentChanged",
    "PaymentState",
    "Refused",
    "Remote",
    "Unreachable",
    "VaultError",
    "Why",
]
