"""Hosts as they are asked for, together with what is known of their datapaths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ryu_apps.api.forms import shown
from ryu_apps.api.http import Response, json_response
from ryu_apps.api.kinds import HOSTS
from ryu_apps.api.paging import page_body, page_of
from ryu_apps.api.router import Call
from ryu_apps.model.policy import Snapshot


def list_hosts(call: Call) -> Response:
    """Answer with one page of hosts, and the datapaths that connected without being registered."""
    snapshot = call.service.snapshot()
    live = list(call.service.hosts())
    ids, more = page_of(snapshot.hosts, call.query["after"], call.query["limit"])
    items = [_with_live(snapshot, name, live) for name in ids]
    body = page_body(call.path, items, more, call.query)
    unregistered = [_without_id(state) for state in live if state.get("id") is None]
    return json_response(200, {**body, "unregistered": unregistered})


def get_host(call: Call) -> Response:
    """Answer with one host."""
    snapshot = call.service.snapshot()
    HOSTS.require(snapshot, call.params)
    return json_response(200, _with_live(snapshot, call.params["host"], list(call.service.hosts())))


def _with_live(snapshot: Snapshot, name: str, live: list[Mapping[str, Any]]) -> dict[str, Any]:
    state = next((_without_id(state) for state in live if state.get("id") == name), None)
    return {**shown(HOSTS, name, snapshot.hosts[name], snapshot), "live": state}


def _without_id(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "id"}
