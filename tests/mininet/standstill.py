"""When the machine stood still: what a test of timing cannot hold against the program."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mininet_scripts.support import hosts
from mininet_scripts.support.waiting import wait_until

# The time between two packets of a flow at 1,000 packets/s, and a quarter of the pause that ends a burst.
LATE_NS: Final = 1_000_000


@dataclass(frozen=True)
class Witness:
    """What a process on each processor has noted, one file each."""

    notes: tuple[Path, ...]

    def stood_still_s(self, begin_ns: int, end_ns: int) -> float:
        """Return for how long in a stretch of time (monotonic clock) processors stood still, all taken together."""
        # The last line may still be being written.
        lines = [line.split() for notes in self.notes for line in notes.read_text().split("\n")[1:-1]]
        spans = [(max(int(since), begin_ns), min(int(until), end_ns)) for since, until in lines]
        return sum(until - since for since, until in spans if until > since) / 1e9


@contextmanager
def witness() -> Iterator[Witness]:
    """Yield a witness that watches every processor while the block runs."""
    with tempfile.TemporaryDirectory(prefix="vfs-witness-") as folder, ExitStack() as stack:
        notes = tuple(Path(folder) / str(cpu) for cpu in sorted(os.sched_getaffinity(0)))
        for path in notes:
            command = (*hosts.script("standstill.py"), path.name, str(LATE_NS))
            stack.enter_context(hosts.background(None, *command, output=path))
        wait_until(lambda: all("watching" in path.read_text() for path in notes), 10, "the witnesses to watch")
        yield Witness(notes)
