"""Checking a body against its schema, with the path of every fault."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ryu_apps.api.rule_schemas import MOST_RULES
from ryu_apps.api.scalars import Body
from ryu_apps.model.errors import FieldError
from ryu_apps.model.nic_limits import ACTION_NAMES
from ryu_apps.model.turns import AT_ONCE, Pause, no_pause

# The field of a body that may hold many values, each looked at by itself.
_MANY: Final = "rules"
# Alternatives that pydantic names in a location although no such name stands in the body.
_ALTERNATIVES: Final = {"action": set(ACTION_NAMES), "applies_to": {"all", "one"}, "hairpin": {"vlan", "mac"}}
# What pydantic adds to the location of a name in an object where the name itself is at fault.
_KEY: Final = ("[key]",)
# The field that tells alternatives apart, where it is not `type`.
_TAGS: Final = {"hairpin": "steering"}


def faults_of(schema: type[Body], value: Any, pause: Pause = no_pause) -> list[FieldError]:
    """Return all that is wrong with a value's names, types and ranges; an empty list when nothing is.

    Many rules are looked at some at a time, with pauses between.
    """
    rules = value.get(_MANY) if isinstance(value, dict) else None
    if not isinstance(rules, list) or not AT_ONCE < len(rules) <= MOST_RULES:
        return _faults_at_once(schema, value)
    found: list[FieldError] = []
    for start in range(0, len(rules), AT_ONCE):
        found += _faults_at_once(schema, {**value, _MANY: rules[start : start + AT_ONCE]}, start)
        pause()
    return found


def _faults_at_once(schema: type[Body], value: Any, start: int = 0) -> list[FieldError]:
    """Return what is wrong with a value; from `start` on only what is wrong with its rules, numbered from there."""
    try:
        schema.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return [_fault(detail, start) for detail in details if not start or detail["loc"][:-1][:1] == (_MANY,)]
    return []


def _fault(detail: ErrorDetails, start: int) -> FieldError:
    location = detail["loc"]
    if start and isinstance(location[1], int):
        location = (_MANY, start + location[1], *location[2:])
    if location[-1:] == _KEY and detail["type"] != "extra_forbidden":
        location = location[:-1]
    path = _path(location)
    match detail["type"]:
        case "extra_forbidden":
            return FieldError(path, "unknown field")
        case "missing":
            return FieldError(path, "is required")
        case "union_tag_not_found":
            return FieldError(f"{path}.type", "is required")
        case "union_tag_invalid":
            tag = _TAGS.get(path, "type")
            return FieldError(f"{path}.{tag}", f"must be one of {detail['ctx']['expected_tags']}")
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
