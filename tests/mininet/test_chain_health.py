"""Real functions that stand still with their links up, in mid-transfer: probes find out, and another takes over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from mininet_scripts.support import behind_nat, functions, registration, traffic
from mininet_scripts.support.behind_nat import CLOSED_PORT, ECHO_PORT
from mininet_scripts.support.functions import NetworkFunction
from mininet_scripts.support.registration import address_of, register_function
from mininet_scripts.support.waiting import wait_until
from tests.mininet import chained
from tests.mininet.chained import watching
from tests.mininet.lab import Lab, read_frame
from topologies.chain_hosts import ChainHosts

TOPOLOGY = ChainHosts

# Patient, so that a machine that stands still for a second is not taken for a function that does.
PROBE: dict[str, Any] = {"interval_ms": 200, "timeout_ms": 1500, "fall": 3, "rise": 2}
INSTANCES = ("fwa1", "fwb1")


@pytest.fixture
def filters(lab: Lab) -> Iterator[dict[str, NetworkFunction]]:
    """Yield two filters at work, by name, behind which vm1 and vm2 of tenant red are."""
    chained.tenant(lab, "red", {"filter": INSTANCES}, "vm1", "vm2")
    register_function(lab.client, lab.net, "filter", *INSTANCES, probe=PROBE)
    made = {
        name: functions.FilteringBridge(lab.host(name), {CLOSED_PORT}, behind_nat.both(name)) for name in INSTANCES
    }
    with ExitStack() as stack:
        for function in made.values():
            stack.enter_context(function)
        yield dict(made)


def known(lab: Lab, function: str, name: str) -> dict[str, Any]:
    """Return what is known of an instance."""
    return dict(lab.client.get(f"/v1/functions/{function}")["live"]["instances"][name])


def until(lab: Lab, function: str, name: str, state: str) -> dict[str, Any]:
    """Return what is known of an instance that has answered probes once, when it is in this state."""
    return wait_until(
        lambda: known(lab, function, name), 20, f"{function}/{name} to be {state}",
        until=lambda now: now["state"] == state and now["answered"],
    )  # fmt: skip


def test_a_connection_goes_on_when_its_filter_stands_still(lab: Lab, filters: dict[str, NetworkFunction]) -> None:
    """H12: a transfer through a frozen stateful filter goes on by the other one without a byte lost, and none is lost
    when the first works again; no probe reaches a VM."""
    for name in INSTANCES:
        until(lab, "filter", name, "up")
    with (
        traffic.tcp_echo_server(lab.host("vm2"), ECHO_PORT),
        watching(lab, "vm1-eth0", "vm2-eth0") as at_vms,
        watching(lab, "h1f-fwa1-in", "h1f-fwb1-in") as at_functions,
        traffic.tcp_talk(lab.host("vm1"), address_of("vm2").ipv4, ECHO_PORT) as echoes,
    ):
        echoes.wait_count(20)

        def passing() -> list[str]:
            return [place for place, watch in at_functions.items()
                    if any(read_frame(data).tcp_port(ECHO_PORT) for data in watch.capture.frames())]  # fmt: skip

        (used,) = wait_until(passing, 5, "the connection at an instance")
        name = used.split("-")[1]
        filters[name].freeze()
        before = len(echoes.numbers())
        assert until(lab, "filter", name, "down")["reason"] == "probe"
        echoes.wait_count(before + 50, timeout_s=30)
        assert len(passing()) == 2
        filters[name].resume()
        until(lab, "filter", name, "up")
        echoes.wait_count(len(echoes.numbers()) + 50, timeout_s=30)
        numbers = echoes.numbers()
        probes = {place: [frame for frame in watch.frames() if frame.udp_to(33434)] for place, watch in at_vms.items()}
    assert numbers == list(range(1, len(numbers) + 1))
    assert probes == {"vm1-eth0": [], "vm2-eth0": []}


def test_a_function_that_routes_is_probed(lab: Lab) -> None:
    """H11 H12: probes that a source NAT routes and rewrites come back; killed it fails with its links up, and works
    again when it is started, because answers to its own ARP requests reach it all the while."""
    nat, inside, outside = lab.host("nat1"), "nat1-in", "nat1-out"
    function = functions.SourceNat(nat, {inside: "10.1.0.254/24", outside: "10.0.0.250/24"}, outside=outside)
    packet = {"eth_dst": nat.intf(inside).MAC(), "ipv4_src": "10.1.0.1", "ipv4_dst": address_of("ext").ipv4}
    registration.register_tenant(lab.client, "red", vlan=0)
    registration.register_function(lab.client, lab.net, "nat", "nat1", rewriting=True)
    registration.register_chain(lab.client, "red", "red", "nat")
    registration.register_vports(lab.client, lab.net, "red", "vm1")
    registration.register_outlets(lab.client, lab.net, "red", {"h1": [nat.intf(outside).MAC()]})
    registered = lab.client.get("/v1/functions/nat")
    with function:
        lab.client.put("/v1/functions/nat", {**registered, "probe": {**PROBE, "packet": packet}})
        until(lab, "nat", "nat1", "up")
        function.kill()
        assert until(lab, "nat", "nat1", "down")["reason"] == "probe"
        function.start()
        until(lab, "nat", "nat1", "up")
