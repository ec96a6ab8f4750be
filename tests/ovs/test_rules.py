"""Rules: whose they are, which of them decides, and the order of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, RED_VLAN, VM1, VM2, VM4, Rule, frame, moved, ping, rewrite, rule, tcp, udp

WEB = {"ip_proto": "tcp", "l4_dst": 80}


def test_rules_belong_to_one_vport(lab: Lab) -> None:
    """M03: the same tuple is allowed for one VM and denied for another."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.group("first", "outbound", rule("no-web", WEB, "deny"), applies_to={"vport": "vm1"})

    lab.send(VM1, tcp(VM1, EXT))
    lab.send(VM2, tcp(VM2, EXT))

    assert lab.wait_sent("h1-uplink") == [packets.tagged(tcp(VM2, EXT), RED_VLAN)]
    assert lab.silent(VM1, VM2)
    assert len(lab.sent("h1-uplink")) == 1


def test_rules_belong_to_one_direction(lab: Lab) -> None:
    """M03: the same tuple is allowed out of a VM and denied into it."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.group("in", "inbound", rule("no-web", WEB, "deny"), applies_to={"vport": "vm1"})

    lab.send(VM1, tcp(VM1, VM2))
    assert lab.wait_sent(VM2) == [tcp(VM1, VM2)]

    lab.send(VM2, tcp(VM2, VM1))
    assert lab.silent(VM1, "h1-uplink")
    (refused,) = [entry for entry in lab.cached(table="inbound") if entry.actions == "drop"]
    assert refused.matches["reg2"] == hex(VM1.vlan)


def test_a_group_of_a_tenant_holds_for_all_its_vports(lab: Lab) -> None:
    """M03: a tenant's group denies for each of its VMs, and not for another tenant's."""
    lab.tenant(VM1, VM2)
    lab.put("tenants/blue", {})
    lab.put("vports/vm4", {**VM4.vport, "tenant": "blue"})
    lab.layer("firewall")
    lab.group("red", "outbound", rule("no-web", WEB, "deny"), applies_to={"tenant": "red"})

    lab.send(VM1, tcp(VM1, EXT))
    lab.send(VM2, tcp(VM2, EXT))
    lab.send(VM4, tcp(VM4, EXT))

    assert lab.wait_sent("h1-uplink") == [packets.tagged(tcp(VM4, EXT), VM4.vlan)]
    lab.settle()
    assert len(lab.sent("h1-uplink")) == 1


def _passes(lab: Lab, sent: bytes) -> bool:
    """Return whether a frame of vm1 reaches vm2; its answer is a verdict in the switch either way."""
    before = len(lab.sent(VM2))
    lab.send(VM1, sent)
    lab.settle()
    return len(lab.sent(VM2)) > before


# A match, a frame that it matches, and one that it does not.
_OUTSIDE = moved(VM2, ip="10.0.1.2", ip6="fd01::2")
_V6: dict[str, Any] = {"version": 6}
MATCHES: Mapping[str, tuple[dict[str, object], bytes, bytes]] = {
    "any": ({}, tcp(VM1, VM2), packets.arp(2, VM1.mac, VM1.ip, VM2.ip, tha=VM2.mac)),
    "protocol": ({"ip_proto": "tcp"}, tcp(VM1, VM2), udp(VM1, VM2)),
    "protocol-number": ({"ip_proto": 47}, frame(VM1, VM2, packets.GRE, b"data"), tcp(VM1, VM2)),
    "ipv4-address": ({"ipv4_dst": VM2.ip}, tcp(VM1, VM2), tcp(VM1, _OUTSIDE)),
    "ipv4-prefix": ({"ipv4_dst": "10.0.0.0/24"}, tcp(VM1, VM2), tcp(VM1, _OUTSIDE)),
    "ipv6-address": ({"ipv6_dst": VM2.ip6}, tcp(VM1, VM2, **_V6), tcp(VM1, _OUTSIDE, **_V6)),
    "ipv6-prefix": ({"ipv6_dst": "fd00::/64"}, tcp(VM1, VM2, **_V6), tcp(VM1, _OUTSIDE, **_V6)),
    "source-prefix": ({"ipv4_src": "10.0.0.0/31"}, tcp(VM1, VM2), tcp(VM1, VM2, **_V6)),
    "port": ({"ip_proto": "tcp", "l4_dst": 80}, tcp(VM1, VM2), tcp(VM1, VM2, dport=81)),
    "port-range-low": ({"ip_proto": "tcp", "l4_dst": "80-90"}, tcp(VM1, VM2), tcp(VM1, VM2, dport=79)),
    "port-range-high": ({"ip_proto": "tcp", "l4_dst": "80-90"}, tcp(VM1, VM2, dport=90), tcp(VM1, VM2, dport=91)),
    "source-range": ({"ip_proto": "udp", "l4_src": "1-1023"}, udp(VM1, VM2, 500), udp(VM1, VM2, 1024)),
    "sctp-port": (
        {"ip_proto": "sctp", "l4_dst": 8},
        frame(VM1, VM2, packets.SCTP, packets.sctp(7, 8)),
        frame(VM1, VM2, packets.SCTP, packets.sctp(7, 9)),
    ),
    "mac": ({"eth_dst": VM2.mac}, tcp(VM1, VM2), tcp(VM1, moved(VM2, mac="02:00:00:00:00:55"))),
    "mac-mask": (
        {"eth_dst": "02:00:00:00:00:00/ff:ff:ff:ff:ff:f0"},
        tcp(VM1, VM2),
        tcp(VM1, moved(VM2, mac="02:00:00:00:00:55")),
    ),
    "dscp": ({"ip_dscp": 46}, tcp(VM1, VM2, dscp=46), tcp(VM1, VM2)),
    "dscp-ipv6": ({"ip_dscp": 46}, tcp(VM1, VM2, dscp=46, **_V6), tcp(VM1, VM2, **_V6)),
    "icmp-type": (
        {"icmpv4_type": 8},
        ping(VM1, VM2),
        frame(VM1, VM2, packets.ICMP, packets.icmp(13, 0, bytes(12))),
    ),
    "icmp-code": (
        {"icmpv4_type": 5, "icmpv4_code": 1},
        frame(VM1, VM2, packets.ICMP, packets.icmp(5, 1)),
        frame(VM1, VM2, packets.ICMP, packets.icmp(5, 0)),
    ),
    "icmpv6-type": ({"icmpv6_type": 128}, ping(VM1, VM2, **_V6), ping(VM1, VM2, reply=True, **_V6)),
    "ethertype": (
        {"eth_type": 0x88B5},
        packets.ether(VM1.mac, VM2.mac, 0x88B5, bytes(46)),
        packets.ether(VM1.mac, VM2.mac, 0x88B6, bytes(46)),
    ),
    "family": ({"eth_type": "ipv6"}, tcp(VM1, VM2, **_V6), tcp(VM1, VM2)),
    "arp": (
        {"arp_op": "reply"},
        packets.arp(2, VM1.mac, VM1.ip, VM2.ip, tha=VM2.mac),
        packets.arp(1, VM1.mac, VM1.ip, VM2.ip, eth_dst=VM2.mac),
    ),
}


@pytest.mark.parametrize("kind", MATCHES)
def test_a_rule_matches_what_it_says(lab: Lab, kind: str) -> None:
    """M04: a denying rule stops the packets that its match describes, and no others."""
    match, inside, outside = MATCHES[kind]
    lab.tenant(VM1, VM2)
    lab.put("routes/other", {"segment": "red", "eth_dst": "02:00:00:00:00:55", "vport": "vm2"})
    lab.layer("firewall")
    lab.group("some", "outbound", rule("no", match, "deny"))

    assert not _passes(lab, inside)
    assert _passes(lab, outside)

    lab.delete("layers/firewall/groups/some")
    assert _passes(lab, inside)


def test_a_rule_matches_the_vlan_of_a_trunk(lab: Lab) -> None:
    """M04: a rule that names a VLAN decides for that tag of a trunk and not for the other."""
    lab.tenant()
    lab.put("segments/green", {"tenant": "red", "vlan": 300})
    lab.put("vports/vm1", {**VM1.vport, "kind": "trunk", "trunk": [RED_VLAN, 300]})
    lab.layer("firewall")
    lab.group("tag", "outbound", rule("no-green", {"vlan_vid": 300}, "deny"))

    lab.send(VM1, packets.tagged(tcp(VM1, EXT), 300), packets.tagged(tcp(VM1, EXT), RED_VLAN))

    assert lab.wait_sent("h1-uplink") == [packets.tagged(tcp(VM1, EXT), RED_VLAN)]
    lab.settle()
    assert len(lab.sent("h1-uplink")) == 1


@pytest.mark.parametrize(
    ("rules", "passes"),
    [
        ([rule("all", {}, "deny", priority=10), rule("web", WEB, priority=20)], True),
        ([rule("all", {}, "deny", priority=20), rule("web", WEB, priority=10)], False),
        ([rule("a", WEB), rule("b", {}, "deny")], True),
        ([rule("b", WEB), rule("a", {}, "deny")], False),
    ],
    ids=["specific-first", "general-first", "tie-by-id", "tie-by-id-reversed"],
)
def test_the_highest_priority_of_a_group_decides(lab: Lab, rules: list[Rule], passes: bool) -> None:
    """M04: of all rules that match, the highest priority decides, and among equals the lower id."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.group("some", "outbound", *rules)

    assert _passes(lab, tcp(VM1, VM2)) is passes


def test_the_first_group_that_matches_decides(lab: Lab) -> None:
    """M04: a group of higher priority stands before others, and one without a match leaves the word to the next."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.group("a-low", "outbound", rule("all", {}, "deny", priority=60000), priority=1)
    lab.group("b-high", "outbound", rule("web", WEB, priority=0), priority=2)

    assert _passes(lab, tcp(VM1, VM2))
    assert not _passes(lab, tcp(VM1, VM2, dport=81))


@pytest.mark.parametrize("default", ["allow", "deny"])
def test_the_default_decides_when_no_rule_matches(lab: Lab, default: str) -> None:
    """M04: what no rule matches meets the layer's default of its direction."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", outbound=default)
    lab.group("web", "outbound", rule("web", WEB, "deny" if default == "allow" else "allow"))

    assert _passes(lab, tcp(VM1, VM2, dport=81)) is (default == "allow")
    assert _passes(lab, tcp(VM1, VM2)) is (default == "deny")


@pytest.mark.parametrize("version", [4, 6])
def test_layers_run_in_order_and_backwards_inbound(lab: Lab, version: int) -> None:
    """M05: two layers set the same field, and the last one's value wins: another one by direction."""
    lab.tenant(VM1, VM2)
    for name, position, dscp in (("early", 10, 11), ("late", 20, 22)):
        lab.layer(name, position)
        for direction in ("outbound", "inbound"):
            scope = {"vport": "vm1"}
            mark = rule("mark", {"ip_proto": "udp"}, rewrite(ip_dscp=dscp))
            lab.group(f"{name}-{direction}", direction, mark, layer=name, applies_to=scope)

    lab.send(VM1, udp(VM1, VM2, 1, 2, version=version))
    lab.send(VM2, udp(VM2, VM1, 3, 4, version=version))

    assert packets.read(lab.wait_sent(VM2)[0]).dscp == 22
    assert packets.read(lab.wait_sent(VM1)[0]).dscp == 11


def test_a_later_layer_sees_what_an_earlier_one_made(lab: Lab) -> None:
    """M05: a layer matches on the packet as the layers before it have left it."""
    lab.tenant(VM1, VM2)
    lab.layer("move", 10)
    lab.layer("firewall", 20)
    lab.group("ports", "outbound", rule("to-8080", WEB, rewrite(l4_dst=8080)), layer="move")
    lab.group("some", "outbound", rule("no-80", WEB, "deny"), rule("no-81", {"ip_proto": "tcp", "l4_dst": 81}, "deny"))

    lab.send(VM1, tcp(VM1, VM2))

    assert packets.read(lab.wait_sent(VM2)[0]).dport == 8080
    assert not _passes(lab, tcp(VM1, VM2, dport=81))


def test_moving_a_layer_changes_the_order(lab: Lab) -> None:
    """M05: position alone decides the order, also after it was changed."""
    lab.tenant(VM1, VM2)
    lab.layer("one", 10)
    lab.layer("two", 20)
    for name, dscp in (("one", 11), ("two", 22)):
        lab.group("mark", "outbound", rule("mark", {}, rewrite(ip_dscp=dscp)), layer=name)
    lab.send(VM1, udp(VM1, VM2))
    assert packets.read(lab.wait_sent(VM2)[0]).dscp == 22

    lab.layer("one", 30)
    lab.send(VM1, udp(VM1, VM2))

    assert packets.read(lab.wait_sent(VM2, 2)[1]).dscp == 11


def test_a_deny_stops_the_walk_and_is_named(lab: Lab) -> None:
    """M06: the denied packet leaves nowhere, later layers are not asked, and the verdict names layer, group, rule."""
    lab.tenant(VM1, VM2)
    lab.layer("first", 10)
    lab.layer("second", 20)
    lab.layer("third", 30)
    lab.group("pass", "outbound", rule("ok", {}), layer="first")
    lab.group("stop", "outbound", rule("no-web", WEB, "deny"), layer="second")
    lab.group("mark", "outbound", rule("mark", {}, rewrite(ip_dscp=9)), layer="third")
    packet = {"ip_proto": "tcp", "ipv4_src": VM1.ip, "ipv4_dst": VM2.ip, "eth_dst": VM2.mac}
    packet |= {"l4_src": "40000", "l4_dst": "80"}
    named = {"layer": "second", "group": "stop", "rule": "no-web"}

    traced = lab.trace(VM1, packet)
    lab.send(VM1, tcp(VM1, VM2))

    assert lab.silent(VM2, "h1-uplink")
    (entry,) = lab.cached()
    assert (entry.actions, entry.matches["reg1"]) == ("drop", hex(VM1.vlan))
    (flow,) = lab.get("flows")["items"]
    assert flow["state"] == "denied"
    for asked in (traced["walk"][0]["layers"], flow["forward"][0]["layers"]):
        assert [layer["layer"] for layer in asked] == ["first", "second"]
        assert named.items() <= asked[-1].items()
    assert named.items() <= traced["decided_by"].items()
    assert traced["allow"] is False


def test_a_deny_of_the_receiver_leaves_nothing_behind_the_sender(lab: Lab) -> None:
    """M06: what the receiving VM's layers deny is dropped, and the verdict names that vport's layer."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", inbound="deny")

    lab.send(VM1, tcp(VM1, VM2))

    assert lab.silent(VM2, "h1-uplink")
    (flow,) = lab.get("flows?vport=vm2")["items"]
    assert flow["forward"][-1]["vport"] == "vm2"
    assert flow["forward"][-1]["layers"][-1]["reason"] == "default"
    assert [entry.actions for entry in lab.cached(table="inbound")] == ["drop"]
