"""Where a frame goes after the sender's policy: the virtual-switch table by segment and MAC."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ryu_apps.model.network import Vport
from ryu_apps.model.policy import Snapshot


@dataclass(frozen=True, slots=True)
class Directory:
    """Who owns which MAC in which segment; routes stand before vports."""

    owners: dict[tuple[str, int], Vport | None]
    by_segment: dict[str, list[tuple[int, Vport | None]]]
    members: dict[tuple[str, str], list[Vport]]
    macs: dict[tuple[str, str], tuple[int, ...]]

    def of_segment(self, segment: str) -> list[tuple[int, Vport | None]]:
        """Return the owners in one segment, by MAC."""
        return self.by_segment.get(segment, [])

    def residents(self, segment: str, host: str) -> list[Vport]:
        """Return the vports of a segment on one host, by number."""
        return self.members.get((segment, host), [])

    def macs_of(self, segment: str, vport: Vport) -> tuple[int, ...]:
        """Return the MACs of a segment that frames go to a vport for, in ascending order."""
        return self.macs.get((segment, vport.id), ())

    def owner(self, segment: str, eth_dst: int) -> Vport | None:
        """Return the vport that frames for a MAC go to, None when they leave for the outside."""
        return self.owners.get((segment, eth_dst))


def directory(snapshot: Snapshot) -> Directory:
    """Return the delivery table of a snapshot."""
    vports = snapshot.vports
    owners: dict[tuple[str, int], Vport | None] = {
        (segment, vport.mac): vport for vport in vports.values() for segment in vport.segments
    }
    owners |= {
        (route.segment, route.eth_dst): None if route.vport is None else vports[route.vport]
        for route in snapshot.routes.values()
    }
    by_segment: dict[str, list[tuple[int, Vport | None]]] = defaultdict(list)
    macs: dict[tuple[str, str], tuple[int, ...]] = defaultdict(tuple)
    for (segment, mac), owner in owners.items():
        by_segment[segment].append((mac, owner))
        if owner is not None:
            macs[segment, owner.id] = tuple(sorted((*macs[segment, owner.id], mac)))
    members: dict[tuple[str, str], list[Vport]] = defaultdict(list)
    for vport in sorted(vports.values(), key=lambda vport: vport.number):
        for segment in vport.segments:
            members[segment, vport.host].append(vport)
    return Directory(owners, dict(by_segment), dict(members), dict(macs))
