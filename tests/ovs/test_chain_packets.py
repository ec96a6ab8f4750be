"""Every kind of packet in a chain, and what the cable brings that belongs to none; frame by frame."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.chain_site import FAR, MACS, Site, given_to, instance, refused, udp
from tests.ovs.harness.switch import OpenVSwitch

ENDS = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00::1", "fd00::2")}
CONNECTIONS = 8
TYPES = {4: packets.IPV4, 6: packets.IPV6}


@pytest.fixture
def site(ovs: OpenVSwitch, controller: Controller) -> Iterator[Site]:
    """Return three bridges with a chain."""
    yield Site(ovs, controller)


def ip(version: int, proto: int, there: bytes, back: bytes) -> tuple[bytes, bytes]:
    """Return a packet of vm1 to vm2 and its reply."""
    made = []
    for (sender, receiver), payload in (((1, 2), there), ((2, 1), back)):
        ends = ENDS[version][sender - 1], ENDS[version][receiver - 1]
        body = packets.packet(*ends, proto, packets.transport(*ends, proto, payload))
        made.append(packets.ether(MACS[sender], MACS[receiver], TYPES[version], body))
    return made[0], made[1]


def pairs() -> dict[str, list[tuple[bytes, bytes]]]:
    """Return packets and their replies of each kind that the switch remembers in its own way, one for a connection."""
    other = packets.ether(MACS[1], MACS[2], 0x88B5, b"ask"), packets.ether(MACS[2], MACS[1], 0x88B5, b"told")
    found = {"other": [other],
             "ARP": [(packets.arp(1, MACS[1], *ENDS[4], eth_dst=MACS[2]),
                      packets.arp(2, MACS[2], *ENDS[4][::-1], tha=MACS[1], eth_dst=MACS[1]))],
             "ping over IPv4": [ip(4, packets.ICMP, packets.icmp(8, rest=7), packets.icmp(0, rest=7))],
             "ping over IPv6": [ip(6, packets.ICMPV6, packets.icmp(128, rest=7), packets.icmp(129, rest=7))],
             }  # fmt: skip
    for version in (4, 6):
        for name, proto, make in (("tcp", packets.TCP, packets.tcp), ("udp", packets.UDP, packets.udp),
                                  ("sctp", packets.SCTP, packets.sctp)):  # fmt: skip
            found[f"{name} over IPv{version}"] = [
                ip(version, proto, make(sport, 2000), make(2000, sport)) for sport in range(1000, 1000 + CONNECTIONS)
            ]
    return found


def test_replies_of_every_kind_come_back_by_the_instances_of_their_connection(site: Site) -> None:
    """H07 H11: of every protocol, over both address families, connections spread over two instances, and each packet's
    reply passes the hops in reverse by the instance of its own, though another would be chosen by then."""
    both = {name: instance(f"nat-{name}") for name in "ab"}
    site.client.put("/v1/functions/nat", {"instances": both})
    given: list[tuple[str, str, bytes, bytes]] = []
    for kind, connections in pairs().items():
        into = given_to(site, [there for there, _ in connections])
        given += [(kind, into[there].removesuffix("-in"), there, back) for there, back in connections]
        assert len(connections) == 1 or set(into.values()) == {"nat-a-in", "nat-b-in"}, kind
    for kind, name, there, _ in given:
        assert site.through(f"{name}-out", there, "h1f-cable") == packets.tagged(there, 102), kind
    for idle in ("nat-a", "nat-b"):
        weights = {name: instance(f"nat-{name}", weight=int(f"nat-{name}" != idle)) for name in both}
        site.client.put("/v1/functions/nat", {"instances": weights})
        for kind, name, there, back in given:
            if name == idle:
                assert site.through("h1f-cable", packets.tagged(back, 102), f"{name}-out") == back, kind
                assert site.through(f"{name}-in", back, "fw-a-out") == back, kind
                assert site.through("fw-a-in", back, "h1f-cable") == packets.tagged(back, 101), kind
                assert given_to(site, [there]) == {there: f"{name}-in"}, kind


@pytest.mark.parametrize("version", [4, 6])
def test_multicast_passes_the_chain_and_reaches_each_once(site: Site, version: int) -> None:
    """H09 H11: a datagram to a group goes by all hops to each other VM and to the network once, and not back."""
    group = {4: "224.0.0.251", 6: "ff02::fb"}[version]
    mac = "01:00:5e:00:00:fb" if version == 4 else packets.multicast_mac(group)
    ends = ENDS[version][0], group
    body = packets.packet(*ends, packets.UDP, packets.transport(*ends, packets.UDP, packets.udp(5353, 5353)))
    frame = packets.ether(MACS[1], mac, TYPES[version], body)
    assert site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in") == frame
    assert site.through("fw-a-out", frame, "nat-a-in") == frame
    site.ovs.receive("nat-a-out", frame)
    assert sorted(site.ovs.wait_sent("h1f-cable", 2)) == [packets.tagged(frame, 102), packets.tagged(frame, 103)]
    assert site.ovs.sent("h1f-net") == [frame]


def test_what_the_cable_brings_of_no_vf_and_no_chain_goes_nowhere(site: Site) -> None:
    """H04 H11: a VLAN of no VF, the mark of no chain, and no tag are dropped and counted before any function."""
    frame = udp(1, 2)
    strange = (packets.tagged(frame, 107), packets.tagged(frame, 5 << 13 | 101), frame)
    for number, each in enumerate(strange, start=1):
        site.ovs.receive("h1f-cable", each)
        wait_until(lambda: refused(site, "unknown-vlan"), 5, "it is counted", until=number.__eq__)
    site.ovs.receive("h1f-net", packets.tagged(packets.ether(FAR, MACS[1], packets.IPV4, frame[14:]), 101))
    wait_until(lambda: refused(site, "unknown-vlan"), 5, "the network's too", until=lambda count: count == 4)
    assert site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in") == frame
    silent = ("fw-a-out", "nat-a-in", "nat-a-out", "nat-b-in", "h1f-cable", "h1f-net")
    assert [len(site.ovs.sent(port)) for port in ("fw-a-in", *silent)] == [1, *[0] * len(silent)]
