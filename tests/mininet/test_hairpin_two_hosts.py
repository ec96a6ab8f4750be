"""The hairpin across two hosts: out by the function of one, over the network, and in by the function of the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mininet_scripts.support import frames, functions, traffic
from mininet_scripts.support.registration import address_of
from tests.mininet.lab import Frame, Lab
from topologies.hairpin_two_hosts import HairpinTwoHosts

TOPOLOGY = HairpinTwoHosts

VLAN = 300
VMS = ("vm1", "vm2", "vm3", "vm4")


@pytest.fixture
def red(lab: Lab) -> Iterator[Lab]:
    """Yield the network with two VMs of tenant red on each host, in one segment with a VLAN of its own."""
    lab.tenant("red", *VMS, vlan=VLAN)
    yield lab


def udp_tags(seen: list[Frame], port: int) -> list[int | None]:
    """Return the tags with which datagrams to a port were seen, in order."""
    return [frame.vlan for frame in seen if frame.udp_to(port)]


def test_a_packet_passes_both_functions(red: Lab) -> None:
    """H10 H02: from VM to VM on another host by cable, function, network, function and cable, once at each place."""
    check_passes_both(red, {"h2-cable": 103})


def check_passes_both(red: Lab, second_way: dict[str, int | None]) -> None:
    """Assert that datagrams from vm1 to vm3 are seen once at each place on the way; second_way is the last stage's."""
    assert red.reaches("vm1", "vm3")
    first_way = {"h1-cable": 101, "fn1-vf1": None, "fn1-out": None, "h1n-uplink": VLAN, "fn2-out": None}
    tags = {**first_way, "fn2-vf1": None, **second_way, "vm3-eth0": None}
    with ExitStack() as stack:
        arrivals = stack.enter_context(traffic.udp_receiver(red.host("vm3"), 7001))
        watched = {place: stack.enter_context(red.watch(place)) for place in tags}
        traffic.send_udp(red.host("vm1"), address_of("vm3").ipv4, 7001, count=3, rate_pps=100)
        arrivals.wait_count(3)
        seen = {place: udp_tags(watch.frames(), 7001) for place, watch in watched.items()}
    assert seen == {place: [tag] * 3 for place, tag in tags.items()}


@pytest.mark.parametrize("function", ["fn1", "fn2"])
def test_either_function_can_stop_it(red: Lab, function: str) -> None:
    """H10 H05: what either function drops does not arrive, and comes to the network only behind the first."""
    assert red.reaches("vm1", "vm3")
    with functions.filtering(red.host(function), "ip protocol icmp drop"), red.watch("h1n-uplink") as uplink:
        assert not red.reaches("vm1", "vm3", timeout_s=0.5)
        pings = [
            frame for frame in uplink.frames() if frame.eth_type == frames.IPV4 and frame.payload[9] == frames.ICMP
        ]
        assert bool(pings) == (function == "fn2")
    assert red.reaches("vm3", "vm1")


def test_broadcasts_reach_every_member_on_both_hosts_once(red: Lab) -> None:
    """H09 H10: a broadcast goes to all other VMs of both hosts once, with functions that reflect as well."""
    sent = frames.ethernet(frames.BROADCAST, address_of("vm1").mac, frames.EXPERIMENTAL, b"to everybody")
    with ExitStack() as stack:
        for function in ("fn1", "fn2"):
            stack.enter_context(functions.reflecting(red.host(function)))
        watched = {name: stack.enter_context(red.watch(f"{name}-eth0")) for name in VMS}
        uplink = stack.enter_context(red.watch("h1n-uplink"))
        red.send("vm1", sent)
        for name in VMS[1:]:
            watched[name].capture.wait_frames(1)
        seen = {name: sum(b"to everybody" in frame.payload for frame in w.frames()) for name, w in watched.items()}
        assert seen == dict.fromkeys(VMS, 1)
        assert [frame.vlan for frame in uplink.frames() if b"to everybody" in frame.payload] == [VLAN]


def test_tcp_across_hosts(red: Lab) -> None:
    """H07 H10: a connection to a VM on the other host carries data both ways, over both address families."""
    for version, anybody in ((4, "0.0.0.0"), (6, "::")):
        address = address_of("vm4")
        with traffic.tcp_echo_server(red.host("vm4"), 8080, address=anybody):
            assert traffic.tcp_works(
                red.host("vm1"), address.ipv4 if version == 4 else address.ipv6, 8080, exchanges=5
            )
