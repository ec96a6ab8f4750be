"""Timeouts: idle connections leave the switch, both directions together, and come back by a miss."""

from __future__ import annotations

import pytest

from mininet_scripts.support.waiting import wait_until
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, VM1, VM2, VM3, rule, tcp, udp

WEB = {"ip_proto": "tcp", "l4_dst": 80}


def test_idle_connection_leaves_and_its_next_packet_misses_again(lab: Lab) -> None:
    """M10: after the rule's idle timeout the entries are gone, and the next packet asks again and works."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.group("web", "outbound", rule("web", WEB, idle_timeout_s=5))
    lab.send(VM1, tcp(VM1, VM2))
    assert len(lab.wait_cached(4)) == 4

    lab.warp(3)
    assert len(lab.cached()) == 4
    lab.warp(6)

    lab.wait_cached(0)
    wait_until(lambda: lab.get("flows")["items"], 5, "the flow to be forgotten", until=lambda flows: not flows)
    assert lab.packet_ins() == 1
    lab.send(VM1, tcp(VM1, VM2))
    assert lab.wait_sent(VM2, 2) == [tcp(VM1, VM2)] * 2
    assert lab.packet_ins() == 2
    lab.wait_cached(4)


def test_each_rule_has_its_own_timeout(lab: Lab) -> None:
    """M10: of two connections the one whose rule says so leaves early; the least of all layers' values counts."""
    lab.tenant(VM1, VM2)
    lab.layer("one", 10)
    lab.layer("two", 20)
    lab.group("web", "outbound", rule("web", WEB, idle_timeout_s=40), layer="one")
    lab.group("web", "outbound", rule("web", WEB, idle_timeout_s=4), layer="two")
    lab.group("dns", "outbound", rule("dns", {"ip_proto": "udp"}, idle_timeout_s=40), layer="two")
    lab.send(VM1, tcp(VM1, VM2), udp(VM1, VM2))
    entries = lab.wait_cached(8)
    assert {entry.idle_timeout_s for entry in entries if "udp" in entry.matches and "0x65" in entry.text} >= {40}

    lab.warp(6)

    assert all("udp" in entry.matches for entry in lab.wait_cached(4))


def test_a_connection_in_use_stays(lab: Lab) -> None:
    """M10: packets keep a connection in the switch beyond its timeout."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.group("web", "outbound", rule("web", WEB, idle_timeout_s=5))
    lab.group("web-in", "inbound", rule("web", WEB, idle_timeout_s=5))
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_cached(4)

    for count in range(2, 6):
        lab.warp(3)
        lab.send(VM1, tcp(VM1, VM2))
        lab.send(VM2, tcp(VM2, VM1, 80, 40000))
        lab.wait_sent(VM2, count)
        lab.dump("h1")

    assert lab.packet_ins() == 1
    assert len(lab.cached()) == 4


@pytest.mark.parametrize("busy", ["forward", "reply"])
def test_a_connection_with_traffic_one_way_keeps_both_directions(lab: Lab, busy: str) -> None:
    """M09: while one direction carries packets the idle one stays too; when that ends, both go."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", stateful=True)
    lab.group("dns", "outbound", rule("dns", {"ip_proto": "udp"}, idle_timeout_s=6))
    lab.group("dns-in", "inbound", rule("dns", {"ip_proto": "udp"}, idle_timeout_s=6))
    lab.send(VM1, udp(VM1, VM2))
    lab.wait_cached(4)

    for _ in range(6):
        lab.warp(2)
        if busy == "forward":
            lab.send(VM1, udp(VM1, VM2))
        else:
            lab.send(VM2, udp(VM2, VM1, 53, 40000))
        lab.settle()
        lab.dump("h1")

    assert len(lab.wait_cached(4)) == 4
    assert lab.packet_ins() == 1
    assert len(lab.sent(VM2 if busy == "forward" else VM1)) == (7 if busy == "forward" else 6)

    # The switch ages the direction that was in use first; the one that it asks about may be counted as used once more.
    def gone() -> int:
        lab.warp(8)
        lab.settle()
        return len(lab.cached())

    wait_until(gone, 10, "both directions to go", until=lambda count: not count)


def test_expiry_across_hosts_ends_both_sides(lab: Lab) -> None:
    """M09: a connection that is idle leaves both hosts."""
    lab.tenant(VM1, VM3)
    lab.layer("firewall")
    lab.group("web", "outbound", rule("web", WEB, idle_timeout_s=5))
    lab.send(VM1, tcp(VM1, VM3))
    lab.wait_cached(2, "h1")
    lab.wait_cached(2, "h2")

    lab.warp(7)

    lab.wait_cached(0, "h1")
    lab.wait_cached(0, "h2")
    wait_until(lambda: lab.get("flows")["items"], 5, "the flow to be forgotten", until=lambda flows: not flows)


@pytest.mark.parametrize("version", [4, 6])
def test_flood_on_a_denied_tuple_asks_once(lab: Lab, version: int) -> None:
    """M18: the drop is cached: after the first packet of a denied tuple a flood makes no more packet-ins."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", outbound="deny")
    lab.send(VM1, tcp(VM1, VM2, version=version))
    (entry,) = lab.wait_cached(1)
    assert entry.actions == "drop"
    assert lab.packet_ins() == 1

    lab.send(VM1, *[tcp(VM1, VM2, version=version)] * 500)

    assert lab.silent(VM2, "h1-uplink")
    assert lab.packet_ins() == 1
    assert lab.cached()[0].n_packets >= 500


def test_flood_on_a_tuple_denied_inbound_asks_once(lab: Lab) -> None:
    """M18: a flood from outside on what the receiver denies makes one packet-in too."""
    lab.tenant(VM1)
    lab.layer("firewall", inbound="deny")
    lab.from_network(tcp(EXT, VM1))
    (entry,) = lab.wait_cached(1)
    assert (entry.actions, entry.matches["reg2"]) == ("drop", hex(VM1.vlan))

    lab.from_network(*[tcp(EXT, VM1)] * 500)

    assert lab.silent(VM1)
    assert lab.packet_ins() == 1


def test_drop_entries_time_out_idle(lab: Lab) -> None:
    """M18: a drop entry that no packet meets leaves the switch, and the tuple is asked about again."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", outbound="deny")
    lab.send(VM1, tcp(VM1, VM2))
    (entry,) = lab.wait_cached(1)
    assert 0 < entry.idle_timeout_s <= 30

    lab.warp(entry.idle_timeout_s + 2)

    lab.wait_cached(0)
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_cached(1)
    assert lab.packet_ins() == 2


def test_drop_entries_time_out_under_fire(lab: Lab) -> None:
    """M18: a drop entry that packets keep meeting goes after its hard timeout all the same."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", outbound="deny")
    lab.send(VM1, tcp(VM1, VM2))
    (entry,) = lab.wait_cached(1)
    assert 0 < entry.hard_timeout_s <= 120

    for _ in range(0, entry.hard_timeout_s + 10, 5):
        lab.warp(5)
        lab.send(VM1, tcp(VM1, VM2))
        lab.settle()

    assert lab.silent(VM2, "h1-uplink")
    assert lab.packet_ins() == 2
