"""Priorities on a real Open vSwitch: which meter packets pass, what tags say, and how rates follow what is used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from mininet_scripts.support.waiting import wait_until
from ryu_apps.engine.meter_id import meter_id
from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.site import Site
from tests.ovs.stations import EXT, VM1, VM2, VM3, VM4, Station, rule, udp

RATE_KBPS = 1000
_COUNT = re.compile(r"meter:(\d+) flow_count:\d+ packet_in_count:(\d+)")
_RATE = re.compile(r"meter=(\d+) kbps burst[^\n]*\n\s*type=drop rate=(\d+)")
_FILLED = b"x" * 1300
_MISSES = {meter_id(vm.name, way, "misses") for vm in (VM1, VM2, VM3, VM4) for way in ("outbound", "inbound")}


def limit(lab: Lab, host: str = "h1", kbps: int | None = RATE_KBPS) -> None:
    """Put the rate of a host's uplink."""
    lab.put(f"hosts/{host}", {"dpid": host[1:], "uplink": f"{host}-uplink", "limits": {"uplink_kbps": kbps}})


@pytest.fixture(autouse=True)
def _unlimited(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give the shared NICs no limits again."""
    lab = request.getfixturevalue("lab") if "lab" in request.fixturenames else None
    yield
    if lab is not None:
        limit(lab, kbps=None)


def uplink(priority: int) -> int:
    """Return the meter of a priority at the uplink."""
    return meter_id("", "uplink", str(priority))


def toward(vm: Station, priority: int) -> int:
    """Return the meter of a priority in a VM's inbound bandwidth."""
    return meter_id(vm.name, "inbound", str(priority))


def asked(lab: Lab, host: str = "h1") -> dict[int, int]:
    """Return how many packets each meter of a host has seen, those without any and those of misses left out."""
    found = _COUNT.findall(lab.ovs.ofctl("meter-stats", host))
    return {int(number): int(count) for number, count in found if int(count) and int(number) not in _MISSES}


def rates(lab: Lab, host: str = "h1") -> dict[int, int]:
    """Return the rates of a host's meters."""
    return {int(number): int(rate) for number, rate in _RATE.findall(lab.ovs.ofctl("dump-meters", host))}


def pcp(frame: bytes) -> int:
    """Return the priority in a frame's tag."""
    assert frame[12:14] == b"\x81\x00"
    return frame[14] >> 5


def prioritise(lab: Lab, priority: int, dport: int, direction: str = "outbound") -> None:
    """Put a rule that gives UDP packets to a port a priority."""
    lab.layer("classes")
    action = {"type": "priority", "priority": priority}
    match = {"ip_proto": "udp", "l4_dst": dport}
    lab.group("g", direction, rule("r", match, action), layer="classes")


def test_packets_pass_the_meter_of_their_priority(lab: Lab) -> None:
    """S13: at the uplink the vport's priority decides, and a rule's before it; the tag carries it on the wire."""
    limit(lab)
    lab.tenant(VM1)
    lab.put("vports/vm2", {**VM2.vport, "priority": 5})
    prioritise(lab, 7, dport=7)
    for source, dport, count in ((VM1, 1, 1), (VM2, 2, 2), (VM2, 7, 3), (VM1, 7, 1)):
        for number in range(count):
            there = len(lab.sent("h1-uplink"))
            lab.send(source, udp(source, EXT, 4000 + dport, dport, b"%d" % number))
            frame = lab.wait_sent("h1-uplink", there + 1)[-1]
            assert pcp(frame) == (7 if dport == 7 else 5 if source is VM2 else 0)
    assert asked(lab) == {uplink(0): 1, uplink(5): 2, uplink(7): 4}
    assert set(rates(lab)) == {uplink(0), uplink(5), uplink(7)}
    prioritise(lab, 0, dport=7)
    lab.send(VM2, udp(VM2, EXT, 4007, 7))
    lab.wait_sent("h1-uplink", 8)
    assert asked(lab)[uplink(0)] == 2


def test_the_priority_goes_with_the_packet_to_another_host(lab: Lab) -> None:
    """S13: the receiver's bandwidth is shared by the priorities that came in the tag; one unknown counts as a lower."""
    lab.tenant(VM1, VM2)
    lab.put("vports/vm1", {**VM1.vport, "priority": 5})
    lab.put("vports/vm3", {**VM3.vport, "bandwidth": {"inbound_kbps": RATE_KBPS}})
    for source in (VM1, VM2):
        for number in (1, 2):
            lab.send(source, udp(source, VM3, data=b"%d" % number))
            lab.wait_sent("h1-uplink")
            (frame,) = lab.carry("h1", "h2")
            assert pcp(frame) == (5 if source is VM1 else 0)
    assert len(lab.wait_sent(VM3, 4)) == 4
    before = asked(lab, "h2")
    assert before == {toward(VM3, 5): 2, toward(VM3, 0): 2}
    high = bytearray(frame)
    high[14] |= 6 << 5
    lab.send("h2-uplink", bytes(high))
    assert packets.read(lab.wait_sent(VM3, 5)[-1]).vlan is None
    assert asked(lab, "h2") == {**before, toward(VM3, 5): 3}


def test_inbound_rules_give_a_priority_too(lab: Lab) -> None:
    """S13: a rule of the receiving vport decides of the room toward its own VM; broadcasts are not counted there."""
    lab.tenant(VM1)
    lab.put("vports/vm2", {**VM2.vport, "bandwidth": {"inbound_kbps": RATE_KBPS}})
    prioritise(lab, 3, dport=3, direction="inbound")
    for dport in (3, 4):
        lab.send(VM1, udp(VM1, VM2, 4000, dport))
        lab.wait_sent(VM2, dport - 2)
    lab.send(VM1, packets.arp(1, VM1.mac, VM1.ip, VM2.ip))
    lab.wait_sent(VM2, 3)
    assert asked(lab) == {toward(VM2, 3): 1, toward(VM2, 0): 1}


def fill(lab: Lab, source: Station) -> None:
    """Send a tenth of a second's worth and more from a VM to the outside."""
    lab.send(source, *[udp(source, EXT, 4000, 9, _FILLED)] * 20)


def _squeezed(lab: Lab) -> int:
    """Return the rate of the lowest priority after another burst of the highest."""
    fill(lab, VM2)
    return rates(lab)[uplink(0)]


def test_lower_priorities_get_what_higher_ones_leave(lab: Lab) -> None:
    """S13: the rate of a lower priority falls with what the higher one uses, and rises to all of it again."""
    limit(lab)
    lab.tenant(VM1, VM4)
    lab.put("vports/vm2", {**VM2.vport, "priority": 5})
    assert rates(lab) == {uplink(0): RATE_KBPS, uplink(5): RATE_KBPS}
    wait_until(lambda: _squeezed(lab), 10, "room to be taken", until=lambda rate: rate < RATE_KBPS // 2)
    assert rates(lab)[uplink(5)] == RATE_KBPS
    (shared,) = lab.get("stats")["hosts"]["h1"]["shared"]
    assert (shared["at"], shared["rate_kbps"]) == ("uplink", RATE_KBPS)
    assert [each["priority"] for each in shared["priorities"]] == [5, 0]
    assert shared["priorities"][0]["allowed_kbps"] == RATE_KBPS
    wait_until(lambda: rates(lab)[uplink(0)], 10, "all of the rate", until=lambda rate: rate == RATE_KBPS)
    wait_until(lambda: _squeezed(lab), 10, "room to be taken", until=lambda rate: rate < RATE_KBPS // 2)
    lab.put("vports/vm2", VM2.vport)
    assert list(rates(lab).values()) == [RATE_KBPS]
    assert lab.get("stats")["hosts"]["h1"]["shared"] == []
    limit(lab, kbps=None)
    assert rates(lab) == {}


def test_a_restart_takes_over_what_each_priority_has(own_site: Site) -> None:
    """M26: after kill -9 the rates that follow from loads stand as they were, and go on following."""
    lab = Lab(own_site).tenant(VM1)
    limit(lab)
    lab.put("vports/vm2", {**VM2.vport, "priority": 5})
    wait_until(lambda: _squeezed(lab), 10, "room to be taken", until=lambda rate: rate < RATE_KBPS // 2)

    def dies_in_time() -> bool:
        _squeezed(lab)
        lab.controller.kill9()
        if rates(lab)[uplink(0)] < RATE_KBPS:
            return True
        lab.controller.start()
        lab.site.wait_ready()
        return False

    wait_until(dies_in_time, 20, "the controller to die while room is taken")
    lab.controller.start()
    lab.site.wait_ready()
    assert [host["live"]["changed_entries"] for host in lab.get("hosts")["items"]] == [0, 0]
    wait_until(lambda: rates(lab)[uplink(0)], 10, "all of the rate", until=lambda rate: rate == RATE_KBPS)


@pytest.mark.parametrize(
    ("path", "body", "fault"),
    [
        ("vports/vm1", {**VM1.vport, "priority": 8}, "priority"),
        ("vports/vm1", {**VM1.vport, "priority": "high"}, "priority"),
        ("hosts/h1", {"dpid": "1", "uplink": "h1-uplink", "limits": {"uplink_kbps": 0}}, "limits.uplink_kbps"),
    ],
)
def test_what_is_no_priority_is_refused(lab: Lab, path: str, body: Any, fault: str) -> None:
    """S13: a priority is 0 to 7 and a rate at least 1 kbit/s; else nothing changes and the field is named."""
    lab.tenant(VM1)
    before = lab.get(path)
    answer = lab.rest("PUT", path, body)
    assert (answer.status, [error["path"] for error in answer.body["errors"]]) == (422, [fault])
    assert lab.get(path) == before


def test_a_rule_gives_no_strange_priority(lab: Lab) -> None:
    """S13: a rule's priority is 0 to 7, and the place of the fault is named."""
    lab.layer("classes")
    body = {"direction": "outbound", "priority": 1, "rules": [rule("r", {}, {"type": "priority", "priority": -1})]}
    answer = lab.rest("PUT", "layers/classes/groups/g", body)
    assert (answer.status, [error["path"] for error in answer.body["errors"]]) == (422, ["rules[0].action.priority"])


def test_priority_is_told_by_trace_and_flows(lab: Lab) -> None:
    """M24 S13: each leg tells the priority of the packets behind it, by rule, by vport, and 0 from elsewhere."""
    lab.tenant(VM1)
    lab.put("vports/vm2", {**VM2.vport, "priority": 2})
    prioritise(lab, 6, dport=6)
    packet = {"eth_dst": VM1.mac, "ipv4_src": VM2.ip, "ipv4_dst": VM1.ip, "ip_proto": "udp", "l4_src": "4000"}
    for dport, expected in (("6", 6), ("5", 2)):
        walk = lab.trace(VM2, {**packet, "l4_dst": dport})["walk"]
        assert [leg["priority"] for leg in walk] == [expected, expected]
    assert lab.trace(VM2, {**packet, "l4_dst": "6"})["walk"][0]["treatment"] == [{"priority": 6}]
    lab.send(VM2, udp(VM2, VM1, 4000, 6))
    lab.wait_cached(4)
    (flow,) = lab.get("flows")["items"]
    assert [[leg["priority"] for leg in flow[way]] for way in ("forward", "reply")] == [[6, 6], [0, 0]]
