"""What is remembered of datagrams in pieces."""

from __future__ import annotations

from ryu_apps.control.fragments import LIFETIME_S, Fragments
from ryu_apps.engine.ruling import Verdict
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import IDENTITY

DATAGRAM = (1, 7, Direction.INBOUND, 5)
ALLOWED = Verdict(rulings=(), allow=True, edit=IDENTITY, idle_timeout_s=None, translates=False)


def test_a_datagram_is_the_vports_that_saw_it_last() -> None:
    """RFC 6864: an identification that comes again after a while is another datagram, maybe of another vport."""
    fragments = Fragments()
    fragments.first(101, DATAGRAM, ALLOWED, 0.0)
    assert fragments.vport_of(DATAGRAM, 1.0) == 101

    fragments.first(102, DATAGRAM, ALLOWED, 2.0)

    assert fragments.vport_of(DATAGRAM, 3.0) == 102
    assert fragments.vport_of(DATAGRAM, 3.0 + LIFETIME_S) is None
