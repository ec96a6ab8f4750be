"""Random networks whose resources agree with each other, and their switches' ports: Hypothesis strategies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

from ryu_apps.engine.policy import Policy, compile_policy
from ryu_apps.model.action import Deny
from ryu_apps.model.checks import check
from ryu_apps.model.nat_pool import AddressRange, NatPool
from ryu_apps.model.network import Bandwidth, Host, Route, Segment, Tenant, Vport, VportKind
from ryu_apps.model.nic_limits import NicLimits
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Direction
from tests.unit.policies import group, layer, rule

_IPS = ((4, 0x0A000001), (4, 0x0A000002), (6, 0xFD << 120 | 1))


@dataclass(frozen=True)
class Network:
    """A compiled policy and the ports that each host's datapath has."""

    policy: Policy
    ports: Mapping[str, Mapping[str, int]]

    @property
    def hosts(self) -> list[Host]:
        """Return the hosts."""
        return list(self.policy.snapshot.hosts.values())


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Draw up to two hosts, three segments, five vports, routes, and rules that may name ARP or ND."""
    changes = [Change(kind="tenants", key="t", value=Tenant(id="t"))]
    for number, uplink in enumerate(draw(st.lists(st.booleans(), min_size=1, max_size=2)), start=1):
        limits = NicLimits(uplink_kbps=draw(st.sampled_from([None, 1000])))
        value = Host(id=f"h{number}", dpid=number, uplink="up" if uplink else None, limits=limits)
        changes.append(Change(kind="hosts", key=value.id, value=value))
    hosts = [change.key for change in changes[1:]]
    vlans = draw(st.lists(st.sampled_from([None, None, 0, 200, 201]), min_size=1, max_size=3))
    vlans = [None if vlan in vlans[:place] else vlan for place, vlan in enumerate(vlans)]
    for number, vlan in enumerate(vlans, start=1):
        segment = Segment(id=f"s{number}", tenant="t", vlan=vlan, number=number)
        changes.append(Change(kind="segments", key=segment.id, value=segment))
    tagged = [f"s{number}" for number, vlan in enumerate(vlans, start=1) if vlan]
    for number in range(1, draw(st.integers(0, 5)) + 1):
        trunk = tuple(draw(st.sets(st.sampled_from(tagged)))) if tagged and draw(st.booleans()) else ()
        vport = Vport(
            id=f"v{number}",
            host=str(draw(st.sampled_from(hosts))),
            port=f"vf{number}",
            kind=VportKind.TRUNK if trunk else VportKind.VF,
            tenant="t",
            segment=None if trunk else f"s{draw(st.integers(1, len(vlans)))}",
            mac=0x020000000000 + number,
            ips=tuple(draw(st.sets(st.sampled_from(_IPS)))),
            vlan=100 + number,
            trunk=trunk,
            bandwidth=Bandwidth(inbound_kbps=draw(st.sampled_from([None, None, 0, 500]))),
            priority=draw(st.sampled_from([0, 0, 5])),
        )
        changes.append(Change(kind="vports", key=vport.id, value=vport))
    changes += draw(_routes(changes))
    changes += draw(_pools([c.value for c in changes if isinstance(c.value, Host)], vlans))
    changes += draw(_rules())
    policy = compile_policy(check(Snapshot(), changes))
    return Network(policy, {str(host): draw(_ports()) for host in hosts})


@st.composite
def _routes(draw: st.DrawFn, changes: list[Change]) -> list[Change]:
    vports = [change.value for change in changes if isinstance(change.value, Vport)]
    routes = [Route(id="out", segment="s1", eth_dst=0x020000000001, vport=None)]
    routes += [Route(id="in", segment=v.segments[0], eth_dst=0x020000000099, vport=v.id) for v in vports[:1]]
    return [Change(kind="routes", key=r.id, value=r) for r in routes if draw(st.booleans())]


@st.composite
def _pools(draw: st.DrawFn, hosts: list[Host], vlans: list[int | None]) -> list[Change]:
    reached = [host.id for host in hosts if host.uplink]
    outside = [f"s{number}" for number, vlan in enumerate(vlans, start=1) if vlan is not None]
    if not reached or not outside or draw(st.booleans()):
        return []
    parts = st.sampled_from([AddressRange(4, 0x0A0000C8, 0x0A0000CC), AddressRange(6, 0xFE << 120, 0xFE << 120 | 7)])
    addresses = tuple(draw(st.lists(parts, min_size=1, max_size=2, unique=True)))
    segment, host = draw(st.sampled_from(outside)), draw(st.sampled_from(reached))
    pool = NatPool(id="p", segment=segment, host=host, mac=0x02FA00000001, addresses=addresses)
    return [Change(kind="nat_pools", key="p", value=pool)]


@st.composite
def _rules(draw: st.DrawFn) -> list[Change]:
    named = draw(st.sampled_from([{}, {"eth_type": "arp"}, {"icmpv6_type": "135"}, {"ip_dscp": "46"}]))
    direction = draw(st.sampled_from(Direction))
    return [layer("a", 1, stateful=draw(st.booleans())), group("a", "g", direction, rule("r", Deny(), **named))]


def _ports() -> st.SearchStrategy[dict[str, int]]:
    names = st.sets(st.sampled_from(["up", "vf1", "vf2", "vf3", "vf4", "vf5"]))
    return names.map(lambda found: {name: 10 + place for place, name in enumerate(sorted(found))})
