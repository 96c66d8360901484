"""Who comes to the desk: agents with logins and phones, integrators with keys, and what each may do.

No secret is in here but as a hash, and no hash has a repr.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

LOGIN_IDLE_MS = 15 * 60_000
"""Idle time after which a login ends: PCI DSS 8.2.8. A live call counts as being there."""
LOGIN_AGE_MS_MAX = 12 * 3_600_000
"""A login never outlives a long shift."""


class Permission(StrEnum):
    """What somebody must be given by name."""

    SETTLE = "settle"
    """Settle payments that others took."""
    REFUND = "refund"
    """Void and refund payments that others took."""
    CHARGE = "charge"
    """For access keys: charge a kept card with nobody on the line."""
    MEMBERS = "members"
    """Find, read and change members, their cards and PINs, whoever is on the line."""
    POINTS = "points"
    """Earn, redeem, reverse and adjust points."""
    PAYOUT = "payout"
    """Decide about payouts that somebody else has asked for."""


@dataclass(frozen=True)
class Agent:
    """One person at the desk."""

    agent_id: str
    """The user of console and SIP phone alike: the name in the tenant file's `agents`."""
    tenant: str
    language: str


@dataclass(frozen=True, repr=False)
class NewAgent:
    """What an agent row is made of; hashes only."""

    agent: Agent
    password_hash: str
    """Argon2id, in its own encoding."""
    must_change: bool
    sip: "SipSecret"


@dataclass(frozen=True, repr=False)
class SipSecret:
    """Digest material of an agent's phone (RFC 7616 §3.4.2): H(user:realm:password), never the password."""

    realm: str
    ha1_md5: str
    ha1_sha256: str

    @classmethod
    def of(cls, user: str, realm: str, password: str) -> Self:
        """The two hashes a REGISTER may be checked with; MD5 because many phones know nothing else."""
        text = f"{user}:{realm}:{password}".encode()
        md5 = hashlib.md5(text, usedforsecurity=False).hexdigest()
        return cls(realm, md5, hashlib.sha256(text).hexdigest())


@dataclass(frozen=True, repr=False)
class Try:
    """One counted login try: what it has to be checked against."""

    agent: Agent
    password_hash: str
    must_change: bool
    locked: bool


@dataclass(frozen=True)
class AccessKey:
    """An integrator's API login; the secret is not in here."""

    prefix: str
    tenant: str
    label: str


@dataclass(frozen=True)
class Login:
    """One logged-in browser."""

    agent: Agent
    created_at_ms: int
    seen_at_ms: int

    def idle(self, now_ms: int) -> bool:
        """True when nobody has done anything with it for LOGIN_IDLE_MS."""
        return now_ms - self.seen_at_ms > LOGIN_IDLE_MS

    def too_old(self, now_ms: int) -> bool:
        """True when it has reached its age limit, busy or not."""
        return now_ms - self.created_at_ms > LOGIN_AGE_MS_MAX
