"""Stripe, the broker's side: every step by ids, with keys of our own, and nothing guessed.

One payment is one PaymentIntent, made before a card is known. An attempt is two calls: the first marks the
intent (`_stripe_answers.py` says why), the second confirms it; until the second is sent nothing can have
been charged. An attempt is fenced by executing something harmless under its own idempotency key: Stripe
answers a key only once (API reference, "Idempotent requests"), so a confirmation that arrives later is
refused, and the next attempt can use the same intent. An intent whose issuer wants a confirmation online is
cancelled: nobody on a telephone can give it.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from vault.door import Refused
from vault.providers import _stripe_feed, _stripe_webhook
from vault.providers._stripe_answers import (
    ABANDONED,
    FENCED,
    Mark,
    epoch,
    fence_mark,
    fetched,
    outcome_of_error,
    outcome_of_intent,
    outcome_of_setup,
    stamp,
    standing_of,
)
from vault.providers._stripe_config import Config, is_numeric
from vault.providers._stripe_failures import Failure, code_of, decline_of, failure_of, is_replayed
from vault.providers._stripe_money import check_amount
from vault.providers._stripe_sdk import stripe
from vault.providers._stripe_wire import RETRIES, Wire
from vault.providers.base import (
    MOTO_BASES,
    NEVER_SENT,
    STEP_NEVER_SENT,
    STEP_UNKNOWN,
    UNKNOWN,
    Abilities,
    AttemptRequest,
    FeedEntry,
    Link,
    LinkOrder,
    Notice,
    NotSentError,
    Order,
    Outcome,
    OutcomeKind,
    Standing,
    StandingState,
    StepKind,
    StepOutcome,
    StepRequest,
)

KEY_WINDOW_S = 23 * 3600
"""Stripe may forget a key after 24 hours; a forgotten one would execute again."""
KEYS_MAX = 3
"""Keys under which one thing is made at most; a failure is stored for a day, and one in a row is rare."""
PAGE = 100
"""The longest page that Stripe gives."""
REFUND_REASONS = frozenset({"duplicate", "fraudulent", "requested_by_customer"})
"""The reasons that Stripe knows; others stay with us."""
KEY_LIFE_S = 25 * 3600
"""An intent whose key is still taken is not older: Stripe keeps keys for a day."""
PAGE_REF = "cs_"
"""What the reference of a payment page begins with; every other one is an intent's."""
OPEN = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})
"""States of an intent on which no money has moved or is held."""

Json = dict[str, Any]


class Stripe:
    """One tenant's account; `now` is the clock of marks, seconds of the epoch."""

    name = "stripe"

    def __init__(
        self,
        config: Config,
        broker_key: str,
        cell_key: str,
        now: Callable[[], float] = time.time,
        wire: Wire | None = None,
    ) -> None:
        self._config = config
        self._cell_key = cell_key
        self._now = now
        self._wire = wire or Wire(config)
        client = stripe.StripeClient(
            broker_key,
            http_client=self._wire,
            max_network_retries=RETRIES,
            base_addresses={"api": config.api_base},
        )
        self._api = client.v1
        self.abilities = Abilities(
            tokenise_first=True,
            moto=config.moto,
            settle_later=True,
            partial_settle=True,
            keeps_cards=True,
            links=True,
            settlement_feed=True,
            key_window_s=KEY_WINDOW_S,
        )

    # --- one attempt ------------------------------------------------------------------------------------

    async def prepare(self, order: Order) -> str:
        """The intent of the payment; the same payment id gives the same one. `Refused` as `check_amount`."""
        check_amount(order.amount_minor, order.currency)
        customer = order.customer_ref
        if order.keep_card and not customer:
            customer = await self._new_customer(f"{order.payment_id}:customer", order.payment_id)
        params: stripe.params.PaymentIntentCreateParams = {
            "amount": order.amount_minor,
            "currency": order.currency.lower(),
            "allowed_payment_method_types": ["card"],
            "capture_method": "manual" if order.settle_later else "automatic",
            "metadata": _marks_of(order),
        }
        if customer:
            params["customer"] = customer
        if order.keep_card:
            params["setup_future_usage"] = "off_session"
        for key in _keys(f"{order.payment_id}:prepare"):
            try:
                return str((await self._api.payment_intents.create_async(params, _keyed(key))).id)
            except stripe.StripeError as error:
                if failure_of(error) is not Failure.KEY_TAKEN and not is_replayed(error):
                    raise
            if found := await self._prepared(order.payment_id):
                return found
        raise Refused(
            "provider_ref_lost", "The provider knows this payment and does not show it. Look there."
        )

    async def _prepared(self, payment_id: str) -> str:
        """The intent that was made for the payment before, or empty; unlike a search, a list is not late."""
        begun = int(self._now()) - KEY_LIFE_S
        page = await self._api.payment_intents.list_async({"created": {"gte": begun}, "limit": PAGE})
        async for one in page.auto_paging_iter():
            marks = _plain(one).get("metadata") or {}
            if marks.get(Mark.PAYMENT) == payment_id and Mark.PAGE not in marks:
                return str(one.id)
        return ""

    async def authorise(self, request: AttemptRequest) -> Outcome:
        """Marks the intent, then confirms it with the token."""
        intents, reference = self._api.payment_intents, request.provider_ref
        try:
            await intents.update_async(reference, {"metadata": self._mark_of(request)})
        except Exception as error:  # noqa: BLE001 - whatever became of the mark, nothing was confirmed
            return Outcome(OutcomeKind.NEVER_SENT, "" if isinstance(error, NotSentError) else code_of(error))
        try:
            answer = await intents.confirm_async(
                reference, self._confirmation(request), _keyed(request.attempt_key)
            )
        except NotSentError:
            return NEVER_SENT
        except stripe.StripeError as error:
            return await self._refused(request, error)
        outcome = outcome_of_intent(_plain(answer))
        if outcome.kind is OutcomeKind.REQUIRES_ACTION:
            await self._abandon(reference)
        return outcome

    async def _refused(self, request: AttemptRequest, error: stripe.StripeError) -> Outcome:
        """What an error answer to a confirmation means."""
        failure, code = failure_of(error), code_of(error)
        if failure is Failure.CARD:
            outcome = outcome_of_error(decline_of(error))
            if outcome.kind is OutcomeKind.REQUIRES_ACTION:
                await self._abandon(request.provider_ref)
            return outcome
        if failure is Failure.KEY_TAKEN or code == "payment_intent_unexpected_state":
            found = await self.fetch(request.provider_ref, request.attempt_key)
            if failure is Failure.INVALID and found.kind is not OutcomeKind.AUTHORISED:
                return Outcome(OutcomeKind.NEVER_SENT, code)  # the intent takes no confirmation any more
            return found
        if failure is Failure.INVALID and decline_of(error).get("param") == "payment_method":
            return Outcome(OutcomeKind.DECLINED, code)
        definite = failure in {Failure.INVALID, Failure.NOT_EXECUTED}
        return Outcome(OutcomeKind.NEVER_SENT, code) if definite else UNKNOWN

    async def fetch(self, provider_ref: str, attempt_key: str) -> Outcome:
        """What the intent and its charges say about the attempt.

        A question that could not be sent says nothing about the attempt: `NotSentError` never leaves here.
        """
        try:
            charges = await self._api.charges.list_async({"payment_intent": provider_ref, "limit": PAGE})
            intent = await self._intent(provider_ref)
        except NotSentError:
            return UNKNOWN
        return fetched(intent, [_plain(one) for one in charges.data], attempt_key, self._now())

    async def fence(self, provider_ref: str, attempt_key: str) -> Outcome:
        """Uses up the attempt's key, unless it is used; then it says what was executed under it."""
        params: stripe.params.PaymentIntentUpdateParams = {"metadata": {fence_mark(attempt_key): "yes"}}
        try:
            await self._api.payment_intents.update_async(provider_ref, params, _keyed(attempt_key))
        except NotSentError:
            return UNKNOWN
        except stripe.StripeError as error:
            failure, is_ours = failure_of(error), is_replayed(error)
            if failure not in {Failure.KEY_TAKEN, Failure.INVALID} and not is_ours:
                return UNKNOWN
            found = await self.fetch(provider_ref, attempt_key)
            # An intent that takes no change confirms nothing either. A key that is taken without a trace may
            # be executing still, or hold nothing but a stored 500; by this very request, it is used up.
            if found.kind is not OutcomeKind.NEVER_SENT or found.raw_code or failure is Failure.INVALID:
                return found
            return Outcome(OutcomeKind.NEVER_SENT, FENCED) if is_ours else await self._close(provider_ref)
        # A key older than the window was free again: what had been charged under it shows in its charge.
        return await self.fetch(provider_ref, attempt_key)

    async def _close(self, provider_ref: str) -> Outcome:
        """The intent cancelled: neither this attempt nor another can execute on it, and no money is held."""
        try:
            await self._api.payment_intents.cancel_async(provider_ref)
        except stripe.InvalidRequestError:  # cancelled before, by a request whose answer was lost?
            if (await self._intent(provider_ref)).get("status") != "canceled":
                return UNKNOWN
        except (stripe.StripeError, NotSentError):
            return UNKNOWN
        return Outcome(OutcomeKind.NEVER_SENT, FENCED)

    async def verify_card(self, request: AttemptRequest) -> Outcome:
        """A SetupIntent: the issuer checks the card, nothing is charged."""
        params: stripe.params.SetupIntentCreateParams = {
            "confirm": True,
            "payment_method": request.token or "",
            "allowed_payment_method_types": ["card"],
            "usage": "off_session",
            "expand": ["payment_method"],
            "metadata": {Mark.ATTEMPT: request.attempt_key},
        }
        if request.sca_basis in MOTO_BASES and self._config.moto:
            params["payment_method_options"] = {"card": {"moto": True}}
        try:
            if request.keep_card:
                params["customer"] = await self._new_customer(f"{request.attempt_key}:customer")
            answer = await self._api.setup_intents.create_async(params, _keyed(request.attempt_key))
        except NotSentError:
            return NEVER_SENT
        except stripe.StripeError as error:
            return _check_refused(error)
        outcome = outcome_of_setup(_plain(answer))
        if outcome.kind is OutcomeKind.REQUIRES_ACTION:
            cancelling = self._api.setup_intents.cancel_async(answer.id, {"cancellation_reason": ABANDONED})
            await _tried(cancelling)
        return outcome

    # --- steps after it -----------------------------------------------------------------------------------

    async def settle(self, request: StepRequest) -> StepOutcome:
        """Takes what is held; Stripe gives the rest of a partial one back."""
        params: stripe.params.PaymentIntentCaptureParams = {
            "amount_to_capture": request.amount_minor,
            "metadata": {Mark.SETTLE: request.step_key},
        }

        intents = self._api.payment_intents
        work = intents.capture_async(request.provider_ref, params, _keyed(request.step_key))
        return await self._step(request, work, "latest_charge")

    async def void(self, request: StepRequest) -> StepOutcome:
        """Cancels an intent that holds money; REFUSED for one that never did."""
        return await self._step(request, self._voided(request), "latest_charge")

    async def _voided(self, request: StepRequest) -> Any:
        intent = await self._intent(request.provider_ref)
        if intent["status"] in OPEN:
            raise Refused("nothing_held", "There is nothing to give back.")
        params: stripe.params.PaymentIntentCancelParams = {"cancellation_reason": "requested_by_customer"}
        intents = self._api.payment_intents
        return await intents.cancel_async(request.provider_ref, params, _keyed(request.step_key))

    async def refund(self, request: StepRequest) -> StepOutcome:
        """Gives settled money back; a refund that Stripe still works on counts as done."""
        params: stripe.params.RefundCreateParams = {
            "payment_intent": request.provider_ref,
            "amount": request.amount_minor,
            "metadata": {Mark.STEP: request.step_key},
        }
        if request.reason in REFUND_REASONS:
            params["reason"] = request.reason

        work = self._api.refunds.create_async(params, _keyed(request.step_key))
        return await self._step(request, work, "id")

    async def _step(self, request: StepRequest, work: Awaitable[Any], reference: str) -> StepOutcome:
        """The outcome of one step; `reference` is the answer's member that names what was done."""
        try:
            answer = _plain(await work)
        except NotSentError:
            return STEP_NEVER_SENT
        except Refused as refused:
            return StepOutcome(StepKind.REFUSED, refused.code)
        except stripe.StripeError as error:
            outcome = _step_refused(error)
            is_stored = outcome is STEP_UNKNOWN and is_replayed(error)
            return await self._behind(request, code_of(error)) if is_stored else outcome
        if answer.get("object") == "refund" and answer.get("status") in {"failed", "canceled"}:
            return StepOutcome(StepKind.REFUSED, str(answer.get("failure_reason") or "refund_failed"))
        return StepOutcome(StepKind.DONE, step_ref=str(answer.get(reference) or answer["id"]))

    async def _behind(self, request: StepRequest, code: str) -> StepOutcome:
        """What a stored failure hides: its key never executes again, so the standing is the last word."""
        try:
            standing = await self.standing(request.provider_ref)
        except (NotSentError, stripe.StripeError):
            return STEP_UNKNOWN
        if request.step_key in standing.steps:
            return StepOutcome(StepKind.DONE, step_ref=standing.steps[request.step_key])
        return StepOutcome(StepKind.REFUSED, code)

    async def standing(self, provider_ref: str) -> Standing:
        """What is true about the intent, or about the one that a payment page has made."""
        behind = ""
        if provider_ref.startswith(PAGE_REF):
            page = await self._api.checkout.sessions.retrieve_async(provider_ref)
            if not page.payment_intent:
                return Standing(StandingState.VOIDED if page.status == "expired" else StandingState.OPEN)
            provider_ref = behind = str(page.payment_intent)
        refunds = await self._api.refunds.list_async({"payment_intent": provider_ref, "limit": PAGE})
        intent = await self._intent(provider_ref)
        return replace(standing_of(intent, [_plain(one) for one in refunds.data]), provider_ref=behind)

    # --- cards on file, pages, the feed, webhooks ---------------------------------------------------------

    async def forget_card(self, customer_ref: str, token_ref: str) -> None:
        """Detaches the payment method, for good."""
        del customer_ref
        try:
            await self._api.payment_methods.detach_async(token_ref)
        except stripe.InvalidRequestError as error:
            if "payment_method" not in {decline_of(error).get("param"), code_of(error)[:14]}:
                raise

    async def open_link(self, order: LinkOrder) -> Link:
        """A Checkout page for one payment, which charges an intent of its own.

        The issuer's own check (3-D Secure) happens there.
        """
        check_amount(order.order.amount_minor, order.order.currency)
        made = await self._api.checkout.sessions.create_async(_page(order), _keyed(order.link_key))
        return Link(str(made.id), str(made.url), stamp(made.expires_at))

    async def close_link(self, link_ref: str) -> None:
        """Expires the page; one that is paid or expired stays what it is."""
        try:
            await self._api.checkout.sessions.expire_async(link_ref)
        except stripe.InvalidRequestError:
            page = await self._api.checkout.sessions.retrieve_async(link_ref)
            if page.status == "open":
                raise

    def settlements(self, since: str, until: str) -> AsyncIterator[FeedEntry]:
        """The account's balance transactions with the payouts that hold them."""
        return _stripe_feed.entries(self._api, epoch(since), epoch(until))

    def parse_webhook(
        self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[bytes], now_s: float
    ) -> Notice:
        """What a signed event points at."""
        return _stripe_webhook.parsed(headers, raw, secrets, now_s)

    # --- the cell's side ----------------------------------------------------------------------------------

    async def cell_config(self) -> Json:
        """What one cell is told: where to connect without asking a resolver."""
        address = ""
        if not self._config.egress_proxy and not is_numeric(self._config.host):
            address = await self._address()
        return {
            "api_base": self._config.api_base,
            "egress_proxy": self._config.egress_proxy,
            "ca_file": self._config.ca_file,
            "address": address,
        }

    def cell_secret(self) -> bytes:
        """The restricted key that makes payment methods and can do nothing else."""
        return self._cell_key.encode("ascii")

    async def _address(self) -> str:
        """One address of Stripe's host."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._config.host, self._config.port, type=socket.SOCK_STREAM)
        except OSError:
            sentence = "The address of the payment provider is not known now. Try again."
            raise Refused("provider_unreachable", sentence, retryable=True) from None
        return str(found[0][4][0])

    async def wire(self, body: dict[str, Any]) -> dict[str, Any]:
        """A cell of this provider calls nobody through the broker."""
        del body
        return {"kind": "never_sent"}

    async def close(self) -> None:
        """Closes the connections."""
        await self._wire.close_async()

    # --- pieces -------------------------------------------------------------------------------------------

    def _mark_of(self, request: AttemptRequest) -> dict[str, str]:
        """A kept card's token may have been tried before, so it tells attempts apart no more."""
        return {
            Mark.BASIS: request.sca_basis,
            Mark.ATTEMPT: request.attempt_key,
            Mark.TOKEN: "" if request.off_line else request.token or "",
            Mark.AT: str(int(self._now())),
        }

    def _confirmation(self, request: AttemptRequest) -> "stripe.params.PaymentIntentConfirmParams":
        params: stripe.params.PaymentIntentConfirmParams = {
            "payment_method": request.token or "",
            "expand": ["latest_charge"],
        }
        if request.off_line:
            params["off_session"] = True
        elif request.sca_basis in MOTO_BASES and self._config.moto:
            params["payment_method_options"] = {"card": {"moto": True}}
        return params

    async def _intent(self, reference: str) -> Json:
        return _plain(
            await self._api.payment_intents.retrieve_async(reference, {"expand": ["latest_charge"]})
        )

    async def _abandon(self, reference: str) -> None:
        """Best effort: nobody has the secret with which an intent could be completed online."""
        intents = self._api.payment_intents
        await _tried(intents.cancel_async(reference, {"cancellation_reason": ABANDONED}))

    async def _new_customer(self, key: str, payment_id: str = "") -> str:
        """A customer without a name: only a hook for cards on file."""
        params: stripe.params.CustomerCreateParams = (
            {"metadata": {Mark.PAYMENT: payment_id}} if payment_id else {}
        )
        for each in _keys(key):
            try:
                return str((await self._api.customers.create_async(params, _keyed(each))).id)
            except stripe.StripeError as error:
                if not is_replayed(error):
                    raise
        raise Refused("provider_unable", "The provider made no customer. Try again.", retryable=True)


async def _tried(work: Awaitable[Any]) -> None:
    """Waits for it; its failure changes nothing for us."""
    try:
        await work
    except (stripe.StripeError, NotSentError):
        return


def _step_refused(error: stripe.StripeError) -> StepOutcome:
    """What an error answer says about a step."""
    code = code_of(error)
    match failure_of(error):
        case Failure.CARD:
            return StepOutcome(StepKind.REFUSED, outcome_of_error(decline_of(error)).raw_code)
        case Failure.INVALID:
            return StepOutcome(StepKind.REFUSED, code)
        case Failure.NOT_EXECUTED:
            return StepOutcome(StepKind.NEVER_SENT, code)
    return STEP_UNKNOWN


def _check_refused(error: stripe.StripeError) -> Outcome:
    """As of an attempt, but nothing can have been charged."""
    match failure_of(error):
        case Failure.CARD:
            return outcome_of_error(decline_of(error))
        case Failure.INVALID:
            return Outcome(OutcomeKind.DECLINED, code_of(error))
        case Failure.NOT_EXECUTED:
            return Outcome(OutcomeKind.NEVER_SENT, code_of(error))
    return UNKNOWN


def _page(link: LinkOrder) -> "stripe.params.checkout.SessionCreateParams":
    order = link.order
    marks = {**_marks_of(order), Mark.BASIS: order.sca_basis, Mark.PAGE: link.link_key}
    price: stripe.params.checkout.SessionCreateParamsLineItemPriceData = {
        "currency": order.currency.lower(),
        "unit_amount": order.amount_minor,
        "product_data": {"name": order.payment_id},
    }
    intent: stripe.params.checkout.SessionCreateParamsPaymentIntentData = {
        "metadata": marks,
        "capture_method": "manual" if order.settle_later else "automatic",
    }
    if order.keep_card:
        intent["setup_future_usage"] = "off_session"
    page: stripe.params.checkout.SessionCreateParams = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        "success_url": link.return_url,
        "expires_at": int(datetime.fromisoformat(link.expires_at).timestamp()),
        "client_reference_id": order.payment_id,
        "metadata": marks,
        "payment_intent_data": intent,
        "payment_method_options": {"card": {"request_three_d_secure": "any"}},
        "allowed_payment_method_types": ["card"],
    }
    if order.customer_ref:
        page["customer"] = order.customer_ref
    elif order.keep_card:
        page["customer_creation"] = "always"
    return page


def _marks_of(order: Order) -> dict[str, str]:
    return {Mark.PAYMENT: order.payment_id, Mark.TENANT: order.tenant}


def _keys(key: str) -> Iterator[str]:
    """The key of something that moves no money, and others, should Stripe have stored a failure under it."""
    return (key if number == 1 else f"{key}:{number}" for number in range(1, KEYS_MAX + 1))


def _keyed(key: str) -> "stripe.RequestOptions":
    return {"idempotency_key": key}


def _plain(thing: Any) -> Json:
    """The object as JSON, without the SDK's class."""
    values: Json = thing.to_dict()
    return values
