"""Anti-spoof: what a VM may not claim to be is dropped and counted by reason; what it may is passed on."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.ovs import packets
from tests.ovs.packets import ICMPV6, icmpv6, link_local, option, solicited
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, RED_VLAN, VM1, VM2, frame, moved, tcp, udp

OTHER_MAC = "02:00:00:00:00:66"
_ALL_NODES, _ALL_ROUTERS, _DHCP_SERVERS = "ff02::1", "ff02::2", "ff02::1:2"
_LL1 = link_local(VM1.mac)


def _solicit(src: str, target: str, options: bytes = b"", src_mac: str = VM1.mac) -> bytes:
    return icmpv6(src_mac, src, solicited(target), 135, packets.ip(target) + options)


def _advertise(target: str, options: bytes = b"", src: str = VM1.ip6) -> bytes:
    return icmpv6(VM1.mac, src, VM2.ip6, 136, packets.ip(target) + options, dst_mac=VM2.mac, rest=0x60000000)


def _alerting(frame: bytes) -> bytes:
    """Return an ICMPv6 frame with the router alert that listener messages carry (RFC 3810, section 5)."""
    header = frame[14:18] + (len(frame) - 54 + 8).to_bytes(2, "big") + b"\0" + frame[21:54]
    return frame[:14] + header + bytes([packets.ICMPV6, 0, 5, 2, 0, 0, 1, 0]) + frame[54:]


_PREFIX = bytes(12)
FORGED: Mapping[str, tuple[str, bytes]] = {
    "own-vlan-tag": ("vlan", packets.tagged(tcp(VM1, EXT), VM1.vlan)),
    "segment-vlan-tag": ("vlan", packets.tagged(tcp(VM1, EXT), RED_VLAN)),
    "priority-tag": ("vlan", packets.tagged(tcp(VM1, EXT), 0)),
    "mac": ("mac", tcp(moved(VM1, mac=OTHER_MAC), EXT)),
    "neighbours-mac": ("mac", tcp(moved(VM1, mac=VM2.mac), EXT)),
    "mac-of-arp-frame": ("mac", packets.arp(1, VM1.mac, VM1.ip, VM2.ip, eth_src=OTHER_MAC)),
    "ipv4": ("ip", tcp(moved(VM1, ip="10.0.0.66"), EXT)),
    "neighbours-ipv4": ("ip", udp(moved(VM1, ip=VM2.ip), EXT)),
    "unspecified-ipv4": ("ip", udp(moved(VM1, ip="0.0.0.0"), EXT)),
    "broadcast-ipv4": ("ip", udp(moved(VM1, ip="255.255.255.255"), EXT)),
    "ipv6": ("ip", tcp(moved(VM1, ip6="fd00::66"), EXT, version=6)),
    "neighbours-ipv6": ("ip", tcp(moved(VM1, ip6=VM2.ip6), EXT, version=6)),
    "neighbours-link-local": ("ip", tcp(moved(VM1, ip6=link_local(VM2.mac)), EXT, version=6)),
    "unspecified-ipv6": ("ip", udp(moved(VM1, ip6="::"), EXT, version=6)),
    "arp-spa": ("arp", packets.arp(1, VM1.mac, VM2.ip, EXT.ip)),
    "arp-sha": ("arp", packets.arp(1, OTHER_MAC, VM1.ip, EXT.ip, eth_src=VM1.mac)),
    "arp-reply-spa": ("arp", packets.arp(2, VM1.mac, EXT.ip, VM2.ip, tha=VM2.mac)),
    "arp-reply-sha": ("arp", packets.arp(2, OTHER_MAC, VM1.ip, VM2.ip, tha=VM2.mac, eth_src=VM1.mac)),
    "gratuitous-arp": ("arp", packets.arp(1, VM1.mac, VM2.ip, VM2.ip)),
    "nd-source": ("nd", _solicit(VM2.ip6, EXT.ip6, option(1, VM1.mac))),
    "nd-source-option": ("nd", _solicit(VM1.ip6, EXT.ip6, option(1, OTHER_MAC))),
    "nd-target": ("nd", _advertise(VM2.ip6, option(2, VM1.mac))),
    "nd-target-option": ("nd", _advertise(VM1.ip6, option(2, OTHER_MAC))),
    "dad-with-option": ("nd", _solicit("::", VM1.ip6, option(1, OTHER_MAC))),
    "nd-advertised-from-another": ("nd", _advertise(VM1.ip6, option(2, VM1.mac), src=VM2.ip6)),
    "nd-advertised-from-nobody": ("nd", _advertise(VM1.ip6, option(2, VM1.mac), src="::")),
    "nd-advertised-from-a-group": ("nd", _advertise(VM1.ip6, option(2, VM1.mac), src=_ALL_NODES)),
    "dad-of-anothers-address": ("nd", _solicit("::", VM2.ip6)),
    "nd-source-link-local": ("nd", _solicit(link_local(VM2.mac), EXT.ip6, option(1, VM1.mac))),
    "router-solicitation-source": ("ip", icmpv6(VM1.mac, VM2.ip6, _ALL_ROUTERS, 133, option(1, VM1.mac))),
    "listener-report-source": ("ip", icmpv6(VM1.mac, link_local(VM2.mac), "ff02::16", 143, bytes(4))),
    "listener-report-global": ("ip", icmpv6(VM1.mac, VM1.ip6, "ff02::16", 143, bytes(4))),
    "listener-report-with-alert": (
        "ip", _alerting(icmpv6(VM1.mac, link_local(VM2.mac), "ff02::16", 143, bytes(4)))
    ),
    "listener-report-v1-global": ("ip", icmpv6(VM1.mac, VM1.ip6, "ff02::fb", 131, packets.ip("ff02::fb"))),
    "listener-query-unspecified": ("ip", icmpv6(VM1.mac, "::", _ALL_NODES, 130, bytes(20))),
    "nd-source-options-own-first": ("nd", _solicit(VM1.ip6, EXT.ip6, option(1, VM1.mac) + option(1, OTHER_MAC))),
    "nd-source-options-own-last": ("nd", _solicit(VM1.ip6, EXT.ip6, option(1, OTHER_MAC) + option(1, VM1.mac))),
    "nd-source-options-twice-own": ("nd", _solicit(VM1.ip6, EXT.ip6, option(1, VM1.mac) * 2)),
    "dad-with-options": ("nd", _solicit("::", VM1.ip6, option(1, OTHER_MAC) * 2)),
    "nd-target-options-own-first": ("nd", _advertise(VM1.ip6, option(2, VM1.mac) + option(2, OTHER_MAC))),
    "nd-target-options-own-last": ("nd", _advertise(VM1.ip6, option(2, OTHER_MAC) + option(2, VM1.mac))),
    "nd-other-target-with-options-twice": ("nd", _advertise(VM2.ip6, option(2, VM1.mac) * 2)),
    "router-advertisement": ("router", icmpv6(VM1.mac, _LL1, _ALL_NODES, 134, _PREFIX)),
    "redirect": ("router", icmpv6(VM1.mac, _LL1, VM2.ip6, 137, bytes(32), dst_mac=VM2.mac)),
    "dhcp-offer": ("dhcp-server", packets.dhcp(VM1.mac, 67, 68, src=VM1.ip)),
    "dhcp-offer-unicast": ("dhcp-server", udp(VM1, VM2, 67, 68)),
    "dhcpv6-advertise": ("dhcp-server", udp(VM1, VM2, 547, 546, version=6)),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_frames_are_refused_and_counted(lab: Lab, kind: str) -> None:
    """S12: a forged frame leaves by no port, asks nobody, and is counted for its vport under its reason alone."""
    reason, forged = FORGED[kind]
    lab.tenant(VM1, VM2)

    lab.send(VM1, forged, forged, forged)

    assert lab.silent(VM1, VM2, "h1-uplink")
    lab.wait_refusals(VM1, {reason: 3})
    lab.wait_refusals(VM2, {})
    assert lab.packet_ins() == 0
    assert lab.cached() == []


LEGITIMATE: Mapping[str, bytes] = {
    "tcp": tcp(VM1, VM2),
    "tcp-ipv6": tcp(VM1, VM2, version=6),
    "arp-request": packets.arp(1, VM1.mac, VM1.ip, VM2.ip),
    "arp-reply": packets.arp(2, VM1.mac, VM1.ip, VM2.ip, tha=VM2.mac),
    "arp-probe": packets.arp(1, VM1.mac, "0.0.0.0", VM1.ip),
    "gratuitous-arp": packets.arp(1, VM1.mac, VM1.ip, VM1.ip),
    "neighbour-solicitation": _solicit(VM1.ip6, VM2.ip6, option(1, VM1.mac)),
    "neighbour-solicitation-unicast": icmpv6(
        VM1.mac, VM1.ip6, VM2.ip6, 135, packets.ip(VM2.ip6) + option(1, VM1.mac), dst_mac=VM2.mac
    ),
    "neighbour-solicitation-link-local": _solicit(_LL1, VM2.ip6, option(1, VM1.mac)),
    "neighbour-advertisement": _advertise(VM1.ip6, option(2, VM1.mac)),
    "neighbour-advertisement-link-local": _advertise(_LL1, option(2, VM1.mac), src=_LL1),
    "neighbour-advertisement-from-link-local": _advertise(VM1.ip6, option(2, VM1.mac), src=_LL1),
    "neighbour-advertisement-of-link-local": _advertise(_LL1, option(2, VM1.mac), src=VM1.ip6),
    "duplicate-address-detection": _solicit("::", VM1.ip6),
    "duplicate-address-detection-link-local": _solicit("::", _LL1),
    "router-solicitation": icmpv6(VM1.mac, _LL1, _ALL_ROUTERS, 133, option(1, VM1.mac)),
    "router-solicitation-unspecified": icmpv6(VM1.mac, "::", _ALL_ROUTERS, 133, b""),
    "listener-report": icmpv6(VM1.mac, _LL1, "ff02::16", 143, bytes(4)),
    "listener-report-unspecified": icmpv6(VM1.mac, "::", "ff02::16", 143, bytes(4)),
    "listener-report-with-alert": _alerting(icmpv6(VM1.mac, _LL1, "ff02::16", 143, bytes(4))),
    "listener-report-v1": icmpv6(VM1.mac, _LL1, "ff02::fb", 131, packets.ip("ff02::fb")),
    "listener-leave": icmpv6(VM1.mac, _LL1, _ALL_ROUTERS, 132, packets.ip("ff02::fb")),
    "listener-query": icmpv6(VM1.mac, _LL1, _ALL_NODES, 130, bytes(20)),
    "dhcp-discover": packets.dhcp(VM1.mac, 68, 67),
    "dhcp-request-unicast": udp(VM1, VM2, 68, 67),
    "dhcpv6-solicit": packets.dhcp(VM1.mac, 546, 547, src=_LL1, dst=_DHCP_SERVERS),
    "link-local-ping": frame(moved(VM1, ip6=_LL1), VM2, ICMPV6, packets.icmp(128, 0, b"x", 1), version=6),
    "other-ethertype": packets.ether(VM1.mac, VM2.mac, 0x88CC, bytes(46)),
}


@pytest.mark.parametrize("kind", LEGITIMATE)
def test_legitimate_frames_pass(lab: Lab, kind: str) -> None:
    """S12: what a well-behaved VM sends reaches its neighbour unchanged, and nothing is counted as refused."""
    lab.tenant(VM1, VM2)

    lab.send(VM1, LEGITIMATE[kind])

    assert lab.wait_sent(VM2) == [LEGITIMATE[kind]]
    lab.wait_refusals(VM1, {})
    assert lab.silent(VM1)


DOUBLED = sorted(kind for kind in FORGED if "options" in kind)


@pytest.mark.parametrize("kind", DOUBLED)
def test_malformed_neighbour_options_pass_by_no_vport(lab: Lab, kind: str) -> None:
    """S12: also a vport of any address sends no neighbour message whose options can be read in two ways."""
    lab.tenant(VM2)
    lab.put("vports/vm1", {**VM1.vport, "ips": []})

    lab.send(VM1, FORGED[kind][1])

    assert lab.silent(VM2, "h1-uplink")
    lab.wait_refusals(VM1, {"nd": 1})


@pytest.mark.parametrize("version", [4, 6])
def test_vport_without_addresses_may_use_any(lab: Lab, version: int) -> None:
    """S12: a vport whose addresses are not known is held to its MAC only."""
    lab.tenant(VM2)
    lab.put("vports/vm1", {**VM1.vport, "ips": []})
    sent = tcp(moved(VM1, ip="10.0.0.66", ip6="fd00::66"), VM2, version=version)

    lab.send(VM1, sent, tcp(moved(VM1, mac=OTHER_MAC), VM2, version=version))

    assert lab.wait_sent(VM2) == [sent]
    lab.wait_refusals(VM1, {"mac": 1})


def test_addresses_given_later_hold_at_once(lab: Lab) -> None:
    """S12: an address added to a vport may be used from the answer on, and one taken away may not."""
    lab.tenant(VM1, VM2)
    second = moved(VM1, ip="10.0.0.11")
    lab.send(VM1, tcp(second, VM2))
    assert lab.silent(VM2)

    lab.put("vports/vm1", {**VM1.vport, "ips": [second.ip]})
    lab.refresh()
    lab.send(VM1, tcp(second, VM2), tcp(VM1, VM2))

    assert lab.wait_sent(VM2) == [tcp(second, VM2)]
    lab.settle()
    assert len(lab.sent(VM2)) == 1


@pytest.mark.parametrize("target", ["vm2", "broadcast"])
def test_own_frames_do_not_come_back_from_the_network(lab: Lab, target: str) -> None:
    """S12: a frame that the network reflects, with the MAC of a local VM as its source, is dropped and counted."""
    lab.tenant(VM1, VM2)
    reflected = tcp(VM1, VM2) if target == "vm2" else packets.arp(1, VM1.mac, VM1.ip, VM2.ip)

    lab.from_network(reflected, reflected)

    assert lab.silent(VM1, VM2, "h1-uplink")
    lab.wait_refusals(VM1, {"reflected": 2})


def test_unknown_vlan_and_stray_frames_from_the_network_are_counted(lab: Lab) -> None:
    """S12: frames of no segment of ours, and frames for no VM of this host, are dropped and counted for the host."""
    lab.tenant(VM1)
    before = lab.get("stats")["refused"]

    lab.from_network(tcp(EXT, VM1), vlan=3999)
    lab.from_network(tcp(EXT, VM1), vlan=None)
    lab.from_network(tcp(EXT, moved(VM2, mac=OTHER_MAC)))

    assert lab.silent(VM1, VM2, "h1-uplink")
    lab.refresh()
    lab.settle()
    after = lab.get("stats")["refused"]
    assert after["unknown-vlan"] - before.get("unknown-vlan", 0) == 2
    assert after["not-local"] - before.get("not-local", 0) == 1


def test_refusals_are_seen_per_vport(lab: Lab) -> None:
    """S12: each vport has its own counts."""
    lab.tenant(VM1, VM2)

    lab.send(VM1, FORGED["ipv4"][1])
    lab.send(VM2, *[tcp(moved(VM2, mac=OTHER_MAC), VM1)] * 2)

    lab.wait_refusals(VM1, {"ip": 1})
    lab.wait_refusals(VM2, {"mac": 2})
