"""What the member's page sends: strict forms, bounded texts, a PIN only as sealed bytes."""

from datetime import date
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from agent_api.schemas import Body

BASE64 = r"^[A-Za-z0-9+/]{1,1000}={0,2}$"
"""3072 bits are 512 characters; the challenge has 24."""


class SealForm(Body):
    """Nothing but a question."""


class ClaimForm(SealForm):
    """Whom somebody says to be: a number, or postcode and birth date."""

    number: Annotated[str, Field(pattern=r"^[0-9]{4,10}$")] | None = None
    postcode: Annotated[str, Field(pattern=r"^[A-Za-z0-9 -]{3,12}$")] | None = None
    born: Annotated[str, Field(pattern=r"^(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}$")] | None = None
    house_number: Annotated[str, Field(pattern=r"^[A-Za-z0-9 /-]{0,12}$")] = ""

    @field_validator("born")
    @classmethod
    def _is_a_day(cls, value: str | None) -> str | None:
        if value is not None:
            date.fromisoformat(value)
        return value

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.number is None and (self.postcode is None or self.born is None):
            raise ValueError("nobody is named")
        return self

    @property
    def born_on(self) -> date:
        """The birth date of a claim that has one."""
        assert self.born is not None
        return date.fromisoformat(self.born)


class SealedForm(SealForm):
    """What a browser has sealed for a cell; opaque here."""

    key_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    challenge: Annotated[str, Field(pattern=BASE64)]
    sealed: Annotated[str, Field(pattern=BASE64)]


class LoginForm(ClaimForm, SealedForm):
    """A claim and a PIN."""


class ResetForm(ClaimForm, SealedForm):
    """A claim, the code that was sent, and a new PIN twice."""


class NewPinForm(SealedForm):
    """The old PIN, and the new one twice."""


class RedeemForm(SealForm):
    """One press of a reward's button."""

    reward_id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    key: Annotated[str, Field(pattern=r"^[a-z0-9]{16,40}$")]
    """Made by the page for this wish, and kept until it has heard what became of it."""
