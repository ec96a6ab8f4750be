"""How much memory this process may use: the machine's, or less where a limit is set."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROCESS: Final = Path("/proc/self")
_CGROUPS: Final = Path("/sys/fs/cgroup")


def usable_bytes(process: Path = _PROCESS, cgroups: Path = _CGROUPS) -> int:
    """Return the least of the machine's memory, the process's own limit and those of its control groups.

    Control groups of version 2 are looked at, as containers and systemd's MemoryMax set them (Linux,
    Documentation/admin-guide/cgroup-v2.rst, memory.max).
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_group_limits(process, cgroups)]
    own, _ = resource.getrlimit(resource.RLIMIT_AS)
    if own != resource.RLIM_INFINITY:
        limits.append(own)
    return min(limits)


def _group_limits(process: Path, cgroups: Path) -> Iterator[int]:
    """Yield the limits of the control group that a process is in, and of those that this one is in."""
    try:
        lines = (process / "cgroup").read_text().splitlines()
    except OSError:
        return
    for name in (line[3:].strip("/") for line in lines if line.startswith("0::")):
        for group in (cgroups / name, *(cgroups / name).parents):
            if not group.is_relative_to(cgroups):
                break
            try:
                said = (group / "memory.max").read_text().strip()
            except OSError:
                continue
            if said.isdigit():
                yield int(said)
