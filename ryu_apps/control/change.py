"""A policy change as a plan: what each switch must change, and what becomes of the flows that are touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from ryu_apps.control.affected import affected
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import Effect, SwitchChange, merged, meter_change
from ryu_apps.control.leading import leads
from ryu_apps.control.leases import Leases, owner_of
from ryu_apps.control.lender import Lender
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.connection import Leg, Plan, connect
from ryu_apps.engine.policy import Policy, recompile
from ryu_apps.engine.view import NEIGHBOUR
from ryu_apps.model.hairpin import Hairpin
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.turns import Pause, no_pause
from ryu_apps.pipeline.cached import CachedEntry, compile_cached
from ryu_apps.pipeline.cookie import unpack
from ryu_apps.pipeline.entry import EntryKey, FlowEntry
from ryu_apps.pipeline.meters import MeterConfig, host_meters
from ryu_apps.pipeline.pieces import NO_PIECES, Pieces, differences
from ryu_apps.pipeline.probing import probe_meters
from ryu_apps.pipeline.standing import standing_pieces

# Forwarding stands still while a bundle commits, so a large change goes in slices of this many entries.
SLICE_ENTRIES = 5000
# Misses wait while flows are walked again, so many flows go in pieces of this many.
PIECE_FLOWS = 1000


@dataclass(frozen=True, slots=True)
class Revision:
    """What a walk under the new policy makes of one flow; new is None when the connection cannot go on."""

    old: UnifiedFlow
    new: UnifiedFlow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """A new policy with what follows from it for standing entries, and the ids of the flows to walk again."""

    before: Policy
    after: Policy
    changes: tuple[Change, ...]
    base: tuple[SwitchChange, ...]
    touched: tuple[int, ...]

    def pieces(self) -> Iterator[tuple[int, ...]]:
        """Yield the touched flows in pieces, each walked without a pause; one empty piece when there are none."""
        for start in range(0, max(len(self.touched), 1), PIECE_FLOWS):
            yield self.touched[start : start + PIECE_FLOWS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisions:
    """What becomes of one piece of the touched flows; nothing of it is done yet."""

    changed: tuple[Revision, ...]
    renewed: tuple[UnifiedFlow, ...]
    switches: tuple[SwitchChange, ...]


def plan_change(
    core: ControlCore, after: Snapshot, changes: Iterable[Change], pause: Pause = no_pause
) -> PolicyChange:
    """Return what a new snapshot would change, without changing anything.

    Flows may begin and end in the pauses; those that the change touches are found behind the last of them.
    """
    changes = tuple(changes)
    policy = recompile(core.policy, after, changes, pause)
    touched = {*affected(core.flows, core.policy, policy, changes, pause), *core.flows.meters.crowded(policy)}
    base = tuple(base_changes(core, policy)) if _alters_base(core.policy, policy, changes) else ()
    return PolicyChange(before=core.policy, after=policy, changes=changes, base=base, touched=tuple(touched))


def revise_flows(core: ControlCore, plan: PolicyChange, flow_ids: Iterable[int]) -> Revisions:
    """Return what the new policy makes of these flows, as they are now, without changing anything."""
    wanted = dict.fromkeys(flow_ids)
    changed: list[Revision] = []
    renewed: list[UnifiedFlow] = []
    budget = core.flows.meters.budget(plan.after)
    for flow_id in wanted:
        flow = core.flows.get(flow_id)
        if flow is None or flow.parent in wanted:
            continue
        new = revise(plan.after, flow, core.flows.leases)
        if new is not None and (new.plan.metered or new.lacks_meter):
            new = new._replace(lacks_meter=budget.lacks(new.plan, new.connection))
        if new is not None and new.generation == flow.generation:
            moves = _moves(plan, flow) or _led_otherwise(core, plan, flow) or new.lacks_meter is not flow.lacks_meter
            if not moves and not core.offload.changes(flow, plan.before, plan.after):
                renewed.append(new)
                changed += [Revision(variant, None) for variant in core.flows.variants(flow.id) if variant.id in wanted]
                continue
            new = new._replace(generation=new.renewed)
        changed.append(Revision(flow, new))
        # Variants are made anew by their next packet: what they rested on has changed.
        changed += [Revision(variant, None) for variant in core.flows.variants(flow.id)]
    switches = tuple(_flow_changes(core, plan, changed))
    return Revisions(changed=tuple(changed), renewed=tuple(renewed), switches=switches)


def revise(policy: Policy, flow: UnifiedFlow, leases: Leases) -> UnifiedFlow | None:
    """Return a flow as the policy makes it now: renewed, of the new generation when its effect differs, or None.

    A variant, and a flow whose vport or segment is gone, cannot go on.
    Nor can one that needs of a NAT pool what it has not: its next packet begins it anew, with what is free then.
    """
    first = flow.plan.forward[0]
    vport, segment = policy.vports.get(first.vport), policy.segments.get(flow.segment)
    if flow.parent or vport is None or segment is None or segment.id not in vport.segments:
        return None
    lend = Lender(leases, policy.snapshot.nat_pools, owner_of(vport.number, flow.segment, flow.key))
    plan = connect(policy, segment.id, vport, first.direction, flow.key, lend)
    if not set(plan.leases) <= set(flow.plan.leases):
        return None
    generation = policy.snapshot.generation
    if _same_effect(flow.plan, plan):
        return flow._replace(plan=plan, renewed=generation)
    return flow._replace(plan=plan, generation=generation, renewed=generation)


def _moves(plan: PolicyChange, flow: UnifiedFlow) -> bool:
    """Return whether a vport that a flow passes is on another switch now."""
    before, after = plan.before.dpids, plan.after.dpids
    legs = (*flow.plan.forward, *flow.plan.reply)
    return before is not after and any(before.get(leg.vport) != after.get(leg.vport) for leg in legs)


def _led_otherwise(core: ControlCore, plan: PolicyChange, flow: UnifiedFlow) -> bool:
    """Return whether replies for a flow's leased source are brought to its vport in another way now."""
    if not flow.plan.leases:
        return False
    before, after = (list(leads([flow], at.vports, partial(_dpid_of, core, at))) for at in (plan.before, plan.after))
    return before != after


def _same_effect(old: Plan, new: Plan) -> bool:
    return (
        len(old.forward) == len(new.forward)
        and len(old.reply) == len(new.reply)
        and all(
            _same_leg(first, second)
            for first, second in zip((*old.forward, *old.reply), (*new.forward, *new.reply), strict=True)
        )
    )


def _same_leg(first: Leg, second: Leg) -> bool:
    return (first.vport, first.direction, first.exact_dscp) == (
        second.vport,
        second.direction,
        second.exact_dscp,
    ) and first.verdict.same_effect(second.verdict)


def _alters_base(before: Policy, after: Policy, changes: Iterable[Change]) -> bool:
    """Return whether standing entries can differ: by the network, or because rules name ARP or ND, or meter."""
    for change in changes:
        if change.group_key is None:
            return True
        for policy in (before, after):
            classifier = policy.classifiers.get(change.group_key)
            if classifier is not None and (classifier.metered or NEIGHBOUR & set(classifier.families)):
                return True
    return False


def base_changes(core: ControlCore, policy: Policy) -> Iterable[SwitchChange]:
    """Yield the standing entries that differ, per connected host, before and after."""
    dpids = core.policy.snapshot.dpids() | policy.snapshot.dpids()
    for dpid in sorted(dpids & set(core.datapaths)):
        old = base_of(core.policy, dpid, core.datapaths[dpid])
        removed, added = differences(old, base_of(policy, dpid, core.datapaths[dpid], known=old))
        meters = meter_change(meters_of(core.policy, dpid), meters_of(policy, dpid))
        if removed or added or any(meters):
            yield SwitchChange(dpid=dpid, removed=removed, added=added, meters=meters)


def base_of(policy: Policy, dpid: int, ports: Mapping[str, int], known: Pieces = NO_PIECES) -> Pieces:
    """Return the standing entries of a datapath in pieces, none when no host has it.

    Pieces of `known`, an earlier policy's, are taken over where they still hold.
    """
    compiled: tuple[Mapping[str, int], Pieces] | None = policy.standing.get(dpid)
    if compiled is not None:
        known = compiled[1]
        if compiled[0] == ports:
            return known
    made = standing_pieces(policy, dpid, ports, known)
    policy.standing[dpid] = ports, made
    return made


def meters_of(policy: Policy, dpid: int) -> dict[int, MeterConfig]:
    """Return the meters that a datapath must have by number; none when no host has it."""
    host = next((host for host in policy.snapshot.hosts.values() if dpid in host.dpids), None)
    if host is None:
        return {}
    if dpid == host.dpid:
        return host_meters(policy, host.id)
    at_functions = isinstance(host.hairpin, Hairpin) and dpid == host.hairpin.function_port.dpid
    return probe_meters(policy, host) if at_functions else {}


def _flow_changes(core: ControlCore, plan: PolicyChange, revisions: Iterable[Revision]) -> Iterable[SwitchChange]:
    """Yield what the revised flows change per switch: entries no longer wanted, and all of those that are.

    What is to go stands where the policy before had its vport, which may be gone or on another host now.
    """
    removed: dict[int, dict[EntryKey, CachedEntry | FlowEntry]] = defaultdict(dict)
    added: dict[int, dict[EntryKey, CachedEntry | FlowEntry]] = defaultdict(dict)
    for revision in revisions:
        for dpid, key, made in _entries(core, plan.before, revision.old):
            removed[dpid][key] = made
    for revision in revisions:
        for dpid, key, made in _entries(core, plan.after, revision.new) if revision.new is not None else ():
            removed[dpid].pop(key, None)
            added[dpid][key] = made
    for dpid in sorted({*removed, *added}):
        if removed[dpid] or added[dpid]:
            yield SwitchChange(dpid=dpid, removed=tuple(removed[dpid].values()), added=tuple(added[dpid].values()))


def _entries(
    core: ControlCore, policy: Policy, flow: UnifiedFlow
) -> Iterator[tuple[int, EntryKey, CachedEntry | FlowEntry]]:
    """Yield what a flow has in connected switches under a policy: datapath, key and entry."""
    for made in () if core.ageing.in_host(flow) else core.nic_caches.entries(flow, policy):
        dpid = _dpid_of(core, policy, made.vport)
        if dpid is not None:
            yield dpid, compile_cached(made).key, made
    for dpid, lead in leads([flow], policy.vports, partial(_dpid_of, core, policy)):
        yield dpid, lead.key, lead


def _dpid_of(core: ControlCore, policy: Policy, number: int) -> int | None:
    dpid = policy.dpids.get(number)
    return dpid if dpid in core.datapaths else None


def bundles(changes: Iterable[SwitchChange]) -> tuple[SwitchChange, ...]:
    """Return one change per switch, or several where it is too large for one bundle."""
    by_dpid: dict[int, list[SwitchChange]] = {}
    for change in changes:
        by_dpid.setdefault(change.dpid, []).append(change)
    return tuple(piece for dpid in by_dpid for piece in merged(by_dpid[dpid]).sliced(SLICE_ENTRIES))


def adopt(core: ControlCore, plan: PolicyChange, revisions: Revisions) -> list[Effect]:
    """Put revised flows in the place of what they were; those that ended meanwhile stay ended.

    Return what makes the meters of single connections that entries of the change name.
    """
    effects: list[Effect] = []
    for flow in revisions.renewed:
        old = core.flows.get(flow.id)
        if old is not None:
            core.flows.replace(old, flow)
    for revision in revisions.changed:
        old = core.flows.get(revision.old.id)
        if old is None:
            continue
        if revision.new is None:
            core.flows.remove(old)
            core.expiry.forget(old.id)
            core.life.forget(old.id)
            core.ageing.leaves_host(old)
            continue
        core.flows.replace(old, revision.new)
        effects += core.flows.meters.due(old.id)
    for change in revisions.switches:
        for made in change.removed:
            cookie = unpack(made.cookie)
            tells = isinstance(made, CachedEntry)
            if tells and cookie is not None and core.flows.get(cookie.detail) is not None:
                core.expiry.expect(cookie.detail, change.dpid, made.cookie)
    return effects


def settle(core: ControlCore, plan: PolicyChange, revisions: Revisions, now_s: float) -> list[Effect]:
    """Give back the room that revised flows had in NICs, once the switches have removed what they had there.

    Return the removal of meters that no connection has any more.
    """
    for revision in revisions.changed:
        new = core.flows.get(revision.old.id) if revision.new is not None else None
        core.nic_caches.free(revision.old, new, plan.before)
        if new is not None:
            core.offload.settle(new, now_s)
    return [*core.flows.meters.gone()]
