"""What is left alone when a switch is compared with what it must have."""

from __future__ import annotations

import pytest

from ryu_apps.control.events import PresentEntry
from ryu_apps.model.flow_key import Family, FlowKey
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import IDENTITY
from ryu_apps.pipeline.cached import CACHED_PRIORITY, FIN_HARD_TIMEOUT_S, FIN_IDLE_TIMEOUT_S, CachedEntry
from ryu_apps.pipeline.cookie import Cookie, EntryClass
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound.reconcile import Comparison, compare
from ryu_apps.southbound.reported import wire

KEY = FlowKey(Family.IPV4, 0x0800 << 112 | 6 << 104 | 5 << 64 | 80)
WANTED = CachedEntry(
    Cookie(EntryClass.FORWARD, 3, 1, 7).pack(), Direction.OUTBOUND, 1, 1, KEY, False, True, IDENTITY, 300, 0,
    ends_by_fin=True,
)  # fmt: skip


def compared(idle_timeout_s: int, hard_timeout_s: int, flow_id: int = 7) -> Comparison:
    """Return the comparison of one wanted entry with the same one as a switch has it."""
    match, instructions = wire(WANTED)
    cookie = Cookie(EntryClass.FORWARD, 2, 1, flow_id).pack()
    table = NUMBER["outbound"]
    present = PresentEntry(table, CACHED_PRIORITY, cookie, match, instructions, idle_timeout_s, hard_timeout_s, 9, 540)
    return compare(1, [present], [WANTED])


@pytest.mark.parametrize("timeouts", [(300, 0), (FIN_IDLE_TIMEOUT_S, FIN_HARD_TIMEOUT_S)])
def test_an_entry_that_a_fin_has_passed_may_go(timeouts: tuple[int, int]) -> None:
    """M19 M26: after a restart an entry that goes by itself because of its FIN is not given its long life back."""
    found = compared(*timeouts)
    assert (found.kept, found.changes) == (1, ())


@pytest.mark.parametrize("other", [(10, 0, 7), (FIN_IDLE_TIMEOUT_S, FIN_HARD_TIMEOUT_S, 8)])
def test_an_entry_of_another_use_is_made_anew(other: tuple[int, int, int]) -> None:
    """M26: an entry with other timeouts, or of another connection, is replaced."""
    found = compared(*other)
    assert found.kept == 0
    assert [made for change in found.changes for made in change.added] == [WANTED]
