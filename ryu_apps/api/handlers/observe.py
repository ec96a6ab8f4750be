"""What the controller and the switches do: flows, traces, counters."""

from __future__ import annotations

from typing import Final

from ryu_apps.api.http import Response, json_response
from ryu_apps.api.kinds import VPORTS
from ryu_apps.api.metrics import exposition
from ryu_apps.api.paging import page_body
from ryu_apps.api.router import Call
from ryu_apps.api.schemas import TraceBody
from ryu_apps.api.validate import faults_of
from ryu_apps.control.statistics_document import statistics_document
from ryu_apps.model.errors import FieldError, Invalid, NotFound

SCRAPE_AGE_S: Final = 1.0
"""How old the switches' counts may be in a scrape, so that many readers ask them no more than one does."""


def list_flows(call: Call) -> Response:
    """Answer with one page of unified flows, of one vport or of all."""
    vport, limit = call.query["vport"], call.query["limit"]
    if vport is not None:
        VPORTS.require(call.service.snapshot(), {"vport": vport})
    found = list(call.service.flows(vport=vport, after=call.query["after"], limit=limit + 1))
    items = [dict(flow) for flow in found[:limit]]
    return json_response(200, page_body(call.path, items, len(found) > limit, call.query))


def hints(call: Call) -> Response:
    """Answer with the hint list of one vport, or what of it has changed since a version."""
    VPORTS.require(call.service.snapshot(), call.params)
    told = call.service.hints(vport=call.params["vport"], since=call.query["since"], limit=call.query["limit"])
    return json_response(200, told)


def progress(call: Call) -> Response:
    """Answer with how far a change has come."""
    asked = call.params["generation"]
    # Python refuses to read numbers of thousands of digits.
    number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 20 else 0
    if not 0 < number <= call.service.snapshot().generation:
        raise NotFound(f"there was no change with generation {asked!r}")
    found = call.service.progress(number)
    failures = [{"host": host, "message": message} for host, message in found.failures.items()]
    body = {"generation": found.generation, "state": found.state, "waiting_for": list(found.waiting_for)}
    return json_response(200, {**body, "failures": failures})


def trace(call: Call) -> Response:
    """Answer with what would become of a packet."""
    faults = faults_of(TraceBody, call.body)
    if faults:
        raise Invalid("the trace cannot be accepted", faults)
    vport = call.body["vport"]
    if vport not in call.service.snapshot().vports:
        raise Invalid("the trace cannot begin", [FieldError("vport", f"there is no vport {vport!r}")])
    packet = {name: str(value) for name, value in call.body["packet"].items()}
    return json_response(200, call.service.trace(vport=vport, direction=call.body["direction"], packet=packet))


def stats(call: Call) -> Response:
    """Answer with all counts, the switches' as they are now."""
    return json_response(200, statistics_document(call.service.statistics(max_age_s=0.0)))


def metrics(call: Call) -> Response:
    """Answer with all counts in the text format of Prometheus, or OpenMetrics where the reader prefers it."""
    told = call.service.statistics(max_age_s=SCRAPE_AGE_S)
    body, media = exposition(told, call.headers.get("accept", ""), call.service.pause)
    return Response(status=200, headers=(("Content-Type", media),), body=body)
