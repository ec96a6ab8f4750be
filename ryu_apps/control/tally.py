"""Counters of the core: what came in, what became of it, and what was refused why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from ryu_apps.pipeline.cached import CachedEntry

REMOVED: Final = {0: "idle-timeout", 1: "hard-timeout", 2: "deleted", 5: "evicted"}
"""Names of the reasons of a flow-removed message (OpenFlow 1.4.0, section 7.4.2); others have one name together."""

REMOVED_OTHERWISE: Final = "removed-otherwise"

Cell = list[int]
"""One count, as the only element: who counts often keeps the cell instead of its name."""

Named = tuple[str, int]
"""A count's name and its vport."""


class Tally:
    """Counts by vport and name, vport 0 for none; counts only rise.

    begun are connections, offloads cached entries sent to a switch, host-hits misses of known connections.
    """

    def __init__(self) -> None:
        self._cells: defaultdict[int, dict[str, Cell]] = defaultdict(dict)
        self._joint: dict[tuple[Named, ...], Cell] = {}
        self._gone: defaultdict[int, Counter[str]] = defaultdict(Counter)

    def cell(self, name: str, vport: int = 0) -> Cell:
        """Return the cell of a count, which whoever has it may raise."""
        return self._cells[vport].setdefault(name, [0])

    def joint(self, *counts: Named) -> Cell:
        """Return a cell for all of several counts, which rise together; one named twice rises by two."""
        return self._joint.setdefault(counts, [0])

    def count(self, name: str, vport: int = 0, times: int = 1) -> None:
        """Count an event, of a vport where one is known."""
        cells = self._cells[vport]
        if name in cells:
            cells[name][0] += times
        else:
            cells[name] = [times]

    def installed(self, entries: Iterable[object]) -> None:
        """Count the cached ones among entries that a switch has confirmed."""
        for entry in entries:
            if isinstance(entry, CachedEntry):
                self.count("offloads", entry.vport)

    @property
    def total(self) -> Counter[str]:
        """The counts by name, of all vports that there are and were, and of none."""
        total: Counter[str] = Counter()
        for counts in (*self.by_vport().values(), *self._gone.values()):
            total.update(counts)
        return total

    def by_vport(self) -> dict[int, dict[str, int]]:
        """Return the counts by vport and name; those of vport 0 are of no vport."""
        self._part_joint()
        found = {
            vport: {name: cell[0] for name, cell in cells.items() if cell[0]} for vport, cells in self._cells.items()
        }
        return {vport: counts for vport, counts in found.items() if counts}

    def of_vport(self, vport: int) -> dict[str, int]:
        """Return one vport's counts by name."""
        return self.by_vport().get(vport, {})

    def of_gone(self, dpid: int) -> Counter[str]:
        """Return the counts of vports that a datapath once had."""
        return Counter(self._gone.get(dpid, {}))

    def close(self, vport: int, dpid: int) -> None:
        """Let a vport's number start again from nothing; what it had counts on as gone from the datapath."""
        self._gone[dpid].update(self.of_vport(vport))
        # Emptied and not dropped: somebody may keep the cells.
        for cell in self._cells[vport].values():
            cell[0] = 0

    def _part_joint(self) -> None:
        """Put what joint cells have counted where it belongs."""
        for counts, joint in self._joint.items():
            if joint[0]:
                for name, vport in counts:
                    self.cell(name, vport)[0] += joint[0]
                joint[0] = 0
