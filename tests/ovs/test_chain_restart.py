"""Instances that had failed before the controller was killed: what it knows of them when it starts again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.chain_site import Site, udp
from tests.ovs.harness.switch import OpenVSwitch
from tests.ovs.test_chain_health import PROBE, live, passing, probed, until, until_spread


@pytest.fixture
def site(ovs: OpenVSwitch, controller: Controller) -> Iterator[Site]:
    """Return three bridges with a chain whose second hop has two instances, of which `a` is to fail by its probes."""
    made = Site(ovs, controller)
    probed(made, "nat", "a", "b")
    yield made


def part(site: Site) -> dict[str, Any]:
    """Return how the datapath of the functions stands against the policy."""
    return dict(site.client.get("/v1/hosts/h1")["live"]["hairpin"]["function_port"])


def entries(site: Site) -> set[tuple[int, int, str, str, int]]:
    """Return what the datapath of the functions has, without what it has written itself."""
    found = site.ovs.dump_flows("h1f")
    return {(e.table, e.priority, e.match, e.actions, e.cookie) for e in found if e.cookie >> 52 & 0xF != 12}


@contextmanager
def arriving(site: Site) -> Iterator[None]:
    """Have new connections arrive at the second hop all the while."""
    over, sports = threading.Event(), count(10_000)

    def arrive() -> None:
        while not over.wait(0.005):
            frame = udp(1, 2, next(sports))
            site.ovs.receive("h1f-cable", packets.tagged(frame, 101))
            site.ovs.receive("fw-a-out", frame)

    thread = threading.Thread(target=arrive)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def of_vms(site: Site, port: str) -> int:
    """Return how many frames of VMs, and not probes, have gone into an instance."""
    return sum(packets.read(frame).dport == 2000 for frame in site.ovs.sent(port))


def test_who_had_failed_still_has_after_a_restart(site: Site) -> None:
    """M26 H12: a controller that is killed and starts again takes a failed instance for failed from the first,
    changes no entry, sends no frame into it, and lets it work when its probes have come back often enough."""
    with passing(site, "nat-a", "nat-b") as functions:
        until(site, "nat", "b", state="up")
        functions.frozen.add("nat-a")
        until(site, "nat", "a", state="down", reason="probe")
        until_spread(site, "nat-b")
        before, into_a, into_b = entries(site), of_vms(site, "nat-a-in"), of_vms(site, "nat-b-in")
        logged = len(site.controller.log())
        with arriving(site):
            site.controller.kill9()
            site.controller.start()
            wait_until(lambda: part(site), 20, "it is ready", until=lambda now: now["state"] == "ready")
            first = live(site, "nat", "a")
            until(site, "nat", "b", state="up")
            wait_until(lambda: live(site, "nat", "a")["lost"], 20, "more are lost", until=lambda lost: lost > 3)
        assert (first["state"], first["reason"]) == ("down", "probe")
        assert part(site)["changed_entries"] == 0
        assert entries(site) == before
        assert of_vms(site, "nat-a-in") == into_a
        assert of_vms(site, "nat-b-in") > into_b
        assert live(site, "nat", "a")["state"] == "down"
        assert "has failed" not in site.controller.log()[logged:]
        functions.frozen.clear()
        found = until(site, "nat", "a", state="up", reason=None)
        assert found["answered"] >= PROBE["rise"]
        until_spread(site, "nat-a", "nat-b")


def test_a_change_right_after_a_restart_keeps_who_had_failed(site: Site) -> None:
    """M26 H12: the first change of functions that a new controller is asked for sends nothing into what had failed."""
    with passing(site, "nat-b"):
        until(site, "nat", "a", state="down", reason="probe")
        until_spread(site, "nat-b")
        before = of_vms(site, "nat-a-in")
        with arriving(site):
            site.controller.kill9()
            site.controller.start()
            wait_until(
                lambda: site.ask("PUT", "chains/c", {"tenant": "red", "hops": ["fw", "nat"], "fail": "open"}).status,
                20, "it is accepted", until=lambda status: status == 200,
            )  # fmt: skip
            wait_until(lambda: part(site), 20, "it is ready", until=lambda now: now["state"] == "ready")
        assert live(site, "nat", "a")["state"] == "down"
        assert of_vms(site, "nat-a-in") == before
        until_spread(site, "nat-b")


def test_links_and_probes_that_had_failed_are_both_known(site: Site) -> None:
    """M26 H12: with one instance without a link and the other failed by its probes nobody gets frames, and a restart
    neither changes an entry nor takes one for working; the reason is told of each."""
    with passing(site, "nat-b"):
        until(site, "nat", "a", state="down", reason="probe")
        site.ovs.ofctl("mod-port", "h1f", "nat-b-out", "down")
        until(site, "nat", "b", state="down", reason="link")
        before, into = entries(site), [of_vms(site, port) for port in ("nat-a-in", "nat-b-in")]
        with arriving(site):
            site.controller.kill9()
            site.controller.start()
            wait_until(lambda: part(site), 20, "it is ready", until=lambda now: now["state"] == "ready")
            wait_until(lambda: live(site, "nat", "a")["lost"], 20, "more are lost", until=lambda lost: lost > 3)
        assert [live(site, "nat", name)["reason"] for name in "ab"] == ["probe", "link"]
        assert (part(site)["changed_entries"], entries(site)) == (0, before)
        assert [of_vms(site, port) for port in ("nat-a-in", "nat-b-in")] == into
