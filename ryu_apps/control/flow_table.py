"""The host's flow table: every connection that policy has spoken of, with what is found by it.

Part of the core, and one of the few things that change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from ryu_apps.control.connection_id import connection_id
from ryu_apps.control.connection_meters import ConnectionMeters
from ryu_apps.control.key_rows import CHUNK_ROWS, NO_SHAPE, KeyRows, RowShape, row_shape
from ryu_apps.control.leases import Leases, owner_of
from ryu_apps.control.parts import PLACES, in_parts
from ryu_apps.control.plan_index import PlanIndex, RuleName, Use
from ryu_apps.control.slots import Slots
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.engine.connection import Plan
from ryu_apps.model.flow_key import Family, FlowKey
from ryu_apps.model.match import Condition
from ryu_apps.pipeline.cookie import FLOW_IDS


@dataclass(slots=True, eq=False)
class Kind:
    """What flows have in common that were begun by packets which differ in addresses and ports alone."""

    plan: Plan
    segment: int
    generation: int
    first_vport: int
    half_open: bool
    aggressive: bool
    key: FlowKey
    # What the shape is made for; a plan that no flow has is forgotten, and has another number when it comes again.
    use: Use = field(default_factory=partial(Use, 0, 0))
    shape: RowShape = NO_SHAPE


class FlowTable:
    """All unified flows, found by id, by connection, by plan, by vport, by rule and by condition.

    A flow has a slot: its place in the list of records and its row of packed key bytes.
    The record of a flow of a kind is the kind, and what is its own stands in its row:
    that costs the least memory, and the garbage collector has nothing to look at.
    Whatever has a place for every flow is kept in parts, none of which takes long to grow.
    """

    def __init__(self, first_id: int = 1, ready: int = 0) -> None:
        """Begin with this id, and with memory for the rows of so many flows."""
        self._slots = Slots()
        self._records: list[list[UnifiedFlow | Kind | None]] = []
        self._used = 0
        self._free: list[int] = []
        self._rows = KeyRows(ready)
        self._by_connection: tuple[dict[int, int | tuple[int, ...]], ...] = in_parts()
        self._plans = PlanIndex()
        self._variants: dict[int, set[int]] = {}
        self._begun: dict[int, int] = {}
        self._next_id = first_id
        self.leases = Leases()
        self.meters = ConnectionMeters()

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def last_id(self) -> int:
        """The id that was given last."""
        return self._next_id - 1

    def __iter__(self) -> Iterator[UnifiedFlow]:
        return (self._whole(slot) for slot in range(self._used) if self._record(slot) is not None)

    def get(self, flow_id: int) -> UnifiedFlow | None:
        """Return the flow with this id."""
        slot = self._slots.get(flow_id)
        return None if slot is None else self._whole(slot)

    def lone_entries(self, flow_id: int) -> int:
        """Return how many entries a flow without variants has; 0 for one with some, a variant, or no flow."""
        slot = self._slots.get(flow_id)
        record = None if slot is None else self._record(slot)
        if record is None or flow_id in self._variants or (isinstance(record, UnifiedFlow) and record.parent):
            return 0
        return len(record.plan.forward) + len(record.plan.reply)

    def find(self, connection: int) -> tuple[UnifiedFlow, ...]:
        """Return the flows of a connection; more than one only for variants and for refusals both ways."""
        ids = self._by_connection[connection % PLACES].get(connection)
        if ids is None:
            return ()
        return self._all((ids,) if isinstance(ids, int) else ids)

    def knows(self, flow: UnifiedFlow) -> bool:
        """Return whether a connection of the flow is kept already."""
        return any(connection in self._by_connection[connection % PLACES] for connection in _connections(flow))

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

    def ids_at_vport(self, vport: int, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the ids of the flows with a leg at a vport part by part, from a part on and round.

        Each part has its number, and is an array of unsigned ints as bytes that stays while no flow comes or goes.
        """
        numbers = (self._plans.number(plan) for plan in self._plans.at_vport(vport))
        return self._rows.ids_of_plans([number for number in numbers if number is not None], first)

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
            if self._slots.get(flow_id) is None:
                return flow_id

    def add(self, flow: UnifiedFlow, connection: int | None = None) -> None:
        """Keep a flow; one with the same id must have been removed. Its connection id may be given if known."""
        slot = self._place(flow, flow.id)
        self._rows.put(slot, flow.key, self._plans.join(flow.plan).number, flow.id)
        connections = _connections(flow) if connection is None or flow.plan.edits else (connection,)
        for found_by in connections:
            part = self._by_connection[found_by % PLACES]
            known = part.get(found_by)
            if known is None:
                part[found_by] = flow.id
            else:
                part[found_by] = (*((known,) if isinstance(known, int) else known), flow.id)
        if flow.parent:
            self._variants.setdefault(flow.parent, set()).add(flow.id)
        first = flow.plan.forward[0].vport
        self._begun[first] = self._begun.get(first, 0) + 1
        if flow.plan.leases:
            self.leases.take(owner_of(first, flow.segment, flow.key), flow.plan)
        if flow.plan.metered and not flow.lacks_meter:
            self.meters.take(flow.id, flow.plan, flow.connection)

    def kind(self, flow: UnifiedFlow) -> Kind:
        """Return the kind of IPv4 flows that are like this one in all but their addresses and ports."""
        first = flow.plan.forward[0].vport
        return Kind(flow.plan, flow.segment, flow.generation, first, flow.half_open, flow.aggressive, flow.key)

    def begin(self, kind: Kind, ends: bytes, connection: int, now_s: float, most: int) -> int:
        """Return the id of a new flow, kept with the first packet's ends; 0 when its connection is known already.

        Also 0 when its vport has begun `most`. ends: its ENDS_BYTES with addresses and ports.
        This is `add` for one flow of a kind, with every step in one place because it is a part of each miss.
        """
        part, first = self._by_connection[connection % PLACES], kind.first_vport
        begun = self._begun.get(first, 0)
        if connection in part or begun >= most:
            return 0
        slot = self._free.pop() if self._free else self._unused()
        flow_id = self._next_id
        while not self._slots.put(flow_id, slot):
            flow_id = flow_id % (FLOW_IDS - 1) + 1
        self._next_id = flow_id % (FLOW_IDS - 1) + 1
        self._records[slot // CHUNK_ROWS][slot % CHUNK_ROWS] = kind
        use = kind.use
        if use.flows:
            use.flows += 1
        else:
            use = kind.use = self._plans.join(kind.plan)
            kind.shape = row_shape(kind.key, use.number)
        self._rows.put_ends(slot, kind.shape, ends, flow_id, now_s)
        part[connection] = flow_id
        self._begun[first] = begun + 1
        return flow_id

    def _unused(self) -> int:
        """Return a slot that no flow has had."""
        slot = self._used
        self._used += 1
        if slot == len(self._records) * CHUNK_ROWS:
            self._records.append([None] * CHUNK_ROWS)
        return slot

    def _place(self, record: UnifiedFlow | Kind, flow_id: int) -> int:
        """Return the slot that a record was put in."""
        slot = self._free.pop() if self._free else self._unused()
        self._records[slot // CHUNK_ROWS][slot % CHUNK_ROWS] = record
        self._slots.put(flow_id, slot)
        return slot

    def _record(self, slot: int) -> UnifiedFlow | Kind | None:
        return self._records[slot // CHUNK_ROWS][slot % CHUNK_ROWS]

    def _whole(self, slot: int) -> UnifiedFlow:
        """Return the flow that stands in a slot."""
        record = self._record(slot)
        if isinstance(record, UnifiedFlow):
            return record
        if record is None:
            raise LookupError(f"slot {slot} is free")
        key, flow_id, began_s = self._rows.get(slot)
        made, half_open, aggressive = record.generation, record.half_open, record.aggressive
        return UnifiedFlow(
            flow_id, record.segment, key, record.plan, made, made, began_s, half_open=half_open, aggressive=aggressive
        )

    def remove(self, flow: UnifiedFlow) -> None:
        """Forget a flow; its variants stay and must be removed first."""
        slot = self._slots.pop(flow.id)
        self._records[slot // CHUNK_ROWS][slot % CHUNK_ROWS] = None
        self._free.append(slot)
        self._rows.clear(slot)
        self._plans.leave(flow.plan)
        for connection in _connections(flow):
            part = self._by_connection[connection % PLACES]
            known = part[connection]
            left = () if isinstance(known, int) else tuple(other for other in known if other != flow.id)
            if not left:
                del part[connection]
            else:
                part[connection] = left[0] if len(left) == 1 else left
        if flow.parent and flow.parent in self._variants:
            self._variants[flow.parent].discard(flow.id)
            if not self._variants[flow.parent]:
                del self._variants[flow.parent]
        first = flow.plan.forward[0].vport
        self._begun[first] -= 1
        if not self._begun[first]:
            del self._begun[first]
        self.leases.give_back(flow.plan)
        if flow.plan.metered:
            self.meters.release(self.meters.detach(flow.id))

    def replace(self, old: UnifiedFlow, new: UnifiedFlow) -> None:
        """Keep a flow's successor of the same id; meters that both have stay."""
        had = self.meters.detach(old.id) if old.plan.metered else ()
        self.remove(old)
        self.add(new)
        self.meters.release(had)

    def _all(self, ids: Iterable[int]) -> tuple[UnifiedFlow, ...]:
        return self._at([slot for flow_id in ids if (slot := self._slots.get(flow_id)) is not None])

    def _at(self, slots: Iterable[int]) -> tuple[UnifiedFlow, ...]:
        return tuple([self._whole(slot) for slot in slots])


def _connections(flow: UnifiedFlow) -> set[int]:
    """Return the connection ids under which a flow is found: one, or more when a leg edits packets."""
    if not flow.plan.edits:
        return {connection_id(flow.segment, flow.key)}
    return {connection_id(flow.segment, key) for _, key in flow.legs()}
