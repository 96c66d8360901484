"""The sandbox's webhooks: a JSON body, signed with its date by HMAC-SHA-256 under a webhook secret.

    Sandbox-Signature: t=1767225600,v1=<hex of HMAC(secret, "1767225600." + body)>

The date is inside the signature, so that a recorded webhook cannot be sent again later.
"""

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from vault.door import Refused
from vault.providers.base import WEBHOOK_AGE_MAX_S, WEBHOOK_AHEAD_MAX_S, Notice

HEADER = "Sandbox-Signature"
BODY_MAX = 10_000
"""Bytes; a notice has some two hundred."""

_SIGNATURE = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def signed(notice: Notice, secret: bytes, now_s: float) -> tuple[dict[str, str], bytes]:
    """Headers and body of a webhook that is sent at `now_s`."""
    raw = json.dumps(asdict(notice), sort_keys=True).encode()
    return {HEADER: f"t={int(now_s)},v1={_seal(secret, str(int(now_s)), raw)}"}, raw


def parsed(headers: Mapping[str, str], raw: bytes, secrets: Sequence[bytes], now_s: float) -> Notice:
    """The notice of a webhook that one of `secrets` has signed lately; `Refused("webhook_invalid")` else."""
    header = next((value for name, value in headers.items() if name.lower() == HEADER.lower()), "")
    found = _SIGNATURE.fullmatch(header)
    if found is None or len(raw) > BODY_MAX:
        raise _invalid()
    date, seal = found.groups()
    good = [hmac.compare_digest(seal, _seal(secret, date, raw)) for secret in secrets]
    if not any(good) or not -WEBHOOK_AHEAD_MAX_S <= now_s - int(date) <= WEBHOOK_AGE_MAX_S:
        raise _invalid()
    try:
        return Notice(**json.loads(raw))
    except (ValueError, TypeError):
        raise _invalid() from None


def _seal(secret: bytes, date: str, raw: bytes) -> str:
    return hmac.digest(secret, date.encode() + b"." + raw, "sha256").hex()


def _invalid() -> Refused:
    return Refused("webhook_invalid", "The webhook is not signed for this moment. Check secret and clock.")
