"""The hint lists of VMs: which packets a VM had better send by its VF, because the NIC knows them (US 8,930,690).

A hint is a condition without an action, of what the VM itself sends; it says nothing of verdicts and of others.
Nothing rests on it: a packet that the NIC does not know is a miss by either port, and one that it knows a hit.
So a list may lag behind. It is made when it is asked for, from the flow table; misses cost nothing for it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice, takewhile
from typing import Any, Final, NamedTuple

from ryu_apps.control.core import ControlCore
from ryu_apps.control.course import Reason
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.control.whereabouts import whereabouts_of
from ryu_apps.model.fields import describe
from ryu_apps.model.flow_key import ND_TYPES, FlowKey
from ryu_apps.model.network import Vport
from ryu_apps.model.rules import Direction

# However often a VM asks, its flows are looked at so often, and so many at once: misses wait meanwhile.
REFRESH_S: Final = 0.1
LOOKED_AT: Final = 500
# Of the flow table's parts in which flows have come or gone so many are gone through at once: 4,096 flows take 0.2 ms.
PARTS_AT_ONCE: Final = 8
# What is gone is told to those who have seen so many changes since; others get the whole list again.
GONE_TOLD: Final = 10_000
# A list that nobody has asked for in so long is forgotten.
FORGOTTEN_S: Final = 60.0
_SPARE: Final = 64
# Flows that are not in the NIC for the moment only.
_WAITING: Final = frozenset({Reason.HELD_BACK, Reason.FRAGMENTS, Reason.AWAY})


class Condition(NamedTuple):
    """What a packet of the VM has to be: its key, DSCP apart where no entry looks at it."""

    key: FlowKey
    exact_dscp: bool

    def document(self) -> dict[str, str]:
        """Return the fields by OpenFlow's names."""
        shown = describe(self.key)
        if not self.exact_dscp:
            shown.pop("ip_dscp", None)
        return shown


@dataclass(slots=True, eq=False)
class HintList:
    """The hints of one vport, each numbered when it came, and the numbers of those that have gone since.

    born tells this list from one of before; doubtful holds the flows to look at.
    order has the numbers of the hints that came, ascending, and of some that have gone since.
    parts are those of the flow table as they were last seen, stale the ones of which all flows are to be looked at,
    and turn is the one to begin with.
    """

    number: int
    born: int
    asked_s: float
    looked_s: float = float("-inf")
    latest: int = 0
    generation: int = -1
    hints: dict[int, Condition] = field(default_factory=dict)
    gone: deque[tuple[int, int]] = field(default_factory=deque)
    untold: int = 0
    by_flow: dict[int, dict[Condition, int]] = field(default_factory=dict)
    doubtful: dict[int, None] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    parts: dict[int, bytes] = field(default_factory=dict)
    stale: dict[int, None] = field(default_factory=dict)
    turn: int = 0

    def settle(self, flow_id: int, conditions: Iterable[Condition]) -> None:
        """Let a flow have these conditions from now on."""
        wanted = dict.fromkeys(conditions)
        known = self.by_flow.get(flow_id, {})
        for condition in known.keys() - wanted.keys():
            self._remove(known[condition])
        made = {condition: known[condition] if condition in known else self._add(condition) for condition in wanted}
        if made:
            self.by_flow[flow_id] = made
        else:
            self.by_flow.pop(flow_id, None)

    def drop(self, flow_id: int) -> None:
        """Forget a flow that has ended."""
        for number in self.by_flow.pop(flow_id, {}).values():
            self._remove(number)

    def _add(self, condition: Condition) -> int:
        self.latest += 1
        self.hints[self.latest] = condition
        self.order.append(self.latest)
        return self.latest

    def _remove(self, number: int) -> None:
        self.latest += 1
        del self.hints[number]
        if len(self.order) > 2 * len(self.hints) + _SPARE:
            self.order = list(self.hints)
        self.gone.append((self.latest, number))
        if len(self.gone) > GONE_TOLD:
            self.untold = self.gone.popleft()[0]

    def document(self, version: str, limit: int) -> dict[str, Any]:
        """Return what has changed since a version, at most so many changes.

        A version that is not known, or that much has gone since, begins the whole list again.
        """
        place = self._place(version)
        seen, floor = place or (0, self.latest)
        told = list(islice(self._since(seen, floor), limit + 1))
        told, more = told[:limit], len(told) > limit
        seen = told[-1][0] if more else self.latest
        return {
            "version": f"{self.born}.{seen}.{max(seen, floor)}",
            "whole": place is None,
            "more": more,
            "add": [
                {"id": number, "match": self.hints[number].document()} for change, number in told if change == number
            ],
            "remove": [number for change, number in told if change != number],
        }

    def _place(self, version: str) -> tuple[int, int] | None:
        """Return up to which change a follower has seen what came, and what went; None where that cannot be told."""
        born, _, rest = version.partition(".")
        seen, _, floor = rest.partition(".")
        if born != str(self.born):
            return None
        place = int(seen), int(floor)
        return place if self.untold <= place[1] <= self.latest and place[0] <= place[1] else None

    def _since(self, seen: int, floor: int) -> Iterator[tuple[int, int]]:
        """Yield what came after change `seen` and went after change `floor`, in order: each change and its hint."""
        after = islice(self.order, bisect_right(self.order, seen), None)
        come = ((number, number) for number in after if number in self.hints)
        gone = list(takewhile(lambda change: change[0] > floor, reversed(self.gone)))
        # What came and went in between was never told of.
        return merge(come, (change for change in reversed(gone) if change[1] <= seen))


class Hints:
    """The hint lists that are being followed, by vport."""

    def __init__(self, core: ControlCore) -> None:
        self._core = core
        self._lists: dict[str, HintList] = {}

    def ask(self, vport: Vport, since: str, limit: int, now_s: float) -> dict[str, Any]:
        """Return the document of a vport's hints that have changed since a version, at most so many.

        With an unknown version, or none, it is the first part of the whole list.
        """
        found = self._list(vport, now_s)
        if now_s - found.looked_s >= REFRESH_S:
            found.looked_s = now_s
            self._refresh(found, vport)
        return {**found.document(since, limit), "standing": list(standing(self._core, vport))}

    def _list(self, vport: Vport, now_s: float) -> HintList:
        self._lists = {name: each for name, each in self._lists.items() if now_s - each.asked_s < FORGOTTEN_S}
        found = self._lists.get(vport.id)
        if found is None or found.number != vport.number:
            found = self._lists[vport.id] = HintList(vport.number, int(now_s * 1000), now_s)
        found.asked_s = now_s
        return found

    def _refresh(self, found: HintList, vport: Vport) -> None:
        """Bring a list up to date as far as it goes at once: what has ended, what is new, and what may differ."""
        core = self._core
        self._find_changed(found)
        generation = core.policy.snapshot.generation
        limited = core.policy.snapshot.hosts[vport.host].limits.entries(Direction.OUTBOUND) is not None
        if generation != found.generation or limited:
            found.generation = generation
            found.stale |= dict.fromkeys(found.parts)
        while found.stale and len(found.doubtful) < LOOKED_AT:
            part = next(iter(found.stale))
            del found.stale[part]
            found.doubtful |= dict.fromkeys(array("I", found.parts[part]))
        for flow_id in list(islice(found.doubtful, LOOKED_AT)):
            del found.doubtful[flow_id]
            flow = core.flows.get(flow_id)
            if flow is None:
                found.drop(flow_id)
            else:
                self._look(found, flow)

    def _find_changed(self, found: HintList) -> None:
        """Go through parts of the flow table in which flows have come or gone; those left have their turn later."""
        flows = self._core.flows
        parts = flows.ids_at_vport(found.number, found.turn)
        changed = ((part, ids) for part, ids in parts if found.parts.get(part, b"") != ids)
        for part, ids in islice(changed, PARTS_AT_ONCE):
            before, now = set(array("I", found.parts.get(part, b""))), dict.fromkeys(array("I", ids))
            found.parts[part], found.turn = ids, part + 1
            for flow_id in before - now.keys():
                if flows.get(flow_id) is None:
                    found.drop(flow_id)
                else:
                    found.doubtful[flow_id] = None
            found.doubtful |= {flow_id: None for flow_id in now if flow_id not in before}

    def _look(self, found: HintList, flow: UnifiedFlow) -> None:
        conditions: list[Condition] = []
        for leg, key in flow.legs():
            if (leg.vport, leg.direction) == (found.number, Direction.OUTBOUND):
                place = whereabouts_of(self._core, flow, leg)
                if place.nic:
                    conditions.append(Condition(key, leg.exact_dscp))
                elif place.reason in _WAITING:
                    found.doubtful[flow.id] = None
        found.settle(flow.id, conditions)


def standing(core: ControlCore, vport: Vport) -> Iterator[Mapping[str, Any]]:
    """Yield by which port the kinds of packets go that have no exact entries; the first that fits holds, before hints.

    ARP and neighbour discovery pass the NIC unless rules name them; the others are decided one by one.
    """
    view = core.policy.view(vport, Direction.OUTBOUND)
    for eth_type in ("ipv4", "ipv6"):
        yield _standing("synthetic", eth_type=eth_type, ip_frag="yes")
    yield _standing("synthetic" if view.asks_arp else "vf", eth_type="arp")
    for kind in sorted(ND_TYPES):
        port = "synthetic" if view.asks_nd else "vf"
        yield _standing(port, eth_type="ipv6", ip_proto="icmpv6", icmpv6_type=str(kind))
    yield _standing("synthetic", eth_dst="01:00:00:00:00:00/01:00:00:00:00:00")
    for eth_type, ports in (("ipv4", ("67", "68")), ("ipv6", ("546", "547"))):
        for l4_dst in ports:
            yield _standing("synthetic", eth_type=eth_type, ip_proto="udp", l4_dst=l4_dst)


def _standing(port: str, **match: str) -> dict[str, Any]:
    return {"port": port, "match": match}
