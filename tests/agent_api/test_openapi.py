"""The OpenAPI document says what the desk does: compared by table, and tried by schemathesis."""

import asyncio
from typing import Any

import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS

from agent_api.application import setup
from agent_api.console import FOLDER
from agent_api.links import THANKS_PATH
from agent_api.member_web import ASKED
from agent_api.openapi import document
from agent_api.pages import STYLE_PATH
from agent_api.routes import ROUTES
from tests.agent_api.conftest import DeskHouse, problem

EXAMPLES_PER_OPERATION = 5
"""Keeps the run short; `make proof` may raise it."""


def test_every_route_is_in_the_document_and_nothing_else() -> None:
    """One operation per route of the table."""
    told = {
        (method.upper(), path)
        for path, operations in document(ROUTES)["paths"].items()
        for method in operations
    }
    assert told == {(route.method, route.path) for route in ROUTES}


async def test_the_router_serves_the_table_and_the_console_only(house: DeskHouse) -> None:
    """No route exists beside the document but the console's own files."""
    application: web.Application = setup(
        switchboard=house.board,  # type: ignore[arg-type]
        door=house.door,
        store=house.store,
        codes=house.codes,
        catalogue=None,  # type: ignore[arg-type]
        tenants={},
        outgoing=house.outgoing,
    )
    served = {(route.method, route.resource.canonical) for route in application.router.routes()}
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    console = {("GET", "/console/" + name) for name in files - {"index.html"}} | {("GET", "/")}
    page = {("GET", STYLE_PATH), ("GET", THANKS_PATH), ("GET", "/pay/{token}"), ("POST", "/pay/{token}")}
    member = {("GET", f"/m/{name}") for name in ("page.css", "page.js", "{tenant}", "{tenant}/account")}
    member |= {("POST", f"/m/{{tenant}}/{name}") for name in ASKED}
    assert served - console - page - member == {(route.method, route.path) for route in ROUTES}
    assert console <= served


def test_the_document_holds_together() -> None:
    """Every reference has its schema, every operation its own id and the problem document."""
    made = document(ROUTES)
    schemas = made["components"]["schemas"]
    operations = [one for methods in made["paths"].values() for one in methods.values()]
    ids = [one["operationId"] for one in operations]
    assert made["openapi"] == "3.1.0"
    assert len(set(ids)) == len(ids)
    assert {ref.rpartition("/")[2] for ref in _references(made)} <= set(schemas)
    assert all("application/problem+json" in one["responses"]["default"]["content"] for one in operations)


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        return {node["$ref"]} if "$ref" in node else set().union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


async def test_the_document_is_not_open(house: DeskHouse) -> None:
    """Who may not use the desk need not know its routes."""
    await problem(await house.http.get(house.url + "/openapi.json"), 401, "login_needed")
    assert (await (await house.get("/openapi.json")).json())["openapi"] == "3.1.0"


async def test_schemathesis_finds_no_difference(money_house: DeskHouse) -> None:
    """Made requests, right and wrong, over the real socket: no 5xx, no answer outside the document."""
    money_house.board.bridge("demo", "agent1")
    headers = await money_house.log_in()
    await asyncio.to_thread(_try_document, money_house.url, headers)


def _try_document(url: str, headers: dict[str, str]) -> None:
    schema = schemathesis.openapi.from_dict(document(ROUTES))
    schema.config.update(base_url=url)
    checks = [
        CHECKS.get_one(name)
        for name in (
            "not_a_server_error",
            "status_code_conformance",
            "content_type_conformance",
            "response_schema_conformance",
            "negative_data_rejection",
        )
    ]
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in {"/v1/logout", "/v1/stream"}:
            continue

        @settings(
            max_examples=EXAMPLES_PER_OPERATION,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def try_one(case: Any) -> None:
            case.call_and_validate(headers=headers, checks=checks)

        try_one()
