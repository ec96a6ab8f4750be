"""The whole of REST as one object: handle a request, answer with a response, never raise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from ryu_apps.api.access import Needs, check_needs, rights_of
from ryu_apps.api.body import read_json
from ryu_apps.api.http import Request, Response
from ryu_apps.api.problems import internal_problem, problem
from ryu_apps.api.query import read_query
from ryu_apps.api.router import Call, Router
from ryu_apps.api.routes import ROUTES
from ryu_apps.control.service import Service
from ryu_apps.model.errors import VfswitchError
from ryu_apps.model.rights import ALL_RIGHTS
from ryu_apps.model.tokens import Tokens


class Api:
    """Answers requests from a service.

    report is given every exception that is not a refusal; it logs it and returns the reference under which it did.
    turn is a lock of the kind that the caller's threads need; requests that must not run side by side hold it.
    tokens are those that let a client in; with None everyone has all rights.
    """

    def __init__(
        self,
        service: Service,
        report: Callable[[Exception], str],
        turn: AbstractContextManager[object],
        tokens: Tokens | None,
    ) -> None:
        self._service = service
        self._tokens = tokens
        self._turn = turn
        self._report = report
        self._router = Router(ROUTES)

    def handle(self, request: Request) -> Response:
        """Return the answer to a request; a fault of our own is a 500 with a reference and nothing else."""
        try:
            return self._answer(request)
        except VfswitchError as error:
            return problem(error)
        except Exception as error:  # the one catch-all: nothing of a fault may reach the client
            return internal_problem(self._report(error))

    def _answer(self, request: Request) -> Response:
        route, params = self._router.find(request)
        rights = ALL_RIGHTS if route.needs is Needs.NOTHING else rights_of(request.headers, self._tokens)
        check_needs(route.needs, rights, params, self._service.snapshot())
        query = read_query(request.query, route.query)
        # Read only now, so that nobody's body is held who may not send one; and always, as the next request is behind.
        body = request.body()
        call = Call(
            service=self._service,
            rights=rights,
            tokens_in_force=self._tokens is not None,
            turn=self._turn,
            path=request.path,
            params=params,
            query=query,
            headers=request.headers,
            body=None if route.body is None else read_json(request, body),
        )
        return route.handler(call)
