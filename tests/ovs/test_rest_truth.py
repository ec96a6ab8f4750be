"""REST tells the truth: what it calls done stands in the switch, what it refuses has changed nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mininet_scripts.support.flow_dump import FlowEntry
from mininet_scripts.support.waiting import free_tcp_port, wait_until
from ryu_apps.pipeline.tables import NUMBER
from tests.ovs.scenario import Lab
from tests.ovs.site import Site
from tests.ovs.stations import VM1, VM2, VM3, moved, rule, tcp

WEB = {"ip_proto": "tcp", "l4_dst": 80}
Shown = set[tuple[int, int, str, str, int]]


def _shown(entries: list[FlowEntry]) -> Shown:
    return {(entry.table, entry.priority, entry.match, entry.actions, entry.cookie) for entry in entries}


def _state(lab: Lab) -> dict[str, Shown]:
    """Return what stands in both switches right now."""
    return {host: _shown(lab.ovs.dump_flows(host)) for host in ("h1", "h2")}


def test_created_means_that_the_entries_are_there(lab: Lab) -> None:
    """M15: with the 201 of a vport its entries stand in the switch, and with the 200 of its removal none is left."""
    lab.tenant(VM1)
    for _ in range(10):
        answer = lab.rest("PUT", "vports/vm2", VM2.vport)
        here = lab.ovs.dump_flows("h1")
        assert (answer.status, answer.body["outcome"]["state"]) == (201, "installed")
        assert any(entry.matches.get("in_port") == "2" for entry in here)
        assert any(entry.actions == "output:2" for entry in here)

        answer = lab.rest("DELETE", "vports/vm2")
        here = lab.ovs.dump_flows("h1")
        assert answer.status == 200
        assert not any(entry.matches.get("in_port") == "2" or entry.actions == "output:2" for entry in here)


def test_replaced_means_that_live_connections_are_changed(lab: Lab) -> None:
    """M15: with the 200 of a group the entries of the connections that it concerns are the new ones."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_cached(4)
    for number in range(10):
        action = "deny" if number % 2 == 0 else "allow"
        lab.group("web", "outbound", rule("web", WEB, action), applies_to={"vport": "vm1"})
        here = lab.ovs.dump_flows("h1", NUMBER["outbound"])
        mine = [entry for entry in here if entry.matches.get("tp_dst") == "80" and entry.priority == 100]
        assert [entry.actions == "drop" for entry in mine] == [action == "deny"]


def test_put_is_idempotent(lab: Lab) -> None:
    """M15: the same PUT again is a 200 that changes neither generation nor switch."""
    lab.tenant(VM1)
    before, generation = _state(lab), lab.get("stats")["generation"]

    answer = lab.rest("PUT", "vports/vm1", VM1.vport)

    assert (answer.status, answer.body["outcome"]["state"]) == (200, "unchanged")
    assert lab.get("stats")["generation"] == generation
    assert _state(lab) == before


def test_dry_run_shows_the_difference_and_changes_nothing(lab: Lab) -> None:
    """M15: ?dry_run=true names each entry that would come and go, which is what the change then does."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_cached(4)
    before, generation = _state(lab), lab.get("stats")["generation"]
    body = {"applies_to": "all", "direction": "outbound", "priority": 1, "rules": [rule("no", WEB, "deny")]}

    planned = lab.rest("PUT", "layers/firewall/groups/cut?dry_run=true", body)

    assert (planned.status, planned.body["outcome"]["state"]) == (200, "planned")
    assert planned.body["outcome"]["touched_flows"] == 1
    assert _state(lab) == before
    assert lab.get("stats")["generation"] == generation
    assert lab.rest("GET", "layers/firewall/groups/cut").status == 404

    lab.put("layers/firewall/groups/cut", body)
    after = _state(lab)
    gone = {entry[:3] for entry in before["h1"]} - {entry[:3] for entry in after["h1"]}
    come = after["h1"] - before["h1"]
    lines = planned.body["outcome"]["difference"]
    assert [line[:4] for line in lines] == ["- h1"] * len(gone) + ["+ h1"] * len(come)
    assert sum("actions=drop" in line for line in lines if line.startswith("+")) == 1


def test_dry_run_of_a_vport_and_of_its_removal(lab: Lab) -> None:
    """M15: the difference of a dry run is in entries that ovs-ofctl takes, and they are those that come and go."""
    lab.tenant(VM1)
    planned = lab.rest("PUT", "vports/vm2?dry_run=true", VM2.vport).body["outcome"]["difference"]
    assert lab.rest("GET", "vports/vm2").status == 404
    before = _state(lab)

    lab.put("vports/vm2", VM2.vport)

    come = _state(lab)["h1"] - before["h1"]
    added = [line[5:] for line in planned if line.startswith("+ h1 ")]
    assert len(added) == len(come)
    lab.ovs.add_bridge("scratch", 77)
    try:
        lab.ovs.ofctl("add-flows", "scratch", "-", stdin="\n".join(added))
        assert _shown(lab.ovs.dump_flows("scratch")) == come
    finally:
        lab.ovs.vsctl("del-br", "scratch")
    removal = lab.rest("DELETE", "vports/vm2?dry_run=true").body["outcome"]["difference"]
    with_it = _state(lab)["h1"]
    lab.delete("vports/vm2")
    assert _state(lab) == before
    gone = {entry[:3] for entry in with_it} - {entry[:3] for entry in before["h1"]}
    back = before["h1"] - with_it
    assert [sum(line.startswith(f"{sign} h1 ") for line in removal) for sign in "-+"] == [len(gone), len(back)]


@pytest.fixture
def full(lab: Lab) -> Iterator[Lab]:
    """Return the lab; whatever limits a test sets on tables are lifted afterwards."""
    yield lab
    for host in ("h1", "h2"):
        lab.ovs.vsctl("clear", "bridge", host, "flow_tables")


def _limit(lab: Lab, host: str, table: str) -> None:
    """Let a table take no more entries than it has."""
    limit = len(lab.ovs.dump_flows(host, NUMBER[table]))
    create = ["--id=@t", "create", "Flow_Table", f"flow_limit={limit}", "overflow_policy=refuse"]
    lab.ovs.vsctl("--", *create, "--", "set", "bridge", host, f"flow_tables:{NUMBER[table]}=@t")


def test_switch_that_refuses_is_told_and_all_is_undone(full: Lab) -> None:
    """M17: a vport that the switch has no room for is a 502 with OpenFlow's type and code, and leaves nothing."""
    full.tenant(VM1)
    full.send(VM1, tcp(VM1, VM2))
    full.wait_sent("h1-uplink")
    _limit(full, "h1", "guard")
    before, kept = _state(full), full.get("vports")["items"]

    answer = full.rest("PUT", "vports/vm2", VM2.vport)

    assert answer.status == 502
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body["type"].endswith("switch-refused")
    assert "OFPET_FLOW_MOD_FAILED" in answer.body["detail"]
    assert "OFPFMFC_TABLE_FULL" in answer.body["detail"]
    assert _state(full) == before
    assert full.get("vports")["items"] == kept
    full.send(VM1, tcp(VM1, VM2))
    assert len(full.wait_sent("h1-uplink", 2)) == 2
    assert full.packet_ins() == 1

    full.ovs.vsctl("clear", "bridge", "h1", "flow_tables")
    assert full.rest("PUT", "vports/vm2", VM2.vport).status == 201


@pytest.mark.parametrize("refusing", ["h1", "h2"])
def test_one_of_two_switches_that_refuses_undoes_the_other(full: Lab, refusing: str) -> None:
    """M17: a change of two hosts that one refuses stands on neither."""
    full.tenant(VM1, VM3)
    _limit(full, refusing, "deliver")
    before = _state(full)

    answer = full.rest("PUT", "vports/vm2", VM2.vport)

    assert answer.status == 502
    assert _state(full) == before
    assert full.rest("GET", "vports/vm2").status == 404


def test_refused_change_of_live_connections_is_undone(full: Lab) -> None:
    """M17: when the switch refuses the new entries of live connections, these go on under the old policy."""
    full.tenant(VM1, VM2)
    full.layer("firewall")
    full.group("web", "inbound", rule("no", WEB, "deny"), applies_to={"vport": "vm2"})
    full.send(VM1, tcp(VM1, VM2))
    full.wait_cached(2)
    _limit(full, "h1", "outbound")
    before = _state(full)

    answer = full.rest("DELETE", "layers/firewall/groups/web")

    assert answer.status == 502
    assert _state(full) == before
    assert full.rest("GET", "layers/firewall/groups/web").status == 200
    full.send(VM1, tcp(VM1, VM2))
    assert full.silent(VM2)


def _part(site: Site, host: str) -> None:
    """Send a bridge to a controller that is not there; its entries stay."""
    site.ovs.set_controller(host, free_tcp_port())
    wait_until(site.states, 5, f"{host} to be away", until=lambda states: states[host] == "away")


def test_switch_that_is_away(own_site: Site) -> None:
    """M26: with a switch away, a change for it is a 503 that changes nothing, or waits for it if the client says so."""
    lab = Lab(own_site).tenant(VM1)
    _part(own_site, "h2")
    before, generation = _state(lab), lab.get("stats")["generation"]

    refused = lab.rest("PUT", "vports/vm3", VM3.vport)

    assert refused.status == 503
    assert [error["path"] for error in refused.body["errors"]] == ["host"]
    assert lab.rest("GET", "vports/vm3").status == 404
    assert lab.get("stats")["generation"] == generation
    assert _state(lab) == before
    # What does not concern that host goes on as usual.
    assert lab.rest("PUT", "vports/vm2", VM2.vport).status == 201

    stored = lab.rest("PUT", "vports/vm3", VM3.vport, {"Prefer": "respond-async"})

    assert stored.status == 202
    assert stored.body["outcome"]["state"] == "stored"
    assert stored.body["outcome"]["waiting_for"] == ["h2"]
    assert lab.rest("GET", "vports/vm3").status == 200
    assert not any(entry.matches.get("in_port") == "1" for entry in lab.ovs.dump_flows("h2"))
    monitor = f"changes/{stored.body['outcome']['generation']}"
    assert stored.headers["Location"] == f"/v1/{monitor}"
    assert (lab.get(monitor)["state"], lab.get(monitor)["waiting_for"]) == ("stored", ["h2"])

    own_site.connect("h2")
    own_site.wait_ready()
    assert lab.get(monitor)["state"] == "installed"
    assert any(entry.matches.get("in_port") == "1" for entry in lab.ovs.dump_flows("h2"))
    lab.send(VM3, tcp(VM3, moved(VM1, mac="02:00:00:00:00:66")))
    assert len(lab.wait_sent("h2-uplink")) == 1


def test_switch_that_refuses_what_was_kept_for_it(own_site: Site) -> None:
    """M26: what a switch will not take when it comes back is told as failed, with its words, until it does."""
    lab = Lab(own_site).tenant(VM1)
    _part(own_site, "h2")
    stored = lab.rest("PUT", "vports/vm3", VM3.vport, {"Prefer": "respond-async"})
    monitor = f"changes/{stored.body['outcome']['generation']}"
    full = len(lab.ovs.dump_flows("h2", NUMBER["guard"]))
    table = lab.ovs.vsctl(
        "--", "--id=@table", "create", "flow_table", f"flow_limit={full}", "overflow_policy=refuse",
        "--", "set", "bridge", "h2", f"flow_tables:{NUMBER['guard']}=@table",
    ).strip()  # fmt: skip

    own_site.connect("h2")

    failed = wait_until(lambda: lab.get(monitor), 15, "the refusal", until=lambda found: found["state"] == "failed")
    (failure,) = failed["failures"]
    assert failure["host"] == "h2" and "TABLE_FULL" in failure["message"]

    lab.ovs.vsctl("remove", "flow_table", table, "flow_limit", str(full))
    wait_until(lambda: lab.get(monitor)["state"], 30, "the switch to agree", until=lambda state: state == "installed")
    assert lab.get(monitor)["failures"] == []


def test_hosts_show_what_is_known_of_their_datapaths(own_site: Site) -> None:
    """M26: GET /v1/hosts tells ready, away and unregistered, with ports, and a host registered later is brought up."""
    lab = Lab(own_site)
    live = lab.get("hosts/h1")["live"]
    assert (live["state"], live["connected"], live["ports"]["h1-vf2"]) == ("ready", True, 2)

    lab.ovs.add_bridge("h3", 3, {"h3-vf1": 1, "h3-uplink": 9})
    own_site.connect("h3")
    (stranger,) = wait_until(lambda: lab.get("hosts")["unregistered"], 5, "the unregistered datapath")
    assert (int(stranger["dpid"], 16), stranger["ports"]["h3-vf1"]) == (3, 1)
    assert lab.ovs.dump_flows("h3") == []

    assert lab.rest("PUT", "hosts/h3", {"dpid": "3", "uplink": "h3-uplink"}).status == 201
    assert len(lab.ovs.dump_flows("h3")) > 5
    assert lab.get("hosts")["unregistered"] == []

    lab.ovs.vsctl("del-br", "h3")
    wait_until(lambda: lab.get("hosts/h3")["live"]["state"], 5, "h3 to be away", until=lambda state: state == "away")


def test_host_of_another_name_for_the_same_switch_is_a_conflict(lab: Lab) -> None:
    """M26: a second host for a datapath that has one is refused."""
    answer = lab.rest("PUT", "hosts/other", {"dpid": "1"})
    assert answer.status == 409
    assert [error["path"] for error in answer.body["errors"]] == ["dpid"]
