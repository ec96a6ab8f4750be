"""A controller that dies and comes back: what stands goes on, and nothing that policy has taken back does."""

from __future__ import annotations

from typing import Any

from mininet_scripts.support import network, traffic
from mininet_scripts.support.policy import group, layer, lone_rule, rule
from tests.mininet.lab import Lab
from topologies.two_hosts import TwoHosts

TOPOLOGY = TwoHosts

STATEFUL = layer(stateful=True, outbound="allow", inbound="deny")
CUT = "/v1/layers/firewall/groups/open/rules/cut"


def serve(lab: Lab) -> None:
    """Register four VMs, and put a stateful firewall that lets in TCP to port 80 and UDP to port 7000."""
    lab.tenant("red", "vm1", "vm2", "vm3", "vm4")
    served = (rule("web", ip_proto="tcp", l4_dst=80), rule("numbered", ip_proto="udp", l4_dst=7000))
    lab.layer("firewall", STATEFUL, open=group("inbound", *served))


def come_back(lab: Lab) -> list[dict[str, Any]]:
    """Start the controller again; return the hosts' state when both agree with it."""
    lab.controller.start()
    network.wait_connected(lab.net, lab.controller.openflow_port)
    return lab.wait_ready()


def test_established_conversation_loses_nothing(lab: Lab) -> None:
    """M26: through kill -9 and restart UDP at 1,000 packets/s each way and a TCP connection lose nothing."""
    serve(lab)
    vm1, vm2, vm3, vm4 = (lab.host(f"vm{n}") for n in (1, 2, 3, 4))
    with (
        traffic.tcp_echo_server(vm4, 80),
        traffic.tcp_talk(vm2, "10.0.0.4", 80, source_port=4001, silence_timeout_s=1.5) as echoes,
        traffic.udp_talk(vm3, "10.0.0.1", 4000, own_port=7000, rate_pps=1000, waits=True) as answered,
        traffic.udp_talk(vm1, "10.0.0.3", 7000, own_port=4000, rate_pps=1000) as begun,
    ):
        echoes.wait_count(10)
        answered.wait_count(200)
        begun.wait_count(200)
        before = lab.entries_of("h1", "udp"), lab.entries_of("h2", "udp")

        lab.controller.kill9()
        answered.wait_count(len(answered.numbers()) + 500)
        states = come_back(lab)
        answered.wait_count(len(answered.numbers()) + 500)
        echoes.wait_count(len(echoes.numbers()) + 10)

        sent = begun.stop_sending(), answered.stop_sending()
        for numbers, count in ((answered.wait_count(sent[0]), sent[0]), (begun.wait_count(sent[1]), sent[1])):
            assert sorted(numbers) == list(range(count))
            # Established: from here on no packet waits for the controller, so none overtakes another.
            assert numbers[200:] == list(range(200, count))
        assert echoes.numbers() == list(range(1, len(echoes.numbers()) + 1))
        print(f"{sent[0]} and {sent[1]} packets, none lost; {states}")
    after = lab.entries_of("h1", "udp"), lab.entries_of("h2", "udp")
    assert [cookies(entries) for entries in after] == [cookies(entries) for entries in before]
    assert all(state["changed_entries"] == 0 for state in states)


def test_kept_flow_is_known_and_can_be_cut(lab: Lab) -> None:
    """M26: after a restart the flow is listed with its packets, and a rule change still cuts it."""
    serve(lab)
    with traffic.tcp_echo_server(lab.host("vm3"), 80), traffic.tcp_talk(lab.host("vm1"), "10.0.0.3", 80) as echoes:
        echoes.wait_count(20)
        lab.controller.kill9()
        come_back(lab)
        echoes.wait_count(len(echoes.numbers()) + 20)
        (flow,) = lab.flows("vm1", ip_proto="tcp")
        assert flow["state"] == "allowed" and flow["forward"][0]["packets"] > 20

        lab.client.put(CUT, lone_rule("deny", priority=90, ip_proto="tcp", l4_dst=80))

        assert not traffic.tcp_works(lab.host("vm1"), "10.0.0.3", 80, timeout_s=0.5)
        stopped_at = len(echoes.numbers())
        assert not traffic.tcp_works(lab.host("vm1"), "10.0.0.3", 80, timeout_s=0.5)
        assert len(echoes.numbers()) == stopped_at
        lab.client.delete(CUT)
        echoes.wait_count(stopped_at + 10, timeout_s=10)


def test_new_connections_wait_for_the_controller(lab: Lab) -> None:
    """M26: while the controller is away bridges stay isolating, and afterwards new connections work as before."""
    serve(lab)
    with traffic.tcp_echo_server(lab.host("vm3"), 80):
        lab.controller.kill9()
        assert not traffic.tcp_works(lab.host("vm1"), "10.0.0.3", 80, timeout_s=0.5)
        come_back(lab)
        assert traffic.tcp_works(lab.host("vm1"), "10.0.0.3", 80)
        assert not traffic.tcp_works(lab.host("vm3"), "10.0.0.1", 80, timeout_s=0.5)


def cookies(entries: list[str]) -> set[str]:
    """Return the cookies of entries."""
    return {entry.split("cookie=")[1].partition(",")[0] for entry in entries}
