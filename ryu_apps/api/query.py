"""Query parameters: what each route takes, read and checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from ryu_apps.api.problems import BadRequest
from ryu_apps.model.documents import ID_PATTERN, parse_id
from ryu_apps.model.errors import FieldError


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One query parameter; parse raises ValueError; schema and text are for the OpenAPI document."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    text: str
    schema: Mapping[str, Any]


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and low <= int(text) <= high):
            raise ValueError(f"is a number from {low} to {high}")
        return int(text)

    return parse


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("is true or false")
    return text == "true"


_VERSION: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20}){2}", re.ASCII)


def _version(text: str) -> str:
    if not _VERSION.fullmatch(text):
        raise ValueError("is a version as the last answer gave it")
    return text


_ID_SCHEMA: Final = {"type": "string", "pattern": f"^{ID_PATTERN}$"}

LIMIT: Final = Parameter(
    name="limit",
    parse=_integer(1, 1000),
    default=100,
    text="How many items the answer holds at most.",
    schema={"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
)
AFTER: Final = Parameter(
    name="after",
    parse=parse_id,
    default="",
    text="The id of the last item already seen.",
    schema=_ID_SCHEMA,
)
AFTER_FLOW: Final = Parameter(
    name="after",
    parse=_integer(0, 2**63 - 1),
    default=0,
    text="The id of the last flow already seen.",
    schema={"type": "integer", "minimum": 0, "default": 0},
)
SINCE: Final = Parameter(
    name="since",
    parse=_version,
    default="",
    text="The version of the last answer; only what has changed since then is told.",
    schema={"type": "string", "pattern": f"^{_VERSION.pattern}$"},
)
VPORT: Final = Parameter(
    name="vport",
    parse=parse_id,
    default=None,
    text="Only the flows that pass this vport.",
    schema=_ID_SCHEMA,
)
DRY_RUN: Final = Parameter(
    name="dry_run",
    parse=_flag,
    default=False,
    text="With true nothing is changed; the outcome's difference says what would be.",
    schema={"type": "boolean", "default": False},
)

FORCE: Final = Parameter(
    name="force",
    parse=_flag,
    default=False,
    text="With true it is done although connections lose their way: they go through what is taken away.",
    schema={"type": "boolean", "default": False},
)


def read_query(text: str, known: tuple[Parameter, ...]) -> dict[str, Any]:
    """Return every parameter's value by name, its default where it is not given; BadRequest names all faults."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError as error:
        raise BadRequest(f"the query cannot be read: {error}") from None
    table = {parameter.name: parameter for parameter in known}
    values = {parameter.name: parameter.default for parameter in known}
    faults: list[FieldError] = []
    seen: set[str] = set()
    for name, value in pairs:
        parameter = table.get(name)
        try:
            if parameter is None:
                raise ValueError(f"unknown parameter; known are {', '.join(table) or 'none'}")
            if name in seen:
                raise ValueError("is given twice")
            seen.add(name)
            values[name] = parameter.parse(value)
        except ValueError as error:
            faults.append(FieldError(f"query.{name}", str(error)))
    if faults:
        raise BadRequest("the query cannot be accepted", faults)
    return values
