"""Meters that each connection has for itself, on a real Open vSwitch."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from mininet_scripts.support.waiting import wait_until
from ryu_apps.engine.meter_id import is_of_connection
from tests.ovs import packets
from tests.ovs.scenario import Lab, counters
from tests.ovs.stations import VM1, VM2, VM4, rule, udp
from tests.ovs.test_priority import RATE_KBPS, fill, limit, rates, uplink

_METER = re.compile(r"meter=(\d+) (kbps|pktps) burst[^\n]*\n\s*type=drop rate=(\d+) burst_size=(\d+)")
H1 = {"dpid": "1", "uplink": "h1-uplink"}


def own_meters(lab: Lab) -> dict[int, tuple[str, int, int]]:
    """Return unit, rate and burst of the meters that single connections have on h1, by number."""
    found = _METER.findall(lab.ovs.ofctl("dump-meters", "h1"))
    made = {int(number): (unit, int(rate), int(burst)) for number, unit, rate, burst in found}
    return {number: config for number, config in made.items() if is_of_connection(number)}


def named(lab: Lab) -> set[int]:
    """Return the numbers of such meters that entries of h1 lead to."""
    numbers = {int(entry.actions.partition("meter:")[2].split(",")[0]) for entry in lab.dump("h1", "meter")
               if "meter:" in entry.actions}  # fmt: skip
    return {number for number in numbers if is_of_connection(number)}


def shape(lab: Lab, **rate: Any) -> None:
    """Give every UDP or TCP connection of vm1 a rate of its own."""
    lab.layer("shape")
    meter = {"type": "meter", "per": "connection", **rate}
    lab.group("g", "outbound", rule("each", {"eth_type": "ipv4"}, meter), layer="shape", applies_to={"vport": "vm1"})


def begin(lab: Lab, *ports: int) -> None:
    """Begin UDP connections of vm1 to vm2 with these source ports."""
    for port in ports:
        count = len(lab.sent(VM2))
        lab.send(VM1, udp(VM1, VM2, port))
        lab.wait_sent(VM2, count + 1)


def arrived(lab: Lab) -> Counter[int]:
    """Return how many frames have come to vm2 from each source port."""
    return Counter(int.from_bytes(packets.read(frame).body[:2], "big") for frame in lab.sent(VM2))


def test_each_connection_of_a_rule_gets_its_rate(own_site: Any) -> None:
    """S13: of two connections that offer twice and four times the rate of one rule each gets the rate, within ±10 %.

    The clock of the switch stands still but for the steps, so that a busy machine changes nothing.
    """
    lab = Lab(own_site).tenant(VM1, VM2)
    shape(lab, pps=100, burst=50)
    begin(lab, 40000, 40001)
    lab.wait_cached(4, table="outbound")
    lab.ovs.appctl("time/stop")
    lab.send(VM1, *[udp(VM1, VM2, port) for port in (40000, 40001) for _ in range(75)])
    lab.silent()
    before = arrived(lab)
    for _ in range(40):
        lab.ovs.appctl("time/warp", "100", "100")
        lab.send(VM1, *[udp(VM1, VM2, port) for port in (40000, 40001, 40001) for _ in range(20)])
    lab.silent()
    passed = arrived(lab)
    passed.subtract(before)
    assert passed[40000] == pytest.approx(400, rel=0.1)
    assert passed[40001] == pytest.approx(400, rel=0.1)


def test_a_meter_comes_and_goes_with_its_connection(lab: Lab) -> None:
    """S13: each connection brings a meter and the entry that leads to it; both go when it ends, and its rule's stay."""
    lab.tenant(VM1, VM2)
    shape(lab, kbps=1000)
    begin(lab, 40000, 40001)
    assert list(own_meters(lab).values()) == [("kbps", 1000, 120)] * 2
    assert named(lab) == own_meters(lab).keys()
    shown = [flow["forward"][0]["treatment"] for flow in lab.get("flows")["items"]]
    assert {part["meter"] for parts in shown for part in parts} == own_meters(lab).keys()

    lab.warp(130)
    wait_until(lambda: own_meters(lab), 15, "the meters to go", until=lambda found: not found)
    assert named(lab) == set()
    assert "rate=1000" in lab.ovs.ofctl("dump-meters", "h1")


def test_connections_keep_their_meters_when_the_controller_is_killed(own_site: Any) -> None:
    """S13 M26: after kill -9 live connections have the meters that they had, and a meter of nobody's goes."""
    lab = Lab(own_site).tenant(VM1, VM2)
    shape(lab, kbps=1000)
    begin(lab, 40000, 40001)
    lab.wait_cached(4, table="outbound")
    kept, before = own_meters(lab), {host: counters(lab.dump(host)) for host in ("h1", "h2")}
    assert len(kept) == 2
    lab.controller.kill9()
    lab.ovs.ofctl("add-meter", "h1", f"meter={(1 << 30) + 5},kbps,burst,band=type=drop,rate=9,burst_size=9")
    lab.controller.start()
    lab.site.wait_ready()
    assert own_meters(lab) == kept
    assert {host: counters(lab.dump(host)) for host in ("h1", "h2")} == before
    begin(lab, 40002)
    assert len(own_meters(lab)) == 3
    lab.warp(130)
    wait_until(lambda: own_meters(lab), 15, "the meters to go", until=lambda found: not found)


def test_a_new_rate_is_that_of_live_connections(lab: Lab) -> None:
    """M15 S13: a changed rate alters the meters that connections have, and without the rule they have none."""
    lab.tenant(VM1, VM2)
    shape(lab, kbps=1000)
    begin(lab, 40000, 40001)
    numbers = own_meters(lab).keys()
    shape(lab, pps=70, burst=20)
    assert own_meters(lab) == dict.fromkeys(numbers, ("pktps", 70, 20))
    lab.delete("layers/shape/groups/g/rules/each")
    assert (own_meters(lab), named(lab)) == ({}, set())


def test_who_finds_no_meter_stays_with_the_host_until_there_is_one(lab: Lab) -> None:
    """M12 S13: with room for one connection's meter the next is forwarded by the host, and offloaded when that ends."""
    lab.tenant(VM1, VM2)
    for vm in (VM1, VM2):
        lab.put(f"vports/{vm.name}", {**vm.vport, "miss_rate_pps": None})
    shape(lab, pps=1000)
    lab.put("hosts/h1", {**H1, "limits": {"meters": 2}})
    try:
        begin(lab, 40000, 40001)
        for _ in range(2):
            begin(lab, 40001)
        assert len(own_meters(lab)) == 1
        flows = {flow["key"]["l4_src"]: flow for flow in lab.get("flows")["items"]}
        assert flows["40000"]["offload"]["effective"] == "nic"
        assert flows["40001"]["offload"] == {"effective": "host", "reason": "no-meter"}
        begun_with = lab.get("flows")["items"]
        (first,) = own_meters(lab)

        lab.warp(70)
        wait_until(lambda: own_meters(lab), 15, "the first meter to go", until=lambda found: first not in found)
        begin(lab, 40001)
        wait_until(lambda: own_meters(lab), 15, "a meter for the other", until=lambda found: len(found) == 1)
        begin(lab, 40001)
        (flow,) = lab.get("flows")["items"]
        assert flow["id"] in {each["id"] for each in begun_with}
        assert flow["offload"]["effective"] == "nic"
    finally:
        lab.put("hosts/h1", H1)


def test_a_nic_that_gets_fewer_meters_keeps_no_more(lab: Lab) -> None:
    """M12 S13: under a smaller limit connections lose meters and go on by the host, until the limit is gone."""
    lab.tenant(VM1, VM2)
    for vm in (VM1, VM2):
        lab.put(f"vports/{vm.name}", {**vm.vport, "miss_rate_pps": None})
    shape(lab, pps=1000)
    begin(lab, 40000, 40001, 40002)
    assert len(own_meters(lab)) == 3
    try:
        lab.put("hosts/h1", {**H1, "limits": {"meters": 2}})
        assert len(own_meters(lab)) == 1 == len(named(lab))
        assert len(lab.cached(table="outbound")) == 2  # The way there and the way back of one connection.
        begin(lab, 40000, 40001, 40002)
    finally:
        lab.put("hosts/h1", H1)
    assert len(own_meters(lab)) == 3


def test_a_mirror_behind_the_meter_copies_what_a_connection_may_send(lab: Lab) -> None:
    """M06 M07: also of a connection that a later layer denies, copies behind its meter are within its own rate."""
    lab.tenant(VM1, VM2, VM4)
    shape(lab, pps=1, burst=5)
    lab.layer("watch", 20)
    lab.group("w", "outbound", rule("all", {}, {"type": "mirror", "vport": "vm4"}), layer="watch",
              applies_to={"vport": "vm1"})  # fmt: skip
    lab.layer("end", 30, outbound="deny")
    for port in (40000, 40001):
        count = len(lab.sent(VM4))
        lab.send(VM1, udp(VM1, VM2, port))
        lab.wait_sent(VM4, count + 1)
    lab.send(VM1, *[udp(VM1, VM2, 40000 + number % 2) for number in range(60)])
    lab.settle()
    assert 8 <= len(lab.sent(VM4)) < 20
    assert lab.silent(VM2)


def test_priorities_are_kept_beside_meters_of_connections(lab: Lab) -> None:
    """S13: the meters that priorities share are read and set also where connections have meters of their own."""
    lab.tenant(VM1)
    lab.put("vports/vm2", {**VM2.vport, "priority": 5})
    shape(lab, pps=10_000)
    try:
        limit(lab)
        begin(lab, 40000)
        assert len(own_meters(lab)) == 1

        def squeezed() -> int:
            fill(lab, VM2)
            return rates(lab)[uplink(0)]

        wait_until(squeezed, 10, "room to be taken", until=lambda rate: rate < RATE_KBPS // 2)
        wait_until(lambda: rates(lab)[uplink(0)], 10, "all of the rate", until=lambda rate: rate == RATE_KBPS)
    finally:
        limit(lab, kbps=None)
