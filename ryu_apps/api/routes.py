"""The table of all operations under /v1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any, Final

from ryu_apps.api.access import Needs
from ryu_apps.api.handlers import functions, hairpins, hosts, observe, resources
from ryu_apps.api.http import TEXT, Response, json_response
from ryu_apps.api.kinds import CHAINS, FUNCTIONS, HOSTS, KINDS, VPORTS, Kind
from ryu_apps.api.openapi import openapi_document
from ryu_apps.api.provision_schemas import ProvisionBody
from ryu_apps.api.query import AFTER, AFTER_FLOW, DRY_RUN, FORCE, LIMIT, SINCE, VPORT
from ryu_apps.api.router import Call, Handler, Route
from ryu_apps.api.schemas import TraceBody

PREFIX: Final = "/v1"
METRICS: Final = "/metrics"
HAIRPINS: Final = f"{PREFIX}/hairpins"
_OUTCOME: Final = {202: "Kept; the switches named in outcome.waiting_for have not confirmed it yet."}


# Kinds that GET shows together with what is known of them.
_WITH_LIVE: Final[Mapping[str, tuple[Handler, Handler]]] = {
    HOSTS.name: (hosts.list_hosts, hosts.get_host),
    **{kind.name: (partial(functions.list_all, kind), partial(functions.get, kind)) for kind in (FUNCTIONS, CHAINS)},
}


def _of_kind(kind: Kind) -> Iterator[Route]:
    with_live = _WITH_LIVE.get(kind.name)
    list_all, get = with_live or (partial(resources.list_all, kind), partial(resources.get, kind))
    writes = Needs.LAYER if "layer" in kind.names else Needs.ADMIN
    yield Route(
        method="GET",
        template=kind.collection,
        handler=list_all,
        needs=Needs.READ,
        summary=f"List {kind.name}",
        query=(LIMIT, AFTER),
        answers={200: "One page, in the order of ids."},
    )
    yield Route(method="GET", template=kind.item, handler=get, needs=Needs.READ, summary=f"Show one {kind.one}")
    yield Route(
        method="PUT",
        template=kind.item,
        handler=partial(resources.put, kind),
        needs=writes,
        summary=f"Create or replace one {kind.one}",
        query=(DRY_RUN, FORCE) if kind in (FUNCTIONS, CHAINS) else (DRY_RUN,),
        body=kind.schema,
        answers={201: "Created; the switches have it.", 200: "Replaced, or as it was.", **_OUTCOME},
    )
    yield Route(
        method="DELETE",
        template=kind.item,
        handler=partial(resources.delete, kind),
        needs=writes,
        summary=f"Delete one {kind.one}",
        query=(DRY_RUN, FORCE) if kind is CHAINS else (DRY_RUN,),
        answers={200: "Deleted; the switches no longer have it.", **_OUTCOME},
    )


def _index(call: Call) -> Response:
    """Answer with the paths that stand on their own."""
    paths = sorted({route.template for route in ROUTES if "{" not in route.template and route.template != PREFIX})
    links = {path.removeprefix(PREFIX).lstrip("/").removesuffix(".json"): path for path in paths}
    return json_response(200, {"generation": call.service.snapshot().generation, "links": links})


def _openapi(call: Call) -> Response:
    return json_response(200, _document(call.tokens_in_force))


@cache
def _document(tokens_in_force: bool) -> dict[str, Any]:
    return openapi_document(ROUTES, tokens_in_force)


ROUTES: Final = (
    Route(method="GET", template=PREFIX, handler=_index, needs=Needs.READ, summary="List the paths of this service"),
    Route(
        method="GET",
        template=f"{PREFIX}/openapi.json",
        handler=_openapi,
        needs=Needs.NOTHING,
        summary="Describe this service",
    ),
    *(route for kind in KINDS for route in _of_kind(kind)),
    Route(
        method="GET",
        template=HAIRPINS,
        handler=hairpins.list_hairpins,
        needs=Needs.READ,
        summary="List hairpins",
        query=(LIMIT, AFTER),
        answers={200: "One page, in the order of hosts."},
    ),
    Route(
        method="POST",
        template=HAIRPINS,
        handler=hairpins.post_hairpin,
        summary="Make a whole hairpin",
        query=(DRY_RUN,),
        body=ProvisionBody,
        answers={201: "Made; the switches have it.", 200: "Would be made.", **_OUTCOME},
    ),
    Route(
        method="GET",
        template=f"{HAIRPINS}/{{host}}",
        handler=hairpins.get_hairpin,
        needs=Needs.READ,
        summary="Show one hairpin",
    ),
    Route(
        method="DELETE",
        template=f"{HAIRPINS}/{{host}}",
        handler=hairpins.delete_hairpin,
        summary="Delete one host with its hairpin, VFs and outlets",
        query=(DRY_RUN,),
        answers={200: "Deleted; the switches no longer have it.", **_OUTCOME},
    ),
    Route(
        method="GET",
        template=f"{PREFIX}/changes/{{generation}}",
        handler=observe.progress,
        needs=Needs.READ,
        summary="Tell how far a change has come",
        answers={200: "installed, stored, or failed with what each switch said."},
    ),
    Route(
        method="GET",
        template=f"{PREFIX}/flows",
        handler=observe.list_flows,
        needs=Needs.READ,
        summary="List unified flows",
        query=(VPORT, LIMIT, AFTER_FLOW),
        answers={200: "One page, in the order in which the flows began."},
    ),
    Route(
        method="GET",
        template=f"{VPORTS.item}/hints",
        handler=observe.hints,
        needs=Needs.HINTS,
        summary="Show which packets of a VM its NIC knows",
        query=(SINCE, LIMIT),
        answers={200: "Conditions that have come, ids of those that have gone; no actions."},
    ),
    Route(
        method="POST",
        template=f"{PREFIX}/trace",
        handler=observe.trace,
        needs=Needs.READ,
        summary="Tell what would become of a packet",
        body=TraceBody,
    ),
    Route(
        method="GET", template=f"{PREFIX}/stats", handler=observe.stats, needs=Needs.READ, summary="Show counters"
    ),
    Route(
        method="GET",
        template=METRICS,
        handler=observe.metrics,
        summary="Show counters to Prometheus",
        needs=Needs.READ,
        media=TEXT,
        answers={200: "The text format, or OpenMetrics where the header Accept asks for it."},
    ),
)
