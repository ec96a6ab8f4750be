"""Standing entries of NIC ports 2 and 3 of a hairpin: a VLAN on one side is a sub-interface on the other.

Port 2 stands between the cable and the functions, with one sub-interface for each VF.
Port 3 stands between the functions and the network, with one outlet for each segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ryu_apps.engine.policy import Policy
from ryu_apps.model.flow_key import VLAN_PRESENT
from ryu_apps.model.hairpin import FunctionPort, NetworkPort, Outlet
from ryu_apps.model.network import Host
from ryu_apps.pipeline.chain_ends import chain_parts, chains_of
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Refusal
from ryu_apps.pipeline.entry import MISS_PRIORITY, FlowEntry, MatchValue, Output, PopVlan, PushVlan, entry
from ryu_apps.pipeline.pieces import Part
from ryu_apps.pipeline.probing import probe_parts

_BASE: Final = Cookie(EntryClass.BASE).pack()
_TAGGED: Final[MatchValue] = (VLAN_PRESENT, VLAN_PRESENT)


def function_parts(
    policy: Policy, host: Host, function_port: FunctionPort, ports: Mapping[str, int]
) -> Iterator[Part]:
    """Yield the entries of NIC port 2: cable ↔ sub-interfaces."""
    cable = ports.get(function_port.cable)
    yield Part(_miss, None, ())
    # Probes need no cable: which of both is down must be told apart.
    yield from probe_parts(policy, host, ports)
    if cable is None:
        return
    yield Part(_unknown_vlan, cable, (cable,))
    for vport in policy.snapshot.vports.values():
        if vport.host == host.id and vport.subinterface is not None:
            segment = policy.snapshot.segments[vport.segments[0]]
            macs = policy.directory.macs_of(segment.id, vport)
            port_no, chained = ports.get(vport.subinterface), bool(chains_of(policy, segment))
            if not chained:
                yield Part(_to_sub_interface, vport.number, (cable, vport.vlan, port_no))
            if port_no is not None:
                yield Part(_from_sub_interface, vport.number, (cable, vport.vlan, port_no, macs))
    if policy.snapshot.chains:
        yield from chain_parts(policy, host, cable, ports)


def network_parts(policy: Policy, host: Host, network_port: NetworkPort, ports: Mapping[str, int]) -> Iterator[Part]:
    """Yield the entries of NIC port 3: uplink ↔ outlets."""
    uplink = ports.get(network_port.uplink)
    yield Part(_miss, None, ())
    if uplink is None:
        return
    yield Part(_unknown_vlan, uplink, (uplink,))
    for outlet in policy.snapshot.outlets.values():
        if outlet.host == host.id:
            local, vlans = _residents(policy, outlet)
            leaving = tuple(dict.fromkeys((*local, *outlet.macs, *_own_macs(policy, outlet))))
            yield Part(_outlet, outlet.id, (uplink, ports.get(outlet.port), vlans, leaving, local))


def _residents(policy: Policy, outlet: Outlet) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the MACs of a segment on the outlet's host, and the VLANs by which others send: the segment's own first.

    A host without a hairpin sends with the VLAN of the VF that sends.
    """
    segment = policy.snapshot.segments[outlet.segment]
    members = policy.directory.of_segment(segment.id)
    local = sorted(mac for mac, owner in members if owner is not None and owner.host == outlet.host)
    away = {owner.vlan for _, owner in members if owner is not None and owner.host != outlet.host and owner.segment}
    return tuple(local), (segment.vlan or 0, *sorted(away))


def _own_macs(policy: Policy, outlet: Outlet) -> Iterator[int]:
    """Yield the MACs with which functions of the segment's chains send on the outlet's host."""
    for chain in policy.snapshot.chains.values():
        if chain.segment == outlet.segment:
            for name in chain.hops:
                for instance in policy.snapshot.functions[name].on(outlet.host):
                    yield from instance.macs


def _miss() -> Iterator[FlowEntry]:
    """Yield that what comes in by no port that is spoken of goes nowhere."""
    yield entry("splice", MISS_PRIORITY, {}, cookie=_BASE)


def _unknown_vlan(trunk: int) -> Iterator[FlowEntry]:
    """Yield that a VLAN without a sub-interface goes nowhere, and is counted."""
    unknown = Cookie(EntryClass.GUARD, detail=Refusal.UNKNOWN_VLAN).pack()
    yield entry("splice", 90, {"in_port": trunk}, cookie=unknown)


def _to_sub_interface(cable: int, vlan: int, port_no: int | None) -> Iterator[FlowEntry]:
    """Yield one VF's VLAN to its sub-interface."""
    tagged: dict[str, MatchValue] = {"in_port": cable, "vlan_vid": VLAN_PRESENT | vlan}
    if port_no is None:
        # Not the other's priority: an entry that replaces another takes over what that has counted.
        yield entry("splice", 99, tagged, cookie=_refusal(Refusal.NO_FUNCTION))
        return
    yield entry("splice", 100, tagged, PopVlan(), Output(port_no), cookie=_BASE)


def _from_sub_interface(cable: int, vlan: int, port_no: int, macs: tuple[int, ...]) -> Iterator[FlowEntry]:
    """Yield one VF's sub-interface to its VLAN; what a function sends back to its sender ends here."""
    yield from _no_tags(port_no)
    for mac in macs:
        yield entry("splice", 110, {"in_port": port_no, "eth_src": mac}, cookie=_refusal(Refusal.REFLECTED))
    yield entry("splice", 100, {"in_port": port_no, "vlan_vid": 0}, PushVlan(vlan), Output(cable), cookie=_BASE)


def _outlet(
    uplink: int, port_no: int | None, vlans: tuple[int, ...], leaving: tuple[int, ...], local: tuple[int, ...]
) -> Iterator[FlowEntry]:
    """Yield how a segment's frames come in, by any of its VLANs, and leave, by the first of them.

    Only sources of this host leave: a function that sends back what the network brought makes no loop.
    """
    for vlan in vlans:
        match: dict[str, MatchValue] = {"in_port": uplink, "vlan_vid": VLAN_PRESENT | vlan if vlan else 0}
        if port_no is None:
            yield entry("splice", 99, match, cookie=_refusal(Refusal.NO_FUNCTION))
            continue
        for mac in local:
            yield entry("splice", 110, {**match, "eth_src": mac}, cookie=_refusal(Refusal.REFLECTED))
        pop = (PopVlan(),) if vlan else ()
        yield entry("splice", 100, match, *pop, Output(port_no), cookie=_BASE)
    if port_no is None:
        return
    yield from _no_tags(port_no)
    yield entry("splice", 90, {"in_port": port_no}, cookie=_refusal(Refusal.OUTLET_MAC))
    push = (PushVlan(vlans[0]),) if vlans[0] else ()
    for mac in leaving:
        match = {"in_port": port_no, "vlan_vid": 0, "eth_src": mac}
        yield entry("splice", 100, match, *push, Output(uplink), cookie=_BASE)


def _no_tags(port_no: int) -> Iterator[FlowEntry]:
    """Yield that functions send without tags; the switch says which VLAN a frame has."""
    yield entry("splice", 105, {"in_port": port_no, "vlan_vid": _TAGGED}, cookie=_refusal(Refusal.UNKNOWN_VLAN))


def _refusal(why: Refusal) -> int:
    return Cookie(EntryClass.GUARD, detail=why).pack()
