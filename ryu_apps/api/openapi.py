"""The OpenAPI 3.1 document, made from the table of routes and the schemas that check requests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from ryu_apps.api.access import Needs
from ryu_apps.api.http import JSON
from ryu_apps.api.problems import PROBLEM_JSON
from ryu_apps.api.query import DRY_RUN, Parameter
from ryu_apps.api.router import Route
from ryu_apps.api.scalars import Body
from ryu_apps.api.schemas import OutcomeBody, ProblemBody
from ryu_apps.model.documents import ID_PATTERN

_REFERENCE: Final = "#/components/schemas/{model}"
_REFUSALS: Final = {
    400: "Not JSON, or a query parameter that does not exist or has no such value.",
    401: "No token, or none that is known.",
    403: "The token's rights are not enough; nothing was changed.",
    404: "No such resource.",
    409: "It contradicts what exists.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "A field's value cannot be accepted.",
    500: "An internal error, logged under the reference given.",
    502: "The switch refused it; the change was undone.",
    503: "A switch that the change needs is not connected; nothing was changed.",
    504: "The switch did not confirm in time.",
}
_SCHEME: Final = "token"


def openapi_document(routes: Iterable[Route], tokens_in_force: bool) -> dict[str, Any]:
    """Return the document as JSON values; with tokens in force it says which operations need one."""
    routes = tuple(routes)
    bodies: list[type[Body]] = [OutcomeBody, ProblemBody, *(route.body for route in routes if route.body is not None)]
    _, definitions = models_json_schema([(body, "validation") for body in bodies], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route, tokens_in_force)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "vfswitch", "version": "1", "summary": "Policy for the embedded switch of an SR-IOV card."},
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }
    if tokens_in_force:
        document["components"]["securitySchemes"] = {_SCHEME: {"type": "http", "scheme": "bearer"}}
        document["security"] = [{_SCHEME: []}]
    return document


def _operation(route: Route, tokens_in_force: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "parameters": [*_path_parameters(route.template), *map(_query_parameter, route.query)],
        "responses": {str(status): _answer(text, route) for status, text in route.answers.items()},
    }
    if DRY_RUN in route.query:
        operation["parameters"].append(_PREFER)
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": _reference(route.body)}}}
    if tokens_in_force and route.needs is Needs.NOTHING:
        operation["security"] = []
    for status in _refusals(route, tokens_in_force):
        operation["responses"][str(status)] = {
            "description": _REFUSALS[status],
            "content": {PROBLEM_JSON: {"schema": _reference(ProblemBody)}},
        }
    return operation


def _operation_id(route: Route) -> str:
    words = re.findall(r"[a-z]+", route.template.removeprefix("/v1"))
    return "-".join([route.method.lower(), *words])


def _refusals(route: Route, tokens_in_force: bool) -> Iterable[int]:
    yield from (400, 500)
    if tokens_in_force and route.needs is not Needs.NOTHING:
        yield from (401, 403)
    if "{" in route.template:
        yield 404
    if route.body is not None:
        yield from (413, 415, 422)
    if DRY_RUN in route.query:
        yield from (409, 502, 503, 504)


_PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "description": "With respond-async the answer does not wait for the switches (RFC 7240).",
    "schema": {"type": "string"},
}


def _path_parameters(template: str) -> list[dict[str, Any]]:
    schema = {"type": "string", "pattern": f"^{ID_PATTERN}$"}
    names = re.findall(r"{(\w+)}", template)
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.text,
        "schema": dict(parameter.schema),
    }


def _reference(body: type[Body]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=body.__name__)}


def _answer(text: str, route: Route) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object" if route.media == JSON else "string"}
    if DRY_RUN in route.query:
        schema = {"type": "object", "properties": {"outcome": _reference(OutcomeBody)}, "required": ["outcome"]}
    return {"description": text, "content": {route.media: {"schema": schema}}}
