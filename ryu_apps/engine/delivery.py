"""Where a frame goes after the sender's policy: the virtual-switch table by segment and MAC."""

from __future__ import annotations

from dataclasses import dataclass

from ryu_apps.model.network import Vport
from ryu_apps.model.policy import Snapshot


@dataclass(frozen=True, slots=True)
class Directory:
    """Who owns which MAC in which segment; routes stand before vports."""

    owners: dict[tuple[str, int], Vport | None]

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
    return Directory(owners)


def members(snapshot: Snapshot, segment: str, host: str) -> list[Vport]:
    """Return the vports of a segment on one host, by number."""
    found = [v for v in snapshot.vports.values() if v.host == host and segment in v.segments]
    return sorted(found, key=lambda vport: vport.number)
