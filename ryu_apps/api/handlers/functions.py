"""Functions and chains as they are asked for, together with what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ryu_apps.api.forms import shown
from ryu_apps.api.http import Response, json_response
from ryu_apps.api.kinds import Kind
from ryu_apps.api.paging import page_body, page_of
from ryu_apps.api.router import Call
from ryu_apps.model.chain import Chain, Function
from ryu_apps.model.policy import Resource


def list_all(kind: Kind, call: Call) -> Response:
    """Answer with one page of functions or chains."""
    members = kind.members(call.service.snapshot(), call.params)
    ids, more = page_of(members, call.query["after"], call.query["limit"])
    items = [_with_live(kind, call, name, members[name]) for name in ids]
    return json_response(200, page_body(call.path, items, more, call.query))


def get(kind: Kind, call: Call) -> Response:
    """Answer with one function or chain."""
    found = kind.require(call.service.snapshot(), call.params)
    return json_response(200, _with_live(kind, call, call.params[kind.one], found))


def _with_live(kind: Kind, call: Call, name: str, resource: Resource) -> dict[str, Any]:
    return {**shown(kind, name, resource, call.service.snapshot()), "live": _live(call, resource)}


def _live(call: Call, resource: Resource) -> Mapping[str, Any] | None:
    match resource:
        case Function():
            return call.service.functions.health(resource)
        case Chain():
            return call.service.functions.chain_health(resource)
    return None
