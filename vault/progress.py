"""What a capture may tell, and what it may be told: counts, states, brand and last 4.

The facts leave the cell, the commands enter it; `vault/report.py` carries both. No type here has room for
a PAN, a CVV or a key (PCI DSS 3.3.1, 3.4.1): `last4` exists only after the Luhn check passed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from vault.door import Field, FieldProblem

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PostureTold:
    """The first fact of every cell: what the kernel granted, item by item, and what is missing."""

    NAME: ClassVar[str] = "posture"
    grades: Json
    """Item -> `achieved`, `refused` or `absent` (vault/posture.py)."""
    weak: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """The field takes keys from now on; it is empty."""

    NAME: ClassVar[str] = "opened"
    field: Field


@dataclass(frozen=True, slots=True)
class Keyed:
    """One more digit is in the field; never which."""

    NAME: ClassVar[str] = "key"
    field: Field
    digits: int


@dataclass(frozen=True, slots=True)
class Cleared:
    """The caller's `*` emptied the field; it stays open."""

    NAME: ClassVar[str] = "cleared"
    field: Field


@dataclass(frozen=True, slots=True)
class Complete:
    """The field is full and sound; brand and last 4 come with the PAN only."""

    NAME: ClassVar[str] = "complete"
    field: Field
    digits: int
    brand: str | None = None
    last4: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """The entry was refused: the field is empty and still open, but for CONFIRM, which is closed."""

    NAME: ClassVar[str] = "problem"
    field: Field
    problem: FieldProblem


@dataclass(frozen=True, slots=True)
class NoInput:
    """The caller has been silent for a while; what is in the field stays there."""

    NAME: ClassVar[str] = "no_input"
    field: Field


@dataclass(frozen=True, slots=True)
class HelpAsked:
    """The caller pressed `**`."""

    NAME: ClassVar[str] = "help"


@dataclass(frozen=True, slots=True)
class TimeWarning:
    """A limit is near; any key moves the idle limit, nothing moves the payment's."""

    NAME: ClassVar[str] = "warning"
    seconds_left: int


@dataclass(frozen=True, slots=True)
class Ready:
    """All fields are sound. `token` is None for a provider that takes the card only when it authorises."""

    NAME: ClassVar[str] = "ready"
    brand: str
    last4: str
    token: str | None = None
    expiry_known: bool = True
    fingerprints: tuple[str, ...] = ()
    """Keyed hashes of the PAN, one per version of the key, newest first (vault/fingerprint.py)."""
    bins: tuple[str, ...] = ()
    """The same of its first digits."""


@dataclass(frozen=True, slots=True)
class TokeniseFailed:
    """The provider gave no token. With a field, that field is open again; without, none is."""

    NAME: ClassVar[str] = "tokenise_failed"
    code: str
    field: Field | None = None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The caller pressed 1 on the CONFIRM field."""

    NAME: ClassVar[str] = "confirmed"


@dataclass(frozen=True, slots=True)
class Expired:
    """A limit is reached, everything is wiped, the cell ends: `idle`, `payment` or `tries`."""

    NAME: ClassVar[str] = "expired"
    limit: str


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """The provider inside the cell wants its host; answered by `ProviderReply` with the same id."""

    NAME: ClassVar[str] = "provider_call"
    call_id: int
    body: Json


@dataclass(frozen=True, slots=True)
class OutcomeTold:
    """What an `Authorise` came to, in the provider's own words (vault/providers/base.py)."""

    NAME: ClassVar[str] = "outcome"
    outcome: Json


Fact = (
    PostureTold
    | Opened
    | Keyed
    | Cleared
    | Complete
    | Problem
    | NoInput
    | HelpAsked
    | TimeWarning
    | Ready
    | TokeniseFailed
    | Confirmed
    | Expired
    | ProviderCall
    | OutcomeTold
)


@dataclass(frozen=True, slots=True)
class Open:
    """Empty the field and take keys for it; any other open field is closed.

    May bring a new key pipe, which replaces the old one. When the field is complete, the cell opens the next
    field that is not, by itself, so that a caller who does not wait for the prompt loses no key.
    """

    NAME: ClassVar[str] = "open"
    field: Field


@dataclass(frozen=True, slots=True)
class CloseField:
    """Wipe and close the open field; the key pipe is closed with it."""

    NAME: ClassVar[str] = "close_field"


@dataclass(frozen=True, slots=True)
class Pause:
    """Ignore keys and stop the idle timers: the TALK gate is on."""

    NAME: ClassVar[str] = "pause"


@dataclass(frozen=True, slots=True)
class Resume:
    """Take keys again where the pause began."""

    NAME: ClassVar[str] = "resume"


@dataclass(frozen=True, slots=True)
class WipeSad:
    """Wipe the CVV, whatever the state."""

    NAME: ClassVar[str] = "wipe_sad"


@dataclass(frozen=True, slots=True)
class Authorise:
    """Charge with the card itself; only for providers that do not tokenise first."""

    NAME: ClassVar[str] = "authorise"
    request: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderReply:
    """The host's answer to one `ProviderCall`."""

    NAME: ClassVar[str] = "provider_reply"
    call_id: int
    body: Json


@dataclass(frozen=True, slots=True)
class End:
    """Wipe everything and exit."""

    NAME: ClassVar[str] = "end"


Command = Open | CloseField | Pause | Resume | WipeSad | Authorise | ProviderReply | End
