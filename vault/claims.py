"""Which payment holds which leg: at most one payment is keyed on a leg, and at most one on a call.

A claim is taken before media is asked for SECURE and dropped before media is told to let go, both without a
pause in between: of two payments opened at one moment one is refused, and it never touches the other's leg.
"""

from vault.door import Refused
from vault.register import Slot


class Claims:
    """Legs that a payment holds or is about to hold; the sweep leaves them alone."""

    def __init__(self) -> None:
        self._held: dict[str, Slot] = {}

    def check(self, slot: Slot) -> None:
        """`Refused("capture_open")` when another payment is being keyed on this leg or on this call."""
        row = slot.row
        for leg_id, other in self._held.items():
            if other is not slot and (leg_id == row.leg_id or other.row.call_id == row.call_id):
                raise Refused(
                    "capture_open", "Another capture is open on this call. Finish or cancel it first."
                )

    def take(self, slot: Slot) -> bool:
        """The payment's leg is its own; False when it was already. Refuses as `check` does."""
        self.check(slot)
        fresh = slot.row.leg_id not in self._held
        self._held[slot.row.leg_id] = slot
        return fresh

    def drop(self, slot: Slot) -> bool:
        """The leg is free for others; False when this payment did not hold it."""
        held = self.holder(slot.row.leg_id) is slot
        if held:
            del self._held[slot.row.leg_id]
        return held

    def holder(self, leg_id: str) -> Slot | None:
        """The payment that holds the leg."""
        return self._held.get(leg_id)
