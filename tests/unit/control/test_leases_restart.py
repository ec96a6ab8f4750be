"""NAT pools over a restart of the controller: who had something has it again, and nobody else meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ryu_apps.control.adoption import Found, adopt_flows
from ryu_apps.control.core import ControlCore
from ryu_apps.control.events import PresentEntry
from ryu_apps.control.leading import leads
from ryu_apps.control.quarantine import keep_leases
from ryu_apps.model.fields import describe
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.nat_pool import AddressRange
from ryu_apps.model.packet import build_key
from ryu_apps.southbound.codec import encode_match
from ryu_apps.southbound.led import replies_led
from tests.unit.control.pools import (
    FIRST,
    SMALL,
    check_apart,
    given_to,
    led_by,
    make_core,
    meet,
    pooled,
    udp,
)


def test_a_restart_keeps_every_lease() -> None:
    """M26: connections taken over have the sources that they had, in whatever order they are read."""
    core = pooled()
    for number, name in ((101, "vm1"), (102, "vm2")):
        for place in range(3):
            meet(core, udp(name, 1002, 53 + place), vport=number)
    kept = {flow.id: given_to(flow) for flow in core.flows}
    found = [
        Found(made.cookie, made.segment, made.vport, made.direction, made.key, made.idle_timeout_s)
        for flow in core.flows
        for made in flow.entries()
    ]
    led = led_by(core)
    assert led == kept
    after = make_core(core.policy.snapshot, 100)
    assert adopt_flows(after, reversed(found), 0.0, led) == 6
    assert {flow.id: given_to(flow) for flow in after.flows} == kept
    meet(after, udp("vm1", 1002, 99))
    check_apart(after)


def test_a_restart_takes_over_first_who_is_known_to_have_something() -> None:
    """M26: a connection whose source cannot be read any more gets another, and not that of one whose can."""
    core = pooled()
    for number, name in ((101, "vm1"), (102, "vm2")):
        meet(core, udp(name, 1002), vport=number)
        meet(core, udp(name, 1002, 54), vport=number)
    kept = {flow.id: given_to(flow) for flow in core.flows}
    lost = next(flow for flow in core.flows if kept[flow.id][1] == 1003)
    found = [
        Found(made.cookie, made.segment, made.vport, made.direction, made.key)
        for flow in sorted(core.flows, key=lambda each: each is not lost)
        for made in flow.entries()
    ]
    led = {flow_id: source for flow_id, source in led_by(core).items() if flow_id != lost.id}
    after = make_core(core.policy.snapshot, 100)
    assert adopt_flows(after, found, 0.0, led) == 4
    assert {flow.id: given_to(flow) for flow in after.flows if flow.id != lost.id} == led
    check_apart(after)


def _restarted(before: ControlCore, now_s: float = 10.0) -> ControlCore:
    """Return a core that starts anew where no entry of a cache is left, but those that lead replies."""
    core = make_core(before.policy.snapshot, first_flow_id=1000)
    present = [
        PresentEntry(0, made.priority, made.cookie, encode_match(made.match), b"", 0, 0, 0, 0)
        for _, made in leads(before.flows, before.policy.vports, before.dpid_of)
    ]
    assert keep_leases(core, replies_led(present), now_s) == len(present)
    return core


@pytest.mark.parametrize(("proto", "idle_s"), [("tcp", 300), ("udp", 60), ("icmp", 30)])
def test_what_was_lent_before_a_restart_is_nobody_elses(proto: str, idle_s: int) -> None:
    """M23 M26: the source of a connection that was not taken over waits for it as long as it may be idle."""
    def key(name: str) -> FlowKey:
        more = {"icmpv4_type": "8", "icmpv4_code": "0"} if proto == "icmp" else {"l4_src": "1000", "l4_dst": "53"}
        return build_key({**describe_ends(name), "ip_proto": proto, **more}, "packet")

    one = replace(SMALL, addresses=(AddressRange(4, FIRST, FIRST),), ports=(1000, 1000))
    before = pooled(one)
    meet(before, key("vm1"))
    (lost,) = before.flows
    core = _restarted(before)
    meet(core, key("vm2"), 11.0, vport=102)
    assert [flow.plan.allow for flow in core.flows] == [False]
    meet(core, key("vm1"), 12.0)
    assert [flow.plan.leases for flow in core.flows if flow.plan.allow] == [lost.plan.leases]

    core = _restarted(before)
    assert core.flows.leases.uses(["p"])["p"] == (0, 1)
    core.ageing.tick(10.0 + idle_s - 1)
    assert core.flows.leases.uses(["p"])["p"] == (0, 1)
    core.ageing.tick(10.0 + idle_s)
    assert core.flows.leases.uses(["p"])["p"] == (0, 0)
    meet(core, key("vm2"), 11.0 + idle_s, vport=102)
    assert [flow.plan.leases for flow in core.flows] == [lost.plan.leases]


def describe_ends(name: str) -> dict[str, str]:
    """Return the fields of packets from a VM to the outside."""
    shown = describe(udp(name, 1))
    return {field: shown[field] for field in ("eth_src", "eth_dst", "ipv4_src", "ipv4_dst")}


def test_another_connection_of_the_same_vm_does_not_take_it() -> None:
    """M23: what waits for a connection is for that one: not for another port of the VM, nor for another station."""
    before = pooled(replace(SMALL, addresses=(AddressRange(4, FIRST, FIRST),)))
    meet(before, udp("vm1", 1001))
    (lost,) = before.flows
    core = _restarted(before)
    meet(core, udp("vm1", 1001, dport=54), 11.0)
    meet(core, udp("vm1", 1002), 11.0)
    given = [given_to(flow) for flow in core.flows]
    assert len(set(given)) == 2 and given_to(lost) not in given
    meet(core, udp("vm1", 1001), 12.0)
    assert given_to(lost) in [given_to(flow) for flow in core.flows]
    check_apart(core)


def test_nothing_is_lent_before_the_switch_is_read() -> None:
    """M23 M26: after a start, who wants of a pool waits until it is known what connections have there."""
    core = pooled()
    core.flows.leases.unread = {1}
    assert meet(core, udp("vm1", 1000)) == [] and len(core.flows) == 0
    assert core.tally.of_vport(101)["pool-unread"] == 1
    core.flows.leases.unread.clear()
    assert meet(core, udp("vm1", 1000)) != []
    (flow,) = core.flows
    assert flow.plan.leases
