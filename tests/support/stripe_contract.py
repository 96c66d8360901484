"""An oracle for requests to Stripe, written by others: the parameter types inside its own SDK.

Each route has a TypedDict in `stripe.params`; read here with nothing extra allowed, so that a misspelt name,
a parameter that the API does not have or an amount given as text is refused. It follows every upgrade.
`accept` checks what our code hands to the SDK (types as in Python), `accept_wire` what came over the wire
(all text), and `watched` stands between an SDK client and its transport and does the former for every call.
"""

import re
import sys
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Union, get_args, get_origin
from unittest import mock

import stripe
import typing_extensions
from pydantic import TypeAdapter, ValidationError
from stripe import _api_requestor, checkout, params
from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject
from stripe.params import checkout as checkout_params

_ID = r"/[A-Za-z0-9_]+"
_PARAMS: dict[tuple[str, str], str] = {
    ("POST", "/v1/payment_intents"): "PaymentIntentCreateParams",
    ("GET", "/v1/payment_intents"): "PaymentIntentListParams",
    ("GET", "/v1/payment_intents/search"): "PaymentIntentSearchParams",
    ("GET", "/v1/payment_intents{id}"): "PaymentIntentRetrieveParams",
    ("POST", "/v1/payment_intents{id}"): "PaymentIntentUpdateParams",
    ("POST", "/v1/payment_intents{id}/confirm"): "PaymentIntentConfirmParams",
    ("POST", "/v1/payment_intents{id}/capture"): "PaymentIntentCaptureParams",
    ("POST", "/v1/payment_intents{id}/cancel"): "PaymentIntentCancelParams",
    ("POST", "/v1/setup_intents"): "SetupIntentCreateParams",
    ("GET", "/v1/setup_intents"): "SetupIntentListParams",
    ("GET", "/v1/setup_intents{id}"): "SetupIntentRetrieveParams",
    ("POST", "/v1/setup_intents{id}/confirm"): "SetupIntentConfirmParams",
    ("POST", "/v1/setup_intents{id}/cancel"): "SetupIntentCancelParams",
    ("POST", "/v1/payment_methods"): "PaymentMethodCreateParams",
    ("GET", "/v1/payment_methods"): "PaymentMethodListParams",
    ("GET", "/v1/payment_methods{id}"): "PaymentMethodRetrieveParams",
    ("POST", "/v1/payment_methods{id}/attach"): "PaymentMethodAttachParams",
    ("POST", "/v1/payment_methods{id}/detach"): "PaymentMethodDetachParams",
    ("POST", "/v1/customers"): "CustomerCreateParams",
    ("GET", "/v1/customers"): "CustomerListParams",
    ("GET", "/v1/customers{id}"): "CustomerRetrieveParams",
    ("POST", "/v1/customers{id}"): "CustomerUpdateParams",
    ("DELETE", "/v1/customers{id}"): "CustomerDeleteParams",
    ("GET", "/v1/customers{id}/payment_methods"): "CustomerPaymentMethodListParams",
    ("POST", "/v1/refunds"): "RefundCreateParams",
    ("GET", "/v1/refunds"): "RefundListParams",
    ("GET", "/v1/refunds{id}"): "RefundRetrieveParams",
    ("POST", "/v1/refunds{id}"): "RefundUpdateParams",
    ("GET", "/v1/charges"): "ChargeListParams",
    ("GET", "/v1/charges{id}"): "ChargeRetrieveParams",
    ("GET", "/v1/disputes"): "DisputeListParams",
    ("GET", "/v1/disputes{id}"): "DisputeRetrieveParams",
    ("GET", "/v1/balance"): "BalanceRetrieveParams",
    ("GET", "/v1/balance_transactions"): "BalanceTransactionListParams",
    ("GET", "/v1/balance_transactions{id}"): "BalanceTransactionRetrieveParams",
    ("GET", "/v1/payouts"): "PayoutListParams",
    ("GET", "/v1/payouts{id}"): "PayoutRetrieveParams",
    ("GET", "/v1/events"): "EventListParams",
    ("GET", "/v1/events{id}"): "EventRetrieveParams",
    ("POST", "/v1/checkout/sessions"): "checkout.SessionCreateParams",
    ("GET", "/v1/checkout/sessions"): "checkout.SessionListParams",
    ("GET", "/v1/checkout/sessions{id}"): "checkout.SessionRetrieveParams",
    ("POST", "/v1/checkout/sessions{id}/expire"): "checkout.SessionExpireParams",
}
"""Route -> the SDK's parameter type, as its services name it."""
_PATTERNS = [
    (method, re.compile(path.replace("{id}", _ID)), name) for (method, path), name in _PARAMS.items()
]
_OBJECTS: dict[str, type[stripe.StripeObject]] = {
    "payment_intent": stripe.PaymentIntent,
    "setup_intent": stripe.SetupIntent,
    "payment_method": stripe.PaymentMethod,
    "customer": stripe.Customer,
    "refund": stripe.Refund,
    "charge": stripe.Charge,
    "dispute": stripe.Dispute,
    "balance_transaction": stripe.BalanceTransaction,
    "payout": stripe.Payout,
    "event": stripe.Event,
    "checkout.session": checkout.Session,
}
KINDS = tuple(_OBJECTS)
"""Object names whose shape the SDK describes and we use."""
OPTIONS = frozenset(RequestOptions.__annotations__)
"""What the SDK takes out of the parameters before it sends them: never a form field."""


class ContractBroken(AssertionError):
    """A request that the SDK's own types do not know; names fields and reasons, never a value."""


class _Untyped:
    """Stands for the SDK's `UntypedStripeObject[T]` in annotations given as text."""

    def __class_getitem__(cls, item: Any) -> Any:
        return dict[str, item]


def accept(method: str, path: str, given: dict[str, Any]) -> None:
    """Parameters as our code hands them to the SDK, by their Python types; ContractBroken otherwise."""
    _check(method, path, given, strict=True)


def accept_wire(method: str, path: str, form: dict[str, Any]) -> None:
    """A decoded form, in which every value is text; ContractBroken otherwise."""
    _check(method, path, form, strict=False)


@contextmanager
def watched() -> Iterator[list[tuple[str, str]]]:
    """Every request of every SDK client meanwhile is checked before it is encoded; yields their routes."""
    seen: list[tuple[str, str]] = []
    sync, later = _api_requestor._APIRequestor.request, _api_requestor._APIRequestor.request_async

    def note(method: str, url: str, given: Any) -> None:
        accept(method.upper(), url, {k: v for k, v in (given or {}).items() if k not in OPTIONS})
        seen.append((method.upper(), url))

    def request(self: Any, method: str, url: str, params: Any = None, *rest: Any, **named: Any) -> Any:
        note(method, url, params)
        return sync(self, method, url, params, *rest, **named)

    async def request_async(
        self: Any, method: str, url: str, params: Any = None, *rest: Any, **named: Any
    ) -> Any:
        note(method, url, params)
        return await later(self, method, url, params, *rest, **named)

    requestor = _api_requestor._APIRequestor
    with (
        mock.patch.object(requestor, "request", request),
        mock.patch.object(requestor, "request_async", request_async),
    ):
        yield seen


def members(kind: str) -> frozenset[str]:
    """The members that the SDK says every object of this kind has; optional and absent ones left out."""
    hints = _OBJECTS[kind].__annotations__
    return frozenset(name for name, hint in hints.items() if _always(name, hint))


def _always(name: str, hint: Any) -> bool:
    return (
        not name.startswith("_")
        and not name.isupper()
        and get_origin(hint) is not typing.ClassVar
        and not str(hint).startswith("typing.Optional")
        and type(None) not in get_args(hint)
    )


def _check(method: str, path: str, given: dict[str, Any], *, strict: bool) -> None:
    name = next((one for verb, found, one in _PATTERNS if verb == method and found.fullmatch(path)), None)
    if name is None:
        raise ContractBroken(f"{method} of this path is in no service of the SDK that we use")
    inside = name.removeprefix("checkout.")
    record = getattr(params if inside == name else checkout_params, inside)
    if found := _in_record(record, given, "", strict):
        raise ContractBroken(f"{name}: " + "; ".join(sorted(set(found))))


def _in_record(record: Any, value: Any, place: str, strict: bool) -> list[str]:
    """What a TypedDict says against a value: only the types of members that are there are looked at."""
    if not isinstance(value, dict):
        return [f"{place}: dict_type"]
    known = {one: hint for one, hint in record.__annotations__.items() if one not in OPTIONS}
    lead = f"{place}." if place else ""
    found = [f"{lead}{one}: extra_forbidden" for one in value if one not in known]
    found += [
        f"{lead}{one}: missing" for one in record.__required_keys__ if one in known and one not in value
    ]
    for one in value.keys() & known.keys():
        hint = _resolved(known[one], record.__module__)
        found += _in_value(hint, record.__module__, value[one], f"{lead}{one}", strict)
    return found


def _in_value(hint: Any, module: str, value: Any, place: str, strict: bool) -> list[str]:
    """What any annotation says against a value; pydantic judges what has no members."""
    hint = _resolved(hint, module)
    origin, inner = get_origin(hint), get_args(hint)
    if typing_extensions.is_typeddict(hint):
        return _in_record(hint, value, place, strict)
    if origin in {Union, types.UnionType}:
        said = [_in_value(one, module, value, place, strict) for one in inner]
        return min(said, key=lambda found: (len(found), not found or f"{place}: " in found[0]))
    if origin is list:
        return _in_list(inner[0], module, value, place, strict)
    try:
        _leaf(hint).validate_python(value, strict=strict)
    except ValidationError as error:
        reasons = error.errors(include_input=False, include_url=False, include_context=False)
        return [f"{place}: {one['type']}" for one in reasons]
    return []


def _in_list(hint: Any, module: str, value: Any, place: str, strict: bool) -> list[str]:
    """What the annotation of its elements says against a list."""
    if not isinstance(value, list):
        return [f"{place}: list_type"]
    said = (_in_value(hint, module, one, f"{place}.{number}", strict) for number, one in enumerate(value))
    return [one for found in said for one in found]


@cache
def _leaf(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


@cache
def _resolved(hint: Any, module: str) -> Any:
    """The annotation itself: not text, not "not required", no class of the SDK."""
    if isinstance(hint, typing.ForwardRef):
        return _resolved(hint.__forward_arg__, module)
    if isinstance(hint, str):
        stand_ins = {"UntypedStripeObject": _Untyped, "StripeContext": str}
        names = vars(typing) | vars(sys.modules[module]) | stand_ins
        return _resolved(eval(hint, names), module)  # noqa: S307  annotations of the installed SDK
    origin, inner = get_origin(hint), get_args(hint)
    if origin in {typing_extensions.NotRequired, typing_extensions.Required}:
        return _resolved(inner[0], module)
    if origin in {dict, UntypedStripeObject}:
        return dict[str, _resolved(inner[-1], module)]
    return hint
