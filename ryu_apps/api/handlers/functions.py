"""Functions and chains as they are asked for, together with what is known of them."""

from __future__ import annotations

from typing import Any

from ryu_apps.api.forms import shown
from ryu_apps.api.http import Response, json_response
from ryu_apps.api.kinds import CHAINS, FUNCTIONS
from ryu_apps.api.paging import page_body, page_of
from ryu_apps.api.router import Call
from ryu_apps.model.policy import Snapshot


def list_functions(call: Call) -> Response:
    """Answer with one page of functions."""
    snapshot = call.service.snapshot()
    ids, more = page_of(snapshot.functions, call.query["after"], call.query["limit"])
    items = [_with_live(call, snapshot, name) for name in ids]
    return json_response(200, page_body(call.path, items, more, call.query))


def get_function(call: Call) -> Response:
    """Answer with one function."""
    snapshot = call.service.snapshot()
    FUNCTIONS.require(snapshot, call.params)
    return json_response(200, _with_live(call, snapshot, call.params["function"]))


def _with_live(call: Call, snapshot: Snapshot, name: str) -> dict[str, Any]:
    function = snapshot.functions[name]
    return {**shown(FUNCTIONS, name, function, snapshot), "live": call.service.functions.health(function)}


def list_chains(call: Call) -> Response:
    """Answer with one page of chains."""
    snapshot = call.service.snapshot()
    ids, more = page_of(snapshot.chains, call.query["after"], call.query["limit"])
    items = [_chain_with_live(call, snapshot, name) for name in ids]
    return json_response(200, page_body(call.path, items, more, call.query))


def get_chain(call: Call) -> Response:
    """Answer with one chain."""
    snapshot = call.service.snapshot()
    CHAINS.require(snapshot, call.params)
    return json_response(200, _chain_with_live(call, snapshot, call.params["chain"]))


def _chain_with_live(call: Call, snapshot: Snapshot, name: str) -> dict[str, Any]:
    chain = snapshot.chains[name]
    return {**shown(CHAINS, name, chain, snapshot), "live": call.service.functions.chain_health(chain)}
