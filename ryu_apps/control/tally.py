"""Counters of the core: what came in, what became of it, and what was refused why."""

from __future__ import annotations

from collections import Counter

Cell = list[int]
"""One count, as the only element: who counts often keeps the cell instead of its name."""


class Tally:
    """Counts by vport and name, vport 0 for none; counts only rise."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, str], Cell] = {}

    def cell(self, name: str, vport: int = 0) -> Cell:
        """Return the cell of a count, which whoever has it may raise."""
        return self._cells.setdefault((vport, name), [0])

    def count(self, name: str, vport: int = 0) -> None:
        """Count one event, of a vport where one is known."""
        self.cell(name, vport)[0] += 1

    @property
    def total(self) -> Counter[str]:
        """The counts by name, over all vports."""
        total: Counter[str] = Counter()
        for (_, name), cell in self._cells.items():
            total[name] += cell[0]
        return total

    def of_vport(self, vport: int) -> dict[str, int]:
        """Return one vport's counts by name."""
        return {name: cell[0] for (number, name), cell in self._cells.items() if number == vport and cell[0]}
