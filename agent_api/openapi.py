"""The OpenAPI 3.1 document, made from routes and schemas: it cannot say what the desk does not do."""

import functools
import json
import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from agent_api.auth import COOKIE
from agent_api.desk import Ask, Desk
from agent_api.payments import IDEMPOTENCY_KEY_MAX
from agent_api.problems import CONTENT_TYPE
from agent_api.route import Access, Route
from agent_api.schemas import Nothing, ProblemAnswer

API_VERSION = "1.0.0"
"""Of the API, not of the product: the first number is the one in the paths."""
REF = "#/components/schemas/{model}"
SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.OPEN: [],
    Access.AGENT: [{"login": []}],
    Access.KEY: [{"access_key": []}],
    Access.BOTH: [{"login": []}, {"access_key": []}],
}
DESCRIPTION = (
    "The desk of pay-ivr: calls, payments and the live stream. Amounts are integers in minor units. "
    "With a login cookie every request that changes something needs an Origin header naming this host. "
    "Errors are RFC 9457 problem documents with a stable `code` and the `next_step`."
)


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document."""
    routes = tuple(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "pay-ivr desk", "version": API_VERSION, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": _schemas(routes),
            "securitySchemes": {
                "login": {"type": "apiKey", "in": "cookie", "name": COOKIE},
                "access_key": {"type": "http", "scheme": "bearer"},
            },
        },
    }


async def read_document(desk: Desk, _ask: Ask) -> web.StreamResponse:
    """GET /openapi.json."""
    return web.Response(body=desk.openapi, content_type="application/json")


@functools.cache
def as_bytes(routes: tuple[Route, ...]) -> bytes:
    """The document as it is served; made once."""
    return json.dumps(document(routes), ensure_ascii=False).encode()


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "security": SECURITY[route.access],
        "responses": {
            str(route.status): _result(route),
            "default": {
                "description": "A problem document.",
                "content": {CONTENT_TYPE: {"schema": _ref(ProblemAnswer)}},
            },
        },
    }
    parameters = [_path_parameter(name) for name in re.findall(r"{(\w+)}", route.path)]
    parameters += [_header_parameter(name) for name in route.headers]
    if parameters:
        operation["parameters"] = parameters
    if route.raw:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    elif route.changes:
        operation["requestBody"] = {
            "required": route.body is not Nothing,
            "content": {"application/json": {"schema": _ref(route.body)}},
        }
    return operation


def _result(route: Route) -> dict[str, Any]:
    if route.result is None:
        return {"description": "See the summary."}
    return {
        "description": (route.result.__doc__ or "").strip(),
        "content": {"application/json": {"schema": _ref(route.result)}},
    }


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _header_parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": rf"^[!-~]{{1,{IDEMPOTENCY_KEY_MAX}}}$"}
    return {"name": name, "in": "header", "required": True, "schema": schema}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF.format(model=model.__name__)}


def _schemas(routes: tuple[Route, ...]) -> dict[str, Any]:
    bodies = {route.body for route in routes if route.changes and not route.raw}
    results = {route.result for route in routes if route.result is not None} | {ProblemAnswer}
    named = [(model, "validation") for model in sorted(bodies, key=lambda model: model.__name__)]
    named += [(model, "serialization") for model in sorted(results, key=lambda model: model.__name__)]
    _, definitions = models_json_schema(named, ref_template=REF)  # type: ignore[arg-type]
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas
