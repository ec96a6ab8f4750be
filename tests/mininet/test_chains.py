"""Chains of real functions across two hosts: filter, shaper and NAT for one tenant, others' chains beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from mininet_scripts.support import behind_nat, frames, functions, traffic
from mininet_scripts.support.behind_nat import CLOSED_PORT, ECHO_PORT, FAR, NEAR, UDP_PORT
from mininet_scripts.support.functions import NetworkFunction
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of, register_chain, register_function
from mininet_scripts.support.waiting import wait_until
from tests.mininet import chained
from tests.mininet.chained import watching
from tests.mininet.lab import MISS_RATE_PPS, Frame, Lab, Watch, read_frame
from topologies.chain_hosts import ChainHosts

TOPOLOGY = ChainHosts

KBPS = 50_000
# Places on the way from vm1 to vm5 in order, and the tag there.
WAY: dict[str, int | None] = {
    "h1-cable": 101, "h1f-fwa1-in": None, "h1f-tbf1-in": None, "h1f-nat1-in": None, "h1f-nat1-out": None,
    "h1n-uplink": behind_nat.VLAN,
    "h2f-nat2-out": None, "h2f-nat2-in": None, "h2f-tbf2-in": None, "h2f-fwa2-in": None, "h2-cable": 105,
    "vm5-eth0": None,
}  # fmt: skip


@pytest.fixture
def red(lab: Lab) -> Iterator[Lab]:
    """Yield the network with tenant red's VMs vm1 and vm5 behind their hosts' filter, shaper and NAT."""
    behind_nat.register(lab.client, lab.net, ("fwa1", "fwa2"), miss_rate_pps=MISS_RATE_PPS)
    with behind_nat.subnets(lab.net):
        yield lab


@pytest.fixture
def working(red: Lab) -> Iterator[Mapping[str, NetworkFunction]]:
    """Yield tenant red's functions at work."""
    with behind_nat.at_work(red.net, rate_kbps=KBPS) as made:
        yield made


def timed(watched: Mapping[str, Watch]) -> dict[str, list[tuple[int, Frame]]]:
    """Return what each place has seen so far, with its time."""
    for watch in watched.values():
        watch.frames()
    return {place: [(at, read_frame(data)) for at, data in watch.capture.timed()] for place, watch in watched.items()}


def in_order(seen: Mapping[str, list[tuple[int, Frame]]], fits: Callable[[Frame], bool]) -> list[str]:
    """Return the places in the order in which they saw the first frame that fits."""
    times = {place: min(at for at, frame in found if fits(frame)) for place, found in seen.items()}
    return sorted(times, key=lambda place: times[place])


def ends(frame: Frame) -> tuple[str, str]:
    """Return the addresses that an IPv4 frame is from and to."""
    return ".".join(map(str, frame.payload[12:16])), ".".join(map(str, frame.payload[16:20]))


def is_syn(frame: Frame, *, answer: bool) -> bool:
    """Return whether a segment begins a connection to the echo server, or answers that."""
    return frame.tcp_port(ECHO_PORT) and frame.l4[13] & 0x12 == (0x12 if answer else 0x02)


def datagrams(watch: Watch, port: int) -> list[Frame]:
    """Return the datagrams to a port seen so far."""
    return [frame for frame in watch.frames() if frame.udp_to(port)]


@pytest.mark.usefixtures("working")
def test_hops_are_passed_in_order_and_replies_in_reverse(red: Lab) -> None:
    """H10 H11: a connection across hosts is seen at each hop in order, with its tag; its replies the other way."""
    with traffic.tcp_echo_server(red.host(FAR.vm), ECHO_PORT), watching(red, *WAY) as watched:
        assert traffic.tcp_works(red.host(NEAR.vm), FAR.outside, ECHO_PORT, exchanges=3)
        seen = timed(watched)
    assert in_order(seen, lambda frame: is_syn(frame, answer=False)) == list(WAY)
    assert in_order(seen, lambda frame: is_syn(frame, answer=True)) == list(WAY)[::-1]
    for place, found in seen.items():
        assert {frame.vlan for _, frame in found if frame.tcp_port(ECHO_PORT)} == {WAY[place]}, place


@pytest.mark.usefixtures("working")
def test_the_receiver_sees_the_nat(red: Lab) -> None:
    """H11: datagrams pass every hop once; up to the NAT they are from the VM, from there on from the NAT."""
    sides = {
        (NEAR.address, FAR.outside): ("h1-cable", "h1f-fwa1-out", "h1f-tbf1-out", "h1f-nat1-in"),
        (NEAR.outside, FAR.outside): ("h1f-nat1-out", "h1n-uplink", "h2f-nat2-out"),
        (NEAR.outside, FAR.address): ("h2f-nat2-in", "h2f-tbf2-in", "h2f-fwa2-in", "vm5-eth0"),
    }
    places = [place for side in sides.values() for place in side]
    with traffic.udp_receiver(red.host(FAR.vm), UDP_PORT) as arrivals, watching(red, *places) as watched:
        traffic.send_udp(red.host(NEAR.vm), FAR.outside, UDP_PORT, count=5, rate_pps=100, source_port=40_000)
        arrivals.wait_count(5)
        seen = {place: [ends(frame) for frame in datagrams(watch, UDP_PORT)] for place, watch in watched.items()}
    assert seen == {place: [addresses] * 5 for addresses, side in sides.items() for place in side}


def test_what_the_filter_refuses_no_later_hop_sees(red: Lab, working: Mapping[str, NetworkFunction]) -> None:
    """H11 H05: a connection to a closed port ends at the first hop, and the shaper does not see it."""
    with (
        traffic.tcp_echo_server(red.host(FAR.vm), CLOSED_PORT),
        watching(red, "h1f-fwa1-in", "h1f-fwa1-out", "h1f-tbf1-in") as watched,
    ):
        assert not traffic.tcp_works(red.host(NEAR.vm), FAR.outside, CLOSED_PORT, timeout_s=0.5)
        seen = [any(frame.tcp_port(CLOSED_PORT) for frame in watch.frames()) for watch in watched.values()]
    assert seen == [True, False, False]
    filtering = working["fwa1"]
    assert isinstance(filtering, functions.FilteringBridge) and filtering.dropped_pkts() > 0


@pytest.mark.usefixtures("working")
def test_the_shaper_of_the_chain_holds_its_rate(red: Lab) -> None:
    """H11: TCP through the whole chain works and is no faster than the shaper lets it."""
    carried = traffic.iperf3(red.host(NEAR.vm), red.host(FAR.vm), FAR.outside, duration_s=2)
    assert 0 < carried.bits_per_s < KBPS * 1000 * 1.2


@pytest.mark.usefixtures("working")
def test_a_chained_connection_asks_the_controller_at_its_begin_alone(red: Lab) -> None:
    """H11 M01: packets of a connection through three hops on two hosts make no packet-in once it is set up."""
    with (
        traffic.tcp_echo_server(red.host(FAR.vm), ECHO_PORT),
        traffic.tcp_talk(red.host(NEAR.vm), FAR.outside, ECHO_PORT) as echoes,
    ):
        echoes.wait_count(10)
        before = red.packet_ins()
        echoes.wait_count(len(echoes.numbers()) + 200)
        assert red.packet_ins() < before + 10  # Some may be of multicast that hosts send by themselves.


def test_a_third_partys_proxy_is_a_hop(red: Lab) -> None:
    """H11: HAProxy in the NAT's place ends the connection and begins another, which comes from its address."""
    proxy = functions.Proxy(red.host(NEAR.nat), NEAR.routed, tcp_ports=[ECHO_PORT])
    with (
        behind_nat.at_work(red.net, rate_kbps=KBPS, nats=(FAR,)),
        proxy,
        traffic.tcp_echo_server(red.host(FAR.vm), ECHO_PORT),
        watching(red, "h1f-nat1-in", "h1f-nat1-out", "vm5-eth0") as watched,
    ):
        assert traffic.tcp_works(red.host(NEAR.vm), FAR.outside, ECHO_PORT, source_port=2000, exchanges=3)
        near, far, receiver = (
            {(ends(frame)[0], int.from_bytes(frame.l4[:2], "big")) for frame in watch.frames()
             if frame.tcp_port(ECHO_PORT) and int.from_bytes(frame.l4[2:4], "big") == ECHO_PORT}
            for watch in watched.values()
        )  # fmt: skip
    assert near == {(NEAR.address, 2000)}
    ((address, port),) = far
    assert address == NEAR.outside and port != 2000
    assert receiver == far


def test_a_connection_goes_on_by_the_second_instance(red: Lab) -> None:
    """H12: when the filter that a connection passes loses its link, the connection goes on by the other one."""
    register_function(red.client, red.net, "filter")
    with (
        behind_nat.at_work(red.net, rate_kbps=KBPS) as made,
        traffic.tcp_echo_server(red.host(FAR.vm), ECHO_PORT),
        watching(red, "h1f-fwa1-in", "h1f-fwb1-in") as watched,
        traffic.tcp_talk(red.host(NEAR.vm), FAR.outside, ECHO_PORT) as echoes,
    ):
        echoes.wait_count(20)

        def passing() -> list[str]:
            return [place for place, watch in watched.items()
                    if any(read_frame(data).tcp_port(ECHO_PORT) for data in watch.capture.frames())]  # fmt: skip

        (used,) = wait_until(passing, 5, "the connection at an instance")
        made[used.split("-")[1]].kill()
        with functions.unplugged(used):
            before = len(echoes.numbers())
            echoes.wait_count(before + 50, timeout_s=20)
            wait_until(passing, 5, "the connection at both", until=lambda places: len(places) == 2)
        numbers = echoes.numbers()
    assert numbers == list(range(1, len(numbers) + 1))


def test_tenants_on_one_host_do_not_meet(red: Lab, working: Mapping[str, NetworkFunction]) -> None:
    """H11: each tenant's frames pass its own functions alone, at the same time, broadcasts as well."""
    chained.tenant(red, "blue", {"guard": ()}, "vm3", "vm4")
    macs = {"red": {address_of("vm1").mac}, "blue": {address_of(vm).mac for vm in ("vm3", "vm4")}}
    to_all = {vm: frames.ethernet(frames.BROADCAST, address_of(vm).mac, frames.EXPERIMENTAL, b"to all")
              for vm in ("vm1", "vm3")}  # fmt: skip
    hops = {"red": [f"h1f-{name}-{side}" for name in ("fwa1", "tbf1", "nat1") for side in ("in", "out")],
            "blue": ["h1f-grd1-in", "h1f-grd1-out"]}  # fmt: skip
    with (
        functions.Bridge(red.host("grd1"), behind_nat.both("grd1")),
        traffic.tcp_echo_server(red.host(FAR.vm), ECHO_PORT),
        watching(red, *hops["red"], *hops["blue"], "vm1-eth0", "vm3-eth0", "vm4-eth0") as watched,
    ):
        for vm, frame in to_all.items():
            red.send(vm, frame)
        # Both ways: a bridge that learns would know each from the other's side, and drop what comes from its own.
        assert red.reaches("vm3", "vm4") and red.reaches("vm4", "vm3")
        assert traffic.tcp_works(red.host("vm1"), FAR.outside, ECHO_PORT, exchanges=3)
        watched["vm4-eth0"].capture.wait_frames(1)
        sources = {place: {frame.src for frame in watch.frames()} for place, watch in watched.items()}
    for tenant, other in (("red", "blue"), ("blue", "red")):
        for place in hops[tenant]:
            assert sources[place] & macs[other] == set(), place
    assert sources["h1f-fwa1-in"] >= macs["red"] and sources["h1f-grd1-in"] >= macs["blue"]
    assert sources["vm1-eth0"] & macs["blue"] == sources["vm3-eth0"] & macs["red"] == set()
    assert sources["vm4-eth0"] & macs["red"] == set()


def tcp_places(watched: Mapping[str, Watch], port: int) -> set[str]:
    """Return the places that have seen segments from or to a port."""
    return {place for place, watch in watched.items() if any(frame.tcp_port(port) for frame in watch.frames())}


def test_a_rule_takes_another_chain_or_none(lab: Lab) -> None:
    """H11 H14: by rule a connection passes another chain than its segment's, or is delivered in the NIC at once."""
    chained.tenant(lab, "blue", {"guard": ()}, "vm3", "vm4")
    register_function(lab.client, lab.net, "shared")
    register_chain(lab.client, "other", "blue", "shared", own=False)
    by_chain = rule("other", {"type": "chain", "chain": "other"}, ip_proto="tcp", l4_dst=8001)
    past = rule("past", {"type": "skip_chain"}, ip_proto="tcp", l4_dst=8002)
    lab.layer("steer", layer(outbound="allow", inbound="allow"), out=group("outbound", by_chain, past))
    with (
        ExitStack() as stack,
        watching(lab, "h1-cable", "h1f-grd1-in", "h1f-grd1-out", "h1f-all1-in", "h1f-all1-out") as watched,
    ):
        for port in (8000, 8001, 8002):
            stack.enter_context(traffic.tcp_echo_server(lab.host("vm4"), port))
            assert traffic.tcp_works(lab.host("vm3"), address_of("vm4").ipv4, port, exchanges=3)
        assert tcp_places(watched, 8000) == {"h1-cable", "h1f-grd1-in", "h1f-grd1-out"}
        assert tcp_places(watched, 8001) == {"h1-cable", "h1f-all1-in", "h1f-all1-out"}
        assert tcp_places(watched, 8002) == set()


def test_a_shared_function_keeps_tenants_apart_by_vlan(lab: Lab) -> None:
    """H11: two tenants pass one function at once, each with its chain's VLAN both ways, and reach their own."""
    register_function(lab.client, lab.net, "shared", keeps_apart=True)
    pairs = {"red": ("vm1", "vm2", 901), "blue": ("vm3", "vm4", 902)}
    for name, (first, second, vlan) in pairs.items():
        chained.tenant(lab, name, {}, first, second, shared=("shared",), vlan=vlan)
    with watching(lab, "h1f-all1-in", "h1f-all1-out") as watched:
        for first, second, _ in pairs.values():
            assert lab.reaches(first, second)
        for name, (first, second, vlan) in pairs.items():
            macs = {address_of(first).mac, address_of(second).mac}
            for place, watch in watched.items():
                mine = [frame for frame in watch.unicast() if {frame.src, frame.dst} & macs]
                assert {frame.vlan for frame in mine} == {vlan}, (name, place)
                assert {mac for frame in mine for mac in (frame.src, frame.dst)} == macs, (name, place)
