"""Counters of the core: what came in, what became of it, and what was refused why."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Counts by name, and by vport and name; counts only rise."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self.by_vport: Counter[tuple[int, str]] = Counter()

    def count(self, name: str, vport: int = 0) -> None:
        """Count one event, of a vport where one is known."""
        self.total[name] += 1
        if vport:
            self.by_vport[vport, name] += 1

    def of_vport(self, vport: int) -> dict[str, int]:
        """Return one vport's counts by name."""
        return {name: count for (number, name), count in self.by_vport.items() if number == vport}
