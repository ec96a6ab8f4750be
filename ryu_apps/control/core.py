"""The core: one object that turns an event into effects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, NamedTuple

from immutables import Map

from ryu_apps.control.connection_id import connection_id
from ryu_apps.control.connections import Connections, choke
from ryu_apps.control.course import Reason
from ryu_apps.control.effects import Choke, CountEntry, Effect, Emit, Install, Release
from ryu_apps.control.events import EntryCounted, FlowRemoved, PacketIn
from ryu_apps.control.expiry import IDLE_TIMEOUT, Ending, Expiry
from ryu_apps.control.fast_path import FastPath
from ryu_apps.control.fast_path import Leg as FastLeg
from ryu_apps.control.flow_table import FlowTable, UnifiedFlow
from ryu_apps.control.fragments import Fragments, datagram_id, later_edit
from ryu_apps.control.holding import Held, Holding, travels_alone
from ryu_apps.control.icmp_error import is_icmp_error, quoted_key, verdict_on_error
from ryu_apps.control.life import CHOKE_S, HALF_OPEN_PER_VPORT
from ryu_apps.control.offload import Offload, Whereabouts
from ryu_apps.control.sharing import Sharing
from ryu_apps.control.single import send_edited, send_on
from ryu_apps.control.tally import REMOVED, REMOVED_OTHERWISE, Tally
from ryu_apps.control.variant import plan_of_packet, same_packets
from ryu_apps.engine.connection import Leg, Plan, looked_at
from ryu_apps.engine.icmp_rewrite import rewrite_icmp_error
from ryu_apps.engine.policy import Policy
from ryu_apps.engine.rewrite import rewrite
from ryu_apps.engine.ruling import Verdict
from ryu_apps.engine.view import NEIGHBOUR
from ryu_apps.engine.walk import walk
from ryu_apps.model.flow_key import FlowKey, Parsed, parse
from ryu_apps.model.network import Segment, Vport, tag_of
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import Transposition
from ryu_apps.pipeline.cookie import EntryClass, Punt, Refusal, is_reply, unpack

_IN_HOST_IDLE_S: Final = 60.0
# Where a packet goes on that was decided here: behind the cache that it missed in.
_BEHIND: Final = {Direction.OUTBOUND: "deliver", Direction.INBOUND: "closing"}
_OTHER: Final = {EntryClass.FORWARD: EntryClass.REPLY, EntryClass.REPLY: EntryClass.FORWARD}


class _Met(NamedTuple):
    """The flow that a packet belongs to, whether the packet began it, and what had to go for it.

    flow is None when its vport may begin no more.
    """

    flow: UnifiedFlow | None
    begun: bool
    effects: list[Effect]


class ControlCore:
    """Holds the compiled policy in force, the datapaths that are up, and the host's flow table."""

    def __init__(
        self,
        policy: Policy,
        *,
        flows_per_vport: int = 262_144,
        half_open_per_vport: int = HALF_OPEN_PER_VPORT,
        first_flow_id: int = 1,
    ) -> None:
        self._policy = policy
        self.flows = FlowTable(first_flow_id)
        self.tally = Tally()
        self._datapaths: Map[int, Mapping[str, int]] = Map()
        self.expiry = Expiry()
        self.holding = Holding()
        self.offload = Offload(policy, self.flows, self.holding, self.tally, self.dpid_of)
        self.sharing = Sharing(policy)
        self.life = Connections(self.flows, half_open_per_vport)
        self.fast_path = FastPath(self.flows, self.holding, self.life, self.tally, flows_per_vport)
        self._flows_per_vport = flows_per_vport
        self._fragments = Fragments()
        # Flows that only fragments have made, with when they were last seen: no switch ages them.
        self._in_host: dict[int, float] = {}

    @property
    def policy(self) -> Policy:
        """The compiled policy in force."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        """Put another policy in force."""
        self._policy = policy
        self.offload.policy = policy
        self.sharing.policy = policy
        self.fast_path.forget()

    @property
    def datapaths(self) -> Mapping[int, Mapping[str, int]]:
        """The datapaths that are up, with their ports by name."""
        return self._datapaths

    @datapaths.setter
    def datapaths(self, datapaths: Mapping[int, Mapping[str, int]]) -> None:
        """Note which datapaths are up."""
        self._datapaths = Map(datapaths)
        self.fast_path.forget()

    def connected(self, dpid: int, ports: Mapping[str, int]) -> None:
        """Note that a datapath is up with these ports, name to number."""
        self.datapaths = self._datapaths.set(dpid, ports)

    def disconnected(self, dpid: int) -> None:
        """Note that a datapath is away."""
        if dpid in self._datapaths:
            self.datapaths = self._datapaths.delete(dpid)

    def packet_in(self, event: PacketIn, now_s: float) -> list[Effect]:
        """Return what to do about a packet that missed in a cache or is decided packet by packet."""
        if event.punt is Punt.CLOSING:
            self.life.take_end(event.segment, event.frame, now_s)
            return []
        policy = self.policy
        direction = Direction.OUTBOUND if event.table == "outbound" else Direction.INBOUND
        vport = policy.vports.get(event.sender if direction is Direction.OUTBOUND else event.receiver)
        segment = policy.segments.get(event.segment)
        if vport is None or segment is None or policy.dpids[vport.number] != event.dpid:
            self.tally.count("unknown-vport")
            return []
        self.tally.count("misses", vport.number)
        parsed = parse(event.frame, tag_of(vport, segment))
        # Neighbour messages in fragments are to be ignored (RFC 6980 section 5).
        if parsed is None or (parsed.fragment and parsed.key.family in NEIGHBOUR):
            self.tally.count("malformed", vport.number)
            return []
        if parsed.fragment:
            return self._fragment(event, segment, vport, direction, parsed, now_s)
        if event.punt is not Punt.MISS:
            return self._single(event, vport, direction, parsed)
        if is_icmp_error(parsed.key):
            return self._icmp_error(event, vport, direction, parsed)
        syn = travels_alone(event.frame, parsed)
        flow, begun, effects = self._meet(segment, vport, direction, parsed.key, now_s, syn=syn)
        if flow is None:
            return effects
        if self._in_host:
            self._in_host.pop(flow.id, None)
        verdict = _verdict_at(flow.plan, vport.number, direction)
        alone = syn or not flow.plan.allow
        leg = Held(flow.id, vport.number, direction)
        watched = not begun and (flow.half_open or self.life.busy)
        in_nic = not watched or self.life.goes_on(flow, leg, event.frame, parsed)
        steered = in_nic and self.offload.steers(flow)
        if steered and watched and flow.half_open and not self.life.is_half_open(flow.id):
            # The host has seen the answer itself: from now on the connection has its lasting timeouts.
            flow = self.life.lasting(flow, 1) or flow
            self.offload.forget_age(flow)
            effects += self._install(flow)
        if steered:
            ask = self.offload.begin if begun else self.offload.missed
            effects += ask(flow, leg, now_s)
            in_nic = self.offload.holds(flow, vport.number, direction)
        if begun:
            # What goes through an entry counts there, as if the NIC had spared the host a packet.
            through = alone and not (steered and verdict.allow)
            installs = self._install(flow, but=None if through else leg)
            if not steered:
                self._learn(event, parsed, flow, installs, alone)
            effects += installs
            if through:
                # Its entry decides; of a denied packet that may be a copy for a mirror.
                if verdict.allow or verdict.treatment is not None:
                    effects.append(_emit(event, event.table))
                return effects
        # Sent on behind the cache and not through it: a packet that its entry did not match would come back for ever.
        effects += self._pass_on(vport, verdict, send_on(event, direction, verdict, parsed.key))
        if steered and verdict.allow:
            self.tally.count("host-forwarded", vport.number)
        if in_nic and (alone or not self.holding.seen(leg, now_s)):
            effects += self._install_leg(leg)
        return effects

    def _learn(self, event: PacketIn, parsed: Parsed, flow: UnifiedFlow, installs: list[Effect], alone: bool) -> None:
        """Let the fast path know what became of a packet that began a flow, where others will fare alike."""
        if flow.parent or not self.fast_path.takes(event, parsed):
            return
        first = flow.plan.forward[0]
        vport, segment = self._policy.vports[first.vport], self._policy.segments[flow.segment]
        relevant = looked_at(self._policy, segment.id, vport, first.direction, flow.key)
        if relevant is None:
            return
        legs = tuple(
            FastLeg(effect.dpid, effect.entry, is_reply(effect.entry.cookie))
            for effect in installs
            if isinstance(effect, Install)
        )
        table = event.table if alone else _BEHIND[first.direction]
        held = None if alone else first.direction
        self.fast_path.learn(event, parsed, flow, relevant, legs, table if first.verdict.allow else None, held)

    def release(self, now_s: float) -> list[Effect]:
        """Return the entries that were held back while packets of their flows were under way, and need be no longer."""
        effects: list[Effect] = []
        for leg in self.holding.due(now_s):
            installs = self._install_leg(leg)
            flow = None if installs else self.flows.get(leg.flow_id)
            if flow is not None:
                self.offload.settle(flow, now_s)
            effects += installs
        return effects

    def flow_removed(self, event: FlowRemoved, now_s: float) -> list[Effect]:
        """Return what follows when a switch has removed a cached entry, or one that refused for a moment."""
        if self.offload.left(event, now_s):
            return []
        cookie = unpack(event.cookie)
        if cookie is not None and cookie.entry_class is EntryClass.GUARD:
            if cookie.detail == Refusal.HALF_OPEN_LIMIT and event.packets:
                self.tally.count("half-open-limit", cookie.vport, event.packets)
            return []
        if cookie is not None:
            self.tally.count(REMOVED.get(event.reason, REMOVED_OTHERWISE), cookie.vport)
        flow = self.flows.get(cookie.detail) if cookie else None
        if flow is None or cookie is None or self.life.is_closed(flow.id):
            return []
        if flow.half_open and flow.plan.reply and event.reason == IDLE_TIMEOUT:
            return self._half_open_idle(flow, cookie.entry_class, event.packets, now_s)
        ending = self.expiry.ending(flow.id, event.dpid, event.cookie, event.reason, now_s)
        if ending is Ending.NONE:
            return []
        if ending is Ending.RENEW:
            return self._install(flow)
        partner = self._entry_of_class(flow, _OTHER.get(cookie.entry_class))
        if ending is Ending.ASK and partner is not None:
            return [partner]
        return self._end_idle(flow, now_s) if ending is Ending.ASK else self.remove_flow(flow)

    def entry_counted(self, event: EntryCounted, now_s: float) -> list[Effect]:
        """Return what follows from the packet count of the entry whose partner ran idle."""
        cookie = unpack(event.cookie)
        flow = self.flows.get(cookie.detail) if cookie else None
        if flow is None or cookie is None:
            return []
        if flow.half_open:
            return [] if self.life.replied(flow.id, event.packets) else self._end_idle(flow, now_s)
        if event.packets is None or not self.expiry.advanced(flow.id, cookie.entry_class, event.packets, now_s):
            return self._end_idle(flow, now_s)
        return self._install(flow)

    def _end_idle(self, flow: UnifiedFlow, now_s: float) -> list[Effect]:
        """End a connection that no NIC has seen a packet of, unless the host has."""
        if not self.offload.in_use(flow, now_s):
            return self.remove_flow(flow)
        self.expiry.confirm(flow.id, now_s)
        return self._install(flow)

    def in_host(self, flow: UnifiedFlow) -> bool:
        """Return whether a flow is known to the host alone: only fragments of it have come, or it was closed."""
        return flow.id in self._in_host or self.life.is_closed(flow.parent or flow.id)

    def whereabouts(self, flow: UnifiedFlow, leg: Leg) -> Whereabouts:
        """Return who handles the packets of a flow's leg, and why."""
        return Whereabouts(False, Reason.FRAGMENTS) if self.in_host(flow) else self.offload.where(flow, leg)

    def tick(self, now_s: float) -> list[Effect]:
        """Return what follows from time alone: flows that no switch holds end when they have been idle.

        Of connections that have been half open for too long to be so, the switch is asked.
        """
        idle = [flow_id for flow_id, seen_s in self._in_host.items() if now_s - seen_s > _IN_HOST_IDLE_S]
        effects: list[Effect] = []
        for flow in (*map(self.flows.get, idle), *self.offload.idle(now_s)):
            if flow is not None and self.flows.get(flow.id) is not None:  # A variant is gone with its connection.
                effects += self.remove_flow(flow)
        for flow in self.life.doubtful(now_s):
            partner = self._entry_of_class(flow, EntryClass.REPLY)
            effects += [partner] if partner is not None else []
        return effects

    def close_due(self, now_s: float) -> list[Effect]:
        """Return the removal of the entries of connections that have closed; forget those that closed long ago."""
        effects: list[Effect] = []
        for flow_id in self.life.due(now_s):
            flow = self.flows.get(flow_id)
            if flow is not None:
                effects += self._release_entries(flow)
        for flow_id in self.life.over(now_s):
            flow = self.flows.get(flow_id)
            if flow is not None:
                self._forget(flow)
            self.life.forget(flow_id)
        return effects

    def remove_flow(self, flow: UnifiedFlow) -> list[Effect]:
        """Forget a connection with all its variants; return the removal of every entry it has."""
        effects = self._release_entries(flow)
        self._forget(flow)
        return effects

    def _release_entries(self, flow: UnifiedFlow) -> list[Effect]:
        """Return the removal of the entries of a connection and its variants, those that a switch may have."""
        effects: list[Effect] = []
        for gone in (*self.flows.variants(flow.id), flow):
            for made in self.offload.entries(gone):
                dpid = self.dpid_of(made.vport)
                if dpid is not None:
                    effects.append(Release(dpid, made))
            self.offload.forget(gone)
        return effects

    def _forget(self, flow: UnifiedFlow) -> None:
        for gone in (*self.flows.variants(flow.id), flow):
            self.offload.forget(gone)
            self.flows.remove(gone)
            self.expiry.forget(gone.id)
            self.life.forget(gone.id)
            self._in_host.pop(gone.id, None)

    def dpid_of(self, number: int) -> int | None:
        """Return the datapath that a vport is on, None when it is not connected."""
        dpid = self.policy.dpids.get(number)
        return dpid if dpid in self.datapaths else None

    def _meet(
        self, segment: Segment, vport: Vport, direction: Direction, key: FlowKey, now_s: float, *, syn: bool = False
    ) -> _Met:
        """Return the flow that a packet belongs to, found or begun; a SYN begins one that is half open."""
        connection = connection_id(segment.number, key)
        known = self.flows.find(connection)
        effects: list[Effect] = []
        if syn and known and any(self.life.is_closed(flow.id) for flow in known):
            # The ends use their ports again; what follows is another connection.
            for flow in known:
                if self.flows.get(flow.id) is not None:  # A variant is gone with its connection.
                    effects += self.remove_flow(flow)
            known = ()
        for flow in known:
            for leg, seen in flow.legs():
                if leg.vport == vport.number and leg.direction is direction and same_packets(seen, key, leg.exact_dscp):
                    self.tally.count("host-hits", vport.number)
                    return _Met(flow, False, [])
        plan, parent = plan_of_packet(self.policy, known, segment, vport, direction, key)
        if not plan.allow:
            self.tally.count("denied", vport.number)
        if self.flows.begun_by(vport.number) >= self._flows_per_vport:
            self.tally.count("flow-limit", vport.number)
            return _Met(None, False, effects)
        half_open = syn and not parent
        if half_open and plan.allow and self.life.full(vport.number):
            self.tally.count("half-open-limit", vport.number)
            return _Met(None, False, effects + self._choke(vport.number, direction, now_s))
        # A refusal of the way back stood only until somebody began the connection from that side.
        for flow in known if plan.allow and not parent else ():
            if not flow.plan.allow and self.flows.get(flow.id) is not None:  # A variant is gone with its connection.
                effects += self.remove_flow(flow)
        generation = self.policy.snapshot.generation
        flow = UnifiedFlow(
            self.flows.new_id(), segment.number, key, plan, generation, generation, now_s, parent, half_open
        )
        self.flows.add(flow, connection)
        if not parent:
            self.tally.count("begun", vport.number)
        if half_open and plan.allow:
            self.life.began(flow.id, vport.number)
        return _Met(flow, True, effects)

    def _half_open_idle(
        self, flow: UnifiedFlow, entry_class: EntryClass, packets: int, now_s: float
    ) -> list[Effect]:
        """Return what follows when an entry with the short timeout ran idle: the reply's count tells which it is."""
        if entry_class is not EntryClass.REPLY:
            # Where no NIC has an entry for the replies, the host would have seen one.
            return [] if self._entry_of_class(flow, EntryClass.REPLY) else self._end_idle(flow, now_s)
        lasting = self.life.lasting(flow, packets)
        if lasting is None:
            return self.remove_flow(flow)
        self.expiry.confirm(flow.id, now_s)
        return self._install(lasting)

    def _choke(self, vport: int, direction: Direction, now_s: float) -> list[Effect]:
        """Return what spares the controller a flood: for a moment the switch itself drops what it would refuse."""
        dpid = self.dpid_of(vport)
        if dpid is None or not self.life.choke(vport, now_s):
            return []
        return [Choke(dpid, made) for made in choke(vport, direction, CHOKE_S)]

    def _install(self, flow: UnifiedFlow, *, but: Held | None = None) -> list[Effect]:
        """Return the installing of a flow's entries, all or all but that of one leg."""
        effects: list[Effect] = []
        for made in self.offload.entries(flow):
            dpid = self.dpid_of(made.vport)
            if dpid is not None and (but is None or but != (flow.id, made.vport, made.direction)):
                effects.append(Install(dpid, made))
                self.tally.count("offloads", made.vport)
        return effects

    def _install_leg(self, leg: Held) -> list[Effect]:
        flow, dpid = self.flows.get(leg.flow_id), self.dpid_of(leg.vport)
        if flow is None or dpid is None:
            return []
        entries = [made for made in self.offload.entries(flow) if leg == (flow.id, made.vport, made.direction)]
        for made in entries:
            self.tally.count("offloads", made.vport)
        return [Install(dpid, made) for made in entries]

    def _entry_of_class(self, flow: UnifiedFlow, wanted: EntryClass | None) -> CountEntry | None:
        for made in self.offload.entries(flow):
            dpid = self.dpid_of(made.vport)
            cookie = unpack(made.cookie)
            if cookie is not None and cookie.entry_class is wanted and dpid is not None:
                return CountEntry(dpid, made.cookie)
        return None

    def _single(self, event: PacketIn, vport: Vport, direction: Direction, parsed: Parsed) -> list[Effect]:
        """Decide one packet that leaves no entry: multicast, broadcast, DHCP, or ARP and ND under rules."""
        verdict = walk(self.policy.view(vport, direction), parsed.key)
        return self._pass_on(vport, verdict, send_on(event, direction, verdict, parsed.key))

    def _icmp_error(self, event: PacketIn, vport: Vport, direction: Direction, parsed: Parsed) -> list[Effect]:
        """Let an ICMP error through when it quotes a packet of an allowed connection; others are asked as usual."""
        quoted = quoted_key(event.frame, parsed)
        for flow in self.flows.find(connection_id(event.segment, quoted)) if quoted else ():
            verdict = verdict_on_error(flow, vport.number, direction, parsed.key, quoted) if quoted else None
            if verdict is not None:
                translated = partial(rewrite_icmp_error, event.frame, parsed)
                return self._pass_on(vport, verdict, send_edited(event, direction, verdict, translated))
        return self._single(event, vport, direction, parsed)

    def _fragment(
        self, event: PacketIn, segment: Segment, vport: Vport, direction: Direction, parsed: Parsed, now_s: float
    ) -> list[Effect]:
        """Decide a first fragment as the packet it begins, and later ones as their first.

        They are edited here: Open vSwitch takes the data of a later IPv4 fragment for a header with a checksum.
        """
        datagram = datagram_id(segment.number, direction, parsed.key, parsed.ip_id)
        if parsed.fragment == 2:
            verdict = self._fragments.later(vport.number, datagram, event, now_s)
            if verdict is None:
                return []
            later = partial(_rewrite_later, event.frame, parsed)
            return self._pass_on(vport, verdict, send_edited(event, direction, verdict, later))
        flow, begun, effects = self._meet(segment, vport, direction, parsed.key, now_s)
        if flow is None:
            return []
        if begun or flow.id in self._in_host:
            self._in_host[flow.id] = now_s
        verdict = _verdict_at(flow.plan, vport.number, direction)
        # Fragments take no room in the cache: the connection is known to the host alone until a whole packet comes.
        edited = partial(rewrite, event.frame, parsed)
        effects += self._pass_on(vport, verdict, send_edited(event, direction, verdict, edited))
        for waiting in self._fragments.first(vport.number, datagram, verdict, now_s):
            effects += self.packet_in(waiting, now_s)
        return effects

    def _pass_on(
        self, vport: Vport, verdict: Verdict, sent: Iterable[Emit]
    ) -> list[Effect]:
        """Return a packet sent on behind the cache that it missed in, with its copies; a refused one is counted."""
        if not verdict.allow:
            self.tally.count("denied", vport.number)
        return list(sent)


def _verdict_at(plan: Plan, vport: int, direction: Direction) -> Verdict:
    """Return a plan's verdict at a vport that it passes in this direction."""
    return next(
        leg.verdict for leg in (*plan.forward, *plan.reply) if leg.vport == vport and leg.direction is direction
    )


def _rewrite_later(frame: bytes, parsed: Parsed, edit: Transposition) -> bytes:
    return rewrite(frame, parsed, later_edit(edit))


def _emit(event: PacketIn, table: str) -> Emit:
    return Emit(event.dpid, table, event.in_port, event.segment, event.sender, event.receiver, event.frame)
