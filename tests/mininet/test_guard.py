"""What a VM may not claim to be: every kind of forged frame is dropped in the NIC and counted by vport and reason."""

from __future__ import annotations

import pytest

from mininet_scripts.support import frames, hosts, traffic
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until
from tests.mininet.lab import Lab
from topologies.single_host import SingleHost

TOPOLOGY = SingleHost

ME, OTHER, EXT = address_of("vm1"), address_of("vm2"), address_of("ext")
MY_LINK_LOCAL, OTHERS_LINK_LOCAL = "fe80::ff:fe00:1", "fe80::ff:fe00:2"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


def ipv4_frame(src_mac: str, src: str, payload: bytes, dst: str = EXT.ipv4, dst_mac: str = EXT.mac) -> bytes:
    """Return a UDP packet in a frame."""
    return frames.ethernet(dst_mac, src_mac, frames.IPV4, frames.ipv4(src, dst, frames.UDP, payload))


def ipv6_frame(packet: bytes, dst_mac: str = ALL_NODES_MAC) -> bytes:
    """Return an IPv6 packet in a frame from vm1's own MAC."""
    return frames.ethernet(dst_mac, ME.mac, frames.IPV6, packet)


PLAIN = frames.udp(4000, 9)
FORGERIES = {
    "mac": ("mac", ipv4_frame(OTHER.mac, ME.ipv4, PLAIN)),
    "vlan": ("vlan", frames.ethernet(EXT.mac, ME.mac, frames.EXPERIMENTAL, b"", vlan=101)),
    "another-vfs-vlan": ("vlan", frames.ethernet(EXT.mac, ME.mac, frames.EXPERIMENTAL, b"", vlan=102)),
    "ipv4": ("ip", ipv4_frame(ME.mac, OTHER.ipv4, PLAIN)),
    "ipv6": ("ip", ipv6_frame(frames.ipv6(OTHER.ipv6, EXT.ipv6, frames.UDP, PLAIN), EXT.mac)),
    "arp-spa": ("arp", frames.ethernet(frames.BROADCAST, ME.mac, frames.ARP,
                                       frames.arp(2, ME.mac, OTHER.ipv4, EXT.ipv4))),
    "arp-sha": ("arp", frames.ethernet(frames.BROADCAST, ME.mac, frames.ARP,
                                       frames.arp(2, OTHER.mac, ME.ipv4, EXT.ipv4))),
    "nd-target": ("nd", ipv6_frame(frames.neighbour(136, ME.ipv6, ALL_NODES, OTHER.ipv6, ME.mac))),
    "nd-option": ("nd", ipv6_frame(frames.neighbour(136, ME.ipv6, ALL_NODES, ME.ipv6, OTHER.mac))),
    "nd-source": ("nd", ipv6_frame(frames.neighbour(135, OTHERS_LINK_LOCAL, ALL_NODES, EXT.ipv6, ME.mac))),
    "router": ("router", ipv6_frame(frames.icmpv6(MY_LINK_LOCAL, ALL_NODES, 134, bytes(12)))),
    "redirect": ("router", ipv6_frame(frames.icmpv6(MY_LINK_LOCAL, ALL_NODES, 137, bytes(36)))),
    "dhcp-server": ("dhcp-server", ipv4_frame(ME.mac, ME.ipv4, frames.udp(67, 68), "255.255.255.255",
                                              frames.BROADCAST)),
    "dhcpv6-server": ("dhcp-server", ipv6_frame(frames.ipv6(MY_LINK_LOCAL, ALL_NODES, frames.UDP,
                                                            frames.udp(547, 546)))),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_frame_is_refused_and_counted(lab: Lab, forgery: str) -> None:
    """S12: a forged frame reaches nobody, is counted under its one reason, and begins no flow."""
    lab.tenant("red", "vm1", "vm2", "vm3")
    reason, frame = FORGERIES[forgery]

    with lab.watch("vm2-eth0") as neighbour, lab.watch("h1-uplink") as uplink:
        lab.send("vm1", frame, frame, frame)
        wait_until(lambda: lab.refused("vm1"), 5, f"3 frames refused as {reason}", until=lambda now: now == {reason: 3})
        forged = frame[14:30]
        assert not [each for watch in (neighbour, uplink) for each in watch.frames() if forged in each.payload]
    assert lab.flows("vm1") == []
    assert lab.refused("vm2") == lab.refused("vm3") == {}


def test_honest_vms_are_not_refused(lab: Lab) -> None:
    """S12: ordinary traffic of both address families, address probes included, refuses nothing."""
    lab.tenant("red", "vm1", "vm2", "vm3")

    for version in (4, 6):
        assert lab.reaches("vm1", "vm2", version)
        assert lab.reaches("vm3", "ext", version)
    probe = frames.arp(1, ME.mac, "0.0.0.0", ME.ipv4)
    detection = frames.icmpv6("::", "ff02::1:ff00:1", 135, bytes(4) + bytes.fromhex("fd") + bytes(14) + b"\1")
    lab.send("vm1", frames.ethernet(frames.BROADCAST, ME.mac, frames.ARP, probe), ipv6_frame(detection))

    assert [lab.refused(name) for name in ("vm1", "vm2", "vm3")] == [{}, {}, {}]


def test_reflected_frame_is_dropped(lab: Lab) -> None:
    """S12: a VM's own frame that the network brings back is dropped and counted, and reaches no neighbour."""
    lab.tenant("red", "vm1", "vm2")
    frame = frames.ethernet(frames.BROADCAST, ME.mac, frames.EXPERIMENTAL, b"again")

    with lab.watch("vm2-eth0") as neighbour:
        lab.send_from_peer("h1-uplink", [frame])
        wait_until(lambda: lab.refused("vm1"), 5, "one refusal", until=lambda now: now == {"reflected": 1})
        assert not [each for each in neighbour.frames() if each.payload.startswith(b"again")]


def test_dhcp_needs_and_gets_its_rule(lab: Lab) -> None:
    """S12 M22: a VM gets its address from a server outside once a rule lets the answers in, and not before."""
    lab.tenant("red", "vm1", "vm2")
    lab.layer("firewall", layer(stateful=True, outbound="allow", inbound="deny"))
    server = ("ext-eth0", EXT.ipv4, ME.ipv4)

    with traffic.talking(lab.host("ext"), "ready", *hosts.script("dhcp_server.py"), *server):
        assert dhcp_address(lab, "vm1", timeout_s=0.7) == "none"
        answers = rule("dhcp", ip_proto="udp", l4_src=67, l4_dst=68)
        lab.client.put("/v1/layers/firewall/groups/dhcp", group("inbound", answers))
        assert dhcp_address(lab, "vm1") == ME.ipv4
    assert lab.entries_of("h1") == []


def test_vm_cannot_serve_dhcp(lab: Lab) -> None:
    """S12: a server in a VM hears its neighbour's question, and its offer is refused and counted."""
    lab.tenant("red", "vm1", "vm2")
    server = ("vm1-eth0", ME.ipv4, OTHER.ipv4)

    with traffic.talking(lab.host("vm1"), "ready", *hosts.script("dhcp_server.py"), *server) as server_said:
        assert dhcp_address(lab, "vm2", timeout_s=0.7) == "none"
        assert "answered 1" in server_said.output()
    assert lab.refused("vm1") == {"dhcp-server": 1}


def dhcp_address(lab: Lab, name: str, timeout_s: float = 5.0) -> str:
    """Return the address that a VM's DHCP client got, or "none"."""
    return hosts.run(lab.host(name), *hosts.script("dhcp_client.py"), f"{name}-eth0", str(timeout_s)).strip()
