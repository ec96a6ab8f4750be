"""Probes through functions on real datapaths: who has failed by them, and that they stay between the two ports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.harness.switch import OpenVSwitch
from tests.ovs.test_chains import Site, instance, udp

PROBE: dict[str, Any] = {"interval_ms": 100, "timeout_ms": 1000, "fall": 2, "rise": 2}
PROBE_SRC, PROBE_DST = "02:56:46:53:00:01", "02:56:46:53:00:02"


class Passing:
    """Stands in the place of instances: carries frames from inside to outside, of those that are not frozen."""

    def __init__(self, site: Site, *instances: str) -> None:
        self._site = site
        self.working = set(instances)
        self.seen = dict.fromkeys(instances, 0)

    def carry(self) -> None:
        """Carry what has come since; what comes to a frozen instance is lost."""
        for name, seen in self.seen.items():
            frames = self._site.ovs.sent(f"{name}-in")
            self.seen[name] = len(frames)
            for frame in frames[seen:] if name in self.working else ():
                self._site.ovs.receive(f"{name}-out", frame)

    def until(self, function: str, name: str, **wanted: Any) -> dict[str, Any]:
        """Return what is known of an instance when it is as wanted; frames are carried meanwhile."""

        def known() -> dict[str, Any]:
            self.carry()
            return dict(self._site.client.get(f"/v1/functions/{function}")["live"]["instances"][name])

        return wait_until(
            known, 20, f"{function}/{name} to be {wanted}",
            until=lambda live: all(live[field] == value for field, value in wanted.items()),
        )  # fmt: skip

    def until_answered(self, function: str, name: str) -> dict[str, Any]:
        """Return what is known of an instance when three more probes have come back."""
        before = self._site.client.get(f"/v1/functions/{function}")["live"]["instances"][name]["answered"]

        def known() -> dict[str, Any]:
            self.carry()
            return dict(self._site.client.get(f"/v1/functions/{function}")["live"]["instances"][name])

        return wait_until(known, 20, "probes to come back", until=lambda live: live["answered"] >= before + 3)


@pytest.fixture
def site(ovs: OpenVSwitch, controller: Controller) -> Iterator[Site]:
    """Return three bridges with a chain."""
    yield Site(ovs, controller)


def probed(site: Site, function: str, *names: str, probe: dict[str, Any] | None = None, **more: Any) -> None:
    """Give a function these instances, and have them probed."""
    instances = {name: instance(f"{function}-{name}") for name in names}
    site.client.put(f"/v1/functions/{function}", {"instances": instances, "probe": probe or PROBE, **more})


def test_an_instance_that_answers_works(site: Site) -> None:
    """H12: probes go in at the inside, come back from the outside with their latency, and get nowhere else."""
    probed(site, "fw", "a")
    passing = Passing(site, "fw-a")
    live = passing.until_answered("fw", "a")
    assert (live["state"], live["reason"], live["lost"]) == ("up", None, 0)
    assert 0 < live["latency_us"] < 1_000_000
    frame = site.ovs.sent("fw-a-in")[0]
    read = packets.read(frame)
    assert (read.eth_src, read.eth_dst, read.src, read.dst, read.dport) == (
        PROBE_SRC, PROBE_DST, "192.0.2.1", "192.0.2.2", 33434,
    )  # fmt: skip
    assert read.wrong_checksums == ()
    silent = ("h1f-cable", "h1f-net", "nat-a-in", "nat-a-out", "fw-a-out")
    assert [site.ovs.sent(port) for port in silent] == [[]] * len(silent)


def test_another_instance_takes_over_from_a_frozen_one(site: Site) -> None:
    """H12: what stands still with its links up gets no more frames, and gets new connections when it goes on."""
    probed(site, "nat", "a", "b")
    passing = Passing(site, "nat-a", "nat-b")
    passing.until_answered("nat", "a")
    passing.working.discard("nat-a")
    live = passing.until("nat", "a", state="down")
    assert live["reason"] == "probe"
    assert live["lost"] >= PROBE["fall"]
    assert {given(site, udp(1, 2, 1000 + number)) for number in range(8)} == {"nat-b"}
    assert "instance a of function nat has failed (probe)" in site.controller.log()
    (hop,) = site.client.get("/v1/chains/c")["live"]["hosts"]["h1"]["hops"][1:]
    assert hop == {"function": "nat", "state": "works", "working": ["b"]}
    passing.working.add("nat-a")
    passing.until("nat", "a", state="up", reason=None)
    assert {given(site, udp(1, 2, 2000 + number)) for number in range(32)} == {"nat-a", "nat-b"}


def given(site: Site, frame: bytes) -> str:
    """Return into which instance of the second hop a frame of vm1 goes that has passed the first."""
    sent = {name: site.ovs.sent(f"{name}-in").count(frame) for name in ("nat-a", "nat-b")}
    site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in")
    site.ovs.receive("fw-a-out", frame)

    def into() -> list[str]:
        return [name for name, count in sent.items() if site.ovs.sent(f"{name}-in").count(frame) > count]

    return wait_until(into, 5, "it is given to one")[0]
