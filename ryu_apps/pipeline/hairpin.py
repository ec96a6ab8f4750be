"""Standing entries of the VFs' datapath of a hairpin: to functions whatever the destination, and back from them.

The way there is the cable, with the VLAN of the VF, or without a cable the VF's sub-interface on the same datapath.
Nothing that came from functions leaves for them again, so that no function can make a loop through this datapath.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ryu_apps.engine.policy import Policy
from ryu_apps.model.flow_key import VLAN_PRESENT
from ryu_apps.model.hairpin import AnyHairpin, Hairpin
from ryu_apps.model.network import Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Refusal
from ryu_apps.pipeline.entry import ChainToTag, FlowEntry, MatchValue, Output, PopVlan, PushVlan, SetField, entry
from ryu_apps.pipeline.meters import shut
from ryu_apps.pipeline.pieces import Part
from ryu_apps.pipeline.registers import (
    CHAIN,
    EXIT,
    EXIT_TO_FUNCTIONS,
    RECEIVER,
    SEGMENT,
    SENDER,
    VIA,
    VIA_NO_FUNCTION,
)

_MULTICAST: Final[MatchValue] = (1 << 40, 1 << 40)
_BASE: Final = Cookie(EntryClass.BASE).pack()


def hairpin_parts(
    policy: Policy, hairpin: AnyHairpin, ports: Mapping[str, int], vports: Iterable[Vport]
) -> Iterator[Part]:
    """Yield what the VFs' datapath has besides what every host has, for its VFs that are there."""
    cable = ports.get(hairpin.cable) if isinstance(hairpin, Hairpin) else None
    yield Part(_to_functions, None, ())
    if isinstance(hairpin, Hairpin):
        yield Part(_end_of_cable, None, (cable,))
    for vport in vports:
        segment = policy.snapshot.segments[vport.segments[0]]
        macs = policy.directory.macs_of(segment.id, vport)
        yield Part(_back_to, vport.number, (vport, macs))
        yield Part(_past_functions, vport.number, (vport, segment.number, macs))
        if vport.number in policy.broken:
            yield Part(_cut_off, vport.number, (vport.number,))
        if not isinstance(hairpin, Hairpin):
            to = ports.get(vport.subinterface or "")
            yield Part(_by_sub_interface, vport.number, (to, vport.number, segment.number))
        elif cable is not None:
            chained = any(chain.segment == segment.id for chain in policy.snapshot.chains.values())
            yield Part(_by_cable, vport.number, (cable, vport.number, vport.vlan, segment.number, chained))


def closed_chains(segment: int, marks: tuple[int, ...]) -> Iterator[FlowEntry]:
    """Yield that what a rule sends by a chain that fails closed is dropped where the segment goes on without functions.
    """
    for mark in marks:
        match: dict[str, MatchValue] = {SEGMENT: segment, CHAIN: mark}
        yield entry("deliver", 135, match, cookie=Cookie(EntryClass.GUARD, detail=Refusal.NO_FUNCTION).pack())


def _to_functions() -> Iterator[FlowEntry]:
    """Yield that whatever a VF sends, to whom, leaves for functions."""
    yield entry("deliver", 50, {}, SetField(EXIT, EXIT_TO_FUNCTIONS), goto="closing", cookie=_BASE)


def _end_of_cable(cable: int | None) -> Iterator[FlowEntry]:
    """Yield that an unknown VLAN goes nowhere; and nothing goes anywhere without the cable."""
    if cable is None:
        gone = Cookie(EntryClass.GUARD, detail=Refusal.NO_CABLE).pack()
        yield entry("egress", 94, {EXIT: EXIT_TO_FUNCTIONS}, cookie=gone)
        return
    unknown = Cookie(EntryClass.GUARD, detail=Refusal.UNKNOWN_VLAN).pack()
    yield entry("classify", 90, {"in_port": cable}, cookie=unknown)


def _cut_off(number: int) -> Iterator[FlowEntry]:
    """Yield that what a VF sends that cannot reach its functions is dropped, and counted."""
    unreachable = Cookie(EntryClass.GUARD, vport=number, detail=Refusal.NO_FUNCTION).pack()
    yield entry("deliver", 60, {SENDER: number}, cookie=unreachable)


def _by_cable(cable: int, number: int, vlan: int, segment: int, chained: bool) -> Iterator[FlowEntry]:
    """Yield the VF's tag on the way out, and what it means on the way back."""
    cookie = Cookie(EntryClass.BASE, vport=number).pack()
    tag = (PushVlan(vlan), ChainToTag()) if chained else (PushVlan(vlan),)
    yield entry("egress", 90, _leaving(number), *tag, Output(cable), cookie=cookie)
    match: dict[str, MatchValue] = {"in_port": cable, "vlan_vid": VLAN_PRESENT | vlan}
    yield entry("classify", 100, match, PopVlan(), *_coming(number, segment), goto="returned", cookie=cookie)


def _by_sub_interface(port_no: int | None, number: int, segment: int) -> Iterator[FlowEntry]:
    """Yield the VF's own port toward functions, and what it means that a frame comes by it; functions use no tags."""
    if port_no is None:
        # Not the other's priority: an entry that replaces another takes over what that has counted.
        gone = Cookie(EntryClass.GUARD, vport=number, detail=Refusal.NO_FUNCTION).pack()
        yield entry("egress", 94, _leaving(number), cookie=gone)
        return
    cookie = Cookie(EntryClass.BASE, vport=number).pack()
    yield entry("egress", 90, _leaving(number), Output(port_no), cookie=cookie)
    match: dict[str, MatchValue] = {"in_port": port_no, "vlan_vid": 0}
    yield entry("classify", 100, match, *_coming(number, segment), goto="returned", cookie=cookie)
    tagged = Cookie(EntryClass.GUARD, detail=Refusal.UNKNOWN_VLAN).pack()
    yield entry("classify", 90, {"in_port": port_no}, cookie=tagged)


def _leaving(number: int) -> dict[str, MatchValue]:
    """Return what a VF's frames on their way to functions match."""
    return {RECEIVER: 0, EXIT: EXIT_TO_FUNCTIONS, SENDER: number}


def _coming(number: int, segment: int) -> tuple[SetField, SetField]:
    """Return what is known of a frame that functions send to a VF."""
    return SetField(SEGMENT, segment), SetField(RECEIVER, number)


def _back_to(vport: Vport, macs: tuple[int, ...]) -> Iterator[FlowEntry]:
    """Yield what a VF is given of what functions send: nothing of its own, nothing for others' MACs."""
    to: dict[str, MatchValue] = {RECEIVER: vport.number}
    reflected = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.REFLECTED).pack()
    for mac in macs:
        yield entry("returned", 110, {**to, "eth_src": mac}, cookie=reflected)
        yield _arrives(vport, {**to, "eth_dst": mac})
    yield entry("returned", 95, {**to, "eth_dst": _MULTICAST}, goto="arrival", cookie=_BASE)
    not_local = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.NOT_LOCAL).pack()
    yield entry("returned", 90, to, cookie=not_local)


def _past_functions(vport: Vport, segment: int, macs: tuple[int, ...]) -> Iterator[FlowEntry]:
    """Yield delivery to a VF of what a rule sends past functions; not of what the VF sends to itself."""
    for mac in macs:
        match: dict[str, MatchValue] = {VIA: VIA_NO_FUNCTION, SEGMENT: segment, "eth_dst": mac}
        yield entry("deliver", 72, {**match, SENDER: vport.number}, cookie=_BASE)
        if shut(vport, Direction.INBOUND):
            refused = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.BANDWIDTH).pack()
            yield entry("deliver", 70, match, cookie=refused)
            continue
        yield entry("deliver", 71, match, SetField(RECEIVER, vport.number), goto="arrival", cookie=_BASE)


def _arrives(vport: Vport, match: dict[str, MatchValue]) -> FlowEntry:
    """Return the entry that lets frames of one MAC through to a VF, unless nothing may pass to it."""
    if shut(vport, Direction.INBOUND):
        # Its priority is its own, because an entry that replaces another takes over what that has counted.
        refused = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.BANDWIDTH).pack()
        return entry("returned", 99, match, cookie=refused)
    return entry("returned", 100, match, goto="arrival", cookie=_BASE)
