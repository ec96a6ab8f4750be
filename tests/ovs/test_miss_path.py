"""Misses back through the VM: the same verdicts as through the PF, and nothing that a hostile VM gains."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.corpus import Sample, put_policy, sample
from tests.ovs.guest import SYNTHETIC, Driver, add_synthetic_ports, mac_of, put_host, with_synthetic
from tests.ovs.scenario import Lab
from tests.ovs.site import HOSTS, Site
from tests.ovs.stations import EXT, RED_VLAN, VM1, VM2, VM4, Station, moved, ping, rewrite, rule, tcp, udp
from tests.ovs.test_anti_spoof import FORGED

SYN1: Final = SYNTHETIC["vm1"]
SEEDS: Final = (8930690, 13)
PACKETS: Final = 150


@pytest.fixture
def lab(site: Site) -> Iterator[Lab]:
    """Return the shared site with VMs 1 and 2 at both ports, their misses back through the VM, for one test."""
    made = Lab(site)
    add_synthetic_ports(made)
    made.tenant()
    _put_vms(made)
    put_host(made, "vm")
    yield made
    put_host(made, "pf")


def _put_vms(lab: Lab) -> None:
    for vm in (VM1, VM2):
        lab.put(f"vports/{vm.name}", with_synthetic(vm))


def test_a_miss_goes_back_through_the_vm(lab: Lab) -> None:
    """M13: a first packet comes back by the VF as it was and asks nobody; sent by the synthetic port it is decided."""
    driver = Driver(lab, VM1)
    lab.send(VM1, tcp(VM1, VM2))
    assert driver.came_back() == [tcp(VM1, VM2)]
    assert lab.packet_ins() == 0
    assert not lab.cached()

    lab.send(SYN1, tcp(VM1, VM2))
    assert lab.wait_sent(VM2) == [tcp(VM1, VM2)]
    assert len(lab.wait_cached(4)) == 4
    assert lab.packet_ins() == 1

    assert driver.send(tcp(VM1, VM2, flags=packets.ACK)) == []
    assert len(lab.wait_sent(VM2, 2)) == 2
    assert lab.packet_ins() == 1


def _others(rng: random.Random) -> list[tuple[Station, bytes]]:
    """Return packets that are decided one by one, and neighbour messages."""
    body = packets.transport(VM1.ip, VM2.ip, packets.UDP, packets.udp(7, 80, bytes(64)))
    pieces = [
        packets.packet(VM1.ip, VM2.ip, packets.UDP, body[:40], ident=7, more=True),
        packets.packet(VM1.ip, VM2.ip, packets.UDP, body[40:], ident=7, offset=5),
    ]
    made = [
        *((VM1, packets.ether(VM1.mac, VM2.mac, packets.IPV4, piece)) for piece in pieces),
        (VM1, packets.arp(1, VM1.mac, VM1.ip, EXT.ip)),
        (VM2, packets.arp(2, VM2.mac, VM2.ip, VM1.ip, tha=VM1.mac)),
        (VM1, packets.dhcp(VM1.mac, 68, 67)),
        (VM2, udp(VM2, moved(EXT, mac=packets.BROADCAST, ip="10.0.0.255"))),
        (VM1, packets.ether(VM1.mac, VM2.mac, 0x88B5, rng.randbytes(46))),
        (VM1, ping(VM1, VM2, version=6)),
    ]
    return made


def _one_of_each_connection(samples: list[Sample]) -> list[tuple[Station, bytes]]:
    """Return packets of which no two are of one connection: what came of the first would decide on the second."""
    firsts: dict[object, tuple[Station, bytes]] = {}
    for one in samples:
        read = packets.read(one.sent)
        ends = frozenset({(read.src, read.sport), (read.dst, read.dport)})
        firsts.setdefault((ends, read.proto), (one.source, one.sent))
    return list(firsts.values())


_Entry = tuple[str, int, str, str, int, int]


def _entries(lab: Lab) -> set[_Entry]:
    return {
        (host, entry.table, entry.match, entry.actions, entry.cookie >> 52, entry.cookie >> 28 & 0xFFF)
        for host in HOSTS
        for entry in lab.cached(host)
    }


def _outcome(lab: Lab, seed: int) -> tuple[dict[str, Counter[bytes]], set[_Entry]]:
    """Return what leaves by each port, but for what goes back, and the cached entries, after a random corpus."""
    rng = random.Random(seed)
    put_policy(lab, rng)
    names_arp = rule("no", {"eth_type": "arp", "arp_tpa": "10.0.0.77"}, "deny")
    lab.group("arp", "outbound", names_arp, layer="layer0", applies_to={"vport": "vm1"}, priority=9)
    _put_vms(lab)
    drivers = {vm: Driver(lab, vm) for vm in (VM1, VM2)}
    entries: set[_Entry] = set()
    for sent in (_one_of_each_connection([sample(rng) for _ in range(PACKETS)]), _others(rng)):
        for vm, driver in drivers.items():
            driver.send(*(one for source, one in sent if source is vm))
            # Looked at while it is young: on a busy machine some would be idle for too long by the end.
            entries |= _entries(lab)
            assert driver.came_back() == []
    ports = (VM1.port, VM2.port, VM4.port, "h1-uplink")
    own = {VM1.port: VM1.mac, VM2.port: VM2.mac}
    left = {port: Counter(one for one in lab.sent(port) if mac_of(one) != own.get(port)) for port in ports}
    return left, entries


def _returns(lab: Lab) -> int:
    lab.refresh()
    return int(lab.get("stats")["vports"]["vm1"]["caches"]["outbound"]["returns"])


@pytest.mark.parametrize("seed", SEEDS)
def test_both_miss_paths_give_the_same_verdicts(lab: Lab, seed: int) -> None:
    """M13: over random rules and packets both paths deliver the same frames and leave the same entries."""
    by_vm = _outcome(lab, seed)
    assert _returns(lab) > PACKETS / 4

    put_host(lab, "pf")
    fresh = Lab(lab.site)
    by_pf = _outcome(fresh, seed)

    assert by_vm[0] == by_pf[0]
    assert by_vm[1] == by_pf[1]
    # A corpus that all goes one way would show little.
    delivered = {port: sum(left.values()) for port, left in by_pf[0].items()}
    dropping = [entry for entry in by_pf[1] if entry[3] == "drop"]
    assert len(by_pf[1]) > 100 and len(dropping) >= 5
    assert sum(delivered.values()) >= 20 and len([port for port, count in delivered.items() if count]) >= 3
    assert _returns(fresh) == 0


def test_what_needs_no_verdict_of_its_own_does_not_go_back(lab: Lab) -> None:
    """M13: a reply of a connection that is known, and ARP that no rule names, pass the NIC at once."""
    lab.send(SYN1, tcp(VM1, VM2))
    lab.wait_sent(VM2)
    lab.settle()
    assert Driver(lab, VM2).send(tcp(VM2, VM1, 80, 40000, flags=packets.SYN_ACK)) == []
    assert Driver(lab, VM1).send(packets.arp(1, VM1.mac, VM1.ip, EXT.ip)) == []
    assert tcp(VM2, VM1, 80, 40000, flags=packets.SYN_ACK) in lab.sent(VM1)


def test_inbound_misses_stay_at_the_pf(lab: Lab) -> None:
    """M13: what comes for a VM and is not known asks the host; the VM does not see what its rules deny."""
    lab.layer("firewall", inbound="deny")
    lab.from_network(tcp(EXT, VM1))
    assert lab.silent(VM1, SYN1)
    assert lab.packet_ins() == 1


def test_a_vm_without_its_synthetic_port_misses_to_the_pf(lab: Lab) -> None:
    """M13: while the switch has no synthetic port misses go to the PF; they go back through the VM when it has one."""
    driver = Driver(lab, VM1)
    lab.ovs.delete_port("h1", SYN1)
    wait_until(lambda: SYN1 in lab.get("hosts/h1")["live"]["ports"], 5, "the port to go", until=lambda there: not there)
    lab.site.wait_ready()
    lab.forget(SYN1)
    lab.refresh()
    assert driver.send(tcp(VM1, VM2)) == []
    assert lab.wait_sent(VM2) == [tcp(VM1, VM2)]

    add_synthetic_ports(lab)
    lab.site.wait_ready()
    lab.refresh()
    assert driver.send(tcp(VM1, VM2, 40001)) == [tcp(VM1, VM2, 40001)]
    assert len(lab.wait_sent(VM2, 2)) == 2


def test_a_trunk_gets_its_misses_back_with_their_tag(lab: Lab) -> None:
    """M13: what a trunk sent with a tag comes back with it, and is decided when it comes by the synthetic port so."""
    lab.delete("vports/vm2")
    trunk = with_synthetic(VM2, kind="trunk", trunk=[RED_VLAN])
    lab.put("vports/vm2", trunk)
    driver = Driver(lab, VM2)
    sent = packets.tagged(tcp(VM2, EXT), RED_VLAN)
    assert driver.send(sent) == [sent]
    assert lab.wait_sent("h1-uplink") == [sent]
    lab.wait_cached(2)
    assert driver.send(sent) == []
    assert len(lab.wait_sent("h1-uplink", 2)) == 2


def test_a_vm_that_sends_all_by_the_synthetic_port_gains_nothing(lab: Lab) -> None:
    """M14: the NIC's entries hold there too: one packet-in for a connection, and what is denied stays so."""
    lab.layer("firewall")
    lab.group("no", "outbound", rule("no", {"ip_proto": "tcp", "l4_dst": 22}, "deny"))
    lab.send(SYN1, tcp(VM1, VM2), tcp(VM1, VM2, dport=22))
    lab.settle()
    asked = lab.packet_ins()
    assert asked == 2

    for number in range(20):
        lab.send(SYN1, tcp(VM1, VM2, data=bytes([number]), flags=packets.ACK), tcp(VM1, VM2, dport=22))
    lab.settle()
    assert lab.packet_ins() == asked
    assert [packets.read(one).dport for one in lab.sent(VM2)] == [80] * 21


def test_a_vm_that_ignores_what_comes_back_harms_only_itself(lab: Lab) -> None:
    """M14: first packets that are sent by the VF alone ask nobody, however many they are, and reach nobody."""
    lab.send(VM1, *(udp(VM1, VM2, 1000 + number) for number in range(200)))
    assert lab.silent(VM2, "h1-uplink")
    assert lab.packet_ins() == 0
    assert not lab.get("flows")["items"]


def test_forged_frames_are_refused_at_the_synthetic_port_too(lab: Lab) -> None:
    """M14, S12: whatever a VM may not claim by its VF it may not claim by its synthetic port, by the same reasons."""
    lab.send(SYN1, *(forged for _, forged in FORGED.values()))
    assert lab.silent(VM1, VM2, SYN1, "h1-uplink")
    lab.wait_refusals(VM1, Counter(reason for reason, _ in FORGED.values()))


def test_a_vm_without_bandwidth_has_none_at_the_synthetic_port(lab: Lab) -> None:
    """S13: a bandwidth of 0 holds for both ports of a VM."""
    lab.put("vports/vm1", with_synthetic(VM1, bandwidth={"outbound_kbps": 0}))
    lab.send(SYN1, tcp(VM1, VM2))
    lab.send(VM1, tcp(VM1, VM2))
    assert lab.silent(VM1, VM2)
    assert lab.packet_ins() == 0
    lab.wait_refusals(VM1, {"bandwidth": 2})


def _frames_of_its_own(lab: Lab, vm: Station) -> list[bytes]:
    lab.settle()
    return [one for port in (vm.port, SYNTHETIC[vm.name]) for one in lab.sent(port) if mac_of(one) == vm.mac]


def test_nobody_else_can_feign_a_packet_that_comes_back(lab: Lab) -> None:
    """M14: a frame with a VM's own MAC as source reaches it neither from another VM nor from the network."""
    as_vm1 = moved(EXT, mac=VM1.mac)
    lab.send(VM2, tcp(moved(VM2, mac=VM1.mac), VM1))
    lab.send(SYNTHETIC["vm2"], tcp(moved(VM2, mac=VM1.mac), VM1))
    lab.from_network(tcp(as_vm1, VM1), packets.tagged(tcp(as_vm1, VM1), RED_VLAN))
    lab.from_network(tcp(as_vm1, moved(VM1, mac=packets.BROADCAST)))
    assert _frames_of_its_own(lab, VM1) == []
    lab.wait_refusals(VM2, {"mac": 2})


def test_no_rule_makes_a_packet_look_as_if_it_came_back(lab: Lab) -> None:
    """M14: what a rule gives the VM's own MAC as source, in its way or in a copy, is dropped before the VM's port."""
    lab.put("vports/vm4", VM4.vport)
    lab.layer("rewriting")
    lab.layer("copying", 20)
    to_vm1 = rule("feign", {"ip_proto": "tcp"}, rewrite(eth_src=VM1.mac))
    lab.group("feign", "outbound", to_vm1, layer="rewriting", applies_to={"vport": "vm4"})
    copy = rule("copy", {"ip_proto": "tcp", "l4_dst": 443}, {"type": "mirror", "vport": "vm1"})
    lab.group("copy", "outbound", copy, layer="copying", applies_to={"vport": "vm4"})
    lab.send(VM4, tcp(VM4, VM1), tcp(VM4, EXT, dport=443))
    assert len(lab.wait_sent("h1-uplink")) == 1
    assert _frames_of_its_own(lab, VM1) == []
    dropped = {
        table: [entry.n_packets for entry in lab.dump("h1", table) if f"dl_src={VM1.mac}" in entry.match]
        for table in ("egress", "mirror")
    }
    # Open vSwitch counts a packet-out that comes to nothing twice.
    assert len(dropped["egress"]) == len(dropped["mirror"]) == 1
    assert all(count for counts in dropped.values() for count in counts)
    assert lab.get("stats")["vports"]["vm1"]["refused"]["reflected"] == sum(dropped["egress"] + dropped["mirror"])


def test_what_a_vm_sends_to_all_does_not_come_to_it(lab: Lab) -> None:
    """M13: a broadcast by the synthetic port reaches the others once and its sender by no port."""
    sent = udp(VM1, moved(EXT, mac=packets.BROADCAST, ip="10.0.0.255"))
    lab.send(SYN1, sent)
    assert lab.wait_sent(VM2) == [sent]
    assert lab.wait_sent("h1-uplink") == [packets.tagged(sent, RED_VLAN)]
    assert _frames_of_its_own(lab, VM1) == []
    lab.wait_refusals(VM1, {})


def test_trace_flows_and_counts_tell_the_path(lab: Lab) -> None:
    """M13: trace and flows say how each leg misses; what went back is counted apart and is no hit."""
    driver = Driver(lab, VM1)
    driver.send(tcp(VM1, VM2))
    driver.send(tcp(VM1, VM2, flags=packets.ACK))
    lab.settle()

    (flow,) = lab.get("flows")["items"]
    packet = {"eth_dst": VM2.mac, "ipv4_src": VM1.ip, "ipv4_dst": VM2.ip, "ip_proto": "tcp", "l4_dst": "80"}
    traced = lab.trace(VM1, packet)
    for legs in ((*flow["forward"], *flow["reply"]), (*traced["walk"], *traced["reply"])):
        assert [(leg["vport"], leg["direction"], leg["miss"]) for leg in legs] == [
            ("vm1", "outbound", "vm"), ("vm2", "inbound", "pf"), ("vm2", "outbound", "vm"), ("vm1", "inbound", "pf"),
        ]  # fmt: skip
    lab.refresh()
    counted = lab.get("stats")["vports"]["vm1"]["caches"]["outbound"]
    assert counted == {"hits": 1, "misses": 1, "passes": 0, "returns": 1}


def test_entries_for_synthetic_ports_are_kept_over_a_restart(own_site: Site) -> None:
    """M26: what a switch has for synthetic ports is found equal after a restart; nothing is sent anew."""
    lab = Lab(own_site)
    add_synthetic_ports(lab)
    lab.tenant(VM4)
    _put_vms(lab)
    put_host(lab, "vm")
    before = {(entry.table, entry.match, entry.actions) for entry in lab.dump("h1")}
    assert any(entry.actions == "IN_PORT" for entry in lab.dump("h1", "missed"))

    lab.controller.stop()
    lab.controller.start()
    lab.site.wait_ready()

    live = lab.get("hosts/h1")["live"]
    assert (live["changed_entries"], live["kept_entries"]) == (0, len(before))
    assert {(entry.table, entry.match, entry.actions) for entry in lab.dump("h1")} == before
