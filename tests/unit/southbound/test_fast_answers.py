"""The fast path gives the very bytes that the usual way gives, and leaves the same state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from ryu_apps.control.core import ControlCore
from ryu_apps.control.fast_path import MOST_KINDS, Course
from ryu_apps.control.letting_go import ended_by_fin
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.action import Allow, Deny
from ryu_apps.model.flow_key import Family, FlowKey, parse, reverse
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Direction, Scope
from ryu_apps.pipeline.cached import FIN_HARD_TIMEOUT_S
from ryu_apps.pipeline.cookie import INBOUND_PUNT
from ryu_apps.southbound import flow_removed, packet_in
from ryu_apps.southbound.answers import encode
from ryu_apps.southbound.fast_answers import FastAnswers
from ryu_apps.southbound.wire import VERSION, Type
from tests.unit.control.histories import ENDS, first_changes, keys, next_changes
from tests.unit.control.test_change import HOME, PORTS, anew
from tests.unit.control.test_core import tcp_frame
from tests.unit.frames import frame_of
from tests.unit.policies import IN, OUT, group, layer, rule, snapshot
from tests.unit.southbound import messages

_PORTS_AND_DSCP = 0x3F << 96 | 0xFFFFFFFF


def _is_whole(part: bytes) -> bool:
    """Return whether bytes are one or more OpenFlow messages, either packet-outs alone or none."""
    types = set()
    while len(part) >= 8:
        types.add(part[1] == Type.PACKET_OUT)
        part = part[int.from_bytes(part[2:4], "big") :] if part[0] == VERSION else b"?"
    return not part and len(types) == 1


@dataclass
class Side:
    """A core with a receive loop's way of asking it; fast is None for the plain twin."""

    core: ControlCore
    fast: dict[int, FastAnswers] | None
    fast_answers: int = 0
    others: dict[int, list[bytes]] = field(default_factory=dict)

    def answer(self, dpid: int, message: bytes, now_s: float) -> tuple[bytes, dict[int, bytes]]:
        """Return what is written to the datapath that asked, and to others."""
        own: list[bytes] = []
        others: dict[int, list[bytes]] = {}
        fast = self.fast.setdefault(dpid, FastAnswers(self.core.fast_path)) if self.fast is not None else None
        # Received behind another message, as in a batch.
        data = b"\xff" * 5 + message
        if fast is not None and fast.answer(data, 5, len(message), now_s, own, others):
            self.fast_answers += 1
        else:
            event = packet_in.decode(data, 5, len(message), dpid)
            assert event is not None
            for effect in self.core.packet_in(event, now_s):
                (own if effect.dpid == dpid else others.setdefault(effect.dpid, [])).append(encode(effect))
            if fast is not None:
                fast.note(data, 5, event)
        assert all(_is_whole(part) for part in own)
        return b"".join(own), {other: b"".join(written) for other, written in others.items()}

    def state(self) -> tuple[object, ...]:
        """Return all that the core knows."""
        flows = sorted((_plain(flow) for flow in self.core.flows), key=lambda flow: flow[0])
        rows = [
            sorted(found.id for found in self.core.flows.at_vport(vport.number))
            for vport in self.core.policy.snapshot.vports.values()
        ]
        begun = [self.core.flows.begun_by(vport.number) for vport in self.core.policy.snapshot.vports.values()]
        return (
            flows,
            len(self.core.holding),
            rows,
            begun,
            self.core.tally.by_vport(),
        )


def _plain(flow: UnifiedFlow) -> tuple[object, ...]:
    legs = [
        (leg.vport, leg.direction, key, leg.verdict.allow, leg.verdict.edit, leg.exact_dscp) for leg, key in flow.legs()
    ]
    return flow.id, flow.segment, flow.key, flow.generation, flow.renewed, flow.created_s, flow.parent, str(legs)


def two_sides(after: Snapshot) -> tuple[Side, Side]:
    """Return the fast side and its plain twin, with both hosts up."""
    sides = Side(ControlCore(compile_policy(after)), {}), Side(ControlCore(compile_policy(after)), None)
    for side in sides:
        side.core.datapaths = dict(PORTS)
    return sides


def miss(core: ControlCore, name: str, direction: Direction, frame: bytes) -> bytes:
    """Return the packet-in of a frame that missed at a vport."""
    number = core.policy.snapshot.vports[name].number
    registers = [("reg1", number)] if direction is OUT else [("reg2", number)]
    fields = messages.oxm_fields([("in_port", 1), ("reg0", 1), *registers])
    cookie = messages.PUNTED | (INBOUND_PUNT if direction is Direction.INBOUND else 0)
    return messages.packet_in(fields, frame, cookie=cookie)


@st.composite
def _alike(draw: st.DrawFn) -> list[tuple[str, Direction, bytes]]:
    """Draw packets of few kinds that differ in ports, DSCP, payload and flags."""
    met: list[tuple[str, Direction, bytes]] = []
    for _ in range(draw(st.integers(1, 4))):
        source, target = draw(st.permutations(ENDS))[:2]
        key = draw(keys(source, target).filter(lambda key: key.family is not Family.LINK))
        for _ in range(draw(st.integers(1, 5))):
            other = key
            if key.family is Family.IPV4 and key.bits >> 104 & 0xFF in (6, 17, 132):
                changed = draw(st.integers(0, 3)) << 96 | draw(st.integers(0, 1)) << 17 | draw(st.integers(0, 1)) << 1
                other = FlowKey(key.family, key.bits ^ changed)
            if draw(st.integers(0, 5)) == 0:
                other, source, target = reverse(other), target, source
            frame = bytearray(frame_of(other, payload=draw(st.sampled_from([b"", b"0123456789", bytes(30)]))))
            if len(frame) > 48 and frame[23] == 6:
                frame[47] = draw(st.sampled_from([0x02, 0x02, 0x02, 0x10, 0x12, 0x11, 0x04]))
            if draw(st.integers(0, 9)) == 0:
                frame = frame[: draw(st.integers(14, len(frame)))]
            if draw(st.integers(0, 9)) == 0:
                frame[draw(st.integers(12, len(frame) - 1))] ^= 1 << draw(st.integers(0, 7))
            met.append((target, IN, bytes(frame)) if source == "ext" else (source, OUT, bytes(frame)))
    return met


def both(sides: Iterable[Side], name: str, direction: Direction, frame: bytes, now_s: float) -> None:
    """Let both sides answer one packet, and hold their answers against each other."""
    fast, plain = sides
    message = miss(plain.core, name, direction, frame)
    assert fast.answer(HOME[name], message, now_s) == plain.answer(HOME[name], message, now_s)


@settings(max_examples=300, deadline=None)
@given(first_changes(), _alike(), st.data())
def test_the_fast_path_equals_the_usual_way(
    first: list[Change], met: list[tuple[str, Direction, bytes]], data: st.DataObject
) -> None:
    """Whatever the policy, the packets and the changes between: the same bytes, the same flows, the same counts."""
    sides = two_sides(snapshot(*first))
    for round_s in range(2):
        for step, (name, direction, frame) in enumerate(met):
            both(sides, name, direction, frame, round_s + step / 1000)
            if data.draw(st.integers(0, 9)) == 0:
                assert sides[0].core.release(round_s + 0.5) == sides[1].core.release(round_s + 0.5)
        assert sides[0].state() == sides[1].state()
        changes = data.draw(next_changes(sides[0].core.policy.snapshot))
        if any(change.kind == "vports" for change in changes):
            return
        after = sides[0].core.policy.snapshot.changed(changes)
        for side in sides:
            side.core.policy = compile_policy(after)
            for flow in tuple(side.core.flows):
                if not flow.parent:
                    side.core.ageing.remove(flow)
        assert sides[0].state() == sides[1].state()


WEB = (
    layer("fw", 1, stateful=True, into=False),
    group("fw", "out", OUT, rule("web", Allow(), ip_proto="tcp", l4_dst="80"), rule("no", Deny(), ip_proto="udp")),
    group("fw", "in", IN, rule("web", Allow(), ip_proto="tcp", l4_dst="80")),
)


def syn(sport: int, dport: int = 80, source: str = "vm1", target: str = "vm2") -> bytes:
    """Return a TCP SYN, long enough to stand in an Ethernet frame."""
    return tcp_frame(source, target, sport, dport).ljust(60, b"\0")


def test_the_second_connection_of_a_kind_takes_the_fast_path() -> None:
    """The fast path is taken where it can be, on both hosts; otherwise its equality would show nothing."""
    fast, plain = sides = two_sides(snapshot(*WEB))
    for sport in range(40000, 40010):
        both(sides, "vm1", OUT, syn(sport), 0.0)
        both(sides, "vm1", OUT, syn(sport, target="vm3"), 0.0)
    assert fast.fast_answers == 18
    assert fast.state() == plain.state()


def test_what_is_known_or_unlike_goes_the_usual_way() -> None:
    """Repeated packets, replies, options, fragments, ports of another rule and cut headers are not of the kind."""
    fast, plain = sides = two_sides(snapshot(*WEB))
    both(sides, "vm1", OUT, syn(40000), 0.0)
    both(sides, "vm1", OUT, syn(40001), 0.0)
    assert fast.fast_answers == 1
    options = bytearray(syn(40002))
    options[14] = 0x46
    fragment = bytearray(syn(40003))
    fragment[20] = 0x20
    for frame in (syn(40001), bytes(options), bytes(fragment), syn(40004, 81), syn(40005)[:53]):
        both(sides, "vm1", OUT, frame, 0.1)
    both(sides, "vm2", OUT, syn(80, 40000, "vm2", "vm1"), 0.1)
    assert fast.fast_answers == 1 and fast.state() == plain.state()


def test_entries_that_carry_dscp_carry_their_own() -> None:
    """A rule on DSCP that only replies meet narrows their entries: a packet of another DSCP is of another kind."""
    marked = group("fw", "back", IN, rule("marked", Deny(), ip_dscp="46"), scope=Scope(vport="vm1"))
    fast, plain = sides = two_sides(snapshot(*WEB, marked))
    # What is learned first is a refusal, whose only entry does not carry DSCP.
    both(sides, "vm1", OUT, syn(39999, 81), 0.0)
    for number, dscp in enumerate((0, 0, 46, 46, 10, 0)):
        frame = bytearray(syn(40000 + number))
        frame[15] = dscp << 2
        both(sides, "vm1", OUT, bytes(frame), 0.0)
    assert fast.fast_answers == 3 and fast.state() == plain.state()


def test_a_change_of_policy_is_seen_by_the_next_packet() -> None:
    """M15: kinds learned under the policy before are forgotten with it, and with the datapaths that they reach."""
    fast, plain = sides = two_sides(snapshot(*WEB))
    for sport in (1, 2):
        both(sides, "vm1", OUT, syn(sport, target="vm3"), 0.0)
    denied = (*WEB[:1], group("fw", "out", OUT, rule("web", Deny(), ip_proto="tcp", l4_dst="80")), WEB[2])
    for side in sides:
        side.core.policy = compile_policy(snapshot(*denied))
    for sport in (3, 4):
        both(sides, "vm1", OUT, syn(sport, target="vm3"), 0.0)
    for side in sides:
        side.core.policy = compile_policy(snapshot(*WEB))
        side.core.disconnected(2)
    for sport in (5, 6):
        both(sides, "vm1", OUT, syn(sport, target="vm3"), 0.0)
    assert fast.fast_answers == 3 and fast.state() == plain.state()


def test_a_flow_of_a_kind_is_whole_when_asked_for() -> None:
    """Its key is that of its packet, its plan what a fresh policy gives it, and it is found in every way."""
    fast, _ = sides = two_sides(snapshot(*WEB))
    for sport in (1, 2):
        both(sides, "vm1", OUT, syn(sport), 7.0)
    flow = max(fast.core.flows, key=lambda flow: flow.id)
    parsed = parse(syn(2))
    assert parsed and flow.key == parsed.key and flow.created_s == 7.0
    assert flow.plan is not None and anew(fast.core.policy, fast.core.flows.leases, flow, None) is flow.plan
    assert flow in fast.core.flows.at_vport(101) and flow in fast.core.flows.by_rule(("fw", "out", "web"))
    assert fast.core.flows.get(flow.id) == flow


def test_the_quota_of_a_vport_holds_on_the_fast_path() -> None:
    """A VM that begins too many flows is stopped whichever way its packets take."""
    core = ControlCore(compile_policy(snapshot(*WEB)), flows_per_vport=3)
    core.datapaths = dict(PORTS)
    side = Side(core, {})
    for sport in range(6):
        side.answer(1, miss(core, "vm1", OUT, syn(sport)), 0.0)
    assert len(core.flows) == 3 and core.tally.of_vport(101)["flow-limit"] == 3


@st.composite
def _port_rules(draw: st.DrawFn) -> list[Change]:
    """Draw two stateful layers whose rules tell few ports and addresses apart, so that packets come to many plans."""
    made = [layer("a", 1, stateful=True, into=False), layer("b", 2, stateful=True)]
    for name, direction in (("a", OUT), ("a", IN), ("b", OUT), ("b", IN)):
        rules = []
        for number in range(draw(st.integers(0, 4))):
            match = {"ip_proto": draw(st.sampled_from(["tcp", "udp"]))}
            for port in draw(st.sets(st.sampled_from(["l4_src", "l4_dst"]))):
                low = draw(st.integers(0, 7))
                match[port] = f"{low}-{draw(st.integers(low, 7))}"
            action = draw(st.sampled_from([Allow(), Deny()]))
            rules.append(rule(f"r{number}", action, draw(st.integers(0, 3)), draw(st.sampled_from([None, 7])), **match))
        made.append(group(name, direction.value, direction, *rules))
    return made


@settings(max_examples=200, deadline=None)
@given(
    _port_rules(),
    st.lists(
        st.tuples(
            st.sampled_from([("vm1", "vm2"), ("vm2", "vm1"), ("vm1", "ext"), ("vm1", "vm3")]),
            st.integers(0, 7), st.integers(0, 7), st.sampled_from([2, 2, 2, 16]), st.integers(1, 3),
        ),
        max_size=30,
    ),
)  # fmt: skip
def test_the_fast_path_equals_the_usual_way_where_rules_look_at_ports(
    policy: list[Change], met: list[tuple[tuple[str, str], int, int, int, int]]
) -> None:
    """Packets of one course that come to many plans: the same bytes, the same flows, the same counts."""
    sides = two_sides(snapshot(*policy))
    for (source, target), sport, dport, flags, address in met:
        frame = tcp_frame(source, target, sport, dport, flags).ljust(60, b"\0")
        both(sides, source, OUT, frame[:29] + bytes((address,)) + frame[30:], 0.0)
    assert sides[0].state() == sides[1].state()


def test_packets_that_rules_tell_apart_have_the_answer_of_their_plan() -> None:
    """Where a rule looks at source ports no two packets are of one kind: each is walked, and is answered alike."""
    denied = group("fw", "ports", OUT, rule("odd", Deny(), ip_proto="tcp", l4_src="200-220"), priority=9)
    fast, _ = sides = two_sides(snapshot(*WEB, denied))
    for sport in (100, 200, *range(101, 120), *range(201, 230)):
        both(sides, "vm1", OUT, syn(sport), 0.0)
        assert sides[0].state() == sides[1].state()
    assert fast.fast_answers == 48
    for sport in range(1000, 1003):
        both(sides, "vm1", OUT, syn(sport, dport=8080), 0.0)
    assert sides[0].state() == sides[1].state()


def test_a_kind_that_was_walked_twice_is_walked_no_more() -> None:
    """What comes again is kept as a kind, so that it costs no walk; what comes once takes no room."""
    looks = group("fw", "ports", OUT, rule("none", Deny(), 99, ip_proto="tcp", l4_src="7"))
    fast, plain = sides = two_sides(snapshot(*WEB, looks))
    for sport, address in ((1, 1), (2, 1), (3, 1), (2, 2), (2, 3)):
        frame = syn(sport)
        both(sides, "vm1", OUT, frame[:30] + bytes((198, 51, 100, address)) + frame[34:], 0.0)
    (course,) = courses_of(fast.core)
    assert fast.fast_answers == 4 and len(course.answers) == 2 and fast.state() == plain.state()


def courses_of(core: ControlCore) -> list[Course]:
    """Return what the fast path knows, by course."""
    places = core.fast_path._places.values()
    return [course for place in places for by_mac in place.courses.values() for course in by_mac.values()]


def test_a_vm_cannot_fill_memory_with_kinds() -> None:
    """However many kinds of packets a VM sends, so many are remembered at most, and flows outlive what is forgotten."""
    many = group("fw", "ports", OUT, rule("pair", Allow(), 5, ip_proto="tcp", l4_src="7", l4_dst="9"))
    fast, plain = sides = two_sides(snapshot(*WEB, many))
    for number in range(2 * MOST_KINDS + 100):
        frame = syn(1 + number // 2)
        both(sides, "vm1", OUT, frame[:33] + bytes((number % 2,)) + frame[34:], 0.0)
    (course,) = courses_of(fast.core)
    assert len(course.answers) <= MOST_KINDS and 0 < len(course.once) <= MOST_KINDS
    assert fast.state() == plain.state()
    for side in sides:
        for flow in tuple(side.core.flows):
            side.core.ageing.remove(flow)
        side.core.policy = compile_policy(side.core.policy.snapshot)
    assert not courses_of(fast.core) and fast.state() == plain.state()


def test_an_entry_that_has_gone_after_its_fin_is_taken_by_its_bytes() -> None:
    """M19: the fast path takes just those flow-removed messages that a FIN has caused, of flows that it knows."""
    fast, _ = two_sides(snapshot(layer("fw", 1, stateful=True)))
    fast.answer(HOME["vm1"], miss(fast.core, "vm1", OUT, tcp_frame()), 0.0)
    (flow,) = fast.core.flows
    answers = FastAnswers(fast.core.fast_path)
    cookies = [made.cookie for made in flow.entries()]

    def taken(message: bytes) -> bool:
        return answers.let_go(b"\xff" * 3 + message, 3, len(message), 1.0)

    assert not taken(messages.flow_removed(cookies[0], hard_timeout_s=60))
    assert not taken(messages.flow_removed(cookies[0] + 5, hard_timeout_s=FIN_HARD_TIMEOUT_S))
    assert not taken(messages.flow_removed(cookies[0], hard_timeout_s=FIN_HARD_TIMEOUT_S, reason=2))
    assert not taken(messages.flow_removed(cookies[0], hard_timeout_s=FIN_HARD_TIMEOUT_S)[:40])
    assert not fast.core.life.ended_ways(flow.id)
    for cookie in cookies:
        message = messages.flow_removed(cookie, hard_timeout_s=FIN_HARD_TIMEOUT_S)
        gone = flow_removed.decode(message, 0, len(message), 1)
        assert gone is not None and ended_by_fin(gone)
        assert taken(message)
    assert fast.core.life.is_closed(flow.id)
