"""What rules do beside editing headers: the flat entry does what the layers do one by one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st
from immutables import Map

from ryu_apps.control.leases import Leases
from ryu_apps.control.lender import Lender
from ryu_apps.engine.connection import Leg, connect
from ryu_apps.engine.lending import Lend
from ryu_apps.engine.meter_id import meter_id
from ryu_apps.engine.policy import Policy, compile_policy
from ryu_apps.engine.ruling import Verdict
from ryu_apps.engine.walk import steps, walk
from ryu_apps.model.action import (
    Action,
    Allow,
    Deny,
    Encapsulate,
    Meter,
    Mirror,
    Nat,
    PopVlanTag,
    Prioritise,
    PushVlanTag,
    RateUnit,
    Reroute,
    Rewrite,
    default_burst,
    named_pool,
)
from ryu_apps.model.flow_key import CUSTOMER_TAG, VLAN_PRESENT, FlowKey, customer_tag
from ryu_apps.model.match import parse_match
from ryu_apps.model.nat_pool import AddressRange, NatPool
from ryu_apps.model.policy import Change
from ryu_apps.model.rules import Direction, Rule
from ryu_apps.model.transposition import transposition
from ryu_apps.pipeline.cached import cached, compile_cached
from ryu_apps.pipeline.entry import PopVlan, PushVlan, Resubmit, SetField
from tests.unit.policies import IN, OUT, group, keys, layer, matches, network, rule, snapshot, tcp

KBPS = RateUnit.KBPS


def meter(kbps: int) -> Meter:
    """Return a meter of kbit/s."""
    return Meter(unit=KBPS, rate=kbps, burst=default_burst(KBPS, kbps))


_EDITS = st.fixed_dictionaries(
    {}, optional={"ip_dscp": st.sampled_from([0, 10, 46]), "l4_dst": st.sampled_from([80, 443])}
)
_ACTIONS = st.one_of(
    st.just(Allow()),
    st.just(Deny()),
    _EDITS.map(lambda edits: Rewrite(transposition(edits))),
    st.sampled_from([80, 443]).map(lambda port: Nat(edit=transposition({"l4_dst": port}))),
    st.sampled_from([PushVlanTag(7), PushVlanTag(300), PopVlanTag()]),
    st.sampled_from(["p", "q"]).map(lambda pool: Nat(edit=transposition({}), pool=pool)),
    st.sampled_from(["p", "q"]).map(lambda pool: Nat(edit=transposition({"l4_dst": 443}), pool=pool)),
    st.sampled_from([0, 100, 1000]).map(meter),
    st.sampled_from(["vm1", "vm2", "vm3"]).map(Mirror),
    st.sampled_from(["vm1", "vm2"]).map(Reroute),
    st.sampled_from([(4, 0xAC100002), (6, 5)]).map(lambda remote: Encapsulate(remote=remote, vni=7)),
    st.sampled_from([0, 7]).map(Prioritise),
)


@dataclass
class Packet:
    """A packet on its way through layers: its headers, what befell it, and where it is told to go."""

    key: FlowKey
    befell: list[tuple[object, ...]] = field(default_factory=list)
    exit: tuple[object, ...] = ()
    priority: int | None = None
    dropped: bool = False


_POOLS = {
    name: NatPool(id=name, segment="red", host="h1", mac=0x02FA00000000 + number, ports=(1, 1500),
                  addresses=(AddressRange(4, 0x0A000100 + 8 * number, 0x0A000101 + 8 * number),))
    for number, name in enumerate("pq")
}  # fmt: skip


TAGGED = CUSTOMER_TAG | VLAN_PRESENT


def lender() -> Lend:
    """Return who lends of two pools of which nobody else has anything."""
    return Lender(Leases(), _POOLS, (101, 1, 1))


def by_layers(policy: Policy, verdict: Verdict, key: FlowKey, vport: str, lend: Lend) -> Packet:
    """Return what becomes of a packet when each layer in turn does what its rule says."""
    packet = Packet(key)
    numbers = {vport.id: vport.number for vport in policy.snapshot.vports.values()}
    for ruling, seen in steps(verdict, key):
        assert seen == packet.key
        if ruling.rule is None:
            packet.dropped = not ruling.allow
            continue
        action = policy.snapshot.groups[ruling.layer, str(ruling.group)].rules[ruling.rule].action
        match action:
            case Deny() | Meter(rate=0):
                packet.dropped = True
            case Meter():
                packet.befell.append(("meter", meter_id(vport, ruling.layer, str(ruling.group), ruling.rule)))
            case Mirror(vport=name) if name != vport:
                packet.befell.append(("copy", numbers[name], packet.key))
            case Reroute(vport=name) if name != vport:
                packet.exit = ("vport", numbers[name])
            case Encapsulate(remote=remote, vni=vni):
                packet.exit = ("tunnel", *remote, vni)
            case Nat(edit=edit, pool=str(pool)):
                lent = lend(pool, packet.key)
                assert lent is not None
                packet.key = lent.edit.apply(edit.apply(packet.key))
            case PushVlanTag(vlan):
                packet.key = transposition({"vlan_vid": TAGGED | vlan}).apply(packet.key)
            case PopVlanTag():
                packet.key = transposition({"vlan_vid": 0}).apply(packet.key)
            case Prioritise(priority):
                packet.priority = priority
            case Rewrite(edit=edit) | Nat(edit=edit):
                packet.key = edit.apply(packet.key)
    return packet


def by_entry(policy: Policy, verdict: Verdict, key: FlowKey, vport: str, direction: Direction) -> Packet:
    """Return what becomes of a packet when the switch carries out the actions of the one flat entry."""
    leg = Leg(policy.snapshot.vports[vport].number, direction, verdict, True)
    made = compile_cached(cached(leg, key, 1, 0))
    packet, registers = Packet(key, dropped=made.goto is None), dict[str, int]()
    for action in made.actions:
        match action:
            case PushVlan(vid=vid):
                assert not customer_tag(packet.key)
                packet.key = transposition({"vlan_vid": TAGGED | vid}).apply(packet.key)
            case PopVlan():
                assert customer_tag(packet.key)
                packet.key = transposition({"vlan_vid": 0}).apply(packet.key)
            case SetField(field="vlan_vid", value=vlan):
                assert customer_tag(packet.key)
                packet.key = transposition({"vlan_vid": CUSTOMER_TAG | vlan}).apply(packet.key)
            case SetField(field=name, value=value) if name.startswith(("reg", "tun")):
                registers[name] = value
            case SetField(field=name, value=value):
                plain = f"l4_{name[-3:]}" if name[:4] in ("tcp_", "udp_", "sctp") else name
                packet.key = transposition({plain: value}).apply(packet.key)
            case Resubmit(table="meter"):
                packet.befell.append(("meter", registers["reg4"]))
            case Resubmit(table="mirror"):
                packet.befell.append(("copy", registers["reg6"], packet.key))
    if "reg7" in registers:
        packet.priority = registers["reg7"] - 8
    if registers.get("reg3") == 3:
        (remote,) = [(version, name) for version in (4, 6) if (name := f"tun_ipv{version}_dst") in registers]
        packet.exit = ("tunnel", remote[0], registers[remote[1]], registers["tunnel_id"])
    elif "reg5" in registers:
        packet.exit = ("vport", registers["reg5"])
    if made.goto is not None:
        assert (made.goto == "closing") is (direction is IN or packet.exit[:1] == ("tunnel",))
    return packet


@st.composite
def _layer_rules(draw: st.DrawFn) -> Map[str, Rule]:
    """Draw the rules of one layer."""
    names = [f"r{number}" for number in range(draw(st.integers(1, 3)))]
    made = {}
    for name in names:
        match = draw(st.just({}) | matches())
        made[name] = Rule(id=name, priority=draw(st.integers(0, 3)), match=parse_match(match), action=draw(_ACTIONS))
    return Map(made)


@given(st.lists(_layer_rules(), min_size=1, max_size=5), keys(), st.sampled_from([OUT, IN]), st.sampled_from([0, 0, 7]))
def test_the_flat_entry_does_what_the_layers_do_one_by_one(
    maps: list[Map[str, Rule]], key: FlowKey, direction: Direction, tag: int
) -> None:
    """M07 M23: copies, meters, edits, exit and priority of one entry are those of all layers in turn."""
    changes: list[Change] = []
    key = transposition({"vlan_vid": TAGGED | tag if tag else 0}).apply(key)
    for number, rules in enumerate(maps):
        kept = rules.values() if direction is OUT else [each for each in rules.values() if not _leads(each.action)]
        changes += [layer(f"l{number}", number), group(f"l{number}", "g", direction, *kept)]
    policy = compile_policy(snapshot(*changes))
    verdict = walk(policy.view(policy.snapshot.vports["vm1"], direction), key, lender())
    expected = by_layers(policy, verdict, key, "vm1", lender())
    found = by_entry(policy, verdict, key, "vm1", direction)
    assert (found.befell, found.dropped) == (expected.befell, expected.dropped)
    if not expected.dropped:
        assert (found.key, found.exit, found.priority) == (expected.key, expected.exit, expected.priority)


def _leads(action: Action) -> bool:
    return isinstance(action, Reroute | Encapsulate) or named_pool(action) is not None


def _policy(*rules: Rule, vni: int | None = None) -> Policy:
    changes = network()
    segment = next(change.value for change in changes if change.kind == "segments")
    changed = Change(kind="segments", key="red", value=replace(segment, vni=vni))  # type: ignore[type-var]
    return compile_policy(snapshot(layer("a", 1), group("a", "g", OUT, *rules)).changed([changed]))


def test_a_route_asks_the_vport_that_it_leads_to() -> None:
    """M23: the inbound rules of the vport that a rule names are asked, not those of the MAC's owner."""
    policy = _policy(rule("r", Reroute("vm2"), ip_proto="tcp"))
    plan = connect(policy, "red", policy.snapshot.vports["vm1"], OUT, tcp(target="vm3"))
    assert [leg.vport for leg in plan.forward] == [101, 102]
    plain = _policy(rule("r", Allow(), ip_proto="tcp"))
    plan = connect(plain, "red", plain.snapshot.vports["vm1"], OUT, tcp(target="vm3"))
    assert [leg.vport for leg in plan.forward] == [101, 103]


def test_a_tunnel_of_the_segments_own_vni_leads_to_its_members() -> None:
    """M23: what leaves under the segment's VNI is asked at its receiver elsewhere; under another it is outside."""
    tunnel = Encapsulate(remote=(4, 0xAC100002), vni=7)
    for vni, receivers in ((7, [101, 103]), (8, [101]), (None, [101])):
        policy = _policy(rule("r", tunnel, ip_proto="tcp"), vni=vni)
        plan = connect(policy, "red", policy.snapshot.vports["vm1"], OUT, tcp(target="vm3"))
        assert [leg.vport for leg in plan.forward] == receivers
    policy = _policy(rule("r", tunnel, ip_proto="tcp"), vni=7)
    here = connect(policy, "red", policy.snapshot.vports["vm1"], OUT, tcp(target="vm2"))
    assert [leg.vport for leg in here.forward] == [101]


@given(_EDITS, _EDITS)
def test_a_copy_stands_between_the_edits_around_it(first: dict[str, int], second: dict[str, int]) -> None:
    """M07: what two layers set around a mirror is in the copy only as far as it was set before."""
    changes = [layer("a", 1), layer("b", 2), layer("c", 3)]
    actions = (Rewrite(transposition(first)), Mirror("vm2"), Rewrite(transposition(second)))
    changes += [group(name, "g", OUT, rule("r", action)) for name, action in zip("abc", actions, strict=True)]
    policy = compile_policy(snapshot(*changes))
    verdict = walk(policy.view(policy.snapshot.vports["vm1"], OUT), tcp())
    assert by_entry(policy, verdict, tcp(), "vm1", OUT).befell == [("copy", 102, transposition(first).apply(tcp()))]


def test_a_copy_has_the_tag_of_its_place() -> None:
    """M07 M23: copies between layers that put a tag on, change it and take it off show each what was before them."""
    actions = (PushVlanTag(7), Mirror("vm2"), PushVlanTag(8), Mirror("vm3"), PopVlanTag(), Mirror("vm2"))
    changes = [layer(f"l{number}", number) for number in range(6)]
    changes += [group(f"l{number}", "g", OUT, rule("r", action)) for number, action in enumerate(actions)]
    policy = compile_policy(snapshot(*changes))
    found = by_entry(policy, walk(policy.view(policy.snapshot.vports["vm1"], OUT), tcp()), tcp(), "vm1", OUT)
    tagged = [transposition({"vlan_vid": TAGGED | vlan}).apply(tcp()) for vlan in (7, 8)]
    assert found.befell == [("copy", 102, tagged[0]), ("copy", 103, tagged[1]), ("copy", 102, tcp())]
    assert found.key == tcp()


def test_the_last_exit_holds() -> None:
    """M07: of two layers that send packets elsewhere the later one decides, whatever they ask for."""
    tunnel, route = Encapsulate(remote=(4, 0xAC100002), vni=7), Reroute("vm2")
    for actions, found in (((tunnel, route), ("vport", 102)), ((route, tunnel), ("tunnel", 4, 0xAC100002, 7))):
        changes = [layer("a", 1), layer("b", 2)]
        changes += [group(name, "g", OUT, rule("r", action)) for name, action in zip("ab", actions, strict=True)]
        policy = compile_policy(snapshot(*changes))
        verdict = walk(policy.view(policy.snapshot.vports["vm1"], OUT), tcp())
        assert by_entry(policy, verdict, tcp(), "vm1", OUT).exit == found
