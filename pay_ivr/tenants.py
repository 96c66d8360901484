"""Tenants as telephony sees them: `<tenant>.toml`, section `[telephony]`, and the number → flow table.

One tenant is one file; the other sections belong to their owners (`[payment]` to the vault). Errors name
the file and the line, so that `pay-ivr check` can be read over somebody's shoulder.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pay_ivr.languages import languages

TENANT_FILE_BYTES_MAX = 256 * 1024
"""A tenant file is read whole; this is a hundred times the largest we know."""

USER_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
"""An agent, at the console and at the phone."""


def _known_language(tag: str) -> str:
    if tag not in languages():
        raise ValueError(f"must be one of {', '.join(languages())}")
    return tag


Section = TypeVar("Section", bound=BaseModel)
User = Annotated[str, Field(pattern=USER_PATTERN)]
Language = Annotated[str, AfterValidator(_known_language)]
"""The tag of a file in `pay_ivr/languages/`."""


class TenantError(Exception):
    """A tenant file is wrong; the sentence names file, line and field."""

    code = "tenant_file"
    retryable = False


class Did(BaseModel):
    """One dialled number and what answers it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: str = Field(pattern=r"^\+?[0-9]{3,15}$")
    """As the trunk sends it in the Request-URI."""
    flow: str = Field(pattern=r"^[a-z_]+(\.[a-z_]+)?$")
    """Name of a flow file."""
    language: Language = "en-US"
    """What the caller hears; also the first language of its agents' consoles."""
    agents: tuple[User, ...] = Field(default=(), max_length=50)
    """Registered SIP users, rung in order; each is also a login of the console."""


class Telephony(BaseModel):
    """Section [telephony]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    languages: tuple[Language, ...] = ("en-US",)
    """Told to consoles and integrators (`GET /v1/me`); what a caller hears is its number's `language`."""
    did: tuple[Did, ...] = Field(default=(), max_length=1000)
    """The tenant's numbers."""
    calls_min: int = Field(default=0, ge=0, le=5_000)
    """Calls for which there is room however busy other tenants are; beyond them all share what is idle."""


@dataclass(frozen=True)
class Tenant:
    """One brand on this installation."""

    tenant_id: str
    """File name without `.toml`."""
    name: str
    """As spoken and shown."""
    live: bool
    telephony: Telephony


def load_tenants(folder: Path) -> dict[str, Tenant]:
    """All tenants by id; TenantError names the first wrong line."""
    tenants = {path.stem: load_tenant(path) for path in sorted(folder.glob("*.toml"))}
    if not tenants:
        raise TenantError("the tenants folder holds no .toml file; copy infra/tenants/demo.toml")
    _check_owners(tenants, folder)
    return tenants


def _check_owners(tenants: Mapping[str, Tenant], folder: Path) -> None:
    """One owner for each number, with or without `+`, and for each agent."""
    numbers: dict[str, str] = {}
    agents: dict[str, str] = {}
    for name, tenant in tenants.items():
        for place, did in enumerate(tenant.telephony.did):
            number = did.number.lstrip("+")
            if number in numbers:
                raise _owned(folder, name, place, "number", f"is already taken by {numbers[number]}.toml")
            numbers[number] = name
            for user in did.agents:
                if agents.setdefault(user, name) != name:
                    sentence = f"an agent already belongs to {agents[user]}.toml"
                    raise _owned(folder, name, place, "agents", sentence)


def _owned(folder: Path, name: str, did: int, field: str, sentence: str) -> TenantError:
    return fault_at(folder / f"{name}.toml", ("telephony", "did", did, field), sentence)


def load_tenant(path: Path) -> Tenant:
    """One tenant from its file."""
    text = read_text(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TenantError(f"{path.name}: not TOML: {error}") from None
    name, live = document.get("name"), document.get("live", False)
    if not isinstance(name, str) or not 0 < len(name) <= 80:
        raise TenantError(f"{path.name}:{line_of(text, ['name'])}: name must be a text of 1 to 80 characters")
    if not isinstance(live, bool):
        raise TenantError(f"{path.name}:{line_of(text, ['live'])}: live must be true or false")
    return Tenant(path.stem, name, live, checked_section(path, "telephony", Telephony))


def checked_section(path: Path, name: str, kind: type[Section]) -> Section:
    """The section, its defaults where the file has none; TenantError names file, line and field, no value."""
    try:
        return kind.model_validate(sections(path).get(name, {}))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise fault_at(path, (name, *first["loc"]), first["msg"].removeprefix("Value error, ")) from None


def fault_at(path: Path, place: Sequence[str | int], sentence: str) -> TenantError:
    """What is wrong with a field, and where it stands: file, line, field."""
    return TenantError(
        f"{path.name}:{line_of(read_text(path), place)}: {'.'.join(map(str, place))}: {sentence}"
    )


def read_text(path: Path) -> str:
    """A tenant's whole file; TenantError when it is too large or no text."""
    try:
        if path.stat().st_size > TENANT_FILE_BYTES_MAX:
            raise TenantError(f"{path.name}: larger than {TENANT_FILE_BYTES_MAX} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise TenantError(f"{path.name}: cannot be read as UTF-8 text") from None


def line_of(text: str, place: Sequence[str | int]) -> int:
    """Line number (from 1) of the last part of `place` that the text names; 1 when it names none."""
    position, line, array = 0, 1, ""
    for part in place:
        if isinstance(part, int):
            found = _nth_header(text, array, part)
        else:
            array = part
            head, key = rf"\[+[^\]]*\b{re.escape(part)}\b", rf"{re.escape(part)}\s*="
            found = re.compile(rf"(?m)^\s*(?:{head}|{key})").search(text, position)
        if found is not None:
            position = found.end() - 1
            line = text.count("\n", 0, found.end()) + 1
    return line


def _nth_header(text: str, array: str, number: int) -> re.Match[str] | None:
    """The header of one item of an array of tables, `[[… array]]`; None for an item within a line."""
    headers = re.finditer(rf"(?m)^\s*\[\[[^\]]*\b{re.escape(array)}\]\]", text)
    return next((match for index, match in enumerate(headers) if index == number), None)


@dataclass(frozen=True)
class Route:
    """What a dialled number leads to."""

    tenant: Tenant
    did: Did


class Numbers:
    """Dialled number → tenant and flow, and whether there is room for the call."""

    def __init__(self, tenants: Mapping[str, Tenant]) -> None:
        self._kept = {name: tenant.telephony.calls_min for name, tenant in tenants.items()}
        self._routes = {
            did.number.lstrip("+"): Route(tenant, did)
            for tenant in tenants.values()
            for did in tenant.telephony.did
        }

    def route(self, dialled: str) -> Route | None:
        """The route of a dialled number, with or without `+`; None when nobody owns it."""
        return self._routes.get(dialled.lstrip("+"))

    def has_room(self, tenant_id: str, live: Iterable[str], calls_max: int) -> bool:
        """True when one more call of the tenant leaves the others what is kept for them.

        `live`: whose the calls of now are, one name a call. Nobody's minimum lies idle in vain: a tenant may
        take every place that is kept for no other.
        """
        calls = Counter(live)
        if calls[tenant_id] < self._kept[tenant_id]:
            return True
        owed = sum(max(0, kept - calls[other]) for other, kept in self._kept.items() if other != tenant_id)
        return calls.total() + owed < calls_max


def sections(path: Path) -> dict[str, Any]:
    """The file's raw sections, for their owners' own checks."""
    return tomllib.loads(read_text(path))
