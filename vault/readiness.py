"""What keeps a tenant from a provider although its file is right: `python -m vault.readiness TENANTS DATA`.

For `pay-ivr check`, which runs beside a working node and changes nothing: key files are listed and never
read, and no provider is made. The broker finds the same at its start, refuses that provider to that tenant,
and goes on with all others (`Router.opened`).
"""

import os
import ssl
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from vault.door import VaultError
from vault.keys import key_provider
from vault.providers.base import rehearse, roles_of
from vault.tenant import Tenant, read_tenants


def lacking(tenants: Iterable[Tenant], keys: Collection[str]) -> Iterator[str]:
    """A sentence for everything that is missing; `keys` are the names that lie there."""
    for tenant in tenants:
        for provider in tenant.section.route:
            for role in roles_of(provider):
                own = f"{provider}.{tenant.name}.{role}"
                if own not in keys and f"{provider}.{role}" not in keys:
                    yield f"{tenant.name}.toml: {provider} is refused. Put the secret into keys/{own}, 0600."
            if not _readable(tenant.config_of(provider).get("ca_file", "")):
                yield f"{tenant.name}.toml: {provider} is refused. Its ca_file holds no certificate in PEM."
            if (failure := _failure(provider)) is not None:
                yield f"{tenant.name}.toml: {provider} is refused. Its library does not load: {failure}."


def _readable(ca_file: str) -> bool:
    """False for a file of authorities that cannot be used; no file is the library's own."""
    try:
        return not ca_file or bool(ssl.create_default_context(cafile=ca_file))
    except OSError:  # ssl.SSLError is one
        return False


def _failure(provider: str) -> str | None:
    try:
        rehearse(provider)
    except Exception as error:  # noqa: BLE001 - a library may fail in any way
        return type(error).__name__
    return None


def _names(data_dir: Path) -> Collection[str]:
    """The keys of a node; none before its first start."""
    return key_provider(data_dir, os.environ).versions() if (data_dir / "keys").is_dir() else ()


def main(arguments: list[str]) -> int:
    """0, or 1 with one sentence per line on stderr."""
    tenants, data_dir = (Path(one) for one in arguments)
    try:
        found = list(lacking(read_tenants(tenants).values(), _names(data_dir)))
    except VaultError as error:
        found = [error.sentence]
    except PermissionError:
        found = ["The key files are not readable. Run this as the node's user."]
    sys.stderr.write("".join(f"{sentence}\n" for sentence in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
