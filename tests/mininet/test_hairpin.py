"""The hairpin on one host: every frame of a VF leaves by the cable, and reaches others through a function only.

What holds without a cable too is run on such a NIC by test_mac_steering.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mininet_scripts.support import frames, functions, hosts, traffic
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until
from tests.mininet import subnets
from tests.mininet.crossing import crossing
from tests.mininet.lab import Frame, Lab, read_frame
from topologies.hairpin_nic import HairpinNic

TOPOLOGY = HairpinNic

VLAN = {"vm1": 101, "vm2": 102, "vm3": 103}
MAC = {name: address_of(name).mac for name in VLAN}


@pytest.fixture
def red(lab: Lab) -> Iterator[Lab]:
    """Yield the network with three VMs of tenant red in one segment."""
    lab.tenant("red", *VLAN)
    yield lab


# Hosts ask for their neighbours whenever they like, so that only frames that a test has sent itself are looked at.


def tags_of(sent: bytes, seen: list[Frame]) -> list[int | None]:
    """Return the tags, in order, with which a frame was seen that a test has sent."""
    own = read_frame(sent)
    return [each.vlan for each in seen if (each.src, each.dst, each.payload) == (own.src, own.dst, own.payload)]


def copies(sent: bytes, crossed: dict[str, list[Frame]]) -> dict[str, int]:
    """Return how often a frame that a test has sent has crossed with the VF of each VM."""
    own = read_frame(sent)[:2], read_frame(sent).payload
    return {vm: sum((frame[:2], frame.payload) == own for frame in seen) for vm, seen in crossed.items()}


def echoes(seen: list[Frame]) -> list[Frame]:
    """Return the echo requests and replies among frames."""
    return [
        frame for frame in seen
        if (frame.eth_type == frames.IPV4 and frame.payload[9] == frames.ICMP)
        or (frame.eth_type == frames.IPV6 and frame.payload[6] == frames.ICMPV6 and frame.payload[40] in (128, 129))
    ]  # fmt: skip


def refused(lab: Lab, reason: str) -> int:
    """Return how many frames were dropped for a reason, of vports and of none."""
    return int(lab.client.get("/v1/stats")["hosts"]["h1"]["refused"].get(reason, 0))


def wait_refused(lab: Lab, reason: str, count: int) -> None:
    """Return when so many frames were dropped for a reason; the switch hands its counts over twice a second."""
    wait_until(lambda: refused(lab, reason), 5, f"{count} refused as {reason}", until=lambda seen: seen >= count)


@pytest.mark.parametrize("version", [4, 6])
def test_neighbours_meet_through_the_function(red: Lab, version: int) -> None:
    """H02 H06 H07 H08 S05: a request crosses the cable once each way, by the function, and comes to the VM once."""
    assert red.reaches("vm1", "vm2", version)
    with crossing(red, *VLAN) as between, red.watch("fn1-vf1") as near, red.watch("vm2-eth0") as receiver:
        assert red.ping("vm1", "vm2", version=version, count=3, interval_s=0.05).all_answered
        crossed = {vm: echoes(seen) for vm, seen in between.by_vf().items()}
        passed, arrived = echoes(near.frames()), echoes(receiver.frames())
    there, back = (MAC["vm1"], MAC["vm2"]), (MAC["vm2"], MAC["vm1"])
    once = {"vm1": [there, back], "vm2": [there, back], "vm3": []}
    assert {vm: [(frame.src, frame.dst) for frame in seen] for vm, seen in crossed.items()} == {
        vm: pair * 3 for vm, pair in once.items()
    }
    assert [(frame.src, frame.dst, frame.vlan) for frame in passed] == [(*there, None), (*back, None)] * 3
    assert [(frame.src, frame.dst, frame.vlan) for frame in arrived] == [(*there, None), (*back, None)] * 3
    assert [frame.payload for frame in arrived[::2]] == [frame.payload for frame in crossed["vm1"][::2]]


def test_without_the_function_nothing_passes(red: Lab) -> None:
    """H02 H05: while the function stands still frames cross as the sender's, nobody else's, and no VM sees them."""
    assert red.reaches("vm1", "vm2")
    with functions.stopped(red.host("fn1")), crossing(red, *VLAN) as between, red.watch("vm2-eth0") as receiver:
        assert not red.reaches("vm1", "vm2", timeout_s=0.5)
        crossed = {vm: {frame.src for frame in echoes(seen)} for vm, seen in between.by_vf().items()}
        assert crossed == {"vm1": {MAC["vm1"]}, "vm2": set(), "vm3": set()}
        assert [frame for frame in receiver.frames() if frame.src == MAC["vm1"]] == []
    assert red.reaches("vm1", "vm2")


def test_what_the_function_drops_is_dropped(red: Lab) -> None:
    """H05: a rule of the function's own firewall ends one kind of traffic between VMs, and no other."""
    with traffic.tcp_echo_server(red.host("vm2"), 8080), traffic.tcp_echo_server(red.host("vm2"), 8081):
        assert traffic.tcp_works(red.host("vm1"), address_of("vm2").ipv4, 8080)
        with functions.filtering(red.host("fn1"), "ip protocol tcp tcp dport 8080 drop"):
            assert not traffic.tcp_works(red.host("vm1"), address_of("vm2").ipv4, 8080, timeout_s=0.5)
            assert traffic.tcp_works(red.host("vm1"), address_of("vm2").ipv4, 8081)
        assert traffic.tcp_works(red.host("vm1"), address_of("vm2").ipv4, 8080)


@pytest.mark.parametrize("vlan", [102, 101, 4095])
def test_a_vms_own_tag_does_not_get_to_functions(red: Lab, vlan: int) -> None:
    """H03: frames that a VM has tagged itself, with another's VLAN or its own, once or twice, are dropped."""
    before = red.refused("vm1").get("vlan", 0)
    inner = frames.ethernet(MAC["vm2"], MAC["vm1"], frames.EXPERIMENTAL, b"forged", vlan=vlan)
    double = inner[:12] + bytes.fromhex("81000065") + inner[12:]
    with crossing(red, *VLAN) as between, red.watch("vm2-eth0") as receiver:
        red.send("vm1", inner, double)
        wait_until(lambda: red.refused("vm1").get("vlan", 0), 5, "both refused", until=lambda now: now == before + 2)
        for seen in (*between.by_vf().values(), receiver.frames()):
            assert [frame for frame in seen if b"forged" in frame.payload] == []


def test_a_vlan_is_one_sub_interface(red: Lab) -> None:
    """H04: what the cable brings with a VLAN goes to exactly its sub-interface, untagged."""
    frame = frames.ethernet(MAC["vm3"], MAC["vm1"], frames.EXPERIMENTAL, b"by vlan", vlan=VLAN["vm2"])
    with ExitStack() as stack:
        stack.enter_context(functions.stopped(red.host("fn1")))  # Else it would send the frame on to others.
        watched = {name: stack.enter_context(red.watch(f"h1f-vf{name[-1]}")) for name in VLAN}
        red.send_from_peer("h1f-cable", [frame])
        watched["vm2"].capture.wait_frames(1)
        seen = {name: tags_of(frame, watch.frames()) for name, watch in watched.items()}
    assert seen == {"vm1": [], "vm2": [None], "vm3": []}


def test_an_unknown_vlan_goes_nowhere(red: Lab) -> None:
    """H04: what the cable brings with a VLAN that no VF has, or with none, reaches no function and is counted."""
    before = refused(red, "unknown-vlan")
    strange = [frames.ethernet(MAC["vm2"], MAC["vm1"], frames.EXPERIMENTAL, b"x", vlan=vlan) for vlan in (999, None)]
    with ExitStack() as stack:
        watched = [stack.enter_context(red.watch(f"h1f-vf{name[-1]}")) for name in VLAN]
        red.send_from_peer("h1f-cable", strange)
        wait_refused(red, "unknown-vlan", before + 2)
        assert [tags_of(strange[0], watch.frames()) for watch in watched] == [[], [], []]


def test_sub_interface_and_vf_come_and_go_together(red: Lab) -> None:
    """H01: the VLAN of a VF leads to its sub-interface just as long as the VF is registered."""

    def spliced() -> set[int]:
        return {int(vlan) for vlan in re.findall(r"dl_vlan=(\d+)", red.net["h1f"].dpctl("dump-flows"))}

    assert spliced() == {101, 102, 103}
    red.client.delete("/v1/vports/vm3")
    assert spliced() == {101, 102}
    assert not red.reaches("vm3", "vm1", timeout_s=0.5)


BROADCASTS = {
    "arp": frames.ethernet(
        frames.BROADCAST, MAC["vm1"], frames.ARP,
        frames.arp(1, MAC["vm1"], address_of("vm1").ipv4, "10.0.0.77"),
    ),
    "broadcast": frames.ethernet(frames.BROADCAST, MAC["vm1"], frames.EXPERIMENTAL, b"to all"),
    "multicast": frames.ethernet("01:00:5e:01:02:03", MAC["vm1"], frames.EXPERIMENTAL, b"to some"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROADCASTS)
def test_broadcasts_reach_every_other_member_once(red: Lab, kind: str) -> None:
    """H08 H09: ARP, broadcast and multicast go by the function to every other member once, and not to the sender."""
    with ExitStack() as stack:
        watched = {name: stack.enter_context(red.watch(f"{name}-eth0")) for name in (*VLAN, "ext")}
        between = stack.enter_context(crossing(red, *VLAN))
        red.send("vm1", BROADCASTS[kind])
        for name in ("vm2", "vm3", "ext"):
            watched[name].capture.wait_frames(1)
        seen = {name: tags_of(BROADCASTS[kind], watch.frames()) for name, watch in watched.items()}
        crossed = copies(BROADCASTS[kind], between.by_vf())
    assert seen == {"vm1": [None], "vm2": [None], "vm3": [None], "ext": [None]}  # vm1's is what it sent itself.
    assert crossed == {"vm1": 1, "vm2": 1, "vm3": 1}


def test_a_function_that_reflects_makes_no_loop(red: Lab) -> None:
    """H08: of a function that sends everything back as well, its senders see nothing, and nothing goes round."""
    before = refused(red, "reflected"), refused(red, "outlet-mac")
    from_ext = frames.ethernet(frames.BROADCAST, address_of("ext").mac, frames.EXPERIMENTAL, b"from outside")
    with ExitStack() as stack:
        stack.enter_context(functions.reflecting(red.host("fn1")))
        between = stack.enter_context(crossing(red, *VLAN))
        sender, uplink = (stack.enter_context(red.watch(place)) for place in ("vm1-eth0", "h1n-uplink"))
        red.send("vm1", BROADCASTS["broadcast"])
        red.send("ext", from_ext)
        wait_refused(red, "reflected", before[0] + 1)
        wait_refused(red, "outlet-mac", before[1] + 1)
        crossed = between.by_vf()
        assert copies(BROADCASTS["broadcast"], crossed) == {"vm1": 1 + between.sees_reflected, "vm2": 1, "vm3": 1}
        assert copies(from_ext, crossed) == {"vm1": 1, "vm2": 1, "vm3": 1}
        assert tags_of(BROADCASTS["broadcast"], sender.frames()) == [None]  # What it sent itself.
        assert tags_of(from_ext, uplink.frames()) == [None]


def test_what_a_function_floods_comes_to_its_owner_alone(red: Lab) -> None:
    """H06: a frame for a MAC that the function does not know, and so sends to all, comes to no other VM."""
    unknown = frames.ethernet("02:00:00:00:99:99", MAC["vm1"], frames.EXPERIMENTAL, b"flooded")
    with red.watch("vm2-eth0") as second, red.watch("vm3-eth0") as third, red.watch("ext-eth0") as outside:
        red.send("vm1", unknown)
        outside.capture.wait_frames(1)
        assert tags_of(unknown, second.frames() + third.frames()) == []


def test_policy_holds_on_both_sides_of_the_function(red: Lab) -> None:
    """H02 M08 M25: both VMs' rules apply, replies pass a stateful layer, and later packets cost no packet-in."""
    red.layer("firewall", layer(outbound="allow", inbound="deny"),
              web=group("inbound", rule("web", ip_proto="tcp", l4_dst=8080), applies_to={"vport": "vm2"}))  # fmt: skip
    with traffic.tcp_echo_server(red.host("vm2"), 8080), traffic.tcp_echo_server(red.host("vm2"), 8081):
        assert traffic.tcp_works(red.host("vm1"), address_of("vm2").ipv4, 8080)
        assert not traffic.tcp_works(red.host("vm1"), address_of("vm2").ipv4, 8081, timeout_s=0.5)
        with traffic.tcp_talk(red.host("vm1"), address_of("vm2").ipv4, 8080) as echoes:
            echoes.wait_count(10)
            before = red.packet_ins()
            echoes.wait_count(len(echoes.numbers()) + 100)
            assert red.packet_ins() < before + 10  # Some may be of multicast that hosts send by themselves.
    assert not red.reaches("vm2", "vm1", timeout_s=0.5)


ROUTED = subnets.gateways("fn1-vf1", "fn1-vf2")


@pytest.fixture
def routed(lab: Lab) -> Iterator[Lab]:
    """Yield the network with vm1 and vm2 in subnets of their own, each with the function as its way to the other."""
    with subnets.two_subnets(lab):
        yield lab


def test_a_router_is_a_function(routed: Lab) -> None:
    """S06 H11: traffic for another subnet goes by the router in its namespace, and replies come back the same way."""
    with functions.Router(routed.host("fn1"), ROUTED), routed.watch("fn1-vf2") as far:
        assert hosts.ping(routed.host("vm1"), "10.2.0.1", count=3, interval_s=0.05).all_answered
        assert {frame.dst for frame in far.unicast() if frame.eth_type == frames.IPV4} >= {MAC["vm2"]}
    assert not hosts.ping(routed.host("vm1"), "10.2.0.1", answer_timeout_s=0.5).all_answered


def test_a_connection_is_known_again_behind_a_function_that_translates(routed: Lab) -> None:
    """H11: behind source NAT the receiver's rules see the translated packet, and replies find their way back."""
    routed.layer("firewall", layer(outbound="allow", inbound="deny"),
                 web=group("inbound", rule("nat", ipv4_src="10.2.0.254", ip_proto="tcp", l4_dst=8080),
                           applies_to={"vport": "vm2"}))  # fmt: skip
    with (
        functions.SourceNat(routed.host("fn1"), ROUTED, outside="fn1-vf2"),
        traffic.tcp_echo_server(routed.host("vm2"), 8080),
        routed.watch("vm2-eth0") as receiver,
    ):
        assert traffic.tcp_works(routed.host("vm1"), "10.2.0.1", 8080, exchanges=3)
        came = [frame for frame in receiver.unicast() if (frame.dst, frame.eth_type) == (MAC["vm2"], frames.IPV4)]
        seen = {frame.payload[12:16] for frame in came}
        assert seen == {bytes([10, 2, 0, 254])}
    with functions.Router(routed.host("fn1"), ROUTED), traffic.tcp_echo_server(routed.host("vm2"), 8080):
        assert not traffic.tcp_works(routed.host("vm1"), "10.2.0.1", 8080, timeout_s=0.5)


def test_a_rule_may_skip_the_functions(red: Lab) -> None:
    """H14: what a rule lets skip functions, and its replies, does not cross; without the rule it does again."""
    skipping = rule("fast", {"type": "skip_chain"}, ip_proto="tcp", l4_dst=8080)
    red.layer("firewall", layer(outbound="allow", inbound="allow"), out=group("outbound", skipping))
    address = address_of("vm2").ipv4
    with ExitStack() as stack:
        for port in (8080, 8081):
            stack.enter_context(traffic.tcp_echo_server(red.host("vm2"), port))
        between = stack.enter_context(crossing(red, *VLAN))
        with functions.filtering(red.host("fn1"), "ip protocol tcp drop"):
            echoes = stack.enter_context(traffic.tcp_talk(red.host("vm1"), address, 8080))
            echoes.wait_count(10)
            assert not traffic.tcp_works(red.host("vm1"), address, 8081, timeout_s=0.5)
        assert not any(frame.tcp_port(8080) for seen in between.by_vf().values() for frame in seen)
        assert traffic.tcp_works(red.host("vm1"), address, 8081)
        red.client.delete("/v1/layers/firewall/groups/out")
        before = len(echoes.numbers())
        echoes.wait_count(before + 50)
        crossed = between.by_vf()
        assert {vm for vm in crossed if any(frame.tcp_port(8080) for frame in crossed[vm])} == {"vm1", "vm2"}
