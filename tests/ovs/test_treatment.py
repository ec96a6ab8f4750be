"""Copies, meters, routes and tunnels on a real Open vSwitch: what rules do beside editing headers."""

from __future__ import annotations

import re
from typing import Any

from tests.ovs import packets
from tests.ovs.scenario import Lab, counters
from tests.ovs.stations import EXT, MISS_RATE_PPS, VM1, VM2, VM3, VM4, moved, rewrite, rule, tcp, udp

METERS = re.compile(r"meter=(\d+) (kbps|pktps) burst[^\n]*\n\s*type=drop rate=(\d+) burst_size=(\d+)")


def mirror(vport: str) -> dict[str, Any]:
    """Return the action that copies to a vport."""
    return {"type": "mirror", "vport": vport}


def route(vport: str) -> dict[str, Any]:
    """Return the action that sends packets to a vport."""
    return {"type": "route", "vport": vport}


def meters(lab: Lab, host: str = "h1") -> list[tuple[str, int, int]]:
    """Return unit, rate and burst of a switch's meters, without those of misses."""
    found = METERS.findall(lab.ovs.ofctl("dump-meters", host))
    return sorted((unit, int(rate), int(burst)) for _, unit, rate, burst in found if int(rate) != MISS_RATE_PPS)


def two_layers(lab: Lab, first: Any, second: Any, direction: str = "outbound", vport: str = "vm1") -> None:
    """Put two layers with one rule each for a vport's IP packets."""
    for position, (name, action) in enumerate((("one", first), ("two", second)), start=1):
        lab.layer(name, position)
        lab.group("g", direction, rule("r", {"eth_type": "ipv4"}, action), layer=name, applies_to={"vport": vport})


def test_a_copy_is_the_packet_as_the_layers_before_have_left_it(lab: Lab) -> None:
    """M07 M23: a mirror behind a rewrite copies what the rewrite made, one before it copies what came in."""
    lab.tenant(VM1, VM2, VM4)
    two_layers(lab, mirror("vm4"), rewrite(ip_dscp=46))
    for count in (1, 2):
        lab.send(VM1, udp(VM1, VM2, data=b"one"))
        lab.wait_sent(VM2, count)
    assert lab.sent(VM2) == [udp(VM1, VM2, data=b"one", dscp=46)] * 2
    assert lab.wait_sent(VM4, 2) == [udp(VM1, VM2, data=b"one")] * 2

    two_layers(lab, rewrite(ip_dscp=46), mirror("vm4"))
    lab.send(VM1, udp(VM1, VM2, data=b"two"))
    lab.wait_sent(VM2, 3)
    assert lab.wait_sent(VM4, 3)[2:] == [udp(VM1, VM2, data=b"two", dscp=46)]
    assert lab.packet_ins() == 1


def test_a_mirror_before_a_firewall_shows_what_is_refused(lab: Lab) -> None:
    """M06 M23: a packet that a later layer denies has been copied by the layers before, and goes nowhere else."""
    lab.tenant(VM1, VM2, VM4)
    two_layers(lab, mirror("vm4"), "deny")
    for count in (1, 2):
        lab.send(VM1, udp(VM1, VM2, data=b"no"))
        assert lab.wait_sent(VM4, count) == [udp(VM1, VM2, data=b"no")] * count
    assert lab.silent(VM2)
    assert lab.packet_ins() == 1


def test_a_copy_of_what_a_vm_gets(lab: Lab) -> None:
    """M23: an inbound rule copies what comes in from the network; the monitor's own rules are not asked."""
    lab.tenant(VM1, VM4)
    lab.layer("firewall")
    lab.group("closed", "inbound", rule("no", {}, "deny"), applies_to={"vport": "vm4"}, priority=200)
    lab.group("watch", "inbound", rule("all", {}, mirror("vm4")), applies_to={"vport": "vm1"})
    lab.from_network(tcp(EXT, VM1))
    assert lab.wait_sent(VM1) == [tcp(EXT, VM1)]
    assert lab.wait_sent(VM4) == [tcp(EXT, VM1)]


def _fragments(start: int) -> dict[int, bytes]:
    """Return the fragment of a datagram that begins at a byte, by DSCP."""
    whole = packets.transport(VM1.ip, VM2.ip, packets.UDP, packets.udp(40000, 53, bytes(64)))
    part, ends = whole[start : start + 48], (VM1.ip, VM2.ip)
    return {
        dscp: packets.ether(VM1.mac, VM2.mac, packets.IPV4, packets.packet(
            *ends, packets.UDP, part, ident=7, offset=start // 8, more=not start, fragmented=True, dscp=dscp,
        ))
        for dscp in (0, 46)
    }  # fmt: skip


def test_fragments_and_multicast_are_copied_too(lab: Lab) -> None:
    """M22 M23: packets that are decided one by one are treated as an entry would treat them."""
    lab.tenant(VM1, VM2, VM4)
    two_layers(lab, mirror("vm4"), rewrite(ip_dscp=46))
    group = moved(EXT, mac="01:00:5e:01:02:03", ip="239.1.2.3")
    lab.send(VM1, udp(VM1, group, data=b"many"))
    copy, edited = udp(VM1, group, data=b"many"), udp(VM1, group, data=b"many", dscp=46)
    assert lab.wait_sent(VM4, 2) == [copy, edited]  # The monitor is a member of the segment too.
    assert lab.wait_sent(VM2) == [edited]

    first, last = _fragments(0), _fragments(48)
    lab.send(VM1, first[0], last[0])
    assert lab.wait_sent(VM4, 4)[2:] == [first[0], last[0]]
    assert lab.wait_sent(VM2, 3)[1:] == [first[46], last[46]]


def test_a_route_delivers_whatever_the_mac_says(lab: Lab) -> None:
    """M23: packets that a rule routes go to the vport that it names, under that vport's inbound rules."""
    lab.tenant(VM1, VM2, VM4)
    lab.layer("steer")
    lab.group("g", "outbound", rule("web", {"ip_proto": "tcp"}, route("vm4")), layer="steer",
              applies_to={"vport": "vm1"})  # fmt: skip
    lab.group("no", "inbound", rule("ssh", {"ip_proto": "tcp", "l4_dst": "22"}, "deny"), layer="steer",
              applies_to={"vport": "vm4"})  # fmt: skip
    for count in (1, 2):
        lab.send(VM1, tcp(VM1, VM2))
        assert lab.wait_sent(VM4, count) == [tcp(VM1, VM2)] * count
    lab.send(VM1, tcp(VM1, EXT))
    lab.wait_sent(VM4, 3)
    lab.send(VM1, tcp(VM1, VM2, dport=22))
    assert lab.silent(VM2, "h1-uplink")
    assert len(lab.sent(VM4)) == 3
    assert lab.trace(VM1, {"ip_proto": "tcp", "ipv4_src": VM1.ip, "eth_dst": VM2.mac})["delivery"] == {
        "to": "vport", "vport": "vm4", "host": "h1", "via": None,
    }  # fmt: skip
    assert lab.packet_ins() == 3

    lab.delete("layers/steer/groups/g")
    lab.send(VM1, tcp(VM1, VM2))
    assert lab.wait_sent(VM2) == [tcp(VM1, VM2)]


def test_rules_name_only_what_they_can_reach(lab: Lab) -> None:
    """M23: a target on another host, one that is not there, a direction that cannot be: told by path, none kept."""
    lab.tenant(VM1, VM3, VM4)
    lab.layer("steer")

    def refused(direction: str, action: Any) -> Any:
        body = {"applies_to": {"vport": "vm1"}, "direction": direction, "priority": 1, "rules": [rule("r", {}, action)]}
        answer = lab.rest("PUT", "layers/steer/groups/g", body)
        assert answer.status == 422, answer
        return [error["path"] for error in answer.body["errors"]]

    assert refused("outbound", mirror("vm3")) == ["rules[r].action.vport"]
    assert refused("outbound", route("nobody")) == ["rules[r].action.vport"]
    assert refused("inbound", route("vm4")) == ["rules[r].action"]
    assert refused("outbound", {"type": "encapsulate", "remote_ip": "172.16.0.2", "vni": 7}) == [
        "rules[r].action.remote_ip"
    ]
    assert refused("outbound", {"type": "meter"}) == ["rules[0].action"]
    assert refused("outbound", {"type": "meter", "kbps": 1, "pps": 1}) == ["rules[0].action"]
    assert lab.get("layers/steer/groups")["items"] == []

    lab.group("g", "outbound", rule("r", {}, mirror("vm4")), layer="steer", applies_to={"vport": "vm1"})
    assert lab.rest("DELETE", "vports/vm4").status == 409
    moved_away = lab.rest("PUT", "vports/vm4", {**VM4.vport, "host": "h2", "port": "h2-vf3"})
    assert (moved_away.status, [error["path"] for error in moved_away.body["errors"]]) == (409, ["host"])


def test_rules_have_meters_of_their_own(lab: Lab) -> None:
    """M23 S13: each metering rule has a meter for each vport that it is for, on that vport's switch; unused ones go."""
    lab.tenant(VM1, VM2, VM3)
    lab.layer("shape")
    meter = {"type": "meter", "kbps": 1000}
    lab.group("g", "outbound", rule("slow", {"ip_proto": "udp"}, meter), layer="shape")
    assert meters(lab) == [("kbps", 1000, 120)] * 2
    assert meters(lab, "h2") == [("kbps", 1000, 120)]

    meter = {"type": "meter", "pps": 50, "burst": 5}
    lab.group("g", "outbound", rule("slow", {"ip_proto": "udp"}, meter), layer="shape", applies_to={"vport": "vm1"})
    assert (meters(lab), meters(lab, "h2")) == ([("pktps", 50, 5)], [])
    lab.put("layers/shape/groups/g/rules/slow", {"priority": 1, "match": {}, "action": {"type": "meter", "pps": 70}})
    assert meters(lab) == [("pktps", 70, 10)]

    lab.delete("layers/shape/groups/g/rules/slow")
    assert meters(lab) == []


def test_all_flows_of_a_rule_share_its_meter(lab: Lab) -> None:
    """S13: with 10 packets at once allowed, two flows that one rule decides get 10 through together, not each."""
    lab.tenant(VM1, VM2)
    lab.layer("shape")
    lab.group("g", "outbound", rule("slow", {"ip_proto": "udp"}, {"type": "meter", "pps": 1, "burst": 10}),
              layer="shape")  # fmt: skip
    lab.send(VM1, *[udp(VM1, VM2, 40000 + number % 2, data=bytes([number])) for number in range(40)])
    lab.settle()
    assert 10 <= len(lab.sent(VM2)) <= 13  # Set-up may take a little of the next second's.
    entry = lab.dump("h1", "meter")[0]
    assert "meter:" in entry.actions


def test_a_layer_behind_a_meter_sees_only_what_passes(lab: Lab) -> None:
    """M07: a mirror behind a meter copies what the meter let through, a mirror before it everything."""
    lab.tenant(VM1, VM2, VM4)
    two_layers(lab, {"type": "meter", "pps": 1, "burst": 5}, mirror("vm4"))
    lab.send(VM1, udp(VM1, VM2, data=b"first"))
    lab.wait_sent(VM4)
    lab.send(VM1, *[udp(VM1, VM2, data=bytes([number])) for number in range(30)])
    lab.settle()
    assert 4 <= len(lab.sent(VM2)) == len(lab.sent(VM4)) < 10


def test_no_bandwidth_is_a_drop_in_the_switch(lab: Lab) -> None:
    """S13: a rule of 0 kbit/s costs one packet-in and no meter, a vport of 0 none; what is dropped is counted."""
    lab.tenant(VM1, VM2)
    lab.layer("shape")
    lab.group("g", "outbound", rule("none", {"ip_proto": "udp"}, {"type": "meter", "kbps": 0}), layer="shape")
    for _ in range(3):
        lab.send(VM1, udp(VM1, VM2))
        lab.settle()
    assert lab.silent(VM2)
    assert (lab.packet_ins(), meters(lab)) == (1, [])
    (entry,) = lab.cached("h1", "outbound")
    assert entry.actions == "drop"

    lab.put("vports/vm1", {**VM1.vport, "bandwidth": {"outbound_kbps": 0, "inbound_kbps": 0}})
    lab.send(VM1, *[tcp(VM1, VM2)] * 5)
    for _ in range(3):
        lab.send(VM2, tcp(VM2, VM1))
        lab.settle()
    lab.wait_refusals(VM1, {"bandwidth": 8})
    assert lab.silent(VM2, VM1)
    assert lab.packet_ins() == 2  # VM2 has asked once for its own policy.


def test_bandwidth_of_a_vport_is_a_meter_that_all_its_packets_pass(lab: Lab) -> None:
    """S13: a vport's bandwidth makes a meter for each direction, named where its packets come in and go to it."""
    lab.tenant(VM1, VM2)
    lab.put("vports/vm1", {**VM1.vport, "bandwidth": {"outbound_kbps": 2000, "inbound_kbps": 3000}})
    assert meters(lab) == [("kbps", 2000, 200), ("kbps", 3000, 300)]
    said = lab.switch_trace(VM1.port, tcp(VM1, VM2))
    assert said.count("meter:") == 1
    assert lab.switch_trace(VM2.port, tcp(VM2, VM1)).count("meter:") == 0
    lab.send(VM2, tcp(VM2, VM1))
    lab.wait_sent(VM1)
    assert lab.switch_trace(VM2.port, tcp(VM2, VM1)).count("meter:") == 1
    lab.put("vports/vm1", VM1.vport)
    assert meters(lab) == []


_TREATED = [
    rule("copy", {"l4_dst": 1, "ip_proto": "udp"}, mirror("vm4")),
    rule("steer", {"l4_dst": 2, "ip_proto": "udp"}, route("vm4")),
    rule("slow", {"l4_dst": 3, "ip_proto": "udp"}, {"type": "meter", "kbps": 500}),
]


def test_treated_connections_outlive_a_controller(own_site: Any) -> None:
    """M26: after kill -9 entries that copy, route or meter, and the meters, are taken over as they are."""
    lab = Lab(own_site).tenant(VM1, VM2, VM4)
    lab.layer("treat")
    lab.group("g", "outbound", *_TREATED, layer="treat", applies_to={"vport": "vm1"})
    lab.put("vports/vm2", {**VM2.vport, "bandwidth": {"outbound_kbps": 2000}})
    for port in (1, 2, 3):
        lab.send(VM1, udp(VM1, VM2, 40000, port))
    lab.wait_sent(VM4, 2)
    lab.wait_sent(VM2, 2)
    stale = "meter=77,kbps,burst,band=type=drop,rate=9,burst_size=9"
    before = {host: counters(lab.dump(host)) for host in ("h1", "h2")}
    kept = meters(lab)
    assert len(kept) == 2
    lab.controller.kill9()
    lab.ovs.ofctl("add-meter", "h1", stale)
    lab.controller.start()
    lab.site.wait_ready()
    assert {host: counters(lab.dump(host)) for host in ("h1", "h2")} == before
    assert meters(lab) == kept
    assert [host["live"]["changed_entries"] for host in lab.get("hosts")["items"]] == [1, 0]  # The stale meter.
