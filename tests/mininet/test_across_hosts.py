"""Delivery across hosts, and tenants that share switches and cables but see nothing of each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from mininet_scripts.support import frames, hosts, traffic
from mininet_scripts.support.registration import address_of
from tests.mininet.lab import Lab, Watch
from topologies.two_hosts import TwoHosts

TOPOLOGY = TwoHosts


@pytest.mark.parametrize("version", [4, 6])
def test_cable_carries_the_senders_vlan(lab: Lab, version: int) -> None:
    """S02: across hosts each direction carries its sender's VF VLAN, on the uplink and behind the switch."""
    lab.tenant("red", "vm1", "vm3")

    with lab.watch("h1-uplink") as uplink, lab.watch("tor-h2") as behind, lab.watch("vm3-eth0") as receiver:
        assert lab.ping("vm1", "vm3", version=version, count=3, interval_s=0.02).all_answered
        for watch in (uplink, behind):
            tags = {(each.src[-2:], each.vlan) for each in watch.unicast()}
            assert tags == {("01", 101), ("03", 103)}
        assert {each.vlan for each in receiver.frames()} == {None}


def test_everybody_reaches_everybody(lab: Lab) -> None:
    """S02: all members and the external host reach each other over both address families."""
    members = ("vm1", "vm2", "vm3", "vm4", "ext")
    lab.tenant("red", *members[:-1])

    for version in (4, 6):
        pairs = [(a, b) for a in members for b in members if a != b]
        assert [pair for pair in pairs if not lab.reaches(*pair, version)] == []


def test_broadcast_crosses_hosts_once(lab: Lab) -> None:
    """S02: a broadcast comes once to every member on every host and to the outside, and never back to its sender."""
    lab.tenant("red", "vm1", "vm2", "vm3", "vm4")
    frame = frames.ethernet(frames.BROADCAST, address_of("vm1").mac, frames.EXPERIMENTAL, b"to all")

    with watching(lab, "vm1", "vm2", "vm3", "vm4", "ext") as watches:
        lab.send("vm1", frame)
        watches["vm4"].capture.wait_frames(1)
        watches["ext"].capture.wait_frames(1)
        copies = {name: copies_of(watch, b"to all") for name, watch in watches.items()}
    # The sender's own capture shows the frame on its way out, and not a second time.
    assert copies == {"vm1": 1, "vm2": 1, "vm3": 1, "vm4": 1, "ext": 1}


@pytest.mark.parametrize("blue_vlan", [None, 400])
def test_overlapping_tenants_do_not_meet(lab: Lab, blue_vlan: int | None) -> None:
    """S02: two tenants with the same IP addresses each reach their own VM, and nothing of one shows at the other."""
    with same_addresses(lab, vm2="vm1", vm4="vm3"):
        lab.tenant("red", "vm1", "vm3", vlan=0)
        for name, like in (("vm2", "vm1"), ("vm4", "vm3")):
            lab.tenant("blue", name, vlan=blue_vlan, ips=[address_of(like).ipv4, address_of(like).ipv6])
        macs = {name: address_of(name).mac for name in ("vm1", "vm2", "vm3", "vm4")}
        with watching(lab, *macs) as watches:
            for version in (4, 6):
                assert lab.reaches("vm1", "vm3", version)
                assert lab.reaches("vm2", "vm3", version)
            for sender in ("vm1", "vm2"):
                lab.send(sender, *group_frames(macs[sender]))
            watches["vm3"].capture.wait_frames(1)
            seen = {name: {each.src for each in watch.frames()} & set(macs.values()) for name, watch in watches.items()}
    red, blue = {macs["vm1"], macs["vm3"]}, {macs["vm2"], macs["vm4"]}
    assert seen == {"vm1": red, "vm3": red, "vm2": blue, "vm4": blue}


def test_foreign_mac_is_out_of_reach(lab: Lab) -> None:
    """S02: a frame for another tenant's MAC does not reach it, neither on the same host nor on another."""
    lab.tenant("red", "vm1", vlan=0)
    lab.tenant("blue", "vm2", "vm4", vlan=None)
    src = address_of("vm1").mac

    with watching(lab, "vm2", "vm4") as watches:
        for name in ("vm2", "vm4"):
            lab.send("vm1", frames.ethernet(address_of(name).mac, src, frames.EXPERIMENTAL, b"foreign"))
        assert [copies_of(watch, b"foreign") for watch in watches.values()] == [0, 0]


def test_tags_from_outside_lead_to_their_segment_only(lab: Lab) -> None:
    """S02: a frame from the network goes where its VLAN says; one of no segment is dropped and counted."""
    lab.tenant("red", "vm1", vlan=0)
    lab.tenant("blue", "vm2", vlan=400)
    ext = address_of("ext").mac
    before = lab.client.get("/v1/stats")["refused"].get("unknown-vlan", 0)

    with watching(lab, "vm1", "vm2") as watches:
        for vlan, name in ((400, "vm2"), (401, "vm2"), (400, "vm1"), (None, "vm1"), (None, "vm2")):
            payload = b"%s to %s" % (str(vlan).encode(), name.encode())
            frame = frames.ethernet(address_of(name).mac, ext, frames.EXPERIMENTAL, payload, vlan=vlan)
            lab.send_from_peer("h1-uplink", [frame])
        watches["vm1"].capture.wait_frames(1)
        watches["vm2"].capture.wait_frames(1)
        delivered = {name: [each.payload.rstrip(b"\0") for each in watch.unicast() if each.src == ext]
                     for name, watch in watches.items()}  # fmt: skip
    assert delivered == {"vm1": [b"None to vm1"], "vm2": [b"400 to vm2"]}
    assert lab.client.get("/v1/stats")["refused"]["unknown-vlan"] == before + 1


def test_tcp_streams_do_not_disturb_each_other(lab: Lab) -> None:
    """S02: TCP at full rate runs between members of one segment across hosts."""
    lab.tenant("red", "vm1", "vm3")

    forward = traffic.iperf3(lab.host("vm1"), lab.host("vm3"), "10.0.0.3", duration_s=1)
    back = traffic.iperf3(lab.host("vm1"), lab.host("vm3"), "10.0.0.3", duration_s=1, reverse=True)

    assert min(forward.bits_per_s, back.bits_per_s) > 100e6


def group_frames(src: str) -> list[bytes]:
    """Return a broadcast, an ARP request, a neighbour solicitation and a multicast, as a VM would send them."""
    link_local = "fe80::ff:fe00:" + src[-1]
    solicitation = frames.neighbour(135, link_local, "ff02::1:ff00:63", "fd00::63", src)
    return [
        frames.ethernet(frames.BROADCAST, src, frames.EXPERIMENTAL, b"to all"),
        frames.ethernet(frames.BROADCAST, src, frames.ARP, frames.arp(1, src, "10.0.0.1", "10.0.0.99")),
        frames.ethernet("33:33:ff:00:00:63", src, frames.IPV6, solicitation),
        frames.ethernet("01:00:5e:00:00:fb", src, frames.EXPERIMENTAL, b"multicast"),
    ]


@contextmanager
def watching(lab: Lab, *names: str) -> Iterator[dict[str, Watch]]:
    """Yield what passes the interfaces of hosts."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(lab.watch(f"{name}-eth0")) for name in names}


def copies_of(watch: Watch, payload: bytes) -> int:
    """Return how many frames seen begin with a payload."""
    return sum(each.payload.startswith(payload) for each in watch.frames())


@contextmanager
def same_addresses(lab: Lab, **likes: str) -> Iterator[None]:
    """Give VMs the IP addresses of others while the block runs."""
    try:
        for name, like in likes.items():
            set_addresses(lab, name, like)
        yield
    finally:
        for name in likes:
            set_addresses(lab, name, name)


def set_addresses(lab: Lab, name: str, like: str) -> None:
    """Give a VM the IP addresses that the topology gave another."""
    interface, address = f"{name}-eth0", address_of(like)
    hosts.run(lab.host(name), "ip", "-4", "address", "flush", "dev", interface)
    hosts.run(lab.host(name), "ip", "-6", "address", "flush", "dev", interface, "scope", "global")
    hosts.run(lab.host(name), "ip", "address", "add", f"{address.ipv4}/24", "dev", interface)
    hosts.run(lab.host(name), "ip", "-6", "address", "add", f"{address.ipv6}/64", "dev", interface, "nodad")
