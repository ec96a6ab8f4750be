"""Sources from a NAT pool on a real switch: given out, led back, given back, and never twice."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from mininet_scripts.support.waiting import wait_until
from ryu_apps.model.network import MISS_RATE_PPS
from ryu_apps.pipeline.cookie import EntryClass
from ryu_apps.pipeline.meters import LEAST_BURST_PKTS
from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, RED_VLAN, VM1, VM2, Station, frame, moved, ping, rule, tcp, udp

QUESTIONS = 1000
POOL_MAC = "02:fa:00:00:00:01"
# How the outside sees a VM that has borrowed the first address.
SHOWN = moved(EXT, mac=POOL_MAC, ip="10.0.0.200", ip6="fd00::200")
_PROTOS = {"tcp": tcp, "udp": udp}


# What one test has given back rests for a while: every test has a pool of its own.
_NUMBERS = itertools.count(1)


def pool(lab: Lab, *addresses: str, **more: Any) -> str:
    """Put a pool at host h1, with a layer whose rules take all sources from it; return its id."""
    name = f"pool{next(_NUMBERS)}"
    body = {"segment": "red", "host": "h1", "mac": POOL_MAC, "addresses": list(addresses or [SHOWN.ip, SHOWN.ip6])}
    lab.put(f"nat_pools/{name}", {**body, **more})
    lab.layer("nat", 5)
    action = {"type": "nat", "source": {"pool": name}}
    lab.group("out", "outbound", rule("out", {"eth_type": "ipv4"}, action), rule("out6", {"eth_type": "ipv6"}, action),
              layer="nat")  # fmt: skip
    return name


def led(lab: Lab) -> list[int]:
    """Return the cookies of the entries that lead replies to vports."""
    return [entry.cookie for entry in lab.dump("h1", "pooled") if entry.cookie >> 52 & 0xF == EntryClass.LEAD]


def to_wire(frame: bytes) -> bytes:
    """Return a frame as it stands on the cable."""
    return packets.tagged(frame, RED_VLAN)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("version", [4, 6])
def test_source_from_a_pool_and_the_way_back(lab: Lab, version: int, proto: str) -> None:
    """M23: a source becomes the pool's address with the VM's port, and the reply to the pool's MAC reaches the VM."""
    lab.tenant(VM1, VM2)
    pool(lab)
    make = _PROTOS[proto]
    for count in (1, 2):
        lab.send(VM1, make(VM1, EXT, 40000, 80, b"hello", version=version))
        lab.wait_sent("h1-uplink", count)
    assert lab.sent("h1-uplink") == [to_wire(make(SHOWN, EXT, 40000, 80, b"hello", version=version))] * 2

    for _ in range(2):
        lab.from_network(make(EXT, SHOWN, 80, 40000, b"answer", version=version))
    assert lab.wait_sent(VM1, 2) == [make(EXT, VM1, 80, 40000, b"answer", version=version)] * 2
    assert lab.packet_ins() == 1
    assert lab.silent(VM2)


def _given(frames: list[bytes]) -> list[tuple[str, int]]:
    """Return the source address and port of frames on the cable."""
    read = [packets.read(packets.untagged(frame)) for frame in frames]
    return [(each.src, int.from_bytes(each.body[:2], "big")) for each in read]


def test_vms_that_chose_one_port_get_two(lab: Lab) -> None:
    """M23: two VMs with one source port share an address by different ports, and each gets its own replies."""
    lab.tenant(VM1, VM2)
    pool(lab)
    for vm in (VM1, VM2):
        lab.send(vm, tcp(vm, EXT, 40000))
    assert _given(lab.wait_sent("h1-uplink", 2)) == [("10.0.0.200", 40000), ("10.0.0.200", 40001)]
    for port in (40000, 40001):
        lab.from_network(tcp(EXT, SHOWN, 80, port, flags=packets.SYN_ACK))
    assert lab.wait_sent(VM1) == [tcp(EXT, VM1, 80, 40000, flags=packets.SYN_ACK)]
    assert lab.wait_sent(VM2) == [tcp(EXT, VM2, 80, 40000, flags=packets.SYN_ACK)]


@pytest.mark.parametrize("asker", [EXT, VM2], ids=lambda station: station.name)
def test_the_host_answers_arp_for_the_addresses(lab: Lab, asker: Station) -> None:
    """M23: who asks for a pool's address, outside or in the segment, is told its MAC, and nobody else is asked."""
    lab.tenant(VM1, VM2)
    pool(lab)
    asks = packets.arp(1, asker.mac, asker.ip, SHOWN.ip)
    told = packets.arp(2, POOL_MAC, SHOWN.ip, asker.ip, tha=asker.mac)
    _ask(lab, asker, asks)
    assert lab.wait_sent(asker.port or "h1-uplink") == [told if asker.port else to_wire(told)]
    assert lab.silent(VM1)


def test_a_flood_of_questions_from_the_network_is_dropped_in_the_switch(lab: Lab) -> None:
    """S07: what the network asks about pools passes a meter, and what is too much is counted."""
    lab.tenant(VM1, VM2)
    pool(lab)
    before = _refused_of_uplink(lab)
    asks = packets.arp(1, EXT.mac, EXT.ip, SHOWN.ip)
    started_s = time.monotonic()
    lab.from_network(*[asks] * QUESTIONS)
    lab.settle()
    answered = len(lab.sent("h1-uplink"))
    assert answered >= LEAST_BURST_PKTS
    # The switch counts whole milliseconds.
    assert answered <= LEAST_BURST_PKTS + (time.monotonic() - started_s) * MISS_RATE_PPS + 1
    assert _refused_of_uplink(lab) - before == QUESTIONS - answered
    lab.send(VM1, udp(VM1, VM2))
    lab.wait_sent(VM2)


def _refused_of_uplink(lab: Lab) -> int:
    refused: dict[str, int] = lab.get("stats")["refused"]
    return refused.get("miss-limit", 0)


@pytest.mark.parametrize("asker", [EXT, VM2], ids=lambda station: station.name)
def test_the_host_answers_solicitations_for_the_addresses(lab: Lab, asker: Station) -> None:
    """M23: a neighbour solicitation for a pool's address is answered as RFC 4861 section 4.4 has it."""
    lab.tenant(VM1, VM2)
    pool(lab)
    body = packets.ip(SHOWN.ip6) + packets.option(1, asker.mac)
    routed = packets.icmpv6(asker.mac, asker.ip6, packets.solicited(SHOWN.ip6), 135, body)
    _ask(lab, asker, routed)
    _ask(lab, asker, routed[:21] + b"\xff" + routed[22:])
    # A hop limit below 255 shows that it has passed a router: no answer (section 7.1.1).
    lab.settle()
    (frame,) = lab.wait_sent(asker.port or "h1-uplink")
    told = packets.read(frame)
    assert (told.eth_src, told.eth_dst, told.src, told.dst) == (POOL_MAC, asker.mac, SHOWN.ip6, asker.ip6)
    assert told.body[:2] == b"\x88\0"
    assert told.body[4:] == b"\x60\0\0\0" + packets.ip(SHOWN.ip6) + packets.option(2, POOL_MAC)
    # A hop limit of 255 shows that it has passed no router.
    assert (packets.untagged(frame)[21], told.wrong_checksums) == (255, ())
    assert lab.silent(VM1)


def _ask(lab: Lab, asker: Station, question: bytes) -> None:
    if asker.port:
        lab.send(asker, question)
    else:
        lab.from_network(question)


def test_a_vm_talks_to_another_through_the_pool(lab: Lab) -> None:
    """M23 M25: between VMs of one host the receiver sees the pool's address, and its answer comes back."""
    lab.tenant(VM1, VM2)
    pool(lab)
    lab.send(VM1, udp(VM1, VM2, 40000, 53))
    assert lab.wait_sent(VM2) == [udp(SHOWN, VM2, 40000, 53)]
    for _ in range(2):
        lab.send(VM2, udp(VM2, SHOWN, 53, 40000))
    assert lab.wait_sent(VM1, 2) == [udp(VM2, VM1, 53, 40000)] * 2
    assert lab.packet_ins() == 1 and not lab.sent("h1-uplink")


def test_what_is_not_lent_goes_nowhere(lab: Lab) -> None:
    """M23: what comes for a pool's address without a connection is dropped in the switch and counted there."""
    lab.tenant(VM1)
    pool(lab)
    before = lab.get("stats")["refused"].get("not-lent", 0)
    lab.from_network(tcp(EXT, SHOWN, 80, 40000), udp(EXT, SHOWN, 53, 5000), ping(EXT, SHOWN))
    assert lab.silent(VM1, "h1-uplink")
    assert lab.packet_ins() == 0
    assert lab.get("stats")["refused"]["not-lent"] == before + 3


def test_nothing_left_is_told_and_passes_when_something_is_free(lab: Lab) -> None:
    """M23: with all ports lent a new connection is dropped with its own reason; it gets one when one is free again."""
    lab.tenant(VM1, VM2)
    pool(lab, "10.0.0.200", ports="40000-40000")
    lab.send(VM1, udp(VM1, EXT, 40000))
    lab.wait_sent("h1-uplink")
    said = lab.trace(VM2, {"ip_proto": "udp", "ipv4_src": VM2.ip, "ipv4_dst": EXT.ip, "eth_dst": EXT.mac,
                           "l4_src": "1", "l4_dst": "53"})  # fmt: skip
    assert (said["allow"], said["decided_by"]["reason"]) == (False, "pool-exhausted")

    lab.send(VM2, udp(VM2, EXT, 40000))
    lab.settle()
    assert len(lab.sent("h1-uplink")) == 1
    assert lab.get("stats")["vports"]["vm2"]["pool-exhausted"] == 1
    (denied,) = [flow for flow in lab.get("flows")["items"] if flow["state"] == "denied"]
    assert denied["forward"][0]["layers"][-1]["reason"] == "pool-exhausted"


def _uses(lab: Lab, name: str) -> dict[str, int]:
    uses: dict[str, int] = lab.get("stats")["nat_pools"][name]
    return uses


def test_a_port_comes_back_when_its_connection_ends(lab: Lab) -> None:
    """M23: the port of a connection that was closed or ran idle is given to another, when its rest is over."""
    lab.tenant(VM1, VM2)
    name = pool(lab, SHOWN.ip, ports="40000-40000", rest_s=0)
    lab.send(VM1, tcp(VM1, EXT, 40000))
    lab.wait_sent("h1-uplink")
    assert _uses(lab, name) == {"lent": 1, "resting": 0}
    lab.send(VM1, tcp(VM1, EXT, 40000, flags=packets.RST))
    # The host knows a closed connection for some seconds, in which its packets may be late.
    wait_until(lambda: _uses(lab, name)["lent"], 15, "the port to be given back", until=lambda lent: not lent)
    assert not led(lab)

    lab.send(VM2, tcp(VM2, EXT, 1234))
    assert _given(lab.wait_sent("h1-uplink", 3)[-1:]) == [("10.0.0.200", 40000)]
    lab.from_network(tcp(EXT, SHOWN, 80, 40000, flags=packets.SYN_ACK))
    assert lab.wait_sent(VM2) == [tcp(EXT, VM2, 80, 1234, flags=packets.SYN_ACK)]
    assert lab.silent(VM1)


def test_an_idle_connection_gives_its_port_back(lab: Lab) -> None:
    """M10 M23: when the entries of a connection run idle, its lease ends and nothing is left in the switch."""
    lab.tenant(VM1)
    name = pool(lab)
    lab.send(VM1, udp(VM1, EXT, 40000))
    lab.wait_sent("h1-uplink")
    lab.wait_cached(2)
    lab.warp(130)
    wait_until(lambda: _uses(lab, name), 5, "the lease to end", until=lambda uses: uses == {"lent": 0, "resting": 1})
    assert lab.cached() == [] and led(lab) == []


@pytest.mark.parametrize("version", [4, 6])
def test_pings_and_errors_come_back(lab: Lab, version: int) -> None:
    """M08 M23: a ping through a pool is answered, and an ICMP error quotes to the VM what the VM has sent."""
    lab.tenant(VM1)
    pool(lab)
    lab.send(VM1, ping(VM1, EXT, version=version))
    assert lab.wait_sent("h1-uplink") == [to_wire(ping(SHOWN, EXT, version=version))]
    lab.from_network(ping(EXT, SHOWN, version=version, reply=True))
    assert lab.wait_sent(VM1) == [ping(EXT, VM1, version=version, reply=True)]

    sent = udp(VM1, EXT, 40000, 33434, b"probe", version=version)
    lab.send(VM1, sent)
    outside = packets.untagged(lab.wait_sent("h1-uplink", 2)[1])
    kind, code, proto = (3, 1, packets.ICMP) if version == 4 else (1, 3, packets.ICMPV6)
    router = moved(EXT, ip="10.9.9.9", ip6="fd99::9")
    lab.from_network(frame(router, SHOWN, proto, packets.icmp(kind, code, outside[14:]), version=version))
    error = packets.read(lab.wait_sent(VM1, 2)[1])
    assert error.dst == (VM1.ip if version == 4 else VM1.ip6) and error.wrong_checksums == ()
    assert error.body[8:] == sent[14:]


def test_answers_in_pieces_come_back(lab: Lab) -> None:
    """M22 M23: both fragments of a reply to a pool's address reach the VM, translated back."""
    lab.tenant(VM1)
    pool(lab)
    lab.send(VM1, udp(VM1, EXT, 40000, 53))
    lab.wait_sent("h1-uplink")
    data = packets.transport(EXT.ip, SHOWN.ip, packets.UDP, packets.udp(53, 40000, bytes(range(200))))
    for offset, part in ((0, data[:104]), (13, data[104:])):
        piece = packets.packet(EXT.ip, SHOWN.ip, packets.UDP, part, ident=7, offset=offset, more=not offset)
        lab.from_network(packets.ether(EXT.mac, POOL_MAC, packets.IPV4, piece))
    first, second = map(packets.read, lab.wait_sent(VM1, 2))
    assert (first.dst, second.dst) == (VM1.ip, VM1.ip)
    whole = packets.transport(EXT.ip, VM1.ip, packets.UDP, packets.udp(53, 40000, bytes(range(200))))
    assert first.body + second.body == whole


def test_a_pool_in_use_is_not_deleted_and_a_changed_one_ends_what_it_has_no_more(lab: Lab) -> None:
    """M15 M23: a pool that a rule names stays; of a changed one, connections go on whose source it still has."""
    lab.tenant(VM1, VM2)
    name = pool(lab, "10.0.0.200", ports="40000-40001")
    for vm in (VM1, VM2):
        lab.send(vm, udp(vm, EXT, 40000))
    lab.wait_sent("h1-uplink", 2)
    refused = lab.rest("DELETE", f"nat_pools/{name}")
    assert refused.status == 409 and "nat/out/out" in refused.body["errors"][0]["message"]

    body = {"segment": "red", "host": "h1", "mac": POOL_MAC, "addresses": ["10.0.0.200"], "ports": "40000-40000"}
    told = lab.put(f"nat_pools/{name}", body)
    assert told["outcome"]["touched_flows"] == 2
    going_on = [flow["key"]["ipv4_src"] for flow in lab.get("flows")["items"] if flow["state"] == "allowed"]
    assert going_on == [VM1.ip]
    lab.from_network(udp(EXT, SHOWN, 53, 40000), udp(EXT, SHOWN, 53, 40001))
    assert lab.wait_sent(VM1) == [udp(EXT, VM1, 53, 40000)]
    assert lab.silent(VM2)


def test_two_pools_in_two_layers_are_one_entry(lab: Lab) -> None:
    """M07 M23: a source of a pool, a mark, a meter and a source of another pool leave as one entry, and come back."""
    lab.tenant(VM1)
    pool(lab)
    mark = {"type": "rewrite", "set": {"ip_dscp": 46}}
    lab.layer("mark", 6)
    lab.group("m", "outbound", rule("m", {"ipv4_src": SHOWN.ip}, mark), layer="mark")
    lab.layer("slow", 7)
    lab.group("s", "outbound", rule("s", {"ip_dscp": 46}, {"type": "meter", "pps": 1000}), layer="slow")
    other = {"segment": "red", "host": "h1", "mac": "02:fa:00:00:00:02", "addresses": ["10.0.0.220"]}
    name = f"pool{next(_NUMBERS)}"
    lab.put(f"nat_pools/{name}", {**other, "ports": "5000-5000"})
    lab.layer("again", 8)
    again = rule("a", {"ip_dscp": 46}, {"type": "nat", "source": {"pool": name}, "destination": {"ip": "10.0.0.77"}})
    lab.group("a", "outbound", again, layer="again")
    for count in (1, 2):
        lab.send(VM1, udp(VM1, EXT, 40000, 53))
        lab.wait_sent("h1-uplink", count)
    outer, far = moved(EXT, mac="02:fa:00:00:00:02", ip="10.0.0.220"), moved(EXT, ip="10.0.0.77")
    assert lab.sent("h1-uplink") == [to_wire(udp(outer, far, 5000, 53, dscp=46))] * 2
    assert len(lab.cached(table="outbound")) == 1
    lab.from_network(udp(far, outer, 53, 5000))
    assert lab.wait_sent(VM1) == [udp(EXT, VM1, 53, 40000)]


def test_a_nic_that_cannot_translate_leaves_it_to_the_host(lab: Lab) -> None:
    """M12 M23: where a NIC lacks the action, packets of a connection through a pool pass by the host, both ways."""
    host = {"dpid": "1", "uplink": "h1-uplink"}
    lab.tenant(VM1)
    name = pool(lab)
    lab.put("hosts/h1", {**host, "limits": {"actions": []}})
    try:
        for count in (1, 2):
            lab.send(VM1, udp(VM1, EXT, 40000))
            assert lab.wait_sent("h1-uplink", count) == [to_wire(udp(SHOWN, EXT, 40000))] * count
            lab.from_network(udp(EXT, SHOWN, 53, 40000))
            assert lab.wait_sent(VM1, count) == [udp(EXT, VM1, 53, 40000)] * count
        assert lab.cached() == [] and len(led(lab)) == 1
        assert _uses(lab, name) == {"lent": 1, "resting": 0}
    finally:
        lab.put("hosts/h1", host)
