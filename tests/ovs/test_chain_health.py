"""Probes through functions on real datapaths: who has failed by them, and that they stay between the two ports."""

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
from tests.ovs.chain_site import FAR, MACS, OWN, Site, instance, pass_chain, refused, udp
from tests.ovs.harness.switch import OpenVSwitch

# Patient, because a test stands in the place of the functions and must keep up on a busy machine.
PROBE: dict[str, Any] = {"interval_ms": 150, "timeout_ms": 1500, "fall": 2, "rise": 2}
PROBE_MACS = {"eth_src": "02:56:46:53:00:01", "eth_dst": "02:56:46:53:00:02"}
FIND_S = 30.0


@pytest.fixture
def site(ovs: OpenVSwitch, controller: Controller) -> Iterator[Site]:
    """Return three bridges with a chain."""
    yield Site(ovs, controller)


def live(site: Site, function: str, name: str) -> dict[str, Any]:
    """Return what is known of an instance."""
    return dict(site.client.get(f"/v1/functions/{function}")["live"]["instances"][name])


def until(site: Site, function: str, name: str, **wanted: Any) -> dict[str, Any]:
    """Return what is known of an instance when it is as wanted."""
    return wait_until(
        lambda: live(site, function, name), FIND_S, f"{function}/{name} to be {wanted}",
        until=lambda now: all(now[field] == value for field, value in wanted.items()),
    )  # fmt: skip


def until_counted(site: Site, function: str, name: str, count: str, more: int = 3) -> dict[str, Any]:
    """Return what is known of an instance when so many more of its probes have been answered or lost."""
    before = live(site, function, name)[count]
    return wait_until(
        lambda: live(site, function, name), FIND_S, f"probes of {function}/{name} to be {count}",
        until=lambda now: now[count] >= before + more,
    )  # fmt: skip


def as_it_is(frame: bytes) -> bytes:
    """Return a frame as a transparent function leaves it."""
    return frame


class Passing:
    """Carries probes from inside to outside of instances, in the place of the functions; the frozen are left out."""

    def __init__(self, site: Site, *instances: str) -> None:
        self._site = site
        self._seen = dict.fromkeys(instances, 0)
        self._over = threading.Event()
        self.frozen: set[str] = set()
        self.work = as_it_is
        self.carried: list[bytes] = []

    def run(self) -> None:
        """Carry until the end."""
        while not self._over.wait(0.01):
            for name, seen in self._seen.items():
                frames = self._site.ovs.sent(f"{name}-in")
                self._seen[name] = len(frames)
                for frame in frames[seen:] if name not in self.frozen else ():
                    if packets.read(frame).dport == 33434:
                        self._site.ovs.receive(f"{name}-out", self.work(frame))
                        self.carried.append(frame)

    def end(self) -> None:
        """Carry no more."""
        self._over.set()


@contextmanager
def passing(site: Site, *instances: str) -> Iterator[Passing]:
    """Yield functions that pass probes while the block runs."""
    made = Passing(site, *instances)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield made
    finally:
        made.end()
        thread.join()


def probed(site: Site, function: str, *names: str, **more: Any) -> None:
    """Give a function these instances, and have them probed."""
    instances = {name: instance(f"{function}-{name}") for name in names}
    site.client.put(f"/v1/functions/{function}", {"instances": instances, "probe": PROBE, **more})


def given(site: Site, *frames: bytes) -> list[str]:
    """Return into which instance of the second hop each frame of vm1 goes that has passed the first."""
    found = []
    for frame in frames:
        before = {name: site.ovs.sent(f"{name}-in").count(frame) for name in ("nat-a", "nat-b")}
        site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in")
        site.ovs.receive("fw-a-out", frame)
        (name,) = wait_until(lambda before=before, frame=frame: [  # type: ignore[misc]
            name for name, count in before.items() if site.ovs.sent(f"{name}-in").count(frame) > count
        ], 5, "it is given to one")  # fmt: skip
        found.append(name)
    return found


def until_spread(site: Site, *instances: str) -> None:
    """Return when 16 new connections go by these instances and no others: the switch follows what is known of them."""
    sport = count(1000)
    wait_until(
        lambda: set(given(site, *[udp(1, 2, next(sport)) for _ in range(16)])), 10, f"they go by {instances}",
        until=lambda found: found == set(instances),
    )  # fmt: skip


def test_an_instance_that_answers_works(site: Site) -> None:
    """H12: probes go in at the inside, come back from the outside with their latency, and get nowhere else."""
    probed(site, "fw", "a")
    with passing(site, "fw-a"):
        now = until_counted(site, "fw", "a", "answered")
    assert (now["state"], now["reason"]) == ("up", None)
    assert 0 < now["latency_us"] < 1_500_000
    read = packets.read(site.ovs.sent("fw-a-in")[0])
    assert (read.eth_src, read.eth_dst, read.src, read.dst) == (*PROBE_MACS.values(), "192.0.2.1", "192.0.2.2")
    assert (read.vlan, read.dport, read.wrong_checksums) == (None, 33434, ())
    silent = ("h1f-cable", "h1f-net", "nat-a-in", "nat-a-out", "fw-a-out")
    assert [site.ovs.sent(port) for port in silent] == [[]] * len(silent)
    metrics = str(site.controller.rest("GET", "/metrics").body)
    assert 'vfswitch_function_instance_up{function="fw",instance="a"} 1.0' in metrics
    assert 'vfswitch_function_probe_latency_seconds_count{function="fw"}' in metrics


def test_another_instance_takes_over_from_a_frozen_one(site: Site) -> None:
    """H12: what stands still with its links up gets no more frames, and gets new connections when it goes on."""
    probed(site, "nat", "a", "b")
    with passing(site, "nat-a", "nat-b") as functions:
        until_counted(site, "nat", "a", "answered")
        functions.frozen.add("nat-a")
        now = until(site, "nat", "a", state="down")
        assert (now["reason"], now["lost"] >= PROBE["fall"]) == ("probe", True)
        until_spread(site, "nat-b")
        functions.frozen.clear()
        until(site, "nat", "a", state="up", reason=None)
        until_spread(site, "nat-a", "nat-b")
    said = [line for line in site.controller.log().splitlines() if "instance a of function nat" in line]
    assert ["has failed (probe)" in said[0], "works again" in said[1]] == [True, True]


@pytest.mark.parametrize(("fail", "state"), [("closed", "drops"), ("open", "bypassed")])
def test_a_chain_tells_what_becomes_of_frames(site: Site, fail: str, state: str) -> None:
    """H12: for each host and hop a chain tells whether it works, is passed by or drops; the first hop goes on."""
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "nat"], "fail": fail})

    def hops() -> Any:
        return site.client.get("/v1/chains/c")["live"]["hosts"]["h1"]["hops"]

    works = {"function": "fw", "state": "works", "working": ["a"]}
    assert hops() == [works, {"function": "nat", "state": "works", "working": ["a"]}]
    probed(site, "nat", "a")
    until(site, "nat", "a", state="down", reason="probe")
    assert hops() == [works, {"function": "nat", "state": state, "working": []}]


def feigned(site: Site) -> int:
    """Return how many frames were dropped that looked like a probe."""
    return refused(site, "probe")


def test_nobody_can_answer_for_a_function(site: Site) -> None:
    """H12: frames that look like probes end before the function, and one that the function makes up is no answer."""
    probed(site, "nat", "a")
    frame = site.ovs.wait_sent("nat-a-in", 1)[0]
    # A frame of a VM cannot have this source; were it let past the guard, it would end here.
    site.ovs.receive("fw-a-out", frame)
    # The same as the real one, a second time, and one with another token.
    site.ovs.receive("nat-a-out", frame)
    until(site, "nat", "a", answered=1)
    before = live(site, "nat", "a")["answered"]
    for copy in (frame, frame[:-16] + bytes(16)):
        site.ovs.receive("nat-a-out", copy)
    until_counted(site, "nat", "a", "lost")
    assert live(site, "nat", "a")["answered"] == before
    assert frame not in site.ovs.sent("nat-a-in")[1:]
    wait_until(lambda: feigned(site), 5, "it is counted", until=lambda count: count == 1)


def test_a_probe_that_comes_out_elsewhere_goes_nowhere(site: Site) -> None:
    """H08 H12: a probe that a function sends back, or with a tag, is dropped and counted, and reaches no VM."""
    packet = {"eth_src": PROBE_MACS["eth_src"], "eth_dst": MACS[2]}
    probed(site, "fw", "a", probe={**PROBE, "packet": packet})
    frame = site.ovs.wait_sent("fw-a-in", 1)[0]
    site.ovs.receive("fw-a-in", frame)
    site.ovs.receive("fw-a-out", packets.tagged(frame, 7))
    wait_until(lambda: feigned(site), 5, "both are counted", until=lambda count: count == 2)
    silent = ("h1f-cable", "h1f-net", "nat-a-in", "fw-a-out")
    assert [site.ovs.sent(port) for port in silent] == [[]] * len(silent)


def test_a_function_that_routes_may_change_what_it_sends_on(site: Site) -> None:
    """H11 H12: a probe behind a function that rewrites is known by its destination; MACs and source may differ."""
    probed(site, "nat", "a", rewriting=True)

    def routed(frame: bytes) -> bytes:
        ends = "198.51.100.7", "192.0.2.2"
        datagram = packets.transport(*ends, packets.UDP, packets.udp(40_000, 33434, frame[-16:]))
        return packets.ether("02:00:00:00:0f:01", FAR, packets.IPV4, packets.packet(*ends, packets.UDP, datagram))

    with passing(site, "nat-a") as functions:
        functions.work = routed
        assert until_counted(site, "nat", "a", "answered")["state"] == "up"
    assert site.ovs.sent("h1f-net") == []


def test_datagrams_that_look_like_a_probe_end_before_the_function(site: Site) -> None:
    """H12: behind a function that rewrites, what goes where its probes go is dropped and counted, and nothing else."""
    probed(site, "nat", "a", rewriting=True)
    for dport in (33434, 33435):
        ends = "10.0.0.1", "192.0.2.2"
        datagram = packets.transport(*ends, packets.UDP, packets.udp(1000, dport))
        frame = packets.ether(MACS[1], FAR, packets.IPV4, packets.packet(*ends, packets.UDP, datagram))
        site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in")
        site.ovs.receive("fw-a-out", frame)
    wait_until(lambda: frame in site.ovs.sent("nat-a-in"), 5, "the other port's datagram")
    wait_until(lambda: feigned(site), 5, "it is counted", until=lambda count: count == 1)
    sent = [packets.read(frame) for frame in site.ovs.sent("nat-a-in")]
    assert [(each.eth_src, each.dport) for each in sent if each.eth_src == MACS[1]] == [(MACS[1], 33435)]


def test_a_failed_instance_hears_what_is_for_itself(site: Site) -> None:
    """H12: what is sent to a MAC of an instance reaches it also while it has failed, so that it may work again."""
    own = {"a": instance("nat-a", macs=[OWN], probe_packet={"ipv4_dst": "192.0.2.9"})}
    site.client.put("/v1/functions/nat", {"rewriting": True, "instances": own, "probe": PROBE})
    until(site, "nat", "a", state="down", reason="probe")
    assert {packets.read(frame).dst for frame in site.ovs.sent("nat-a-in")} == {"192.0.2.9"}
    answer = packets.arp(2, MACS[2], "10.0.0.2", "10.0.0.9", tha=OWN)
    wait_until(lambda: arrives(site, answer), 5, "it arrives")
    site.ovs.receive("fw-a-out", udp(1, 2))
    wait_until(lambda: refused(site, "no-function"), 5, "others are dropped")


def arrives(site: Site, frame: bytes) -> bool:
    """Return whether a frame that vm2 sends comes out at the outside of the last hop."""
    site.ovs.receive("h1f-cable", packets.tagged(frame, 102))
    return frame in site.ovs.sent("nat-a-out")


def test_a_shared_function_is_probed_by_the_tag_of_a_chain(site: Site) -> None:
    """H11 H12: probes of a function that keeps chains apart have the VLAN of the first of its chains."""
    shared = {"keeps_apart": True, "instances": {"b": instance("nat-b")}, "probe": PROBE}
    site.client.put("/v1/functions/shared", shared)
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["shared"], "vlan": 301})
    with passing(site, "nat-b") as functions:
        until_counted(site, "shared", "b", "answered")
        assert packets.read(functions.carried[-1]).vlan == 301


def test_a_restart_does_not_disturb_instances_that_work(site: Site) -> None:
    """M26 H12: after a restart the same entries are there, probes go on, and no instance was taken for failed."""
    probed(site, "nat", "a", "b")
    with passing(site, "nat-a", "nat-b"):
        until_counted(site, "nat", "a", "answered")
        pass_chain_by(site, udp(1, 2))
        before = len(site.ovs.dump_flows("h1f"))
        logged = len(site.controller.log())
        site.controller.restart()

        def agreed() -> Any:
            return site.client.get("/v1/hosts/h1")["live"]["hairpin"]["function_port"]

        found = wait_until(agreed, 10, "it is ready", until=lambda state: state["state"] == "ready")
        assert found["changed_entries"] == 0
        until_counted(site, "nat", "a", "answered", more=2 * PROBE["fall"] + 10)
        assert "has failed" not in site.controller.log()[logged:]
        assert len(site.ovs.dump_flows("h1f")) == before


def pass_chain_by(site: Site, frame: bytes) -> str:
    """Return the instance of the second hop by which a frame of vm1 has passed the chain."""
    (name,) = given(site, frame)
    site.through(f"{name}-out", frame, "h1f-cable")
    return name


def test_probes_are_metered_and_leave_nothing(site: Site) -> None:
    """M19 H12: each instance's probes have a meter of their own; without a probe links alone tell, and all is gone."""
    before = {(entry.table, entry.match) for entry in site.ovs.dump_flows("h1f")}
    probed(site, "fw", "a")
    assert "type=drop rate=13" in site.ovs.ofctl("dump-meters", "h1f")
    until(site, "fw", "a", state="down", reason="probe")
    site.client.put("/v1/functions/fw", {"instances": {"a": instance("fw-a")}})
    assert live(site, "fw", "a")["state"] == "up"
    assert {(entry.table, entry.match) for entry in site.ovs.dump_flows("h1f")} == before
    assert "type=drop" not in site.ovs.ofctl("dump-meters", "h1f")
    sent = len(site.ovs.sent("fw-a-in"))
    frame = udp(1, 2)
    site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in")
    assert site.ovs.sent("fw-a-in")[sent:] == [frame]


def test_an_instance_in_use_is_not_taken_away(site: Site) -> None:
    """H12: drained, it stays until its connections have ended, or the client forces it; the fault says how many."""
    both = {"a": instance("nat-a"), "b": instance("nat-b")}
    for number in range(3):
        pass_chain(site, udp(1, 2, 1000 + number))
    site.client.put("/v1/functions/nat", {"instances": both})
    assert taken_away(site, "a", "nat", both) == (409, "instances.a", "it gets new connections: drain it first")
    drained = {name: instance(f"nat-{name}", weight=0) for name in both}
    site.client.put("/v1/functions/nat", {"instances": drained})
    found = wait_until(lambda: live(site, "nat", "a")["connections"], 5, "its connections")
    assert (found, live(site, "nat", "b")["connections"]) == (3, 0)
    assert taken_away(site, "b", "nat", drained)[0] == 200
    in_use = (409, "instances.a", "3 connections go through it: wait until they have ended")
    assert taken_away(site, "a", "nat", {**both, "a": drained["a"]}) == in_use
    assert taken_away(site, "a", "nat?force=true", both)[0] == 200
    assert set(given(site, *[udp(1, 2, 1000 + number) for number in range(3)])) == {"nat-b"}


def taken_away(site: Site, name: str, function: str, instances: dict[str, Any]) -> tuple[int, str, str]:
    """Return status, path and the begin of the message of an answer to a PUT without one instance."""
    answer = site.ask("PUT", f"functions/{function}", {"instances": {n: i for n, i in instances.items() if n != name}})
    (fault,) = answer.body.get("errors", [{"path": "", "message": ""}])
    return answer.status, fault["path"], fault["message"].partition(",")[0]


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "unknown field": ({"every": 3}, 422, "probe.every"),
    "too often": ({"interval_ms": 1}, 422, "probe.interval_ms"),
    "waits too long": ({"interval_ms": 20, "timeout_ms": 201}, 422, "probe.timeout_ms"),
    "never falls": ({"fall": 0}, 422, "probe.fall"),
    "to all": ({"packet": {"eth_dst": "ff:ff:ff:ff:ff:ff"}}, 422, "probe.packet.eth_dst"),
    "to itself": ({"packet": {"eth_dst": PROBE_MACS["eth_src"]}}, 422, "probe.packet.eth_dst"),
    "IPv6": ({"packet": {"ipv4_dst": "fd00::1"}}, 422, "probe.packet.ipv4_dst"),
    "no port": ({"packet": {"udp_dst": 0}}, 422, "probe.packet.udp_dst"),
    "a VM's MAC": ({"packet": {"eth_src": MACS[1]}}, 409, "probe.packet.eth_src"),
}  # fmt: skip


def test_refused_with_the_field_that_is_at_fault(site: Site) -> None:
    """H12: a probe that cannot be is refused, with its field named, and nothing is sent."""
    for case, (probe, status, field) in REFUSED.items():
        answer = site.ask("PUT", "functions/fw", {"instances": {"a": instance("fw-a")}, "probe": probe})
        found = [fault["path"] for fault in answer.body["errors"]]
        assert (case, answer.status, found) == (case, status, [field])
    assert site.ovs.sent("fw-a-in") == []
    probed(site, "fw", "a")
    body = {"host": "h1", "port": "h1-vf1", "tenant": "red", "mac": PROBE_MACS["eth_src"], "vlan": 101}
    answer = site.ask("PUT", "vports/vm1", body)
    assert (answer.status, answer.body["errors"][0]["path"]) == (409, "mac")
