"""Stripe's refusals: an HTTP status and an error object in the shape its SDK turns into exceptions.

Types and codes are those of Stripe's published error reference; the SDK picks its exception class by the
HTTP status and, for 400 and 404, by `type` (stripe 16.1, `_api_requestor.specific_v1_api_error`).
"""

from typing import Any

CARD_ERROR, INVALID, IDEMPOTENCY, API_ERROR = (
    "card_error",
    "invalid_request_error",
    "idempotency_error",
    "api_error",
)


class Failure(Exception):
    """One refusal of the host; `stored` tells whether the idempotency table remembers it.

    Stripe stores the first answer once execution began; refused parameters and conflicts are not stored.
    """

    def __init__(
        self, status: int, kind: str, sentence: str, *, stored: bool = False, **members: Any
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.stored = stored
        self.error = {"type": kind, "message": sentence} | {
            name: value for name, value in members.items() if value not in ("", None)
        }


def refused_parameter(param: str, code: str, sentence: str) -> Failure:
    """400: the request never began to execute."""
    return Failure(400, INVALID, sentence, code=code, param=param)


def missing(kind: str, param: str = "id") -> Failure:
    """404: no object of this kind has that id."""
    return Failure(404, INVALID, f"No such {kind}.", code="resource_missing", param=param)


def wrong_state(code: str, sentence: str, **members: Any) -> Failure:
    """400 out of an execution: the object does not allow this step in its state."""
    return Failure(400, INVALID, sentence, stored=True, code=code, **members)
