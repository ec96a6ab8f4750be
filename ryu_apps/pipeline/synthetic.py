"""A VM's second, synthetic port, and the way of a miss back through the VM (US 8,930,690).

What comes by the synthetic port is classified as if it had come by the VF: same vport, same meter, same guard, same
caches; its `in_port` becomes the VF's, so that nothing of it is sent back to the VM. So both ways get one verdict.

Under `MissPath.VM` a packet of the VF that the outbound cache would ask the controller about leaves by the VF instead,
as it came. It is told by its source MAC, which is the VM's own: the guard lets nobody else send with it, what the
network brings back is refused, and an entry before the port drops what a rule would make look like it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from ryu_apps.model.network import Host, MissPath, Segment, Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cookie import Cookie, Counted, EntryClass, Punt, Refusal
from ryu_apps.pipeline.entry import (
    IN_PORT,
    EntryAction,
    FlowEntry,
    MatchValue,
    Output,
    PushVlan,
    SetField,
    entry,
)
from ryu_apps.pipeline.registers import BACK, CAME_BY, COPY, PUNT, RECEIVER, SEGMENT, SENDER

_BASE: Final = Cookie(EntryClass.BASE).pack()


class Second(NamedTuple):
    """The synthetic port of a vport, where the switch has it; returns: whether misses of the VF go back to the VM."""

    port_no: int
    returns: bool


def second_port(vport: Vport, host: Host, ports: Mapping[str, int]) -> Second | None:
    """Return a vport's synthetic port among the ports of its host's datapath; None when it is not there."""
    port_no = None if vport.synthetic is None else ports.get(vport.synthetic)
    return None if port_no is None else Second(port_no, host.miss is MissPath.VM)


def miss_path(vport: Vport, host: Host, ports: Mapping[str, int], direction: Direction) -> MissPath:
    """Return how a miss of a vport's VF comes to the host.

    What is for the VM goes by the PF always: back through the VM it would see what its inbound rules may deny.
    """
    second = second_port(vport, host, ports) if direction is Direction.OUTBOUND else None
    return MissPath.VM if second is not None and second.returns else MissPath.PF


def at_both_ports(classified: Iterable[FlowEntry], port_no: int, second: Second | None) -> Iterator[FlowEntry]:
    """Yield a VF's entries of table classify, and their like for the synthetic port."""
    for made in classified:
        if second is None or made.goto is None:
            yield made
        else:
            back = (SetField(BACK, 1),) if second.returns else ()
            yield _classified(made, port_no, *made.actions, *back)
        if second is not None:
            as_vf = () if made.goto is None else (SetField(CAME_BY, port_no),)
            yield _classified(made, second.port_no, *made.actions, *as_vf)


def _classified(made: FlowEntry, port_no: int, *actions: EntryAction) -> FlowEntry:
    match = {**dict(made.match), "in_port": port_no}
    return entry("classify", made.priority, match, *actions, goto=made.goto, cookie=made.cookie, meter=made.meter)


def second_entries(vport: Vport, second: Second, segments: tuple[Segment, ...]) -> Iterator[FlowEntry]:
    """Yield what a vport with a synthetic port has in other tables: the way back, and that nobody else can feign it."""
    if second.returns:
        yield from _returns(vport, segments)
    feigned = Cookie(EntryClass.GUARD, vport=vport.number, detail=Refusal.REFLECTED).pack()
    for table, register in (("egress", RECEIVER), ("mirror", COPY)):
        to_vm: dict[str, MatchValue] = {register: vport.number}
        # What a VM sends to all its segment is not for itself; the port would not send it, but it is no forgery.
        yield entry(table, 120, {**to_vm, SENDER: vport.number}, cookie=_BASE)
        yield entry(table, 110, {**to_vm, "eth_src": vport.mac}, cookie=feigned)


def _returns(vport: Vport, segments: tuple[Segment, ...]) -> Iterator[FlowEntry]:
    """Yield what sends back to the VM what would ask the controller, but for copies of what has gone on."""
    counted = Cookie(EntryClass.BASE, vport=vport.number, detail=Counted.OUTBOUND_RETURN).pack()
    for segment in segments:
        tag = (PushVlan(segment.vlan),) if vport.segment is None and segment.vlan else ()
        asked: dict[str, MatchValue] = {BACK: 1, SENDER: vport.number, RECEIVER: 0, SEGMENT: segment.number}
        for why in Punt:
            if why is not Punt.CLOSING:
                yield entry("missed", 110, {**asked, PUNT: why}, *tag, Output(IN_PORT), cookie=counted)
