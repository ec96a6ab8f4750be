"""VMs with a synthetic port beside their VF: misses back through the VM, and a driver that follows the VM's hints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from mininet_scripts.support import frames, traffic
from mininet_scripts.support.guest_agent import GuestAgent, following
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until
from tests.mininet.lab import Frame, Lab, Watch
from topologies.guest_driver import GuestDriver

TOPOLOGY = GuestDriver
STATEFUL = layer(stateful=True, outbound="allow", inbound="deny")


def serve(lab: Lab, miss: str) -> None:
    """Register both VMs with their misses by this path, and let in ping, TCP to port 80 and UDP to port 7000."""
    # Entries are told from their like of an earlier test when counts were read in between.
    lab.client.get("/v1/stats")
    lab.client.put("/v1/hosts/h1", {"dpid": "1", "uplink": "h1-uplink", "miss": miss})
    lab.tenant("red", "vm1", "vm2")
    ping, web = rule("ping", icmpv4_type=8), rule("web", ip_proto="tcp", l4_dst=80)
    numbered = rule("numbered", ip_proto="udp", l4_dst=7000)
    lab.layer("firewall", STATEFUL, open=group("inbound", ping, web, numbered))


def returns(lab: Lab, vport: str) -> int:
    """Return how many packets of a VM have come back to it."""
    return int(lab.client.get("/v1/stats")["vports"][vport]["caches"]["outbound"]["returns"])


def by_vf(watch: Watch) -> Counter[Frame]:
    """Return how often each IPv4 packet of VM 1 has passed its VF; no two that it sends are the same."""
    mac = address_of("vm1").mac
    return Counter(frame for frame in watch.unicast() if frame.src == mac and frame.eth_type == frames.IPV4)


def everything_works(lab: Lab) -> None:
    """Ping, TCP and UDP reach what policy lets in, none of 50 packets is lost, and what it denies stays denied."""
    assert lab.ping("vm1", "vm2", count=3).all_answered
    assert lab.ping("vm2", "ext", count=2).all_answered
    with traffic.tcp_echo_server(lab.host("vm2"), 80), traffic.tcp_echo_server(lab.host("vm2"), 81):
        assert traffic.tcp_works(lab.host("vm1"), "10.0.0.2", 80, exchanges=5)
        assert traffic.tcp_works(lab.host("ext"), "10.0.0.2", 80)
        assert not traffic.tcp_works(lab.host("vm1"), "10.0.0.2", 81, timeout_s=0.5)
    with traffic.udp_receiver(lab.host("vm2"), 7000) as arrivals:
        traffic.send_udp(lab.host("vm1"), "10.0.0.2", 7000, count=50, rate_pps=500)
        assert sorted(arrivals.wait_count(50)) == list(range(50))


@contextmanager
def drivers(lab: Lab) -> Iterator[None]:
    """Let the drivers of both VMs follow their hints while the block runs."""
    with ExitStack() as stack:
        for number in (1, 2):
            stack.enter_context(following(GuestAgent(lab.client, f"vm{number}", f"g{number}")))
        yield


@pytest.fixture
def lab(lab: Lab) -> Iterator[Lab]:
    """Return the module's network, its guest switches as they were when it began."""
    yield lab
    for name in ("g1", "g2"):
        lab.net[name].forget_hints()


@pytest.mark.parametrize("miss", ["pf", "vm"])
def test_both_miss_paths_carry_traffic(lab: Lab, miss: str) -> None:
    """M13: with a driver that sends all by the VF, ping, TCP and UDP fare the same whichever way misses go."""
    serve(lab, miss)
    everything_works(lab)
    if miss == "pf":
        assert returns(lab, "vm1") == 0
    else:
        wait_until(lambda: returns(lab, "vm1"), 5, "packets that came back")


def test_a_driver_that_follows_its_hints(lab: Lab) -> None:
    """M14: known flows go by the VF and all others at once by the synthetic port, so that nothing comes back."""
    serve(lab, "vm")
    with drivers(lab), lab.watch("g1-vf1") as vf:
        assert lab.ping("vm1", "vm2", count=3).all_answered
        with (
            traffic.tcp_echo_server(lab.host("vm2"), 80),
            traffic.tcp_talk(lab.host("vm1"), "10.0.0.2", 80) as echoes,
        ):
            wait_until(lambda: by_vf(vf), 10, "packets by the VF", until=lambda sent: sum(sent.values()) > 10)
            echoes.wait_count(20)
            # Before a connection ends the NIC knows all that is hinted. What comes back would be seen twice.
            twice = [frame for frame, count in by_vf(vf).items() if count > 1]
            assert not twice, [frame.payload.hex() for frame in twice]
        everything_works(lab)


def test_a_driver_whose_hints_are_old(lab: Lab) -> None:
    """M14: a hint of what the NIC knows no more costs a way back, not the packet; the NIC checks everything."""
    serve(lab, "vm")
    agent = GuestAgent(lab.client, "vm1", "g1")
    assert lab.ping("vm1", "vm2").all_answered
    wait_until(agent.poll, 5, "a hint", until=lambda _: agent.hints > 0)
    vm2 = address_of("vm2").ipv4
    old = f"priority=300,in_port=1,udp,nw_dst={vm2},tp_dst=7000"
    lab.net["g1"].dpctl("add-flow", f"'{old},actions=output:2'")
    lab.net["g1"].dpctl("add-flow", f"'priority=300,in_port=1,tcp,nw_dst={vm2},tp_dst=81,actions=output:2'")

    with traffic.udp_receiver(lab.host("vm2"), 7000) as arrivals:
        traffic.send_udp(lab.host("vm1"), vm2, 7000, count=5, rate_pps=100)
        assert arrivals.wait_count(5)
    with traffic.tcp_echo_server(lab.host("vm2"), 81):
        assert not traffic.tcp_works(lab.host("vm1"), vm2, 81, timeout_s=0.5)
    wait_until(lambda: returns(lab, "vm1"), 5, "packets that came back")
