"""Reads every tenant file as a node will and names the first wrong line: for `pay-ivr check` and `serve`.

The `[payment]` and `[links]` sections are the vault's; its own reader checks them, in a process of its own,
because nothing here may import it.
"""

import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from loyalty.programme import Programme, programme_of
from pay_ivr.facts import CallError
from pay_ivr.flow import load_flow
from pay_ivr.postman import WebhooksSection, webhooks_of
from pay_ivr.prompts import warnings_of
from pay_ivr.senders import MessagesSection, SmsSection, SmtpSection, messages_of
from pay_ivr.settings import Settings
from pay_ivr.tenants import Did, Tenant, TenantError, fault_at, load_tenants, sections
from pay_ivr.wording import wordings_of

SECTIONS = frozenset(
    {"name", "live", "telephony", "links", "messages", "webhooks", "payment", "loyalty", "pin"}
)
"""What a tenant's file may begin with; each section has one owner, who reads the rest of it."""
READ_TIMEOUT_S = 30
"""The vault's reader takes a second; on a machine where it hangs nothing will run."""


def check(settings: Settings) -> int:
    """0 when a node could start with these files; the line printed says what was read.

    1 when it would start without the payments of a tenant: a key or a library of its provider is missing.
    """
    tenants = checked_tenants(settings)
    sys.stdout.write("".join(f"check: {line}\n" for line in warnings_of(settings)))
    folders = [str(settings.tenants_dir), str(settings.data_dir)]
    if lacking := _said("vault.readiness", *folders):
        sys.stdout.write("".join(f"check: {line}\n" for line in lacking))
        return 1
    numbers = sum(len(tenant.telephony.did) for tenant in tenants.values())
    sys.stdout.write(f"check: settings, {len(tenants)} tenant(s) and {numbers} number(s) are right\n")
    return 0


def checked_tenants(settings: Settings) -> dict[str, Tenant]:
    """All tenants by id; TenantError names file and line of the first thing that is wrong in any section."""
    tenants = load_tenants(settings.tenants_dir)
    for tenant in tenants.values():
        _check_tenant(tenant, settings.tenants_dir)
    if sum(tenant.telephony.calls_min for tenant in tenants.values()) > settings.calls_max:
        raise TenantError("telephony.calls_min of all tenants together is above the node's calls_max")
    _check_payment_sections(settings)
    return tenants


def _check_tenant(tenant: Tenant, tenants_dir: Path) -> None:
    """The sections that no file of the vault reads; TenantError for the first thing that is wrong."""
    path = tenants_dir / f"{tenant.tenant_id}.toml"
    _check_names(path)
    messages, webhooks = messages_of(tenant, tenants_dir), webhooks_of(tenant, tenants_dir)
    wordings_of(tenants_dir, [tenant.tenant_id])
    for number, did in enumerate(tenant.telephony.did):
        field, problem = _problem_of(did)
        if problem:
            raise fault_at(path, ("telephony", "did", number, field), problem)
    programme = programme_of(tenant, tenants_dir)
    for place, ca_file in _authorities(messages, webhooks, programme):
        if ca_file and not _holds_certificates(ca_file):
            raise fault_at(path, place, "cannot be read as certificates in PEM")
    unsent = () if programme is None else set(programme.reset_by) - messages.media
    if unsent:
        lacking = f"[messages] has no {' and no '.join(sorted(unsent))}"
        raise fault_at(path, ("loyalty", "reset_by"), lacking)


def _authorities(
    messages: MessagesSection, webhooks: WebhooksSection, programme: Programme | None
) -> Iterator[tuple[list[str | int], str]]:
    """Every `ca_file` of a tenant, and where it stands; those of its providers are the vault's to check."""
    for name in ("smtp", "sms"):
        section: SmtpSection | SmsSection | None = getattr(messages, name)
        if section is not None:
            yield ["messages", name, "ca_file"], section.ca_file
    yield ["webhooks", "ca_file"], webhooks.ca_file
    for number, source in enumerate(programme.voucher_source if programme is not None else ()):
        yield ["loyalty", "voucher_source", number, "ca_file"], source.ca_file


def _holds_certificates(ca_file: str) -> bool:
    """True when connections can be made with it: what is missing would show at the first message."""
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError:  # ssl.SSLError is one
        return False
    return True


def _check_names(path: Path) -> None:
    """A section that nobody reads is a misspelled one, whose fields would have their defaults."""
    for name in sections(path):
        if name not in SECTIONS:
            raise fault_at(path, (name,), "there is no such section or field")


def _problem_of(did: Did) -> tuple[str, str]:
    """The field of a number that cannot work, and why; two empty texts when all is well."""
    try:
        load_flow(did.flow)
    except CallError as error:
        return "flow", error.sentence
    if did.flow == "agent_assisted" and not did.agents:
        return "agents", "agent_assisted needs agents"
    return "", ""


def _check_payment_sections(settings: Settings) -> None:
    if said := _said("vault.tenant", str(settings.tenants_dir)):
        raise TenantError(said[-1])


def _said(reader: str, *arguments: str) -> list[str]:
    """What a reader of the vault complains of, a line each; nothing when all is well."""
    command = [sys.executable, "-m", reader, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=READ_TIMEOUT_S)
    lines = result.stderr.strip().splitlines()
    return (lines or ["[payment] is wrong"]) if result.returncode else []
