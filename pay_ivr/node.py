"""A whole node as a person starts it: first agents, the processes, the start-up lines."""

import asyncio
import json
import os
import pwd
import re
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import IntegrityError

from agent_api.auth import OPERATOR, Passwords, create_access_key, create_agent, reset_agent
from pay_ivr.checkup import checked_tenants
from pay_ivr.hooks import Endpoint, Hooks
from pay_ivr.ids import now_ms
from pay_ivr.logs import start_logging
from pay_ivr.people import Agent, Permission
from pay_ivr.postman import webhooks_of
from pay_ivr.settings import Settings
from pay_ivr.store import Store
from pay_ivr.supervisor import Supervisor
from pay_ivr.tenants import USER_PATTERN, Tenant, TenantError, load_tenants
from vault import Door, KeyLine

PHONE_PASSWORD_BYTES = 12
"""96 random bits behind a digest; phones that cannot paste can still type sixteen characters."""

DOOR_WAIT_S = 3.0
"""How long a command waits for the broker; a node that runs answers at once."""


@dataclass(frozen=True, repr=False)
class NewAgentLogin:
    """What an agent is told once, when he is new or has been reset."""

    agent_id: str
    password: str
    """One-time; the console asks for another at the first login."""
    phone_password: str


async def add_agent(
    settings: Settings,
    agent_id: str,
    tenant: str,
    language: str,
    may: frozenset[Permission] = frozenset(),
) -> NewAgentLogin:
    """A new agent of a tenant; TenantError when the user is taken or malformed, or the tenant unknown."""
    _check_tenant(settings, tenant)
    if not re.fullmatch(USER_PATTERN, agent_id):
        raise TenantError("a user has 1 to 64 characters: a to z, 0 to 9, and . _ - behind the first")
    store = await Store.open(settings.data_dir / "app.db")
    phone_password = secrets.token_urlsafe(PHONE_PASSWORD_BYTES)
    passwords = Passwords()
    try:
        password = await create_agent(
            store,
            passwords,
            Agent(agent_id, tenant, language),
            sip_realm=settings.sip_realm,
            sip_password=phone_password,
            now_ms=now_ms(),
        )
        await store.set_permissions(f"agent:{agent_id}", tenant, may, now_ms(), OPERATOR)
    except IntegrityError:
        raise TenantError("this user exists already; choose another name") from None
    finally:
        passwords.close()
        await store.close()
    return NewAgentLogin(agent_id, password, phone_password)


async def reset_agent_passwords(settings: Settings, agent_id: str) -> NewAgentLogin:
    """New passwords for console and phone, every login ended; TenantError when there is no such agent."""
    store = await Store.open(settings.data_dir / "app.db")
    phone_password = secrets.token_urlsafe(PHONE_PASSWORD_BYTES)
    passwords = Passwords()
    try:
        password = await reset_agent(
            store,
            passwords,
            await _known_agent(store, agent_id),
            sip_realm=settings.sip_realm,
            sip_password=phone_password,
            now_ms=now_ms(),
        )
    finally:
        passwords.close()
        await store.close()
    return NewAgentLogin(agent_id, password, phone_password)


async def allow_agent(settings: Settings, agent_id: str, may: frozenset[Permission]) -> None:
    """The agent has these permissions and no others; TenantError when there is no such agent."""
    store = await Store.open(settings.data_dir / "app.db")
    try:
        agent = await _known_agent(store, agent_id)
        await store.set_permissions(f"agent:{agent_id}", agent.tenant, may, now_ms(), OPERATOR)
    finally:
        await store.close()


async def remove_agent(settings: Settings, agent_id: str) -> None:
    """No login and no phone of that agent any more; TenantError when there is no such agent."""
    store = await Store.open(settings.data_dir / "app.db")
    try:
        await store.remove_agent(await _known_agent(store, agent_id), now_ms(), OPERATOR)
    finally:
        await store.close()


async def _known_agent(store: Store, agent_id: str) -> Agent:
    agent = await store.agent(agent_id)
    if agent is None:
        raise TenantError("there is no such agent; the user is the name that the console is opened with")
    return agent


async def add_access_key(
    settings: Settings, tenant: str, label: str, may: frozenset[Permission] = frozenset()
) -> str:
    """A new access key of an integrator, in clear; it is stored as a hash. TenantError: no such tenant."""
    _check_tenant(settings, tenant)
    store = await Store.open(settings.data_dir / "app.db")
    try:
        key = await create_access_key(store, tenant=tenant, label=label, now_ms=now_ms())
        await store.set_permissions(f"key:{key.split('_')[1]}", tenant, may, now_ms(), OPERATOR)
        return key
    finally:
        await store.close()


async def revoke_access_key(settings: Settings, prefix: str) -> None:
    """The key with that prefix opens nothing any more; TenantError when there is none that does."""
    store = await Store.open(settings.data_dir / "app.db")
    try:
        found = await store.access_key(prefix)
        if found is None:
            raise TenantError(
                "no access key with that prefix is valid; it is the part between the first two _"
            )
        await store.revoke_access_key(found[0], now_ms(), OPERATOR)
    finally:
        await store.close()


async def add_endpoint(settings: Settings, tenant: str, url: str) -> tuple[str, str]:
    """Id and signing key of a new endpoint for the tenant's webhooks; CallError says why not."""
    _check_tenant(settings, tenant)
    terms = webhooks_of(load_tenants(settings.tenants_dir)[tenant], settings.tenants_dir)
    async with _hooks(settings) as hooks:
        return await hooks.add_endpoint(tenant, url, now_ms(), OPERATOR, private=terms.private)


async def remove_endpoint(settings: Settings, endpoint_id: str) -> Endpoint:
    """The endpoint that hears of nothing any more; CallError when there is none."""
    async with _hooks(settings) as hooks:
        return await hooks.remove_endpoint(endpoint_id, now_ms(), OPERATOR)


async def list_endpoints(settings: Settings) -> tuple[Endpoint, ...]:
    """Every tenant's endpoints."""
    async with _hooks(settings) as hooks:
        return await hooks.endpoints()


@asynccontextmanager
async def _hooks(settings: Settings) -> AsyncIterator[Hooks]:
    store = await Store.open(settings.data_dir / "app.db")
    try:
        yield await Hooks.open(store, settings.data_dir)
    finally:
        await store.close()


async def vault_keys(settings: Settings) -> tuple[KeyLine, ...]:
    """Every valid version of the vault's keys and of the providers' secrets; the node has to run."""
    async with _door(settings) as door:
        return await door.vault_keys()


async def rotate_vault_key(settings: Settings, name: str) -> int:
    """The number of the new version; calls go on. VaultError says why not."""
    async with _door(settings) as door:
        return await door.rotate_key(name, _login())


async def retire_vault_key(settings: Settings, name: str, version: int) -> None:
    """That version is wiped and valid no more; VaultError when it is still needed."""
    async with _door(settings) as door:
        await door.retire_key(name, version, _login())


@asynccontextmanager
async def _door(settings: Settings) -> AsyncIterator[Door]:
    door = Door(settings.sockets / "vault.sock")
    try:
        await door.connect(DOOR_WAIT_S)
        yield door
    finally:
        await door.close()


def _login() -> str:
    """Who acts, for the log: the login behind this process."""
    name = pwd.getpwuid(os.getuid()).pw_name
    return f"user:{name}" if re.fullmatch(r"[A-Za-z0-9_.@\-]{1,64}", name) else f"user:{os.getuid()}"


def _check_tenant(settings: Settings, tenant: str) -> None:
    if tenant not in load_tenants(settings.tenants_dir):
        raise TenantError("there is no such tenant; its name is the tenant file's name without .toml")


async def first_agents(settings: Settings, tenants: dict[str, Tenant]) -> list[NewAgentLogin]:
    """On a fresh data directory: one login for every agent that a number rings; nothing otherwise."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = await Store.open(settings.data_dir / "app.db")
    try:
        if await store.agents_count():
            return []
    finally:
        await store.close()
    wanted: dict[str, tuple[str, str]] = {}
    for tenant in tenants.values():
        for did in tenant.telephony.did:
            for user in did.agents:
                wanted.setdefault(user, (tenant.tenant_id, did.language))  # the first number's language
    return [await add_agent(settings, user, *wanted[user]) for user in sorted(wanted)]


def node_facts(settings: Settings) -> dict[str, Any]:
    """Where a running node can be reached: http_url, sip_udp_port, sip_tcp_port, pid of the app."""
    facts: dict[str, Any] = json.loads((settings.sockets / "node.json").read_text(encoding="utf-8"))
    return facts


def say(line: str) -> None:
    """One line for the person who started us, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def serve(settings: Settings, log_file: Path | None) -> int:
    """Runs a node until SIGTERM; the first start prints the console URL and one-time logins.

    SettingsError or TenantError, as `pay-ivr check` would say it, before anything is made or started.
    """
    start_logging(settings.log_level)
    logins = asyncio.run(first_agents(settings, checked_tenants(settings)))
    supervisor = Supervisor(settings, log_file)
    say(f"pay-ivr: data in {settings.data_dir}")
    supervisor.start(lambda name: say(f"pay-ivr: {name} is up"))
    facts = node_facts(settings)
    say(f"pay-ivr: ready. Console {facts['http_url']}   API {facts['http_url']}openapi.json")
    say(f"pay-ivr: SIP {settings.bind_ip} UDP {facts['sip_udp_port']}, TCP {facts['sip_tcp_port']}")
    for login in logins:
        say(f"pay-ivr: agent {login.agent_id}: one-time password {login.password}")
        say(f"pay-ivr: phone {login.agent_id}: SIP password {login.phone_password}  (each shown once)")
    supervisor.run()
    return 0
