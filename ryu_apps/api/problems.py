"""Refusals as RFC 9457 problem bodies, and the refusals that only HTTP knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ryu_apps.api.http import Response, json_response
from ryu_apps.model.errors import FieldError, Forbidden, VfswitchError

PROBLEM_JSON: Final = "application/problem+json"
# What a client can still read; the detail says how many there were.
_MAX_FAULTS: Final = 1000
_MAX_MESSAGE: Final = 400


class HttpError(VfswitchError):
    """A request that is wrong as HTTP."""

    def __init__(
        self, message: str, errors: Iterable[FieldError] = (), headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message, errors)
        self.headers = headers


class BadRequest(HttpError):
    """The request cannot be read: not JSON, or a query parameter that does not exist or has no such value."""

    slug = "bad-request"
    status = 400


class Unauthorized(HttpError):
    """The request carries no token, or none that is known; the header says how to send one (RFC 6750 section 3)."""

    slug = "unauthorized"
    status = 401

    def __init__(self, message: str, error: str | None = None) -> None:
        super().__init__(message, headers=_challenge(error))


class NoSuchPath(HttpError):
    """No resource can have this path."""

    slug = "not-found"
    status = 404


class MethodNotAllowed(HttpError):
    """The path does not know this method."""

    slug = "method-not-allowed"
    status = 405


class TooSlow(HttpError):
    """The request did not come whole in time."""

    slug = "too-slow"
    status = 408


class LengthRequired(HttpError):
    """The request's body came without its length."""

    slug = "length-required"
    status = 411


class TooLarge(HttpError):
    """The request's body is longer than the limit."""

    slug = "too-large"
    status = 413


class UnsupportedMedia(HttpError):
    """The request's body is not declared as JSON."""

    slug = "unsupported-media-type"
    status = 415


class NotStarted(HttpError):
    """The controller is not up yet."""

    slug = "not-started"
    status = 503


def problem(error: VfswitchError) -> Response:
    """Return the problem body of a refusal."""
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, HttpError):
        headers = error.headers
    elif isinstance(error, Forbidden):
        headers = _challenge("insufficient_scope")
    return _problem(error.slug, error.status, error.message, error.errors, headers)


def internal_problem(reference: str) -> Response:
    """Return the answer to a fault of our own: only the reference under which it was logged."""
    return _problem("internal", 500, f"an internal error; it was logged as {reference}", (), ())


def _problem(
    slug: str, status: int, detail: str, errors: tuple[FieldError, ...], headers: tuple[tuple[str, str], ...]
) -> Response:
    if len(errors) > _MAX_FAULTS:
        detail = f"{detail} (the first {_MAX_FAULTS} of {len(errors)} faults)"
    body: dict[str, Any] = {
        "type": f"urn:vfswitch:problem:{slug}",
        "title": slug.replace("-", " ").capitalize(),
        "status": status,
        "detail": _short(detail),
        "errors": [{"path": _short(fault.path), "message": _short(fault.message)} for fault in errors[:_MAX_FAULTS]],
    }
    return json_response(status, body, headers, PROBLEM_JSON)


def _challenge(error: str | None) -> tuple[tuple[str, str], ...]:
    """Return the header that asks for a token, with the word of RFC 6750 section 3.1 for what is wrong with the one."""
    reason = "" if error is None else f', error="{error}"'
    return (("WWW-Authenticate", f'Bearer realm="vfswitch"{reason}'),)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}…"
