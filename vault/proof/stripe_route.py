"""One route of the host: method and path, the permission it needs, the shape it takes, what it does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vault.proof import stripe_form as form
from vault.proof.stripe_books import PAGE_MAX, Thing

CURSORS: dict[str, form.Shape] = {
    "limit": form.whole(1, PAGE_MAX),
    "starting_after": form.text,
    "ending_before": form.text,
}
"""What every list takes."""
PAGED = CURSORS | {"created": form.span}
"""What most lists take."""


@dataclass(frozen=True)
class Call:
    """One request whose parameters have passed the route's shape."""

    thing_id: str
    """The id in the path, or empty."""
    params: dict[str, Any] = field(repr=False)
    """Without repr: a raw card may be among them."""
    now: float


@dataclass(frozen=True)
class Route:
    """`path` may hold one `{id}`; `permission` is a resource of a restricted key."""

    method: str
    path: str
    permission: str
    fields: Mapping[str, form.Shape]
    run: Callable[[Call], Thing]
    required: tuple[str, ...] = ()

    @property
    def access(self) -> str:
        """`read` for GET, otherwise `write`."""
        return "read" if self.method == "GET" else "write"

    def checked(self, raw: dict[str, Any]) -> dict[str, Any]:
        """The parameters by their types; Failure 400 for an unknown, missing or mistyped one."""
        fields: dict[str, form.Shape] = {"expand": form.each(form.text), **self.fields}
        params: dict[str, Any] = form.record(fields, self.required)("", raw)
        return params
