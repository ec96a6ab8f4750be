"""Memory that is held before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ryu_apps.southbound.reserve import FLOW_BYTES, READY_FLOWS, ready_flows

# The pages that a process touches first while it takes memory for small and larger objects, or for rows.
_OBJECTS = """
from ryu_apps.southbound.reserve import reserve
held = reserve(int(sys.argv[1]))
before = faults()
small = [bytes(50 + number % 100) for number in range(80_000)]
large = [b"x" * (20_000 + number) for number in range(500)]
"""
_ROWS = """
from ryu_apps.control.key_rows import ENDS_BYTES, KeyRows, RowShape
rows, shape = KeyRows(int(sys.argv[1])), RowShape(bytes(44), bytes(8))
rows.put_ends(0, shape, bytes(ENDS_BYTES))
before = faults()
for slot in range(20_000):
    rows.put_ends(slot, shape, bytes(ENDS_BYTES))
"""
_PROGRAM = """
import resource, sys
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
{}
print(faults() - before)
"""


def first_touches(what: str, flows: int) -> int:
    """Return how many pages a new process touches for the first time, with memory held for so many flows."""
    program = _PROGRAM.format(what)
    run = subprocess.run(
        [sys.executable, "-c", program, str(flows)], check=True, capture_output=True, text=True, timeout=60
    )
    return int(run.stdout)


@pytest.mark.parametrize(("what", "flows"), [(_OBJECTS, 200_000), (_ROWS, 20_000)], ids=["objects", "rows"])
def test_flows_take_reserved_memory(what: str, flows: int) -> None:
    """What is made after memory was held for it touches next to no page for the first time."""
    without = first_touches(what, 0)
    assert without > 300
    assert first_touches(what, flows) < without / 20


def test_a_small_machine_holds_less() -> None:
    """A process takes a 64th of what it may use at most, unasked, and none takes more than is of use."""
    assert ready_flows(1 << 30) == (1 << 24) // FLOW_BYTES
    assert ready_flows(1 << 50) == READY_FLOWS
