"""Which of the two has failed: the cable to the functions, or a function behind it; probes need no cable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.harness.switch import OpenVSwitch
from tests.ovs.test_chain_health import passing, probed, until, until_counted
from tests.ovs.test_chains import PORTS, Site, refused, udp

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


def cabled(site: Site, sport: int) -> bytes:
    """Have vm1 send a datagram to vm2; return it."""
    frame = udp(1, 2, sport)
    site.ovs.receive("h1-vf1", frame)
    return frame


@pytest.mark.parametrize("fail", ["closed", "open"])
def test_a_chain_without_its_cable(site: Site, fail: str) -> None:
    """H12: while the cable has no link what a VF sends into a chain that fails closed is dropped and counted, and in
    one that fails open it is delivered in the NIC; afterwards all frames take the cable again, without a restart."""
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "nat"], "fail": fail})
    site.client.put("/v1/layers/l", {"position": 1, "default": {"outbound": "allow", "inbound": "allow"}})
    frame = cabled(site, 1000)
    assert packets.untagged(site.ovs.wait_sent("h1-cable", 1)[0]) == frame
    site.ovs.ofctl("mod-port", "h1", "h1-cable", "down")
    until_broken(site, *VMS)
    before = refused(site, "no-function")
    for sport in (1000, 1001):  # One that is live, and a new one.
        frame = cabled(site, sport)
        if fail == "open":
            wait_until(lambda frame=frame: site.ovs.sent("h1-vf2").count(frame), 5, "it is delivered")  # type: ignore[misc]
    if fail == "closed":
        wait_until(lambda: refused(site, "no-function"), 5, "both are counted", until=lambda now: now == before + 2)
    assert len(site.ovs.sent("h1-vf2")) == (2 if fail == "open" else 0)
    assert len(site.ovs.sent("h1-cable")) == 1
    site.ovs.ofctl("mod-port", "h1", "h1-cable", "up")
    until_broken(site)
    for number, sport in enumerate((1000, 1001, 1002), start=2):
        frame = cabled(site, sport)
        assert packets.untagged(site.ovs.wait_sent("h1-cable", number)[-1]) == frame
    assert len(site.ovs.sent("h1-vf2")) == (2 if fail == "open" else 0)
