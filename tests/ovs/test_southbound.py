"""What we send to Open vSwitch is what it says it has; what it sends to us is what we say we saw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ryu_apps.control.effects import Emit, Install, Release, SwitchChange
from ryu_apps.control.events import PacketIn, PresentEntry
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model import flow_key
from ryu_apps.model.errors import NotConfirmed, SwitchAway, SwitchRefused
from ryu_apps.model.network import Segment, Vport, VportKind
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import IDENTITY
from ryu_apps.pipeline.base import base_entries
from ryu_apps.pipeline.cached import CachedEntry
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Punt
from ryu_apps.pipeline.entry import FlowEntry, Output, SetField, ToController, entry
from ryu_apps.pipeline.registers import PUNT
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import calls
from ryu_apps.southbound.cached_match import key_of_match, read
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.reported import wire
from tests.ovs import packets
from tests.ovs.harness.switch import OpenVSwitch
from tests.unit import policies
from tests.unit.southbound.entries import cached_entries
from tests.unit.southbound.loop import Loop, running, wait_until

DPID = 0xB1
BASE = Cookie(EntryClass.BASE).pack()
MISSES = Cookie(EntryClass.PUNT, detail=Punt.MISS).pack()
FRAGMENTS = Cookie(EntryClass.PUNT, detail=Punt.FRAGMENT).pack()
ALL_BITS = (1 << 64) - 1


@dataclass
class Connected:
    """A private switch, and our end of its connection."""

    ovs: OpenVSwitch
    loop: Loop
    link: Link


@pytest.fixture
def connected(ovs: OpenVSwitch) -> Iterator[Connected]:
    """Return a bridge with two ports, connected to a loop of our own."""
    ovs.add_bridge("nic", DPID, ["p1", "p2"])
    with running() as loop:
        ovs.set_controller("nic", loop.port)
        wait_until(lambda: loop.links.get(DPID), "the switch")
        link = loop.links.get(DPID)
        assert link is not None
        yield Connected(ovs, loop, link)


def pipeline(port_no: int = 1, out: int = 2) -> tuple[FlowEntry, ...]:
    """Return the shortest pipeline in which a packet of a port misses, and leaves by another once it does not."""
    return (
        entry("classify", 100, {"in_port": port_no, "vlan_vid": 0}, SetField("reg0", 7), SetField("reg1", 8),
              goto="guard", cookie=BASE),
        entry("guard", 1, {}, goto="outbound", cookie=BASE),
        entry("outbound", 300, {"eth_type": 0x0800, "ip_frag": (1, 1)}, SetField(PUNT, Punt.FRAGMENT), goto="missed"),
        entry("outbound", 0, {}, goto="missed"),
        entry("missed", 100, {PUNT: Punt.FRAGMENT}, ToController(), cookie=FRAGMENTS),
        entry("missed", 0, {}, ToController(), cookie=MISSES),
        entry("deliver", 1, {}, goto="closing", cookie=BASE),
        entry("closing", 1, {}, goto="egress", cookie=BASE),
        entry("egress", 1, {}, Output(out), cookie=BASE),
    )  # fmt: skip


def frame(sport: int = 1000, **more: int) -> bytes:
    """Return a TCP segment."""
    return packets.ether(
        "02:00:00:00:00:01", "02:00:00:00:00:02", packets.IPV4, _ipv4(packets.TCP, _tcp(sport), **more)
    )


def _tcp(sport: int) -> bytes:
    return sport.to_bytes(2, "big") + (80).to_bytes(2, "big") + bytes(8) + b"\x50\x02" + bytes(6)


def _ipv4(proto: int, payload: bytes, fragment: int = 0) -> bytes:
    total = (20 + len(payload)).to_bytes(2, "big")
    head = b"\x45\0" + total + b"\0\1" + fragment.to_bytes(2, "big") + bytes((64, proto)) + bytes(2)
    return head + packets.ip("10.0.0.1") + packets.ip("10.0.0.2") + payload


def made_for(event: PacketIn, **changes: object) -> CachedEntry:
    """Return the entry that lets a missed packet pass."""
    parsed = flow_key.parse(event.frame)
    assert parsed is not None
    made = CachedEntry(
        Cookie(EntryClass.FORWARD, 1, event.sender, 5).pack(), Direction.OUTBOUND, event.segment, event.sender,
        parsed.key, False, True, IDENTITY, 0, 0,
    )  # fmt: skip
    return made._replace(**changes)  # type: ignore[arg-type]


def snapshot() -> Snapshot:
    """Return a network with VFs with and without addresses, a trunk, and segments with and without a VLAN."""
    addresses = ((4, 0x0A000009), (6, 0x20010DB8 << 96 | 9))
    more = [
        Change(kind="segments", key="blue", value=Segment(id="blue", tenant="red", vlan=50, number=2)),
        Change(kind="segments", key="own", value=Segment(id="own", tenant="red", vlan=None, number=3)),
    ]
    for number, segment, kind, trunk in ((4, "blue", "vf", ()), (5, "own", "vf", ()), (6, None, "trunk", ("blue",))):
        value = Vport(
            id=f"vm{number}", host="h1", port=f"h1-vf{number}", kind=VportKind(kind), tenant="red", segment=segment,
            mac=0x020000000000 + number, ips=addresses if number == 4 else (), vlan=100 + number, trunk=trunk,
        )  # fmt: skip
        more.append(Change(kind="vports", key=value.id, value=value))
    return Snapshot().changed([*policies.network(), *more])


def test_standing_entries_read_back_as_they_were_sent(connected: Connected) -> None:
    """Every standing entry of a varied host is reported byte for byte as expected, and none is missing."""
    policy = compile_policy(snapshot())
    ports = {"h1-uplink": 9, **{f"h1-vf{n}": n for n in range(1, 7)}}
    wanted = base_entries(policy, policy.snapshot.hosts["h1"], ports)
    calls.commit(connected.link, SwitchChange(dpid=DPID, added=wanted))
    present = {(made.priority, made.cookie, made.match, made.instructions) for made in calls.dump_flows(connected.link)}
    assert present == {(made.priority, made.cookie, *wire(made)) for made in wanted}
    assert len(wanted) > 150


@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(made=st.lists(cached_entries(), min_size=30, max_size=60))
def test_cached_entries_read_back_as_they_were_sent(connected: Connected, made: list[CachedEntry]) -> None:
    """Cached entries of all shapes come back byte for byte, tell their flow, and can be removed either way."""
    link = connected.link
    unique = list({(each.direction, wire(each)[0]): each for each in made}.values())
    calls.commit(link, SwitchChange(dpid=DPID, added=tuple(unique)))
    present = {(each.table, each.match): each for each in calls.dump_flows(link)}
    assert len(present) == len(unique)
    for each in unique:
        match, instructions = wire(each)
        found = present[NUMBER[each.direction.value], match]
        expected = PresentEntry(
            found.table, 100, each.cookie, match, instructions, each.idle_timeout_s, each.hard_timeout_s, 0, 0
        )
        assert found == expected
        flow = key_of_match(found.match)
        assert flow is not None and flow == read(found.match)
        assert (flow.segment, flow.vport, flow.direction) == (each.segment, each.vport, each.direction)
    half = unique[: len(unique) // 2]
    done = {(NUMBER[each.direction.value], wire(each)[0]) for each in half}
    rest = (found for place, found in present.items() if place not in done)
    calls.commit(link, SwitchChange(dpid=DPID, removed=(*half, *rest)))
    assert calls.dump_flows(link) == []


def test_a_miss_brings_an_entry_and_the_packet_goes_on(connected: Connected) -> None:
    """The first packet comes up with its registers and leaves by the entry that it brought; later ones stay below."""
    ovs, loop, link = connected.ovs, connected.loop, connected.link
    calls.commit(link, SwitchChange(dpid=DPID, added=pipeline()))
    loop.recorder.answer = lambda event: [
        Install(DPID, made_for(event)),
        Emit(DPID, event.table, event.in_port, event.segment, event.sender, event.receiver, event.frame),
    ]
    for number in range(1, 4):
        ovs.receive("p1", frame())
        wait_until(lambda: len(ovs.sent("p2")) == number, "the frame")  # noqa: B023
        ovs.appctl("revalidator/wait")
    assert ovs.sent("p2") == [frame()] * 3
    assert loop.recorder.of("packet_in") == [PacketIn(DPID, "outbound", Punt.MISS, 1, 7, 8, 0, frame())]
    (found,) = calls.dump_flows(link, cookie=Cookie(EntryClass.FORWARD, 1, 8, 5).pack(), cookie_mask=ALL_BITS)
    assert found.packets >= 1


def test_fragments_come_up_by_their_own_entry(connected: Connected) -> None:
    """With fragment matching switched on, first and later fragments are told from whole packets."""
    connected.link.set_fragments_nx_match()
    calls.commit(connected.link, SwitchChange(dpid=DPID, added=pipeline()))
    for fragment in (0, 0x2000, 0x0001):
        connected.ovs.receive("p1", frame(fragment=fragment))
    recorder = connected.loop.recorder
    wait_until(lambda: len(recorder.of("packet_in")) == 3, "three packet-ins")
    assert [event.punt for event in recorder.of("packet_in")] == [Punt.MISS, Punt.FRAGMENT, Punt.FRAGMENT]


def test_a_removed_entry_is_reported_with_its_counts(connected: Connected) -> None:
    """Releasing a cached entry brings a flow-removed with its cookie and packets."""
    ovs, recorder, link = connected.ovs, connected.loop.recorder, connected.link
    calls.commit(link, SwitchChange(dpid=DPID, added=pipeline()))
    made = made_for(PacketIn(DPID, "outbound", Punt.MISS, 1, 7, 8, 0, frame()))
    connected.loop.links.apply([Install(DPID, made)])
    calls.barrier(link)
    ovs.receive("p1", frame())
    wait_until(lambda: ovs.sent("p2"), "the frame")
    wait_until(lambda: calls.dump_flows(link, cookie=made.cookie, cookie_mask=ALL_BITS)[0].packets, "counted packet")
    connected.loop.links.apply([Release(DPID, made)])
    wait_until(lambda: recorder.of("flow_removed"), "flow_removed")
    (gone,) = recorder.of("flow_removed")
    assert (gone.cookie, gone.reason, gone.packets, gone.octets) == (made.cookie, 2, 1, len(frame()))


@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_bundle_is_all_or_nothing(connected: Connected, place: int) -> None:
    """One entry that the switch refuses keeps all others out, and in what there was, and is named."""
    link = connected.link
    before = entry("deliver", 7, {}, cookie=BASE)
    calls.commit(link, SwitchChange(dpid=DPID, added=(before,)))
    bad = FlowEntry(table="guard", priority=1, match=(("tcp_dst", 80),), cookie=BASE)
    added = (*pipeline()[:place], bad, *pipeline()[place:])
    with pytest.raises(SwitchRefused, match=r"OFPET_BAD_MATCH.*OFPBMC_BAD_PREREQ.*0xf510000000000000"):
        calls.commit(link, SwitchChange(dpid=DPID, removed=(before,), added=added))
    assert [found.priority for found in calls.dump_flows(link)] == [7]
    calls.commit(link, SwitchChange(dpid=DPID, removed=(before,), added=pipeline()))
    assert len(calls.dump_flows(link)) == len(pipeline())


def test_a_full_table_refuses_effects_and_changes(connected: Connected) -> None:
    """A full table is told: for an effect to the core, for a change to the caller, and the change is undone."""
    connected.ovs.vsctl(
        "--", "--id=@t", "create", "Flow_Table", "flow_limit=1", "overflow_policy=refuse",
        "--", "set", "bridge", "nic", f"flow_tables:{NUMBER['outbound']}=@t",
    )  # fmt: skip
    loop, link = connected.loop, connected.link
    event = PacketIn(DPID, "outbound", Punt.MISS, 1, 7, 8, 0, frame())
    first, second = made_for(event), made_for(event._replace(frame=frame(sport=2000)))
    loop.links.apply([Install(DPID, first), Install(DPID, second)])
    wait_until(lambda: loop.recorder.of("refused"), "refused")
    (refusal,) = loop.recorder.of("refused")
    assert "OFPFMFC_TABLE_FULL" in refusal.text and (refusal.message_type, refusal.cookie) == (14, second.cookie)
    with pytest.raises(SwitchRefused, match="OFPFMFC_TABLE_FULL"):
        calls.commit(link, SwitchChange(dpid=DPID, added=(*pipeline()[:2], second)))
    assert len(calls.dump_flows(link)) == 1


def test_a_large_dump_comes_in_many_parts(connected: Connected) -> None:
    """Twenty thousand entries go in by bundle and come back, all of them, with their keys."""
    event = PacketIn(DPID, "outbound", Punt.MISS, 1, 7, 8, 0, frame())
    first = made_for(event)
    family, bits = first.key
    made = tuple(first._replace(key=flow_key.FlowKey(family, bits + (n << 32))) for n in range(20_000))
    calls.commit(connected.link, SwitchChange(dpid=DPID, added=made), timeout_s=60)
    found = [key_of_match(each.match) for each in calls.dump_flows(connected.link)]
    assert {each.key for each in found if each is not None} == {each.key for each in made}


def test_ports_are_those_of_the_switch(connected: Connected) -> None:
    """The known ports are right from the start, when a port comes and when one goes."""
    ovs, link = connected.ovs, connected.link
    local = 0xFFFFFFFE
    assert link.known_ports() == {"nic": local, "p1": 1, "p2": 2}
    ovs.add_port("nic", "p7", 7)
    wait_until(lambda: link.known_ports() == {"nic": local, "p1": 1, "p2": 2, "p7": 7}, "the new port")
    ovs.delete_port("nic", "p1")
    wait_until(lambda: link.known_ports() == {"nic": local, "p2": 2, "p7": 7}, "the port to go")


def test_a_switch_that_speaks_another_version_is_refused(ovs: OpenVSwitch) -> None:
    """A bridge that allows 1.3 only never comes up, and the reason is counted."""
    ovs.add_bridge("nic", DPID, ["p1"])
    ovs.vsctl("set", "bridge", "nic", "protocols=OpenFlow13")
    with running() as loop:
        ovs.set_controller("nic", loop.port)
        wait_until(lambda: loop.links.counters["version"], "the refusal")
        assert loop.links.all() == ()
        said = "version negotiation failed (we support version 0x04, peer supports version 0x05)"
        wait_until(lambda: said in ovs.daemons.log(), "the reason in the switch's log")


def test_a_switch_that_dies_is_missed_and_comes_back(connected: Connected) -> None:
    """A killed switch ends what waits for it, is taken down, and is taken up again when it returns."""
    ovs, loop, link = connected.ovs, connected.loop, connected.link
    ovs.daemons.stop_switch()
    with pytest.raises((SwitchAway, NotConfirmed)):
        calls.barrier(link)
    wait_until(lambda: loop.recorder.of("link_down"), "link_down")
    ovs.daemons.start_switch()
    wait_until(lambda: loop.links.get(DPID), "the switch")
    again = loop.links.get(DPID)
    assert again is not None and again is not link
    calls.commit(again, SwitchChange(dpid=DPID, added=pipeline()))
    assert loop.recorder.of("link_up") == [DPID, DPID]
