"""Standing entries of the last table: the tag for the wire or the trunk, and the port."""

from __future__ import annotations

from collections.abc import Iterator

from ryu_apps.model.network import Segment, Vport
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Refusal
from ryu_apps.pipeline.entry import EntryAction, FlowEntry, MatchValue, Output, PriorityToTag, PushVlan, entry
from ryu_apps.pipeline.registers import EXIT, EXIT_AS_SEGMENT, EXIT_AS_VF, RECEIVER, SEGMENT, SENDER


def egress_vport(vport: Vport, port_no: int, segments: tuple[Segment, ...]) -> Iterator[FlowEntry]:
    """Yield how frames reach a vport: without a tag, or with that of their segment where it is a trunk.

    What still has a customer's tag does not reach it.
    """
    cookie = Cookie(EntryClass.BASE, vport=vport.number).pack()
    for segment in segments:
        tag = (PushVlan(segment.vlan),) if vport.segment is None and segment.vlan else ()
        match: dict[str, MatchValue] = {RECEIVER: vport.number, SEGMENT: segment.number}
        yield entry("egress", 100, {**match, "vlan_vid": 0}, *tag, Output(port_no), cookie=cookie)
        tagged = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.TAGGED).pack()
        yield entry("egress", 80, match, cookie=tagged)


def leave_as_vf(vport: Vport, uplink: int, segments: tuple[Segment, ...], ranked: bool) -> Iterator[FlowEntry]:
    """Yield how frames of a vport leave by the uplink with the VLAN of its VF; ranked: with a priority in the tag."""
    cookie = Cookie(EntryClass.BASE, vport=vport.number).pack()
    for segment in segments:
        # A trunk has no VLAN of its own on the wire: its frames carry the tag of their segment.
        vlan = segment.vlan if vport.segment is None and segment.vlan else vport.vlan
        match: dict[str, MatchValue] = {
            RECEIVER: 0,
            EXIT: EXIT_AS_VF,
            SENDER: vport.number,
            SEGMENT: segment.number,
        }
        yield entry("egress", 90, match, *_tagging(vlan, ranked), Output(uplink), cookie=cookie)


def _tagging(vlan: int, ranked: bool) -> tuple[EntryAction, ...]:
    """Return what puts the tag on with which a frame leaves by the uplink."""
    return (PushVlan(vlan), PriorityToTag()) if ranked else (PushVlan(vlan),)


def egress_segment(segment: Segment, uplink: int, ranked: bool) -> FlowEntry:
    """Return how frames of a segment leave by the uplink with the segment's own VLAN."""
    tag = _tagging(segment.vlan, ranked) if segment.vlan else ()
    match: dict[str, MatchValue] = {RECEIVER: 0, EXIT: EXIT_AS_SEGMENT, SEGMENT: segment.number}
    return entry("egress", 90, match, *tag, Output(uplink), cookie=Cookie(EntryClass.BASE).pack())
