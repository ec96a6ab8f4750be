"""Checking a body against its schema, with the path of every fault."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ryu_apps.api.schema_types import Body
from ryu_apps.model.errors import FieldError
from ryu_apps.model.nic_limits import ACTION_NAMES

# Alternatives that pydantic names in a location although no such name stands in the body.
_ALTERNATIVES: Final = {"action": set(ACTION_NAMES), "applies_to": {"all", "one"}}


def faults_of(schema: type[Body], value: Any) -> list[FieldError]:
    """Return all that is wrong with a value's names, types and ranges; an empty list when nothing is."""
    try:
        schema.model_validate(value)
    except ValidationError as error:
        return [_fault(detail) for detail in error.errors(include_url=False, include_input=False)]
    return []


def _fault(detail: ErrorDetails) -> FieldError:
    path = _path(detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            return FieldError(path, "unknown field")
        case "missing":
            return FieldError(path, "is required")
        case "union_tag_not_found":
            return FieldError(f"{path}.type", "is required")
        case "union_tag_invalid":
            return FieldError(f"{path}.type", f"must be one of {detail['ctx']['expected_tags']}")
        case "value_error":
            return FieldError(path, str(detail["ctx"]["error"]))
        case "model_type" | "model_attributes_type":
            return FieldError(path, "must be a JSON object")
    return FieldError(path, detail["msg"].replace("Input should be", "must be"))


def _path(location: tuple[int | str, ...]) -> str:
    path, before = "", ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in _ALTERNATIVES.get(before, ()):
            path += f".{step}" if path else step
        before = str(step)
    return path
