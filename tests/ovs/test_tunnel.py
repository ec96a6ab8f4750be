"""VXLAN on a real Open vSwitch: what rules encapsulate, and what comes in by the tunnel port."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.site import Site
from tests.ovs.stations import EXT, RED_VLAN, VM1, VM2, VM3, moved, rule, tcp, udp

HERE, THERE = "172.16.0.1", "172.16.0.2"
PEER_MAC = "02:aa:00:00:00:02"
VNI = 5000
VXLAN_PORT = 4789
TO_THERE = {"type": "encapsulate", "remote_ip": THERE, "vni": VNI}


@pytest.fixture(scope="module")
def tunnelled(site: Site) -> str:
    """Give host h1 a tunnel port over an underlay of its own; return the underlay's port."""
    site.ovs.add_underlay("u1", HERE, "u1-net", (THERE, PEER_MAC))
    return "u1-net"


@pytest.fixture
def lab(site: Site, tunnelled: str) -> Iterator[Lab]:
    """Return the shared site with an empty policy and a tunnel on h1, for one test."""
    made = Lab(site)
    if "h1-vx0" not in site.ovs.vsctl("list-ports", "h1").split():
        site.ovs.add_tunnel("h1", "h1-vx0", 20)
    wait_until(lambda: "h1-vx0" in str(made.get("hosts/h1")["live"]["ports"]), 5, "the controller to see the tunnel")
    made.put("hosts/h1", {"dpid": "1", "uplink": "h1-uplink", "tunnel": "h1-vx0"})
    made.tenant(VM1, VM2)
    made.put("segments/red", {"tenant": "red", "vlan": RED_VLAN, "vni": VNI})
    made.layer("overlay")
    yield made
    made.put("segments/red", {"tenant": "red", "vlan": RED_VLAN})


def outer(inner: bytes, vni: int = VNI, mac: str = "") -> bytes:
    """Return a frame from the peer that carries another in VXLAN (RFC 7348 section 5)."""
    header = struct.pack("!II", 0x08 << 24, vni << 8)
    datagram = packets.udp(50000, VXLAN_PORT, header + inner)
    body = packets.packet(THERE, HERE, packets.UDP, packets.transport(THERE, HERE, packets.UDP, datagram))
    return packets.ether(PEER_MAC, mac, packets.IPV4, body)


def carried(frames: list[bytes]) -> list[tuple[str, int, bytes]]:
    """Return endpoint, network identifier and inner frame of each VXLAN frame among these."""
    found = []
    for each in frames:
        read = packets.read(each)
        if read.proto == packets.UDP and read.dport == VXLAN_PORT:
            found.append((read.dst, int.from_bytes(read.body[12:15], "big"), read.body[16:]))
    return found


def test_a_rule_encapsulates(lab: Lab, tunnelled: str) -> None:
    """M23: what a rule encapsulates leaves in VXLAN to the endpoint named, untagged, and not by the uplink."""
    lab.group("g", "outbound", rule("r", {"ip_proto": "udp"}, TO_THERE), layer="overlay", applies_to={"vport": "vm1"})
    before = len(lab.ovs.sent(tunnelled))
    for count in (1, 2):
        lab.send(VM1, udp(VM1, EXT, data=b"over"))
        lab.ovs.wait_sent(tunnelled, before + count)
        lab.settle()
    assert carried(lab.ovs.sent(tunnelled)[before:]) == [(THERE, VNI, udp(VM1, EXT, data=b"over"))] * 2
    lab.send(VM1, tcp(VM1, EXT))
    assert lab.wait_sent("h1-uplink") == [packets.tagged(tcp(VM1, EXT), RED_VLAN)]
    assert lab.packet_ins() == 2


def test_arp_is_encapsulated_packet_by_packet(lab: Lab, tunnelled: str) -> None:
    """M23: where a rule names ARP, each request goes through the tunnel although it leaves no entry."""
    lab.group("g", "outbound", rule("r", {"eth_type": "arp"}, TO_THERE), layer="overlay", applies_to={"vport": "vm1"})
    before = len(lab.ovs.sent(tunnelled))
    asking = packets.arp(1, VM1.mac, VM1.ip, EXT.ip)
    lab.send(VM1, asking)
    wait_until(lambda: carried(lab.ovs.sent(tunnelled)[before:]), 5, "the request in VXLAN")
    assert carried(lab.ovs.sent(tunnelled)[before:]) == [(THERE, VNI, asking)]
    assert lab.silent("h1-uplink", VM2)


def test_the_vni_says_the_segment(lab: Lab, tunnelled: str) -> None:
    """M23: what comes by the tunnel is decapsulated, belongs to its VNI's segment and meets the receiver's rules."""
    mac = lab.ovs.vsctl("get", "interface", "u1", "mac_in_use").strip().strip('"')
    lab.group("g", "inbound", rule("no", {"ip_proto": "tcp", "l4_dst": "22"}, "deny"), layer="overlay")
    for count in (1, 2):
        lab.send(tunnelled, outer(tcp(EXT, VM1), mac=mac))
        assert lab.wait_sent(VM1, count) == [tcp(EXT, VM1)] * count
    lab.send(tunnelled, outer(tcp(EXT, VM1, dport=22), mac=mac))
    lab.send(tunnelled, outer(tcp(EXT, moved(EXT, mac="02:00:00:00:77:77")), mac=mac))
    lab.send(tunnelled, outer(tcp(EXT, VM1, dport=81), vni=6000, mac=mac))

    def refused() -> dict[str, int]:
        lab.refresh()
        return {reason: number for reason, number in lab.get("stats")["refused"].items() if number}

    wait_until(refused, 5, "both to be refused", until=lambda seen: {"unknown-vni", "not-local"} <= set(seen))
    assert lab.packet_ins() == 2
    assert lab.silent(VM2, "h1-uplink")
    assert len(lab.sent(VM1)) == 2


def test_a_tunnel_port_that_vanishes_is_told_and_may_come_back(lab: Lab, tunnelled: str) -> None:
    """M23: without its port what a rule encapsulates is dropped and counted, and goes again when the port is back."""
    lab.group("g", "outbound", rule("r", {"ip_proto": "udp"}, TO_THERE), layer="overlay", applies_to={"vport": "vm1"})
    before = len(lab.ovs.sent(tunnelled))
    lab.ovs.delete_port("h1", "h1-vx0")
    wait_until(lambda: "h1-vx0" not in lab.get("hosts/h1")["live"]["ports"], 5, "the port to be gone")
    lab.site.wait_ready()
    lab.send(VM1, udp(VM1, EXT), udp(VM1, EXT))

    def refused() -> int:
        lab.refresh()
        return int(lab.get("stats")["refused"].get("no-tunnel", 0))

    wait_until(refused, 5, "two to be counted", until=lambda count: count == 2)
    lab.ovs.add_tunnel("h1", "h1-vx0", 20)
    wait_until(lambda: "h1-vx0" in lab.get("hosts/h1")["live"]["ports"], 5, "the port to be back")
    lab.site.wait_ready()
    lab.send(VM1, udp(VM1, EXT, data=b"again"))
    wait_until(lambda: carried(lab.ovs.sent(tunnelled)[before:]), 5, "VXLAN")
    assert carried(lab.ovs.sent(tunnelled)[before:]) == [(THERE, VNI, udp(VM1, EXT, data=b"again"))]
    assert lab.silent("h1-uplink")


def test_both_ends_of_a_tunnelled_connection_are_asked_at_once(lab: Lab) -> None:
    """M23 M25: under the segment's own VNI the receiver on the other host is asked with the first packet."""
    lab.put("vports/vm3", VM3.vport)
    lab.group("g", "outbound", rule("r", {"ip_proto": "udp"}, TO_THERE), layer="overlay", applies_to={"vport": "vm1"})
    lab.send(VM1, udp(VM1, VM3))
    (entry,) = lab.wait_cached(1, "h2", "inbound")
    assert "goto_table" in entry.actions
    assert lab.trace(VM1, {"ip_proto": "udp", "eth_dst": VM3.mac, "ipv4_src": VM1.ip, "l4_dst": "7"})["delivery"] == {
        "to": "tunnel", "remote_ip": THERE, "vni": VNI,
    }  # fmt: skip
