"""Delivery on one host: between VFs inside the NIC, to the outside by the uplink, and nothing else."""

from __future__ import annotations

import pytest

from mininet_scripts.support import frames, traffic
from mininet_scripts.support.policy import group, layer, lone_rule, rule
from mininet_scripts.support.registration import address_of
from tests.mininet.lab import Lab
from topologies.single_host import SingleHost

TOPOLOGY = SingleHost

OPEN = layer(stateful=False, outbound="allow", inbound="allow")


@pytest.mark.parametrize("version", [4, 6])
def test_neighbours_meet_inside_the_nic(lab: Lab, version: int) -> None:
    """S02 S03: VMs of one host reach each other with no unicast frame on the uplink, from the first packet on."""
    lab.tenant("red", "vm1", "vm2")

    with lab.watch("h1-uplink") as uplink:
        assert lab.ping("vm1", "vm2", version=version, count=5, interval_s=0.02).all_answered
        assert uplink.unicast() == []


@pytest.mark.parametrize(("vlan", "seen"), [(0, None), (300, 300), (None, 101)])
def test_unknown_destination_leaves_by_the_uplink(lab: Lab, vlan: int | None, seen: int | None) -> None:
    """S02: a MAC that no vport has is sent out with the segment's tag: none, its VLAN, or the VF's own."""
    lab.tenant("red", "vm1", vlan=vlan)
    frame = frames.ethernet("02:00:00:00:99:99", address_of("vm1").mac, frames.EXPERIMENTAL, b"out")

    with lab.watch("h1-uplink") as uplink:
        lab.send("vm1", frame)
        uplink.capture.wait_frames(1)
        assert [(each.vlan, each.payload[:3]) for each in uplink.unicast()] == [(seen, b"out")]


def test_external_host_is_reached_untagged(lab: Lab) -> None:
    """S02: with the segment's VLAN 0 VM and external host talk over both address families, begun by either side."""
    lab.tenant("red", "vm1", "vm2")

    assert lab.reaches("vm1", "ext")
    assert lab.reaches("vm1", "ext", version=6)
    assert lab.reaches("ext", "vm2")
    assert lab.reaches("ext", "vm2", version=6)


def test_frames_for_others_do_not_come_in(lab: Lab) -> None:
    """S02: what the network brings for a MAC that is not here goes to no VM, and not back either."""
    lab.tenant("red", "vm1", "vm2")
    frame = frames.ethernet("02:00:00:00:99:99", address_of("ext").mac, frames.EXPERIMENTAL, b"astray")

    with lab.watch("vm1-eth0") as first, lab.watch("vm2-eth0") as second, lab.watch("h1-uplink") as uplink:
        lab.send("ext", frame)
        uplink.capture.wait_frames(1)
        assert first.unicast() == second.unicast() == []
        assert len(uplink.unicast()) == 1


@pytest.mark.parametrize("direction, vport", [("outbound", "vm1"), ("inbound", "vm2")])
def test_both_neighbours_policies_apply(lab: Lab, direction: str, vport: str) -> None:
    """M25 S03: inside the NIC the sender's outbound and the receiver's inbound rules are asked, each alone enough."""
    lab.tenant("red", "vm1", "vm2", "vm3")
    with traffic.tcp_echo_server(lab.host("vm2"), 80), traffic.tcp_echo_server(lab.host("vm3"), 80):
        lab.layer("firewall", OPEN)
        assert traffic.tcp_works(lab.host("vm1"), "10.0.0.2", 80)
        deny = rule("deny", "deny", ip_proto="tcp", ipv4_dst="10.0.0.2", l4_dst=80)
        lab.layer("firewall", OPEN, stop=group(direction, deny, applies_to={"vport": vport}))
        assert not traffic.tcp_works(lab.host("vm1"), "10.0.0.2", 80, timeout_s=0.5)
        assert traffic.tcp_works(lab.host("vm1"), "10.0.0.3", 80)


def test_same_tuple_has_a_verdict_per_vport(lab: Lab) -> None:
    """M03: what one VM may send, its neighbour may not, and the same rule set does not speak inbound."""
    lab.tenant("red", "vm1", "vm2", "vm3")
    stop = group("outbound", rule("no-ping", "deny", icmpv4_type=8), applies_to={"vport": "vm1"})
    lab.layer("firewall", OPEN, stop=stop)

    assert not lab.reaches("vm1", "vm3", timeout_s=0.5)
    assert lab.reaches("vm2", "vm3")
    assert lab.reaches("vm3", "vm1")


def test_route_moves_traffic_on_the_next_packet(lab: Lab) -> None:
    """S04: a route sends a neighbour's MAC to the uplink, and deleting it brings local delivery back."""
    lab.tenant("red", "vm1", "vm2")
    vm1, vm2 = lab.host("vm1"), lab.host("vm2")
    assert lab.reaches("vm1", "vm2")

    with traffic.udp_receiver(vm2, 7000) as arrivals, lab.watch("h1-uplink") as uplink:
        traffic.send_udp(vm1, "10.0.0.2", 7000, count=5, source_port=4000)
        assert arrivals.wait_count(5) == [0, 1, 2, 3, 4]
        lab.client.put("/v1/routes/away", {"segment": "red", "eth_dst": address_of("vm2").mac, "to": "uplink"})
        traffic.send_udp(vm1, "10.0.0.2", 7000, count=5, source_port=4000, first=5)
        assert len([each for each in uplink.unicast() if each.udp_to(7000)]) == 5
        lab.client.delete("/v1/routes/away")
        traffic.send_udp(vm1, "10.0.0.2", 7000, count=5, source_port=4000, first=10)
        assert arrivals.wait_count(10) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
        assert len([each for each in uplink.unicast() if each.udp_to(7000)]) == 5


def test_route_brings_an_external_address_to_a_vport(lab: Lab) -> None:
    """S04: a route can give a MAC of the outside to a vport; frames for it no longer leave."""
    lab.tenant("red", "vm1", "vm2")
    frame = frames.ethernet("02:00:00:00:99:99", address_of("vm1").mac, frames.EXPERIMENTAL, b"routed")
    lab.client.put("/v1/routes/in", {"segment": "red", "eth_dst": "02:00:00:00:99:99", "vport": "vm2"})

    with lab.watch("h1-uplink") as uplink, lab.watch("vm2-eth0") as receiver:
        lab.send("vm1", frame)
        receiver.capture.wait_frames(1)
        assert [each.payload[:6] for each in receiver.unicast()] == [b"routed"]
        assert uplink.unicast() == []


def test_broadcast_reaches_each_other_member_once(lab: Lab) -> None:
    """S02: a broadcast comes once to every other member and to the uplink, and not back to its sender."""
    lab.tenant("red", "vm1", "vm2", "vm3")
    frame = frames.ethernet(frames.BROADCAST, address_of("vm1").mac, frames.EXPERIMENTAL, b"to all")

    with (
        lab.watch("vm1-eth0") as sender,
        lab.watch("vm2-eth0") as second,
        lab.watch("vm3-eth0") as third,
        lab.watch("h1-uplink") as uplink,
    ):
        lab.send("vm1", frame)
        third.capture.wait_frames(1)
        copies = [sum(each.payload[:6] == b"to all" for each in watch.frames())
                  for watch in (sender, second, third, uplink)]  # fmt: skip
    # The sender's own capture shows the frame on its way out, and not a second time.
    assert copies == [1, 1, 1, 1]


def test_trunk_vm_uses_its_vlans(lab: Lab) -> None:
    """S02: a trunk's tag is the segment it means: delivered untagged to the member, and other tags are refused."""
    lab.tenant("red", "vm1", vlan=300)
    lab.client.put("/v1/segments/green", {"tenant": "red", "vlan": 301})
    trunk = {"kind": "trunk", "trunk": [300, 301]}
    lab.tenant("red", "vm2", vlan=300, **trunk)
    src, dst = address_of("vm2").mac, address_of("vm1").mac

    with lab.watch("vm1-eth0") as member, lab.watch("h1-uplink") as uplink:
        for vlan in (300, 301, 302):
            payload = b"tagged %d" % vlan
            lab.send("vm2", frames.ethernet(dst, src, frames.EXPERIMENTAL, payload, vlan=vlan))
        uplink.capture.wait_frames(1)
        assert [(each.vlan, each.payload[:10]) for each in member.unicast()] == [(None, b"tagged 300")]
        # In the other segment vm1's MAC is nobody's here: it leaves under the tag that the VM wrote.
        assert [(each.vlan, each.payload[:10]) for each in uplink.unicast()] == [(301, b"tagged 301")]
    assert lab.refused("vm2") == {"vlan": 1}


def test_rule_put_alone_counts(lab: Lab) -> None:
    """M04: one rule added to a group by its own path decides about a live flow."""
    lab.tenant("red", "vm1", "vm2")
    lab.layer("firewall", OPEN, web=group("inbound", rule("web", ip_proto="tcp", l4_dst=80)))
    assert lab.reaches("vm1", "vm2")

    lab.client.put("/v1/layers/firewall/groups/web/rules/stop", lone_rule("deny", icmpv4_type=8))

    lab.wait_unreachable("vm1", "vm2")
