"""How a connection keeps its instances: one entry for each direction, whatever rewriting and other directions do."""

from __future__ import annotations

from typing import Any

import pytest

from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.chain_site import (
    ASSIGNED,
    FAR,
    MACS,
    OWN,
    RESUME,
    Site,
    given_to,
    instance,
    pass_chain,
    refused,
    site,
    udp,
)

__all__ = ["site"]

CHAIN: dict[str, Any] = {"tenant": "red", "hops": ["fw", "nat", "x"]}


def live(site: Site, function: str) -> dict[str, int]:
    """Return how many connections each instance of a function has, as soon as all are counted anew."""
    site.ovs.appctl("revalidator/wait")
    found = site.client.get(f"/v1/functions/{function}")["live"]["instances"]
    return {name: one["connections"] for name, one in found.items()}


def pairs(weight_of_a: int) -> dict[str, Any]:
    """Return the two instances of the second hop."""
    return {"a": instance("nat-a", weight=weight_of_a), "b": instance("nat-b")}


def written(site: Site) -> tuple[int, int]:
    """Return how many entries the switch has written for ways, and for the direction of connections."""
    return len(site.ovs.dump_flows("h1f", ASSIGNED)), len(site.ovs.dump_flows("h1f", RESUME))


def test_one_entry_for_each_direction_has_all_hops(site: Site) -> None:
    """H11: through three hops a connection costs three entries on NIC port 2, and its replies none more."""
    site.client.put("/v1/functions/x", {"instances": {"b": instance("nat-b")}})
    site.client.put("/v1/chains/c", CHAIN)
    there, back = udp(1, 2), udp(2, 1, 2000, 1000)
    site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in")
    site.through("fw-a-out", there, "nat-a-in")
    site.through("nat-a-out", there, "nat-b-in")
    site.through("nat-b-out", there, "h1f-cable")
    assert written(site) == (2, 1)
    site.through("h1f-cable", packets.tagged(back, 102), "nat-b-out")
    site.through("nat-b-in", back, "nat-a-out")
    site.through("nat-a-in", back, "fw-a-out")
    assert site.through("fw-a-in", back, "h1f-cable") == packets.tagged(back, 101)
    assert written(site) == (2, 1)


@pytest.mark.parametrize("declared", [True, False])
def test_a_connection_that_is_rewritten_keeps_its_instances(site: Site, declared: bool) -> None:
    """H11 H12: other weights move neither a connection nor its replies from an instance that has given it other
    addresses, told or not that it does; and where it is told, each function counts it once."""
    site.client.put("/v1/functions/nat", {"instances": pairs(1), "rewriting": declared})
    connections = [(udp(1, 2, sport), udp(3, 2, sport + 4000)) for sport in range(1000, 1016)]
    given = given_to(site, [there for there, _ in connections])
    assert set(given.values()) == {"nat-a-in", "nat-b-in"}
    for there, changed in connections:
        site.through(given[there].replace("-in", "-out"), changed, "h1f-cable")
    for weight in (0, 1):
        site.client.put("/v1/functions/nat", {"instances": pairs(weight), "rewriting": declared})
        assert given_to(site, [there for there, _ in connections]) == given
        for number, (there, _) in enumerate(connections):
            name = given[there].removesuffix("-in")
            answer, translated = udp(2, 3, 2000, 5000 + number), udp(2, 1, 2000, 1000 + number)
            assert site.through("h1f-cable", packets.tagged(answer, 102), f"{name}-out") == answer
            assert site.through(f"{name}-in", translated, "fw-a-out") == translated
            assert site.through("fw-a-in", translated, "h1f-cable") == packets.tagged(translated, 101)
    if declared:
        into_a = sum(way == "nat-a-in" for way in given.values())
        assert live(site, "fw") == {"a": 16}
        assert live(site, "nat") == {"a": into_a, "b": 16 - into_a}


def test_what_the_network_begins_keeps_its_instances(site: Site) -> None:
    """H10 H11 H12: an answer goes into the instance that its question came out of, whatever the weights become."""
    site.client.put("/v1/functions/nat", {"instances": pairs(1)})
    for sport in range(1000, 1008):
        question = packets.ether(FAR, MACS[1], packets.IPV4, udp(2, 1, sport)[14:])
        answer = packets.ether(MACS[1], FAR, packets.IPV4, udp(1, 2, 2000, sport)[14:])
        before = {name: len(site.ovs.sent(f"{name}-out")) for name in ("nat-a", "nat-b")}
        site.ovs.receive("h1f-net", question)

        def entered(before: dict[str, int] = before) -> list[str]:
            return [name for name, count in before.items() if len(site.ovs.sent(f"{name}-out")) > count]

        (name,) = wait_until(entered, 5, "it goes into one")
        site.client.put("/v1/functions/nat", {"instances": pairs(sport % 2)})
        assert site.through(f"{name}-in", question, "fw-a-out") == question
        assert site.through("fw-a-in", question, "h1f-cable") == packets.tagged(question, 101)
        assert given_to(site, [answer]) == {answer: f"{name}-in"}


def test_of_two_who_begin_at_once_the_first_that_passes_has_replies(site: Site) -> None:
    """H11: both ends begin a connection, the second passes the chain first: the other's frames are its replies then,
    and what of them was under way goes nowhere."""
    there, back = udp(1, 2), udp(2, 1, 2000, 1000)
    site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in")
    site.through("h1f-cable", packets.tagged(back, 102), "fw-a-in")
    site.through("fw-a-out", back, "nat-a-in")
    assert site.through("nat-a-out", back, "h1f-cable") == packets.tagged(back, 101)
    before = refused(site, "reflected")
    site.ovs.receive("fw-a-out", there)
    wait_until(lambda: refused(site, "reflected"), 5, "it is refused", until=lambda count: count == before + 1)
    assert site.ovs.sent("nat-a-in") == [back]
    assert site.soon_through("h1f-cable", packets.tagged(there, 101), "nat-a-out") == there
    assert site.through("nat-a-in", there, "fw-a-out") == there
    assert site.through("fw-a-in", there, "h1f-cable") == packets.tagged(there, 102)
    assert site.through("h1f-cable", packets.tagged(back, 102), "fw-a-in") == back


def test_what_never_passes_does_not_keep_the_other_end_from_beginning(site: Site) -> None:
    """H11: a function that lets a connection of the same ports pass from one end only does so whoever tries first."""
    site.client.put("/v1/functions/nat", {"instances": pairs(1)})
    blocked, allowed = udp(1, 2, 500, 500), udp(2, 1, 500, 500)
    site.through("h1f-cable", packets.tagged(blocked, 101), "fw-a-in")
    site.ovs.receive("fw-a-out", blocked)
    site.through("h1f-cable", packets.tagged(allowed, 102), "fw-a-in")
    before = {name: len(site.ovs.sent(f"{name}-in")) for name in ("nat-a", "nat-b")}
    site.ovs.receive("fw-a-out", allowed)

    def entered() -> list[str]:
        return [name for name, count in before.items() if len(site.ovs.sent(f"{name}-in")) > count]

    (name,) = wait_until(entered, 5, "it goes on")
    assert site.through(f"{name}-out", allowed, "h1f-cable") == packets.tagged(allowed, 101)


@pytest.mark.parametrize("side", ["in", "out"])
def test_replies_that_are_reflected_go_nowhere(site: Site, side: str) -> None:
    """H08 H11: a reply that comes out of the side that it went in by is dropped and counted, at each hop."""
    pass_chain(site, udp(1, 2))
    back = udp(2, 1, 2000, 1000)
    assert site.through("h1f-cable", packets.tagged(back, 102), "nat-a-out") == back
    into = "nat-a-out"
    if side == "in":
        assert site.through("nat-a-in", back, "fw-a-out") == back
        into = "fw-a-out"
    before, gone = refused(site, "reflected"), len(site.ovs.sent("h1f-cable"))
    site.ovs.receive(into, back)
    wait_until(lambda: refused(site, "reflected"), 5, "it is refused", until=lambda count: count == before + 1)
    assert len(site.ovs.sent("h1f-cable")) == gone


def test_replies_before_they_are_translated_keep_the_only_instance_of_then(site: Site) -> None:
    """H11 H12: an instance that a hop gets besides takes no replies of connections that began without it."""
    site.client.put("/v1/functions/nat", {"instances": {"a": instance("nat-a")}, "rewriting": True})
    for number in range(8):
        there, changed = udp(1, 2, 1000 + number), udp(3, 2, 5000 + number)
        site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in")
        site.through("fw-a-out", there, "nat-a-in")
        site.through("nat-a-out", changed, "h1f-cable")
    site.client.put("/v1/functions/fw", {"instances": {"a": instance("fw-a"), "b": instance("nat-b")}})
    for number in range(8):
        translated = udp(2, 1, 2000, 1000 + number)
        assert site.through("nat-a-in", translated, "fw-a-out") == translated


def test_what_is_translated_for_the_network_counts_once(site: Site) -> None:
    """H10 H12: a connection that the network begins to an address of a function's is one of each instance."""
    site.client.put("/v1/functions/nat", {"instances": {"a": instance("nat-a")}, "rewriting": True})
    asked = packets.ether(FAR, MACS[1], packets.IPV4, udp(2, 3)[14:])
    translated = packets.ether(FAR, MACS[1], packets.IPV4, udp(2, 1)[14:])
    assert site.through("h1f-net", asked, "nat-a-out") == asked
    assert site.through("nat-a-in", translated, "fw-a-out") == translated
    site.through("fw-a-in", translated, "h1f-cable")
    assert (live(site, "nat"), live(site, "fw")) == ({"a": 1}, {"a": 1})


def test_what_is_for_a_functions_own_mac_finds_it_behind_other_hops(site: Site) -> None:
    """H11 H12: of two instances with MACs of their own each gets what is sent to its own, also before the last hop."""
    macs = {"nat-a": "02:00:00:00:0f:0a", "nat-b": "02:00:00:00:0f:0b"}
    both = {name[-1]: instance(name, macs=[mac]) for name, mac in macs.items()}
    site.client.put("/v1/functions/nat", {"instances": both, "rewriting": True})
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["nat", "fw"]})
    for first, (name, mac) in enumerate(macs.items(), start=1):
        for sport in range(first * 1000, first * 1000 + 6):
            frame = packets.ether(FAR, mac, packets.IPV4, udp(2, 3, sport)[14:])
            assert site.through("h1f-net", frame, "fw-a-out") == frame
            assert site.through("fw-a-in", frame, f"{name}-out") == frame


def test_what_is_for_a_mac_of_two_chains_takes_the_segments_own(site: Site) -> None:
    """H11: a function that two chains share is found by its own MAC behind the hops of the segment's own chain,
    and still is when the other chain has gone."""
    one = {"b": instance("nat-b", macs=[OWN])}
    site.client.put("/v1/functions/shared", {"keeps_apart": True, "rewriting": True, "instances": one})
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["shared", "fw"], "vlan": 301})
    site.client.put("/v1/chains/d", {"tenant": "red", "hops": ["shared"], "vlan": 302})
    frame = packets.ether(FAR, OWN, packets.IPV4, udp(2, 3)[14:])
    assert site.through("h1f-net", frame, "fw-a-out") == frame
    assert site.through("fw-a-in", frame, "nat-b-out") == packets.tagged(frame, 301)
    site.client.delete("/v1/chains/d")
    asked = packets.ether(MACS[1], OWN, packets.ARP, packets.arp(1, MACS[1], "10.0.0.1", "10.0.0.9")[14:])
    assert site.through("h1f-cable", packets.tagged(asked, 101), "fw-a-out") == asked


def test_a_functions_own_mac_decides_though_the_other_end_began(site: Site) -> None:
    """H11 H12: what the network sends to the MAC of an instance goes there, whatever VMs sent by the same addresses."""
    macs = {"nat-a": "02:00:00:00:0f:0a", "nat-b": "02:00:00:00:0f:0b"}
    both = {name[-1]: instance(name, macs=[mac]) for name, mac in macs.items()}
    site.client.put("/v1/functions/nat", {"instances": both, "rewriting": True})
    for first, (name, mac) in enumerate(macs.items(), start=1):
        for sport in range(first * 1000, first * 1000 + 6):
            given_to(site, [udp(1, 2, sport)])
            frame = packets.ether(FAR, mac, packets.IPV4, udp(1, 2, sport)[14:])
            assert site.through("h1f-net", frame, f"{name}-out") == frame


def test_no_vm_gets_past_a_hop_by_the_mac_of_a_router_behind_it(site: Site) -> None:
    """H05 H11: a VM's packets to the MAC of a later function pass the hops before it, unless they are replies."""
    site.client.put("/v1/functions/nat", {"rewriting": True, "instances": {"a": instance("nat-a", macs=[OWN])}})
    past = packets.ether(MACS[1], OWN, packets.IPV4, udp(1, 3)[14:])
    assert site.through("h1f-cable", packets.tagged(past, 101), "fw-a-in") == past
    assert site.ovs.sent("nat-a-out") == []
    translated = packets.ether(OWN, MACS[2], packets.IPV4, udp(3, 2)[14:])
    answer = packets.ether(MACS[2], OWN, packets.IPV4, udp(2, 3, 2000, 1000)[14:])
    site.through("nat-a-out", translated, "h1f-cable")
    assert site.through("h1f-cable", packets.tagged(answer, 102), "nat-a-out") == answer


def test_no_vm_turns_the_connection_of_others_round(site: Site) -> None:
    """H11: frames with the addresses of a connection's replies that a third VM sends, to whom they may be, do not make
    the replies go astray."""
    pass_chain(site, udp(1, 2))
    back = udp(2, 1, 2000, 1000)
    feigned = packets.ether(MACS[3], "02:00:00:00:00:77", packets.IPV4, back[14:])
    assert site.through("h1f-cable", packets.tagged(back, 102), "nat-a-out") == back
    site.through("h1f-cable", packets.tagged(feigned, 103), "fw-a-in")
    site.ovs.appctl("revalidator/wait")
    assert site.through("nat-a-in", back, "fw-a-out") == back
    assert site.through("fw-a-in", back, "h1f-cable") == packets.tagged(back, 101)
