"""Connections under a changing policy: replies without rules, cuts and restorations, and nobody else disturbed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from mininet_scripts.support import traffic
from mininet_scripts.support.policy import group, layer, lone_rule, rule
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.traffic import Arrivals
from tests.mininet.lab import Lab
from topologies.two_hosts import TwoHosts

TOPOLOGY = TwoHosts

STATEFUL = layer(stateful=True, outbound="allow", inbound="deny")
STATELESS = layer(stateful=False, outbound="allow", inbound="allow")
CUT = "/v1/layers/firewall/groups/open/rules/cut"
# Open vSwitch answers a barrier before its datapath has caught up: it gathers changes for 5 ms.
CUT_WITHIN_MS = 100


def serve(lab: Lab) -> None:
    """Register four VMs, and put a stateful firewall that lets in TCP to port 80 and UDP to port 7000."""
    lab.tenant("red", "vm1", "vm2", "vm3", "vm4")
    served = (rule("web", ip_proto="tcp", l4_dst=80), rule("numbered", ip_proto="udp", l4_dst=7000))
    lab.layer("firewall", STATEFUL, open=group("inbound", *served))


def test_reply_needs_no_rule(lab: Lab) -> None:
    """M08: a TCP connection works although no rule lets its replies in; the way back is closed to new ones."""
    serve(lab)
    vm1, vm3 = lab.host("vm1"), lab.host("vm3")

    with traffic.tcp_echo_server(vm3, 80), traffic.tcp_echo_server(vm1, 4000), traffic.tcp_echo_server(vm1, 80):
        assert traffic.tcp_works(vm1, "10.0.0.3", 80, exchanges=5)
        assert not traffic.tcp_works(vm3, "10.0.0.1", 4000, timeout_s=0.5)
        assert traffic.tcp_works(vm3, "10.0.0.1", 80)


def test_answer_from_the_same_port_is_not_enough(lab: Lab) -> None:
    """M08: while a connection stands, packets from its server to another port of the client stay out."""
    serve(lab)
    with (
        traffic.udp_talk(lab.host("vm3"), "10.0.0.1", 4000, own_port=7000, rate_pps=50, waits=True) as server,
        traffic.udp_talk(lab.host("vm1"), "10.0.0.3", 7000, own_port=4000, rate_pps=50) as client,
        traffic.udp_receiver(lab.host("vm1"), 4001) as other,
    ):
        server.wait_count(5)
        client.wait_count(5)
        traffic.send_udp(lab.host("vm3"), "10.0.0.1", 4001, count=5, source_port=7001)
        client.wait_count(len(client.numbers()) + 10)
        assert other.numbers() == []


def test_tcp_is_cut_and_restored(lab: Lab) -> None:
    """M15: a rule cuts a live TCP connection and its deletion restores it, with nothing lost in between."""
    serve(lab)
    vm1, vm3 = lab.host("vm1"), lab.host("vm3")
    with traffic.tcp_echo_server(vm3, 80), traffic.tcp_talk(vm1, "10.0.0.3", 80, source_port=4000) as echoes:
        echoes.wait_count(20)
        lab.client.put(CUT, lone_rule("deny", priority=90, ip_proto="tcp", l4_dst=80))
        cut_ns = time.monotonic_ns()
        assert not traffic.tcp_works(vm1, "10.0.0.3", 80, timeout_s=0.7)
        assert echoes.seen()[-1].at_ns < cut_ns + CUT_WITHIN_MS * 1e6
        (flow,) = lab.flows("vm1", ip_proto="tcp", l4_src="4000")
        assert flow["state"] == "denied"

        lab.client.delete(CUT)

        numbers = echoes.wait_count(len(echoes.seen()) + 20, timeout_s=10)
    assert numbers == list(range(1, len(numbers) + 1))


def test_each_direction_on_its_own(lab: Lab) -> None:
    """M15: without state one direction of a live conversation can be cut and restored while the other goes on."""
    lab.tenant("red", "vm1", "vm3")
    lab.layer("firewall", STATELESS, open=group("inbound"))
    with (
        traffic.udp_talk(lab.host("vm3"), "10.0.0.1", 4000, own_port=7000, rate_pps=500, waits=True) as server,
        traffic.udp_talk(lab.host("vm1"), "10.0.0.3", 7000, own_port=4000, rate_pps=500) as client,
    ):
        server.wait_count(50)
        client.wait_count(50)
        for cut, cut_port, other in ((client, 4000, server), (server, 7000, client)):
            lab.client.put(CUT, lone_rule("deny", priority=90, ip_proto="udp", l4_dst=cut_port))
            cut_ns = time.monotonic_ns()
            other.wait_count(len(other.numbers()) + 150)
            assert cut.seen()[-1].at_ns < cut_ns + CUT_WITHIN_MS * 1e6
            lab.client.delete(CUT)
            cut.wait_count(len(cut.numbers()) + 50)
        # What was not cut while the other was came whole: only gaps of the two cuts are in the numbers.
        assert gaps(server) == gaps(client) == 1


def test_unaffected_vports_lose_nothing(lab: Lab) -> None:
    """M15 M16: while rules cut and restore one connection ten times, another loses and repeats nothing at 1,000/s."""
    serve(lab)
    with conversation(lab, "vm2", "vm4") as (begun, answered):
        generation = lab.flows("vm2", ip_proto="udp")[0]["generation"]
        with traffic.udp_receiver(lab.host("vm3"), 7000) as arrivals:
            for attempt in range(10):
                cut = lone_rule("deny", priority=90, ip_proto="udp", ipv4_dst="10.0.0.3")
                lab.client.put(CUT, cut)
                traffic.send_udp(lab.host("vm1"), "10.0.0.3", 7000, count=1, source_port=4000, first=2 * attempt)
                lab.client.delete(CUT)
                traffic.send_udp(lab.host("vm1"), "10.0.0.3", 7000, count=1, source_port=4000, first=2 * attempt + 1)
                arrivals.wait_count(attempt + 1)
            assert arrivals.numbers() == list(range(1, 20, 2))
        (flow,) = lab.flows("vm2", ip_proto="udp")
        assert flow["generation"] == generation
        assert_whole(begun, answered)


def test_group_is_replaced_as_one(lab: Lab) -> None:
    """M17: a flow that the old and the new rules of a group allow loses nothing while they are exchanged 20 times."""
    lab.tenant("red", "vm1", "vm3")
    # In each of the two sets another rule allows, and all else is denied: half of either would drop.
    sets = [
        group("inbound", rule(f"{word}-allow", priority=20, ip_proto="udp", l4_dst=port), rule(f"{word}-deny", "deny"))
        for word, port in (("exact", "7000"), ("range", "6000-8000"))
    ]
    for each in sets:
        each["rules"][1]["priority"] = 1
    lab.layer("firewall", STATEFUL, open=sets[0])
    with conversation(lab, "vm1", "vm3") as (begun, answered):
        for attempt in range(20):
            lab.client.put("/v1/layers/firewall/groups/open", sets[(attempt + 1) % 2])
        assert_whole(begun, answered)


def test_destination_nat_and_its_way_back(lab: Lab) -> None:
    """M07 M08: a client of a service address is served by a VM, and sees only the service address answer."""
    lab.tenant("red", "vm1", "vm3")
    nat = {"type": "nat", "destination": {"ip": "10.0.0.3", "port": 80, "mac": address_of("vm3").mac}}
    service = rule("service", nat, ip_proto="tcp", ipv4_dst="10.0.0.200", l4_dst=8080)
    lab.layer("nat", layer(stateful=True, inbound="allow", position=20), service=group("outbound", service))
    lab.layer("firewall", STATEFUL, web=group("inbound", rule("web", ip_proto="tcp", l4_dst=80)))
    vm1 = lab.host("vm1")
    vm1.cmd("ip neigh replace 10.0.0.200 lladdr 02:00:00:00:02:00 dev vm1-eth0")

    with traffic.tcp_echo_server(lab.host("vm3"), 80):
        assert traffic.tcp_works(vm1, "10.0.0.200", 8080, exchanges=10)
        assert not traffic.tcp_works(vm1, "10.0.0.200", 8081, timeout_s=0.5)


@contextmanager
def conversation(lab: Lab, one: str, other: str) -> Iterator[tuple[traffic.Conversation, traffic.Conversation]]:
    """Yield both sides of an established UDP conversation at 1,000 packets/s each way."""
    here, there = address_of(one).ipv4, address_of(other).ipv4
    with (
        traffic.udp_talk(lab.host(other), here, 4000, own_port=7000, rate_pps=1000, waits=True) as answered,
        traffic.udp_talk(lab.host(one), there, 7000, own_port=4000, rate_pps=1000) as begun,
    ):
        answered.wait_count(100)
        begun.wait_count(100)
        yield begun, answered


def assert_whole(begun: traffic.Conversation, answered: traffic.Conversation) -> None:
    """End a conversation; fail unless every packet of either side has come once."""
    sent = begun.stop_sending(), answered.stop_sending()
    assert sorted(answered.wait_count(sent[0])) == list(range(sent[0]))
    assert sorted(begun.wait_count(sent[1])) == list(range(sent[1]))


def gaps(arrivals: Arrivals) -> int:
    """Return how many times numbers are missing in what arrived."""
    numbers = sorted(arrivals.numbers())
    assert len(numbers) == len(set(numbers))
    return sum(second != first + 1 for first, second in pairwise(numbers))
