"""Cables and functions that go down: found out, closed or open as the host says, and whole again by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from mininet_scripts.support import frames, functions, traffic
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until
from tests.mininet.crossing import crossing
from tests.mininet.lab import Lab
from topologies.hairpin_nic import HairpinNic

TOPOLOGY = HairpinNic

VMS = ("vm1", "vm2", "vm3")
WHOLE: dict[str, list[str]] = {"broken_vports": [], "bypassed_segments": []}


def set_fail(lab: Lab, fail: str) -> None:
    """Say what becomes of frames while functions cannot be reached."""
    host = lab.client.get("/v1/hosts/h1")
    lab.client.put("/v1/hosts/h1", {**host, "hairpin": {**host["hairpin"], "fail": fail}})


@pytest.fixture
def closed(lab: Lab) -> Iterator[Lab]:
    """Yield the network with three VMs in one segment, on a host that fails closed."""
    set_fail(lab, "closed")
    lab.tenant("red", *VMS)
    yield lab


@pytest.fixture
def opened(closed: Lab) -> Iterator[Lab]:
    """Yield the same on a host that fails open."""
    set_fail(closed, "open")
    yield closed


def wait_ways(lab: Lab, **expected: list[str]) -> None:
    """Return when REST tells exactly this of broken ways."""

    def told() -> dict[str, Any]:
        hairpin = lab.client.get("/v1/hosts/h1")["live"]["hairpin"]
        return {name: hairpin[name] for name in WHOLE}

    wait_until(told, 5, f"ways {expected}", until=lambda seen: seen == {**WHOLE, **expected})


def wait_reached(lab: Lab, sender: str, receiver: str, version: int = 4) -> None:
    """Return when a ping is answered: hosts ask for a neighbour again a second after they had no answer."""
    wait_until(lambda: lab.reaches(sender, receiver, version), 10, f"{sender} to reach {receiver}")


def via(lab: Lab) -> str | None:
    """Return by which way the trace says that vm1 reaches vm2."""
    packet = {"eth_dst": address_of("vm2").mac, "ipv4_src": address_of("vm1").ipv4, "ip_proto": "udp"}
    traced = lab.client.post("/v1/trace", {"vport": "vm1", "direction": "outbound", "packet": packet})
    way: str | None = traced["delivery"]["via"]
    return way


def test_a_cable_that_is_down_closes(closed: Lab) -> None:
    """H12: without the cable nothing passes, what VFs send is counted, and with it all is as before."""
    assert closed.reaches("vm1", "vm2")
    with functions.unplugged("h1-cable"):
        wait_ways(closed, broken_vports=list(VMS))
        assert not closed.reaches("vm1", "vm2", timeout_s=0.5)
        wait_until(lambda: closed.refused("vm1"), 5, "refusals", until=lambda seen: seen.get("no-function", 0) > 0)
    wait_ways(closed)
    wait_reached(closed, "vm1", "vm2")


def test_a_function_that_is_gone_cuts_its_own_off(closed: Lab) -> None:
    """H12: the VF whose sub-interface has no function is cut off, others go on; and it is back with its function."""
    assert closed.reaches("vm1", "vm3")
    with functions.unplugged("fn1-vf1", closed.host("fn1")):
        wait_ways(closed, broken_vports=["vm1"])
        assert not closed.reaches("vm1", "vm3", timeout_s=0.5)
        assert closed.reaches("vm2", "vm3")
    wait_ways(closed)
    wait_reached(closed, "vm1", "vm3")


@contextmanager
def outage(lab: Lab, broken: str) -> Iterator[None]:
    """Have the cable down while the block runs, or the function's side of all sub-interfaces."""
    with ExitStack() as stack:
        if broken == "cable":
            stack.enter_context(functions.unplugged("h1-cable"))
        else:
            for number in (1, 2, 3):
                stack.enter_context(functions.unplugged(f"fn1-vf{number}", lab.host("fn1")))
        yield


@pytest.mark.parametrize("broken", ["cable", "function"])
def test_open_goes_on_without_functions(opened: Lab, broken: str) -> None:
    """H12: on a host that fails open a live connection goes on past a cable or function that is down, and back."""
    check_goes_on(opened, broken)


def check_goes_on(opened: Lab, broken: str) -> None:
    """Assert that a live connection goes on while no function is reached, and by the function again afterwards."""
    with ExitStack() as stack:
        stack.enter_context(traffic.tcp_echo_server(opened.host("vm2"), 8080))
        echoes = stack.enter_context(traffic.tcp_talk(opened.host("vm1"), address_of("vm2").ipv4, 8080))
        echoes.wait_count(10)
        with outage(opened, broken):
            wait_ways(opened, broken_vports=list(VMS), bypassed_segments=["red"])
            # TCP sends again after a pause that doubles each time; the outage was far shorter than this.
            echoes.wait_count(len(echoes.numbers()) + 20, timeout_s=20)
            wait_reached(opened, "vm3", "vm1", version=6)
        wait_ways(opened)
        with crossing(opened, *VMS) as between:
            echoes.wait_count(len(echoes.numbers()) + 20, timeout_s=20)
            crossed = between.by_vf()
            # A function that has just come back does not know yet who is where, and floods.
            assert {vm for vm in VMS if any(frame.tcp_port(8080) for frame in crossed[vm])} >= {"vm1", "vm2"}


def test_open_keeps_policy_and_delivers_once(opened: Lab) -> None:
    """H12 H09: without functions rules still hold, and a broadcast reaches every other member once."""
    check_keeps_policy(opened, "cable", via_functions="cable")


def check_keeps_policy(opened: Lab, broken: str, *, via_functions: str) -> None:
    """Assert that rules and delivery to all members hold while no function is reached, and that the trace says so."""
    opened.layer("firewall", {"position": 1, "stateful": True, "owner": "ops", "default": {"inbound": "allow"}})
    deny = {"priority": 9, "match": {"ip_proto": "icmp"}, "action": {"type": "deny"}}
    group = {"applies_to": {"vport": "vm3"}, "direction": "inbound", "priority": 1, "rules": [{"id": "no", **deny}]}
    opened.client.put("/v1/layers/firewall/groups/g", group)
    sent = frames.ethernet(frames.BROADCAST, address_of("vm1").mac, frames.EXPERIMENTAL, b"to all of us")
    with outage(opened, broken):
        wait_ways(opened, broken_vports=list(VMS), bypassed_segments=["red"])
        wait_reached(opened, "vm1", "vm2")
        assert via(opened) is None
        assert not opened.reaches("vm1", "vm3", timeout_s=0.5)
        with ExitStack() as stack:
            watched = {name: stack.enter_context(opened.watch(f"{name}-eth0")) for name in VMS}
            opened.send("vm1", sent)
            for name in ("vm2", "vm3"):
                watched[name].capture.wait_frames(1)
            seen = {name: sum(b"to all" in frame.payload for frame in w.frames()) for name, w in watched.items()}
        assert seen == dict.fromkeys(VMS, 1)
    wait_ways(opened)
    assert via(opened) == via_functions
