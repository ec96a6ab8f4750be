"""Meters of single connections: whatever begins, ends and changes, the switches have just those that are needed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ryu_apps.control.adoption import Found, adopt_flows
from ryu_apps.control.change import adopt, plan_change, revise_flows, settle
from ryu_apps.control.core import ControlCore
from ryu_apps.control.course import Reason
from ryu_apps.control.effects import DropMeter, Effect, Install, PutMeter
from ryu_apps.control.events import PacketIn
from ryu_apps.engine.meter_id import connection_meter_id, is_of_connection, meter_id
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.action import Deny, Meter, Mirror, Per, RateUnit
from ryu_apps.model.network import Host
from ryu_apps.model.nic_limits import NicLimits
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.treatment import Copied, Metered
from ryu_apps.pipeline.cookie import Punt
from ryu_apps.pipeline.meters import MeterConfig, host_meters
from tests.unit.frames import frame_of
from tests.unit.policies import IN, OUT, group, layer, rule, snapshot, tcp

PORTS = {1: {"h1-vf1": 1, "h1-vf2": 2, "h1-uplink": 9}, 2: {"h2-vf3": 1, "h2-uplink": 9}}
EACH = Meter(unit=RateUnit.KBPS, rate=1000, burst=120, per=Per.CONNECTION)


def metered(*, back: bool = True, each: Meter = EACH) -> list[Change]:
    """Return a layer that meters every connection, where packets leave and where they arrive."""
    groups = [group("shape", "out", OUT, rule("r", each, eth_type="ipv4"))]
    groups += [group("shape", "in", IN, rule("r", each, eth_type="ipv4"))] if back else []
    return [layer("shape", 1), *groups]


def limited(meters: int | None) -> Change:
    """Return the change that lets h1 have so many meters."""
    value = Host(id="h1", dpid=1, uplink="h1-uplink", limits=NicLimits(meters=meters))
    return Change(kind="hosts", key="h1", value=value)


class Switches:
    """A core, and the meters that switches have who do as they are told."""

    def __init__(self, policy: Snapshot) -> None:
        self.core = ControlCore(compile_policy(policy))
        self.core.datapaths = dict(PORTS)
        self.meters: dict[tuple[int, int], MeterConfig] = {}

    def do(self, effects: list[Effect]) -> None:
        """Carry effects out as a switch would, in their order."""
        for effect in effects:
            match effect:
                case PutMeter(dpid=dpid, config=config, altered=altered):
                    assert ((dpid, config.number) in self.meters) is altered
                    self.meters[dpid, config.number] = config
                case DropMeter(dpid=dpid, number=number):
                    del self.meters[dpid, number]
                case Install(dpid=dpid, entry=made):
                    for step in made.treatment.steps if made.treatment else ():
                        if isinstance(step, Metered) and is_of_connection(step.meter):
                            assert (dpid, step.meter) in self.meters

    def meet(self, source: str, target: str, number: int, now_s: float, **more: str) -> None:
        """Let a packet miss at its sender."""
        vport = self.core.policy.snapshot.vports[source].number
        key = tcp(source, target, 40000 + number, 80, ip_proto="udp", **more)
        event = PacketIn(self.core.policy.dpids[vport], "outbound", Punt.MISS, 1, 1, vport, 0, frame_of(key))
        self.do(self.core.packet_in(event, now_s))
        self.do(self.core.release(now_s + 1))

    def change(self, *changes: Change) -> None:
        """Put changes in force as the running controller does."""
        core = self.core
        plan = plan_change(core, core.policy.snapshot.changed(changes), changes)
        core.policy = plan.after
        for piece in plan.pieces():
            revisions = revise_flows(core, plan, piece)
            self.do(adopt(core, plan, revisions))
            self.do(settle(core, plan, revisions, 0.0))

    def check(self) -> None:
        """See that the meters are those of the flows that are known, and that no NIC has more than it may."""
        core = self.core
        needed = {}
        for flow in core.flows:
            for leg in (*flow.plan.forward, *flow.plan.reply):
                treatment = leg.verdict.treatment
                for step in treatment.steps if treatment and not flow.lacks_meter else ():
                    if isinstance(step, Metered) and step.each is not None:
                        number = connection_meter_id(flow.connection, step.meter)
                        config = MeterConfig(number, step.each.unit, step.each.rate, step.each.burst)
                        needed[core.policy.dpids[leg.vport], number] = config
        assert self.meters == needed
        for host in core.policy.snapshot.hosts.values():
            if host.limits.meters is not None:
                room = max(0, host.limits.meters - len(host_meters(core.policy, host.id)))
                assert sum(dpid == host.dpid for dpid, _ in needed) <= room


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "open", "marked", "close", "rate", "one way", "both ways", "none", "limit"]),
        st.sampled_from([("vm1", "vm2"), ("vm1", "vm3"), ("vm2", "ext")]),
        st.integers(0, 12),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(_EVENTS)
def test_switches_have_the_meters_of_the_connections_that_live(
    events: list[tuple[str, tuple[str, str], int]],
) -> None:
    """S13 M12: over any history each connection has its meters, in the room that NICs have, and none is left behind."""
    switches, now_s = Switches(snapshot(*metered())), 0.0
    for what, (source, target), number in events:
        now_s += 2.0
        core = switches.core
        match what:
            case "open":
                switches.meet(source, target, number % 4, now_s)
            case "marked":
                switches.meet(source, target, number % 4, now_s, ip_dscp="46")
            case "close":
                live = [flow for flow in core.flows if not flow.parent]
                switches.do(core.ageing.remove(live[number % len(live)]) if live else [])
            case "rate":
                each = replace(EACH, rate=1000 + number % 2)
                switches.change(group("shape", "out", OUT, rule("r", each, eth_type="ipv4")))
            case "one way":
                switches.change(group("shape", "in", IN))
            case "both ways":
                switches.change(group("shape", "in", IN, rule("r", EACH, eth_type="ipv4")))
            case "none":
                switches.change(group("shape", "out", OUT))
            case "limit":
                misses = len(host_meters(compile_policy(snapshot(*metered())), "h1"))
                switches.change(limited(None if number > 9 else misses + number))
        switches.check()
    for flow in [flow for flow in switches.core.flows if not flow.parent]:
        switches.do(switches.core.ageing.remove(flow))
    assert switches.meters == {}


def test_numbers_of_connections_are_none_of_rules() -> None:
    """S13: numbers of both kinds of meters stand apart, within what a switch takes."""
    for number in range(1000):
        assert 0x40000000 <= connection_meter_id(number, number * 7919) <= 0x7FFFFFFF
        assert 1 <= meter_id(str(number), "layer", "group") < 0x40000000


def test_connections_that_are_taken_over_have_the_same_meters() -> None:
    """M26 S13: a core that starts anew wants of a switch the very meters that the connections had."""
    switches = Switches(snapshot(*metered()))
    for number in range(4):
        switches.meet("vm1", "vm2", number, 1.0)
    old = switches.core
    found = [
        Found(made.cookie, made.segment, made.vport, made.direction, made.key, made.idle_timeout_s)
        for flow in old.flows for made in flow.entries()
    ]  # fmt: skip
    core = ControlCore(compile_policy(snapshot(*metered())))
    core.datapaths = dict(PORTS)
    assert adopt_flows(core, found, 1.0) == 4
    assert {(1, use.need.number): use.config for use in core.flows.meters.at(1)} == switches.meters
    sent, unsent = core.flows.meters.claim(1)
    assert (sent, len(unsent)) == (set(), len(switches.meters))
    assert core.flows.meters.claim(1) == (set(unsent), {})


def test_two_connections_that_meet_in_one_number_do_not_share_the_meter() -> None:
    """S13: where the number of a connection's meter is taken, the connection stays with the host."""
    switches = Switches(snapshot(*metered(back=False)))
    switches.meet("vm1", "ext", 0, 1.0)
    core = switches.core
    (flow,) = core.flows
    (use,) = core.flows.meters.at(1)
    # The same number for another connection cannot be found in reasonable time: the one that has it is renamed.
    use.need = use.need._replace(connection=99)
    assert not core.flows.meters.fit(flow.plan, flow.id)
    core.flows.replace(flow, flow._replace(lacks_meter=True))
    (kept,) = core.flows
    assert core.nic_caches.course(kept).kept is Reason.NO_METER


def test_a_denied_connection_has_a_meter_only_for_copies() -> None:
    """S13: a connection that a later layer denies takes no meter of its own, unless a copy of it is made behind one."""
    closed = [layer("shape", 1), group("shape", "out", OUT, rule("r", EACH, eth_type="ipv4"))]
    closed += [layer("end", 3), group("end", "out", OUT, rule("no", Deny()))]
    switches = Switches(snapshot(*closed))
    switches.meet("vm1", "vm2", 0, 1.0)
    assert (switches.meters, len(switches.core.flows)) == ({}, 1)

    copy = [layer("copy", 2), group("copy", "out", OUT, rule("m", Mirror("vm2")))]
    switches = Switches(snapshot(*closed, *copy))
    switches.meet("vm1", "ext", 0, 1.0)
    (flow,) = switches.core.flows
    treatment = flow.own_treatment(flow.plan.forward[0].verdict.treatment)
    assert treatment is not None
    meter, copied = treatment.steps
    assert isinstance(copied, Copied) and isinstance(meter, Metered)
    assert switches.meters.keys() == {(1, meter.meter)}
