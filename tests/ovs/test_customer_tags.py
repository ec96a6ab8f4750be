"""Customers' VLAN tags on a real switch: put on beneath the segment's own, taken off, and composed with all else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, RED_VLAN, VM1, VM2, frame, moved, ping, rewrite, rule, tcp, udp

CUSTOMER = 300
PUSH = {"type": "push_vlan", "vlan": CUSTOMER}
POP = {"type": "pop_vlan"}


@pytest.fixture(autouse=True)
def _two_tags(lab: Lab) -> Iterator[None]:
    """Let the switch look behind two tags, as docs/operations.md says; this concerns this module's switch alone."""
    lab.ovs.vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=2")
    lab.refresh()
    yield
    lab.ovs.vsctl("remove", "Open_vSwitch", ".", "other_config", "vlan-limit")


def inside(sent: bytes, vlan: int = CUSTOMER) -> bytes:
    """Return a frame with a customer's tag."""
    return packets.tagged(sent, vlan)


def on_wire(sent: bytes, vlan: int = CUSTOMER) -> bytes:
    """Return a frame with a customer's tag beneath the segment's."""
    return packets.tagged(inside(sent, vlan), RED_VLAN)


def tagging(lab: Lab, action: dict[str, Any] = PUSH, direction: str = "outbound", **match: Any) -> None:
    """Put a layer with one rule that tags."""
    lab.layer("tags", 5)
    lab.group("t", direction, rule("t", match or {"eth_type": "ipv4"}, action), layer="tags",
              applies_to={"vport": "vm1"})  # fmt: skip


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("make", [tcp, udp], ids=["tcp", "udp"])
def test_a_tag_is_put_on_and_the_reply_loses_it(lab: Lab, make: Any, version: int) -> None:
    """M23: what a rule tags leaves with both tags, from the first packet on, and the tagged reply comes plain."""
    lab.tenant(VM1)
    lab.layer("firewall", 1, stateful=True, inbound="deny")
    tagging(lab, eth_type=f"ipv{version}")
    sent = make(VM1, EXT, 40000, 80, b"hello", version=version)
    for count in (1, 2):
        lab.send(VM1, sent)
        assert lab.wait_sent("h1-uplink", count) == [on_wire(sent)] * count
    answer = make(EXT, VM1, 80, 40000, b"answer", version=version)
    for _ in range(2):
        lab.from_network(inside(answer))
    assert lab.wait_sent(VM1, 2) == [answer] * 2
    assert lab.packet_ins() == 1

    # Neither without the tag nor with another is it a reply of this connection.
    lab.from_network(answer, inside(answer, 301))
    lab.settle()
    assert len(lab.sent(VM1)) == 2


def test_a_tag_is_taken_off_and_the_reply_gets_it(lab: Lab) -> None:
    """M23: a connection that begins in a customer's VLAN outside comes plain to the VM, and replies go back tagged."""
    lab.tenant(VM1)
    tagging(lab, POP, "inbound", vlan_vid=CUSTOMER)
    asked, answer = tcp(EXT, VM1, 40000, 80), tcp(VM1, EXT, 80, 40000, flags=packets.SYN_ACK)
    for count in (1, 2):
        lab.from_network(inside(asked))
        assert lab.wait_sent(VM1, count) == [asked] * count
        lab.send(VM1, answer)
        assert lab.wait_sent("h1-uplink", count) == [on_wire(answer)] * count
    assert lab.packet_ins() == 1


def test_vms_see_and_send_no_tags_of_their_own_making(lab: Lab) -> None:
    """M23 S12: what nobody takes the tag off does not reach a VM, and a VM that tags its own frames is refused."""
    lab.tenant(VM1, VM2)
    for number in range(2):
        lab.from_network(inside(udp(EXT, VM1, 53, 5000 + number)))
    assert lab.silent(VM1)
    lab.send(VM1, inside(udp(VM1, VM2, 1, 2)))
    assert lab.silent(VM2, "h1-uplink")
    refused = lab.get("stats")["vports"]["vm1"]["refused"]
    assert (refused["tagged"], refused["vlan"]) == (2, 1)
    said = lab.trace(VM1, {"ip_proto": "udp", "ipv4_src": VM1.ip, "vlan_vid": "300", "l4_src": "1", "l4_dst": "2"})
    assert said["refused"] == "vlan"


def test_between_vms_one_tags_and_the_other_takes_it_off(lab: Lab) -> None:
    """M23 M25: the receiver's rules see the tag that the sender's have put on."""
    lab.tenant(VM1, VM2)
    tagging(lab)
    lab.send(VM1, udp(VM1, VM2, 5, 53))
    assert lab.silent(VM2)
    lab.layer("off", 6)
    lab.group("o", "inbound", rule("o", {"vlan_vid": CUSTOMER}, POP), layer="off", applies_to={"vport": "vm2"})
    lab.send(VM1, udp(VM1, VM2, 5, 53))
    assert lab.wait_sent(VM2) == [udp(VM1, VM2, 5, 53)]
    lab.send(VM2, udp(VM2, VM1, 53, 5))
    assert lab.wait_sent(VM1) == [udp(VM2, VM1, 53, 5)]


def test_tags_compose_with_everything(lab: Lab) -> None:
    """M07 M23: a push, a copy, another push, a mark, a source of a pool and a pop and push again leave as one entry."""
    lab.tenant(VM1, VM2)
    mac = "02:fa:00:00:00:09"
    pool = {"segment": "red", "host": "h1", "mac": mac, "addresses": ["10.0.0.240"], "rest_s": 0}
    lab.put("nat_pools/tagged", pool)
    source = {"type": "nat", "source": {"pool": "tagged"}}
    steps: list[dict[str, Any]] = [{"type": "push_vlan", "vlan": 7}, {"type": "mirror", "vport": "vm2"}]
    steps += [rewrite(ip_dscp=46), POP, PUSH, source]
    for number, action in enumerate(steps):
        lab.layer(f"layer{number}", number)
        match = {"vlan_vid": 7} if number == 2 else {"eth_type": "ipv4"}
        lab.group("g", "outbound", rule("r", match, action), layer=f"layer{number}", applies_to={"vport": "vm1"})
    shown = moved(EXT, mac=mac, ip="10.0.0.240")
    for count in (1, 2):
        lab.send(VM1, udp(VM1, EXT, 40000, 53))
        assert lab.wait_sent("h1-uplink", count) == [on_wire(udp(shown, EXT, 40000, 53, dscp=46))] * count
        assert lab.wait_sent(VM2, count) == [inside(udp(VM1, EXT, 40000, 53), 7)] * count
    assert len(lab.cached(table="outbound")) == 1
    for _ in range(2):
        lab.from_network(inside(udp(EXT, shown, 53, 40000)))
    assert lab.wait_sent(VM1, 2) == [udp(EXT, VM1, 53, 40000)] * 2
    assert lab.packet_ins() == 1


@pytest.mark.parametrize("version", [4, 6])
def test_errors_and_pieces_lose_the_tag_too(lab: Lab, version: int) -> None:
    """M22 M23: pings, ICMP errors and fragments of a tagged connection reach the VM plain, with checksums right."""
    lab.tenant(VM1)
    tagging(lab, eth_type=f"ipv{version}")
    lab.send(VM1, ping(VM1, EXT, version=version))
    assert lab.wait_sent("h1-uplink") == [on_wire(ping(VM1, EXT, version=version))]
    lab.from_network(inside(ping(EXT, VM1, version=version, reply=True)))
    assert lab.wait_sent(VM1) == [ping(EXT, VM1, version=version, reply=True)]

    sent = udp(VM1, EXT, 40000, 53, b"probe", version=version)
    lab.send(VM1, sent)
    lab.wait_sent("h1-uplink", 2)
    kind, code, proto = (3, 1, packets.ICMP) if version == 4 else (1, 3, packets.ICMPV6)
    error = frame(EXT, VM1, proto, packets.icmp(kind, code, sent[14:]), version=version)
    lab.from_network(inside(error))
    assert lab.wait_sent(VM1, 2)[1] == error

    source, target = (EXT.ip, VM1.ip) if version == 4 else (EXT.ip6, VM1.ip6)
    eth_type = packets.IPV4 if version == 4 else packets.IPV6
    data = packets.transport(source, target, packets.UDP, packets.udp(53, 40000, bytes(range(200))))
    pieces = [packets.packet(source, target, packets.UDP, part, ident=7, offset=offset, more=not offset)
              for offset, part in ((0, data[:104]), (13, data[104:]))]  # fmt: skip
    frames = [packets.ether(EXT.mac, VM1.mac, eth_type, piece) for piece in pieces]
    lab.from_network(*map(inside, frames))
    assert lab.wait_sent(VM1, 4)[2:] == frames


def test_arp_is_tagged_where_a_rule_names_it(lab: Lab) -> None:
    """M23: with rules for ARP a VM finds its neighbours in a customer's VLAN."""
    lab.tenant(VM1)
    lab.layer("tags", 5)
    only = {"vport": "vm1"}
    lab.group("out", "outbound", rule("t", {"eth_type": "arp"}, PUSH), layer="tags", applies_to=only)
    lab.group("in", "inbound", rule("t", {"eth_type": "arp", "vlan_vid": CUSTOMER}, POP), layer="tags", applies_to=only)
    asks = packets.arp(1, VM1.mac, VM1.ip, EXT.ip)
    lab.send(VM1, asks)
    assert lab.wait_sent("h1-uplink") == [on_wire(asks)]
    told = packets.arp(2, EXT.mac, EXT.ip, VM1.ip, tha=VM1.mac)
    lab.from_network(inside(told))
    assert lab.wait_sent(VM1) == [told]


@pytest.mark.parametrize(
    ("segment", "vport", "where"),
    [({"vlan": 0}, {}, "action"), ({}, {"kind": "trunk", "trunk": [RED_VLAN], "segment": None}, "action")],
    ids=["untagged", "trunk"],
)
def test_a_tag_that_would_be_taken_for_a_segments_is_refused(
    lab: Lab, segment: dict[str, Any], vport: dict[str, Any], where: str
) -> None:
    """M23: no rule puts a tag on where it would stand alone on the wire, or beside a trunk's."""
    lab.tenant()
    lab.put("segments/red", {"tenant": "red", "vlan": RED_VLAN, **segment})
    body = {name: value for name, value in {**VM1.vport, **vport}.items() if value is not None}
    lab.put("vports/vm1", body)
    lab.layer("tags", 5)
    lab.group("t", "outbound", layer="tags", applies_to={"vport": "vm1"})
    refused = lab.rest("PUT", "layers/tags/groups/t/rules/r", {"priority": 1, "match": {}, "action": PUSH})
    assert refused.status == 422 and [fault["path"] for fault in refused.body["errors"]] == [where]


def test_a_switch_that_looks_behind_one_tag_breaks_nothing(lab: Lab) -> None:
    """M23: without the switch's setting the host decides each packet, and neighbour messages do no harm."""
    lab.ovs.vsctl("remove", "Open_vSwitch", ".", "other_config", "vlan-limit")
    lab.tenant(VM1)
    tagging(lab)
    lab.refresh()
    for count in (1, 2):
        lab.send(VM1, udp(VM1, EXT, 40000, 53))
        assert lab.wait_sent("h1-uplink", count) == [on_wire(udp(VM1, EXT, 40000, 53))] * count
        lab.from_network(inside(udp(EXT, VM1, 53, 40000)))
        assert lab.wait_sent(VM1, count) == [udp(EXT, VM1, 53, 40000)] * count
    before = lab.get("stats")["vports"]["vm1"].get("malformed", 0)
    lab.from_network(inside(packets.arp(2, EXT.mac, EXT.ip, VM1.ip, tha=VM1.mac)))
    lab.settle()
    assert lab.get("stats")["vports"]["vm1"]["malformed"] == before + 1
    lab.delete("layers/tags/groups/t")
    assert len(lab.sent(VM1)) == 2


def test_tagged_connections_outlive_the_controller(lab: Lab) -> None:
    """M26: a restart takes over connections with tags as they are."""
    lab.tenant(VM1)
    tagging(lab)
    lab.send(VM1, udp(VM1, EXT, 40000, 53))
    lab.wait_sent("h1-uplink")
    entries = {entry.match for entry in lab.wait_cached(2)}
    lab.controller.restart()
    lab.site.wait_ready()
    assert {entry.match for entry in lab.cached()} == entries
    before = lab.get("stats")["counts"]["misses"]
    lab.from_network(inside(udp(EXT, VM1, 53, 40000)))
    assert lab.wait_sent(VM1) == [udp(EXT, VM1, 53, 40000)]
    assert lab.get("stats")["counts"]["misses"] == before
    (flow,) = lab.get("flows")["items"]
    assert flow["forward"][0]["edit"] == {"vlan_vid": str(CUSTOMER)}


