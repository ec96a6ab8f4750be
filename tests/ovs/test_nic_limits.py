"""A NIC that can hold and do less than the host: what it lacks the host forwards, packet for packet."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from mininet_scripts.support.waiting import wait_until
from ryu_apps.engine.meter_id import meter_id
from tests.ovs.scenario import Lab
from tests.ovs.site import Site
from tests.ovs.stations import VM1, VM2, VM3, VM4, Station, rewrite, rule, tcp, udp

LIMIT = 8
CONNECTIONS = 30


def limit(lab: Lab, host: str = "h1", **limits: object) -> Any:
    """Put a host's limits; return the answer."""
    body = {"dpid": host[1:], "uplink": f"{host}-uplink", "limits": limits}
    return lab.put(f"hosts/{host}", body)


@pytest.fixture(autouse=True)
def _unlimited(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give the shared NICs no limits again."""
    lab = request.getfixturevalue("lab") if "lab" in request.fixturenames else None
    yield
    if lab is not None:
        limit(lab, "h1")
        limit(lab, "h2")


def counts(lab: Lab) -> Counter[tuple[str, str]]:
    """Return the counts so far, by vport and name."""
    vports = lab.get("stats")["vports"].items()
    return Counter({(vm, name): n for vm, found in vports for name, n in found.items() if isinstance(n, int)})


def flows_at(lab: Lab, vm: Station) -> dict[int, Any]:
    """Return the connections that a VM began, by its own port."""
    shown = lab.get(f"flows?vport={vm.name}&limit=1000")["items"]
    return {int(flow["key"]["l4_src"]): flow for flow in shown if flow["key"]["eth_src"] == vm.mac}


def fits(lab: Lab, most: int = LIMIT, host: str = "h1") -> bool:
    """Return whether neither cache of a host holds more entries than it may."""
    return all(len(lab.cached(host, table)) <= most for table in ("outbound", "inbound"))


def talk(lab: Lab, number: int, dport: int = 80) -> None:
    """Let one packet of a connection of vm1 and one of vm2 come through, each as it was sent."""
    for source, target, ports in ((VM1, VM2, (number, dport)), (VM2, VM1, (dport, number))):
        sent = udp(source, target, *ports, b"%d" % number)
        there = len(lab.sent(target))
        lab.send(source, sent)
        assert lab.wait_sent(target, there + 1)[there:] == [sent]


def test_more_connections_than_a_nic_has_room_for_all_work(lab: Lab) -> None:
    """M11: with room for L entries and more connections, all packets arrive, and no rule is asked twice."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", stateful=True, inbound="deny")
    lab.group("dns", "inbound", rule("dns", {"ip_proto": "udp", "l4_dst": 80}))
    limit(lab, outbound_entries=LIMIT, inbound_entries=LIMIT)
    before = counts(lab)
    for _ in range(3):
        for number in range(1, CONNECTIONS + 1):
            talk(lab, number)
            assert fits(lab)
    lab.settle()
    assert lab.get("stats")["flows"] == CONNECTIONS
    found = counts(lab) - before
    assert found["vm1", "nic-evictions"] > 0
    assert found["vm1", "host-forwarded"] > CONNECTIONS
    # Every miss but the first of each connection was known to the host.
    hits = sum(number for (_, name), number in found.items() if name == "host-hits")
    assert hits == sum(number for (_, name), number in found.items() if name == "misses") - CONNECTIONS
    flows = flows_at(lab, VM1).values()
    states = {(flow["offload"]["effective"], flow["offload"]["reason"]) for flow in flows}
    assert ("host", "nic-full") in states
    live = next(item["live"] for item in lab.get("hosts")["items"] if item["id"] == "h1")
    assert live["nic_entries"] == {"outbound": len(lab.cached("h1", "outbound")), "inbound": LIMIT}


def test_a_scan_of_one_vf_leaves_the_flows_of_another_in_the_nic(lab: Lab) -> None:
    """M11: connections of one packet take no room from another VF's busy ones."""
    lab.tenant(VM1, VM2, VM4)
    limit(lab, outbound_entries=16, inbound_entries=None)
    busy = range(1001, 1005)
    for _ in range(3):
        for number in busy:
            talk(lab, number)
    lab.settle()
    before = {entry.cookie for entry in lab.cached("h1", "outbound") if f"reg1={VM1.vlan:#x}" in entry.match}
    assert len(before) == len(busy)
    counted = counts(lab)
    lab.send(VM4, *(udp(VM4, VM2, number, 9) for number in range(2001, 2201)))
    lab.settle()
    assert before <= {entry.cookie for entry in lab.cached("h1", "outbound")}
    assert len(lab.cached("h1", "outbound")) <= 16
    found = counts(lab) - counted
    assert found["vm1", "nic-evictions"] == 0 and found["vm4", "nic-refusals"] > 100


@pytest.mark.parametrize("before", [None, CONNECTIONS - 2], ids=["unlimited", "limited"])
def test_a_dry_run_of_a_limit_names_the_entries_that_go(lab: Lab, before: int | None) -> None:
    """M11: what ?dry_run=true says a smaller limit takes out of the NIC is what the change then takes."""
    lab.tenant(VM1, VM2)
    limit(lab, outbound_entries=before, inbound_entries=before)
    for number in range(1, CONNECTIONS + 1):
        talk(lab, number)
    lab.settle()
    limits: dict[str, Any] = {"outbound_entries": LIMIT, "inbound_entries": LIMIT + 2}
    body = {"dpid": "1", "uplink": "h1-uplink", "limits": limits}
    there = Counter(entry.match for entry in lab.cached())
    planned = lab.rest("PUT", "hosts/h1?dry_run=true", body).body["outcome"]["difference"]
    assert Counter(entry.match for entry in lab.cached()) == there
    limit(lab, **limits)
    left = Counter(entry.match for entry in lab.cached())
    assert len(planned) == (there - left).total() > 0
    ports = Counter(re.search(r"(?:tp|udp)_src=(\d+)", line)[1] for line in planned)  # type: ignore[index]
    gone = Counter(re.search(r"tp_src=(\d+)", match)[1] for match in (there - left).elements())  # type: ignore[index]
    assert not left - there
    # A cache that is counted learns more of its flows each second, which may come in between.
    assert ports == gone or before is not None
    assert all(line.startswith("- h1 ") for line in planned)


def test_a_denied_packet_that_the_host_sees_has_passed_the_meters_before(lab: Lab) -> None:
    """M06 M12: where the NIC lacks meters, packets that a later layer denies count in an earlier rule's meter."""
    lab.tenant(VM1, VM2)
    limit(lab, actions=[])
    lab.layer("shape", 1)
    lab.group("g", "outbound", rule("slow", {"ip_proto": "udp"}, {"type": "meter", "pps": 1000}), layer="shape",
              applies_to={"vport": "vm1"})  # fmt: skip
    lab.layer("firewall", 2)
    lab.group("no", "outbound", rule("no", {"ip_proto": "udp", "l4_dst": 9}, "deny"))
    lab.send(VM1, *[udp(VM1, VM2, 1000, 9)] * 4)
    lab.settle()
    lab.send(VM1, *[udp(VM1, VM2, 1000, 10)] * 3)
    assert len(lab.wait_sent(VM2, 3)) == 3
    number = meter_id("vm1", "shape", "g", "slow")
    assert "packet_in_count:7 " in lab.ovs.ofctl("meter-stats", "h1", f"meter={number}")


def test_an_action_that_the_nic_lacks_keeps_its_flow_in_the_host(lab: Lab) -> None:
    """M12: its packets are edited all the same, both ways pass, the others are offloaded, and each flow says why."""
    lab.tenant(VM1, VM2)
    limit(lab, actions=["nat"])
    lab.layer("firewall")
    lab.group("mark", "outbound", rule("mark", {"ip_proto": "udp", "l4_dst": 80}, rewrite(ip_dscp=46)))
    for round_ in range(3):
        lab.send(VM1, udp(VM1, VM2, 5000, 80, b"%d" % round_))
        assert lab.wait_sent(VM2, round_ + 1)[round_] == udp(VM1, VM2, 5000, 80, b"%d" % round_, dscp=46)
        lab.send(VM2, udp(VM2, VM1, 80, 5000))
        lab.wait_sent(VM1, round_ + 1)
    assert lab.cached() == []
    talk(lab, 5001, 81)
    flows = flows_at(lab, VM1)
    assert flows[5000]["offload"] == {"effective": "host", "reason": "action-unsupported", "lacks": "rewrite"}
    assert not any(leg["installed"] for leg in flows[5000]["forward"] + flows[5000]["reply"])
    assert flows[5001]["offload"] == {"effective": "nic", "reason": "auto"}
    assert all(leg["installed"] for leg in flows[5001]["forward"] + flows[5001]["reply"])
    # The NIC learns it: the connection, which lives on, is in the NIC when the change is confirmed.
    limit(lab, actions=None)
    assert len(lab.cached()) == 8
    limit(lab, actions=["nat"])
    assert len(lab.cached()) == 4 and lab.get("stats")["flows"] == 2


def test_a_rule_says_whether_its_flows_are_offloaded(lab: Lab) -> None:
    """S14: off keeps them in the host, on is in force or refused with the path, and the flow tells which."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    off = {**rule("off", {"ip_proto": "udp", "l4_dst": 80}), "offload": "off"}
    on = {**rule("on", {"ip_proto": "udp", "l4_dst": 81}), "offload": "on"}
    lab.group("wishes", "outbound", off, on)
    talk(lab, 5000, 80)
    talk(lab, 5001, 81)
    flows = flows_at(lab, VM1)
    assert flows[5000]["offload"] == {"effective": "host", "reason": "rule"}
    assert flows[5001]["offload"] == {"effective": "nic", "reason": "rule"}
    assert len(lab.cached()) == 4
    # A change of the wish alone takes effect on the live connection.
    lab.put("layers/firewall/groups/wishes/rules/off", {**off, "offload": "auto"})
    assert len(lab.cached()) == 8
    talk(lab, 5000, 80)
    assert flows_at(lab, VM1)[5000]["offload"] == {"effective": "nic", "reason": "auto"}


def test_a_demand_that_cannot_be_met_is_refused(lab: Lab) -> None:
    """S14: offload on is an error where a NIC lacks the action: 422 for the rule, 409 for the NIC; nothing changes."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    demanded = {"priority": 1, "match": {}, "action": rewrite(ip_dscp=46), "offload": "on"}
    limit(lab, actions=["nat"])
    body = {"direction": "outbound", "priority": 1, "rules": [{"id": "r", **demanded}]}
    answer = lab.rest("PUT", "layers/firewall/groups/wishes", body)
    assert (answer.status, [error["path"] for error in answer.body["errors"]]) == (422, ["rules[r].offload"])
    limit(lab, actions=["rewrite"])
    lab.put("layers/firewall/groups/wishes", body)
    host = {"dpid": "1", "uplink": "h1-uplink", "limits": {"actions": ["nat"]}}
    answer = lab.rest("PUT", "hosts/h1", host)
    assert (answer.status, [error["path"] for error in answer.body["errors"]]) == (409, ["limits.actions"])
    assert lab.get("hosts/h1")["limits"]["actions"] == ["rewrite"]
    answer = lab.rest("PUT", "hosts/h1", {**host, "limits": {"actions": ["fly"], "meters": -1}})
    assert answer.status == 422
    assert {error["path"] for error in answer.body["errors"]} == {"limits.actions[0]", "limits.meters"}


def test_a_smaller_table_is_kept_from_the_moment_of_the_answer(lab: Lab) -> None:
    """M11: entries above a new limit are gone when it is confirmed, idle ones first; without a limit all return."""
    lab.tenant(VM1, VM2)
    for number in range(1, 11):
        talk(lab, number)
    for _ in range(5):
        talk(lab, 3)
    assert len(lab.cached("h1", "outbound")) == 20
    lab.refresh()
    limit(lab, outbound_entries=4, inbound_entries=4)
    assert [len(lab.cached("h1", table)) for table in ("outbound", "inbound")] == [4, 4]
    busy = flows_at(lab, VM1)[3]
    assert busy["offload"]["effective"] == "nic", busy
    limit(lab, outbound_entries=2, inbound_entries=4)
    assert len(lab.cached("h1", "outbound")) == 2
    lab.settle()
    stats = lab.get("stats")
    assert stats["flows"] == 10 and stats["counts"]["nic-evictions"] >= 34
    for number in range(1, 11):
        talk(lab, number)
    assert fits(lab, 4)
    limit(lab)
    assert [len(lab.cached("h1", table)) for table in ("outbound", "inbound")] == [20, 20]


def test_connections_across_hosts_pass_where_one_nic_is_full(lab: Lab) -> None:
    """M11: what one host's NIC has no room for is edited and forwarded there, and is in the other's."""
    lab.tenant(VM1, VM3)
    limit(lab, "h1", outbound_entries=0, inbound_entries=1)
    lab.layer("nat", stateful=True)
    nat = {"type": "nat", "source": {"ip": "10.0.0.77", "port": 7777}}
    lab.group("nat", "outbound", rule("nat", {"ip_proto": "tcp", "l4_dst": 80}, nat), layer="nat")
    for number in (1, 2, 3):
        lab.send(VM1, tcp(VM1, VM3, 4000, 80, flags=2 if number == 1 else 16))
        lab.carry("h1", "h2")
        assert len(lab.wait_sent(VM3, number)) == number
        lab.send(VM3, tcp(VM3, VM1, 80, 7777, flags=18).replace(b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x4d"))
        lab.carry("h2", "h1")
        lab.wait_sent(VM1, number)
    assert lab.cached("h1", "outbound") == [] and len(lab.cached("h1", "inbound")) == 1
    assert len(lab.cached("h2")) == 2
    (flow,) = lab.get("flows")["items"]
    assert flow["forward"][0]["offload"] == {"effective": "host", "reason": "nic-full"}
    assert flow["forward"][1]["offload"] == {"effective": "nic", "reason": "auto"}


def test_a_flow_in_the_host_ages_there(lab: Lab) -> None:
    """M10, M11: a connection of which no NIC has an entry ends after the idle time that its entries would have."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    short = {**rule("short", {"ip_proto": "udp"}, idle_timeout_s=1), "offload": "off"}
    lab.group("short", "outbound", short)
    talk(lab, 5000)
    assert lab.get("stats")["flows"] == 1
    wait_until(lambda: lab.get("stats")["flows"], 12, "the flow to end", until=lambda flows: not flows)


def test_what_a_nic_holds_counts_after_a_restart(own_site: Site) -> None:
    """M26: entries that are taken over are within the limit, and connections that were partly in the NIC go on."""
    lab = Lab(own_site).tenant(VM1, VM2)
    limit(lab, outbound_entries=6, inbound_entries=3)
    for number in range(1, 11):
        talk(lab, number)
    before = {entry.cookie for entry in lab.cached()}
    own_site.controller.kill9()
    own_site.controller.start()
    own_site.wait_ready()
    assert {entry.cookie for entry in lab.cached()} == before
    live = next(item["live"] for item in lab.get("hosts")["items"] if item["id"] == "h1")
    assert live["nic_entries"] == {"outbound": 6, "inbound": 3}
    for number in range(1, 11):
        talk(lab, number)
        assert len(lab.cached("h1", "outbound")) <= 6 and len(lab.cached("h1", "inbound")) <= 3


def test_the_busy_stay_when_counters_tell(lab: Lab) -> None:
    """M11: the counters of the NIC are read once a second, and a flow that it serves stays when others come."""
    lab.tenant(VM1, VM2)
    limit(lab, outbound_entries=4)
    talk(lab, 1)
    lab.settle()
    for _ in range(3):
        lab.send(VM1, *(udp(VM1, VM2, 1, 80) for _ in range(20)))
        lab.settle()
        time.sleep(1.2)
    for _ in range(2):
        for number in range(2, 20):
            talk(lab, number)
    assert flows_at(lab, VM1)[1]["forward"][0]["offload"]["effective"] == "nic"
