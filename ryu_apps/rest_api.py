"""The HTTP shell: the Ryu application that answers REST under /v1."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any, ClassVar, Final

from ryu import cfg
from ryu.app.wsgi import ControllerBase, WSGIApplication, route
from ryu.base import app_manager
from ryu.lib import hub

from ryu_apps.api.application import Api
from ryu_apps.api.http import BODY_LIMIT_BYTES, Request, Response
from ryu_apps.api.problems import BadRequest, LengthRequired, NotStarted, TooLarge, TooSlow, problem
from ryu_apps.model.errors import VfswitchError
from ryu_apps.southbound.context import SwitchContext

LOG = logging.getLogger("vfswitch")

CONF = cfg.CONF
CONF.set_default("wsapi_host", "127.0.0.1")

BODY_TIMEOUT_S: Final = 30.0
_PIECE_BYTES: Final = 64 << 10
# A client that sends somewhat too much is heard to its end, so that it hears why it is refused.
_HEARD_OUT_BYTES: Final = 8 * BODY_LIMIT_BYTES


class RestApi(app_manager.RyuApp):
    """Hands every request under /v1 to the REST application; other paths stay with other apps."""

    _CONTEXTS: ClassVar = {"wsgi": WSGIApplication, "vfswitch": SwitchContext}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._context: SwitchContext = kwargs["vfswitch"]
        self._api: Api | None = None
        kwargs["wsgi"].register(V1, {"answer": self.answer})
        LOG.info("REST on http://%s:%s/v1", CONF.wsapi_host, CONF.wsapi_port)

    def answer(self, request: Request) -> Response:
        """Return the answer to a request."""
        if self._context.service is None:
            return problem(NotStarted("the controller has not started; is the app vswitch launched too?"))
        if self._api is None:
            self._api = Api(self._context.service, _report, hub.Semaphore(1))
        return self._api.handle(request)


def _report(error: Exception) -> str:
    reference = secrets.token_hex(4)
    LOG.error("internal error %s", reference, exc_info=error)
    return reference


class V1(ControllerBase):
    """Every method on /v1 and below."""

    @route("vfswitch", "/v1")
    def root(self, req: Any) -> _Answer:
        """Answer a request for the index."""
        return self._handled(req.environ)

    @route("vfswitch", "/v1/{path:.*}")
    def below(self, req: Any, path: str) -> _Answer:
        """Answer a request for anything else."""
        return self._handled(req.environ)

    def _handled(self, environ: dict[str, Any]) -> _Answer:
        try:
            request = _request(environ)
        except VfswitchError as error:
            return _Answer(problem(error), last=True)
        return _Answer(self.data["answer"](request))


def _request(environ: dict[str, Any]) -> Request:
    """Return the request of a WSGI environment (PEP 3333), its body read."""
    body = b"".join(_body(environ))
    try:
        path = environ["PATH_INFO"].encode("latin-1").decode()
    except UnicodeDecodeError:
        raise BadRequest("the path is not UTF-8") from None
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    return Request(
        method=environ["REQUEST_METHOD"],
        path=path,
        query=environ.get("QUERY_STRING", ""),
        headers={**headers, "content-type": environ.get("CONTENT_TYPE") or ""},
        body=body,
    )


def _body(environ: dict[str, Any]) -> Iterator[bytes]:
    """Yield the pieces of a request's body; refuse a length that is missing, false or above the limit."""
    length = _declared_length(environ)
    if length <= BODY_LIMIT_BYTES:
        yield from _pieces(environ, length)
        return
    if length <= _HEARD_OUT_BYTES and "HTTP_EXPECT" not in environ:
        for _ in _pieces(environ, length):
            pass
    raise TooLarge(f"the body has {length} bytes; the limit is {BODY_LIMIT_BYTES}")


def _declared_length(environ: dict[str, Any]) -> int:
    if environ.get("HTTP_TRANSFER_ENCODING"):
        # Reading chunks would let one client keep the process busy: their sizes and trailers have no limit.
        raise LengthRequired("send the body with a Content-Length, not with a Transfer-Encoding")
    text = environ.get("CONTENT_LENGTH") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadRequest(f"{text[:40]!r} is not a Content-Length")
    return int(text)


def _pieces(environ: dict[str, Any], left: int) -> Iterator[bytes]:
    """Yield `left` bytes of the body; other green threads run in between, however fast the pieces come."""
    try:
        with hub.Timeout(BODY_TIMEOUT_S):
            while left:
                piece = environ["wsgi.input"].read(min(left, _PIECE_BYTES))
                if not piece:
                    raise BadRequest(f"the body ended {left} bytes before its Content-Length")
                yield piece
                left -= len(piece)
                if left:
                    hub.sleep(0)
    except hub.Timeout:
        raise TooSlow(f"the body did not come within {BODY_TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise BadRequest(f"the body could not be read: {error}") from None


class _LastBody(list[bytes]):
    """The body of an answer after which the connection is closed, whatever the client is still sending."""

    def __init__(self, environ: dict[str, Any], body: list[bytes]) -> None:
        super().__init__(body)
        self._socket = environ["wsgi.input"].get_socket()

    def close(self) -> None:
        """Close the connection; the server calls this when the body is sent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class _Answer:
    """A response as a WSGI application; `last` closes the connection behind it."""

    def __init__(self, response: Response, last: bool = False) -> None:
        self._response = response
        self._last = last

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = self._response
        headers = list(response.headers)
        if response.status != HTTPStatus.NO_CONTENT:
            headers.append(("Content-Length", str(len(response.body))))
        start_response(f"{response.status} {HTTPStatus(response.status).phrase}", headers)
        body = [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]
        return _LastBody(environ, body) if self._last else body
