"""What may not stand together where segments have chains."""

from __future__ import annotations

from typing import Any

import pytest

from ryu_apps.model.checks import check
from ryu_apps.model.errors import Conflict, Invalid, VfswitchError
from ryu_apps.model.policy import Change, Snapshot
from tests.unit.model.test_hairpin import delete, host, put, rule, vport


def function(name: str, *instances: str, **more: Any) -> Change:
    """Return the change that puts a function with instances on host h1."""
    made = {one: {"host": "h1", "inside": f"{name}-{one}-in", "outside": f"{name}-{one}-out"} for one in instances}
    return put("functions", name, **{"instances": made, **more})


def chain(name: str, *hops: str, **more: Any) -> Change:
    """Return the change that puts a chain of tenant red."""
    return put("chains", name, **{"tenant": "red", "hops": list(hops), "mark": 1, **more})


BASE = (
    host(1),
    put("hosts", "plain", dpid="9", uplink="up"),
    put("tenants", "red"),
    put("tenants", "blue"),
    put("segments", "lab", tenant="red", vlan=200, number=2),
    put("segments", "blue", tenant="blue", vlan=None, number=3),
    function("fw", "a", "b"),
    function("nat", "a", rewriting=True),
    function("ids", "a", keeps_apart=True),
    chain("c", "fw", "nat"),
    put("segments", "red", tenant="red", vlan=0, number=1, chain="c"),
    vport("vm1", 1, subinterface=None),
    put("layers", "fw", position=1),
)
STEERED = host(8, hairpin={"steering": "mac", "network_port": {"dpid": "28", "uplink": "up"}})
ON_STEERED = vport("vm8", 8, host="h8", segment="lab")
THROUGH = rule({"type": "chain", "chain": "c"})


def faults(*changes: Change, before: tuple[Change, ...] = BASE) -> tuple[type[VfswitchError], list[str]]:
    """Return the error that changes of the base meet, and the paths it names."""
    with pytest.raises(VfswitchError) as caught:
        check(check(Snapshot(), before), changes)
    return type(caught.value), [fault.path for fault in caught.value.errors]


@pytest.mark.parametrize("changes, error, path", [
    ([chain("x", "fw")], Conflict, "hops[0]"),
    ([chain("x", "fw", tenant="blue")], Conflict, "hops[0]"),
    ([chain("x", "ids")], Invalid, "vlan"),
    ([chain("x", "ids", vlan=200)], Conflict, "vlan"),
    ([chain("x", "ids", vlan=101)], Conflict, "vlan"),
    ([chain("x", "ids", vlan=7), chain("y", "ids", vlan=7)], Conflict, "vlan"),
    ([chain("x", "ids", vlan=7, segment="blue")], Invalid, "segment"),
    ([chain("x", "ids", vlan=7, mark=8)], Invalid, "segment"),
    ([chain("x", "nobody")], Invalid, "hops[0]"),
    ([chain("x", "ids", "ids", vlan=7)], Invalid, "hops[1]"),
    ([put("functions", "x", instances={"a": {"host": "plain", "inside": "i", "outside": "o"}})], Invalid,
     "instances.a.host"),
    ([put("functions", "x", instances={"a": {"host": "h1", "inside": "f-cable", "outside": "o"}})], Conflict,
     "instances.a.inside"),
    ([put("functions", "x", instances={"a": {"host": "h1", "inside": "i", "outside": "fw-a-in"}})], Conflict,
     "instances.a.outside"),
    ([put("functions", "x",
          instances={"a": {"host": "h1", "inside": "i", "outside": "o", "macs": ["02:00:00:00:00:99"]}})],
     Invalid, "instances.a.macs"),
    ([put("functions", "x", rewriting=True,
          instances={"a": {"host": "h1", "inside": "i", "outside": "o", "macs": ["02:00:00:00:00:01"]}})],
     Conflict, "instances.a.macs[0]"),
    ([put("functions", "x", instances={one: {"host": "h1", "inside": "i", "outside": "o"} for one in "ab"})],
     Conflict, "instances.a.inside"),
    ([vport("vm2", 2, subinterface="fw-a-in")], Conflict, "subinterface"),
    ([vport("vm2", 2, host="plain", subinterface=None)], Invalid, "host"),
    ([function("fw", "a")], Conflict, "instances.b"),
    ([function("ids", "a"), chain("x", "ids"), chain("y", "ids")], Conflict, "keeps_apart"),
    ([put("segments", "red", tenant="red", vlan=0, number=1)], Conflict, "chain"),
    ([put("segments", "lab", tenant="red", vlan=200, number=2, chain="c")], Invalid, "chain"),
    ([put("segments", "red", tenant="red", vlan=0, number=1, chain="x")], Invalid, "chain"),
    ([put("outlets", "o", host="h1", segment="lab", port="n-lab", chain_port="p")], Invalid, "chain_port"),
    ([put("outlets", "o", host="h1", segment="red", port="n-red", chain_port="fw-a-in")], Conflict, "chain_port"),
    ([put("hosts", "h1", dpid="1")], Conflict, "hairpin"),
    ([delete("functions", "fw")], Conflict, "id"),
    ([delete("chains", "c")], Conflict, "id"),
    ([delete("hosts", "h1")], Conflict, "id"),
    ([rule({"type": "chain", "chain": "x"})], Invalid, "rules[r].action.chain"),
    ([vport("vm2", 2, segment="lab"), THROUGH], Invalid, "rules[r].action.chain"),
    ([THROUGH, delete("chains", "c")], Conflict, "id"),
    ([host(1, hairpin={"steering": "mac"})], Conflict, "hairpin"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(changes: list[Change], error: type[VfswitchError], path: str) -> None:
    """H11: everything that functions, chains and their users say of each other holds, or the field is named."""
    found, paths = faults(*changes)
    assert (found, path in paths) == (error, True)


def with_own_mac(name: str) -> Change:
    """Return the change that puts a function which sends with a MAC of its own."""
    place = {"host": "h1", "inside": f"{name}-in", "outside": f"{name}-out", "macs": ["02:00:00:00:0f:01"]}
    return put("functions", name, rewriting=True, instances={"b": place})


def with_cable(name: str) -> Change:
    """Return the change that has the cable at another port of NIC port 2."""
    network = {"dpid": "21", "uplink": "up"}
    nic = {"cable": "cable", "function_port": {"dpid": "11", "cable": name}, "network_port": network}
    return host(1, hairpin=nic)


@pytest.mark.parametrize("changes, path", [
    ([put("segments", "lab", tenant="red", vlan=7, number=2)], "vlan"),
    ([vport("vm2", 2, subinterface=None, vlan=7)], "vlan"),
    ([vport("vm2", 2, subinterface=None, mac="02:00:00:00:0f:01")], "mac"),
    ([with_own_mac("y")], "instances.b.macs[0]"),
    ([with_cable("fw-a-in")], "hairpin.function_port.cable"),
    ([with_cable("f-net")], "hairpin.function_port.cable"),
])  # fmt: skip
def test_what_comes_later_takes_nothing_from_chains(changes: list[Change], path: str) -> None:
    """H11: the VLAN of a chain, the MAC of a function and the ports of both stay theirs, whoever is put after them."""
    outlet = put("outlets", "o", host="h1", segment="red", port="n-red", chain_port="f-net")
    base = (*BASE, chain("x", "ids", vlan=7, mark=2), with_own_mac("f"))
    assert faults(*changes, before=(*base, outlet)) == (Conflict, [path])


OF_LAB = chain("x", "ids", vlan=7, segment="lab")


@pytest.mark.parametrize("changes, error, path", [
    ([put("functions", "x", instances={"a": {"host": "h8", "inside": "i", "outside": "o"}})], Invalid,
     "instances.a.host"),
    ([vport("vm9", 9, host="h8")], Invalid, "host"),
    ([put("outlets", "o", host="h8", segment="red", port="n-red", chain_port="p")], Invalid, "chain_port"),
    ([OF_LAB, put("segments", "lab", tenant="red", vlan=200, number=2, chain="x")], Conflict, "chain"),
    ([OF_LAB, rule({"type": "chain", "chain": "x"})], Invalid, "rules[r].action.chain"),
])  # fmt: skip
def test_chains_are_behind_a_cable(changes: list[Change], error: type[VfswitchError], path: str) -> None:
    """H11 H15: a host that steers by MAC has no NIC port 2 for chains, so whatever would lead to one is refused."""
    assert faults(*changes, before=(*BASE, STEERED, ON_STEERED)) == (error, [path])


def test_a_chain_that_a_rule_names_keeps_its_segment() -> None:
    """H14: what a rule says by a chain's mark stays true."""
    base = (*BASE, chain("d", "ids", vlan=7, mark=2), rule({"type": "chain", "chain": "d"}))
    assert faults(chain("d", "ids", vlan=7, mark=1, segment="lab"), before=base) == (Conflict, ["segment"])


def test_what_is_drained_may_go() -> None:
    """H12: an instance with weight 0 is taken out of a chain's function; where no chain is, any one."""
    drained = {"host": "h1", "inside": "fw-b-in", "outside": "fw-b-out", "weight": 0}
    kept = {"host": "h1", "inside": "fw-a-in", "outside": "fw-a-out"}
    before = check(check(Snapshot(), BASE), [put("functions", "fw", instances={"a": kept, "b": drained})])
    after = check(before, [function("fw", "a"), function("ids")])
    assert [one.id for one in after.functions["fw"].instances] == ["a"]
    assert after.functions["ids"].instances == ()


def test_marks_are_the_lowest_that_are_free() -> None:
    """H11: a segment has seven marks, and an eighth chain finds none."""
    snapshot = check(Snapshot(), BASE)
    assert (snapshot.free_mark("red"), snapshot.free_mark("lab")) == (2, 1)
    full = [chain(f"c{mark}", "ids", vlan=10 + mark, segment="lab", mark=mark) for mark in range(1, 8)]
    assert check(snapshot, full).free_mark("lab") == 8
