"""What is remembered of datagrams in pieces."""

from __future__ import annotations

import struct
from dataclasses import replace

from ryu_apps.control.effects import Emit
from ryu_apps.control.fragments import LIFETIME_S, Fragments
from ryu_apps.engine.policy import recompile
from ryu_apps.engine.ruling import Verdict
from ryu_apps.model.policy import Change
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import IDENTITY
from ryu_apps.pipeline.cookie import Punt
from tests.unit.control.test_core import frame, make_core, met
from tests.unit.policies import layer

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


def test_who_is_gone_is_forgotten() -> None:
    """M22: of a vport that was deleted no datagram is kept, and one that gets its number begins without any."""
    core = make_core(layer("fw", 1))
    datagram = [
        frame("vm1", "vm2", 17, struct.pack("!HHHH", 9, 9, 2000, 0) + b"x" * 64, ip_id=7, fragment=0x2000),
        frame("vm1", "vm2", 17, b"y" * 64, ip_id=7, fragment=9),
    ]
    for number, piece in enumerate(datagram):
        effects = core.packet_in(met(piece, punt=Punt.FRAGMENT), float(number))
        assert [effect.frame for effect in effects if isinstance(effect, Emit)] == [piece]

    heir = replace(core.policy.snapshot.vports["vm1"], id="heir")
    changes = [Change(kind="vports", key="vm1", value=None), Change(kind="vports", key="heir", value=heir)]
    core.policy = recompile(core.policy, core.policy.snapshot.changed(changes), changes)

    assert [e for e in core.packet_in(met(datagram[1], punt=Punt.FRAGMENT), 2.0) if isinstance(e, Emit)] == []
    assert len(core._fragments._by_vport[heir.number]) == 1
    gone = [Change(kind="vports", key="heir", value=None)]
    core.policy = recompile(core.policy, core.policy.snapshot.changed(gone), gone)
    assert core._fragments._by_vport == {}
