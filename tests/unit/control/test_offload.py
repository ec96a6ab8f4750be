"""NICs with limits under the core: what is in which NIC may differ, what becomes of packets may not."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ryu_apps.control.adoption import Found, adopt_flows
from ryu_apps.control.course import Reason
from ryu_apps.control.effects import CountEntry, Emit, Install, Release
from ryu_apps.control.events import EntryCounted, PresentEntry
from ryu_apps.control.expiry import EVICTION, IDLE_TIMEOUT
from ryu_apps.model.action import Allow, Deny, Rewrite
from ryu_apps.model.flow_key import PROTO_UDP, FlowKey, reverse
from ryu_apps.model.network import Host
from ryu_apps.model.nic_limits import ACTION_NAMES, NicLimits
from ryu_apps.model.policy import Change
from ryu_apps.model.rules import Direction, Offload, Rule
from ryu_apps.model.transposition import transposition
from ryu_apps.pipeline.cached import IDLE_TIMEOUTS_S, UNANSWERED_UDP_IDLE_TIMEOUT_S
from ryu_apps.pipeline.cookie import is_reply
from ryu_apps.pipeline.tables import NUMBER
from tests.unit.control.histories import first_changes, next_changes
from tests.unit.control.nic_world import World
from tests.unit.control.test_change import entries_of_two_flows, packets
from tests.unit.control.test_core import removal
from tests.unit.policies import IN, OUT, group, layer, rule, snapshot, tcp


def limited(name: str = "h1", **limits: object) -> Change:
    """Return the change that gives a host limits."""
    host = Host(id=name, dpid=int(name[1:]), uplink=f"{name}-uplink", limits=NicLimits(**limits))  # type: ignore[arg-type]
    return Change(kind="hosts", key=name, value=host)


capacities = st.none() | st.integers(0, 4)
limits = st.builds(
    NicLimits,
    outbound_entries=capacities,
    inbound_entries=capacities,
    actions=st.none() | st.frozensets(st.sampled_from(ACTION_NAMES)),
    meters=st.none() | st.integers(0, 2),
)


@st.composite
def hosts(draw: st.DrawFn) -> list[Change]:
    """Draw limits for both hosts."""
    return [
        Change(kind="hosts", key=f"h{n}", value=Host(id=f"h{n}", dpid=n, uplink=f"h{n}-uplink", limits=draw(limits)))
        for n in (1, 2)
    ]


@settings(max_examples=200, deadline=None)
@given(first_changes(), hosts(), packets(), st.data())
def test_packets_come_out_the_same_under_any_limits(
    first: list[Change], narrow: list[Change], met: list[tuple[str, Direction, FlowKey]], data: st.DataObject
) -> None:
    """M11, M12: whatever the NICs hold and support, also when limits and rules change, each packet fares alike."""
    plain, tight = World(snapshot(*first)), World(snapshot(*first, *narrow))
    for _ in range(data.draw(st.integers(1, 3))):
        for packet in data.draw(st.lists(st.sampled_from(met), min_size=1, max_size=12)):
            for world in (plain, tight):
                world.send(*packet)
            assume(not entries_of_two_flows(plain.core))
            assert tight.arrived == plain.arrived
            if data.draw(st.booleans()):
                plain.pause()
                tight.pause()
        for (dpid, direction), entries in tight.nics.items():
            room = tight.core.policy.snapshot.hosts[f"h{dpid}"].limits.entries(direction)
            assert room is None or len(entries) <= room
        changes = data.draw(next_changes(plain.core.policy.snapshot))
        again = data.draw(hosts()) if data.draw(st.booleans()) else []
        plain.change(changes)
        tight.change([*changes, *again])
        assume(not entries_of_two_flows(plain.core))


def cached(world: World, dpid: int = 1, direction: Direction = OUT) -> set[tuple[int, int]]:
    """Return vport and port of the sender of the entries in one cache."""
    return {(made.vport, made.key.bits >> 16 & 0xFFFF) for made in world.nics.get((dpid, direction), {}).values()}


def test_more_flows_than_room_all_pass_and_no_rule_is_asked_again() -> None:
    """M11: with room for L entries and more flows every packet passes; misses of known flows are host hits."""
    world = World(snapshot(layer("a", 1, stateful=True), limited(outbound_entries=4, inbound_entries=4)))
    for _ in range(12):
        for port in range(1, 21):
            world.send("vm1", OUT, tcp(sport=port))
            world.send("vm2", OUT, reverse(tcp(sport=port)))
            world.pause()
    total = world.core.tally.total
    assert len(world.arrived) == 480 and len(world.core.flows) == 20
    assert max(world.most.values()) == 4
    assert world.misses == total["misses"] == total["host-hits"] + 20
    assert total["nic-evictions"] > 0


def test_a_flow_that_the_nic_refuses_still_passes_with_its_edits() -> None:
    """M12: the packet goes on behind the cache, edited, and nothing of its connection is installed anywhere."""
    edit = rule("r", Rewrite(transposition({"ip_dscp": 46})), ip_proto="tcp", l4_dst="80")
    world = World(snapshot(layer("a", 1), group("a", "g", OUT, edit), limited(actions=frozenset({"nat"}))))
    for _ in range(3):
        world.send("vm1", OUT, tcp())
        world.send("vm1", OUT, tcp(dport=81))
        world.pause()
    assert {frame[15] for _, frame in world.arrived[::2]} == {46 << 2}
    kept, other = world.core.flows
    assert world.core.nic_caches.course(kept) == (Reason.UNSUPPORTED, False, "rewrite")
    assert not list(world.core.nic_caches.entries(kept)) and len(list(world.core.nic_caches.entries(other))) == 4


def test_one_rule_keeps_the_whole_connection_in_the_host() -> None:
    """S14: off at the receiver keeps the sender's entries out as well, and goes before another layer's on."""
    off = Rule(**{**_values(rule("off", Allow())), "offload": Offload.OFF})
    on = Rule(**{**_values(rule("on", Allow())), "offload": Offload.ON})
    world = World(snapshot(layer("a", 1), group("a", "g", IN, off), layer("b", 2), group("b", "g", OUT, on)))
    for _ in range(2):
        world.send("vm1", OUT, tcp())
        world.pause()
    assert len(world.arrived) == 2 and not any(world.nics.values())


def _values(made: Rule) -> dict[str, object]:
    return {name: getattr(made, name) for name in Rule.__slots__}


def test_a_demanded_flow_is_let_in_before_others_of_its_vf() -> None:
    """S14: on takes the place of the flow of least worth in a full NIC at its first packet."""
    on = Rule(**{**_values(rule("on", Allow(), ip_proto="tcp", l4_dst="443")), "offload": Offload.ON})
    world = World(snapshot(layer("a", 1), group("a", "g", OUT, on), limited(outbound_entries=4, inbound_entries=0)))
    for _ in range(8):
        for port in (1, 2, 3, 4):
            world.send("vm1", OUT, tcp(sport=port, target="ext"))
        world.pause()
    assert {port for _, port in cached(world)} == {1, 2, 3, 4}
    world.send("vm1", OUT, tcp(sport=9, dport=443, target="ext"))
    world.pause()
    assert 9 in {port for _, port in cached(world)} and len(cached(world)) == 4


def test_a_scan_of_one_vf_takes_no_room_from_another() -> None:
    """M11: vm2's flows of one packet push out none of vm1's busy ones."""
    world = World(snapshot(layer("a", 1), limited(outbound_entries=8)))
    for _ in range(4):
        for port in (1, 2, 3, 4):
            world.send("vm1", OUT, tcp(sport=port, target="ext"))
        world.pause()
    for port in range(1000, 1400):
        world.send("vm2", OUT, tcp("vm2", "ext", sport=port))
    assert {(101, port) for port in (1, 2, 3, 4)} <= cached(world)
    counts = world.core.tally.of_vport(102)
    assert counts["nic-refusals"] > 250 and "nic-evictions" not in world.core.tally.of_vport(101)


def test_an_idle_entry_does_not_end_a_flow_that_the_host_forwards() -> None:
    """M09, M11: where the other direction is in no NIC, what the host has seen tells whether it is in use."""
    world = World(snapshot(layer("a", 1), limited(inbound_entries=0)))
    core, key = world.core, tcp(target="ext", ip_proto="udp")
    world.send("vm1", OUT, key)
    world.pause()
    (entry,) = world.nics[1, OUT].values()
    world.now_s = 59.0
    world.send("vm1", IN, reverse(key))
    world.now_s = 61.0
    again = core.ageing.flow_removed(removal(entry, IDLE_TIMEOUT), world.now_s)
    assert [type(effect) for effect in again] == [Install] and len(core.flows) == 1
    lasting = entry._replace(idle_timeout_s=IDLE_TIMEOUTS_S[PROTO_UDP])
    assert core.ageing.flow_removed(removal(entry, IDLE_TIMEOUT), 300.0) == [Release(1, lasting)]
    assert len(core.flows) == 0 and core.nic_caches.room(1) == {"inbound": 0}


def test_a_flow_of_which_no_nic_has_anything_ages_in_the_host() -> None:
    """M10, M11: it ends after the idle time of its entries, from its last packet on; a refusal after its hard one.

    These are datagrams that nobody answers.
    """
    deny = rule("d", Deny(), ip_proto="tcp", l4_dst="9")
    full = limited(outbound_entries=0, inbound_entries=0)
    world = World(snapshot(layer("a", 1), group("a", "g", OUT, deny), full))
    core = world.core
    ids: set[int] = set()
    for at_s in range(0, 75, 5):
        world.now_s = float(at_s)
        world.send("vm1", OUT, tcp(ip_proto="udp"))
        world.send("vm1", OUT, tcp(dport=9))
        assert core.ageing.tick(world.now_s) == []
        ids |= {flow.id for flow in core.flows}
    assert len(core.flows) == 2 and len(ids) == 3
    core.ageing.tick(70.0 + UNANSWERED_UDP_IDLE_TIMEOUT_S - 1)
    assert [flow.plan.allow for flow in core.flows] == [True]
    core.ageing.tick(70.0 + UNANSWERED_UDP_IDLE_TIMEOUT_S + 1)
    assert len(core.flows) == 0


def test_an_answer_that_the_host_has_seen_gives_a_connection_its_lasting_timeouts() -> None:
    """M10, M21: a TCP connection that no NIC has room for is half open no more when its SYN was answered."""
    world = World(snapshot(layer("a", 1), limited(outbound_entries=0, inbound_entries=0)))
    world.send("vm1", OUT, tcp())
    assert [flow.half_open for flow in world.core.flows] == [True]
    world.send("vm2", OUT, reverse(tcp()))
    assert [flow.half_open for flow in world.core.flows] == [False]
    world.core.ageing.tick(299.0)
    assert len(world.core.flows) == 1
    world.core.ageing.tick(301.0)
    assert len(world.core.flows) == 0


def test_a_nic_that_makes_room_itself_is_believed() -> None:
    """M11: an eviction by the switch ends no connection, is counted, and its next packet may bring the entry back."""
    world = World(snapshot(limited(outbound_entries=2)))
    world.send("vm1", OUT, tcp(target="ext"))
    (entry,) = world.nics[1, OUT].values()
    del world.nics[1, OUT]
    assert world.core.ageing.flow_removed(removal(entry, EVICTION), 1.0) == []
    assert world.core.nic_caches.room(1) == {"outbound": 0}
    assert world.core.tally.of_vport(101)["nic-evictions"] == 1
    world.send("vm1", OUT, tcp(target="ext"))
    world.pause()
    assert len(world.arrived) == 2 and len(cached(world)) == 1


def test_what_a_switch_has_counts_and_what_is_too_much_goes_without_ending_a_connection() -> None:
    """M26: entries taken over fill the cache, the busiest first; the rest are to go, and their flows live on."""
    world = World(snapshot(limited(outbound_entries=2)))
    unlimited = World(snapshot())
    for number in (1, 2, 3, 4):
        for one in (world, unlimited):
            one.send("vm1", OUT, tcp(sport=number, target="ext"))
    present = [
        PresentEntry(NUMBER["outbound"], 100, made.cookie, b"", b"", 300, 0, made.cookie & 3, 0)
        for made in unlimited.nics[1, OUT].values()
    ]
    gone = world.core.offload.recount(1, present, 1.0)
    assert len(gone) == 2 and world.core.nic_caches.room(1) == {"outbound": 2}
    for entry in gone:
        event = removal(unlimited.nics[1, OUT][next(iter(unlimited.nics[1, OUT]))], 2)._replace(cookie=entry.cookie)
        assert world.core.ageing.flow_removed(event, 1.0) == []
    assert len(world.core.flows) == 4


@pytest.mark.parametrize(
    ("target", "vport", "direction"), [("vm2", 102, OUT), ("vm2", 101, IN), ("ext", 101, IN), ("vm2", 102, IN)]
)
def test_a_connection_is_taken_over_from_one_entry_behind_its_first(
    target: str, vport: int, direction: Direction
) -> None:
    """M26: what a full NIC has kept of a connection is enough to know the whole of it after a restart."""
    web = rule("r", Allow(), ip_proto="tcp", l4_dst="80")
    base = layer("a", 1, stateful=True, into=False), group("a", "g", IN, web)
    before = World(snapshot(*base))
    before.send("vm1", OUT, tcp(target=target))
    before.pause()
    kept = before.nics[1, direction].values()
    (entry,) = [made for made in kept if made.vport == vport]
    after = World(snapshot(*base, limited(outbound_entries=1, inbound_entries=1)))
    found = Found(entry.cookie, entry.segment, entry.vport, entry.direction, entry.key)
    assert adopt_flows(after.core, [found], 1.0) == 1
    (flow,), (old,) = after.core.flows, before.core.flows
    assert (flow.id, flow.key) == (old.id, old.key)
    assert [leg[:2] for leg, _ in flow.legs()] == [leg[:2] for leg, _ in old.legs()]


def test_the_fast_path_serves_no_limited_host() -> None:
    """M11: kinds are learnt where nothing is limited, and nowhere else."""
    for limit, known in ((limited(), True), (limited(inbound_entries=100), False), (limited("h2", meters=1), True)):
        world = World(snapshot(layer("a", 1, stateful=True), limit))
        world.send("vm1", OUT, tcp())
        place = next(iter(world.core.fast_path._places.values()), None)
        assert bool(place and place.courses) is known


def test_an_idle_pair_asks_only_what_is_installed() -> None:
    """M09: the question goes to an entry of the other direction that its NIC has."""
    world = World(snapshot(layer("a", 1), limited(outbound_entries=1)))
    core = world.core
    world.send("vm1", OUT, tcp(ip_proto="udp"))
    world.pause()
    (sent,) = world.nics[1, OUT].values()
    (question,) = core.ageing.flow_removed(removal(sent, IDLE_TIMEOUT), 1.0)
    assert isinstance(question, CountEntry)
    installed = {made.cookie for nic in world.nics.values() for made in nic.values()}
    assert question.cookie in installed
    sent_ways = {cookie for cookie in installed if not is_reply(cookie)}
    again = core.ageing.entry_counted(EntryCounted(question.cookie, 7), 1.0)
    assert {effect.entry.cookie for effect in again if isinstance(effect, Install)} == sent_ways
    assert not any(isinstance(effect, Emit) for effect in again)
