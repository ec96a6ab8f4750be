"""Chains that are changed or deleted while connections go through them: asked first, as with instances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from ryu_apps.pipeline.tables import NUMBER
from tests.ovs import packets
from tests.ovs.chain_site import ASSIGNED, FAR, MACS, NIC, RESUME, Site, instance, pass_chain, udp
from tests.ovs.harness.switch import OpenVSwitch

CHAIN: dict[str, Any] = {"tenant": "red", "hops": ["fw", "nat"]}


@pytest.fixture
def site(ovs: OpenVSwitch, controller: Controller) -> Iterator[Site]:
    """Return three bridges with a chain."""
    yield Site(ovs, controller)


def faults(answer: Any) -> tuple[int, dict[str, str]]:
    """Return the status of an answer, and what it says of each field."""
    return answer.status, {fault["path"]: fault["message"] for fault in answer.body.get("errors", ())}


def in_use(count: int, *fields: str) -> tuple[int, dict[str, str]]:
    """Return the refusal of a change that so many connections stand against."""
    message = f"{count} connections go through it: wait until they have ended, or ask with force=true"
    return 409, dict.fromkeys(fields, message)


def entries(site: Site) -> list[set[tuple[int, int, str, str, int]]]:
    """Return what the datapaths have, what they have written themselves included."""
    return [{(e.table, e.priority, e.match, e.actions, e.cookie) for e in site.ovs.dump_flows(name)} for name in NIC]


CHANGES = {"other order": ("nat", "fw"), "one hop less": ("fw",), "one hop more": ("fw", "x", "nat")}


@pytest.mark.parametrize("case", CHANGES)
def test_hops_do_not_change_under_live_connections(site: Site, case: str) -> None:
    """H11: a chain with live connections keeps its hops and what the switch remembers, the refusal says how many there
    are, also for a dry run; forced it changes, and nothing is remembered any more."""
    site.client.put("/v1/functions/x", {"instances": {"b": instance("nat-b")}})
    for number in range(3):
        pass_chain(site, udp(1, 2, 1000 + number))
    before, changed = entries(site), {**CHAIN, "hops": list(CHANGES[case])}
    assert faults(site.ask("PUT", "chains/c", changed)) == in_use(3, "hops")
    assert faults(site.ask("PUT", "chains/c?dry_run=true", changed)) == in_use(3, "hops")
    assert (entries(site), site.client.get("/v1/chains/c")["hops"]) == (before, CHAIN["hops"])
    back = udp(2, 1, 2000, 1000)
    assert site.through("h1f-cable", packets.tagged(back, 102), "nat-a-out") == back
    assert site.ask("PUT", "chains/c?force=true", changed).status == 200
    wait_until(lambda: len(site.ovs.dump_flows("h1f", ASSIGNED)), 5, "nothing is left", until=lambda count: count == 0)
    assert site.ovs.dump_flows("h1f", RESUME) == []


def test_what_makes_connections_lose_their_way_is_told_field_by_field(site: Site) -> None:
    """H11: replies that are to take another way are refused as other hops are; what leaves connections alone is not."""
    pass_chain(site, udp(1, 2))
    changed = {**CHAIN, "hops": ["nat", "fw"], "symmetric_return": False}
    assert faults(site.ask("PUT", "chains/c", changed)) == in_use(1, "hops", "symmetric_return")
    for kept in ({"fail": "open"}, {"vlan": 300}, {}):
        assert site.ask("PUT", "chains/c", {**CHAIN, **kept}).status == 200
    assert len(site.ovs.dump_flows("h1f", ASSIGNED)) == 2


def test_a_chain_is_not_deleted_under_live_connections(site: Site) -> None:
    """H11: also a chain that is no segment's any more stays while connections go through it; forced it goes."""
    site.client.put("/v1/functions/other", {"instances": {"b": instance("nat-b")}})
    site.client.put("/v1/chains/d", {"tenant": "red", "hops": ["other"]})
    by_mark = packets.tagged(udp(1, 2), 2 << 13 | 101)
    site.through("h1f-cable", by_mark, "nat-b-in")
    site.through("nat-b-out", udp(1, 2), "h1f-cable")
    before = entries(site)
    assert faults(site.ask("DELETE", "chains/d")) == in_use(1, "id")
    assert entries(site) == before
    assert site.ask("DELETE", "chains/d?force=true").status == 200
    assert site.ask("GET", "chains/d").status == 404
    wait_until(lambda: len(site.ovs.dump_flows("h1f", ASSIGNED)), 5, "nothing is left", until=lambda count: count == 0)


def test_force_is_for_connections_alone(site: Site) -> None:
    """H11: a chain that a segment refers to is not deleted, forced or not."""
    answer = faults(site.ask("DELETE", "chains/c?force=true"))
    assert answer == (409, {"id": "segment 'red' refers to it"})


def test_a_chain_without_connections_changes_freely(site: Site) -> None:
    """H11: without connections, or with ARP alone, hops change and a chain is deleted without being forced."""
    assert site.ask("PUT", "chains/c", {**CHAIN, "hops": ["nat", "fw"]}).status == 200
    assert site.ask("PUT", "chains/c", CHAIN).status == 200
    ask = packets.ether(MACS[1], packets.BROADCAST, packets.ARP, packets.arp(1, MACS[1], "10.0.0.1", "10.0.0.2")[14:])
    pass_chain(site, ask, packets.tagged(ask, 102))
    assert site.ovs.dump_flows("h1f", ASSIGNED)
    assert site.ask("PUT", "chains/c", {**CHAIN, "hops": ["fw"]}).status == 200
    site.client.put("/v1/chains/d", {"tenant": "red", "hops": ["nat"]})
    assert site.ask("DELETE", "chains/d").status == 200


def test_connections_that_the_network_begins_count_too(site: Site) -> None:
    """H11: a connection from outside counts before it is answered, and once when it is."""
    there = packets.ether(FAR, MACS[1], packets.IPV4, udp(2, 1)[14:])
    back = packets.ether(MACS[1], FAR, packets.IPV4, udp(1, 2, 2000, 1000)[14:])
    site.through("h1f-net", there, "nat-a-out")
    site.through("nat-a-in", there, "fw-a-out")
    site.through("fw-a-in", there, "h1f-cable")
    assert faults(site.ask("PUT", "chains/c", {**CHAIN, "hops": ["fw"]})) == in_use(1, "hops")
    site.through("h1f-cable", packets.tagged(back, 101), "fw-a-in")
    site.through("fw-a-out", back, "nat-a-in")
    site.through("nat-a-out", back, "h1f-net")
    assert faults(site.ask("PUT", "chains/c", {**CHAIN, "hops": ["fw"]})) == in_use(1, "hops")


@pytest.mark.parametrize(("path", "table"), [("functions/nat", "enter"), ("chains/d", "choose")])
def test_what_the_functions_datapath_refuses_is_undone(site: Site, path: str, table: str) -> None:
    """H13: a chain, or an instance more, that the datapath refuses leaves nothing behind; connections go on, and then
    it can be made."""
    site.client.put("/v1/functions/other", {})
    pass_chain(site, udp(1, 2))
    bodies = {"functions/nat": {"instances": {"a": instance("nat-a"), "b": instance("nat-b")}},
              "chains/d": {"tenant": "red", "hops": ["other"]}}  # fmt: skip
    before, present = entries(site), len(site.ovs.dump_flows("h1f", NUMBER[table]))
    create = ["--id=@t", "create", "Flow_Table", f"flow_limit={present}", "overflow_policy=refuse"]
    site.ovs.vsctl("--", *create, "--", "set", "bridge", "h1f", f"flow_tables:{NUMBER[table]}=@t")
    answer = site.ask("PUT", path, bodies[path])
    assert (answer.status, answer.body["type"]) == (502, "urn:vfswitch:problem:switch-refused")
    site.ovs.vsctl("clear", "bridge", "h1f", "flow_tables")
    wait_until(lambda: entries(site), 10, "it is as before", until=lambda now: now == before)
    assert site.ask("GET", "chains/d").status == 404
    assert list(site.client.get("/v1/functions/nat")["instances"]) == ["a"]
    back = udp(2, 1, 2000, 1000)
    assert site.through("h1f-cable", packets.tagged(back, 102), "nat-a-out") == back
    wait_until(lambda: site.ask("PUT", path, bodies[path]).status, 10, "it made", until=lambda told: told in (200, 201))
