"""What would become of a packet: every layer's word, the composed edit, delivery, entries; nothing is sent or kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ryu_apps.control.connection_id import connection_id
from ryu_apps.control.core import ControlCore
from ryu_apps.control.icmp_error import is_icmp_error
from ryu_apps.control.leases import owner_of
from ryu_apps.control.lender import Lender
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.control.variant import plan_of_packet, same_packets
from ryu_apps.engine.connection import Leg, Plan, destination, plan_of
from ryu_apps.engine.ruling import Ruling, Verdict
from ryu_apps.engine.view import NEIGHBOUR
from ryu_apps.engine.walk import steps, walk
from ryu_apps.engine.ways import bypassed
from ryu_apps.model.address import MULTICAST_BIT, format_ip
from ryu_apps.model.errors import FieldError, Invalid
from ryu_apps.model.fields import FIELDS, describe
from ryu_apps.model.flow_key import Family, FlowKey, customer_tag, with_customer_tag
from ryu_apps.model.hairpin import AnyHairpin, Hairpin
from ryu_apps.model.network import MissPath, Segment, Vport
from ryu_apps.model.packet import build_key
from ryu_apps.model.rule_documents import action_type
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import Transposition
from ryu_apps.model.treatment import ByChain, Copied, Metered, PastFunctions, ToTunnel, ToVport
from ryu_apps.pipeline.cached import compile_cached
from ryu_apps.pipeline.cookie import Refusal
from ryu_apps.pipeline.guard import refusal
from ryu_apps.pipeline.show import show
from ryu_apps.pipeline.synthetic import miss_path


def trace(core: ControlCore, vport_id: str, direction: Direction, packet: Mapping[str, str]) -> dict[str, Any]:
    """Return the walk of a packet met at a vport, as a document; Invalid when the packet cannot be understood."""
    policy = core.policy
    vport = policy.snapshot.vports.get(vport_id)
    if vport is None:
        raise Invalid("the trace cannot begin", [FieldError("vport", f"there is no vport {vport_id!r}")])
    key, segment = _key(core, vport, direction, packet)
    plan, known, parent = _plan(core, segment, vport, direction, key)
    legs = list(plan.legs(key))
    last_leg, last_key = legs[len(plan.forward) - 1]
    after = last_leg.verdict.edit.apply(last_key)
    sent = legs[0][0].verdict.edit.apply(key)
    generation = policy.snapshot.generation
    flow = UnifiedFlow(0, segment.number, key, plan, generation, generation, 0.0, parent)
    cached = known is None and not _by_packet(core, vport, direction, key)
    refused = refusal(vport, key) if direction is Direction.OUTBOUND else None
    if direction is Direction.OUTBOUND and customer_tag(key):
        refused = Refusal.VLAN
    if refused is not None:
        return _refused(refused, generation)
    return {
        "allow": plan.allow,
        "refused": None,
        "decided_by": _decided_by(plan),
        "walk": way_document(core, legs[: len(plan.forward)]),
        "reply": way_document(core, legs[len(plan.forward) :]),
        "edit": edit_document(_composed(plan), key),
        "packet_after": describe(after) if plan.allow else None,
        "delivery": _delivery(core, segment, vport, legs[0][0], sent) if plan.allow else None,
        "established_flow": (parent or None) if known is None else known.id,
        "entries": [show(compile_cached(made)) for made in flow.entries()] if cached else [],
        "generation": generation,
    }


def _refused(reason: Refusal, generation: int) -> dict[str, Any]:
    """Return the trace of a packet that the guard drops before any layer is asked."""
    nothing: dict[str, Any] = {"walk": [], "reply": [], "edit": {}, "packet_after": None, "delivery": None}
    verdict: dict[str, Any] = {"allow": False, "refused": reason.slug, "decided_by": None}
    return {**verdict, **nothing, "established_flow": None, "entries": [], "generation": generation}


def _key(core: ControlCore, vport: Vport, direction: Direction, packet: Mapping[str, str]) -> tuple[FlowKey, Segment]:
    written = dict(packet)
    segment = core.policy.snapshot.segments[vport.segments[0]]
    if vport.segment is None:
        vlan = written.get("vlan_vid")
        named = [core.policy.snapshot.segments[name] for name in vport.trunk]
        segment = next((candidate for candidate in named if str(candidate.vlan) == vlan), segment)
        if str(segment.vlan) != vlan:
            raise Invalid("the packet cannot be understood", [FieldError("packet.vlan_vid", "a trunk needs its VLAN")])
    own = "eth_src" if direction is Direction.OUTBOUND else "eth_dst"
    written.setdefault(own, FIELDS["eth_src"].format(vport.mac))
    key = build_key(written, "packet")
    return (key if vport.segment is None else with_customer_tag(key)), segment


def _plan(
    core: ControlCore, segment: Segment, vport: Vport, direction: Direction, key: FlowKey
) -> tuple[Plan, UnifiedFlow | None, int]:
    """Return the packet's plan, the flow whose entries stand for it, and the id of the flow that it is a variant of."""
    flows = core.flows.find(connection_id(segment.number, key))
    for flow in flows:
        for position, (leg, seen) in enumerate(flow.legs()):
            if leg.vport == vport.number and leg.direction is direction and same_packets(seen, key, leg.exact_dscp):
                way = flow.plan.forward if position < len(flow.plan.forward) else flow.plan.reply
                return plan_of(core.policy, way[way.index(leg) :], ()), flow, 0
    if _by_packet(core, vport, direction, key):
        view = core.policy.view(vport, direction)
        return plan_of(core.policy, (Leg(vport.number, direction, walk(view, key), view.uses_dscp),), ()), None, 0
    lend = Lender(core.flows.leases, core.policy.snapshot.nat_pools, owner_of(vport.number, segment.number, key))
    plan, parent = plan_of_packet(core.policy, flows, segment, vport, direction, key, lend)
    return plan, None, parent


def _by_packet(core: ControlCore, vport: Vport, direction: Direction, key: FlowKey) -> bool:
    """Return whether such packets are decided one by one and leave no entry."""
    if FIELDS["eth_dst"].get(key) & MULTICAST_BIT or key.family in NEIGHBOUR or is_icmp_error(key):
        return True
    proto = FIELDS["ip_proto"].get(key) if key.family in (Family.IPV4, Family.IPV6) else 0
    return proto == 17 and FIELDS["l4_dst"].get(key) in (67, 68, 546, 547)


def _composed(plan: Plan) -> Transposition:
    edit = Transposition()
    for leg in plan.forward:
        edit = edit.then(leg.verdict.edit)
    return edit


def _decided_by(plan: Plan) -> dict[str, Any] | None:
    """Return the ruling that denied, None when all allowed."""
    for leg in plan.forward:
        if not leg.verdict.allow:
            return ruling_document(leg.verdict.rulings[-1])
    return None


def ruling_document(ruling: Ruling) -> dict[str, Any]:
    """Return one layer's word as a document."""
    return {
        "layer": ruling.layer,
        "group": ruling.group,
        "rule": ruling.rule,
        "reason": ruling.reason,
        "action": _action(ruling),
    }


def _action(ruling: Ruling) -> str:
    if not ruling.allow:
        return "deny"
    if ruling.translates:
        return min(ruling.needs)
    if ruling.treats is not None:
        return action_type(ruling.treats)
    return "rewrite" if ruling.edit.edits else "allow"


def edit_document(edit: Transposition, key: FlowKey) -> dict[str, str]:
    """Return the header fields that an edit sets on a packet with this key."""
    return {name: FIELDS[name].format(value) for name, value in edit.on(key)}


def flow_ways(flow: UnifiedFlow) -> list[tuple[Leg, FlowKey]]:
    """Return every leg of a flow with the key that packets have there, and with the connection's own meters."""
    return [(_as_metered(flow, leg), key) for leg, key in flow.legs()]


def _as_metered(flow: UnifiedFlow, leg: Leg) -> Leg:
    if not flow.plan.metered:
        return leg
    return leg._replace(verdict=replace(leg.verdict, treatment=flow.own_treatment(leg.verdict.treatment)))


def way_document(core: ControlCore, way: Sequence[tuple[Leg, FlowKey]]) -> list[dict[str, Any]]:
    """Return the verdicts on one way of a connection as documents, each with the packets' priority behind it.

    Without a rule that says one it is that of the vport that sends, and 0 for packets from elsewhere.
    """
    made = []
    first = way[0][0] if way else None
    sender = core.policy.vports.get(first.vport) if first and first.direction is Direction.OUTBOUND else None
    priority = sender.priority if sender is not None else 0
    for leg, key in way:
        treatment = leg.verdict.treatment
        if treatment is not None and treatment.priority is not None:
            priority = treatment.priority
        made.append({**_leg_document(core, leg, key), "priority": priority})
    return made


def _leg_document(core: ControlCore, leg: Leg, key: FlowKey) -> dict[str, Any]:
    """Return one vport's verdict as a document: every layer in the order of the walk, with the packet it saw."""
    return {
        "vport": _vport_name(core, leg.vport),
        "direction": leg.direction.value,
        "miss": _miss_path(core, leg),
        "allow": leg.verdict.allow,
        "layers": _layers(leg.verdict, key),
        "edit": edit_document(leg.verdict.edit, key),
        "treatment": treatment_document(core, leg, key),
    }


def treatment_document(core: ControlCore, leg: Leg, key: FlowKey) -> list[dict[str, Any]]:
    """Return what befalls packets with this key beside the edit, in order, the exit last."""
    made: list[dict[str, Any]] = []
    treatment = leg.verdict.treatment
    for part in (*treatment.steps, treatment.exit) if treatment is not None else ():
        match part:
            case Metered(meter=meter, each=each):
                made.append({"meter": meter, **({} if each is None else {"per": each.per.value})})
            case Copied(vport=number, edit=edit):
                made.append({"mirror": _vport_name(core, number), "edit": edit_document(edit, key)})
            case ToVport(vport=number):
                made.append({"route": _vport_name(core, number)})
            case PastFunctions():
                made.append({"skip_chain": True})
            case ByChain(mark=mark):
                made.append({"chain": _chain_name(core, leg.vport, mark)})
            case ToTunnel(version=version, address=address, vni=vni):
                made.append({"encapsulate": {"remote_ip": format_ip(version, address), "vni": vni}})
    if treatment is not None and treatment.priority is not None:
        made.append({"priority": treatment.priority})
    return made


def _miss_path(core: ControlCore, leg: Leg) -> str:
    """Return how a packet that the leg's cache does not know comes to the host."""
    vport = core.policy.vports.get(leg.vport)
    if vport is None:
        return MissPath.PF.value
    host = core.policy.snapshot.hosts[vport.host]
    return miss_path(vport, host, core.datapaths.get(host.dpid, {}), leg.direction).value


def _chain_name(core: ControlCore, vport: int, mark: int) -> str | None:
    """Return the chain that frames of a vport take by its mark, 0 for the segment's own; None where there is none."""
    sender, snapshot = core.policy.vports.get(vport), core.policy.snapshot
    if sender is None or sender.segment is None:
        return None
    if not mark:
        return snapshot.segments[sender.segment].chain
    found = [chain.id for chain in snapshot.chains.values() if (chain.segment, chain.mark) == (sender.segment, mark)]
    return found[0] if found else None


def _vport_name(core: ControlCore, number: int) -> str:
    vport = core.policy.vports.get(number)
    return vport.id if vport else str(number)


def _layers(verdict: Verdict, key: FlowKey) -> list[dict[str, Any]]:
    return [
        {**ruling_document(ruling), "edit": edit_document(ruling.edit, seen)} for ruling, seen in steps(verdict, key)
    ]


def _delivery(core: ControlCore, segment: Segment, vport: Vport, first: Leg, sent: FlowKey) -> dict[str, Any]:
    if first.direction is Direction.INBOUND:
        return {"to": "vport", "vport": vport.id, "host": vport.host}
    treatment = first.verdict.treatment
    match treatment.exit if treatment is not None else None:
        case ToTunnel(version=version, address=address, vni=vni):
            return {"to": "tunnel", "remote_ip": format_ip(version, address), "vni": vni}
        case PastFunctions() | None if FIELDS["eth_dst"].get(sent) & MULTICAST_BIT:
            return {"to": "segment", "segment": segment.id}
    receiver = destination(core.policy, segment.id, first, sent)
    host = core.policy.snapshot.hosts[vport.host]
    functions = None if host.hairpin is None else _toward_functions(host.hairpin, vport)
    mark = treatment.exit.mark if treatment is not None and isinstance(treatment.exit, ByChain) else 0
    chain = None if functions is None else _chain_name(core, vport.number, mark)
    passing = {} if chain is None else {"chain": chain}
    if receiver is None and functions is not None:
        return {**functions, **passing}
    if receiver is None:
        vlan = vport.vlan if segment.vlan is None else segment.vlan
        return {"to": "uplink", "vlan": vlan or None}
    if receiver.number == vport.number:
        return {"to": "nowhere"}
    away = None if receiver.host == vport.host else "uplink"
    skips = treatment is not None and treatment.exit == PastFunctions()
    skips = skips or segment in bypassed(core.policy, host)
    found = {"to": "vport", "vport": receiver.id, "host": receiver.host}
    if functions is not None and (away or not skips):
        return {**found, "via": functions["to"], **passing}
    return {**found, "via": away}


def _toward_functions(hairpin: AnyHairpin, vport: Vport) -> dict[str, Any]:
    """Return how a VF's frames leave for network functions, and what tells these whose they are."""
    if isinstance(hairpin, Hairpin):
        return {"to": "cable", "vlan": vport.vlan}
    return {"to": "subinterface", "port": vport.subinterface}
