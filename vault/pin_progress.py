"""What a PIN cell may tell: counts, problems and keyed hashes, never a digit.

The facts leave the cell over its report socket (`vault/report.py`); what enters it besides `Start` and `End`
is one message of bytes (`vault/pin_hash.py`). A hash is of no use without the pepper, which is in no message
that leaves the cell and in no database.
"""

from dataclasses import dataclass
from typing import ClassVar

from vault.door import PinField, PinProblem
from vault.progress import End, PostureTold
from vault.report import Vocabulary


@dataclass(frozen=True, slots=True)
class PinOpened:
    """The field takes keys from now on; it is empty."""

    NAME: ClassVar[str] = "pin_opened"
    field: PinField


@dataclass(frozen=True, slots=True)
class PinKeyed:
    """One more digit is in the field; never which."""

    NAME: ClassVar[str] = "pin_key"
    field: PinField
    digits: int


@dataclass(frozen=True, slots=True)
class PinCleared:
    """The caller's `*` emptied the field; it stays open."""

    NAME: ClassVar[str] = "pin_cleared"
    field: PinField


@dataclass(frozen=True, slots=True)
class PinTrouble:
    """What was keyed cannot be used; `field` is the one that is open now, empty."""

    NAME: ClassVar[str] = "pin_problem"
    field: PinField
    problem: PinProblem


@dataclass(frozen=True, slots=True)
class PinSilence:
    """The caller has been silent for a while; what is in the field stays there."""

    NAME: ClassVar[str] = "pin_no_input"
    field: PinField


@dataclass(frozen=True, slots=True)
class PinHelp:
    """The caller pressed `**`."""

    NAME: ClassVar[str] = "pin_help"
    field: PinField


@dataclass(frozen=True, slots=True)
class PinHashed:
    """Everything was keyed, the digits are wiped; hashes as letters a-p, empty where none was asked for."""

    NAME: ClassVar[str] = "pin_hashed"
    proof: str
    """Of the PIN under the stored salt and pepper, or of the reset code under its key."""
    fresh: str
    """Of the new PIN, or of the same one under the newest pepper."""
    mark: str
    """Of the PIN that was tried, under the key of the present window."""
    easy: bool = False
    """The new PIN is made of the birth date: for whoever has the right code to know (sealed resets)."""


@dataclass(frozen=True, slots=True)
class PinOver:
    """A limit is reached, everything is wiped, the cell ends: `idle`, `entry` or `tries`."""

    NAME: ClassVar[str] = "pin_over"
    limit: str


@dataclass(frozen=True, slots=True)
class PinUnsealed:
    """A sealed PIN could not be used: `problem` says why, None that the seal itself is broken."""

    NAME: ClassVar[str] = "pin_unsealed"
    problem: PinProblem | None = None


PinFact = (
    PostureTold
    | PinOpened
    | PinKeyed
    | PinCleared
    | PinTrouble
    | PinSilence
    | PinHelp
    | PinHashed
    | PinOver
    | PinUnsealed
)


@dataclass(frozen=True, slots=True)
class Start:
    """Media has confirmed SECURE: open the first field."""

    NAME: ClassVar[str] = "pin_start"


PinCommand = Start | End

FACTS: Vocabulary[PinFact] = Vocabulary("r", PinFact)
COMMANDS: Vocabulary[PinCommand] = Vocabulary("c", PinCommand)
