"""Settings of one node: every field has a default, so `pay-ivr serve` runs with none.

Each field comes from the environment (`PAY_IVR_` + upper-case name) or from the TOML file that
`PAY_IVR_SETTINGS` names; the environment wins. The field's docstring is its manual.
"""

import os
import tomllib
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

UNIX_PATH_MAX = 107
"""Bytes the kernel allows for a Unix socket's path, without the closing zero (unix(7))."""
LONGEST_SOCKET = "outbox-loyalty.sock"
PREFIX = "PAY_IVR_"
FILE_VARIABLE = "PAY_IVR_SETTINGS"
"""The one variable with the prefix that is no field."""


class SettingsError(Exception):
    """The node cannot start with these settings; the sentence names the field."""

    code = "settings"
    retryable = False


class Settings(BaseSettings):
    """What one node needs to know."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    data_dir: Path = Path("var/node")
    """Everything the node keeps: databases, keys, prompt cache. No state outside it."""
    run_dir: Path | None = None
    """Unix sockets; default `<data_dir>/run`. Its path must leave room for the kernel's 107 bytes."""
    tenants_dir: Path = Path("infra/tenants")
    """One TOML file per tenant."""
    loyalty_database: str = Field("", pattern=r"^$|^postgresql\+psycopg://[^:/@\s]*@?[^@\s]*$")
    """Members and points: empty keeps them in `<data_dir>/loyalty.db`. `postgresql+psycopg://payivr@host/name`
    keeps them on a PostgreSQL server that two nodes may share (decision 0026); the password is in the file
    that PGPASSFILE names, never here. Needs the extra `postgres`."""
    bind_ip: str = "127.0.0.1"
    """IPv4 address for SIP and RTP; one of the machine's own, because SDP and Contact tell it to peers."""
    http_ip: str = "127.0.0.1"
    """Address for the console and the agent API."""
    http_port: int = Field(8080, ge=0, le=65535)
    """0 takes any free port; the start-up line tells which."""
    console_origin: str | None = Field(None, pattern=r"^https?://[^/\s]+$")
    """`https://desk.example`, when a proxy in front of the console changes Host. Browsers take the login
    cookie over TLS and on loopback only, so a console for others stands behind a proxy that ends TLS."""
    link_origin: str | None = Field(None, pattern=r"^https?://[^/\s]+$")
    """`https://pay.example`, where payers open payment links; only `/pay/` and `/hooks/` need to be
    reached from outside. Without it links lead to the console's own address."""
    proxy_ips: str = ""
    """Comma-separated addresses of those proxies: their last X-Forwarded-For entry is the asker's address."""
    sip_udp_port: int = Field(5060, ge=0, le=65535)
    """0 takes any free port."""
    sip_tcp_port: int = Field(5060, ge=-1, le=65535)
    """0 takes any free port, -1 switches TCP off."""
    sip_realm: str = "pay-ivr"
    """Digest realm for agent phones."""
    trunk_ips: str = "127.0.0.1"
    """Comma-separated addresses that may call DIDs, without digest: trunk, SBC, PBX. Nobody else may call."""
    info_ips: str = ""
    """Comma-separated trunk addresses whose SIP INFO keys count (decision 0013); default none."""
    rtp_port_first: int = Field(20000, ge=1024, le=65000)
    """First RTP port; even ports are RTP, the next one is RTCP."""
    rtp_port_last: int = Field(29999, ge=1030, le=65535)
    """Last port of the range."""
    calls_max: int = Field(500, ge=1, le=5000)
    """Calls at once; one more is answered 503 with Retry-After."""
    ring_timeout_s: float = Field(30.0, ge=1, le=300)
    """How long one agent's phone rings before the next is tried."""
    sip_trace: bool = False
    """Writes first lines of SIP messages, never a body, to `<data_dir>/sip-trace.jsonl`."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """DEBUG, INFO, WARNING or ERROR. No level ever shows a key."""

    @field_validator("http_ip")
    @classmethod
    def _is_address(cls, value: str) -> str:
        ip_address(value)
        return value

    @field_validator("bind_ip")
    @classmethod
    def _is_reachable(cls, value: str) -> str:
        if IPv4Address(value).is_unspecified:
            raise ValueError("peers must be told one address; name it")
        return value

    @field_validator("trunk_ips", "info_ips", "proxy_ips")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        for address in _addresses(value):
            ip_address(address)
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.rtp_port_last - self.rtp_port_first < 3:
            raise ValueError("rtp_port_last must leave room for at least two legs")
        if len(str((self.sockets / LONGEST_SOCKET).resolve()).encode()) > UNIX_PATH_MAX:
            raise ValueError("run_dir is too long for a Unix socket; give a shorter one")
        return self

    @property
    def sockets(self) -> Path:
        """The directory of the Unix sockets."""
        return self.run_dir if self.run_dir is not None else self.data_dir / "run"

    @property
    def loyalty(self) -> str | Path:
        """Where members and points are kept: a URL or a file."""
        return self.loyalty_database or self.data_dir / "loyalty.db"

    @property
    def trunks(self) -> frozenset[str]:
        """Addresses that may send calls without digest."""
        return _addresses(self.trunk_ips)

    @property
    def info_from(self) -> frozenset[str]:
        """Addresses whose INFO keys count."""
        return _addresses(self.info_ips)

    @property
    def proxies(self) -> frozenset[str]:
        """Addresses of our own proxies in front of the console."""
        return _addresses(self.proxy_ips)


def _addresses(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def load_settings(**overrides: Any) -> Settings:
    """Settings from file, environment and overrides (strongest last); SettingsError names file and field."""
    from_file = _file_values(os.environ.get(FILE_VARIABLE))
    named_in_environment = {
        key.removeprefix(PREFIX).lower()
        for key in os.environ
        if key.startswith(PREFIX) and key != FILE_VARIABLE
    }
    unknown = sorted(named_in_environment - Settings.model_fields.keys())
    if unknown:
        raise SettingsError(f"{PREFIX}{unknown[0].upper()}: there is no such setting")
    values = {key: value for key, value in from_file.items() if key not in named_in_environment} | overrides
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        raise SettingsError(f"{name}: {first['msg']}") from None


def _file_values(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError:
        raise SettingsError("PAY_IVR_SETTINGS names a file that cannot be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file is not TOML: {error}") from None
