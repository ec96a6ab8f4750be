"""The store as the running controller sees it: a change is durable when the call returns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.store.database import open_store
from ryu_apps.store.rows import rows_for


class StoreKeeper:
    """Holds the open store and what it held at the start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._store, self.restored = open_store(path)

    def keep(self, changes: Sequence[Change], before: Snapshot) -> None:
        """Return when the changes to a snapshot are on disk; a StoreError leaves the store as it was."""
        self._store.append(rows_for(changes, before))

    def close(self) -> None:
        """Release the file."""
        self._store.close()
