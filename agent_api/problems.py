"""Problem documents (RFC 9457): the only place of the desk that makes HTTP errors.

Every refusal, ours, the switchboard's or the vault's, has one row in `PROBLEMS`: status, title, and the next
step that a person or a program can take. A document never quotes input: what was sent may hold a PAN.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from loyalty.errors import LoyaltyError
from pay_ivr.facts import CallError
from vault import VaultError

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:pay-ivr:problem:"
"""RFC 9457 §3.1.1: a URI that identifies the problem; ours is the code, there is nothing to fetch."""
NOT_FOUND = 404
"""One answer, word for word, for what is foreign and for what never was: no asker learns the difference."""
FIELDS_MAX = 8
"""Wrong fields listed in one document; no body of ours has more."""


@dataclass(frozen=True)
class Problem:
    """What a code means over HTTP."""

    status: int
    title: str
    next_step: str


PROBLEMS: dict[str, Problem] = {
    # What is asked
    "malformed_json": Problem(400, "The body is not JSON.", "Send one JSON object in UTF-8."),
    "body_invalid": Problem(422, "The body has a wrong field.", "Correct the named fields and send again."),
    "body_too_large": Problem(413, "The body is too large.", "Send at most 16 kB."),
    "json_needed": Problem(415, "The body is not declared as JSON.", "Send Content-Type: application/json."),
    "query_invalid": Problem(400, "The query has a wrong field.", "Leave the query out or correct it."),
    "route_unknown": Problem(404, "There is nothing here.", "Read /openapi.json for the routes."),
    "method_not_allowed": Problem(405, "This method does not fit here.", "Use a method of the Allow header."),
    "upgrade_needed": Problem(426, "This is a WebSocket.", "Connect with a WebSocket handshake."),
    "request_invalid": Problem(400, "The request cannot be served.", "Correct the request and send again."),
    # Who asks
    "login_needed": Problem(401, "Nobody is logged in.", "Log in, then send again."),
    "login_refused": Problem(
        401,
        "User and password do not fit.",
        "Check both. After ten wrong tries the user is locked for 30 minutes.",
    ),
    "password_change_needed": Problem(
        403, "The one-time password must be changed.", "Log in again with new_password."
    ),
    "password_weak": Problem(
        422, "The new password is too weak.", "Choose 12 to 128 characters, not the old one, not the user."
    ),
    "access_key_refused": Problem(401, "The access key is not valid.", "Use a key that is not revoked."),
    "not_for_access_keys": Problem(403, "An access key may not do this.", "Log in as an agent."),
    "not_for_agents": Problem(403, "A login may not do this.", "Use an access key."),
    "origin_foreign": Problem(
        403, "The request comes from another site.", "Send it from the console, with its Origin header."
    ),
    # Limits
    "rate_limited": Problem(429, "Too many requests.", "Wait for the seconds of Retry-After."),
    "streams_exceeded": Problem(429, "Too many streams of this agent.", "Close another console window."),
    "logins_busy": Problem(503, "Too many logins at once.", "Try again in a few seconds."),
    # Payments at the desk
    "idempotency_key_needed": Problem(
        400, "The Idempotency-Key header is missing.", "Send a fresh key with every new request."
    ),
    "permission_needed": Problem(
        403,
        "You may not do this with the payments of others.",
        "Ask the one who administers agents and keys.",
    ),
    "search_too_wide": Problem(
        422, "The search names no payment.", "Give a reference, receipt, customer or call."
    ),
    "idempotency_mismatch": Problem(
        409, "This Idempotency-Key was used with another body.", "Use a fresh key for another payment."
    ),
    "pan_not_allowed": Problem(
        422, "A text field holds what looks like a PAN.", "Write no card data; the caller keys it."
    ),
    "language_unknown": Problem(404, "This language is not spoken here.", "Take one from GET /v1/me."),
    # Calls
    "call_unknown": Problem(404, "This call is not yours or is unknown.", "Read GET /v1/calls again."),
    "call_state": Problem(409, "The call is not in a state for that.", "Read the call again."),
    "call_ended": Problem(
        409, "The call has ended.", "Read its payments: only an authorised one is charged."
    ),
    "call_not_bridged": Problem(409, "Caller and agent are not connected.", "Wait until they are."),
    "leg_unknown": Problem(409, "The caller is no longer on the line.", "Call the customer back."),
    # Payments: what the vault refuses
    "payment_unknown": Problem(404, "This payment is unknown.", "Read the call's payments again."),
    "tenant_unknown": Problem(409, "This tenant takes no payments.", "Ask the operator for its file."),
    "currency_unknown": Problem(422, "This is no currency.", "Use an ISO 4217 code of GET /v1/me."),
    "currency_not_offered": Problem(422, "This currency is not taken.", "Choose one of GET /v1/me."),
    "purpose_unknown": Problem(422, "This purpose is not known.", "Choose one of GET /v1/me."),
    "amount_malformed": Problem(422, "The amount is no integer.", "Send minor units of the currency."),
    "amount_zero": Problem(422, "The amount is zero.", "Send an amount above zero."),
    "amount_negative": Problem(422, "The amount is negative.", "Send an amount above zero."),
    "amount_too_large": Problem(422, "The amount is above the tenant's limit.", "Split it or lower it."),
    "reference_malformed": Problem(422, "The reference has a wrong shape.", "Use 1 to 40 plain characters."),
    "reference_forbidden": Problem(
        422, "The reference looks like a PAN.", "Write no card data; the caller keys it."
    ),
    "reference_taken": Problem(409, "This reference has a payment.", "Look for that one, or use another."),
    "capture_open": Problem(409, "A capture is open on this call.", "Finish or cancel it first."),
    "capture_restarting": Problem(
        503, "The capture is being restarted.", "Wait until its fields open again, then send again."
    ),
    "not_capturing": Problem(409, "No capture is open.", "Start the capture first; you can talk already."),
    "leg_captured": Problem(409, "Another capture holds the caller's line.", "Wait until it has ended."),
    "mode_refused": Problem(409, "The capture does not allow that now.", "Read the payment again."),
    "not_capturable": Problem(409, "This payment takes no card any more.", "Create a new payment."),
    "not_rekeyable": Problem(409, "There is no field to key again now.", "Read the payment again."),
    "not_ready": Problem(409, "The payment is not ready to charge.", "Wait until all fields are complete."),
    "not_confirmed": Problem(
        409, "The caller has not confirmed yet.", "Wait until the caller has pressed 1, then charge."
    ),
    "not_cancellable": Problem(409, "The charge is under way or done.", "Wait for the result."),
    "not_declined": Problem(409, "Nothing was declined.", "Use capture for a first try."),
    "attempts_used": Problem(409, "All attempts are used.", "Offer another way to pay."),
    "payments_used": Problem(409, "This call has too many payments.", "Use one of them, or a new call."),
    "unattended_off": Problem(
        409, "This tenant takes no payment without an agent.", "Connect an agent, then create the payment."
    ),
    "conflict": Problem(409, "The payment contradicts another one.", "Create a new payment."),
    "being_checked": Problem(
        409, "The outcome of the charge is being checked.", "Do not retry; wait for the result."
    ),
    "links_off": Problem(409, "This tenant sends no payment links.", "Choose another way to pay."),
    "mit_off": Problem(409, "Nobody may pay without the customer here.", "Call the customer."),
    "customer_malformed": Problem(422, "The customer's id has a wrong shape.", "Use the merchant's own id."),
    "customer_missing": Problem(422, "The customer is not named.", "Name the customer whose card it is."),
    "mandate_malformed": Problem(
        422, "The mandate's id has a wrong shape.", "Use lower-case letters, digits, - and _."
    ),
    "card_unknown": Problem(404, "This card is not on file.", "List the customer's cards again."),
    "card_missing": Problem(422, "No card is named.", "Name the kept card that pays."),
    "options_contradict": Problem(422, "These options exclude each other.", "Leave one of them out."),
    "not_settleable": Problem(409, "Only an authorised payment can be settled.", "Read the payment again."),
    "not_voidable": Problem(409, "Only an authorised payment can be voided.", "Refund a settled one."),
    "not_refundable": Problem(409, "Only a settled payment can be refunded.", "Void an authorised one."),
    "step_under_way": Problem(409, "Another step of this payment is under way.", "Wait for its result."),
    "steps_used": Problem(409, "This payment has too many steps.", "Do the rest at the provider."),
    "ask_key_needed": Problem(
        400, "The Idempotency-Key header is missing.", "Send a fresh key of letters and digits."
    ),
    "ask_key_reused": Problem(409, "This Idempotency-Key was used for another step.", "Use a fresh key."),
    "reason_unknown": Problem(
        422, "This reason is not known.", "Use requested, duplicate, mistake or fraud."
    ),
    "refund_too_large": Problem(409, "That is more than is left of the payment.", "Refund less."),
    "settle_too_large": Problem(409, "That is more than was authorised.", "Settle less."),
    "void_is_whole": Problem(422, "What is held is given back as a whole.", "Settle a part instead."),
    "partial_settle_off": Problem(409, "The provider settles the whole amount only.", "Settle all of it."),
    "card_expired": Problem(409, "The kept card has expired.", "Ask for another card."),
    "provider_unable": Problem(409, "No provider of this tenant can do that.", "Choose another way to pay."),
    "provider_unknown": Problem(
        409, "The tenant's provider is not loaded.", "Ask the operator to restart the node."
    ),
    "posture_weak": Problem(409, "This machine may not take cards.", "Ask the operator for the posture."),
    "posture_unknown": Problem(
        503, "The machine's posture is not known yet.", "Try again in a few seconds; then ask the operator."
    ),
    "captures_used": Problem(503, "All captures of this node are in use.", "Try again in a few seconds."),
    "cells_full": Problem(503, "Too many captures at once.", "Try again in a few seconds."),
    "descriptors_used": Problem(503, "Too many captures at once.", "Try again in a few seconds."),
    "fork_failed": Problem(503, "The machine has no room for a capture.", "Try again in a few seconds."),
    "not_single_threaded": Problem(
        503, "No capture can be opened safely.", "Ask the operator to restart the node."
    ),
    "codes_exceeded": Problem(409, "Too many payment codes are open.", "Let old codes run out first."),
    # Links
    "link_open": Problem(409, "A link of this payment is open.", "Wait for it, or withdraw the link."),
    "link_closing": Problem(409, "The link is being closed.", "Wait for the payment's result."),
    "links_used": Problem(409, "The link has been sent too often.", "Wait for it, or withdraw it."),
    "not_linkable": Problem(409, "This payment takes no link any more.", "Read the payment again."),
    "not_linked": Problem(409, "No link of this payment is open.", "Read the payment again."),
    "channel_off": Problem(409, "This tenant does not send such messages.", "Use another channel."),
    "address_malformed": Problem(
        422, "This is no address.", "Write name@example.com, or the number with its country: +4915112345678."
    ),
    "message_unsent": Problem(
        503, "The message could not be sent.", "The link is open; send it again in a few seconds."
    ),
    "message_refused": Problem(
        409, "The message was refused.", "The link is open; check the address and send it again."
    ),
    # Members and points
    "loyalty_off": Problem(409, "This tenant has no loyalty programme.", "Ask the operator for its file."),
    "member_unknown": Problem(404, "This member is unknown.", "Search for the member again."),
    "member_search_empty": Problem(
        422, "The search names nobody.", "Give a number, or postcode and date of birth."
    ),
    "person_invalid": Problem(
        422, "The person's data cannot be taken.", "Correct the named field and send again."
    ),
    "number_taken": Problem(409, "This customer number has a member.", "Search for that member."),
    "member_locked": Problem(409, "The member is locked or closed.", "Unlock the member first."),
    "member_card_locked": Problem(409, "The member's card is locked.", "Unlock or replace the card first."),
    "move_refused": Problem(409, "Card or member are not in a state for that.", "Read the member again."),
    "redemption_moved": Problem(503, "The redemption has just changed.", "Read it again, then send again."),
    "numbers_used_up": Problem(
        409, "There is hardly a free customer number left.", "Ask the operator for more digits."
    ),
    "ledger_stalled": Problem(
        503, "The ledger is stuck.", "Send again with the same Idempotency-Key; then ask the operator."
    ),
    "database_busy": Problem(503, "The database is busy.", "Send again with the same Idempotency-Key."),
    "database_away": Problem(503, "The database is away.", "Send again with the same Idempotency-Key."),
    "database_closed": Problem(503, "The node is stopping.", "Send again with the same Idempotency-Key."),
    "database_conflict": Problem(
        503, "Two writers were in each other's way.", "Send again with the same Idempotency-Key."
    ),
    "account_unknown": Problem(409, "The member has no account any more.", "Search for the member again."),
    # PINs
    "pin_is_set": Problem(409, "The member has a PIN.", "Let it be changed, or send a reset code."),
    "pin_needs_agent": Problem(422, "A first PIN needs an agent's word.", "Identify the member first."),
    "pin_over": Problem(409, "The PIN entry is over.", "Start a new one."),
    "pin_unknown": Problem(404, "This PIN entry is unknown.", "Start a new one."),
    "pins_unsupported": Problem(409, "This node takes no PINs.", "Ask the operator for pay-ivr check."),
    "reason_malformed": Problem(422, "The reason is no word.", "Send small letters and _, like goodwill."),
    "pins_used": Problem(503, "Too many PINs at once.", "Try again in a few seconds."),
    "pin_codes_used": Problem(409, "Too many reset codes were sent.", "Wait an hour, then send a new one."),
    "points_insufficient": Problem(409, "There are too few points.", "Choose a smaller reward."),
    "points_wrong": Problem(422, "There is no such number of points.", "Send whole points above zero."),
    "receipt_used": Problem(409, "This receipt has earned its points.", "Use each receipt once."),
    "reward_unknown": Problem(404, "This reward is unknown.", "Read GET /v1/rewards again."),
    "reward_limit_reached": Problem(409, "This reward was given often enough.", "Choose another reward."),
    "reward_out_of_stock": Problem(409, "There is no voucher left.", "Choose another reward."),
    "redemption_later": Problem(
        503, "The voucher's provider has not answered.", "Send again with the same Idempotency-Key."
    ),
    "voucher_refused": Problem(409, "The voucher's provider refused.", "Choose another reward."),
    "posting_unknown": Problem(404, "This posting is unknown.", "Read the member's movements again."),
    "posting_not_reversible": Problem(
        409, "This posting cannot be taken back.", "Take back the posting that it came from."
    ),
    "already_reversed": Problem(409, "This posting was taken back.", "Read the member's movements again."),
    "key_reused": Problem(409, "This Idempotency-Key was used for something else.", "Use a fresh key."),
    "ledger_late": Problem(
        503, "The ledger has not answered in time.", "Send again with the same Idempotency-Key."
    ),
    "payout_off": Problem(409, "This programme pays nothing out.", "Choose a reward instead."),
    "payout_decided": Problem(409, "This payout is decided.", "Read GET /v1/payouts again."),
    "payout_same_person": Problem(409, "Who asks for a payout does not release it.", "Ask a colleague."),
    "needs_second_person": Problem(409, "That is more than one person may move.", "Ask for a payout."),
    "member_address_missing": Problem(
        409, "The member has no address for a code.", "Enter an e-mail address or a telephone number first."
    ),
    "reset_code_unsent": Problem(503, "The code could not be sent.", "Send a new one in a few seconds."),
    # Outgoing webhooks
    "delivery_unknown": Problem(404, "This delivery is unknown.", "Read GET /v1/deliveries again."),
    # Webhooks
    "webhook_unknown": Problem(404, "There is no such endpoint.", "Check the URL at the provider."),
    "webhook_too_large": Problem(413, "The webhook is too large.", "Send at most 40 kB."),
    "webhook_invalid": Problem(400, "The webhook is not signed for this moment.", "Check secret and clock."),
    "webhooks_busy": Problem(503, "Too many webhooks at once.", "Deliver again later."),
    # Nobody's fault
    "unreachable": Problem(503, "The payment process does not answer.", "Read the payment, then try again."),
    "spawner_unreachable": Problem(
        503, "No capture can be started now.", "Nothing changed; try again in a few seconds."
    ),
    "media_unreachable": Problem(
        503, "The process that carries the voice does not answer.", "Read the call, then try again."
    ),
    "media_timeout": Problem(
        503, "The process that carries the voice is late.", "Read the call, then try again."
    ),
    "provider_unreachable": Problem(
        503, "The payment provider does not answer.", "Nothing was charged; try again in a few seconds."
    ),
    "provider_unusable": Problem(
        409, "The payment provider is not set up.", "Nothing was charged; ask the operator for pay-ivr check."
    ),
    "internal": Problem(500, "Something failed on our side.", "Read the state again before you repeat it."),
}
"""Code → status, title, next step. A code that is not listed answers as 409 with its own sentence."""

OTHER = Problem(409, "This is not possible now.", "Read the call and the payment again.")
"""A refusal whose code has no row."""


class DeskError(Exception):
    """The desk refuses; `code` is a row of PROBLEMS. Nothing changed."""

    def __init__(
        self,
        code: str,
        *,
        retry_after_s: int | None = None,
        fields: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        on_record: str | None = None,
    ) -> None:
        super().__init__(PROBLEMS[code].title)
        self.code = code
        self.retryable = retry_after_s is not None
        self.retry_after_s = retry_after_s
        self.fields = tuple(fields)
        self.headers = dict(headers or {})
        self.on_record = on_record
        """Why the audit log hears of it: somebody asked for what is not his (PCI DSS 10.2.1.4)."""


def document(
    code: str, *, detail: str | None = None, retryable: bool = False, fields: Sequence[Mapping[str, str]] = ()
) -> tuple[int, dict[str, Any]]:
    """Status and RFC 9457 members of a code; ours are `code`, `next_step`, `retryable` and `fields`."""
    row = PROBLEMS.get(code, PROBLEMS["unreachable"] if retryable else OTHER)
    members: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": row.title,
        "status": row.status,
        "code": code,
        "next_step": row.next_step,
        "retryable": retryable,
    }
    if detail is not None and detail != row.title and row.status != NOT_FOUND:
        members["detail"] = detail
    if fields:
        members["fields"] = [dict(field) for field in fields[:FIELDS_MAX]]
    return row.status, members


def response(error: Exception) -> web.Response:
    """The problem document of any error; one that is none of ours is `internal` and says nothing more."""
    if isinstance(error, DeskError):
        headers = dict(error.headers)
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
        return _answer(*document(error.code, retryable=error.retryable, fields=error.fields), headers=headers)
    if isinstance(error, CallError | VaultError | LoyaltyError):
        return _answer(*document(error.code, detail=error.sentence, retryable=error.retryable))
    if isinstance(error, web.HTTPException):
        return _of_http(error)
    return _answer(*document("internal"))


def from_validation(error: ValidationError, known: frozenset[str]) -> DeskError:
    """A pydantic error as `body_invalid`: names of `known` fields and pydantic's error types, never a value.

    A name that the schema does not know is input as well, so it is told as `(unknown)`.
    """
    fields = [
        {"field": _field_name(part["loc"], known), "problem": part["type"]}
        for part in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    code = (
        "pan_not_allowed"
        if any(field["problem"] == "pan_not_allowed" for field in fields)
        else "body_invalid"
    )
    return DeskError(code, fields=fields[:FIELDS_MAX])


def _field_name(place: tuple[int | str, ...], known: frozenset[str]) -> str:
    name = str(place[0]) if place else "(body)"
    return name if name in known or name == "(body)" else "(unknown)"


def _of_http(error: web.HTTPException) -> web.Response:
    by_status = {404: "route_unknown", 405: "method_not_allowed", 413: "body_too_large"}
    code = by_status.get(error.status, "request_invalid" if error.status < 500 else "internal")
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return _answer(*document(code), headers=headers)


def _answer(status: int, members: dict[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(members, ensure_ascii=False).encode(),
        headers={"Content-Type": CONTENT_TYPE, **(headers or {})},
    )
