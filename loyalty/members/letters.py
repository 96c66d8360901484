"""Messages to members: stored in somebody's database transaction, sealed under the member's own key.

Whoever sends them (`loyalty/redemption/deliveries.py`) reads the same rows; a member who is erased before
gets none.
"""

import json
from dataclasses import dataclass, field

from sqlalchemy import insert

from loyalty.members.register import Register
from loyalty.tables import DELIVERY
from pay_ivr.channels import Medium
from pay_ivr.ids import new_id

WAITING = "waiting"

Address = tuple[Medium, str]
"""How and where to."""


@dataclass(frozen=True)
class Letter:
    """A message without its address."""

    subject: str = field(repr=False)
    text: str = field(repr=False)


def file_letter(
    register: Register,
    member_id: str,
    to: Address,
    letter: Letter,
    at: str,
    *,
    redemption_id: str | None = None,
) -> None:
    """Stores one message to one address of the member, due at once."""
    delivery_id = new_id("dlv")
    body = json.dumps({"to": to[1], "subject": letter.subject, "text": letter.text}).encode()
    register.conn.execute(
        insert(DELIVERY).values(
            tenant=register.tenant,
            delivery_id=delivery_id,
            member_id=member_id,
            redemption_id=redemption_id,
            medium=to[0].value,
            sealed_to_and_text=register.seal(member_id, delivery_id, body),
            state=WAITING,
            next_at=at,
        )
    )
