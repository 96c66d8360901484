"""The sections `[payment]`, `[links]` and `[pin]` of a tenant's file: what may be paid and keyed, and how.

The only place where pydantic reads something in the vault. An error names the file and the line or the
field, never the value that stood there. A tenant marked live is held to more: no sandbox, no weak posture
without an acceptance on record, nothing unattended without a consent on record.
"""

import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from vault.books.fees import BASIS_POINTS, Fees, FeeTerms
from vault.currency import MINOR_DIGITS
from vault.door import Refused, VaultError
from vault.payment import AMOUNT_MAX_MINOR, Terms
from vault.pin_capture import PinForm
from vault.pin_rules import PIN_DIGITS_MAX, PIN_DIGITS_MIN
from vault.pin_velocity import PinVelocity
from vault.providers.base import options_of, problem_of, provider_names
from vault.velocity import DO_NOT_TRY_AGAIN_DAYS_MAX, Velocity

TENANTS_MAX = 1_000
"""Tenant files read at start; more than any node serves, fewer than a mistaken folder holds."""
FILE_BYTES_MAX = 200_000
"""A tenant's file is a page or two; more is another file put there by mistake."""

PROVIDERS_MAX = 5
"""Providers of one tenant: nobody has more contracts, and a caller waits while each is tried."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_\-]{0,39}")
Purpose = Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,31}$")]
"""As long as the desk's API takes it: a longer one could be configured and never used."""


_USUAL = Velocity()
_USUAL_PIN = PinVelocity()
_Most = Annotated[int, Field(ge=0, le=1_000_000)]


class TenantError(VaultError):
    """A tenant's file that cannot be used; the sentence names file and place."""


class LimitsSection(BaseModel):
    """`[payment.limits]` of a tenant's file: how often is too often (`vault/velocity.py`); 0: no limit.

    A live tenant has the defaults without this section. One that is not live has no limits without it: the
    published test cards are the same few for everybody.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    card_attempts_per_day: _Most = _USUAL.card_attempts_per_day
    """Attempts with one card."""
    card_declines_per_month: _Most = _USUAL.card_declines_per_month
    """Attempts with one card that were not approved, in 30 days; card networks fine more than 15."""
    caller_attempts_per_hour: _Most = _USUAL.caller_attempts_per_hour
    """Attempts from one caller's number."""
    caller_cards_per_day: _Most = _USUAL.caller_cards_per_day
    """Different cards from one caller's number."""
    bin_declines_per_hour: _Most = _USUAL.bin_declines_per_hour
    """Attempts with cards of one issuer's range (eight digits) that were not approved."""
    tenant_attempts_per_hour: _Most = _USUAL.tenant_attempts_per_hour
    """Attempts of the whole tenant."""
    tenant_declines_per_hour: _Most = _USUAL.tenant_declines_per_hour
    """Attempts of the whole tenant that were not approved."""
    do_not_try_again_days: Annotated[int, Field(ge=0, le=DO_NOT_TRY_AGAIN_DAYS_MAX)] = (
        _USUAL.do_not_try_again_days
    )
    """How long a card is not sent again after its issuer advised so."""


class FeesSection(BaseModel):
    """`[payment.fees.<provider>.<currency>]`: what the provider may keep of a charge (`vault/books/fees.py`).

    Without it a stated fee is taken as it is.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    basis_points: Annotated[int, Field(ge=0, le=BASIS_POINTS)] = 0
    """Hundredths of a percent of the amount: 140 is 1.4 %."""
    fixed_minor: Annotated[int, Field(ge=0, le=AMOUNT_MAX_MINOR)] = 0
    """In minor units, per charge."""


class LinksSection(BaseModel):
    """`[links]` of a tenant's file; without it no payment is sent as a link."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    expiry_minutes: Annotated[int, Field(ge=5, le=1_440)] = 30
    """How long a link can be paid: long enough for a mail to arrive, short enough for the call to matter."""


class PinSection(BaseModel):
    """`[pin]` of a tenant's file: what a member's PIN looks like, and how often is too often; 0: no limit.

    Limits count misses only (`vault/pin_velocity.py`); every tenant has the defaults without this section.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    digits_min: Annotated[int, Field(ge=PIN_DIGITS_MIN, le=PIN_DIGITS_MAX)] = 4
    """Fewest digits of a new PIN."""
    digits_max: Annotated[int, Field(ge=PIN_DIGITS_MIN, le=PIN_DIGITS_MAX)] = 6
    """Most digits; with this many keyed the caller need not press `#`."""
    tries: Annotated[int, Field(ge=1, le=10)] = 3
    """Misses in a row before a member's PIN is locked; there is no way to switch this off."""
    caller_misses_per_hour: _Most = _USUAL_PIN.caller_misses_per_hour
    """Misses from one caller's number."""
    caller_misses_per_day: _Most = _USUAL_PIN.caller_misses_per_day
    """The same in a day."""
    withheld_misses_per_hour: _Most = _USUAL_PIN.withheld_misses_per_hour
    """Misses of everybody who withholds the number, together."""
    withheld_misses_per_day: _Most = _USUAL_PIN.withheld_misses_per_day
    """The same in a day."""
    value_misses_per_hour: _Most = _USUAL_PIN.value_misses_per_hour
    """Misses with one and the same PIN, whoever's it was meant to be."""
    value_misses_per_day: _Most = _USUAL_PIN.value_misses_per_day
    """The same in a day."""
    tenant_misses_per_hour: _Most = _USUAL_PIN.tenant_misses_per_hour
    """Misses of the whole tenant."""
    tenant_misses_per_day: _Most = _USUAL_PIN.tenant_misses_per_day
    """The same in a day."""

    @field_validator("digits_max")
    @classmethod
    def _is_no_less_than_the_fewest(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("digits_min", value):
            raise ValueError("is below digits_min")
        return value

    @model_validator(mode="after")
    def _there_is_a_length(self) -> "PinSection":
        if self.digits_min > self.digits_max:
            raise ValueError("digits_min is above digits_max, which is 6 when it is not given")
        return self

    @property
    def form(self) -> PinForm:
        """How long a PIN is."""
        return PinForm(self.digits_min, self.digits_max)

    @property
    def velocity(self) -> PinVelocity:
        """The limits on misses."""
        return PinVelocity(**{each.name: getattr(self, each.name) for each in fields(PinVelocity)})


class PaymentSection(BaseModel):
    """`[payment]` of a tenant's file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    providers: tuple[str, ...] = Field(default=(), max_length=PROVIDERS_MAX, strict=False)
    """Instead of `provider`: several, the preferred first. Another is taken only when nothing was sent."""
    provider: str
    """A file of vault/providers."""
    cascade: bool = False
    """A payment that was declined for a passing reason may be tried at the next provider, once."""
    currencies: tuple[str, ...] = Field(min_length=1, strict=False)
    """ISO 4217 codes."""
    amount_max_minor: int = Field(gt=0, le=AMOUNT_MAX_MINOR)
    """Largest payment, in minor units of its currency."""
    purposes: tuple[Purpose, ...] = Field(min_length=1, strict=False)
    """What may be paid for; lower-case words."""
    sca_agent: Literal["moto_agent"] = "moto_agent"
    """The basis on which a payment with an agent needs no strong customer authentication."""
    unattended: bool = False
    """Payments without an agent."""
    unattended_consent: str = Field(default="", max_length=200)
    """Who agreed to unattended payments, and when; wanted of a live tenant."""
    merchant_initiated: bool = False
    """Payments by a card on file with nobody on the line (`mit`); the mandate must allow them."""
    posture_accepted: str = Field(default="", max_length=200)
    """Who accepted to run on a weak posture, and when; wanted of a live tenant on such a machine."""
    canary: bool = False
    """The sandbox also takes the canary range (`verify` uses it); never for a live tenant."""
    limits: LimitsSection | None = None
    """How often is too often; see `[payment.limits]`."""
    fees: Mapping[str, Mapping[str, FeesSection]] | None = None
    """What is agreed with each provider; see `[payment.fees.<provider>.<currency>]`."""

    options: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    """`[payment.<provider>]`, by the provider's name."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        """`provider` as the first of `providers`; the tables of providers under `options`."""
        if not isinstance(values, dict):
            return values
        if "options" in values:
            raise ValueError("options of a provider stand in [payment.<provider>]")
        tables = {name: values[name] for name in provider_names() if name in values}
        values = {name: value for name, value in values.items() if name not in tables}
        several = values.get("providers")
        if several is not None and "provider" in values:
            raise ValueError("name provider or providers, not both")
        if isinstance(several, list) and several:
            values["provider"] = several[0]
        return {**values, "options": tables}

    @field_validator("provider")
    @classmethod
    def _provider_exists(cls, value: str) -> str:
        if value not in provider_names():
            raise ValueError("no such file in vault/providers")
        return value

    @field_validator("providers")
    @classmethod
    def _providers_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= set(provider_names()):
            raise ValueError("one of them is no file in vault/providers")
        if len(set(value)) < len(value):
            raise ValueError("one of them stands there twice")
        return value

    @field_validator("fees")
    @classmethod
    def _fees_are_of_something(cls, value: Mapping[str, Mapping[str, FeesSection]] | None) -> Any:
        if value is None:
            return value
        if not set(value) <= set(provider_names()):
            raise ValueError("one of them is no file in vault/providers")
        if not {currency for table in value.values() for currency in table} <= MINOR_DIGITS.keys():
            raise ValueError("a code is not in ISO 4217")
        return value

    @property
    def route(self) -> tuple[str, ...]:
        """The tenant's providers, the preferred one first."""
        return self.providers or (self.provider,)

    @field_validator("currencies")
    @classmethod
    def _currencies_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= MINOR_DIGITS.keys():
            raise ValueError("a code is not in ISO 4217")
        return value


class _File(BaseModel):
    """The head of a tenant's file, as far as the vault reads it."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

    live: bool = False
    payment: PaymentSection
    links: LinksSection | None = None
    pin: PinSection = PinSection()

    @model_validator(mode="after")
    def _live_is_strict(self) -> "_File":
        sandboxed = any(name.startswith("sandbox") for name in self.payment.route)
        if self.live and (sandboxed or self.payment.canary):
            raise ValueError("a live tenant cannot use a sandbox provider or the canary range")
        if self.live and self.payment.unattended and not self.payment.unattended_consent.strip():
            raise ValueError("a live tenant needs unattended_consent for unattended payments")
        return self


class Tenant:
    """One tenant, as the vault knows it; its name is the file's name without `.toml`."""

    def __init__(
        self,
        name: str,
        live: bool,
        section: PaymentSection,
        links: LinksSection | None = None,
        pin: PinSection | None = None,
    ) -> None:
        self.name = name
        self.pin = pin or PinSection()
        self.live = live
        self.section = section
        self.links = links
        """None: this tenant sends no links."""
        self.terms = Terms(
            section.currencies,
            section.amount_max_minor,
            section.purposes,
            section.sca_agent,
            section.unattended,
            section.merchant_initiated,
            links is not None,
        )
        limits = section.limits or (LimitsSection() if live else None)
        self.velocity = Velocity(**dict(limits)) if limits else None
        """None: nothing is counted against this tenant."""
        self.fees: Fees = {
            provider: {currency: FeeTerms(**dict(terms)) for currency, terms in table.items()}
            for provider, table in (section.fees or {}).items()
        }

    def config_of(self, provider: str) -> dict[str, Any]:
        """What `load_provider` takes: the tenant's name and every option of the provider."""
        given = self.section.options.get(provider, {})
        options = {name: given.get(name, option.default) for name, option in options_of(provider).items()}
        return {"tenant": self.name, **options}

    def check_posture(self, weak: tuple[str, ...]) -> None:
        """`Refused` when a live tenant may not run on this machine's posture."""
        if self.live and weak and not self.section.posture_accepted.strip():
            raise Refused(
                "posture_weak", "This machine protects cards too weakly. Use another, or accept on record."
            )


def read_tenants(folder: Path) -> dict[str, Tenant]:
    """Every `*.toml` of `folder` by its name; `TenantError` for the first that is wrong."""
    files = sorted(folder.glob("*.toml"))
    if len(files) > TENANTS_MAX:
        raise TenantError(
            "tenants_too_many", f"More than {TENANTS_MAX} tenant files. Is this the right folder?"
        )
    return {path.stem: read_tenant(path) for path in files}


def read_tenant(path: Path) -> Tenant:
    """The tenant of one file; `TenantError` names the file and the line or the field."""
    if not _NAME.fullmatch(path.stem):
        raise TenantError("tenant_name", f"{path.name}: use lower-case letters, digits, - and _ as its name.")
    try:
        text = _text_of(path)
        file = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line \d+, column \d+", str(error))
        where = place.group() if place else "at its end"
        raise TenantError("tenant_unreadable", f"{path.name}: not TOML {where}.") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        names = [str(part) for part in first["loc"]]
        problem = first["msg"].removeprefix("Value error, ")
        raise TenantError("tenant_invalid", _sentence(path.name, text, names, problem)) from None
    _check_options(path.name, text, file.payment)
    return Tenant(path.stem, file.live, file.payment, file.links, file.pin)


def _check_options(file: str, text: str, section: PaymentSection) -> None:
    """`TenantError` for the first option that its provider does not take."""
    for provider, table in section.options.items():
        known = options_of(provider)
        for name, value in table.items():
            if name not in known:
                raise _invalid(file, text, [provider, name], "the provider has no such option")
            if type(value) is not known[name].kind:
                raise _invalid(
                    file, text, [provider, name], f"must be of the type {known[name].kind.__name__}"
                )
    for provider in section.route:
        for name, option in options_of(provider).items():
            if option.default is None and name not in section.options.get(provider, {}):
                raise _invalid(file, text, [provider, name], "must be given")
    for provider, table in section.options.items():
        if (found := problem_of(provider, table)) is not None:
            raise _invalid(file, text, [provider, found[0]], found[1])


def _invalid(file: str, text: str, names: list[str], problem: str) -> TenantError:
    return TenantError("tenant_invalid", _sentence(file, text, ["payment", *names], problem))


def _text_of(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if len(raw) > FILE_BYTES_MAX:
            raise TenantError("tenant_too_long", f"{path.name}: longer than {FILE_BYTES_MAX} bytes.")
        return raw.decode()
    except (OSError, UnicodeDecodeError):
        raise TenantError("tenant_unreadable", f"{path.name}: not a readable UTF-8 file.") from None


def _sentence(file: str, text: str, names: list[str], problem: str) -> str:
    line = _line_of(text, names)
    section = names[0] if names[:1] in (["links"], ["pin"]) else "payment"
    place = f"line {line}" if line else f"section [{section}]"
    field = ".".join(names) or "the whole"
    return f"{file}, {place}, field {field}: {problem}."


def _line_of(text: str, names: list[str]) -> int | None:
    """The line where the named key stands, or the head of its section when the whole of it is wrong.

    None when it is missing.
    """
    key = next((name for name in reversed(names) if not name.isdigit()), "")
    for number, line in enumerate(text.splitlines(), start=1):
        if key and re.match(rf"\s*(?:{re.escape(key)}\s*=|\[{re.escape(key)}\])", line):
            return number
    return None


def main(arguments: list[str]) -> int:
    """`python -m vault.tenant FOLDER`, for `pay-ivr check`: 0, or 1 and the first fault on stderr."""
    try:
        read_tenants(Path(arguments[0]))
    except TenantError as error:
        sys.stderr.write(error.sentence + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
