"""Our prefixed ids: random letters only, so that no id can look like a PAN."""

import secrets
import string

LETTERS = 20
"""94 bits: no two alike in the life of any node."""


def new_id(prefix: str) -> str:
    """A new id such as `pay_…`, `cap_…`."""
    return prefix + "_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(LETTERS))
