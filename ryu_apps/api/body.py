"""Reading a request's body as strict JSON (RFC 8259)."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from ryu_apps.api.http import BODY_LIMIT_BYTES, JSON, Request
from ryu_apps.api.problems import BadRequest, TooLarge, UnsupportedMedia

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json(request: Request, body: bytes) -> Any:
    """Return the value of a request's body, which is JSON.

    Refused: a body over the limit (413), one not declared as JSON (415), and what is not JSON (400):
    bad UTF-8, a name given twice, NaN, text that is not Unicode, nesting too deep to read.
    """
    if len(body) > BODY_LIMIT_BYTES:
        raise TooLarge(f"the body is longer than {BODY_LIMIT_BYTES} bytes")
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != JSON:
        raise UnsupportedMedia(f"send the body with Content-Type: {JSON}, not {declared or 'none'}")
    try:
        value = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {twice!r} is given twice in one object")
    return made


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")
