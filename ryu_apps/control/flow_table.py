"""The host's flow table: every connection that policy has spoken of, with what is found by it.

Part of the core, and one of the few things that change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from ryu_apps.control.connection_id import connection_id
from ryu_apps.control.key_rows import KEPT_BYTES, KeyRows
from ryu_apps.control.plan_index import PlanIndex, RuleName
from ryu_apps.engine.connection import Leg, Plan
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import ETH_IPV4, Family, FlowKey, reverse
from ryu_apps.model.match import Condition
from ryu_apps.pipeline.cached import CachedEntry, cached
from ryu_apps.pipeline.cookie import FLOW_IDS, Cookie, EntryClass, of_vport

_ADDRESSES_AND_PORTS: Final = (1 << 96) - 1


class UnifiedFlow(NamedTuple):
    """One connection: the key of its first packet, the plan that policy made for it, and its age.

    generation is the policy's under which the plan was made, renewed the one under which a walk last confirmed it.
    parent is the flow that this one is a variant of (same connection, other MACs or DSCP), 0 for none.
    half_open: its entries have the short timeout of a TCP connection that was not seen answered when they were made.
    """

    id: int
    segment: int
    key: FlowKey
    plan: Plan
    generation: int
    renewed: int
    created_s: float
    parent: int = 0
    half_open: bool = False

    def legs(self) -> Iterator[tuple[Leg, FlowKey]]:
        """Yield every leg with the key that packets have there."""
        return self.plan.legs(self.key)

    def entries(self) -> Iterator[CachedEntry]:
        """Yield the entry of every leg, those of the first packet's way first."""
        segment = self.segment
        entry_class = EntryClass.EXTRA if self.parent else EntryClass.FORWARD
        cookie = Cookie(entry_class, self.generation, 0, self.id).pack()
        key = self.key
        for leg in self.plan.forward:
            yield cached(leg, key, segment, of_vport(cookie, leg.vport), self.half_open)
            key = leg.verdict.edit.apply(key)
        if not self.plan.reply:
            return
        key = reverse(key)
        cookie = Cookie(EntryClass.REPLY, self.generation, 0, self.id).pack()
        for leg in self.plan.reply:
            yield cached(leg, key, segment, of_vport(cookie, leg.vport), self.half_open)
            key = leg.verdict.edit.apply(key)


@dataclass(slots=True, eq=False)
class Kind:
    """What flows begun by packets that differ only in their headers have in common; such a flow is kept as a Brief."""

    number: int
    plan: Plan
    segment: int
    vlan_vid: int
    generation: int
    first_vport: int
    half_open: bool
    flows: int = 0
    retired: bool = False


# A flow of a kind: its id, the kind's number, the first KEPT_BYTES of its first packet, and when it began.
# Plain values in a plain tuple cost the least memory, and the garbage collector need not look at them.
Brief = tuple[int, int, bytes, float]


class FlowTable:
    """All unified flows, found by id, by connection, by plan, by vport, by rule and by condition.

    A flow has a slot: its place in the list of records and its row of packed key bytes.
    """

    def __init__(self, first_id: int = 1) -> None:
        self._slots: dict[int, int] = {}
        self._records: list[UnifiedFlow | Brief | None] = []
        self._kinds: dict[int, Kind] = {}
        self._next_kind = 1
        self._free: list[int] = []
        self._rows = KeyRows()
        self._by_connection: dict[int, int | tuple[int, ...]] = {}
        self._plans = PlanIndex()
        self._variants: dict[int, set[int]] = {}
        self._begun: dict[int, int] = {}
        self._next_id = first_id

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[UnifiedFlow]:
        return (self._whole(record) for record in self._records if record is not None)

    def get(self, flow_id: int) -> UnifiedFlow | None:
        """Return the flow with this id."""
        slot = self._slots.get(flow_id)
        record = None if slot is None else self._records[slot]
        return None if record is None else self._whole(record)

    def find(self, connection: int) -> tuple[UnifiedFlow, ...]:
        """Return the flows of a connection; more than one only for variants and for refusals both ways."""
        ids = self._by_connection.get(connection)
        if ids is None:
            return ()
        return self._all((ids,) if isinstance(ids, int) else ids)

    def knows(self, flow: UnifiedFlow) -> bool:
        """Return whether a connection of the flow is kept already."""
        return any(connection in self._by_connection for connection in _connections(flow))

    def begun_by(self, vport: int) -> int:
        """Return how many flows a vport has begun."""
        return self._begun.get(vport, 0)

    def variants(self, flow_id: int) -> tuple[UnifiedFlow, ...]:
        """Return the variants of a flow."""
        return self._all(self._variants.get(flow_id, ()))

    def plans(self) -> Iterable[Plan]:
        """Return every plan in use."""
        return self._plans.all()

    def of_plan(self, plan: Plan) -> tuple[UnifiedFlow, ...]:
        """Return the flows with this plan."""
        number = self._plans.number(plan)
        return () if number is None else self._at(self._rows.of_plan(number))

    def at_vport(self, vport: int) -> list[UnifiedFlow]:
        """Return the flows with a leg at a vport."""
        return [flow for plan in self._plans.at_vport(vport) for flow in self.of_plan(plan)]

    def ids_at_vport(self, vport: int) -> Iterator[int]:
        """Yield the ids of the flows with a leg at a vport."""
        for plan in self._plans.at_vport(vport):
            number, records = self._plans.number(plan), self._records
            for slot in self._rows.of_plan(number) if number is not None else ():
                record = records[slot]
                if record is not None:
                    yield record[0]

    def by_rule(self, rule: RuleName) -> list[UnifiedFlow]:
        """Return the flows in which a rule (layer, group, rule) has spoken."""
        return [flow for plan in self._plans.by_rule(rule) for flow in self.of_plan(plan)]

    def matching(
        self, family: Family, condition: Condition, plans: Iterable[Plan], *, reply: bool
    ) -> tuple[UnifiedFlow, ...]:
        """Return the flows of these plans whose first key, or that of its reply, meets a condition."""
        numbers = {self._plans.number(plan) for plan in plans}
        if not numbers:
            return ()
        found = self._rows.matching(family, condition, reply=reply)
        return self._at([slot for slot, number in found if number in numbers])

    def new_id(self) -> int:
        """Return an id that no flow has; ids come round after 2^28."""
        while True:
            flow_id = self._next_id
            self._next_id = self._next_id % (FLOW_IDS - 1) + 1
            if flow_id not in self._slots:
                return flow_id

    def add(self, flow: UnifiedFlow, connection: int | None = None) -> None:
        """Keep a flow; one with the same id must have been removed. Its connection id may be given if known."""
        slot = self._slots[flow.id] = self._place(flow)
        self._rows.put(slot, flow.key, self._plans.join(flow.plan))
        connections = _connections(flow) if connection is None or flow.plan.edits else (connection,)
        for found_by in connections:
            known = self._by_connection.get(found_by)
            if known is None:
                self._by_connection[found_by] = flow.id
            else:
                self._by_connection[found_by] = (*((known,) if isinstance(known, int) else known), flow.id)
        if flow.parent:
            self._variants.setdefault(flow.parent, set()).add(flow.id)
        first = flow.plan.forward[0].vport
        self._begun[first] = self._begun.get(first, 0) + 1

    def kind(self, flow: UnifiedFlow) -> Kind:
        """Return a new kind, of flows that are like this one in all but their headers; retire_kind ends it."""
        number, self._next_kind = self._next_kind, self._next_kind + 1
        vlan_vid = FIELDS["vlan_vid"].get(flow.key)
        first = flow.plan.forward[0].vport
        kind = Kind(number, flow.plan, flow.segment, vlan_vid, flow.generation, first, flow.half_open)
        self._kinds[number] = kind
        return kind

    def retire_kind(self, kind: Kind) -> None:
        """Note that nothing more will be begun of a kind; it is forgotten with its last flow."""
        kind.retired = True
        if not kind.flows:
            del self._kinds[kind.number]

    def begin(self, kind: Kind, header: bytes, connection: int, now_s: float) -> int:
        """Return the id of a new flow, kept with the first packet's header; 0 when its connection is known already."""
        if connection in self._by_connection:
            return 0
        flow_id = self.new_id()
        kept = header[:KEPT_BYTES]
        slot = self._slots[flow_id] = self._place((flow_id, kind.number, kept, now_s))
        kind.flows += 1
        self._rows.put_header(slot, kept, kind.vlan_vid, self._plans.join(kind.plan))
        self._by_connection[connection] = flow_id
        first = kind.first_vport
        self._begun[first] = self._begun.get(first, 0) + 1
        return flow_id

    def _place(self, record: UnifiedFlow | Brief) -> int:
        """Return the slot that a record was put in."""
        if not self._free:
            self._records.append(record)
            return len(self._records) - 1
        slot = self._free.pop()
        self._records[slot] = record
        return slot

    def _whole(self, record: UnifiedFlow | Brief) -> UnifiedFlow:
        """Return a record as the flow that it stands for."""
        if isinstance(record, UnifiedFlow):
            return record
        flow_id, number, header, created_s = record
        kind = self._kinds[number]
        key = key_of_header(header, kind.vlan_vid)
        made, half_open = kind.generation, kind.half_open
        return UnifiedFlow(flow_id, kind.segment, key, kind.plan, made, made, created_s, half_open=half_open)

    def remove(self, flow: UnifiedFlow) -> None:
        """Forget a flow; its variants stay and must be removed first."""
        slot = self._slots.pop(flow.id)
        record = self._records[slot]
        if record is not None and not isinstance(record, UnifiedFlow):
            kind = self._kinds[record[1]]
            kind.flows -= 1
            if kind.retired and not kind.flows:
                del self._kinds[kind.number]
        self._records[slot] = None
        self._free.append(slot)
        self._rows.clear(slot)
        self._plans.leave(flow.plan)
        for connection in _connections(flow):
            known = self._by_connection[connection]
            left = () if isinstance(known, int) else tuple(other for other in known if other != flow.id)
            if not left:
                del self._by_connection[connection]
            else:
                self._by_connection[connection] = left[0] if len(left) == 1 else left
        if flow.parent and flow.parent in self._variants:
            self._variants[flow.parent].discard(flow.id)
            if not self._variants[flow.parent]:
                del self._variants[flow.parent]
        first = flow.plan.forward[0].vport
        self._begun[first] -= 1
        if not self._begun[first]:
            del self._begun[first]

    def replace(self, old: UnifiedFlow, new: UnifiedFlow) -> None:
        """Keep a flow's successor of the same id."""
        self.remove(old)
        self.add(new)

    def _all(self, ids: Iterable[int]) -> tuple[UnifiedFlow, ...]:
        return self._at([self._slots[flow_id] for flow_id in ids])

    def _at(self, slots: Iterable[int]) -> tuple[UnifiedFlow, ...]:
        records = self._records
        return tuple(self._whole(record) for slot in slots if (record := records[slot]) is not None)


def key_of_header(header: bytes, vlan_vid: int) -> FlowKey:
    """Return the key of an IPv4 packet without options from its first KEPT_BYTES."""
    bits = int.from_bytes(header, "big")
    link = bits >> 208 << 32 | vlan_vid << 16 | ETH_IPV4
    above = link << 16 | header[23] << 8 | header[15] >> 2
    return FlowKey(Family.IPV4, above << 96 | bits & _ADDRESSES_AND_PORTS)


def _connections(flow: UnifiedFlow) -> set[int]:
    """Return the connection ids under which a flow is found: one, or more when a leg edits packets."""
    if not flow.plan.edits:
        return {connection_id(flow.segment, flow.key)}
    return {connection_id(flow.segment, key) for _, key in flow.legs()}
