"""What takes no exact-match entries away from connections: ARP, DHCP, broadcast, fragments."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.ovs import packets
from tests.ovs.packets import icmpv6, link_local, option, solicited
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, RED_VLAN, VM1, VM2, VM3, VM4, Station, moved, rewrite, rule, tcp, udp

_LL1 = link_local(VM1.mac)
NO_ENTRY: Mapping[str, bytes] = {
    "arp-request": packets.arp(1, VM1.mac, VM1.ip, VM2.ip),
    "neighbour-solicitation": icmpv6(
        VM1.mac, VM1.ip6, solicited(VM2.ip6), 135, packets.ip(VM2.ip6) + option(1, VM1.mac)
    ),
    "dhcp": packets.dhcp(VM1.mac, 68, 67),
    "dhcpv6": packets.dhcp(VM1.mac, 546, 547, src=_LL1, dst="ff02::1:2"),
    "broadcast": packets.ether(
        VM1.mac, packets.BROADCAST, packets.IPV4,
        packets.packet(VM1.ip, "10.0.0.255", packets.UDP,
                       packets.transport(VM1.ip, "10.0.0.255", packets.UDP, packets.udp(9, 9, b"all"))),
    ),
    "multicast": packets.ether(
        VM1.mac, "01:00:5e:00:00:fb", packets.IPV4,
        packets.packet(VM1.ip, "224.0.0.251", packets.UDP,
                       packets.transport(VM1.ip, "224.0.0.251", packets.UDP, packets.udp(5353, 5353, b"dns"))),
    ),
    "multicast-ipv6": icmpv6(VM1.mac, VM1.ip6, "ff02::fb", 128, b"ping"),
    "other-broadcast": packets.ether(VM1.mac, packets.BROADCAST, 0x88B5, bytes(46)),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_ENTRY)
def test_group_traffic_reaches_all_members_once_and_takes_no_entry(lab: Lab, kind: str) -> None:
    """M22: what is for many reaches every member of the segment once, on all hosts, and adds no cached entry."""
    sent = NO_ENTRY[kind]
    lab.tenant(VM1, VM2, VM3)
    lab.put("tenants/blue", {})
    lab.put("vports/vm4", {**VM4.vport, "tenant": "blue"})
    lab.send(VM1, tcp(VM1, VM2))
    cached = {entry.match for entry in lab.wait_cached(4)}

    lab.send(VM1, sent)
    crossed = lab.carry("h1", "h2")

    assert crossed == [packets.tagged(sent, RED_VLAN)]
    assert lab.sent(VM2)[1:] == [sent]
    assert lab.sent(VM3) == [sent]
    assert lab.silent(VM1, VM4, "h2-uplink")
    assert {entry.match for entry in lab.cached("h1")} == cached
    assert lab.cached("h2") == []


@pytest.mark.parametrize("kind", ["broadcast", "multicast", "dhcp", "dhcpv6", "other-broadcast"])
def test_denied_group_traffic_takes_no_entry_either(lab: Lab, kind: str) -> None:
    """M22: group traffic that rules deny is dropped packet by packet, without a drop entry."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", outbound="deny")

    lab.send(VM1, *[NO_ENTRY[kind]] * 5)

    assert lab.silent(VM1, VM2, "h1-uplink")
    assert lab.cached() == []


@pytest.mark.parametrize("kind", ["broadcast", "multicast", "other-broadcast"])
def test_group_traffic_denied_by_one_receiver_reaches_the_others(lab: Lab, kind: str) -> None:
    """M22: each member's inbound rules decide for it alone."""
    lab.tenant(VM1, VM2, VM4)
    lab.layer("firewall")
    lab.group("in", "inbound", rule("none", {}, "deny"), applies_to={"vport": "vm2"})

    lab.send(VM1, NO_ENTRY[kind])

    assert lab.wait_sent(VM4) == [NO_ENTRY[kind]]
    assert lab.silent(VM2)
    assert lab.cached() == []


@pytest.mark.parametrize("kind", ["arp-request", "neighbour-solicitation"])
def test_neighbours_are_asked_although_the_default_denies(lab: Lab, kind: str) -> None:
    """M22: a denying default does not cut ARP and neighbour discovery, a rule that names them does; no entry stays."""
    sent = NO_ENTRY[kind]
    match = {"arp_op": 1} if kind == "arp-request" else {"icmpv6_type": 135}
    lab.tenant(VM1, VM2)
    lab.layer("firewall", outbound="deny", inbound="deny")
    lab.send(VM1, sent)
    assert lab.wait_sent(VM2) == [sent]

    lab.group("quiet", "outbound", rule("no", match, "deny"))
    lab.refresh()
    lab.send(VM1, sent)

    lab.settle()
    assert len(lab.sent(VM2)) == 1
    assert lab.cached() == []


def test_unicast_neighbours_take_no_entry(lab: Lab) -> None:
    """M22: ARP replies and neighbour advertisements pass to their one receiver without an entry."""
    lab.tenant(VM1, VM2)
    reply = packets.arp(2, VM1.mac, VM1.ip, VM2.ip, tha=VM2.mac)
    body = packets.ip(VM1.ip6) + option(2, VM1.mac)
    advert = icmpv6(VM1.mac, VM1.ip6, VM2.ip6, 136, body, dst_mac=VM2.mac, rest=0x60000000)

    lab.send(VM1, reply, advert)

    assert lab.wait_sent(VM2, 2) == [reply, advert]
    assert lab.cached() == []
    assert lab.silent("h1-uplink")


def test_broadcast_from_the_network_does_not_go_back(lab: Lab) -> None:
    """M22: a broadcast that comes in by the uplink reaches the local members and not the uplink."""
    lab.tenant(VM1, VM2)
    asking = packets.arp(1, EXT.mac, EXT.ip, VM1.ip)

    lab.from_network(asking)

    assert lab.wait_sent(VM1) == [asking]
    assert lab.wait_sent(VM2) == [asking]
    assert lab.silent("h1-uplink", VM4)
    assert (len(lab.sent(VM1)), len(lab.sent(VM2))) == (1, 1)


def _pieces(source: Station, target: Station, dport: int, ident: int, version: int) -> list[bytes]:
    """Return a UDP datagram in three fragments."""
    src, dst = (source.ip, target.ip) if version == 4 else (source.ip6, target.ip6)
    whole = packets.transport(src, dst, packets.UDP, packets.udp(40000, dport, bytes(range(64)) * 2))
    pieces = []
    for start in range(0, len(whole), 48):
        part = whole[start : start + 48]
        more = start + 48 < len(whole)
        body = packets.packet(src, dst, packets.UDP, part, ident=ident, offset=start // 8, more=more, fragmented=True)
        pieces.append(packets.ether(source.mac, target.mac, packets.IPV4 if version == 4 else packets.IPV6, body))
    return pieces


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("order", ["in-order", "last-first", "first-last"])
def test_fragments_follow_their_first_and_take_no_entry(lab: Lab, version: int, order: str) -> None:
    """M22: the fragments of an allowed datagram all pass, those of a denied one do not, in any order, without entry."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.group("some", "outbound", rule("no-53", {"ip_proto": "udp", "l4_dst": 53}, "deny"))
    orders = {"in-order": (0, 1, 2), "last-first": (2, 0, 1), "first-last": (1, 2, 0)}

    for dport, ident in ((5000, 11), (53, 12)):
        pieces = _pieces(VM1, VM2, dport, ident, version)
        assert len(pieces) == 3
        lab.send(VM1, *(pieces[number] for number in orders[order]))
        lab.settle()
        expected = sorted(_pieces(VM1, VM2, 5000, 11, version))
        assert sorted(lab.sent(VM2)) == expected

    assert lab.silent("h1-uplink", VM1)
    assert lab.cached() == []


@pytest.mark.parametrize("version", [4, 6])
def test_later_fragments_alone_do_not_pass(lab: Lab, version: int) -> None:
    """M22: a fragment whose first never comes is not let through, and one of another datagram is no excuse for it."""
    lab.tenant(VM1, VM2)
    lab.send(VM1, *_pieces(VM1, VM2, 5000, 1, version))
    lab.wait_sent(VM2, 3)

    lab.send(VM1, _pieces(VM1, VM2, 5000, 2, version)[1])

    lab.settle()
    assert len(lab.sent(VM2)) == 3


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_are_rewritten_like_whole_packets(lab: Lab, version: int) -> None:
    """M22: every fragment carries the edits of its connection: a DSCP mark, and a translated source."""
    lab.tenant(VM1)
    shown = moved(VM1, ip="10.0.0.200", ip6="fd00::200")
    lab.layer("mark", 10)
    lab.layer("nat", 20)
    lab.group("mark", "outbound", rule("mark", {"ip_proto": "udp"}, rewrite(ip_dscp=46)), layer="mark")
    new = shown.ip if version == 4 else shown.ip6
    match = {"ip_proto": "udp", "eth_type": f"ipv{version}"}
    lab.group("nat", "outbound", rule("nat", match, {"type": "nat", "source": {"ip": new}}), layer="nat")

    lab.send(VM1, *_pieces(VM1, EXT, 5000, 21, version))

    read = [packets.read(found) for found in lab.wait_sent("h1-uplink", 3)]
    assert {(one.src, one.dscp) for one in read} == {(new, 46)}
    assert all(one.wrong_checksums == () for one in read)
    together = b"".join(one.body for one in read)
    src, dst = (new, EXT.ip) if version == 4 else (new, EXT.ip6)
    assert together == packets.transport(src, dst, packets.UDP, packets.udp(40000, 5000, bytes(range(64)) * 2))


def test_fragments_from_outside_follow_the_receivers_rules(lab: Lab) -> None:
    """M22: a fragmented reply to an allowed connection comes in, unsolicited fragments stay out."""
    lab.tenant(VM1)
    lab.layer("firewall", stateful=True, inbound="deny")
    lab.from_network(*_pieces(EXT, VM1, 40000, 5, 4))
    assert lab.silent(VM1)

    lab.send(VM1, udp(VM1, EXT, 40000, 40000))
    lab.wait_sent("h1-uplink")
    lab.from_network(*_pieces(EXT, VM1, 40000, 6, 4))

    assert lab.wait_sent(VM1, 3) == _pieces(EXT, VM1, 40000, 6, 4)
