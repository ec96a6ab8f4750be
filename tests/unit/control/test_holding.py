"""At set-up a flow's first packets go through the controller in their order, and its entry follows when they pause."""

from __future__ import annotations

import struct

import pytest

from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import Effect, Emit, Install
from ryu_apps.control.holding import MOST_S, PAUSE_S, SINGLE_S
from ryu_apps.model.action import Deny, Rewrite
from ryu_apps.model.transposition import transposition
from ryu_apps.pipeline.entry import SetField
from tests.unit.control.test_core import frame, installed, make_core, met, tcp_frame
from tests.unit.policies import OUT, group, layer, rule


def udp_frame(sport: int = 4000, target: str = "vm2") -> bytes:
    """Return a UDP packet of vm1."""
    return frame("vm1", target, 17, struct.pack("!HHHH", sport, 53, 8, 0))


def tcp_data(flags: int) -> bytes:
    """Return a TCP segment of vm1 with these flags."""
    sent = bytearray(tcp_frame())
    sent[47] = flags
    return bytes(sent)


def outbound(core: ControlCore, effects: list[Effect]) -> list[Install]:
    """Return the installing of entries for what vm1 sends."""
    return [e for e in effects if isinstance(e, Install) and (e.entry.vport, e.entry.direction) == (101, OUT)]


def test_the_first_entry_waits_for_a_pause() -> None:
    """M20: all other entries come with the first packet, that of the way it came when the flow has paused."""
    core = make_core()
    effects = core.packet_in(met(udp_frame()), 0.0)
    assert len(installed(effects)) == 3 and not outbound(core, effects)
    assert isinstance(effects[-1], Emit) and effects[-1].table == "deliver"
    second = core.packet_in(met(udp_frame()), 0.001)
    assert [type(effect) for effect in second] == [Emit]
    assert core.release(0.001 + PAUSE_S / 2) == []
    (held,) = core.release(0.0011 + PAUSE_S)
    assert outbound(core, [held]) == [held]
    assert not core.holding and core.release(9.0) == []


@pytest.mark.parametrize(("gap_s", "held_s"), [(SINGLE_S / 2, MOST_S + PAUSE_S), (SINGLE_S * 2, MOST_S)])
def test_a_flow_that_does_not_pause_gets_its_entry_all_the_same(gap_s: float, held_s: float) -> None:
    """M01, M20: the controller is asked for a bounded time; where packets come singly, the entry follows one."""
    core = make_core()
    for count in range(1000):
        now_s = count * gap_s
        effects = core.packet_in(met(udp_frame()), now_s)
        released = core.release(now_s)
        if outbound(core, effects) or released:
            break
    assert now_s == pytest.approx(held_s, abs=gap_s)
    assert bool(released) is (gap_s < SINGLE_S)
    assert released or [type(effect) for effect in effects] == [Emit, Install]
    assert not core.holding


def test_a_syn_travels_alone() -> None:
    """M01: nothing follows a TCP SYN before it is answered, so its entry comes at once; other segments may be many."""
    core = make_core()
    assert outbound(core, core.packet_in(met(tcp_data(0x02)), 0.0))
    for flags in (0x10, 0x12, 0x11):
        core = make_core()
        assert not outbound(core, core.packet_in(met(tcp_data(flags)), 0.0))


def test_a_refusal_comes_at_once() -> None:
    """M18: a flood of refused packets is the switch's from the first on."""
    core = make_core(layer("fw", 1), group("fw", "out", OUT, rule("no", Deny())))
    assert outbound(core, core.packet_in(met(udp_frame()), 0.0))
    core = make_core(layer("fw", 1, into=False))
    assert outbound(core, core.packet_in(met(udp_frame()), 0.0))


def test_a_held_packet_is_edited_by_the_switch() -> None:
    """M07: what goes on behind the cache has the edit of the entry that is not there yet."""
    edit = transposition({"ip_dscp": 46, "l4_src": 99})
    core = make_core(layer("mark", 1), group("mark", "out", OUT, rule("m", Rewrite(edit=edit))))
    effect = core.packet_in(met(udp_frame()), 0.0)[-1]
    assert isinstance(effect, Emit) and effect.frame == udp_frame()
    assert set(effect.actions) == {SetField("ip_dscp", 46), SetField("udp_src", 99)}


def test_what_is_held_back_goes_with_its_flow() -> None:
    """M09: a flow that ends meanwhile leaves no entry behind."""
    core = make_core()
    core.packet_in(met(udp_frame()), 0.0)
    (flow,) = core.flows
    core.ageing.remove(flow)
    assert core.release(1.0) == []


def test_flows_are_held_back_each_by_itself() -> None:
    """A flow that pauses gets its entry while another still sends."""
    core = make_core()
    core.packet_in(met(udp_frame(1)), 0.0)
    core.packet_in(met(udp_frame(2)), PAUSE_S)
    (released,) = core.release(PAUSE_S)
    assert isinstance(released, Install) and released.entry.key.bits >> 16 & 0xFFFF == 1
