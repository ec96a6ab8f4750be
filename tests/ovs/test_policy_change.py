"""Policy changes on live connections: at once, precisely, and as a whole."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from mininet_scripts.support.flow_dump import FlowEntry
from mininet_scripts.support.waiting import wait_until
from ryu_apps.pipeline.tables import NUMBER
from tests.ovs import packets
from tests.ovs.harness import snoop
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, VM1, VM2, VM3, VM4, rewrite, rule, tcp, udp

WEB = {"ip_proto": "tcp", "l4_dst": 80}
FROM_WEB = {"ip_proto": "tcp", "l4_src": 80}
Identity = tuple[int, str, int, int]


def _identities(entries: list[FlowEntry]) -> set[Identity]:
    """Return what must not change of an entry that a change does not concern."""
    return {(entry.table, entry.match, entry.cookie, entry.n_packets) for entry in entries}


def _age_s(entry: FlowEntry) -> float:
    return float(entry.text.partition("duration=")[2].partition("s")[0])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("direction", ["outbound", "inbound"])
def test_allow_becomes_deny_and_allow_again(lab: Lab, direction: str, version: int) -> None:
    """M15: a live connection is cut by a rule of either direction on its next packet, and goes on when it is gone."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.send(VM1, tcp(VM1, VM2, version=version))
    lab.wait_sent(VM2)
    vport = "vm1" if direction == "outbound" else "vm2"

    answer = lab.group("cut", direction, rule("no", WEB, "deny"), applies_to={"vport": vport})
    lab.refresh()
    lab.send(VM1, tcp(VM1, VM2, version=version))
    lab.settle()
    assert len(lab.sent(VM2)) == 1
    assert answer["outcome"]["touched_flows"] == 1

    lab.delete("layers/firewall/groups/cut")
    lab.refresh()
    lab.send(VM1, tcp(VM1, VM2, version=version))
    assert len(lab.wait_sent(VM2, 2)) == 2
    assert lab.packet_ins() == 1


@pytest.mark.parametrize("version", [4, 6])
def test_deny_becomes_allow_and_deny_again(lab: Lab, version: int) -> None:
    """M15: a denied tuple passes from the next packet on once a rule allows it, although its drop is cached."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", outbound="deny")
    lab.send(VM1, tcp(VM1, VM2, version=version))
    lab.wait_cached(1)

    lab.group("open", "outbound", rule("web", WEB))
    lab.refresh()
    lab.send(VM1, tcp(VM1, VM2, version=version))
    assert lab.wait_sent(VM2) == [tcp(VM1, VM2, version=version)]

    lab.put("layers/firewall/groups/open/rules/web", {"priority": 100, "match": WEB, "action": {"type": "deny"}})
    lab.refresh()
    lab.send(VM1, tcp(VM1, VM2, version=version))
    lab.settle()
    assert len(lab.sent(VM2)) == 1


def test_each_direction_of_a_connection_on_its_own(lab: Lab) -> None:
    """M15: a rule on the way back stops replies only; the way forth goes on with its entries as they were."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.send(VM1, tcp(VM1, VM2))
    lab.send(VM2, tcp(VM2, VM1, 80, 40000))
    lab.wait_sent(VM1)

    lab.group("back", "outbound", rule("no", FROM_WEB, "deny"), applies_to={"vport": "vm2"})
    lab.refresh()
    lab.send(VM2, tcp(VM2, VM1, 80, 40000))
    lab.send(VM1, tcp(VM1, VM2))

    assert len(lab.wait_sent(VM2, 2)) == 2
    lab.settle()
    assert len(lab.sent(VM1)) == 1


def test_a_change_takes_effect_on_both_hosts(lab: Lab) -> None:
    """M15: when the answer is there, a connection across hosts is cut at the sender and at the receiver."""
    lab.tenant(VM1, VM3)
    lab.layer("firewall")
    lab.send(VM1, tcp(VM1, VM3))
    lab.wait_cached(2, "h1")
    lab.wait_cached(2, "h2")

    lab.group("in", "inbound", rule("no", WEB, "deny"), applies_to={"vport": "vm3"})

    assert [entry.actions for entry in lab.cached("h2", "inbound")] == ["drop"]
    lab.delete("layers/firewall/groups/in")
    (again,) = lab.cached("h2", "inbound")
    assert again.actions.endswith(f"goto_table:{NUMBER['closing']}")


def test_what_a_change_does_not_concern_is_not_touched(lab: Lab) -> None:
    """M15: other connections, of the same VM and of others, keep their entries: cookie, counters and age."""
    lab.tenant(VM1, VM2, VM4)
    lab.layer("firewall")
    lab.send(VM1, tcp(VM1, VM2), udp(VM1, EXT))
    lab.send(VM4, tcp(VM4, VM2))
    lab.settle()
    lab.send(VM4, tcp(VM4, VM2))
    lab.settle()
    before = lab.cached()
    victims = [entry for entry in before if entry.matches.get("nw_src") == VM1.ip and "tcp" in entry.matches]
    victims += [entry for entry in before if entry.matches.get("nw_dst") == VM1.ip and "tcp" in entry.matches]
    kept = [entry for entry in before if entry not in victims]
    assert (len(victims), len(kept)) == (4, 6)

    lab.group("cut", "outbound", rule("no", WEB, "deny"), applies_to={"vport": "vm1"})

    after = {(entry.table, entry.match): entry for entry in lab.cached()}
    assert _identities(kept) <= _identities(list(after.values()))
    assert all(_age_s(after[entry.table, entry.match]) >= _age_s(entry) for entry in kept)
    cut = [entry for entry in after.values() if entry.matches.get("nw_src") == VM1.ip and "tcp" in entry.matches]
    assert [entry.actions for entry in cut] == ["drop"]


def test_only_what_differs_is_sent(lab: Lab) -> None:
    """M15: a change that touches one of many connections sends entries for that one alone."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.send(VM1, *(tcp(VM1, VM2, sport) for sport in range(1000, 1050)))
    lab.wait_cached(200)
    bundled = lab.site.snoops["h1"]
    sent = bundled.count(snoop.BUNDLE_ADD)

    one = {"ip_proto": "tcp", "l4_src": 1007, "l4_dst": 80}
    answer = lab.group("cut", "outbound", rule("no", one, "deny"), applies_to={"vport": "vm1"})

    assert answer["outcome"]["touched_flows"] == 1
    # Four entries of the connection at most, each taken out or put in.
    lab.settle()
    assert bundled.count(snoop.BUNDLE_ADD) - sent <= 4
    assert [entry.matches["tp_src"] for entry in lab.cached(table="outbound") if entry.actions == "drop"] == ["1007"]


def test_rewrites_change_on_live_connections(lab: Lab) -> None:
    """M15: a live connection carries another mark from the next packet on."""
    lab.tenant(VM1, VM2)
    lab.layer("mark")
    lab.group("mark", "outbound", rule("mark", {}, rewrite(ip_dscp=10)), layer="mark")
    lab.send(VM1, udp(VM1, VM2))
    assert packets.read(lab.wait_sent(VM2)[0]).dscp == 10

    lab.group("mark", "outbound", rule("mark", {}, rewrite(ip_dscp=20)), layer="mark")
    lab.refresh()
    lab.send(VM1, udp(VM1, VM2))

    assert packets.read(lab.wait_sent(VM2, 2)[1]).dscp == 20
    assert lab.packet_ins() == 1


def test_translation_taken_away_ends_on_live_connections(lab: Lab) -> None:
    """M15: when a translation is removed, a live connection goes on with the VM's own address, without leftovers."""
    lab.tenant(VM1)
    lab.layer("nat")
    action = {"type": "nat", "source": {"ip": "10.0.0.200"}}
    lab.group("nat", "outbound", rule("nat", {"eth_type": "ipv4"}, action), layer="nat")
    lab.send(VM1, udp(VM1, EXT))
    lab.wait_sent("h1-uplink")

    lab.delete("layers/nat/groups/nat")
    lab.refresh()
    lab.send(VM1, udp(VM1, EXT))

    assert packets.read(lab.wait_sent("h1-uplink", 2)[1]).src == VM1.ip
    assert not any("10.0.0.200" in entry.text for entry in lab.cached())


def test_generation_is_shown_and_renewed_without_touching_the_entry(lab: Lab) -> None:
    """M16: a change that leaves the verdict as it is renews the flow's generation; its entries stay untouched."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    made = lab.group("web", "outbound", rule("web", WEB))["outcome"]["generation"]
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_sent(VM2)
    (flow,) = lab.get("flows")["items"]
    assert (flow["generation"], flow["renewed_generation"]) == (made, made)
    before = _identities(lab.cached())

    renewed = lab.group("web", "outbound", rule("also-web", WEB))["outcome"]["generation"]

    (flow,) = lab.get("flows")["items"]
    assert (flow["generation"], flow["renewed_generation"]) == (made, renewed)
    assert flow["forward"][0]["layers"][0]["rule"] == "also-web"
    assert _identities(lab.cached()) == before


def test_generation_of_a_changed_verdict_is_the_changes(lab: Lab) -> None:
    """M16: a flow whose verdict changed shows the generation of that change."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_sent(VM2)

    changed = lab.group("cut", "outbound", rule("no", WEB, "deny"))["outcome"]["generation"]

    (flow,) = lab.get("flows")["items"]
    assert (flow["state"], flow["generation"], flow["renewed_generation"]) == ("denied", changed, changed)


RULES = 500


def _marking(dscp: int) -> list[dict[str, object]]:
    """Return a rule for each of many ports, all with one mark."""
    return [
        rule(f"r{port}", {"ip_proto": "udp", "l4_dst": port}, rewrite(ip_dscp=dscp), priority=port)
        for port in range(1000, 1000 + RULES)
    ]


def test_no_probe_sees_half_a_rule_set(lab: Lab) -> None:
    """M17: while a group of 500 rules is replaced every probe passes, with the old mark or the new and no other."""
    lab.tenant(VM1, VM2)
    lab.layer("mark", outbound="deny")
    lab.group("mark", "outbound", *_marking(10), layer="mark")
    live = [udp(VM1, VM2, 7, port) for port in range(1000, 1000 + RULES)]
    lab.send(VM1, *live)
    lab.settle()
    assert len(lab.wait_sent(VM2, RULES)) == RULES
    rounds, done = [0], threading.Event()

    def probe() -> None:
        while not done.is_set():
            rounds[0] += 1
            fresh = [udp(VM1, VM2, 100 + rounds[0], port) for port in range(1000, 1000 + RULES, 25)]
            lab.send(VM1, *live, *fresh)

    prober = threading.Thread(target=probe)
    prober.start()
    try:
        for dscp in (20, 10, 20):
            lab.group("mark", "outbound", *_marking(dscp), layer="mark")
            # The one that is under way may be behind the change in part only; the next is so as a whole.
            another = rounds[0] + 2
            wait_until(lambda: rounds[0], 20, "another round of probes", until=another.__le__)
    finally:
        done.set()
        prober.join()
    sent = RULES + rounds[0] * (RULES + RULES // 25)

    reads = [packets.read(found) for found in lab.wait_sent(VM2, sent, timeout_s=20)]

    assert len(reads) == sent
    assert {read.dscp for read in reads} == {10, 20}
    for port in range(1000, 1000 + RULES):
        marks = [read.dscp for read in reads if (read.sport, read.dport) == (7, port)]
        changes = [new for old, new in pairwise(marks) if old != new]
        assert changes == [20, 10, 20], port
