"""Which of the two has failed: the cable to the functions, or a function behind it; probes need no cable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.chain_site import MACS, PORTS, Site, refused
from tests.ovs.harness.switch import OpenVSwitch
from tests.ovs.test_chain_health import passing, probed, until, until_counted

VMS = ["vm1", "vm2", "vm3"]


@pytest.fixture
def site(ovs: OpenVSwitch, controller: Controller) -> Iterator[Site]:
    """Return three bridges with a chain whose first hop is probed."""
    made = Site(ovs, controller)
    probed(made, "fw", "a")
    yield made


def until_broken(site: Site, *vms: str) -> None:
    """Return when these VFs are told to have no way to their functions."""

    def told() -> Any:
        return site.client.get("/v1/hosts/h1")["live"]["hairpin"]["broken_vports"]

    wait_until(told, 10, f"{vms} to be cut off", until=lambda now: now == list(vms))


def unplug(site: Site, how: str) -> None:
    """Take away the cable at the functions' end, or its link."""
    if how == "no port":
        site.ovs.delete_port("h1f", "h1f-cable")
    else:
        site.ovs.ofctl("mod-port", "h1f", "h1f-cable", "down")


def plug(site: Site, how: str) -> None:
    """Bring back the cable."""
    if how == "no port":
        site.ovs.add_port("h1f", "h1f-cable", PORTS["h1f"]["h1f-cable"])
    else:
        site.ovs.ofctl("mod-port", "h1f", "h1f-cable", "up")


@pytest.mark.parametrize("how", ["no port", "no link"])
def test_functions_are_probed_while_the_cable_is_down(site: Site, how: str) -> None:
    """H12: without the cable VFs are cut off and functions work; one that fails and comes back meanwhile is seen to,
    and with the cable plugged in again the other way round."""
    with passing(site, "fw-a") as functions:
        until(site, "fw", "a", state="up")
        unplug(site, how)
        until_broken(site, *VMS)
        assert until_counted(site, "fw", "a", "answered", more=10)["state"] == "up"
        functions.frozen.add("fw-a")
        until(site, "fw", "a", state="down", reason="probe")
        functions.frozen.clear()
        until(site, "fw", "a", state="up", reason=None)
        until_broken(site, *VMS)
        functions.frozen.add("fw-a")
        until(site, "fw", "a", state="down", reason="probe")
        plug(site, how)
        until_broken(site)
        until(site, "fw", "a", state="down", reason="probe")


def test_a_controller_that_starts_without_the_cable_probes(site: Site) -> None:
    """H12 M26: also a controller that meets the functions' datapath without its cable knows which of them work."""
    with passing(site, "fw-a"):
        until(site, "fw", "a", state="up")
        unplug(site, "no port")
        until_broken(site, *VMS)
        site.controller.kill9()
        site.controller.start()
        until_broken(site, *VMS)
        assert until_counted(site, "fw", "a", "answered", more=5)["state"] == "up"
    until(site, "fw", "a", state="down", reason="probe")


def datagram(sport: int, phase: bytes) -> bytes:
    """Return a datagram of vm1 to vm2 that says when it was sent."""
    ends = "10.0.0.1", "10.0.0.2"
    payload = packets.transport(*ends, packets.UDP, packets.udp(sport, 2000, phase))
    return packets.ether(MACS[1], MACS[2], packets.IPV4, packets.packet(*ends, packets.UDP, payload))


def out_of(site: Site, port: str, phase: bytes) -> bool:
    """Return whether a datagram of a phase has come out of a port."""
    return any(phase in frame for frame in site.ovs.sent(port))


def delivered(site: Site, sport: int, phase: bytes, port: str) -> None:
    """Have vm1 send a datagram until it comes out of a port: a switch follows a little after what is told."""

    def out() -> bool:
        site.ovs.receive("h1-vf1", datagram(sport, phase))
        return out_of(site, port, phase)

    wait_until(out, 10, f"{phase!r} to come out of {port}")


def dropped(site: Site, sport: int, phase: bytes) -> None:
    """Have vm1 send a datagram until one is counted as dropped for want of a function."""
    before = refused(site, "no-function")

    def counted() -> bool:
        site.ovs.receive("h1-vf1", datagram(sport, phase))
        return refused(site, "no-function") > before

    wait_until(counted, 10, f"{phase!r} to be counted")


@pytest.mark.parametrize("fail", ["closed", "open"])
def test_a_chain_without_its_cable(site: Site, fail: str) -> None:
    """H12: while the cable has no link what a VF sends into a chain that fails closed is dropped and counted, and in
    one that fails open it is delivered in the NIC; afterwards all frames take the cable again, without a restart."""
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "nat"], "fail": fail})
    site.client.put("/v1/layers/l", {"position": 1, "default": {"outbound": "allow", "inbound": "allow"}})
    delivered(site, 1000, b"first", "h1-cable")
    site.ovs.ofctl("mod-port", "h1", "h1-cable", "down")
    until_broken(site, *VMS)
    for sport in (1000, 1001):  # One that is live, and a new one.
        for phase in (b"going %d" % sport, b"down %d" % sport):
            if fail == "open":
                delivered(site, sport, phase, "h1-vf2")
            else:
                dropped(site, sport, phase)
    assert not out_of(site, "h1-cable", b"down")
    assert out_of(site, "h1-vf2", b"down") == (fail == "open")
    site.ovs.ofctl("mod-port", "h1", "h1-cable", "up")
    until_broken(site)
    for sport in (1000, 1001, 1002):
        delivered(site, sport, b"up again %d" % sport, "h1-cable")
        delivered(site, sport, b"whole %d" % sport, "h1-cable")
    assert not out_of(site, "h1-vf2", b"whole")
