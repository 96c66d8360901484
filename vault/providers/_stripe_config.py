"""What a tenant's `[payment.stripe]` may say, checked once: where Stripe's host is and how to get there.

Two processes use it. The broker reads the secrets `stripe.broker` and `stripe.cell` (`vault/keys.py`), looks
the host up, and hands a cell what it needs: its own key, a numeric address, one TCP port. A cell therefore
asks no resolver, and its wall lets it connect to that one port only.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, urlsplit

from vault.door import VaultError
from vault.providers.base import Option

API_BASE = "https://api.stripe.com"
HTTPS_PORT = 443

OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "api_base": Option(
            str, "Stripe's API: https, without a path. Another one only for a test.", API_BASE
        ),
        "egress_proxy": Option(
            str, "The CONNECT proxy, http://ADDRESS:PORT with a numeric address; empty: direct.", ""
        ),
        "ca_file": Option(str, "PEM file of the authorities to trust; empty: those of Stripe's library.", ""),
        "moto": Option(bool, "Stripe has enabled mail and telephone orders for the account.", True),
    }
)


class ConfigFault(VaultError):
    """An option that cannot work; the sentence names it and never quotes its value."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__("stripe_option", f"[payment.stripe] {option} {problem}.")
        self.option = option
        self.problem = problem


@dataclass(frozen=True)
class Config:
    """The options of one tenant."""

    api_base: str = API_BASE
    egress_proxy: str = ""
    ca_file: str = ""
    moto: bool = True

    @property
    def host(self) -> str:
        """The name that the certificate must have."""
        return str(urlsplit(self.api_base).hostname)

    @property
    def port(self) -> int:
        """Where Stripe listens."""
        return urlsplit(self.api_base).port or HTTPS_PORT

    @property
    def egress_port(self) -> int:
        """The one TCP port that a cell connects to."""
        return (urlsplit(self.egress_proxy).port or 0) if self.egress_proxy else self.port


def config_of(values: Mapping[str, Any]) -> Config:
    """The checked options; others in `values` are left alone. `ConfigFault` names the one that is wrong."""
    given = {name: values.get(name, option.default) for name, option in OPTIONS.items()}
    for name, option in OPTIONS.items():
        if not isinstance(given[name], option.kind):
            raise ConfigFault(name, "has the wrong type")
    base = _url("api_base", given["api_base"])
    if base.scheme != "https" or base.path not in {"", "/"} or base.query:
        raise ConfigFault("api_base", "must be https://HOST or https://HOST:PORT")
    if given["egress_proxy"]:
        proxy = _url("egress_proxy", given["egress_proxy"])
        if proxy.scheme != "http" or not is_numeric(str(proxy.hostname)) or not proxy.port:
            raise ConfigFault("egress_proxy", "must be http://ADDRESS:PORT with a numeric address")
    return Config(**{**given, "api_base": given["api_base"].rstrip("/")})


def problem_of(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """The option that cannot work, and why; None when all of them can."""
    try:
        config_of(values)
    except ConfigFault as fault:
        return fault.option, fault.problem
    return None


def is_numeric(host: str) -> bool:
    """True for an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _url(name: str, value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        has_host, _ = bool(parts.hostname), parts.port
    except ValueError:
        has_host = False
    if not has_host or parts.username is not None:
        raise ConfigFault(name, "is no URL with a host")
    return parts
