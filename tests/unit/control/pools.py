"""Policies with NAT pools, what connections have of them, and that no two have the same."""

from __future__ import annotations

from collections import Counter

from ryu_apps.control.core import ControlCore
from ryu_apps.control.events import PacketIn, PresentEntry
from ryu_apps.control.leading import leads
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.action import Nat
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.nat_pool import AddressRange, Lease, NatPool
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.transposition import IDENTITY
from ryu_apps.pipeline.cookie import Punt
from ryu_apps.southbound.codec import encode_match
from ryu_apps.southbound.led import sources_led
from tests.unit.frames import frame_of
from tests.unit.policies import OUT, group, layer, rule, snapshot, tcp

PORTS = {1: {"h1-vf1": 1, "h1-vf2": 2, "h1-uplink": 9}, 2: {"h2-vf3": 1, "h2-uplink": 9}}
FIRST = 0x0A0000C8
SMALL = NatPool(id="p", segment="red", host="h1", mac=0x02FA00000001, addresses=(AddressRange(4, FIRST, FIRST + 1),),
                ports=(1000, 1003))  # fmt: skip
SMALL_LEASE = Lease("p", 4, FIRST, 17, port=1000)
POOLED = rule("out", Nat(edit=IDENTITY, pool="p"), eth_type="ipv4")


def pool(value: NatPool) -> Change:
    """Return the change that puts a pool."""
    return Change(kind="nat_pools", key=value.id, value=value)


def make_core(policy: Snapshot, first_flow_id: int = 1) -> ControlCore:
    """Return a core with both hosts' datapaths up."""
    core = ControlCore(compile_policy(policy), first_flow_id=first_flow_id)
    core.datapaths = dict(PORTS)
    return core


def pooled(value: NatPool = SMALL, *more: Change) -> ControlCore:
    """Return a core whose policy gives every connection to the outside a source of one pool."""
    return make_core(snapshot(pool(value), layer("nat", 1), group("nat", "out", OUT, POOLED), *more))


def meet(core: ControlCore, key: FlowKey, now_s: float = 0.0, vport: int = 101) -> list[object]:
    """Return what the core does about a packet met at a vport's outbound cache."""
    event = PacketIn(1, "outbound", Punt.MISS, 1, 1, vport, 0, frame_of(key))
    return [*core.packet_in(event, now_s)]


def udp(source: str, sport: int, dport: int = 53) -> FlowKey:
    """Return the key of a datagram to the outside."""
    return tcp(source, "ext", sport, dport, ip_proto="udp")


def given_to(flow: UnifiedFlow) -> tuple[int, int]:
    """Return the source of a flow's packets as the outside sees them."""
    seen = flow.plan.forward[0].verdict.edit.apply(flow.key)
    return FIELDS["ipv4_src"].get(seen), FIELDS["l4_src"].get(seen)


def led_by(core: ControlCore) -> dict[int, tuple[int, int]]:
    """Return what a restart reads of the sources of flows, from the entries that lead their replies."""
    present = []
    for _, made in leads(core.flows, core.policy.vports, core.dpid_of):
        present.append(PresentEntry(0, made.priority, made.cookie, encode_match(made.match), b"", 0, 0, 0, 0))
    return sources_led(present)


def check_apart(core: ControlCore) -> None:
    """See that no two live connections have one address and port of a protocol, and that the books agree."""
    owners: Counter[Lease] = Counter()
    for flow in core.flows:
        for lease in flow.plan.leases if not flow.parent else ():
            assert given_to(flow) == (lease.address, lease.port)
            owners[lease] += 1
    assert not [lease for lease, count in owners.items() if count > 1]
    assert core.flows.leases.uses(["p"])["p"].lent == len(owners)
