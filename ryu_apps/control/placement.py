"""What carries a flow's entries to the switches that its vports are on, and takes them away."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ryu_apps.control.effects import Add, CountEntry, Effect, Install, Release, Remove
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.holding import Held
from ryu_apps.control.leading import leads
from ryu_apps.control.nic_caches import NicCaches
from ryu_apps.control.offload import Offload
from ryu_apps.control.tally import Tally
from ryu_apps.control.unified_flow import UnifiedFlow
from ryu_apps.pipeline.cookie import EntryClass, is_reply, unpack
from ryu_apps.pipeline.entry import FlowEntry


class Placement:
    """Turns flows into effects on switches; only entries that the NICs are to hold, only switches that are up."""

    def __init__(
        self,
        flows: FlowTable,
        caches: NicCaches,
        offload: Offload,
        tally: Tally,
        dpid_of: Callable[[int], int | None],
    ) -> None:
        """Keep what is shared with the core; dpid_of returns the connected datapath that a vport is on."""
        self._flows = flows
        self._caches = caches
        self._offload = offload
        self._tally = tally
        self._dpid_of = dpid_of

    def install(self, flow: UnifiedFlow, *, but: Held | None = None, replies: bool = True) -> list[Effect]:
        """Return the installing of a flow's entries, all, all but that of one leg, or all but those for replies."""
        effects: list[Effect] = []
        for made in self._caches.entries(flow):
            dpid = self._dpid_of(made.vport)
            if not replies and is_reply(made.cookie):
                continue
            if dpid is not None and (but is None or but != (flow.id, made.vport, made.direction)):
                effects.append(Install(dpid, made))
                self._tally.count("offloads", made.vport)
        return effects

    def install_leg(self, leg: Held) -> list[Effect]:
        """Return the installing of the entry of one leg."""
        flow, dpid = self._flows.get(leg.flow_id), self._dpid_of(leg.vport)
        if flow is None or dpid is None:
            return []
        entries = [made for made in self._caches.entries(flow) if leg == (flow.id, made.vport, made.direction)]
        for made in entries:
            self._tally.count("offloads", made.vport)
        return [Install(dpid, made) for made in entries]

    def release(self, flow: UnifiedFlow) -> list[Effect]:
        """Return the removal of the entries of a connection and its variants, those that a switch may have."""
        effects: list[Effect] = []
        for gone in (*self._flows.variants(flow.id), flow):
            for made in self._caches.entries(gone):
                dpid = self._dpid_of(made.vport)
                if dpid is not None:
                    effects.append(Release(dpid, made))
            self._offload.forget(gone)
        return effects

    def take_back(self, flow: UnifiedFlow) -> list[Effect]:
        """Return the removal of every entry that a flow could have, one that ended while a change gave it entries."""
        effects: list[Effect] = self.lead_no_more(flow)
        for made in flow.entries():
            dpid = self._dpid_of(made.vport)
            if dpid is not None:
                effects.append(Release(dpid, made))
        return effects

    def lead(self, flow: UnifiedFlow) -> list[Effect]:
        """Return the installing of what leads replies to a new flow that has something of a NAT pool."""
        return [Add(dpid, made) for dpid, made in self._leads(flow)]

    def lead_no_more(self, flow: UnifiedFlow) -> list[Effect]:
        """Return the removal of the same."""
        return [Remove(dpid, made) for dpid, made in self._leads(flow)]

    def _leads(self, flow: UnifiedFlow) -> Iterator[tuple[int, FlowEntry]]:
        return leads([flow], self._caches.policy.vports, self._dpid_of)

    def question(self, flow: UnifiedFlow, wanted: EntryClass | None) -> CountEntry | None:
        """Return what asks for the packet count of a flow's entry of this class, None where no switch has one."""
        for made in self._caches.entries(flow):
            dpid = self._dpid_of(made.vport)
            cookie = unpack(made.cookie)
            if cookie is not None and cookie.entry_class is wanted and dpid is not None:
                return CountEntry(dpid, made.cookie)
        return None
