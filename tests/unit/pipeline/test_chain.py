"""What chains add to the standing entries of a NIC's three datapaths, and how their entries read."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ryu_apps.engine.policy import Policy, compile_policy
from ryu_apps.engine.ways import bypassed, with_broken
from ryu_apps.model.chain import Chain, Function, Instance
from ryu_apps.model.checks import check
from ryu_apps.model.hairpin import Fail, Outlet
from ryu_apps.model.network import Segment
from ryu_apps.model.policy import Resource, Snapshot
from ryu_apps.pipeline.cookie import Refusal, unpack
from ryu_apps.pipeline.entry import ChainToTag, FlowEntry
from ryu_apps.pipeline.pieces import entries_of
from ryu_apps.pipeline.registers import CHAIN, SEGMENT, SENDER
from ryu_apps.pipeline.standing import standing_pieces
from ryu_apps.southbound.codec import flow_mod
from tests.unit.pipeline.test_hairpin import (
    BASE,
    FUNCTIONS,
    NETWORK,
    PORTS,
    VFS,
    change,
    compiled,
    entries,
    outputs,
    vport,
)
from tests.unit.pipeline.test_show import OFCTL, needs_ofctl, parsed

OWN_MAC = 0x020000000F01
AT_FUNCTIONS = {**PORTS[FUNCTIONS], "fw-in": 11, "fw-out": 12, "nat-in": 13, "nat-out": 14, "f-net": 15,
                "ids-in": 16, "ids-out": 17, "fwb-in": 18, "fwb-out": 19}  # fmt: skip


def instance(name: str, **more: object) -> Instance:
    """Return an instance on host h1."""
    made = {"id": name, "host": "h1", "inside": f"{name}-in", "outside": f"{name}-out", **more}
    return Instance(**made)  # type: ignore[arg-type]


def chained(own: Fail = Fail.CLOSED, other: Fail = Fail.CLOSED) -> tuple[Resource, ...]:
    """Return a chain of two hops for segment s1, and another of one hop that rules may name."""
    return (
        Function(id="fw", instances=(instance("fw"), instance("fwb"))),
        Function(id="nat", instances=(instance("nat", macs=(OWN_MAC,)),), rewriting=True),
        Function(id="ids", instances=(instance("ids"),), keeps_apart=True),
        Chain(id="c", tenant="t", segment="s1", hops=("fw", "nat"), mark=1, fail=own),
        Chain(id="d", tenant="t", segment="s1", hops=("ids",), mark=2, fail=other, vlan=300),
        Segment(id="s1", tenant="t", vlan=0, number=1, chain="c"),
        Outlet(id="o", host="h1", segment="s1", port="n-s1", chain_port="f-net"),
    )


def with_chains(*more: Resource) -> Policy:
    """Return the policy of the hairpin's tests with these resources in place of those of the same id, h2 left empty."""
    made = {(type(each), each.id): each for each in (*BASE, *more) if each != vport(4, host="h2")}
    return compile_policy(check(Snapshot(), [change(each) for each in made.values()]))


def at_functions() -> list[FlowEntry]:
    """Return the entries of NIC port 2."""
    return list(entries_of(standing_pieces(with_chains(*chained()), FUNCTIONS, AT_FUNCTIONS)))


def test_the_cable_tells_chains_apart_where_a_segment_has_some() -> None:
    """H11: frames of a VF whose segment has chains carry the mark on the cable, and no others do."""
    made = entries(with_chains(*chained()), VFS)
    marked = {dict(each.match)[SENDER] for each in made if ChainToTag() in each.actions}
    assert marked == {101, 102}
    assert not any(ChainToTag() in each.actions for each in entries(compiled(), VFS))


@pytest.mark.parametrize(("own", "other"), [(Fail.OPEN, Fail.CLOSED), (Fail.OPEN, Fail.OPEN)])
def test_a_chain_that_fails_closed_stays_closed_without_a_cable(own: Fail, other: Fail) -> None:
    """H12: where a segment goes on without functions, what a rule sends by a closed chain is dropped and counted."""
    policy = with_broken(with_chains(*chained(own, other)), frozenset({101, 102}))
    shut = [each for each in entries(policy, VFS) if each.table == "deliver" and CHAIN in dict(each.match)]
    assert [dict(each.match) for each in shut] == ([{SEGMENT: 1, CHAIN: 2}] if other is Fail.CLOSED else [])
    for each in shut:
        cookie = unpack(each.cookie)
        assert (each.actions, each.goto, cookie and cookie.detail) == ((), None, Refusal.NO_FUNCTION)
        others = [e for e in entries(policy, VFS) if e.table == "deliver" and SEGMENT in dict(e.match) and e != each]
        assert all(each.priority > one.priority for one in others)


@pytest.mark.parametrize("fail", list(Fail))
def test_a_segments_own_chain_says_whether_it_goes_on(fail: Fail) -> None:
    """H12: a segment with a chain goes on without functions if the chain says so, whatever the host says."""
    for resources in (chained(fail), (*chained(fail), _host_failing(Fail.CLOSED if fail is Fail.OPEN else Fail.OPEN))):
        policy = with_broken(with_chains(*resources), frozenset({101, 102}))
        found = [segment.id for segment in bypassed(policy, policy.snapshot.hosts["h1"]) if segment.id == "s1"]
        assert found == (["s1"] if fail is Fail.OPEN else [])


def _host_failing(fail: Fail) -> Resource:
    host = compiled().snapshot.hosts["h1"]
    assert host.hairpin is not None
    return replace(host, hairpin=replace(host.hairpin, fail=fail))


def test_a_functions_own_mac_may_leave() -> None:
    """H11 H10: what a rewriting function sends to the network with its own MAC is let out, by its segment alone."""
    made = entries(with_chains(*chained()), NETWORK)
    leaving = {dict(each.match).get("eth_src") for each in made if 9 in outputs(each)}
    assert leaving == {0x020000000001, 0x020000000002, OWN_MAC}


@needs_ofctl
def test_entries_of_chains_are_read_by_ovs_ofctl(tmp_path: Path) -> None:
    """Every entry of a chain is accepted as it is shown, and is then what its bytes say."""
    made = at_functions()
    lines = parsed(made, tmp_path)
    assert len(lines) == len(made)
    for line, each in zip(lines, made, strict=True):
        printed = subprocess.run([str(OFCTL), "ofp-print", flow_mod(each).hex()], capture_output=True, text=True,
                                 check=True).stdout  # fmt: skip
        assert _actions(line) == _actions(printed)


def _actions(line: str) -> str:
    return re.sub(r"\s+", "", line.partition("actions=")[2])
