"""Who holds which leg: at most one payment or PIN is keyed on a leg, and at most one on a call.

A claim is taken before media is asked for SECURE and dropped before media is told to let go, both without a
pause in between: of two captures opened at one moment one is refused, and it never touches the other's leg.
"""

from typing import Protocol

from vault.door import Refused


class Holder(Protocol):
    """What is keyed on a leg: a payment (`vault/register.py`) or a PIN entry (`vault/pins.py`)."""

    @property
    def leg_id(self) -> str:
        """The caller's leg."""

    @property
    def call_id(self) -> str:
        """The call it belongs to."""


class Claims:
    """Legs that somebody holds or is about to hold; the sweep leaves them alone."""

    def __init__(self) -> None:
        self._held: dict[str, Holder] = {}

    def check(self, holder: Holder) -> None:
        """`Refused("capture_open")` when something else is being keyed on this leg or on this call."""
        for leg_id, other in self._held.items():
            if other is not holder and (leg_id == holder.leg_id or other.call_id == holder.call_id):
                raise Refused(
                    "capture_open", "Another capture is open on this call. Finish or cancel it first."
                )

    def take(self, holder: Holder) -> bool:
        """The leg is the holder's own; False when it was already. Refuses as `check` does."""
        self.check(holder)
        fresh = holder.leg_id not in self._held
        self._held[holder.leg_id] = holder
        return fresh

    def drop(self, holder: Holder) -> bool:
        """The leg is free for others; False when this one did not hold it."""
        held = self.holder(holder.leg_id) is holder
        if held:
            del self._held[holder.leg_id]
        return held

    def holder(self, leg_id: str) -> Holder | None:
        """Who holds the leg."""
        return self._held.get(leg_id)
