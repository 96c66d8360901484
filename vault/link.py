"""One link: what it is made with, and what a standing at the provider says about it.

Pure: no clock, no database, no socket. A link is an attempt of its payment with the basis `link_3ds`: the
bank asks the payer itself. Its key is derived from payment and number; its token, 128 random bits, is kept
as a hash only, so that vault.db opens no page.
"""

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from audit.outbox import stamp
from vault.door import LinkPage, LinkState, Refused
from vault.payment import Move, after
from vault.providers.base import LinkOrder, Outcome, OutcomeKind, Standing, StandingState
from vault.store import PaymentRow
from vault.verdict import order_of

BASIS = "link_3ds"
TOKEN_BYTES = 16
SENDS_MAX = 5
"""Tokens per payment: a mistyped address twice is human, more makes a nuisance of us for strangers."""
PAGE_MIN_S = 1_800
"""Stripe opens no page for less; ours is closed when the tenant's own time is over."""
PAGE_MARGIN_S = 120
"""By how much the provider's page outlives our link, so that its clock never closes it first."""
LOOK_OPENED_S = 10.0
"""How often a page that somebody has opened is looked at, in case the webhook does not come."""
LOOK_MADE_S = 60.0
"""The same for a page that nobody has opened yet, or that is being closed."""
PAYABLE = frozenset({LinkState.MADE, LinkState.OPENED, LinkState.DECLINED})
"""States in which the token opens a page that takes a payment."""


class Ending(StrEnum):
    """Why a link is being closed."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True)
class LinkRow:
    """One link as it is stored; neither address nor token can be shown."""

    payment_id: str
    number: int
    link_key: str
    state: LinkState
    provider: str
    language: str
    expires_at: str
    created_at: str
    link_ref: str = ""
    url: str = field(default="", repr=False)
    token_sha256: str = field(default="", repr=False)
    sent: int = 0
    """How many tokens it has had; the last one is valid."""
    ending: str = ""
    """A word of `Ending` while it is being closed."""
    ended_by: str = ""
    """Who cancelled, as `payment.intent.cancelled` says it."""
    ended_at: str = ""


def link_key(payment_id: str, number: int) -> str:
    """The provider's idempotency key of one link."""
    return f"{payment_id}:link:{number}"


def new_token() -> str:
    """A fresh token, 22 characters of the URL's alphabet."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest_of(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def check_open(row: PaymentRow) -> None:
    """`Refused` when this payment cannot be sent as a link."""
    if row.check_only or row.off_line:
        raise Refused("not_linkable", "This payment cannot be sent as a link. Create one with an amount.")
    if row.step is not None:
        raise Refused("step_under_way", "Another step of this payment is under way. Wait for its result.")
    after(row.state, Move.LINK)


def new_link(
    row: PaymentRow, number: int, provider: str, language: str, minutes: int, now: datetime
) -> LinkRow:
    """The link before the provider has been asked."""
    key = link_key(row.payment_id, number)
    expires_at = stamp(now + timedelta(minutes=minutes))
    return LinkRow(
        row.payment_id, number, key, LinkState.MAKING, provider, language, expires_at, created_at=stamp(now)
    )


def link_order(row: PaymentRow, link: LinkRow, return_url: str) -> LinkOrder:
    """What the provider is asked for; no card is kept, because nobody has read the mandate's text out."""
    order = replace(order_of(row), sca_basis=BASIS, keep_card=False)
    made, ours = (datetime.fromisoformat(moment) for moment in (link.created_at, link.expires_at))
    page_until = max(ours, made + timedelta(seconds=PAGE_MIN_S)) + timedelta(seconds=PAGE_MARGIN_S)
    return LinkOrder(order, link.link_key, stamp(page_until), return_url)


class Reading(StrEnum):
    """What a standing says about a link."""

    PAID = "paid"
    DECLINED = "declined"
    """On this page, not in an attempt before it."""
    UNDER_WAY = "under_way"
    UNPAID = "unpaid"


def reading(row: PaymentRow, standing: Standing) -> Reading:
    """What `standing`, asked for by the link's reference, says.

    A decline counts when the page has a payment of its own; a provider that pays links on the payment's own
    reference would tell the decline of the keyed card, and says it with the answer to the page instead.
    """
    state = standing.state
    if state in {StandingState.AUTHORISED, StandingState.SETTLED}:
        return Reading.PAID
    if state is StandingState.UNDER_WAY:
        return Reading.UNDER_WAY
    of_this_page = standing.provider_ref not in {"", row.provider_ref}
    return Reading.DECLINED if state is StandingState.DECLINED and of_this_page else Reading.UNPAID


def outcome_of(standing: Standing) -> Outcome:
    """The attempt's outcome when the page was paid."""
    settled = standing.state is StandingState.SETTLED
    return Outcome(OutcomeKind.AUTHORISED, settled=settled, hold_until=standing.hold_until)


def page_of(row: PaymentRow, link: LinkRow, now: datetime) -> LinkPage:
    """What the holder of the token may know now."""
    state = link.state
    if state in PAYABLE and link.expires_at <= stamp(now):
        state = LinkState.EXPIRED
    ours = link.url.startswith("/")
    return LinkPage(
        row.tenant,
        row.amount_minor,
        row.currency,
        row.reference,
        link.language,
        state,
        link.url if state in PAYABLE and not ours else "",
    )
