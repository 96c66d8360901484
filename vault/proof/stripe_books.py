"""What the host remembers: objects by id, in the order of their creation, and the events about them.

Ids are letters from a keyed hash of the seed and a count: the same seed gives the same ids, and no id can
look like a PAN. Every change that Stripe would tell about leaves an event with a copy of the object.
"""

import hmac
import json
from collections.abc import Callable, Iterable
from typing import Any

from vault.proof.stripe_failure import missing, wrong_state

Thing = dict[str, Any]
"""One object in Stripe's JSON shape."""

ID_LETTERS = 24
PAGE_DEFAULT, PAGE_MAX = 10, 100
"""Stripe API reference, "Pagination"."""
API_VERSION = "2026-10-28.endive"
"""The version that the SDK of the lock speaks."""

_LETTERS = bytes(97 + byte % 26 for byte in range(256))
"""Any byte as one of a to z."""

PREFIXES = {
    "payment_intent": "pi",
    "setup_intent": "seti",
    "charge": "ch",
    "refund": "re",
    "dispute": "du",
    "payment_method": "pm",
    "customer": "cus",
    "balance_transaction": "txn",
    "payout": "po",
    "checkout.session": "cs_test",
    "event": "evt",
}
"""Object name -> what its ids begin with."""


class Books:
    """All objects of one account; pages and events are views on them."""

    def __init__(self, seed: int) -> None:
        self._key = hmac.digest(b"stripe host", str(seed).encode(), "sha256")
        self._things: dict[str, Thing] = {}
        self._kinds: dict[str, list[str]] = {kind: [] for kind in PREFIXES}
        self._made = 0
        self.request: Thing = {"id": None, "idempotency_key": None}
        """The request that is executing, as its events name it."""

    def secret(self, *parts: str) -> str:
        """Letters that only this seed gives for these parts: ids, fingerprints, client secrets."""
        digest = hmac.digest(self._key, "\x1f".join(parts).encode(), "sha256")
        return digest[:ID_LETTERS].translate(_LETTERS).decode("ascii")

    def add(self, kind: str, now: float, **members: Any) -> Thing:
        """A new object of that kind with its id, its time and the members; kept."""
        self._made += 1
        thing_id = f"{PREFIXES[kind]}_{self.secret(kind, str(self._made))}"
        thing: Thing = {"id": thing_id, "object": kind, "created": int(now), **members}
        self._things[thing_id] = thing
        self._kinds[kind].append(thing_id)
        return thing

    def find(self, kind: str, thing_id: str, param: str = "id") -> Thing:
        """The object; Failure 404 when there is none of that kind."""
        thing = self._things.get(thing_id)
        if thing is None or thing["object"] != kind:
            raise missing(kind, param)
        return thing

    def every(self, kind: str) -> list[Thing]:
        """All objects of the kind, newest first, as every list of Stripe's is."""
        return [self._things[one] for one in reversed(self._kinds[kind])]

    def after(self, kind: str, count: int) -> list[Thing]:
        """The objects of the kind that were made after the first `count`, oldest first."""
        return [self._things[one] for one in self._kinds[kind][count:]]

    def page(self, kind: str, params: Thing, url: str, wanted: Callable[[Thing], bool]) -> Thing:
        """One list page; `created` bounds and cursors are understood here, other filters by `wanted`."""
        found = [one for one in self.every(kind) if wanted(one) and _within(one, params.get("created", {}))]
        limit = params.get("limit", PAGE_DEFAULT)
        if "ending_before" in params:
            end = self._position(found, params["ending_before"], "ending_before")
            data, more = found[max(0, end - limit) : end], end > limit
        else:
            after = params.get("starting_after")
            start = 0 if after is None else self._position(found, after, "starting_after") + 1
            data, more = found[start : start + limit], len(found) > start + limit
        return {"object": "list", "data": data, "has_more": more, "url": url}

    def tell(self, kind: str, thing: Thing, now: float) -> None:
        """An event about the object as it is now."""
        self.add(
            "event",
            now,
            type=kind,
            api_version=API_VERSION,
            livemode=False,
            pending_webhooks=1,
            data={"object": copied(thing)},
            request=dict(self.request),
        )

    def expanded(self, reply: Thing, paths: Iterable[str]) -> Thing:
        """A copy of the reply in which the ids at these dotted paths are replaced by their objects."""
        shown = copied(reply)
        for path in paths:
            self._expand(shown, path.split("."), path)
        return shown

    def _expand(self, thing: Thing, parts: list[str], path: str) -> None:
        name, rest = parts[0], parts[1:]
        if name not in thing:
            raise wrong_state("", "This property cannot be expanded.", param="expand")
        value = thing[name]
        if isinstance(value, str) and value in self._things:
            value = thing[name] = copied(self._things[value])
        if rest:
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict):
                    self._expand(one, rest, path)

    @staticmethod
    def _position(found: list[Thing], thing_id: str, param: str) -> int:
        for position, one in enumerate(found):
            if one["id"] == thing_id:
                return position
        raise missing("object", param)


def copied(thing: Thing) -> Thing:
    """The object as it is now; by way of JSON, which is all it holds, and faster than `deepcopy`."""
    twin: Thing = json.loads(json.dumps(thing))
    return twin


def _within(thing: Thing, bounds: dict[str, int]) -> bool:
    made = int(thing["created"])
    return (
        made > bounds.get("gt", -1)
        and made >= bounds.get("gte", 0)
        and made < bounds.get("lt", made + 1)
        and made <= bounds.get("lte", made)
    )
