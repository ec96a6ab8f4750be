"""Misses of one VF leave the way to the controller free for those of another, on a real switch."""

from __future__ import annotations

import itertools
import time
from typing import Any

from mininet_scripts.support.waiting import wait_until
from ryu_apps.pipeline.cached import UNANSWERED_UDP_IDLE_TIMEOUT_S
from ryu_apps.pipeline.cookie import Punt
from ryu_apps.pipeline.meters import LEAST_BURST_PKTS
from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, EXT2, MISS_RATE_PPS, VM1, VM2, VM4, Station, tcp, udp
from tests.ovs.test_nic_limits import _unlimited, limit  # noqa: F401  (the fixture gives NICs no limits again)
from tests.ovs.test_statistics import scrape, value

FLOOD = 400
SLOW_PPS, FAST_PPS = 1, 16
ANSWERED = 999
LOOK_EVERY_S = 0.5


def register(lab: Lab, vm: Station, **changes: Any) -> None:
    """Register the VF of a VM, or put it again, with some fields changed."""
    lab.put(f"vports/{vm.name}", {**vm.vport, **changes})


def flood(source: Station, target: Station) -> list[bytes]:
    """Return first packets of many connections."""
    return [udp(source, target, 2000 + n, 80) for n in range(FLOOD)]


def asked(lab: Lab, vm: Station) -> tuple[int, int]:
    """Return how many packets of a VF the controller was asked about, and how many a meter kept from it."""
    lab.settle()
    vport = lab.get("stats")["vports"][vm.name]
    return vport["misses"], vport["refused"].get("miss-limit", 0)


def most(started_s: float) -> int:
    """Return how many misses a full meter has let pass since then, at most; the switch counts whole milliseconds."""
    return LEAST_BURST_PKTS + int((time.monotonic() - started_s) * SLOW_PPS) + 1


def test_a_flood_of_misses_is_dropped_in_the_switch_and_counted(lab: Lab) -> None:
    """M21, M28: of a VF's flood what its meter allows asks, the rest is its refusal; others lose nothing."""
    lab.tenant(VM1, VM2, VM4)
    register(lab, VM1, miss_rate_pps=SLOW_PPS)
    started_s = time.monotonic()
    for n in range(0, FLOOD, 100):
        lab.send(VM1, *flood(VM1, EXT)[n : n + 100])
        lab.send(VM2, udp(VM2, VM4, 3000 + n, 80))

    misses, dropped = asked(lab, VM1)

    assert misses + dropped == FLOOD
    assert LEAST_BURST_PKTS <= misses <= most(started_s)
    assert len(lab.sent("h1-uplink")) == misses
    assert (len(lab.sent(VM4)), asked(lab, VM2)) == (4, (4, 0))
    series = scrape(lab)
    assert value(series, "refusals_total", host="h1", vport="vm1", reason="miss-limit") == dropped
    assert value(series, "refusals_total", host="h1", vport="vm2", reason="miss-limit") == 0


def test_a_flood_at_one_target_leaves_another_reachable(lab: Lab) -> None:
    """S07: first packets from outside to a flooded VF are dropped above its rate; those to another all arrive.

    What the flooded VM sends itself is not concerned.
    """
    lab.tenant(VM1, VM2)
    register(lab, VM1, miss_rate_pps=SLOW_PPS)
    started_s = time.monotonic()
    for n in range(0, FLOOD, 100):
        lab.from_network(*flood(EXT, VM1)[n : n + 100])
        lab.from_network(udp(EXT2, VM2, 3000 + n, 80))

    misses, dropped = asked(lab, VM1)
    assert misses + dropped == FLOOD and misses <= most(started_s)
    assert (len(lab.sent(VM2)), asked(lab, VM2)) == (4, (4, 0))

    lab.send(VM1, udp(VM1, EXT, 5000, 53))
    assert len(lab.wait_sent("h1-uplink")) == 1


def test_connections_of_a_flooding_vm_go_on(lab: Lab) -> None:
    """M01, M21: what has an entry in the switch passes no meter of misses."""
    lab.tenant(VM1, VM2)
    register(lab, VM1, miss_rate_pps=SLOW_PPS)
    lab.send(VM1, udp(VM1, VM2, 9, 9))
    lab.wait_cached(4)
    lab.send(VM1, *flood(VM1, EXT))
    lab.settle()
    before = len(lab.sent(VM2))
    lab.send(VM1, *(udp(VM1, VM2, 9, 9) for _ in range(50)))
    assert len(lab.wait_sent(VM2, before + 50)) == before + 50


def test_a_broadcast_that_one_member_may_not_ask_about_reaches_the_others(lab: Lab) -> None:
    """S07: the meter of a flooded VF drops its own copy of a broadcast and nobody else's."""
    lab.tenant(VM1, VM2)
    register(lab, VM1, miss_rate_pps=SLOW_PPS)
    lab.from_network(*flood(EXT, VM1))
    lab.settle()
    before = len(lab.sent(VM1)), len(lab.sent(VM2)), asked(lab, VM1)[1]
    broadcasts = [packets.dhcp(EXT.mac, 68, 67) for _ in range(10)]
    lab.from_network(*broadcasts)
    lab.settle()
    assert len(lab.sent(VM2)) - before[1] == 10
    assert 10 - (len(lab.sent(VM1)) - before[0]) == asked(lab, VM1)[1] - before[2] > 0


def test_who_asks_far_too_much_may_ask_less_until_it_stops(lab: Lab) -> None:
    """S07, M21: a flooding VF's meter is slowed down for as long as the flood lasts.

    Its connections go on meanwhile, others lose nothing, and what is dropped is counted.
    """
    lab.tenant(VM1, VM2)
    register(lab, VM1, miss_rate_pps=FAST_PPS)
    lab.send(VM1, udp(VM1, VM2, 9, 9))
    lab.wait_cached(4)
    flooded = itertools.count(step=FLOOD)

    def slowed() -> bool:
        first = next(flooded)
        lab.send(VM1, *(udp(VM1, EXT, 2000 + n % 60_000, 80) for n in range(first, first + FLOOD)))
        return rates(lab)[0] < FAST_PPS

    wait_until(slowed, 20, "the meter of the flood to be slowed down")
    assert rates(lab)[1:] == [FAST_PPS, MISS_RATE_PPS, MISS_RATE_PPS]
    lab.settle()
    before = len(lab.sent(VM2))
    lab.send(VM1, *(udp(VM1, VM2, 9, 9) for _ in range(50)))
    lab.send(VM2, *(udp(VM2, VM1, 3000 + n, 80) for n in range(10)))
    assert len(lab.wait_sent(VM2, before + 50)) == before + 50
    assert asked(lab, VM2) == (10, 0)

    wait_until(lambda: rates(lab) == [FAST_PPS] * 2 + [MISS_RATE_PPS] * 2, 20, "the meter to have its rate again")
    misses, dropped = asked(lab, VM1)
    sent = next(flooded) + 2
    # What the switch drops between the reading of a meter and its change goes uncounted.
    assert sent - FLOOD <= misses + dropped <= sent


def rates(lab: Lab) -> list[int]:
    """Return the packets a second of the meters of host h1."""
    text = lab.ovs.ofctl("dump-meters", "h1")
    return sorted(int(word.partition("=")[2]) for word in text.split() if word.startswith("rate="))


def test_a_rate_changes_at_once_and_null_is_none(lab: Lab) -> None:
    """S07: a changed rate changes both meters of the VF, without one there are none, and an absurd one is refused."""
    lab.tenant(VM1)
    register(lab, VM1, miss_rate_pps=700)
    assert rates(lab) == [700, 700]
    register(lab, VM1, miss_rate_pps=900)
    assert rates(lab) == [900, 900]
    register(lab, VM1, miss_rate_pps=None)
    assert rates(lab) == []
    for wrong in (0, -1, 1.5, "fast", 1_000_001):
        answer = lab.rest("PUT", "vports/vm1", {**VM1.vport, "miss_rate_pps": wrong})
        assert (answer.status, answer.body["errors"][0]["path"]) == (422, "miss_rate_pps")
    lab.send(VM1, *flood(VM1, EXT))
    assert asked(lab, VM1) == (FLOOD, 0)


def test_misses_take_the_meters_that_bandwidths_and_rules_leave(lab: Lab) -> None:
    """S07: in a NIC with few meters some VFs ask without one, and none is asked of a NIC that has none."""
    lab.tenant(VM1, VM2)
    register(lab, VM1, miss_rate_pps=700, bandwidth={"outbound_kbps": 90_000})
    register(lab, VM2, miss_rate_pps=800)
    for meters, expected in ((3, [700, 700, 90_000]), (4, [700, 700, 800, 90_000]), (1, [90_000]), (2, [700, 90_000])):
        limit(lab, meters=meters)
        assert rates(lab) == expected
    register(lab, VM1, miss_rate_pps=700)
    limit(lab, meters=0)
    assert rates(lab) == []
    lab.send(VM1, *flood(VM1, EXT))
    assert asked(lab, VM1) == (FLOOD, 0)


def test_meters_of_misses_outlive_the_controller(lab: Lab) -> None:
    """M26: a restarted controller finds the entries that ask, and their meters, as they must be."""
    lab.tenant(VM1)
    asks = [entry.actions for entry in lab.dump("h1", "missed") if f"0x{VM1.vlan:x}" in entry.match]
    assert len(asks) == 2 * len(Punt) and all(actions.startswith("controller(meter_id=") for actions in asks)
    lab.controller.restart()
    lab.site.wait_ready()
    live = lab.get("hosts/h1")["live"]
    assert (live["changed_entries"], live["state"]) == (0, "ready")


def test_what_comes_of_a_flood_goes_soon(lab: Lab) -> None:
    """S07, M21: while a VF floods, what it has begun leaves the switch within seconds where nobody answers.

    What was answered stays, of TCP and of UDP, begun shortly before the flood was found out; so does what others begin.
    """
    lab.tenant(VM1, VM2)
    register(lab, VM1, miss_rate_pps=FAST_PPS)
    flooded = itertools.count(step=FLOOD)

    def slowed() -> bool:
        first = next(flooded)
        lab.send(VM1, *(udp(VM1, EXT, 2000 + n % 60_000, 80) for n in range(first, first + FLOOD)))
        return rates(lab)[0] < FAST_PPS

    def left() -> int:
        slowed()
        time.sleep(LOOK_EVERY_S)
        lab.warp(LOOK_EVERY_S)
        return len(lab.cached(table="outbound"))

    lab.send(VM1, udp(VM1, VM2, ANSWERED, 80), tcp(VM1, VM2, ANSWERED, 80))
    lab.wait_sent(VM2, 2)
    lab.send(VM2, udp(VM2, VM1, 80, ANSWERED), tcp(VM2, VM1, 80, ANSWERED, flags=packets.SYN_ACK))
    lab.send(VM2, udp(VM2, EXT, ANSWERED, 80))
    lab.wait_sent(VM1, 2)
    wait_until(slowed, 20, "the meter of the flood to be slowed down")
    begun = len(lab.cached(table="outbound"))
    assert begun > LEAST_BURST_PKTS

    # Their usual time is not over by then, though the switch's clock runs twice as fast.
    soon_s = UNANSWERED_UDP_IDLE_TIMEOUT_S * 0.4
    wait_until(left, soon_s, "the flood's connections to go", until=lambda left: left < begun // 4)

    of_others = [entry for entry in lab.cached() if str(ANSWERED) in (entry.matches["tp_src"], entry.matches["tp_dst"])]
    assert sorted("tcp" in entry.matches for entry in of_others) == [False] * 6 + [True] * 4
