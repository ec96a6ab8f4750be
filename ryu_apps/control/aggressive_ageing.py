"""Aggressive ageing, as firewalls call it: what comes of a flood goes soon, unless somebody answers it.

A flood that is slowed down leaves what its meter had let through until then, some hundred connections.
Their entries tell the rest of the flood apart, so that the switch remembers more of it, and first packets of others
wait for that (docs/architecture.md, "Who floods waits behind himself").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from ryu_apps.control.effects import Effect
from ryu_apps.control.fast_path import FastPath
from ryu_apps.control.floods import Asker
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.placement import Placement
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.model.flow_key import PROTO_UDP
from ryu_apps.pipeline.cached import is_tcp, protocol

# A flood is slowed down within so long of its first packet; what it began before is looked for among so many flows.
RECENT_S: Final = 2.0
RECENT: Final = 8192
# So many are looked at without a pause.
_LOOKED_AT_ONCE: Final = 256
# Of what is found so great a part gets its other entries at once, if that is neither less nor more than a few flows: a
# switch forwards nothing while it takes entries, nor while many of them run idle together.
_PARTS: Final = 50
_LEAST, _MOST = 8, 32


class AggressiveAgeing:
    """Who is slowed down, and what of theirs is still to be hastened, by flow id."""

    def __init__(
        self, flows: FlowTable, placement: Placement, fast_path: FastPath, in_host: Callable[[UnifiedFlow], bool]
    ) -> None:
        """Keep what is shared with the core; in_host says whether a flow is to have no entries."""
        self._flows = flows
        self._placement = placement
        self._fast_path = fast_path
        self._in_host = in_host
        self._found: deque[int] = deque()
        self.askers: frozenset[Asker] = frozenset()

    def follow(self, askers: frozenset[Asker]) -> frozenset[Asker]:
        """Note who is slowed down now: what they begin is to go soon; return for whom this is new."""
        before, self.askers = self.askers, askers
        if askers != before:
            self._fast_path.forget_askers(before ^ askers)
        return askers - before

    def look(self, askers: frozenset[Asker], now_s: float) -> Iterator[None]:
        """Find what these have lately begun; yields now and then, so that others get their turn."""
        last = self._flows.last_id
        for looked, flow_id in enumerate(range(last, max(0, last - RECENT), -1), start=1):
            flow = self._flows.get(flow_id)
            if flow is not None and now_s - flow.created_s > RECENT_S:
                break
            if flow is not None and _asker(flow) in askers:
                self._found.append(flow_id)
            if looked % _LOOKED_AT_ONCE == 0:
                yield

    def hasten(self) -> Iterator[list[Effect]]:
        """Yield, part by part, the entries of all that was found, which is to go soon now."""
        while self._found:
            size = min(_MOST, max(_LEAST, len(self._found) // _PARTS), len(self._found))
            part = [self._flows.get(self._found.popleft()) for _ in range(size)]
            yield [effect for flow in part if flow is not None for effect in self._hasten(flow)]

    def _hasten(self, flow: UnifiedFlow) -> list[Effect]:
        """Return the shorter-lived entries of a flow that may have some.

        TCP keeps its entries, for with these the switch would forget a FIN that it has seen; half-open it goes soon
        enough. UDP that has lasting timeouts was answered.
        """
        awaits = flow.plan.allow and bool(flow.plan.reply)
        answered = awaits and protocol(flow.key) == PROTO_UDP and not flow.half_open
        left_alone = answered or (flow.plan.allow and is_tcp(flow.key))
        if flow.aggressive or flow.parent or left_alone or self._in_host(flow):
            return []
        hastened = flow._replace(aggressive=True, half_open=awaits)
        self._flows.replace(flow, hastened)
        return self._placement.install(hastened, replies=False)


def _asker(flow: UnifiedFlow) -> Asker:
    first = flow.plan.forward[0]
    return first.vport, first.direction
