"""Policies and packets for tests: Hypothesis strategies, and a small ready-made network."""

from __future__ import annotations

from hypothesis import strategies as st
from immutables import Map

from ryu_apps.model.action import Action, Allow, Deny, Nat, Rewrite
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.match import parse_match
from ryu_apps.model.network import Host, Segment, Tenant, Vport, VportKind
from ryu_apps.model.packet import build_key
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Direction, Group, Layer, Rule, Scope
from ryu_apps.model.transposition import transposition

OUT, IN = Direction.OUTBOUND, Direction.INBOUND
MAC = {name: 0x020000000000 + number for number, name in enumerate(("vm1", "vm2", "vm3", "ext"), start=1)}
IP = {name: 0x0A000000 + number for number, name in enumerate(("vm1", "vm2", "vm3", "ext"), start=1)}

# Few values, so that rules and packets meet often.
_PORTS = st.sampled_from([1, 22, 80, 443, 1000, 1500, 2000, 8080])
_ADDRESSES = st.sampled_from([f"10.0.{a}.{b}" for a in (0, 1) for b in (1, 2, 3)])
_PREFIXES = st.sampled_from(["10.0.0.0/24", "10.0.0.0/16", "10.0.1.0/24", "0.0.0.0/0", "10.0.0.1", "10.0.0.2/31"])
_RANGES = st.sampled_from(["80", "443", "1-1024", "1000-2000", "1500-8080", "22-443", "0-65535"])


@st.composite
def matches(draw: st.DrawFn) -> dict[str, str]:
    """Draw a match of IPv4 fields: any mix of protocol, prefixes, port ranges and DSCP."""
    written: dict[str, str] = {}
    if draw(st.booleans()):
        written["ip_proto"] = draw(st.sampled_from(["tcp", "udp", "sctp"]))
        for side in ("l4_src", "l4_dst"):
            if draw(st.booleans()):
                written[side] = draw(_RANGES)
    for side in ("ipv4_src", "ipv4_dst"):
        if draw(st.booleans()):
            written[side] = draw(_PREFIXES)
    if draw(st.integers(0, 4)) == 0:
        written["ip_dscp"] = draw(st.sampled_from(["0", "10", "46"]))
    return written


@st.composite
def keys(draw: st.DrawFn) -> FlowKey:
    """Draw the key of an IPv4 packet from vm1 to vm2."""
    packet = {
        "eth_src": FIELDS["eth_src"].format(MAC["vm1"]),
        "eth_dst": FIELDS["eth_dst"].format(MAC["vm2"]),
        "ip_proto": draw(st.sampled_from(["tcp", "udp", "sctp", "47"])),
        "ipv4_src": draw(_ADDRESSES),
        "ipv4_dst": draw(_ADDRESSES),
        "ip_dscp": draw(st.sampled_from(["0", "10", "46"])),
    }
    if packet["ip_proto"] != "47":
        packet |= {"l4_src": str(draw(_PORTS)), "l4_dst": str(draw(_PORTS))}
    return build_key(packet, "packet")


def _edits(side: str) -> st.SearchStrategy[dict[str, int]]:
    return st.fixed_dictionaries(
        {f"ipv4_{side}": st.integers(0x0A000001, 0x0A000003)}, optional={f"l4_{side}": st.sampled_from([80, 443, 1500])}
    )


def actions() -> st.SearchStrategy[Action]:
    """Draw any action."""
    rewrites = st.fixed_dictionaries(
        {},
        optional={
            "ip_dscp": st.sampled_from([0, 10, 46]),
            "l4_dst": st.sampled_from([80, 443]),
            "ipv4_dst": st.just(0x0A000002),
        },
    )
    return st.one_of(
        st.just(Allow()),
        st.just(Deny()),
        rewrites.map(lambda edits: Rewrite(transposition(edits))),
        st.sampled_from(["src", "dst"]).flatmap(_edits).map(lambda edits: Nat(edit=transposition(edits))),
    )


def rule_maps(max_size: int = 8) -> st.SearchStrategy[Map[str, Rule]]:
    """Draw the rules of a group; priorities often tie."""

    @st.composite
    def rules(draw: st.DrawFn) -> Map[str, Rule]:
        count = draw(st.integers(0, max_size))
        made = {}
        for number in range(count):
            name = f"r{number}"
            made[name] = Rule(
                id=name,
                priority=draw(st.integers(0, 4)),
                match=parse_match(draw(matches())),
                action=draw(actions()),
                idle_timeout_s=draw(st.sampled_from([None, 5, 20])),
            )
        return Map(made)

    return rules()


def network() -> list[Change]:
    """Return hosts h1 and h2, tenant red with vm1 and vm2 on h1 and vm3 on h2, VLANs 101 to 103."""
    made = [
        Change(kind="hosts", key="h1", value=Host(id="h1", dpid=1, uplink="h1-uplink")),
        Change(kind="hosts", key="h2", value=Host(id="h2", dpid=2, uplink="h2-uplink")),
        Change(kind="tenants", key="red", value=Tenant(id="red")),
        Change(kind="segments", key="red", value=Segment(id="red", tenant="red", vlan=0, number=1)),
    ]
    for number, (name, host) in enumerate((("vm1", "h1"), ("vm2", "h1"), ("vm3", "h2")), start=1):
        made.append(Change(kind="vports", key=name, value=vport(name, host, number)))
    return made


def vport(name: str, host: str, number: int) -> Vport:
    """Return a VF with the MAC and VLAN that belong to its number."""
    return Vport(
        id=name,
        host=host,
        port=f"{host}-vf{number}",
        kind=VportKind.VF,
        tenant="red",
        segment="red",
        mac=0x020000000000 + number,
        ips=(),
        vlan=100 + number,
    )


def layer(name: str, position: int, *, stateful: bool = False, out: bool = True, into: bool = True) -> Change:
    """Return a layer with its defaults; True allows."""
    value = Layer(id=name, position=position, stateful=stateful, owner="ops", default_allow=((OUT, out), (IN, into)))
    return Change(kind="layers", key=name, value=value)


def group(
    layer_id: str, name: str, direction: Direction, *rules: Rule, priority: int = 1, scope: Scope | None = None
) -> Change:
    """Return a group of rules."""
    value = Group(
        id=name,
        layer=layer_id,
        direction=direction,
        scope=scope or Scope(),
        priority=priority,
        rules=Map({rule.id: rule for rule in rules}),
    )
    return Change(kind="groups", key=(layer_id, name), value=value)


def rule(name: str, action: Action, priority: int = 1, timeout_s: int | None = None, **match: str) -> Rule:
    """Return a rule with a match written as keyword arguments."""
    return Rule(id=name, priority=priority, match=parse_match(match), action=action, idle_timeout_s=timeout_s)


def tcp(source: str = "vm1", target: str = "vm2", sport: int = 40000, dport: int = 80, **more: str) -> FlowKey:
    """Return the key of a TCP packet between two named ends."""
    packet = {
        "eth_src": FIELDS["eth_src"].format(MAC[source]),
        "eth_dst": FIELDS["eth_dst"].format(MAC[target]),
        "ipv4_src": FIELDS["ipv4_src"].format(IP[source]),
        "ipv4_dst": FIELDS["ipv4_dst"].format(IP[target]),
        "ip_proto": "tcp",
        "l4_src": str(sport),
        "l4_dst": str(dport),
        **more,
    }
    return build_key(packet, "packet")


def snapshot(*changes: Change) -> Snapshot:
    """Return the ready-made network with these changes."""
    return Snapshot().changed([*network(), *changes])
