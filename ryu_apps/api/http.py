"""HTTP messages as values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

JSON: Final = "application/json"
TEXT: Final = "text/plain"
# A group of 10,000 rules takes about 2 MiB.
BODY_LIMIT_BYTES: Final = 8 << 20
# So many connections are served at a time, others wait.
PLACES = 1024
# A connection on which no request begins for so long is closed; a header that has begun comes in the same time.
SILENT_S = 120.0
# What a body may take, of a request or an answer: this, and on top of it what it takes at the least rate.
PATIENCE_S = 30.0
LEAST_BYTES_PER_S: Final = 32 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came; path is percent-decoded but for %2F, query is not, header names are in lower case.

    body reads the body when it is asked for, once; it raises errors of the tree in model.errors.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], bytes] = bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer; for HEAD the shell leaves out the body, not its length."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def json_response(status: int, value: Any, headers: tuple[tuple[str, str], ...] = (), media: str = JSON) -> Response:
    """Return the answer with a value as JSON on one line."""
    body = json.dumps(value).encode() + b"\n"
    return Response(status=status, headers=(("Content-Type", media), *headers), body=body)
