"""Which connections have meters of their own in the switches: part of the flow table, and changed with it alone.

A connection has its meters as long as its flow is known, also while the host forwards its packets.
A NIC that is declared with few meters has some left for connections, or none: who finds none stays with the host, and
asks again with each packet that the host sees of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ryu_apps.control.effects import DropMeter, PutMeter
from ryu_apps.engine.connection import Plan
from ryu_apps.engine.meter_id import connection_meter_id
from ryu_apps.engine.own_meters import own_meters
from ryu_apps.engine.policy import Policy
from ryu_apps.model.action import Meter
from ryu_apps.pipeline.meters import MeterConfig, connection_rooms

_Place = tuple[int, int]
"""A meter in a switch: the datapath and the number."""


class Need(NamedTuple):
    """A meter that a connection, by flow id, needs beside a rule's at a vport, by number, of a datapath."""

    dpid: int
    number: int
    vport: int
    connection: int
    rule_meter: int
    config: Meter

    @property
    def place(self) -> _Place:
        """Where the meter is."""
        return self.dpid, self.number


def needs(plan: Plan, connection: int, dpids: Mapping[int, int]) -> tuple[Need, ...]:
    """Return the meters that a connection with this plan needs; dpids: the datapath of each vport, by number."""
    if not plan.metered:
        return ()
    return tuple(
        Need(dpids.get(leg.vport, 0), connection_meter_id(connection, own.rule_meter), leg.vport, connection, *own)
        for leg in (*plan.forward, *plan.reply)
        for own in own_meters(leg.verdict.treatment)
    )


@dataclass(slots=True)
class Use:
    """A meter that is there: what for, how many flows of its connection pass it, and what the switch was told of it."""

    need: Need
    flows: int = 0
    told: Meter | None = None

    @property
    def config(self) -> MeterConfig:
        """The meter as the switch must have it."""
        meter = self.need.config
        return MeterConfig(self.need.number, meter.unit, meter.rate, meter.burst)


class ConnectionMeters:
    """The meters of connections by datapath and number, those of each flow, and those that switches must lose."""

    def __init__(self) -> None:
        self._uses: dict[_Place, Use] = {}
        self._of_flow: dict[int, tuple[_Place, ...]] = {}
        self._held: Counter[int] = Counter()
        self._gone: dict[_Place, Meter] = {}
        self._rooms: Mapping[int, int] = {}
        self._dpids: Mapping[int, int] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def enforce(self, policy: Policy) -> None:
        """Take on the room that a policy leaves for connections in each NIC."""
        self._rooms, self._dpids = connection_rooms(policy), policy.dpids

    # -- part of the flow table ----------------------------------------------------------------------------------------

    def fit(self, plan: Plan, connection: int) -> bool:
        """Return whether there is room for the meters of a connection with this plan, beside those that it has."""
        wanted = {need.place: need for need in needs(plan, connection, self._dpids)}
        fresh: Counter[int] = Counter()
        for place, need in wanted.items():
            known = self._uses.get(place)
            if known is not None and not _is_same(known.need, need):
                return False  # Another connection's meter has the number.
            fresh[need.dpid] += known is None
        return all(self._held[dpid] + more <= self._rooms[dpid] for dpid, more in fresh.items() if dpid in self._rooms)

    def take(self, flow_id: int, plan: Plan, connection: int) -> None:
        """Note that a flow is kept which passes the meters of a plan; variants of a connection share them."""
        wanted = {need.place: need for need in needs(plan, connection, self._dpids)}
        for place, need in wanted.items():
            use = self._uses.get(place)
            if use is None:
                use = self._uses[place] = Use(need, told=self._gone.pop(place, None))
                self._held[need.dpid] += 1
            use.need = need
            use.flows += 1
        if wanted:
            self._of_flow[flow_id] = tuple(wanted)

    def detach(self, flow_id: int) -> tuple[_Place, ...]:
        """Return the meters of a flow that is about to be replaced, for `release` when its successor has its own."""
        return self._of_flow.pop(flow_id, ())

    def release(self, places: Iterable[_Place]) -> None:
        """Note that a flow is forgotten which has passed these meters."""
        for place in places:
            use = self._uses[place]
            use.flows -= 1
            if not use.flows:
                del self._uses[place]
                self._held[place[0]] -= 1
                if use.told is not None:
                    self._gone[place] = use.told

    # -- what the switches are told ------------------------------------------------------------------------------------

    def due(self, flow_id: int) -> Iterator[PutMeter]:
        """Yield what makes or changes the meters of a flow in the switches; each once."""
        for place in self._of_flow.get(flow_id, ()):
            use = self._uses[place]
            if use.told != use.need.config:
                yield PutMeter(place[0], use.need.vport, use.need.connection, use.config, altered=use.told is not None)
                use.told = use.need.config

    def gone(self) -> Iterator[DropMeter]:
        """Yield the removal of the meters that no flow passes any more; each once."""
        while self._gone:
            (dpid, number), _ = self._gone.popitem()
            yield DropMeter(dpid, number)

    def at(self, dpid: int) -> list[Use]:
        """Return the meters that a datapath must have."""
        return [use for place, use in self._uses.items() if place[0] == dpid]

    def forget_told(self, dpid: int) -> None:
        """Note that it is to be found out what a datapath has."""
        for use in self.at(dpid):
            use.told = None
        self._gone = {place: told for place, told in self._gone.items() if place[0] != dpid}

    def claim(self, dpid: int) -> tuple[set[int], dict[int, MeterConfig]]:
        """Return the numbers of the meters that a datapath was told since `forget_told`, and the others by number.

        These are told with the answer.
        """
        sent: set[int] = set()
        unsent: dict[int, MeterConfig] = {}
        for use in self.at(dpid):
            if use.told is None:
                unsent[use.need.number] = use.config
                use.told = use.need.config
            else:
                sent.add(use.need.number)
        return sent, unsent

    def crowded(self, policy: Policy) -> set[int]:
        """Return the flows, by id, with meters in a NIC where a policy leaves less room than connections have."""
        rooms = connection_rooms(policy)
        over = {dpid for dpid, room in rooms.items() if self._held[dpid] > room}
        if not over:
            return set()
        return {flow_id for flow_id, places in self._of_flow.items() if any(dpid in over for dpid, _ in places)}

    def budget(self, policy: Policy) -> Budget:
        """Return what says which flows have meters under a policy that is to come."""
        return Budget(self, policy)

    def known(self, place: _Place) -> Use | None:
        """Return a meter that is there."""
        return self._uses.get(place)

    def held(self) -> Counter[int]:
        """Return how many meters connections have in each datapath."""
        return Counter(self._held)


class Budget:
    """The room for meters of connections under a policy to come; nothing is taken."""

    def __init__(self, meters: ConnectionMeters, policy: Policy) -> None:
        self._meters = meters
        self._rooms = connection_rooms(policy)
        self._dpids = policy.dpids
        self._held = meters.held()

    def lacks(self, plan: Plan, connection: int) -> bool:
        """Return whether there is no room for the meters of a connection, as it will be with this plan.

        A connection that has its meters keeps them, unless a NIC has become too small; what it leaves is free then.
        """
        wanted = {need.place: need for need in needs(plan, connection, self._dpids)}
        fresh, kept = Counter[int](), Counter[int]()
        for place, need in wanted.items():
            known = self._meters.known(place)
            if known is not None and not _is_same(known.need, need):
                return True
            (fresh if known is None else kept)[need.dpid] += 1
        if all(self._held[dpid] + fresh[dpid] <= self._rooms.get(dpid, 1 << 31) for dpid in {*fresh, *kept}):
            self._held += fresh
            return False
        self._held -= kept
        return True


def _is_same(one: Need, other: Need) -> bool:
    return (one.connection, one.rule_meter) == (other.connection, other.rule_meter)
