"""The core: one object that turns an event into effects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from immutables import Map

from ryu_apps.control.ageing import Ageing
from ryu_apps.control.aggressive_ageing import AggressiveAgeing
from ryu_apps.control.connection_id import connection_id
from ryu_apps.control.connections import Connections
from ryu_apps.control.crowding import Crowding
from ryu_apps.control.effects import Effect, Emit
from ryu_apps.control.events import PacketIn
from ryu_apps.control.expiry import Expiry
from ryu_apps.control.fast_path import FastPath
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.fragments import Fragments, datagram_id, later_edit
from ryu_apps.control.holding import Holding
from ryu_apps.control.icmp_error import is_icmp_error, quoted_key, verdict_on_error
from ryu_apps.control.life import HALF_OPEN_PER_VPORT
from ryu_apps.control.meeting import Meeting
from ryu_apps.control.misses import Arrival, Misses
from ryu_apps.control.nic_caches import NicCaches
from ryu_apps.control.offload import Offload
from ryu_apps.control.placement import Placement
from ryu_apps.control.pool_answers import answer
from ryu_apps.control.probes import Probes
from ryu_apps.control.sharing import Sharing
from ryu_apps.control.single import send_edited, send_on
from ryu_apps.control.tally import Tally
from ryu_apps.engine.icmp_rewrite import rewrite_icmp_error
from ryu_apps.engine.policy import Policy
from ryu_apps.engine.rewrite import rewrite
from ryu_apps.engine.ruling import Verdict
from ryu_apps.engine.view import NEIGHBOUR
from ryu_apps.engine.walk import walk
from ryu_apps.model.flow_key import Parsed, parse
from ryu_apps.model.network import Vport, tag_of
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import Transposition
from ryu_apps.pipeline.cookie import Punt


class ControlCore:
    """Holds the compiled policy in force, the datapaths that are up, and the host's flow table."""

    def __init__(
        self,
        policy: Policy,
        *,
        flows_per_vport: int = 262_144,
        half_open_per_vport: int = HALF_OPEN_PER_VPORT,
        first_flow_id: int = 1,
        ready_flows: int = 0,
    ) -> None:
        self._policy = policy
        self.flows = FlowTable(first_flow_id, ready_flows)
        self.flows.meters.enforce(policy)
        self.tally = Tally()
        self._datapaths: Map[int, Mapping[str, int]] = Map()
        self.expiry = Expiry()
        self.holding = Holding()
        self.nic_caches = NicCaches(policy, self.flows)
        self.offload = Offload(self.nic_caches, self.flows, self.holding, self.tally, self.dpid_of)
        self.sharing = Sharing(policy)
        self.probes = Probes()
        self.life = Connections(self.flows, half_open_per_vport)
        self.fast_path = FastPath(policy, self.flows, self.holding, self.life, self.tally, flows_per_vport)
        self.placement = Placement(self.flows, self.nic_caches, self.offload, self.tally, self.dpid_of)
        self.ageing = Ageing(
            self.flows, self.placement, self.nic_caches, self.offload, self.life, self.expiry, self.tally
        )
        self.crowding = Crowding(self.life, self.tally, self.dpid_of)
        self.aggressive = AggressiveAgeing(self.flows, self.placement, self.fast_path, self.ageing.in_host)
        self._meeting = Meeting(
            self.flows, self.ageing, self.placement, self.life, self.expiry, self.tally, flows_per_vport, self.crowding,
            self.aggressive,
        )  # fmt: skip
        self._misses = Misses(
            self._meeting, self.ageing, self.placement, self.nic_caches, self.offload, self.holding, self.life,
            self.fast_path, self.tally,
        )  # fmt: skip
        self._fragments = Fragments()

    @property
    def policy(self) -> Policy:
        """The compiled policy in force."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        """Put another policy in force."""
        if policy.vports is not self._policy.vports:
            before = self._policy.vports
            same = {n for n, each in policy.vports.items() if n in before and before[n].id == each.id}
            self._fragments.keep(same)
            self.crowding.keep(same)
        self._policy = policy
        self.nic_caches.policy = policy
        self.sharing.policy = policy
        self.life.all_returned()
        self.flows.meters.enforce(policy)
        self.fast_path.forget(self._policy)

    @property
    def datapaths(self) -> Mapping[int, Mapping[str, int]]:
        """The datapaths that are up, with their ports by name."""
        return self._datapaths

    @datapaths.setter
    def datapaths(self, datapaths: Mapping[int, Mapping[str, int]]) -> None:
        """Note which datapaths are up."""
        self._datapaths = Map(datapaths)
        self.fast_path.forget(self._policy)

    def connected(self, dpid: int, ports: Mapping[str, int]) -> None:
        """Note that a datapath is up with these ports, name to number."""
        self.datapaths = self._datapaths.set(dpid, ports)

    def disconnected(self, dpid: int) -> None:
        """Note that a datapath is away."""
        if dpid in self._datapaths:
            self.datapaths = self._datapaths.delete(dpid)

    def packet_in(self, event: PacketIn, now_s: float, *, again: bool = False) -> list[Effect]:
        """Return what to do about a packet that missed in a cache or is decided packet by packet.

        again: it has not come from a cache just now, and is no miss.
        """
        if event.punt is Punt.CLOSING:
            self.life.take_end(event.segment, event.frame, now_s)
            return []
        if event.punt is Punt.POOL:
            return self._for_pool(event, now_s)
        policy = self.policy
        direction = Direction.OUTBOUND if event.table == "outbound" else Direction.INBOUND
        vport = policy.vports.get(event.sender if direction is Direction.OUTBOUND else event.receiver)
        segment = policy.segments.get(event.segment)
        if vport is None or segment is None or policy.dpids[vport.number] != event.dpid:
            self.tally.count("unknown-vport")
            return []
        if not again:
            self.tally.count("misses", vport.number)
            if direction is Direction.INBOUND:
                self.tally.count("inbound-misses", vport.number)
        parsed = parse(event.frame, tag_of(vport, segment))
        # Neighbour messages in fragments are to be ignored (RFC 6980 section 5).
        # One that missed is none to the switch: it does not look behind as many tags.
        if parsed is None or (parsed.key.family in NEIGHBOUR and (parsed.fragment or event.punt is Punt.MISS)):
            self.tally.count("malformed", vport.number)
            return []
        arrival = Arrival(event, segment, vport, direction, parsed)
        if parsed.fragment:
            return self._fragment(arrival, now_s)
        if event.punt is not Punt.MISS:
            return self._single(arrival)
        if is_icmp_error(parsed.key):
            return self._icmp_error(arrival)
        return self._misses.decide(policy, arrival, now_s)

    def release(self, now_s: float) -> list[Effect]:
        """Return the entries that were held back while packets of their flows were under way, and need be no longer."""
        effects: list[Effect] = []
        for leg in self.holding.due(now_s):
            installs = self.placement.install_leg(leg)
            flow = None if installs else self.flows.get(leg.flow_id)
            if flow is not None:
                self.offload.settle(flow, now_s)
            effects += installs
        return effects

    def dpid_of(self, number: int) -> int | None:
        """Return the datapath that a vport is on, None when it is not connected."""
        dpid = self.policy.dpids.get(number)
        return dpid if dpid in self.datapaths else None

    def _for_pool(self, event: PacketIn, now_s: float) -> list[Effect]:
        """Answer who asks for an address of a NAT pool; decide what comes for one where the vport is that it is for."""
        parsed = parse(event.frame)
        if parsed is None:
            self.tally.count("malformed")
            return []
        if parsed.key.family in NEIGHBOUR:
            return [*answer(self.policy, event)]
        if parsed.fragment:
            datagram = datagram_id(event.segment, Direction.INBOUND, parsed.key, parsed.ip_id)
            at = self._fragments.vport_of(datagram, now_s)
            punt = Punt.FRAGMENT
        else:
            quoted, punt = quoted_key(event.frame, parsed), Punt.MISS
            known = self.flows.find(connection_id(event.segment, quoted)) if quoted else ()
            at = next((flow.plan.forward[0].vport for flow in known if flow.plan.leases), None)
        if at is None:
            self.tally.count("not-lent")
            return []
        return self.packet_in(event._replace(table="inbound", punt=punt, receiver=at), now_s, again=True)

    def _single(self, arrival: Arrival) -> list[Effect]:
        """Decide one packet that leaves no entry: multicast, broadcast, DHCP, or ARP and ND under rules."""
        event, _, vport, direction, parsed = arrival
        verdict = walk(self.policy.view(vport, direction), parsed.key)
        return self._pass_on(vport, verdict, send_on(event, direction, verdict, parsed.key))

    def _icmp_error(self, arrival: Arrival) -> list[Effect]:
        """Let an ICMP error through when it quotes a packet of an allowed connection; others are asked as usual."""
        event, _, vport, direction, parsed = arrival
        quoted = quoted_key(event.frame, parsed)
        for flow in self.flows.find(connection_id(event.segment, quoted)) if quoted else ():
            verdict = verdict_on_error(flow, vport.number, direction, parsed.key, quoted) if quoted else None
            if verdict is not None:
                translated = partial(rewrite_icmp_error, event.frame, parsed)
                return self._pass_on(vport, verdict, send_edited(event, direction, verdict, translated))
        return self._single(arrival)

    def _fragment(self, arrival: Arrival, now_s: float) -> list[Effect]:
        """Decide a first fragment as the packet it begins, and later ones as their first.

        They are edited here: Open vSwitch takes the data of a later IPv4 fragment for a header with a checksum.
        """
        event, segment, vport, direction, parsed = arrival
        datagram = datagram_id(segment.number, direction, parsed.key, parsed.ip_id)
        if parsed.fragment == 2:
            verdict = self._fragments.later(vport.number, datagram, event, now_s)
            if verdict is None:
                return []
            later = partial(_rewrite_later, event.frame, parsed)
            return self._pass_on(vport, verdict, send_edited(event, direction, verdict, later))
        flow, begun, effects = self._meeting.meet(self.policy, segment, vport, direction, parsed.key, now_s)
        if flow is None:
            return []
        self.ageing.stays_in_host(flow, now_s, begun=begun)
        verdict = flow.verdict_at(vport.number, direction)
        # Fragments take no room in the cache: the connection is known to the host alone until a whole packet comes.
        edited = partial(rewrite, event.frame, parsed)
        effects += self._pass_on(vport, verdict, send_edited(event, direction, verdict, edited))
        for waiting in self._fragments.first(vport.number, datagram, verdict, now_s):
            effects += self.packet_in(waiting, now_s, again=True)
        return effects

    def _pass_on(self, vport: Vport, verdict: Verdict, sent: Iterable[Emit]) -> list[Effect]:
        """Return a packet sent on behind the cache that it missed in, with its copies; a refused one is counted."""
        if not verdict.allow:
            self.tally.count("denied", vport.number)
        return list(sent)


def _rewrite_later(frame: bytes, parsed: Parsed, edit: Transposition) -> bytes:
    return rewrite(frame, parsed, later_edit(edit))
