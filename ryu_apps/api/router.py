"""From method and path to a handler."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from ryu_apps.api.access import Needs
from ryu_apps.api.http import JSON, Request, Response
from ryu_apps.api.problems import MethodNotAllowed, NoSuchPath
from ryu_apps.api.query import Parameter
from ryu_apps.api.scalars import Body
from ryu_apps.control.service import Service
from ryu_apps.model.rights import Rights


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that has found its route: the parts of its path, its query, and its body as JSON if it takes one.

    turn is held by one call at a time; rights are the client's.
    """

    service: Service
    rights: Rights
    tokens_in_force: bool
    turn: AbstractContextManager[object]
    path: str
    params: Mapping[str, str]
    query: Mapping[str, Any]
    headers: Mapping[str, str]
    body: Any = None


Handler = Callable[[Call], Response]
"""What answers a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation: where it is, who may ask, what it takes, who answers; the rest is for the OpenAPI document.

    An operation that does not say what it needs is the administrator's.
    """

    method: str
    template: str
    handler: Handler
    summary: str
    needs: Needs = Needs.ADMIN
    query: tuple[Parameter, ...] = ()
    body: type[Body] | None = None
    media: str = JSON
    answers: Mapping[int, str] = field(default_factory=lambda: {200: "What was asked for."})


class Router:
    """A table of routes; HEAD is answered wherever GET is, OPTIONS everywhere."""

    def __init__(self, routes: Iterable[Route]) -> None:
        by_template: dict[tuple[str, ...], dict[str, Route]] = defaultdict(dict)
        for route in routes:
            methods = by_template[tuple(route.template.split("/"))]
            methods[route.method] = route
            if route.method == "GET":
                methods["HEAD"] = route
        self._by_length: dict[int, list[tuple[tuple[str, ...], dict[str, Route]]]] = defaultdict(list)
        for steps, methods in by_template.items():
            methods["OPTIONS"] = _options(methods)
            self._by_length[len(steps)].append((steps, methods))

    def find(self, request: Request) -> tuple[Route, dict[str, str]]:
        """Return the route and the values of its path's names.

        NoSuchPath when no template fits; MethodNotAllowed, with the header Allow, when the method does not.
        """
        given = request.path.split("/")
        for steps, methods in self._by_length.get(len(given), ()):
            params = _values(steps, given)
            if params is None:
                continue
            route = methods.get(request.method)
            if route is None:
                allowed = _allowed(methods)
                raise MethodNotAllowed(f"this path takes {allowed}", headers=(("Allow", allowed),))
            return route, params
        raise NoSuchPath("no resource has this path; GET /v1 tells which there are")


def _options(methods: Mapping[str, Route]) -> Route:
    allowed = _allowed({*methods, "OPTIONS"})

    def answer(_: Call) -> Response:
        return Response(status=204, headers=(("Allow", allowed),))

    return Route(method="OPTIONS", template="", handler=answer, summary="Tell the methods", needs=Needs.READ)


def _allowed(methods: Iterable[str]) -> str:
    return ", ".join(sorted(methods))


def _values(steps: tuple[str, ...], given: list[str]) -> dict[str, str] | None:
    """Return the values of a template's names in a path of as many parts, None when the path does not fit."""
    values: dict[str, str] = {}
    for step, part in zip(steps, given, strict=True):
        if step.startswith("{"):
            if not part:
                return None
            values[step[1:-1]] = part
        elif step != part:
            return None
    return values
