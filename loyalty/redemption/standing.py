"""Whether a member may spend points now, read in the database transaction that spends them."""

from loyalty.answers import Refusal
from loyalty.errors import LoyaltyError
from loyalty.members import CardState, Member, Members, Status
from loyalty.tenancy import TenantConn


class RefusedError(Exception):
    """Undoes a whole database transaction: nothing of what was wished stays."""

    def __init__(self, code: Refusal) -> None:
        super().__init__(code.value)
        self.code = code


def spender(members: Members, conn: TenantConn, member_id: str) -> Member:
    """The member, who may spend; RefusedError otherwise."""
    member = found(members, conn, member_id)
    if member.status is not Status.ACTIVE:
        raise RefusedError(Refusal.MEMBER_LOCKED)
    if member.card_state is not CardState.ACTIVE:
        raise RefusedError(Refusal.CARD_LOCKED)
    return member


def found(members: Members, conn: TenantConn, member_id: str) -> Member:
    """The member, whatever he may do; RefusedError for nobody."""
    try:
        return members.register(conn).member(member_id)
    except LoyaltyError as error:
        if error.code != "member_unknown":
            raise
        raise RefusedError(Refusal.MEMBER_UNKNOWN) from None
