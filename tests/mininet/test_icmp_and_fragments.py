"""What belongs to a connection without being part of it: ICMP errors, and datagrams in pieces."""

from __future__ import annotations

import pytest

from mininet_scripts.support import frames, hosts, traffic
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of
from tests.mininet.lab import Lab
from topologies.two_hosts import TwoHosts

TOPOLOGY = TwoHosts

STATEFUL = layer(stateful=True, outbound="allow", inbound="deny")


def serve(lab: Lab) -> None:
    """Register four VMs, and put a stateful firewall that lets in pings and UDP to ports 7000 to 7009."""
    lab.tenant("red", "vm1", "vm2", "vm3", "vm4")
    pings = (rule("ping", icmpv4_type=8), rule("ping6", icmpv6_type=128))
    lab.layer("firewall", STATEFUL, open=group("inbound", *pings, rule("udp", ip_proto="udp", l4_dst="7000-7009")))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("receiver", ["vm2", "vm3", "ext"])
def test_ping_with_neighbour_resolution(lab: Lab, receiver: str, version: int) -> None:
    """M08: pings find their neighbour by ARP or ND and are answered, under a firewall that has no rule for either."""
    serve(lab)

    pings = lab.ping("vm1", receiver, version=version, count=3, interval_s=0.02)

    assert pings.all_answered


@pytest.mark.parametrize(("receiver", "version"), [("vm3", 4), ("vm3", 6), ("ext", 4), ("ext", 6)])
def test_port_unreachable_comes_through(lab: Lab, receiver: str, version: int) -> None:
    """M08: UDP to a closed port that rules allow gives "connection refused", by an ICMP error that no rule names."""
    serve(lab)

    assert udp_refused(lab, "vm1", receiver, 7005, version)


def test_denied_port_gives_silence(lab: Lab) -> None:
    """M08: UDP to a closed port that no rule allows gives no answer at all."""
    serve(lab)

    assert not udp_refused(lab, "vm1", "vm3", 8005, 4)


@pytest.mark.parametrize("kind", ["udp", "ping"])
def test_time_exceeded_comes_through(lab: Lab, kind: str) -> None:
    """M08: the error of a router on the way, from an address that the VM never spoke to, reaches the sender."""
    serve(lab)
    vm1, ext = lab.host("vm1"), lab.host("ext")
    ext.cmd("sysctl -qw net.ipv4.ip_forward=1; ip route replace 192.0.2.0/24 dev ext-eth0")
    vm1.cmd("ip route replace 192.0.2.0/24 via 10.0.0.254")
    if kind == "ping":
        said = hosts.run(vm1, "ping", "-n", "-c", "1", "-t", "1", "-W", "1", "192.0.2.1", check=False)
        assert "From 10.0.0.254" in said and "Time to live exceeded" in said
    else:
        assert said_by_socket(lab, "vm1", "192.0.2.1", 33434, ttl=1) == "No route to host"


def test_error_without_its_connection_stays_out(lab: Lab) -> None:
    """M08: an ICMP error that quotes no packet the VM has sent is decided by the rules, which deny it."""
    serve(lab)
    vm1, ext = address_of("vm1"), address_of("ext")
    quoted = frames.ipv4(vm1.ipv4, ext.ipv4, frames.UDP, frames.udp(4000, 9999))
    error = frames.icmpv4(3, 3, bytes(4) + quoted[:28])
    frame = frames.ethernet(vm1.mac, ext.mac, frames.IPV4, frames.ipv4(ext.ipv4, vm1.ipv4, frames.ICMP, error))

    with lab.watch("vm1-eth0") as receiver:
        lab.send("ext", frame)
        assert lab.reaches("vm1", "ext")
        assert not [each for each in receiver.unicast() if error in each.payload]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("receiver", ["vm2", "vm3", "ext"])
def test_ping_in_fragments(lab: Lab, receiver: str, version: int) -> None:
    """M22: pings of 4,000 bytes are answered, from the first one on."""
    serve(lab)

    assert lab.ping("vm1", receiver, version=version, count=5, interval_s=0.05, payload_bytes=4000).all_answered


@pytest.mark.parametrize(("address", "anywhere"), [("10.0.0.3", "0.0.0.0"), ("fd00::3", "::")])
def test_large_datagrams_arrive_whole(lab: Lab, address: str, anywhere: str) -> None:
    """M22: UDP datagrams of 8,000 bytes to an allowed port arrive whole; to another port none does."""
    serve(lab)
    vm1, vm3 = lab.host("vm1"), lab.host("vm3")

    with (
        traffic.udp_receiver(vm3, 7000, address=anywhere) as allowed,
        traffic.udp_receiver(vm3, 8000, address=anywhere) as denied,
    ):
        traffic.send_udp(vm1, address, 8000, count=20, rate_pps=200, payload_bytes=8000, source_port=4000)
        traffic.send_udp(vm1, address, 7000, count=50, rate_pps=200, payload_bytes=8000, source_port=4000)
        assert sorted(allowed.wait_count(50)) == list(range(50))
        assert denied.numbers() == []


def test_fragments_arp_and_broadcast_take_no_entries(lab: Lab) -> None:
    """M22: pings in fragments, ARP, ND and broadcasts leave no exact-match entry behind."""
    serve(lab)
    src = address_of("vm1").mac

    assert lab.ping("vm1", "vm3", count=3, interval_s=0.05, payload_bytes=4000).all_answered
    lab.send("vm1", *(frames.ethernet(frames.BROADCAST, src, frames.EXPERIMENTAL, b"%d" % n) for n in range(10)))

    assert lab.entries_of("h1") == lab.entries_of("h2") == []


def udp_refused(lab: Lab, sender: str, receiver: str, port: int, version: int) -> bool:
    """Return whether a UDP packet to a closed port is answered by an error that the sender's socket sees."""
    address = address_of(receiver)
    return said_by_socket(lab, sender, address.ipv4 if version == 4 else address.ipv6, port) == "Connection refused"


def said_by_socket(lab: Lab, sender: str, address: str, port: int, *, ttl: int = 64) -> str:
    """Return the error that a UDP socket reports after one packet, "" when none comes within half a second."""
    said = hosts.run(lab.host(sender), *hosts.script("udp_error.py"), address, str(port), str(ttl), "0.5")
    return said.strip()
