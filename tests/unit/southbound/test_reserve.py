"""Memory that is held before it is needed."""

from __future__ import annotations

import subprocess
import sys

# The pages that a process touches first while it takes memory for small and larger objects.
_PROGRAM = """
import resource, sys
from ryu_apps.southbound.reserve import reserve
held = reserve(16 << 20, 16 << 20) if sys.argv[1] == "reserved" else []
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
small = [bytes(50 + number % 100) for number in range(80_000)]
large = [b"x" * (20_000 + number) for number in range(500)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def first_touches(how: str) -> int:
    """Return how many pages a new process touches for the first time, with or without a reserve."""
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, how], check=True, capture_output=True, text=True, timeout=60
    )
    return int(run.stdout)


def test_objects_take_reserved_memory() -> None:
    """What is made after a reserve was freed for it touches next to no page for the first time."""
    without = first_touches("none")
    assert without > 1000
    assert first_touches("reserved") < without / 20
