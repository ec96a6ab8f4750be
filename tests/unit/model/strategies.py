"""Hypothesis strategies for documents, keys and frames."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import strategies as st

from ryu_apps.model.address import format_mac
from ryu_apps.model.fields import FIELDS, SETTABLE
from ryu_apps.model.flow_key import KEY_BYTES, ND_TYPES, Family, FlowKey
from ryu_apps.model.nic_limits import ACTION_NAMES

Document = dict[str, Any]

ids = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
macs = st.integers(1, (1 << 40) - 1).map(lambda low: format_mac(0x02 << 40 | low))
ipv4s = st.integers(1, 0xDFFFFFFF).map(lambda value: str(ipaddress.IPv4Address(value)))
ipv6s = st.integers(1, (0xFF << 120) - 1).map(lambda value: str(ipaddress.IPv6Address(value)))
vlans = st.integers(1, 4094)
ports = st.from_regex(r"[a-z][a-z0-9-]{0,14}", fullmatch=True)
vnis = st.integers(1, 0xFFFFFF)
rates = st.integers(0, 4_000_000_000)
priorities = st.integers(0, 65535)


def hosts() -> st.SearchStrategy[Document]:
    """Draw a host's document."""
    count = st.none() | st.integers(0, 1 << 20)
    supported = st.none() | st.lists(st.sampled_from(ACTION_NAMES), unique=True)
    limits = st.fixed_dictionaries(
        {},
        optional={
            "outbound_entries": count,
            "inbound_entries": count,
            "actions": supported,
            "meters": count,
            "uplink_kbps": st.none() | st.integers(1, 4_000_000_000),
        },
    )
    documents = st.fixed_dictionaries(
        {
            "dpid": st.integers(1, 2**64 - 1).map(lambda dpid: f"{dpid:016x}"),
            "uplink": st.none() | ports,
            "tunnel": st.none() | ports,
        },
        optional={"limits": limits, "hairpin": hairpins()},
    )
    return documents.filter(lambda host: host["tunnel"] is None or host["tunnel"] != host["uplink"])


def hairpins() -> st.SearchStrategy[Document]:
    """Draw the hairpin of a host's document, with a cable or without."""
    dpid = st.integers(1, 2**64 - 1).map(lambda dpid: f"{dpid:016x}")
    network = st.none() | st.fixed_dictionaries({"dpid": dpid, "uplink": ports})
    functions = st.fixed_dictionaries({"dpid": dpid, "cable": ports})
    common = {"network_port": network, "fail": st.sampled_from(["closed", "open"])}
    return st.fixed_dictionaries(
        {"steering": st.just("vlan"), "cable": ports, "function_port": functions, **common}
    ) | st.fixed_dictionaries({"steering": st.just("mac"), **common})


def outlets() -> st.SearchStrategy[Document]:
    """Draw an outlet's document."""
    speakers = st.lists(macs, max_size=3, unique=True)
    return st.fixed_dictionaries({"host": ids, "segment": ids, "port": ports, "macs": speakers})


def functions() -> st.SearchStrategy[Document]:
    """Draw a function's document."""
    speakers = st.lists(macs, max_size=3, unique=True)
    instance = st.fixed_dictionaries(
        {"host": ids, "inside": ports, "outside": ports, "weight": st.integers(0, 16), "macs": speakers,
         "probe_packet": st.fixed_dictionaries({}, optional={"eth_dst": macs, "ipv4_dst": ipv4s})}
    )
    instances = st.dictionaries(ids, instance, max_size=3).map(lambda drawn: dict(sorted(drawn.items())))
    flags = {"rewriting": st.booleans(), "keeps_apart": st.booleans()}
    return st.fixed_dictionaries({"instances": instances, **flags, "probe": st.none() | probes()})


def probes() -> st.SearchStrategy[Document]:
    """Draw a probe's document."""
    l4_port = st.integers(1, 65535)
    packet = st.fixed_dictionaries(
        {"eth_src": macs, "eth_dst": macs, "ipv4_src": ipv4s, "ipv4_dst": ipv4s, "udp_src": l4_port,
         "udp_dst": l4_port}
    ).filter(lambda drawn: drawn["eth_src"] != drawn["eth_dst"])  # fmt: skip
    streak = st.integers(1, 100)
    return st.fixed_dictionaries(
        {"interval_ms": st.integers(20, 60_000), "timeout_ms": st.integers(1, 200), "fall": streak, "rise": streak,
         "packet": packet}
    )  # fmt: skip


def chains() -> st.SearchStrategy[Document]:
    """Draw a chain's document."""
    return st.fixed_dictionaries(
        {
            "tenant": ids,
            "segment": ids,
            "hops": st.lists(ids, min_size=1, max_size=4),
            "fail": st.sampled_from(["closed", "open"]),
            "symmetric_return": st.booleans(),
            "vlan": st.none() | st.integers(1, 4094),
            "mark": st.integers(1, 7),
        }
    )


def segments() -> st.SearchStrategy[Document]:
    """Draw a segment's document."""
    return st.fixed_dictionaries(
        {
            "tenant": ids,
            "vlan": st.none() | st.integers(0, 4094),
            "vni": st.none() | vnis,
            "number": st.integers(1, 65535),
        }
    )


@st.composite
def vports(draw: st.DrawFn) -> Document:
    """Draw a vport's document."""
    document: Document = {
        "host": draw(ids),
        "port": draw(ports),
        "kind": draw(st.sampled_from(["vf", "trunk"])),
        "tenant": draw(ids),
        "mac": draw(macs),
        "ips": draw(st.lists(ipv4s | ipv6s, max_size=3, unique=True)),
        "vlan": draw(vlans),
        "bandwidth": {name: draw(st.none() | rates) for name in ("outbound_kbps", "inbound_kbps")},
        "priority": draw(st.integers(0, 7)),
    }
    if draw(st.booleans()):
        document["subinterface"] = draw(ports)
    if document["kind"] == "trunk":
        return {**document, "trunk": draw(st.lists(ids, min_size=1, max_size=3, unique=True))}
    return {**document, "segment": draw(ids)}


def routes() -> st.SearchStrategy[Document]:
    """Draw a route's document."""
    base = {"segment": ids, "eth_dst": macs}
    return st.fixed_dictionaries({**base, "vport": ids}) | st.fixed_dictionaries({**base, "to": st.just("uplink")})


def layers() -> st.SearchStrategy[Document]:
    """Draw a layer's document."""
    verdict = st.sampled_from(["allow", "deny"])
    return st.fixed_dictionaries(
        {
            "position": st.integers(0, 65535),
            "stateful": st.booleans(),
            "owner": st.from_regex(r"[ -~]{1,20}", fullmatch=True),
            "default": st.fixed_dictionaries({"outbound": verdict, "inbound": verdict}),
        }
    )


def _prefix(version: int) -> st.SearchStrategy[str]:
    network, width = (ipaddress.IPv4Network, 32) if version == 4 else (ipaddress.IPv6Network, 128)
    pairs = st.tuples(st.integers(0, (1 << width) - 1), st.integers(0, width))
    return pairs.map(lambda pair: str(network(pair, strict=False)))


def _range() -> st.SearchStrategy[str]:
    port = st.integers(0, 65535)
    return port.map(str) | st.tuples(port, port).map(lambda pair: f"{min(pair)}-{max(pair)}")


def _link() -> dict[str, st.SearchStrategy[str]]:
    return {"eth_src": macs, "eth_dst": macs, "vlan_vid": st.just("none") | vlans.map(str)}


@st.composite
def matches(draw: st.DrawFn) -> dict[str, str]:
    """Draw a match that some packet can meet, of any family."""
    family = draw(st.sampled_from(["any", "ipv4", "ipv6", "arp"]))
    byte = st.integers(0, 255).map(str)
    optional = _link()
    if family in ("ipv4", "ipv6"):
        version = int(family[-1])
        optional |= {f"{family}_src": _prefix(version), f"{family}_dst": _prefix(version)}
        optional["ip_dscp"] = st.integers(0, 63).map(str)
        icmp = "icmpv4" if version == 4 else "icmpv6"
        proto = draw(st.sampled_from(["", "tcp", "udp", "sctp", "47", icmp]))
        if proto == icmp:
            optional |= {f"{icmp}_type": byte | st.sampled_from(["8", "128", "135"]), f"{icmp}_code": byte}
        elif proto in ("tcp", "udp", "sctp"):
            optional |= {"l4_src": _range(), "l4_dst": _range()}
        fixed = {"eth_type": st.just(family)} if not proto or proto == icmp else {"ip_proto": st.just(proto)}
        return draw(st.fixed_dictionaries(fixed, optional=optional))
    if family == "arp":
        optional |= {"arp_op": st.sampled_from(["request", "reply", "9"]), "arp_spa": _prefix(4), "arp_tpa": _prefix(4)}
        return draw(st.fixed_dictionaries({"eth_type": st.just("arp")}, optional=optional))
    return draw(st.fixed_dictionaries({}, optional=optional))


def _side(addresses: st.SearchStrategy[str]) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries({"ip": addresses}, optional={"port": st.integers(1, 65535), "mac": macs})


def actions() -> st.SearchStrategy[Document]:
    """Draw an action of a rule that matches every packet; none that refers to another resource."""
    values = {"eth_src": macs, "eth_dst": macs, "ip_dscp": st.integers(0, 63).map(str)}
    values |= {"ipv4_src": ipv4s, "ipv4_dst": ipv4s, "ipv6_src": ipv6s, "ipv6_dst": ipv6s}
    values |= {name: st.integers(0, 65535).map(str) for name in ("l4_src", "l4_dst")}
    assert set(values) == set(SETTABLE)
    rewrites = st.fixed_dictionaries({}, optional=values).filter(bool)
    nats = [
        st.fixed_dictionaries({"type": st.just("nat")}, optional={"source": _side(ips), "destination": _side(ips)})
        for ips in (ipv4s, ipv6s)
    ]
    meters = st.fixed_dictionaries({
        "type": st.just("meter"), "burst": st.integers(1, 4_000_000_000),
        "per": st.sampled_from(["rule", "connection"]),
    })  # fmt: skip
    return st.one_of(
        st.just({"type": "allow"}),
        st.just({"type": "deny"}),
        st.integers(0, 7).map(lambda priority: {"type": "priority", "priority": priority}),
        st.tuples(meters, st.sampled_from(["kbps", "pps"]), rates).map(lambda drawn: {**drawn[0], drawn[1]: drawn[2]}),
        rewrites.map(lambda edit: {"type": "rewrite", "set": edit}),
        st.one_of(nats).filter(lambda nat: len(nat) > 1),
    )


def bound_rules() -> st.SearchStrategy[Document]:
    """Draw a rule's document whose action names another resource or needs a tunnel."""
    naming = st.fixed_dictionaries({"type": st.sampled_from(["mirror", "route"]), "vport": ids})
    skips = st.just({"type": "skip_chain"}) | ids.map(lambda chain: {"type": "chain", "chain": chain})
    tunnels = st.fixed_dictionaries({"type": st.just("encapsulate"), "remote_ip": ipv4s | ipv6s, "vni": vnis})
    timeout = st.none() | st.integers(1, 65535)
    return st.fixed_dictionaries(
        {"priority": priorities, "match": matches(), "action": naming | tunnels | skips, "idle_timeout_s": timeout}
    )


@st.composite
def rules(draw: st.DrawFn) -> Document:
    """Draw a rule's document; one that edits headers matches every packet, or all of TCP where it sets ports."""
    action = draw(actions())
    edited: Document = {"ip_proto": "tcp"} if action["type"] == "nat" else {}
    return {
        "priority": draw(priorities),
        "match": edited if action["type"] in ("rewrite", "nat") else draw(matches()),
        "action": action,
        "idle_timeout_s": draw(st.none() | st.integers(1, 65535)),
        "offload": draw(st.sampled_from(["auto", "on", "off"])),
    }


@st.composite
def groups(draw: st.DrawFn) -> Document:
    """Draw a group's document."""
    names = draw(st.lists(ids, max_size=4, unique=True))
    scope = st.just("all") | ids.map(lambda name: {"vport": name}) | ids.map(lambda name: {"tenant": name})
    return {
        "applies_to": draw(scope),
        "direction": draw(st.sampled_from(["outbound", "inbound"])),
        "priority": draw(priorities),
        "rules": [{"id": name, **draw(rules())} for name in names],
    }


def nat_pools() -> st.SearchStrategy[Document]:
    """Draw a NAT pool's document."""
    inside = st.integers(0x0A000001, 0x0A00FFFF).map(lambda value: str(ipaddress.IPv4Address(value)))
    address = inside | st.just("fd00::200")
    ports = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(lambda ends: f"{min(ends)}-{max(ends)}")
    return st.fixed_dictionaries(
        {
            "segment": ids,
            "host": ids,
            "mac": macs,
            "addresses": st.lists(address, min_size=1, max_size=4, unique=True),
            "ports": ports,
            "most_per_vport": st.none() | st.integers(1, 1000),
            "rest_s": st.integers(0, 3600),
        }
    )


DOCUMENTS = {
    "hosts": hosts(),
    "tenants": st.just({}),
    "segments": segments(),
    "vports": vports(),
    "routes": routes(),
    "outlets": outlets(),
    "functions": functions(),
    "chains": chains(),
    "nat_pools": nat_pools(),
    "layers": layers(),
    "groups": groups(),
    "rules": rules(),
}


@st.composite
def keys(draw: st.DrawFn) -> FlowKey:
    """Draw the key that some packet has, with values that matches name often."""
    family = draw(st.sampled_from(Family))
    bits = draw(st.integers(0, (1 << 8 * KEY_BYTES[family]) - 1))
    settings: dict[str, int] = {"vlan_vid": draw(st.sampled_from([0, 0x1001, 0x1FFE]))}
    eth_types = {Family.IPV4: 0x0800, Family.IPV6: 0x86DD, Family.ND: 0x86DD, Family.ARP: 0x0806, Family.LINK: 0x88CC}
    settings["eth_type"] = eth_types[family]
    if family is Family.ND:
        settings |= {"ip_proto": 58, "l4_src": draw(st.sampled_from(sorted(ND_TYPES))), "l4_dst": 0}
    elif family in (Family.IPV4, Family.IPV6):
        proto = draw(st.sampled_from([6, 17, 132, 1, 58, 47]))
        settings["ip_proto"] = proto
        settings["ip_dscp"] = draw(st.integers(0, 63))
        own = 1 if family is Family.IPV4 else 58
        if proto == own:
            settings |= {"l4_src": draw(st.sampled_from([0, 8, 3, 128, 129, 1])), "l4_dst": draw(st.integers(0, 255))}
        elif proto not in (6, 17, 132):
            settings |= {"l4_src": 0, "l4_dst": 0}
        # The two bits above the DSCP belong to no field.
        bits &= ~(0xC0 << FIELDS["ip_dscp"].shifts[family])
    elif family is Family.ARP:
        bits &= ~(0xFFFFFFFF | 0xFF << 96)
    for name, value in settings.items():
        field = FIELDS[name]
        shift = field.shifts[family]
        bits = bits & ~(field.full << shift) | value << shift
    return FlowKey(family, bits)
