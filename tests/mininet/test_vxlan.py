"""VXLAN on the wire, between a host's tunnel port and a peer on the underlay network."""

from __future__ import annotations

import struct
from pathlib import Path

from mininet_scripts.support import frames, hosts, traffic
from mininet_scripts.support.capture import capture
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until
from tests.mininet.lab import Lab, read_frame
from topologies.tunnel_host import ENDPOINT, PEER, PEER_MAC, TunnelHost

TOPOLOGY = TunnelHost

VNI = 5000
VXLAN_PORT = 4789
OPEN = layer(stateful=False, outbound="allow", inbound="allow")
FAR_MAC, FAR_IP = "02:00:00:00:77:01", "10.0.0.77"


def _carried(captured: list[bytes]) -> list[tuple[int, bytes]]:
    """Return network identifier and inner frame of each VXLAN frame to the peer (RFC 7348 section 5)."""
    found = []
    for data in captured:
        frame = read_frame(data)
        if frame.udp_to(VXLAN_PORT) and frame.dst == PEER_MAC:
            found.append((int.from_bytes(frame.l4[12:15], "big"), frame.l4[16:]))
    return found


def test_a_vm_talks_through_the_tunnel(lab: Lab) -> None:
    """M23: a VM's datagrams leave the host's underlay port in VXLAN, and an answer in VXLAN reaches the VM plain."""
    lab.client.put("/v1/hosts/h1", {"dpid": "1", "uplink": "h1-uplink", "tunnel": "h1-vx0"})
    lab.tenant("red", "vm1", "vm2")
    lab.client.put("/v1/segments/red", {"tenant": "red", "vlan": 0, "vni": VNI})
    tunnel = {"type": "encapsulate", "remote_ip": PEER, "vni": VNI}
    lab.layer("overlay", OPEN, g=group("outbound", rule("far", tunnel, ipv4_dst=FAR_IP)))
    me = address_of("vm1")
    hosts.run(lab.host("vm1"), "ip", "neigh", "replace", FAR_IP, "lladdr", FAR_MAC, "dev", "vm1-eth0")
    with capture(lab.host("peer"), "peer-eth0") as wire, lab.watch("h1-uplink") as uplink:
        # Open vSwitch asks for the peer's MAC with the first packet, and drops packets until it is answered.
        def sent() -> list[tuple[int, bytes]]:
            traffic.send_udp(lab.host("vm1"), FAR_IP, 5000, count=1)
            return _carried(wire.frames())

        vni, inner = wait_until(sent, 10, "VXLAN on the underlay")[0]
        assert not [frame for frame in uplink.frames() if frame.udp_to(5000)]
    seen = read_frame(inner)
    assert (vni, seen.dst, seen.src, seen.vlan, seen.udp_to(5000)) == (VNI, FAR_MAC, me.mac, None, True)

    underlay_mac = Path("/sys/class/net/u1/address").read_text().strip()
    answer = frames.ethernet(me.mac, FAR_MAC, frames.IPV4,
                             frames.ipv4(FAR_IP, me.ipv4, frames.UDP, frames.udp(5000, 6000, b"back")))  # fmt: skip
    vxlan = frames.udp(50000, VXLAN_PORT, struct.pack("!II", 0x08 << 24, VNI << 8) + answer)
    outer = frames.ethernet(underlay_mac, PEER_MAC, frames.IPV4, frames.ipv4(PEER, ENDPOINT, frames.UDP, vxlan))
    with lab.watch("vm1-eth0") as vm1, lab.watch("vm2-eth0") as vm2:
        traffic.send_frames(lab.host("peer"), "peer-eth0", [outer])
        vm1.capture.wait_frames(1)
        (got,) = [frame for frame in vm1.frames() if frame.udp_to(6000)]
        assert (got.src, got.vlan, got.l4[8:12]) == (FAR_MAC, None, b"back")
        assert not [frame for frame in vm2.frames() if frame.udp_to(6000)]
