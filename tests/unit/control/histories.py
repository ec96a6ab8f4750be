"""Policies that change again and again while connections live: Hypothesis strategies of few values that meet often."""

from __future__ import annotations

from hypothesis import strategies as st
from immutables import Map

from ryu_apps.model.action import (
    Action,
    Allow,
    Deny,
    Encapsulate,
    Meter,
    Mirror,
    Nat,
    PopVlanTag,
    Prioritise,
    PushVlanTag,
    RateUnit,
    Reroute,
    Rewrite,
)
from ryu_apps.model.address import format_mac
from ryu_apps.model.errors import Invalid
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.match import Match, parse_match
from ryu_apps.model.nat_pool import AddressRange, NatPool
from ryu_apps.model.network import Route, Tenant
from ryu_apps.model.packet import build_key
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Direction, Group, Layer, Rule, Scope
from ryu_apps.model.transposition import transposition
from tests.unit.policies import IN, MAC, OUT, vport

LAYERS = ("a", "b", "c")
GROUPS = ("g", "h")
RULES = ("r1", "r2", "r3")
ENDS = ("vm1", "vm2", "vm3", "ext")
_PORTS = ("1", "80", "443")
_V4 = {name: f"10.0.0.{number}" for number, name in enumerate(ENDS, start=1)}
_V6 = {name: f"fd00::{number}" for number, name in enumerate(ENDS, start=1)}


_POOLED = Nat(edit=transposition({}), pool="p")
# Large enough that nothing is ever exhausted: what is refused for want of a port depends on what was met before.
_POOLS = st.sampled_from([
    NatPool(id="p", segment="red", host="h1", mac=mac, addresses=(AddressRange(4, first, first + 40), *more))
    for mac in (0x02FA00000001, 0x02FA00000002)
    for first in (0x0A0000A0, 0x0A0000B0)
    for more in ((), (AddressRange(6, 0xFD << 120 | 0xA0, 0xFD << 120 | 0xD0),))
])  # fmt: skip


@st.composite
def keys(draw: st.DrawFn, source: str, target: str) -> FlowKey:
    """Draw the key of a packet from one end to another, of both IP versions and of neither."""
    packet = {"eth_src": format_mac(MAC[source]), "eth_dst": format_mac(MAC[target])}
    version = draw(st.sampled_from([4, 4, 4, 6, 0]))
    if not version:
        return build_key({**packet, "eth_type": "0x88b5"}, "packet")
    addresses, name, icmp = (_V4, "ipv4", "icmpv4") if version == 4 else (_V6, "ipv6", "icmpv6")
    packet |= {f"{name}_src": addresses[source], f"{name}_dst": addresses[target]}
    proto = draw(st.sampled_from(["tcp", "tcp", "udp", "47", "icmp"]))
    if draw(st.integers(0, 3)) == 0:
        packet["ip_dscp"] = "46"
    if proto == "icmp":
        kind = {4: "8", 6: "128"}[version]
        return build_key({**packet, f"{icmp}_type": kind, f"{icmp}_code": "0"}, "packet")
    if proto in ("tcp", "udp"):
        packet |= {"l4_src": draw(st.sampled_from(_PORTS)), "l4_dst": draw(st.sampled_from(_PORTS))}
    return build_key({**packet, "ip_proto": proto}, "packet")


@st.composite
def matches(draw: st.DrawFn) -> Match:
    """Draw a match that meets some of the packets drawn here."""
    written: dict[str, str] = {}
    if draw(st.booleans()):
        side = draw(st.sampled_from(["src", "dst"]))
        written |= draw(
            st.sampled_from([
                {f"ipv4_{side}": "10.0.0.1"}, {f"ipv4_{side}": "10.0.0.0/30"}, {f"ipv6_{side}": "fd00::2"},
                {f"eth_{side}": format_mac(MAC["vm2"])}, {f"eth_{side}": format_mac(MAC["ext"])},
            ])
        )  # fmt: skip
    kind = draw(st.sampled_from(["", "tcp", "tcp", "udp", "icmpv4", "icmpv6", "dscp"]))
    if kind in ("tcp", "udp"):
        written["ip_proto"] = kind
        for port in draw(st.sampled_from([(), ("l4_src",), ("l4_dst",), ("l4_src", "l4_dst")])):
            written[port] = draw(st.sampled_from([*_PORTS, "1-100", "80-443", "0-65535"]))
    elif kind.startswith("icmp"):
        written[f"{kind}_type"] = draw(st.sampled_from(["0", "8", "128", "129"]))
    elif kind == "dscp":
        written["ip_dscp"] = draw(st.sampled_from(["0", "46"]))
    try:
        return parse_match(written)
    except Invalid:
        return parse_match({})


def _actions(direction: Direction) -> st.SearchStrategy[Action]:
    values = {
        "ipv4_src": st.sampled_from([0x0A000001, 0x0A000063]),
        "ipv4_dst": st.sampled_from([0x0A000002, 0x0A000063]),
        "eth_dst": st.sampled_from([MAC["vm2"], MAC["vm3"]]),
        "l4_src": st.just(443),
        "l4_dst": st.just(80),
        "ip_dscp": st.sampled_from([0, 46]),
    }
    edits = st.fixed_dictionaries({}, optional=values).filter(bool)
    translations = edits.map(lambda edit: {name: value for name, value in edit.items() if name != "ip_dscp"})
    vports = st.sampled_from(["vm1", "vm2", "vm3"])
    leading = [vports.map(Reroute), st.just(Encapsulate(remote=(4, 0xAC100002), vni=7)), st.just(_POOLED)]
    return st.one_of(
        st.just(Allow()),
        st.just(Deny()),
        vports.map(Mirror),
        st.sampled_from([0, 5]).map(Prioritise),
        st.sampled_from([0, 100]).map(lambda rate: Meter(unit=RateUnit.PPS, rate=rate, burst=9)),
        *(leading if direction is OUT else []),
        edits.map(lambda edit: Rewrite(transposition(edit))),
        st.sampled_from([PushVlanTag(7), PopVlanTag()]),
        translations.filter(bool).map(lambda edit: Nat(edit=transposition(edit))),
    )


@st.composite
def _rules(draw: st.DrawFn, name: str, direction: Direction) -> Rule:
    return Rule(
        id=name,
        priority=draw(st.integers(0, 2)),
        match=draw(matches()),
        action=draw(_actions(direction)),
        idle_timeout_s=draw(st.sampled_from([None, None, 5])),
    )


def _layers(name: str) -> st.SearchStrategy[Layer]:
    def made(position: int, stateful: bool, out: bool, into: bool) -> Layer:
        return Layer(id=name, position=position, stateful=stateful, owner="o", default_allow=((OUT, out), (IN, into)))

    allow = st.sampled_from([True, True, True, False])
    return st.builds(made, st.integers(0, 2), st.booleans(), allow, allow)


@st.composite
def _groups(draw: st.DrawFn, layer: str, name: str) -> Group:
    scopes = [Scope(), Scope(), Scope(tenant="red"), Scope(tenant="blue"), Scope(vport="vm1"), Scope(vport="vm2")]
    rules = draw(st.lists(st.sampled_from(RULES), unique=True))
    direction = draw(st.sampled_from(Direction))
    return Group(
        id=name,
        layer=layer,
        direction=direction,
        scope=draw(st.sampled_from(scopes)),
        priority=draw(st.integers(0, 1)),
        rules=Map({rule: draw(_rules(rule, direction)) for rule in rules}),
    )


def first_changes() -> st.SearchStrategy[list[Change]]:
    """Draw a second tenant, one to three layers, and groups in them."""

    @st.composite
    def made(draw: st.DrawFn) -> list[Change]:
        changes = [Change(kind="tenants", key="blue", value=Tenant(id="blue"))]
        changes.append(Change(kind="nat_pools", key="p", value=draw(_POOLS)))
        for layer in LAYERS[: draw(st.integers(1, 3))]:
            changes.append(Change(kind="layers", key=layer, value=draw(_layers(layer))))
            for name in GROUPS:
                changes.append(Change(kind="groups", key=(layer, name), value=draw(_groups(layer, name))))
        return changes

    return made()


@st.composite
def next_changes(draw: st.DrawFn, snapshot: Snapshot) -> list[Change]:
    """Draw one or two changes that a snapshot can take: mostly of rules and groups, some of layers and the network."""
    changes: list[Change] = []
    for _ in range(draw(st.integers(1, 2))):
        change = draw(_change(snapshot.changed(changes)))
        if change is not None:
            changes.append(change)
    return changes


@st.composite
def _change(draw: st.DrawFn, snapshot: Snapshot) -> Change | None:
    layer = draw(st.sampled_from(sorted(snapshot.layers)))
    group = (layer, draw(st.sampled_from(GROUPS)))
    kinds = ["rule", "rule", "rule", "no rule", "group", "no group", "layer", "route", "vport", "pool"]
    match draw(st.sampled_from(kinds)):
        case "rule" if group in snapshot.groups:
            name = draw(st.sampled_from(RULES))
            return Change(kind="rules", key=(*group, name), value=draw(_rules(name, snapshot.groups[group].direction)))
        case "no rule" if group in snapshot.groups and snapshot.groups[group].rules:
            name = draw(st.sampled_from(sorted(snapshot.groups[group].rules)))
            return Change(kind="rules", key=(*group, name), value=None)
        case "group":
            return Change(kind="groups", key=group, value=draw(_groups(*group)))
        case "no group" if group in snapshot.groups:
            return Change(kind="groups", key=group, value=None)
        case "layer":
            return Change(kind="layers", key=layer, value=draw(_layers(layer)))
        case "pool":
            return Change(kind="nat_pools", key="p", value=draw(_POOLS))
        case "route":
            target = draw(st.sampled_from([None, "vm2", "vm3"]))
            route = Route(id="r", segment="red", eth_dst=MAC["ext"], vport=target)
            return Change(kind="routes", key="r", value=draw(st.sampled_from([route, None])))
        case "vport":
            name, number = draw(st.sampled_from([("vm2", 2), ("vm3", 3)]))
            moved = vport(name, draw(st.sampled_from(["h1", "h2"])), draw(st.sampled_from([number, number + 4])))
            return Change(kind="vports", key=name, value=moved)
    return None
