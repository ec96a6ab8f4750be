"""Several functions in a row behind a hairpin, each tenant with its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mininet_scripts.support import functions, hosts, traffic
from mininet_scripts.support.registration import address_of
from tests.mininet import subnets
from tests.mininet.lab import Lab
from topologies.hairpin_chain import HairpinChain

TOPOLOGY = HairpinChain

PORT = 7000
ROW = subnets.gateways("nat-prev", "nat-vf2")
HOPS = ("h1f-vf1", "filter-next", "shaper-next", "nat-vf2")
KBPS = 2000


@pytest.fixture
def chained(lab: Lab) -> Iterator[Lab]:
    """Yield the network with tenant red behind filter, shaper and NAT, and tenant blue behind its own function."""
    lab.tenant("blue", "vm3", "vm4", vlan=None)
    with (
        subnets.two_subnets(lab),
        functions.Shaper(lab.host("shaper"), KBPS, shaped=["shaper-next"]),
        functions.SourceNat(lab.host("nat"), ROW, outside="nat-vf2"),
    ):
        yield lab


def sources(lab: Lab, count: int) -> dict[str, list[str]]:
    """Send datagrams from vm1 to vm2, and return with which source each was seen at every hop in order."""
    with ExitStack() as stack:
        watched = {place: stack.enter_context(lab.watch(place)) for place in HOPS}
        traffic.send_udp(lab.host("vm1"), "10.2.0.1", PORT, count=count, rate_pps=100, source_port=40_000)
        seen = {place: [frame for frame in watch.frames() if frame.udp_to(PORT)] for place, watch in watched.items()}
    return {place: [".".join(map(str, frame.payload[12:16])) for frame in found] for place, found in seen.items()}


def test_functions_work_one_after_the_other(chained: Lab) -> None:
    """H11: datagrams pass filter, shaper and NAT in this order, once each, and come with the NAT's address."""
    with traffic.udp_receiver(chained.host("vm2"), PORT) as arrivals:
        seen = sources(chained, 5)
        arrivals.wait_count(5)
    assert seen == {place: [("10.2.0.254" if place == "nat-vf2" else "10.1.0.1")] * 5 for place in HOPS}


def test_what_one_function_drops_the_next_does_not_see(chained: Lab) -> None:
    """H11: the first function's firewall is before the second function, and the other tenant's traffic is not its."""
    assert hosts.ping(chained.host("vm1"), "10.2.0.1").all_answered
    with functions.filtering(chained.host("filter"), "ip protocol udp drop"):
        seen = sources(chained, 3)
        assert [len(seen[place]) for place in HOPS] == [3, 0, 0, 0]
        with traffic.udp_receiver(chained.host("vm4"), PORT) as arrivals:
            traffic.send_udp(chained.host("vm3"), address_of("vm4").ipv4, PORT, count=3, rate_pps=100)
            arrivals.wait_count(3)


def test_replies_take_the_functions_the_other_way(chained: Lab) -> None:
    """H07 H11: a connection works through the row, replies translated back, and no faster than the shaper lets it."""
    with traffic.tcp_echo_server(chained.host("vm2"), 8080):
        assert traffic.tcp_works(chained.host("vm1"), "10.2.0.1", 8080, exchanges=5)
    carried = traffic.iperf3(chained.host("vm1"), chained.host("vm2"), "10.2.0.1", duration_s=2)
    assert carried.bits_per_s < KBPS * 1000 * 1.2


def test_tenants_do_not_meet(chained: Lab) -> None:
    """H11: no function of one tenant sees a frame of the other, whatever the frame says that it is."""
    with chained.watch("filter-vf1") as red, chained.watch("other-vf3") as blue:
        assert chained.reaches("vm3", "vm4")
        assert hosts.ping(chained.host("vm1"), "10.2.0.1").all_answered
        seen = {frame.src for frame in red.frames()}, {frame.src for frame in blue.frames()}
    assert not seen[0] & {address_of("vm3").mac, address_of("vm4").mac}
    assert not seen[1] & {address_of("vm1").mac, address_of("vm2").mac}
