"""Live state as documents: hosts, and unified flows with their counters."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from ryu_apps.control.core import ControlCore
from ryu_apps.control.events import PresentEntry
from ryu_apps.control.promises import Standing
from ryu_apps.control.trace import flow_ways, way_document
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.control.ways import ways_of
from ryu_apps.control.whereabouts import Whereabouts, whereabouts_of
from ryu_apps.model.errors import VfswitchError
from ryu_apps.model.fields import describe
from ryu_apps.model.hairpin import nic_ports
from ryu_apps.model.policy import Snapshot
from ryu_apps.pipeline.cached import is_tcp
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import calls
from ryu_apps.southbound.bringup import Agreement
from ryu_apps.southbound.links import Links

_AWAY: Final = Agreement("away")


def standings(
    snapshot: Snapshot, datapaths: Container[int], agreements: Mapping[int, Agreement], failures: Mapping[int, str]
) -> dict[str, tuple[Standing, str]]:
    """Return how each registered host's switch stands against the policy, and what the last attempt failed on."""
    found = {}
    for name, host in snapshot.hosts.items():
        ready = all(dpid in datapaths and agreements.get(dpid, _AWAY).state == "ready" for dpid in host.dpids)
        refused = [failures[dpid] for dpid in host.dpids if dpid in failures]
        failed = Standing.REFUSES if refused else Standing.WAITING
        found[name] = (Standing.AGREES if ready else failed, "; ".join(refused))
    return found


def host_reports(
    core: ControlCore, links: Links, agreements: Mapping[int, Agreement], failures: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Return each host's state, then each connected datapath that no host is registered for."""
    connected = {link.id: link for link in links.all()}
    reports = []
    for host in sorted(core.policy.snapshot.hosts.values(), key=lambda host: host.dpid):
        states = {dpid: _datapath_report(core, dpid, dpid in connected, agreements, failures) for dpid in host.dpids}
        report = {"id": host.id, **states[host.dpid], "nic_entries": core.nic_caches.room(host.dpid)}
        if host.hairpin is not None:
            others = {name: states[dpid] for name, dpid in nic_ports(host.hairpin).items()}
            ways = ways_of(core.policy, host)
            report["hairpin"] = {**others, **{name: list(ids) for name, ids in ways._asdict().items()}}
        reports.append(report)
    registered = core.policy.snapshot.dpids()
    for dpid, link in sorted(connected.items()):
        if dpid not in registered:
            agreement = agreements.get(dpid, Agreement("unregistered"))
            reports.append({
                "id": None, "dpid": f"{dpid:016x}", "connected": True, "state": "unregistered",
                "left_entries": agreement.kept, "ports": dict(link.known_ports()),
            })
    return reports


def _datapath_report(
    core: ControlCore, dpid: int, connected: bool, agreements: Mapping[int, Agreement], failures: Mapping[int, str]
) -> dict[str, Any]:
    """Return how one datapath of a host stands."""
    agreement = agreements.get(dpid, _AWAY)
    return {
        "dpid": f"{dpid:016x}",
        "connected": connected,
        "state": agreement.state if connected else "away",
        "detail": agreement.detail or failures.get(dpid, ""),
        "kept_entries": agreement.kept,
        "changed_entries": agreement.changed,
        "foreign_entries": agreement.foreign,
        "ports": dict(core.datapaths.get(dpid, {})),
    }


def flow_reports(
    core: ControlCore, links: Links, vport: str | None, after: int, limit: int, now_s: float
) -> list[dict[str, Any]]:
    """Return unified flows with an id above `after`, ascending, with the packets that the switch counted."""
    flows = core.flows
    if vport is None:
        chosen: Iterable[UnifiedFlow] = flows
    else:
        found = core.policy.snapshot.vports.get(vport)
        chosen = flows.at_vport(found.number) if found else ()
    page = heapq.nsmallest(limit, (flow for flow in chosen if flow.id > after), key=lambda flow: flow.id)
    present = _present(core, links, page)
    return [_flow_report(core, flow, present, now_s) for flow in page]


# Where an entry is: datapath, table and cookie. A VM that talks to itself has one cookie in both caches.
_Found = dict[tuple[int, int, int], PresentEntry]


def _present(core: ControlCore, links: Links, page: Iterable[UnifiedFlow]) -> _Found:
    """Return what the switches have of these flows, each switch asked once; one that does not answer has nothing."""
    cookies: dict[int, dict[int, None]] = defaultdict(dict)
    for made in (made for flow in page for made in flow.entries()):
        dpid = core.dpid_of(made.vport)
        if dpid is not None:
            cookies[dpid][made.cookie] = None
    found: _Found = {}
    for dpid, asked in cookies.items():
        link = links.get(dpid)
        if link is None:
            continue
        with suppress(VfswitchError):
            found |= {(dpid, entry.table, entry.cookie): entry for entry in calls.dump_cookies(link, tuple(asked))}
    return found


def _flow_report(core: ControlCore, flow: UnifiedFlow, found: _Found, now_s: float) -> dict[str, Any]:
    legs: list[dict[str, Any]] = []
    places: list[Whereabouts] = []
    ways = flow_ways(flow)
    forward = len(flow.plan.forward)
    verdicts = way_document(core, ways[:forward]) + way_document(core, ways[forward:])
    for (leg, key), verdict, made in zip(ways, verdicts, flow.entries(), strict=True):
        places.append(whereabouts_of(core, flow, leg))
        dpid = core.dpid_of(made.vport)
        present = None if dpid is None else found.get((dpid, NUMBER[made.direction.value], made.cookie))
        legs.append({
            **verdict,
            "match": describe(key),
            "installed": present is not None,
            "packets": present.packets if present else 0,
            "bytes": present.octets if present else 0,
            "idle_timeout_s": made.idle_timeout_s,
            "offload": _offload_document(places[-1]),
        })
    connection = flow.parent or flow.id
    # The host may have seen the answer itself, or the switch have counted it.
    answered = not core.life.is_half_open(connection) or any(leg["packets"] for leg in legs[forward:])
    life = core.life.stage(connection, answered=answered)
    return {
        "id": flow.id,
        "key": describe(flow.key),
        "state": "allowed" if flow.plan.allow else "denied",
        "connection": life.value if flow.plan.allow and is_tcp(flow.key) else None,
        "generation": flow.generation,
        "renewed_generation": flow.renewed,
        "age_s": round(now_s - flow.created_s, 3),
        "variant_of": flow.parent or None,
        "offload": _offload_document(next((place for place in places if not place.nic), places[0])),
        "forward": legs[:forward],
        "reply": legs[forward:],
    }


def _offload_document(place: Whereabouts) -> dict[str, str]:
    """Return who handles packets and why; of a whole flow the NIC only when it handles all of them."""
    said = {"effective": "nic" if place.nic else "host", "reason": place.reason.value}
    return said if place.lacks is None else {**said, "lacks": place.lacks}
