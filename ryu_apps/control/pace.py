"""How fast a counter has risen lately."""

from __future__ import annotations


class Pace:
    """Keeps two samples of a counter, so that the window is never shorter than the time between them."""

    def __init__(self) -> None:
        self._older: tuple[float, int] | None = None
        self._newer: tuple[float, int] | None = None

    def sample(self, now_s: float, total: int) -> None:
        """Take note of the counter; called at even times."""
        self._older, self._newer = self._newer, (now_s, total)

    def per_s(self, now_s: float, total: int) -> float | None:
        """Return the rise per second since the older sample, None while there are not two."""
        if self._older is None or now_s <= self._older[0]:
            return None
        return (total - self._older[1]) / (now_s - self._older[0])
