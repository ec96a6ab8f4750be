"""Keeping what else goes on in this process and on this machine out of what is measured, and telling what is left."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

# The kernel gives processes that starve beside real-time ones 50 ms of each second: these are to be such breaks.
_BREAK_S: Final = 0.25
_PRIORITY: Final = 10


@contextmanager
def undisturbed(pid: int | None) -> Iterator[None]:
    """Run this process and another ahead of all others, where that is permitted, and this one without its collector.

    Nothing may last as long as a second in it; others get their time behind it.
    """
    pids = [0] if pid is None else [0, pid]
    with without_collector():
        _schedule(pids, os.SCHED_FIFO, _PRIORITY)
        try:
            yield
        finally:
            _schedule(pids, os.SCHED_OTHER, 0)
    time.sleep(_BREAK_S)


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the garbage collector of this process out of what is measured."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _schedule(pids: list[int], policy: int, priority: int) -> None:
    if (os.cpu_count() or 1) < 2:
        return  # One would keep the other from its core.
    with suppress(PermissionError, ProcessLookupError):
        for pid in pids:
            os.sched_setscheduler(pid, policy, os.sched_param(priority))


def waited_ns(pid: int | None) -> int | None:
    """Return how long a process was ready to run and had no core; None when the kernel does not tell."""
    try:
        # Linux, Documentation/scheduler/sched-stats.rst: time on a core, time waiting for one, and how often.
        return None if pid is None else int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    except (OSError, IndexError):
        return None
