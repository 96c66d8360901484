"""The idempotency table: one execution per key, its first answer for everybody who asks again.

Stripe API, "Idempotent requests" and "Advanced error handling": the first status and body are stored once
execution began, a 500 too; a key whose request is still running is a 409; the same key with other
parameters is an idempotency_error; refused parameters are not stored; keys may be forgotten after a day,
and a forgotten key executes again. Only a keyed hash of the parameters is kept.
"""

import hmac
from dataclasses import dataclass

from vault.proof.stripe_failure import IDEMPOTENCY, Failure, refused_parameter

KEY_LENGTH_MAX = 255


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class _Entry:
    fingerprint: bytes
    begun_at: float
    reply: Reply | None = None
    """None while the first request is executing."""


class Replays:
    """Keys of one account, with what each was first answered."""

    def __init__(self, seed: int, key_life_s: float) -> None:
        self._hash_key = hmac.digest(b"stripe idempotency", str(seed).encode(), "sha256")
        self._key_life_s = key_life_s
        self._entries: dict[str, _Entry] = {}

    def begin(self, key: str, request: bytes, now: float) -> Reply | None:
        """The stored answer, or None: execute now, and call `store` or `drop`.

        Failure 409 while the first request with this key is executing, idempotency_error when it had
        another content.
        """
        if not 0 < len(key) <= KEY_LENGTH_MAX:
            raise refused_parameter(
                "", "idempotency_key_invalid", "An idempotency key has 1 to 255 characters."
            )
        fingerprint = hmac.digest(self._hash_key, request, "sha256")
        entry = self._entries.get(key)
        if entry is None or (entry.reply is not None and now - entry.begun_at >= self._key_life_s):
            self._entries[key] = _Entry(fingerprint, now)
            return None
        if entry.fingerprint != fingerprint:
            sentence = "Keys for idempotent requests can only be used with the same parameters."
            raise Failure(400, IDEMPOTENCY, sentence)
        if entry.reply is None:
            sentence = "There is currently another in-progress request using this Idempotency-Key."
            raise Failure(409, IDEMPOTENCY, sentence, code="idempotency_key_in_use")
        headers = {**entry.reply.headers, "idempotent-replayed": "true"}
        return Reply(entry.reply.status, headers, entry.reply.body)

    def store(self, key: str, reply: Reply) -> None:
        """The answer that this key gives from now on."""
        self._entries[key].reply = reply

    def drop(self, key: str) -> None:
        """Nothing was executed under the key; it is free again."""
        self._entries.pop(key, None)
