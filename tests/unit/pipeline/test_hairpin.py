"""The standing entries of the three datapaths of a NIC with a hairpin."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.engine.policy import Policy, compile_policy, recompile
from ryu_apps.engine.ways import with_broken
from ryu_apps.model.checks import check
from ryu_apps.model.hairpin import FunctionPort, Hairpin, MacSteering, NetworkPort, Outlet
from ryu_apps.model.network import Bandwidth, Host, Route, Segment, Tenant, Vport, VportKind
from ryu_apps.model.policy import KIND_OF, Change, Resource, Snapshot
from ryu_apps.pipeline.cookie import Refusal
from ryu_apps.pipeline.entry import FlowEntry, Output, PushVlan, SetField
from ryu_apps.pipeline.pieces import entries_of
from ryu_apps.pipeline.registers import EXIT, EXIT_TO_FUNCTIONS, RECEIVER, SENDER, VIA
from ryu_apps.pipeline.standing import standing_pieces

VFS, FUNCTIONS, NETWORK = 1, 0x101, 0x201
CABLE = 9
SUB_INTERFACES = {"f-vf1": 11, "f-vf2": 12, "f-vf3": 13}
PORTS = {
    VFS: {"vf1": 1, "vf2": 2, "vf3": 3, "cable": CABLE, **SUB_INTERFACES},
    FUNCTIONS: {"f-vf1": 1, "f-vf2": 2, "f-vf3": 3, "f-cable": CABLE},
    NETWORK: {"n-s1": 1, "up": CABLE},
}
HAIRPIN = Hairpin(
    cable="cable",
    function_port=FunctionPort(dpid=FUNCTIONS, cable="f-cable"),
    network_port=NetworkPort(dpid=NETWORK, uplink="up"),
)
STEERED = Host(id="h1", dpid=VFS, uplink=None, hairpin=MacSteering(network_port=HAIRPIN.network_port))


def vport(number: int, segment: str = "s1", host: str = "h1", **changed: object) -> Vport:
    """Return a VF with its sub-interface; one on another host has none."""
    made = {
        "id": f"v{number}", "host": host, "port": f"vf{number}", "kind": VportKind.VF, "tenant": "t",
        "segment": segment, "mac": 0x020000000000 + number, "ips": (), "vlan": 100 + number,
        "subinterface": f"f-vf{number}" if host == "h1" else None, **changed,
    }  # fmt: skip
    return Vport(**made)  # type: ignore[arg-type]


BASE: tuple[Resource, ...] = (
    Host(id="h1", dpid=VFS, uplink=None, hairpin=HAIRPIN),
    Host(id="h2", dpid=2, uplink="up"),
    Tenant(id="t"),
    Segment(id="s1", tenant="t", vlan=0, number=1),
    Segment(id="s2", tenant="t", vlan=200, number=2),
    vport(1),
    vport(2),
    vport(3, "s2"),
    vport(4, host="h2"),
    Outlet(id="o", host="h1", segment="s1", port="n-s1"),
)


def change(resource: Resource) -> Change:
    """Return the change that puts a resource."""
    return Change(kind=KIND_OF[type(resource)], key=resource.id, value=resource)


def compiled(*more: Resource) -> Policy:
    """Return the base policy, with more put over it."""
    return compile_policy(check(Snapshot(), [change(resource) for resource in (*BASE, *more)]))


def entries(policy: Policy, dpid: int, gone: str = "") -> list[FlowEntry]:
    """Return the entries of a datapath, of which one port may be gone."""
    ports = {name: port_no for name, port_no in PORTS[dpid].items() if name != gone}
    return list(entries_of(standing_pieces(policy, dpid, ports)))


def outputs(entry: FlowEntry) -> list[int]:
    """Return the ports that an entry sends to."""
    return [action.port_no for action in entry.actions if isinstance(action, Output)]


def test_the_vfs_datapath_knows_one_way_out_of_delivery() -> None:
    """H02: whatever a VF sends, to whom, is set on its way to the cable, and only the cable makes a receiver."""
    made = entries(compiled(), VFS)
    for each in made:
        writes = {action.field: action.value for action in each.actions if isinstance(action, SetField)}
        if RECEIVER in writes:
            # But for what rules send past functions; those that `route` would need are refused on such a host.
            match = dict(each.match)
            assert match.get("in_port") == CABLE or VIA in match
        if each.table == "deliver" and not each.match and each.priority:
            assert writes == {EXIT: EXIT_TO_FUNCTIONS}
    assert {each.table for each in made if outputs(each) == [CABLE]} == {"egress"}


def test_nothing_that_the_cable_brings_leaves_by_it_again() -> None:
    """H08: table `returned` leads to the receiver alone, whose way out is the VF's own port."""
    made = entries(compiled(), VFS)
    assert {each.goto for each in made if dict(each.match).get("in_port") == CABLE} == {"returned", None}
    assert {each.goto for each in made if each.table == "returned"} == {"arrival", None}
    for each in made:
        if CABLE in outputs(each):
            assert dict(each.match)[RECEIVER] == 0


def test_port_two_is_one_to_one() -> None:
    """H01 H04: each VLAN leads to one sub-interface, and each sub-interface to one VLAN."""
    made = entries(compiled(), FUNCTIONS)
    down = {dict(e.match)["vlan_vid"]: outputs(e) for e in made if outputs(e) and outputs(e) != [CABLE]}
    assert down == {0x1000 | 101: [1], 0x1000 | 102: [2], 0x1000 | 103: [3]}
    up = {dict(e.match)["in_port"]: e.actions for e in made if outputs(e) == [CABLE]}
    assert up == {number: (PushVlan(100 + number), Output(CABLE)) for number in (1, 2, 3)}


def test_port_three_lets_out_whom_it_may() -> None:
    """H10: only sources on this host, and those that the outlet names, leave; all VLANs of the segment come in."""
    policy = compiled(Outlet(id="o", host="h1", segment="s1", port="n-s1", macs=(0x02AA00000001,)))
    made = entries(policy, NETWORK)
    leaving = {dict(each.match)["eth_src"] for each in made if outputs(each) == [CABLE]}
    assert leaving == {0x020000000001, 0x020000000002, 0x02AA00000001}
    assert {dict(each.match)["vlan_vid"] for each in made if outputs(each) == [1]} == {0, 0x1000 | 104}


def test_a_port_that_is_gone_drops_and_counts() -> None:
    """H12: without the cable, a sub-interface or an outlet nothing takes another way, and each drop is counted."""
    policy = compiled()
    cable, function = Refusal.NO_CABLE, Refusal.NO_FUNCTION
    for dpid, gone, reasons in (
        (VFS, "cable", [cable]),
        (FUNCTIONS, "f-vf2", [function]),
        (NETWORK, "n-s1", [function] * 2),
    ):
        made = entries(policy, dpid, gone)
        assert [each.cookie & 0xFFFF for each in made if each.cookie & 0xFFFF in (cable, function)] == reasons
    assert not any(CABLE in outputs(each) for each in entries(policy, VFS, "cable"))


def test_a_broken_way_drops_and_counts_what_its_vf_sends() -> None:
    """H12: only the VF concerned is cut off, before its frames would leave by the cable."""
    made = entries(with_broken(compiled(), frozenset({101})), VFS)
    cut = [each for each in made if each.cookie & 0xFFFF == Refusal.NO_FUNCTION]
    assert [(each.table, dict(each.match), each.actions, each.goto) for each in cut] == [
        ("deliver", {SENDER: 101}, (), None)
    ]
    assert all(cut[0].priority > each.priority for each in made if each.table == "deliver" and not each.match)


def test_without_a_cable_each_vf_has_its_sub_interface() -> None:
    """H15 H02: a frame of a VF leaves for functions by its own sub-interface, whoever it is for, and untagged."""
    made = entries(compiled(STEERED), VFS)
    ways = {dict(each.match)[SENDER]: each.actions for each in made if EXIT in dict(each.match)}
    assert ways == {100 + number: (Output(10 + number),) for number in (1, 2, 3)}
    (delivered,) = [each for each in made if each.table == "deliver" and not each.match and each.priority]
    assert delivered.actions == (SetField(EXIT, EXIT_TO_FUNCTIONS),)
    assert entries(compiled(STEERED), FUNCTIONS) == []
    assert entries(compiled(STEERED), NETWORK) == entries(compiled(), NETWORK)


def test_without_a_cable_functions_send_to_the_vf_of_the_sub_interface() -> None:
    """H15 H08: what comes by a sub-interface has its VF as receiver, and no way leads on to a sub-interface."""
    made = entries(compiled(STEERED), VFS)
    receivers = {
        match["in_port"]: {action.value for action in each.actions if isinstance(action, SetField)}
        for each in made
        if (match := dict(each.match)).get("in_port") in SUB_INTERFACES.values() and each.goto
    }
    assert receivers == {11: {1, 101}, 12: {1, 102}, 13: {2, 103}}
    assert {each.goto for each in made if dict(each.match).get("in_port") in SUB_INTERFACES.values()} == {
        "returned", None
    }  # fmt: skip
    for each in made:
        if set(outputs(each)) & set(SUB_INTERFACES.values()):
            assert dict(each.match)[RECEIVER] == 0


def test_a_sub_interface_that_is_gone_drops_and_counts() -> None:
    """H15 H12: what a VF without a sub-interface sends goes nowhere, is counted as its own, and others go on."""
    made = entries(compiled(STEERED), VFS, gone="f-vf2")
    (dropped,) = [each for each in made if each.cookie & 0xFFFF == Refusal.NO_FUNCTION]
    assert (dropped.table, dict(dropped.match)[SENDER], dropped.actions) == ("egress", 102, ())
    assert sorted(port for each in made if EXIT in dict(each.match) for port in outputs(each)) == [11, 13]


CHANGES: tuple[Resource, ...] = (
    vport(2, bandwidth=Bandwidth(inbound_kbps=0)),
    vport(2, bandwidth=Bandwidth(inbound_kbps=1000)),
    vport(2, "s2"),
    vport(5, host="h2"),
    vport(2, vlan=222),
    Segment(id="s1", tenant="t", vlan=300, number=1),
    Route(id="r", segment="s1", eth_dst=0x020000000099, vport="v1"),
    Outlet(id="o", host="h1", segment="s1", port="n-s1", macs=(0x02AA00000001,)),
)


@given(st.lists(st.sampled_from((*CHANGES, STEERED, BASE[0])), max_size=4), st.sampled_from(sorted(PORTS)))
def test_pieces_taken_over_are_those_made_anew(steps: list[Resource], dpid: int) -> None:
    """After any changes, one by one, the entries are those that the last policy gives from nothing."""
    policy = compiled()
    pieces = standing_pieces(policy, dpid, PORTS[dpid])
    for step in steps:
        after = check(policy.snapshot, [change(step)])
        policy = recompile(policy, after, [change(step)])
        pieces = standing_pieces(policy, dpid, PORTS[dpid], pieces)
    assert set(entries_of(pieces)) == set(entries(policy, dpid))
    assert len({each.key for each in entries_of(pieces)}) == len(list(entries_of(pieces)))
