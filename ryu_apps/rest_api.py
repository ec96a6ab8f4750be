"""The HTTP shell: the Ryu application that answers REST under /v1."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import unquote_to_bytes

from ryu import cfg
from ryu.app.wsgi import ControllerBase, WSGIApplication, route
from ryu.base import app_manager
from ryu.lib import hub

from ryu_apps.api.application import Api
from ryu_apps.api.http import BODY_LIMIT_BYTES, Request, Response
from ryu_apps.api.problems import BadRequest, LengthRequired, NotStarted, TooLarge, TooSlow, problem
from ryu_apps.model.errors import VfswitchError
from ryu_apps.model.tokens import Tokens
from ryu_apps.northbound.server import Late, serve
from ryu_apps.southbound.context import SwitchContext
from ryu_apps.store.errors import StoreError
from ryu_apps.store.token_file import read_tokens

LOG = logging.getLogger("vfswitch")

CONF = cfg.CONF
CONF.register_opts([cfg.StrOpt("vfswitch_tokens", default=None, help="file that lists who may use REST")])
CONF.set_default("wsapi_host", "127.0.0.1")

_PIECE_BYTES: Final = 64 << 10
# A client that is refused before its body was read is heard to its end, so that it hears why.
_HEARD_OUT_BYTES: Final = 8 * BODY_LIMIT_BYTES


def tokens_in_force() -> Tokens | None:
    """Return the tokens of the file named by the option or the environment; None when neither names one.

    SystemExit with the reason when the file cannot be accepted, or REST would be open to more than this machine.
    """
    named = CONF.vfswitch_tokens or os.environ.get("VFSWITCH_TOKENS")
    if named:
        try:
            return read_tokens(Path(named))
        except StoreError as error:
            raise SystemExit(f"vfswitch cannot start: {error.message}") from None
    if not _is_loopback(CONF.wsapi_host):
        raise SystemExit(
            f"vfswitch cannot start: without a token file REST is for this machine alone, but wsapi_host is"
            f" {CONF.wsapi_host!r}; name a token file by vfswitch_tokens or VFSWITCH_TOKENS, or listen on 127.0.0.1"
        )
    return None


def _is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address; of names, `localhost` alone (RFC 6761 section 6.3)."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class RestApi(app_manager.RyuApp):
    """Hands every request under /v1, and for /metrics, to the REST application; other paths stay with other apps."""

    _CONTEXTS: ClassVar = {"wsgi": WSGIApplication, "vfswitch": SwitchContext}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._context: SwitchContext = kwargs["vfswitch"]
        self._api: Api | None = None
        self._tokens = tokens_in_force()
        kwargs["wsgi"].register(V1, {"answer": self.answer})
        hub.WSGIServer.serve_forever = serve
        who = "no token is asked for" if self._tokens is None else f"tokens in force: {len(self._tokens)}"
        LOG.info("REST on http://%s:%s/v1, %s", CONF.wsapi_host, CONF.wsapi_port, who)
        if not _is_loopback(CONF.wsapi_host):
            LOG.warning("REST has no TLS: whoever reads along on the network learns the tokens")

    def answer(self, request: Request) -> Response:
        """Return the answer to a request."""
        if self._context.service is None:
            return problem(NotStarted("the controller has not started; is the app vswitch launched too?"))
        if self._api is None:
            self._api = Api(self._context.service, _report, hub.Semaphore(1), self._tokens)
        return self._api.handle(request)


def _report(error: Exception) -> str:
    reference = secrets.token_hex(4)
    LOG.error("internal error %s", reference, exc_info=error)
    return reference


class V1(ControllerBase):
    """Every method on /v1 and below, and on /metrics."""

    @route("vfswitch", "/v1")
    def root(self, req: Any) -> _Answer:
        """Answer a request for the index."""
        return self._handled(req.environ)

    @route("vfswitch", "/metrics")
    def metrics(self, req: Any) -> _Answer:
        """Answer a scrape."""
        return self._handled(req.environ)

    @route("vfswitch", "/v1/{path:.*}")
    def below(self, req: Any, path: str) -> _Answer:
        """Answer a request for anything else."""
        return self._handled(req.environ)

    def _handled(self, environ: dict[str, Any]) -> _Answer:
        body = _Body(environ)
        try:
            response = self.data["answer"](_request(environ, body))
        except VfswitchError as error:
            response = problem(error)
        return _Answer(response, body)


def _request(environ: dict[str, Any], body: _Body) -> Request:
    """Return the request of a WSGI environment (PEP 3333)."""
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    return Request(
        method=environ["REQUEST_METHOD"],
        path=_path(environ),
        query=environ.get("QUERY_STRING", ""),
        headers={**headers, "content-type": environ.get("CONTENT_TYPE") or ""},
        body=body.read,
    )


class _Body:
    """The body of a request, which comes when it is asked for."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        self._begun = False
        self._at_end = False

    def read(self) -> bytes:
        """Return the body; refuse a length that is missing, false or above the limit."""
        length = _declared_length(self._environ)
        if length > BODY_LIMIT_BYTES:
            raise TooLarge(f"the body has {length} bytes; the limit is {BODY_LIMIT_BYTES}")
        return b"".join(self._pieces(length))

    def is_over(self) -> bool:
        """Return whether nothing of the body is still to come; one that nobody read is heard out, in moderation."""
        if not self._begun:
            with suppress(VfswitchError):
                length = _declared_length(self._environ)
                if length <= _HEARD_OUT_BYTES and "HTTP_EXPECT" not in self._environ:
                    for _ in self._pieces(length):
                        pass
        return self._at_end

    def cut_off(self) -> None:
        """Close the connection, whatever the client is still sending."""
        with suppress(OSError):
            self._environ["wsgi.input"].get_socket().shutdown(socket.SHUT_RDWR)

    def _pieces(self, length: int) -> Iterator[bytes]:
        self._begun = True
        yield from _pieces(self._environ, length)
        self._at_end = True


def _path(environ: dict[str, Any]) -> str:
    """Return the decoded path, in which an encoded slash stays encoded: it is part of a name (RFC 3986 section 2.2).

    The server's own PATH_INFO has lost the difference, and would let one name lead to another resource.
    """
    try:
        parts = [unquote_to_bytes(part).decode() for part in environ["RAW_PATH_INFO"].encode("latin-1").split(b"/")]
    except UnicodeDecodeError:
        raise BadRequest("the path is not UTF-8") from None
    return "/".join(part.replace("/", "%2F") for part in parts)


def _declared_length(environ: dict[str, Any]) -> int:
    if environ.get("HTTP_TRANSFER_ENCODING"):
        # Reading chunks would let one client keep the process busy: their sizes and trailers have no limit.
        raise LengthRequired("send the body with a Content-Length, not with a Transfer-Encoding")
    if sum(name.lower() == "content-length" for name, _ in environ["headers_raw"]) > 1:
        # Whoever reads the other one sees another request begin (RFC 9112 section 6.3).
        raise BadRequest("there is more than one Content-Length")
    text = environ.get("CONTENT_LENGTH") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadRequest(f"{text[:40]!r} is not a Content-Length")
    return int(text)


def _pieces(environ: dict[str, Any], left: int) -> Iterator[bytes]:
    """Yield `left` bytes of the body; other green threads run in between, however fast the pieces come."""
    length = left
    try:
        while left:
            piece = environ["wsgi.input"].read(min(left, _PIECE_BYTES))
            if not piece:
                raise BadRequest(f"the body ended {left} bytes before its Content-Length")
            yield piece
            left -= len(piece)
            if left:
                hub.sleep(0)
    except Late:
        raise TooSlow(f"{left} bytes of {length} did not come in time") from None
    except OSError as error:
        raise BadRequest(f"the body could not be read: {error}") from None


class _AnswerBody(list[bytes]):
    """The body of an answer; behind it the connection is closed when the request's own body has not ended."""

    def __init__(self, content: bytes, request_body: _Body) -> None:
        super().__init__([content] if content else [])
        self._request_body = request_body

    def close(self) -> None:
        """Make the connection ready for the next request, or close it; the server calls this when all is sent."""
        if not self._request_body.is_over():
            self._request_body.cut_off()


class _Answer:
    """A response to a request with a body, as a WSGI application."""

    def __init__(self, response: Response, request_body: _Body) -> None:
        self._response = response
        self._request_body = request_body

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = self._response
        headers = list(response.headers)
        if response.status != HTTPStatus.NO_CONTENT:
            headers.append(("Content-Length", str(len(response.body))))
        start_response(f"{response.status} {HTTPStatus(response.status).phrase}", headers)
        return _AnswerBody(b"" if environ["REQUEST_METHOD"] == "HEAD" else response.body, self._request_body)
