"""Which ways to network functions are broken, and what goes on without functions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ryu_apps.engine.policy import Policy, compile_policy, recompile
from ryu_apps.engine.ways import broken_vports, bypassed, with_broken
from ryu_apps.model.checks import check
from ryu_apps.model.hairpin import AnyHairpin, Fail, FunctionPort, Hairpin, MacSteering
from ryu_apps.model.network import Host, Segment, Tenant, Vport, VportKind
from ryu_apps.model.policy import KIND_OF, Change, Resource, Snapshot

HAIRPIN = Hairpin(cable="cable", function_port=FunctionPort(dpid=11, cable="f-cable"))
HOST = Host(id="h1", dpid=1, uplink=None, hairpin=HAIRPIN)


def vport(number: int, segment: str = "s1") -> Vport:
    """Return a VF of the host with a hairpin."""
    return Vport(
        id=f"v{number}", host="h1", port=f"vf{number}", kind=VportKind.VF, tenant="t", segment=segment,
        mac=0x020000000000 + number, ips=(), vlan=100 + number, subinterface=f"f-vf{number}",
    )  # fmt: skip


def change(resource: Resource) -> Change:
    """Return the change that puts a resource."""
    return Change(kind=KIND_OF[type(resource)], key=resource.id, value=resource)


def compiled(fail: Fail, hairpin: AnyHairpin = HAIRPIN) -> Policy:
    """Return a policy with two VFs in one segment and one in another."""
    host = replace(HOST, hairpin=replace(hairpin, fail=fail))
    segments = (Segment(id=f"s{number}", tenant="t", vlan=None, number=number) for number in (1, 2))
    resources = (host, Tenant(id="t"), *segments, vport(1), vport(2), vport(3, "s2"))
    return compile_policy(check(Snapshot(), [change(each) for each in resources]))


@pytest.mark.parametrize(
    ("down", "broken"),
    [
        ({}, set()),
        ({1: {"cable"}}, {101, 102, 103}),
        ({11: {"f-cable"}}, {101, 102, 103}),
        ({11: {"f-vf2"}}, {102}),
        ({1: {"f-vf2", "vf1"}, 11: {"cable", "other"}}, set()),
        ({12: {"f-cable"}}, set()),
    ],
)
def test_a_way_is_the_cable_and_a_sub_interface(down: dict[int, set[str]], broken: set[int]) -> None:
    """H12: either end of the cable breaks every way, a sub-interface its own; other ports break none."""
    assert broken_vports(compiled(Fail.CLOSED).snapshot, down) == broken


@pytest.mark.parametrize(
    ("down", "broken"), [({}, set()), ({1: {"f-vf2"}}, {102}), ({11: {"f-vf2"}, 1: {"vf1", "cable"}}, set())]
)
def test_without_a_cable_a_way_is_a_sub_interface(down: dict[int, set[str]], broken: set[int]) -> None:
    """H12 H15: a sub-interface beside the VFs breaks its own way; ports of other datapaths break none."""
    assert broken_vports(compiled(Fail.CLOSED, MacSteering()).snapshot, down) == broken


@pytest.mark.parametrize(
    ("broken", "without"),
    [({101}, []), ({101, 102}, ["s1"]), ({103}, ["s2"]), ({101, 102, 103}, ["s1", "s2"]), (set(), [])],
)
def test_only_a_segment_without_any_way_goes_on_without_functions(broken: set[int], without: list[str]) -> None:
    """H12: open, a segment goes on when none of its VFs has a way; closed, none ever does."""
    opened, closed = (with_broken(compiled(fail), frozenset(broken)) for fail in (Fail.OPEN, Fail.CLOSED))
    assert sorted(segment.id for segment in bypassed(opened, opened.snapshot.hosts["h1"])) == without
    assert list(bypassed(closed, closed.snapshot.hosts["h1"])) == []


def test_a_policy_change_keeps_what_is_known_of_ways() -> None:
    """H12: a change of the policy mends no way."""
    policy = with_broken(compiled(Fail.OPEN), frozenset({101}))
    put = [change(replace(vport(2), vlan=300))]
    assert recompile(policy, check(policy.snapshot, put), put).broken == {101}
