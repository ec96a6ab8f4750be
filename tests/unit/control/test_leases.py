"""NAT pools: whatever connections begin and end, no two have one address and port, and nothing is lost."""

from __future__ import annotations

import time
from dataclasses import replace
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ryu_apps.control.change import adopt, plan_change, revise_flows
from ryu_apps.control.effects import Add, Remove
from ryu_apps.control.leading import leads
from ryu_apps.control.leases import Leases
from ryu_apps.control.trace import trace
from ryu_apps.engine.connection import Plan
from ryu_apps.model.action import Deny, Nat
from ryu_apps.model.fields import FIELDS, describe
from ryu_apps.model.flow_key import FlowKey, reverse
from ryu_apps.model.nat_pool import AddressRange, Lease, NatPool, lease_for
from ryu_apps.model.packet import build_key
from ryu_apps.model.transposition import transposition
from tests.unit.control.pools import (
    FIRST,
    SMALL,
    SMALL_LEASE,
    check_apart,
    given_to,
    meet,
    pool,
    pooled,
    udp,
)
from tests.unit.policies import IN, IP, OUT, group, layer, rule, tcp

_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "marked", "turned", "close", "wait", "change", "undo"]),
        st.sampled_from(["vm1", "vm2"]),
        st.sampled_from(["tcp", "udp"]),
        st.integers(998, 1005),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(_EVENTS)
def test_no_two_connections_ever_have_one_address_and_port(events: list[tuple[str, str, str, int]]) -> None:
    """M23: over any history of beginnings, ends, variants and changes a lease has one owner, and none is lost."""
    core, now_s = pooled(), 0.0
    numbers = {"vm1": 101, "vm2": 102}
    led: dict[object, object] = {}
    for what, name, proto, number in events:
        now_s += 1.0
        told: list[object] = []
        if what in ("open", "marked"):
            more = {"ip_dscp": "46"} if what == "marked" else {}
            told = meet(core, tcp(name, "ext", number, 80, ip_proto=proto, **more), now_s, numbers[name])
        elif what == "turned":
            # A VM that may use any address sends what looks like an answer to itself.
            told = meet(core, reverse(tcp(name, "ext", number, 80, ip_proto=proto)), now_s, numbers[name])
        elif what == "close":
            live = [flow for flow in core.flows if not flow.parent]
            told = [*core.ageing.remove(live[number % len(live)])] if live else []
        elif what == "wait":
            now_s += 20.0
        else:
            ports = (1002, 1003) if what == "change" else SMALL.ports
            changes = [pool(replace(SMALL, ports=ports))]
            plan = plan_change(core, core.policy.snapshot.changed(changes), changes)
            core.policy = plan.after
            revisions = revise_flows(core, plan, plan.touched)
            adopt(core, plan, revisions)
            for switch in revisions.switches:
                told += [Remove(switch.dpid, made) for made in switch.removed if getattr(made, "table", "") == "pooled"]
                told += [Add(switch.dpid, made) for made in switch.added if getattr(made, "table", "") == "pooled"]
        for effect in told:
            if isinstance(effect, Remove):
                del led[effect.entry.key]
            elif isinstance(effect, Add):
                assert effect.entry.key not in led
                led[effect.entry.key] = effect.entry
        check_apart(core)
        assert led == {made.key: made for _, made in leads(core.flows, core.policy.vports, core.dpid_of)}


def test_the_own_port_is_kept_where_it_is_free() -> None:
    """M23: a connection keeps its port; a second with it gets the next, and one out of range the lowest free."""
    core = pooled()
    for number, source in enumerate((1001, 1001, 60000)):
        meet(core, udp("vm1", source, 53 + number))
    flows = sorted(core.flows, key=lambda flow: flow.id)
    assert [port for _, port in map(given_to, flows)] == [1001, 1002, 1000]
    assert len({address for address, _ in map(given_to, flows)}) == 1


def test_a_vm_gets_another_address_when_its_own_has_no_port_left() -> None:
    """M23: all addresses of a pool are used before a connection is refused, and then it is refused with that reason."""
    core = pooled()
    for number in range(9):
        meet(core, udp("vm1", 1000, 53 + number))
    flows = sorted(core.flows, key=lambda flow: flow.id)
    assert len(set(map(given_to, flows[:8]))) == 8
    assert not flows[8].plan.allow and flows[8].plan.forward[0].verdict.rulings[-1].reason == "pool-exhausted"
    assert core.tally.of_vport(101)["pool-exhausted"] == 1


def test_protocols_have_ports_of_their_own() -> None:
    """M23: one port of an address serves a TCP and a UDP connection at once."""
    core = pooled()
    meet(core, tcp("vm1", "ext", 1000))
    meet(core, tcp("vm1", "ext", 1000, ip_proto="udp"))
    assert [port for _, port in map(given_to, core.flows)] == [1000, 1000]


def ping(source: str, target: str = "ext") -> FlowKey:
    """Return the key of an echo request."""
    packet = {name: text for name, text in describe(tcp(source, target)).items() if not name.startswith(("l4", "ip_"))}
    return build_key({**packet, "ip_proto": "icmp", "icmpv4_type": "8"}, "packet")


def test_an_address_serves_one_vm_for_each_station_that_is_pinged() -> None:
    """M23: VMs that ping one station have different addresses; with none left a ping is refused, and another is not."""
    core = pooled()
    for name, number in (("vm1", 101), ("vm2", 102)):
        meet(core, ping(name), vport=number)
    flows = list(core.flows)
    assert len({given_to(flow)[0] for flow in flows}) == 2 and all(flow.plan.allow for flow in flows)
    only = pooled(replace(SMALL, addresses=(AddressRange(4, FIRST, FIRST),)))
    for name, number, target in (("vm1", 101, "ext"), ("vm2", 102, "ext"), ("vm2", 102, "vm1")):
        meet(only, ping(name, target), vport=number)
    assert [flow.plan.allow for flow in sorted(only.flows, key=lambda flow: flow.id)] == [True, False, True]


def test_what_was_given_back_rests_and_is_then_free() -> None:
    """M23: the port of a connection that ended is for nobody else before its rest is over, and then for anybody."""
    one = replace(SMALL, addresses=(AddressRange(4, FIRST, FIRST),), ports=(1000, 1000), rest_s=7)
    core = pooled(one)
    meet(core, udp("vm1", 1000))
    (flow,) = core.flows
    core.ageing.remove(flow)
    assert core.flows.leases.uses(["p"])["p"] == (0, 1)
    for now_s, allowed in ((100.0, False), (106.9, False), (107.1, True)):
        meet(core, udp("vm2", 5, 60 + int(now_s)), now_s, 102)
        assert max(core.flows, key=lambda each: each.id).plan.allow is allowed
    assert core.flows.leases.uses(["p"])["p"] == (1, 0)


def test_a_connection_gets_its_own_port_again_while_it_rests() -> None:
    """M23: what a change of policy ended and its next packet began anew has the source that it had."""
    core = pooled()
    meet(core, udp("vm2", 1001), vport=102)
    meet(core, udp("vm1", 1001))
    flow = max(core.flows, key=lambda each: each.id)
    before = given_to(flow)
    core.ageing.remove(flow)
    meet(core, udp("vm1", 1001), 1.0)
    assert given_to(max(core.flows, key=lambda each: each.id)) == before


def test_one_vm_cannot_take_all() -> None:
    """M23: a vport with its share of leases gets no more of the pool, and others do."""
    core = pooled(replace(SMALL, most_per_vport=2))
    for number in range(3):
        meet(core, udp("vm1", 1000, 53 + number))
    meet(core, udp("vm2", 1000), vport=102)
    assert [flow.plan.allow for flow in sorted(core.flows, key=lambda each: each.id)] == [True, True, False, True]


def test_a_trace_takes_nothing() -> None:
    """M24: a trace tells what would be given, the same each time, and a connection then gets just that."""
    core = pooled()
    packet = {**describe(udp("vm1", 1001)), "l4_src": "1001"}
    said = [trace(core, "vm1", OUT, packet) for _ in range(2)]
    assert said[0] == said[1] and core.flows.leases.uses(["p"])["p"] == (0, 0)
    meet(core, udp("vm1", 1001))
    (flow,) = core.flows
    address, port = given_to(flow)
    assert said[0]["edit"]["ipv4_src"] == FIELDS["ipv4_src"].format(address) and said[0]["edit"]["l4_src"] == str(port)


def test_pools_of_several_layers_compose() -> None:
    """M07 M23: with pools in two layers the later one's source is on the wire, and both translate the reply back."""
    other = replace(SMALL, id="q", mac=0x02FA00000002, addresses=(AddressRange(4, FIRST + 50, FIRST + 50),))
    again = rule("again", Nat(edit=transposition({"l4_dst": 5353}), pool="q"), ip_proto="udp", ipv4_src="10.0.0.200/31")
    core = pooled(SMALL, pool(other), layer("later", 2), group("later", "out", OUT, again))
    meet(core, udp("vm1", 1001))
    (flow,) = core.flows
    seen = flow.plan.forward[0].verdict.edit.apply(flow.key)
    assert given_to(flow) == (FIRST + 50, 1001) and FIELDS["l4_dst"].get(seen) == 5353
    assert FIELDS["eth_src"].get(seen) == other.mac
    back = flow.plan.reply[0].verdict.edit.apply(reverse(seen))
    assert back == reverse(flow.key)
    assert {lease.pool for lease in flow.plan.leases} == {"p", "q"}
    core.ageing.remove(flow)
    assert core.flows.leases.uses("pq") == {"p": (0, 1), "q": (0, 1)}


@pytest.mark.parametrize("kept", [True, False])
def test_a_changed_pool_keeps_what_it_still_has(kept: bool) -> None:
    """M15 M23: a live connection goes on where the pool still has its source, and begins anew where it has not."""
    core = pooled()
    meet(core, udp("vm1", 1001))
    (flow,) = core.flows
    address = given_to(flow)[0]
    left = AddressRange(4, address, address) if kept else AddressRange(4, FIRST + 9, FIRST + 9)
    changes = [pool(replace(SMALL, addresses=(left,)))]
    plan = plan_change(core, core.policy.snapshot.changed(changes), changes)
    assert plan.touched == (flow.id,)
    core.policy = plan.after
    adopt(core, plan, revise_flows(core, plan, plan.touched))
    assert [given_to(each) for each in core.flows] == ([given_to(flow)] if kept else [])
    meet(core, udp("vm1", 1001), 1.0)
    assert [given_to(each)[0] for each in core.flows] == [address if kept else FIRST + 9]


def test_a_denied_connection_has_nothing() -> None:
    """M23: what a later layer denies takes nothing from the pool."""
    core = pooled(SMALL, layer("fw", 2), group("fw", "g", OUT, rule("d", Deny(), l4_dst="53", ip_proto="udp")))
    meet(core, udp("vm1", 1001))
    assert not any(flow.plan.allow for flow in core.flows) and core.flows.leases.uses(["p"])["p"] == (0, 0)


def test_an_answer_between_vms_finds_its_way_back() -> None:
    """M25: the reply of a VM on the same host to the pool's MAC has a leg at the VM that asked."""
    core = pooled()
    meet(core, tcp("vm1", "vm2", 1001))
    (flow,) = core.flows
    assert [(leg.vport, leg.direction) for leg in flow.plan.reply] == [(102, OUT), (101, IN)]
    assert not flow.plan.reply[0].verdict.edit.edits
    last = list(flow.legs())[-1]
    assert last[0].verdict.edit.apply(last[1]) == reverse(tcp("vm1", "vm2", 1001))
    assert IP["vm1"] == FIELDS["ipv4_dst"].get(last[0].verdict.edit.apply(last[1]))


class PlainLeases(Leases):
    """The plain twin: looks at one address after the other."""

    def next_free(self, pool: NatPool, key: FlowKey) -> Lease | None:
        """Return what is to be lent next, None when all is taken."""
        size = pool.size(4)
        start = crc32(FIELDS["ipv4_src"].get(key).to_bytes(16, "big")) % size
        proto, low, high = FIELDS["ip_proto"].get(key), *pool.ports
        own = FIELDS["l4_src"].get(key)
        first = own if low <= own <= high else low
        ports = [*range(first, high + 1), *range(low, first)] if proto in (6, 17) else [0]
        places = [pool.address(4, (start + place) % size) for place in range(size)]
        leases = (lease_for("p", key, address, port) for address in places for port in ports)
        return next((lease for lease in leases if self.is_free(lease)), None)


_SPREAD = replace(SMALL, addresses=(AddressRange(4, FIRST, FIRST + 1), AddressRange(4, FIRST + 9, FIRST + 10)))
_WANTS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "give", "wait", "ports"]),
        st.sampled_from(["tcp", "udp", "icmp"]), st.integers(1, 3), st.integers(998, 1005),
    ),
    max_size=60,
)  # fmt: skip


@given(_WANTS)
def test_what_is_lent_next_is_what_looking_at_all_would_find(wants: list[tuple[str, str, int, int]]) -> None:
    """M23: over any history of leases, and of ranges of ports, the quick structure lends what the plain one does."""
    quick, plain, pool, now_s = Leases(), PlainLeases(), _SPREAD, 0.0
    held: list[tuple[Lease, tuple[int, int, int]]] = []
    for number, (what, proto, source, port) in enumerate(wants):
        now_s += 1.0
        ports = {"l4_src": str(port), "l4_dst": "80"} if proto != "icmp" else {"icmpv4_type": "8", "icmpv4_code": "0"}
        key = build_key({
            "eth_src": "02:00:00:00:00:01", "eth_dst": "02:00:00:00:00:04", "ip_proto": proto,
            "ipv4_src": f"10.0.0.{source}", "ipv4_dst": f"10.9.0.{port % 2}", **ports,
        }, "packet")  # fmt: skip
        lent = quick.next_free(pool, key)
        assert lent == plain.next_free(pool, key)
        if what == "take" and lent is not None:
            held.append((lent, (101, 1, number)))
        elif what == "ports":
            pool = replace(pool, ports=(1000, 1000 + port % 4))
        elif what == "wait":
            now_s += 20.0
        for leases in (quick, plain):
            leases.pass_time(now_s, {"p": pool})
            if what == "take" and lent is not None:
                leases.take(held[-1][1], _plan_with(lent))
            elif what == "give" and held:
                leases.give_back(_plan_with(held[-1][0]))
        if what == "give" and held:
            held.pop()


def _plan_with(lease: Lease) -> Plan:
    return Plan((), (), True, True, False, (lease,))


def test_a_pool_that_is_lent_out_answers_at_once() -> None:
    """M23: with 20,000 addresses of one port lent, what is free next is told without looking at each."""
    pool = replace(SMALL, addresses=(AddressRange(4, FIRST, FIRST + 19_999),), ports=(1000, 1000))
    leases, key = Leases(), udp("vm1", 1000)
    for number in range(19_999):
        leases.take((101, 1, number), _plan_with(leases.next_free(pool, key) or SMALL_LEASE))
    started_s = time.perf_counter()
    for _ in range(100):
        assert leases.next_free(pool, key) is not None
    quick_s = time.perf_counter() - started_s
    leases.take((101, 1, 0), _plan_with(leases.next_free(pool, key) or SMALL_LEASE))
    assert leases.next_free(pool, key) is None
    # Looking at one address costs 0.5 us at least, so that looking at all would take a second.
    assert quick_s < 0.5
