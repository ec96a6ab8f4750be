"""Chains of functions on the real datapaths of a NIC, frame by frame; a test stands in the place of each function."""

from __future__ import annotations

from typing import Any

import pytest

from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.chain_site import (
    ASSIGNED,
    FAR,
    MACS,
    NIC,
    OWN,
    RESUME,
    Site,
    instance,
    pass_chain,
    refused,
    site,
    traced_chain,
    udp,
)

__all__ = ["site"]


def test_a_connection_passes_the_hops_in_order_and_its_replies_in_reverse(site: Site) -> None:
    """H11: forward by inside to outside of each hop, back the other way, with the VLANs of sender and receiver."""
    there, back = udp(1, 2), udp(2, 1, 2000, 1000)
    assert site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in") == there
    assert site.through("fw-a-out", there, "nat-a-in") == there
    assert site.through("nat-a-out", there, "h1f-cable") == packets.tagged(there, 102)
    assert site.through("h1f-cable", packets.tagged(back, 102), "nat-a-out") == back
    assert site.through("nat-a-in", back, "fw-a-out") == back
    assert site.through("fw-a-in", back, "h1f-cable") == packets.tagged(back, 101)


def test_a_restart_keeps_every_entry(site: Site) -> None:
    """M26 H11: a controller that starts again finds every entry as it must be, and keeps what was learned."""
    there, back = udp(1, 2), udp(2, 1, 2000, 1000)
    pass_chain(site, there)
    before = {name: len(site.ovs.dump_flows(name)) for name in NIC}
    learned = len(site.ovs.dump_flows("h1f", ASSIGNED))
    assert learned == 2
    site.controller.stop()
    site.controller.start()

    def states() -> list[tuple[str, int, int]]:
        live = site.client.get("/v1/hosts/h1")["live"]
        parts = (live, live["hairpin"]["function_port"], live["hairpin"]["network_port"])
        return [(part["state"], part["kept_entries"], part["changed_entries"]) for part in parts]

    own = before["h1f"] - learned - len(site.ovs.dump_flows("h1f", RESUME))
    kept = [("ready", before["h1"], 0), ("ready", own, 0), ("ready", before["h1n"], 0)]
    wait_until(states, 10, "all three to be ready", until=lambda seen: seen == kept)
    assert site.through("h1f-cable", packets.tagged(back, 102), "nat-a-out") == back


def test_the_network_is_behind_the_last_hop(site: Site) -> None:
    """H10 H11: what leaves for others has passed all hops, and what comes for a VM passes them in reverse."""
    there = packets.ether(MACS[1], FAR, packets.IPV4, udp(1, 2)[14:])
    back = packets.ether(FAR, MACS[1], packets.IPV4, udp(2, 1, 2000, 1000)[14:])
    assert site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in") == there
    assert site.through("fw-a-out", there, "nat-a-in") == there
    assert site.through("nat-a-out", there, "h1f-net") == there
    assert site.through("h1f-net", back, "nat-a-out") == back
    assert site.through("nat-a-in", back, "fw-a-out") == back
    assert site.through("fw-a-in", back, "h1f-cable") == packets.tagged(back, 101)


def test_replies_find_their_way_behind_a_function_that_rewrites(site: Site) -> None:
    """H11: the switch knows a connection again by the addresses and ports that it has behind a function."""
    there, changed = udp(1, 2), udp(3, 2, 7777)
    site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in")
    site.through("fw-a-out", there, "nat-a-in")
    assert site.through("nat-a-out", changed, "h1f-cable") == packets.tagged(changed, 102)
    reply = udp(2, 3, 2000, 7777)
    assert site.through("h1f-cable", packets.tagged(reply, 102), "nat-a-out") == reply
    translated = udp(2, 1, 2000, 1000)
    assert site.through("nat-a-in", translated, "fw-a-out") == translated


def test_what_a_function_sends_with_its_own_mac(site: Site) -> None:
    """H11: what is sent to a MAC of a function's enters the chain at its end, and goes to that function."""
    site.client.put("/v1/functions/nat", {"rewriting": True, "instances": {"a": instance("nat-a", macs=[OWN])}})
    to_function = packets.ether(MACS[2], OWN, packets.ARP, packets.arp(2, MACS[2], "10.0.0.2", "10.0.0.9")[14:])
    assert site.through("h1f-cable", packets.tagged(to_function, 102), "nat-a-out") == to_function


def test_to_all_is_to_each_once(site: Site) -> None:
    """H08 H09: a broadcast of a VM that has passed the chain goes to each other VM and the network, and not back."""
    frame = packets.ether(MACS[1], packets.BROADCAST, packets.ARP, packets.arp(1, MACS[1], "10.0.0.1", "10.0.0.2")[14:])
    pass_chain(site, frame, packets.tagged(frame, 102))
    site.ovs.wait_sent("h1f-cable", 2)
    assert sorted(site.ovs.sent("h1f-cable")) == [packets.tagged(frame, 102), packets.tagged(frame, 103)]
    assert site.ovs.sent("h1f-net") == [frame]
    inward = packets.ether(FAR, packets.BROADCAST, packets.ARP, packets.arp(1, FAR, "10.0.0.7", "10.0.0.1")[14:])
    site.through("h1f-net", inward, "nat-a-out")
    site.through("nat-a-in", inward, "fw-a-out")
    site.ovs.receive("fw-a-in", inward)
    site.ovs.wait_sent("h1f-cable", 5)
    assert sorted(site.ovs.sent("h1f-cable"))[2:] == [packets.tagged(inward, vlan) for vlan in (101, 102, 103)]
    assert site.ovs.sent("h1f-net") == [frame]


@pytest.mark.parametrize("frame", [udp(1, 2), packets.ether(MACS[1], packets.BROADCAST, 0x88B5, b"to all")])
def test_functions_that_reflect_make_no_loop(site: Site, frame: bytes) -> None:
    """H08 H11: what comes out of the port that it went in by goes nowhere and is counted, from either side."""
    site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in")
    site.ovs.receive("fw-a-in", frame)
    site.through("fw-a-out", frame, "nat-a-in")
    site.ovs.receive("nat-a-in", frame)
    wait_until(lambda: refused(site, "reflected"), 5, "both refused", until=lambda count: count == 2)
    assert site.ovs.sent("h1f-cable") == site.ovs.sent("fw-a-out") == []
    assert site.ovs.sent("fw-a-in") == site.ovs.sent("nat-a-in") == [frame]


def test_a_connection_that_both_ends_begin_at_once_goes_on(site: Site) -> None:
    """H11: of two first frames that meet in the first hop one is lost; from then on both ways pass, one as replies."""
    there, back = udp(1, 2), udp(2, 1, 2000, 1000)
    site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in")
    site.through("h1f-cable", packets.tagged(back, 102), "fw-a-in")
    assert site.through("fw-a-out", there, "nat-a-in") == there
    site.ovs.receive("fw-a-out", back)
    assert site.through("nat-a-out", there, "h1f-cable") == packets.tagged(there, 102)

    def replied() -> list[bytes]:
        # The datapath may for a while send it where it went before.
        site.ovs.receive("h1f-cable", packets.tagged(back, 102))
        return site.ovs.sent("nat-a-out")

    assert back in wait_until(replied, 5, "it goes as a reply")
    assert site.through("nat-a-in", back, "fw-a-out") == back
    assert site.through("fw-a-in", back, "h1f-cable") == packets.tagged(back, 101)
    assert site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in") == there
    before = refused(site, "reflected")
    site.ovs.receive("fw-a-in", there)
    wait_until(lambda: refused(site, "reflected"), 5, "it is refused", until=lambda count: count == before + 1)


def test_a_rule_sends_a_connection_by_another_chain(site: Site) -> None:
    """H11 H14: what a rule sends by a chain has its mark on the cable and passes it; other connections their own."""
    site.client.put("/v1/functions/other", {"instances": {"b": instance("nat-b")}})
    site.client.put("/v1/chains/d", {"tenant": "red", "hops": ["other"]})
    by = {"id": "web", "priority": 1, "match": {"ip_proto": "udp", "l4_dst": "2000"},
          "action": {"type": "chain", "chain": "d"}}  # fmt: skip
    site.client.put("/v1/layers/steer", {"position": 1, "stateful": True})
    group = {"applies_to": {"tenant": "red"}, "direction": "outbound", "priority": 1, "rules": [by]}
    site.client.put("/v1/layers/steer/groups/g", group)
    there, back = udp(1, 2), udp(2, 1, 2000, 1000)
    on_cable = site.through("h1-vf1", there, "h1-cable")
    assert on_cable[:12] + on_cable[16:] == there
    assert int.from_bytes(on_cable[14:16], "big") == 2 << 13 | 101
    assert site.through("h1f-cable", on_cable, "nat-b-in") == there
    assert site.through("nat-b-out", there, "h1f-cable") == packets.tagged(there, 102)
    assert site.through("h1-cable", packets.tagged(there, 102), "h1-vf2") == there
    answered = site.through("h1-vf2", back, "h1-cable")
    assert site.through("h1f-cable", answered, "nat-b-out") == back
    assert traced_chain(site, 2000) == "d"
    assert traced_chain(site, 2001) == "c"
    other = site.through("h1-vf1", udp(1, 2, 1000, 2001), "h1-cable")
    assert site.through("h1f-cable", other, "fw-a-in") == udp(1, 2, 1000, 2001)


def test_two_chains_share_a_function_that_keeps_them_apart(site: Site) -> None:
    """H11: each chain's frames have its VLAN toward a shared function, and no tag means no chain."""
    site.client.put("/v1/functions/shared", {"keeps_apart": True, "instances": {"b": instance("nat-b")}})
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["shared"], "vlan": 301})
    site.client.put("/v1/chains/d", {"tenant": "red", "hops": ["shared"], "vlan": 302})
    frame, other = udp(1, 2), udp(1, 2, 1001)
    assert site.through("h1f-cable", packets.tagged(frame, 101), "nat-b-in") == packets.tagged(frame, 301)
    by_mark = packets.tagged(other, 2 << 13 | 101)
    assert site.through("h1f-cable", by_mark, "nat-b-in") == packets.tagged(other, 302)
    assert site.through("nat-b-out", packets.tagged(other, 302), "h1f-cable") == packets.tagged(other, 102)
    before = refused(site, "unknown-vlan")
    site.ovs.receive("nat-b-out", frame)
    wait_until(lambda: refused(site, "unknown-vlan"), 5, "it is counted", until=lambda count: count == before + 1)


def test_only_functions_that_keep_chains_apart_see_tags(site: Site) -> None:
    """H11: the VLAN of a chain is put on before a function that keeps chains apart, and taken off before the next."""
    site.client.put("/v1/functions/shared", {"keeps_apart": True, "instances": {"b": instance("nat-b")}})
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "shared", "nat"], "vlan": 301})
    frame = udp(1, 2)
    assert site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in") == frame
    assert site.through("fw-a-out", frame, "nat-b-in") == packets.tagged(frame, 301)
    assert site.through("nat-b-out", packets.tagged(frame, 301), "nat-a-in") == frame
    assert site.through("nat-a-out", frame, "h1f-cable") == packets.tagged(frame, 102)


def test_replies_that_pass_no_function(site: Site) -> None:
    """H11: where a chain is not passed by replies they come to the VM over the cable alone."""
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "nat"], "symmetric_return": False})
    pass_chain(site, udp(1, 2))
    back = udp(2, 1, 2000, 1000)
    assert site.through("h1f-cable", packets.tagged(back, 102), "h1f-cable") == packets.tagged(back, 101)


def test_a_reply_reaches_the_sender_alone(site: Site) -> None:
    """H10 H11: with the addresses of a reply that passes no function a VM does not reach another than its peer."""
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "nat"], "symmetric_return": False})
    pass_chain(site, udp(1, 2))
    back = udp(2, 1, 2000, 1000)
    to_another = packets.ether(MACS[2], MACS[3], packets.IPV4, back[14:])
    assert site.through("h1f-cable", packets.tagged(to_another, 102), "fw-a-in") == to_another
    assert site.through("h1f-cable", packets.tagged(back, 102), "h1f-cable") == packets.tagged(back, 101)


def test_a_chain_that_changes_forgets_its_connections(site: Site) -> None:
    """H11: what the switch has written down for a chain goes with it, and an unaltered one keeps it."""
    pass_chain(site, udp(1, 2))
    site.client.put("/v1/functions/fw", {"instances": {"a": instance("fw-a", weight=2)}})
    assert len(site.ovs.dump_flows("h1f", ASSIGNED)) == 2
    site.client.put("/v1/chains/c?force=true", {"tenant": "red", "hops": ["nat", "fw"]})
    wait_until(lambda: len(site.ovs.dump_flows("h1f", ASSIGNED)), 5, "nothing is left", until=lambda count: count == 0)
    assert len(site.ovs.dump_flows("h1f", RESUME)) == 0


def test_a_hop_more_forgets_connections_whatever_its_name(site: Site) -> None:
    """H11: what the switch has written down under other hops goes, also where checksums of their names are alike."""
    pass_chain(site, udp(1, 2))
    # Of the names of these hops nine bits of the checksum are those of "fw/nat".
    site.client.put("/v1/functions/x405", {"instances": {"b": instance("nat-b")}})
    site.client.put("/v1/chains/c?force=true", {"tenant": "red", "hops": ["fw", "x405", "nat"]})
    wait_until(lambda: len(site.ovs.dump_flows("h1f", ASSIGNED)), 5, "nothing is left", until=lambda count: count == 0)
    assert site.ovs.dump_flows("h1f", RESUME) == []


REFUSED: dict[str, tuple[str, Any, int, str]] = {
    "unknown function": ("chains/x", {"tenant": "red", "hops": ["nobody"]}, 422, "hops[0]"),
    "cycle": ("chains/x", {"tenant": "red", "hops": ["new", "new"]}, 422, "hops[1]"),
    "function of another chain": ("chains/x", {"tenant": "red", "hops": ["fw"]}, 409, "hops[0]"),
    "vlan of a vport": ("chains/x", {"tenant": "red", "hops": ["new"], "vlan": 101}, 409, "vlan"),
    "no such host": ("functions/x", {"instances": {"a": {**instance("fw-a"), "host": "h7"}}}, 422, "instances.a.host"),
    "no such port": ("functions/x", {"instances": {"a": instance("nowhere")}}, 422, "instances.a.inside"),
    "port of another": ("functions/x", {"instances": {"a": instance("fw-a")}}, 409, "instances.a.inside"),
    "one port twice": (
        "functions/x", {"instances": {"a": {"host": "h1", "inside": "nat-b-in", "outside": "nat-b-in"}}}, 422,
        "instances.a.outside",
    ),
    "instance not drained": ("functions/fw", {"instances": {}}, 409, "instances.a"),
    "segment's chain unknown": ("segments/red", {"tenant": "red", "vlan": 200, "chain": "x"}, 422, "chain"),
    "vport without a way": ("segments/red", {"tenant": "red", "vlan": 200}, 409, "chain"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_field_that_is_at_fault(site: Site, case: str) -> None:
    """H11: a chain or function that cannot be is refused, with its field named, and no switch changes."""
    path, body, status, field = REFUSED[case]
    site.client.put("/v1/functions/new", {})
    before = [site.ovs.dump_flows(name) for name in NIC]
    answer = site.ask("PUT", path, body)
    assert (answer.status, [fault["path"] for fault in answer.body["errors"]][:1]) == (status, [field])
    assert [[(e.table, e.match) for e in site.ovs.dump_flows(name)] for name in NIC] == [
        [(e.table, e.match) for e in entries] for entries in before
    ]


@pytest.mark.parametrize("path", ["functions/fw", "chains/c"])
def test_what_is_in_use_stays(site: Site, path: str) -> None:
    """H11: a function of a chain and a chain of a segment are not deleted."""
    assert site.ask("DELETE", path).status == 409


def test_answers_follow_a_vm_to_another_host(site: Site) -> None:
    """H10: what a VM has begun on this host goes on when it has moved: answers pass the chain to the network."""
    there, back = udp(2, 1, 500, 500), udp(1, 2, 500, 500)
    site.through("h1f-cable", packets.tagged(there, 102), "fw-a-in")
    site.through("fw-a-out", there, "nat-a-in")
    site.through("nat-a-out", there, "h1f-cable")
    site.through("h1f-cable", packets.tagged(back, 101), "nat-a-out")
    for name, dpid, ports in (("h2", 2, ("vf1", "cable")), ("h2f", 0x102, ("cable",)), ("h2n", 0x202, ("uplink",))):
        site.ovs.add_bridge(name, dpid, [f"{name}-{port}" for port in ports])
        site.ovs.set_controller(name, site.controller.openflow_port)
        site.ovs.wait_connected(name)
    function_port, network_port = {"dpid": "102", "cable": "h2f-cable"}, {"dpid": "202", "uplink": "h2n-uplink"}
    hairpin = {"cable": "h2-cable", "function_port": function_port, "network_port": network_port}
    site.client.put("/v1/hosts/h2", {"dpid": "2", "hairpin": hairpin})
    site.client.put("/v1/vports/vm2", {"host": "h2", "port": "h2-vf1", "tenant": "red", "mac": MACS[2], "vlan": 102})
    assert site.soon_through("h1f-cable", packets.tagged(back, 101), "fw-a-in") == back
    assert site.soon_through("fw-a-out", back, "nat-a-in") == back
    assert site.soon_through("nat-a-out", back, "h1f-net") == back
