"""Logging in and out, who I am, and the words of the console."""

from datetime import timedelta

from aiohttp import web

from agent_api.auth import COOKIE
from agent_api.desk import Ask, Desk, TenantDesk
from agent_api.labels import labels_of
from agent_api.problems import DeskError
from agent_api.schemas import AgentAnswer, HealthAnswer, LabelsAnswer, LoginBody
from pay_ivr.people import LOGIN_AGE_MS_MAX, Agent

NO_TENANT = TenantDesk(name="", languages=(), currencies=(), purposes=())
"""A tenant whose file is gone: its agents can still log out."""


async def agent_answer(desk: Desk, agent: Agent) -> AgentAnswer:
    """Who is logged in, with what his tenant offers and what he may do."""
    tenant = desk.tenants.get(agent.tenant, NO_TENANT)
    return AgentAnswer(
        agent_id=agent.agent_id,
        tenant=agent.tenant,
        tenant_name=tenant.name,
        language=agent.language,
        languages=tenant.languages,
        currencies=tenant.currencies,
        purposes=tenant.purposes,
        channels=desk.channels.media_of(agent.tenant) if tenant.links else (),
        media=desk.channels.media_of(agent.tenant),
        may=tuple(sorted(await desk.store.permissions(f"agent:{agent.agent_id}"))),
    )


async def log_in(desk: Desk, ask: Ask) -> web.StreamResponse:
    """POST /v1/login: sets the cookie."""
    body = ask.body
    assert isinstance(body, LoginBody)
    wait_s = desk.logins.take(ask.network, desk.now())
    if wait_s is not None:
        raise DeskError("rate_limited", retry_after_s=wait_s)
    login = await desk.doorman.log_in(body.user, body.password, body.new_password, desk.now_ms, ask.origin)
    answer = web.json_response(text=(await agent_answer(desk, login.agent)).model_dump_json())
    answer.set_cookie(
        COOKIE,
        login.login_id,
        max_age=int(timedelta(milliseconds=LOGIN_AGE_MS_MAX).total_seconds()),
        path="/",
        secure=True,
        httponly=True,
        samesite="Strict",
    )
    return answer


async def log_out(desk: Desk, ask: Ask) -> web.StreamResponse:
    """POST /v1/logout: the login is gone on the server, its consoles are closed."""
    gone = await agent_answer(desk, ask.agent)
    await desk.store.end_login(ask.who.login_sha256, ask.agent, desk.now_ms)
    await desk.streams.end_login(ask.who)
    answer = web.json_response(text=gone.model_dump_json())
    answer.set_cookie(COOKIE, "", max_age=0, path="/", secure=True, httponly=True, samesite="Strict")
    return answer


async def who_am_i(desk: Desk, ask: Ask) -> AgentAnswer:
    """GET /v1/me."""
    return await agent_answer(desk, ask.agent)


async def read_labels(desk: Desk, ask: Ask) -> LabelsAnswer:
    """GET /v1/labels/{language}: the console's own texts and the catalogue's, in one piece."""
    language = ask.part("language")
    if language not in desk.catalogue.tags:
        raise DeskError("language_unknown")
    return LabelsAnswer(language=language, labels={**labels_of(language), **desk.catalogue.labels(language)})


async def health(_desk: Desk, _ask: Ask) -> HealthAnswer:
    """GET /healthz: the process answers; it says nothing about calls."""
    return HealthAnswer(status="ok")
