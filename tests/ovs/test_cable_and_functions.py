"""Which of the two has failed: the cable to the functions, or a function behind it; probes need no cable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from tests.ovs.harness.switch import OpenVSwitch
from tests.ovs.test_chain_health import passing, probed, until, until_counted
from tests.ovs.test_chains import PORTS, Site

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
