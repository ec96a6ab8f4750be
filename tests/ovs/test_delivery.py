"""Delivery: local, across hosts, to the outside; trunks, routes, and vports that come and go."""

from __future__ import annotations

import pytest

from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, RED_VLAN, VM1, VM2, VM3, VM4, Station, moved, rule, tcp, udp

WEB = {"ip_proto": "tcp", "l4_dst": 80}
ANY_MAC = "02:00:00:00:00:66"


@pytest.mark.parametrize("version", [4, 6])
def test_local_traffic_does_not_touch_the_uplink(lab: Lab, version: int) -> None:
    """S03: VM to VM on one host is delivered there, and nothing leaves by the uplink."""
    lab.tenant(VM1, VM2, VM4)

    for number in range(3):
        lab.send(VM1, tcp(VM1, VM2, data=bytes([number]), version=version))
        lab.wait_sent(VM2, number + 1)

    assert lab.silent("h1-uplink", VM1, VM4)
    # The order at set-up is another row's: what the switch forwards itself may overtake what the controller still has.
    assert sorted(lab.sent(VM2)) == sorted(tcp(VM1, VM2, data=bytes([number]), version=version) for number in range(3))


def test_both_vports_policies_apply_on_one_host(lab: Lab) -> None:
    """M25: of VM to VM traffic both the sender's outbound and the receiver's inbound rules decide."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.group("out", "outbound", rule("no-80", WEB, "deny"), applies_to={"vport": "vm1"})
    no_81 = rule("no-81", {"ip_proto": "tcp", "l4_dst": 81}, "deny")
    lab.group("in", "inbound", no_81, applies_to={"vport": "vm2"})

    lab.send(VM1, tcp(VM1, VM2, dport=80))
    lab.send(VM1, tcp(VM1, VM2, dport=81))
    lab.send(VM1, tcp(VM1, VM2, dport=82))

    assert lab.wait_sent(VM2) == [tcp(VM1, VM2, dport=82)]
    lab.settle()
    assert len(lab.sent(VM2)) == 1
    outbound = {entry.matches["tp_dst"]: entry.actions for entry in lab.cached(table="outbound")}
    inbound = {entry.matches["tp_dst"]: entry.actions for entry in lab.cached(table="inbound")}
    assert (outbound["80"], inbound["81"]) == ("drop", "drop")
    assert "80" not in inbound


def test_unknown_destination_leaves_by_the_uplink(lab: Lab) -> None:
    """S02: a MAC that no VNIC has is sent out of the uplink with the segment's VLAN, and nowhere else."""
    lab.tenant(VM1, VM2)

    lab.send(VM1, tcp(VM1, EXT))

    assert lab.wait_sent("h1-uplink") == [packets.tagged(tcp(VM1, EXT), RED_VLAN)]
    assert lab.silent(VM1, VM2)


def test_one_row_for_each_vnic(lab: Lab) -> None:
    """S02: the delivery table has exactly one row for the MAC of every VNIC of the segment, local or not."""
    lab.tenant(VM1, VM2, VM3)

    for host in ("h1", "h2"):
        # A second row of a local VM's MAC drops what it sends to itself.
        rows = [entry.matches.get("dl_dst", "") for entry in lab.dump(host, "deliver") if "reg1" not in entry.matches]
        for vm in (VM1, VM2, VM3):
            assert rows.count(vm.mac) == 1, (host, vm)
        assert not any(row not in (VM1.mac, VM2.mac, VM3.mac) for row in rows if row and "/" not in row)


def _from_outside(lab: Lab, vlan: int | None, sent: bytes, to: Station = VM1) -> bool:
    before = len(lab.sent(to))
    lab.from_network(sent, vlan=vlan)
    lab.settle()
    return len(lab.sent(to)) > before


@pytest.mark.parametrize(("outside", "tag"), [(RED_VLAN, RED_VLAN), (0, None), (None, VM1.vlan)])
def test_tag_on_the_uplink_is_the_segments(lab: Lab, outside: int | None, tag: int | None) -> None:
    """S02: outside, a segment has its own VLAN, none, or that of the sending VF; frames come in by the same."""
    lab.tenant()
    lab.put("segments/red", {"tenant": "red", "vlan": outside})
    lab.put("vports/vm1", VM1.vport)

    lab.send(VM1, udp(VM1, EXT))

    expected = udp(VM1, EXT) if tag is None else packets.tagged(udp(VM1, EXT), tag)
    assert lab.wait_sent("h1-uplink") == [expected]
    assert _from_outside(lab, tag, udp(EXT, VM1))
    assert lab.sent(VM1) == [udp(EXT, VM1)]
    assert not _from_outside(lab, 3999, udp(EXT, VM1))


@pytest.mark.parametrize("version", [4, 6])
def test_vm_to_vm_across_hosts_carries_the_vfs_vlan(lab: Lab, version: int) -> None:
    """S02: to a VM of another host a frame crosses the uplink with the sending VF's VLAN, and arrives untagged."""
    lab.tenant(VM1, VM3)

    lab.send(VM1, tcp(VM1, VM3, version=version))
    crossed = lab.carry("h1", "h2")
    assert crossed == [packets.tagged(tcp(VM1, VM3, version=version), VM1.vlan)]
    assert lab.sent(VM3) == [tcp(VM1, VM3, version=version)]

    lab.send(VM3, tcp(VM3, VM1, 80, 40000, version=version))
    assert lab.carry("h2", "h1") == [packets.tagged(tcp(VM3, VM1, 80, 40000, version=version), VM3.vlan)]
    assert lab.sent(VM1) == [tcp(VM3, VM1, 80, 40000, version=version)]


def test_same_mac_in_two_segments_is_told_apart(lab: Lab) -> None:
    """S02: two tenants may use one MAC: each reaches its own VM, and neither the other's."""
    lab.tenant(VM1, VM2)
    lab.put("tenants/blue", {})
    twin = moved(VM2, name="twin", port="h1-vf4", vlan=120)
    lab.put("vports/vm4", {**VM4.vport, "tenant": "blue"})
    lab.put("vports/twin", {**twin.vport, "tenant": "blue"})

    lab.send(VM1, tcp(VM1, VM2))
    lab.send(VM4, tcp(VM4, twin))

    assert lab.wait_sent(VM2) == [tcp(VM1, VM2)]
    assert lab.wait_sent(twin) == [tcp(VM4, twin)]
    assert lab.silent("h1-uplink")
    assert (len(lab.sent(VM2)), len(lab.sent(twin))) == (1, 1)


def test_tenants_do_not_reach_each_other(lab: Lab) -> None:
    """S02: a frame for another tenant's MAC is not delivered to it, even on one host."""
    lab.tenant(VM1)
    lab.put("tenants/blue", {})
    lab.put("vports/vm4", {**VM4.vport, "tenant": "blue"})

    lab.send(VM1, tcp(VM1, VM4), packets.arp(1, VM1.mac, VM1.ip, VM4.ip))

    lab.wait_sent("h1-uplink", 2)
    assert lab.silent(VM4)


def test_vport_is_created_live(lab: Lab) -> None:
    """S01: frames of a VF are dropped until its vport is registered, and pass from the answer on."""
    lab.tenant(VM1)
    lab.send(VM2, tcp(VM2, VM1))
    assert lab.silent(VM1)
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_sent("h1-uplink")

    lab.put("vports/vm2", VM2.vport)
    lab.refresh()
    lab.send(VM2, tcp(VM2, VM1))
    assert lab.wait_sent(VM1) == [tcp(VM2, VM1)]
    lab.send(VM1, tcp(VM1, VM2))
    assert lab.wait_sent(VM2) == [tcp(VM1, VM2)]
    lab.settle()
    assert len(lab.sent("h1-uplink")) == 1


def test_vport_is_removed_live_and_leaves_nothing(lab: Lab) -> None:
    """S01: when a vport is deleted no entry of any table names it, on any host, and its frames are dropped."""
    lab.tenant(VM1, VM3)
    before = {host: {(entry.table, entry.match) for entry in lab.dump(host)} for host in ("h1", "h2")}
    lab.put("vports/vm2", VM2.vport)
    lab.send(VM2, tcp(VM2, VM1), tcp(VM2, VM3), udp(VM2, EXT))
    lab.wait_sent(VM1)
    lab.carry("h1", "h2")
    assert lab.wait_sent(VM3)

    lab.delete("vports/vm2")

    after = {host: {(entry.table, entry.match) for entry in lab.dump(host)} for host in ("h1", "h2")}
    assert after == before
    lab.send(VM2, tcp(VM2, VM1))
    lab.settle()
    assert len(lab.sent(VM1)) == 1


def test_vport_may_move_to_another_port(lab: Lab) -> None:
    """S01: a vport given another port is served there and no longer at the old one."""
    lab.tenant(VM1, VM2)
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_sent(VM2)
    new = moved(VM2, port="h1-vf4")

    lab.put("vports/vm2", new.vport)
    lab.refresh()
    lab.send(VM1, tcp(VM1, VM2))

    assert lab.wait_sent(new) == [tcp(VM1, VM2)]
    lab.send("h1-vf2", tcp(VM2, VM1))
    assert lab.silent(VM1)
    assert len(lab.sent("h1-vf2")) == 1


def test_vport_may_move_to_another_host(lab: Lab) -> None:
    """S01: a vport given another host is served there; nothing of it stays behind on the old one."""
    lab.tenant(VM1, VM2)
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_sent(VM2)
    new = moved(VM2, host="h2", port="h2-vf2")

    lab.put("vports/vm2", new.vport)
    lab.refresh()

    assert not any(f"={hex(VM2.vlan)}" in entry.match for entry in lab.dump("h1"))
    lab.send(VM1, tcp(VM1, VM2))
    lab.carry("h1", "h2")
    assert lab.wait_sent(new) == [tcp(VM1, VM2)]
    assert len(lab.sent(VM2)) == 1


def test_port_that_appears_later_is_served(lab: Lab) -> None:
    """S01: a port that leaves the switch and comes back under another number is served again, and only there."""
    lab.tenant(VM1, VM4)
    lab.ovs.delete_port("h1", VM4.port)
    try:
        wait_until(lambda: VM4.port not in lab.get("hosts/h1")["live"]["ports"], 5, "the loss of a port")
    finally:
        lab.ovs.add_port("h1", VM4.port, 7)
    wait_until(lambda: lab.get("hosts/h1")["live"]["ports"].get(VM4.port) == 7, 5, "the port to be known again")
    wait_until(
        lambda: [entry for entry in lab.dump("h1", "egress") if entry.actions == "output:7"], 5, "entries for the port"
    )
    lab.site.wait_ready()

    lab.forget(VM4.port)
    lab.send(VM1, tcp(VM1, VM4))
    assert lab.wait_sent(VM4) == [tcp(VM1, VM4)]
    lab.send(VM4, tcp(VM4, VM1))
    assert lab.wait_sent(VM1) == [tcp(VM4, VM1)]


def test_route_decides_before_the_vports(lab: Lab) -> None:
    """S04: a route moves a MAC's traffic to a vport, to the uplink, and back, each from the next packet on."""
    lab.tenant(VM1, VM2, VM4)
    lab.send(VM1, tcp(VM1, VM2))
    assert lab.wait_sent(VM2) == [tcp(VM1, VM2)]

    lab.put("routes/turn", {"segment": "red", "eth_dst": VM2.mac, "vport": "vm4"})
    lab.refresh()
    lab.send(VM1, tcp(VM1, VM2))
    assert lab.wait_sent(VM4) == [tcp(VM1, VM2)]

    lab.put("routes/turn", {"segment": "red", "eth_dst": VM2.mac, "to": "uplink"})
    lab.refresh()
    lab.send(VM1, tcp(VM1, VM2))
    assert lab.wait_sent("h1-uplink") == [packets.tagged(tcp(VM1, VM2), RED_VLAN)]

    lab.delete("routes/turn")
    lab.refresh()
    lab.send(VM1, tcp(VM1, VM2))
    assert len(lab.wait_sent(VM2, 2)) == 2
    assert [len(lab.sent(vm)) for vm in (VM2, VM4)] == [2, 1]


def test_route_of_an_unknown_mac_makes_it_local(lab: Lab) -> None:
    """S04: a route gives a MAC that no VNIC has to a local vport; without it the MAC is external again."""
    lab.tenant(VM1, VM2)
    service = moved(VM2, mac=ANY_MAC)
    lab.put("routes/service", {"segment": "red", "eth_dst": ANY_MAC, "vport": "vm2"})

    lab.send(VM1, tcp(VM1, service))
    assert lab.wait_sent(VM2) == [tcp(VM1, service)]
    assert lab.silent("h1-uplink")

    lab.delete("routes/service")
    lab.refresh()
    lab.send(VM1, tcp(VM1, service))
    assert lab.wait_sent("h1-uplink") == [packets.tagged(tcp(VM1, service), RED_VLAN)]
    assert len(lab.sent(VM2)) == 1


GREEN_VLAN = 300
TRUNK = moved(VM1, name="trunk")


def _trunk(lab: Lab) -> None:
    """Register a trunk VF in two segments, a VF in each of them, and one more VLAN that it may not use."""
    lab.tenant(VM2)
    lab.put("segments/green", {"tenant": "red", "vlan": GREEN_VLAN})
    lab.put("segments/other", {"tenant": "red", "vlan": 400})
    lab.put("vports/vm4", {**VM4.vport, "segment": "green"})
    lab.put("vports/trunk", {**TRUNK.vport, "kind": "trunk", "trunk": [RED_VLAN, GREEN_VLAN]})


def test_trunk_reaches_the_segment_of_its_tag(lab: Lab) -> None:
    """S02: what a trunk VF tags goes to the segment of that VLAN and to no other, untagged at an access VF."""
    _trunk(lab)

    lab.send(TRUNK, packets.tagged(tcp(TRUNK, VM2), RED_VLAN), packets.tagged(tcp(TRUNK, VM4), GREEN_VLAN))

    assert lab.wait_sent(VM2) == [tcp(TRUNK, VM2)]
    assert lab.wait_sent(VM4) == [tcp(TRUNK, VM4)]
    assert lab.silent("h1-uplink")


def test_delivery_to_a_trunk_carries_the_tag(lab: Lab) -> None:
    """S02: what is delivered to a trunk VF has the tag of its segment, for unicast and for broadcast."""
    _trunk(lab)
    asking = packets.arp(1, VM4.mac, VM4.ip, TRUNK.ip)

    lab.send(VM2, tcp(VM2, TRUNK))
    assert lab.wait_sent(TRUNK) == [packets.tagged(tcp(VM2, TRUNK), RED_VLAN)]
    lab.send(VM4, asking)

    assert lab.wait_sent(TRUNK, 2)[1:] == [packets.tagged(asking, GREEN_VLAN)]
    assert lab.silent(VM2)


@pytest.mark.parametrize("tag", [None, 400, VM2.vlan, 0])
def test_other_tags_of_a_trunk_are_refused(lab: Lab, tag: int | None) -> None:
    """S12: a trunk VF's frames without a tag, or with one that is not on its list, are refused and counted."""
    _trunk(lab)
    sent = tcp(TRUNK, VM2)

    lab.send(TRUNK, sent if tag is None else packets.tagged(sent, tag))

    assert lab.silent(VM2, VM4, TRUNK, "h1-uplink")
    lab.wait_refusals(TRUNK, {"vlan": 1})


def test_trunk_to_the_outside_keeps_its_segments_tag(lab: Lab) -> None:
    """S02: a trunk VF's frames for the outside carry the VLAN of their segment, and come back by it."""
    _trunk(lab)

    lab.send(TRUNK, packets.tagged(udp(TRUNK, EXT), GREEN_VLAN))
    assert lab.wait_sent("h1-uplink") == [packets.tagged(udp(TRUNK, EXT), GREEN_VLAN)]
    lab.from_network(udp(EXT, TRUNK, 53, 40000), vlan=GREEN_VLAN)

    assert lab.wait_sent(TRUNK) == [packets.tagged(udp(EXT, TRUNK, 53, 40000), GREEN_VLAN)]
    assert lab.packet_ins() == 1


def test_forged_source_on_a_trunk_is_refused(lab: Lab) -> None:
    """S12: a trunk VF is held to its MAC and addresses like any other."""
    _trunk(lab)

    lab.send(TRUNK, packets.tagged(tcp(moved(TRUNK, mac=ANY_MAC), VM2), RED_VLAN))
    lab.send(TRUNK, packets.tagged(tcp(moved(TRUNK, ip="10.0.0.66"), VM2), RED_VLAN))

    assert lab.silent(VM2, "h1-uplink")
    lab.wait_refusals(TRUNK, {"mac": 1, "ip": 1})
