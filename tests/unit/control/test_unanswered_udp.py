"""UDP that nobody has answered yet: its entries go sooner, and an answer makes them last, without another packet-in."""

from __future__ import annotations

import pytest

from ryu_apps.control.adoption import Found, adopt_flows
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import CountEntry, Release
from ryu_apps.control.events import EntryCounted
from ryu_apps.control.expiry import IDLE_TIMEOUT
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.action import Allow
from ryu_apps.pipeline.cached import IDLE_TIMEOUTS_S, UNANSWERED_UDP_IDLE_TIMEOUT_S, CachedEntry
from ryu_apps.pipeline.cookie import is_reply
from tests.unit.control.test_core import installed, met, removal
from tests.unit.frames import frame_of
from tests.unit.policies import OUT, group, layer, rule, snapshot, tcp

LONG_S, SHORT_S = IDLE_TIMEOUTS_S[17], UNANSWERED_UDP_IDLE_TIMEOUT_S


def begun(idle_timeout_s: int | None = None) -> tuple[ControlCore, list[CachedEntry]]:
    """Return a core with one question of vm1 to vm2, and its entries."""
    rules = group("fw", "all", OUT, rule("udp", Allow(), 1, idle_timeout_s, ip_proto="udp"))
    core = ControlCore(compile_policy(snapshot(layer("fw", 1, stateful=True), rules)), half_open_per_vport=1)
    core.datapaths = {1: {}, 2: {}}
    made = installed(core.packet_in(met(question(1)), 0.0))
    return core, made + installed(core.release(1.0))


def question(sport: int) -> bytes:
    """Return a datagram of vm1 to vm2."""
    return frame_of(tcp(sport=sport, dport=53, ip_proto="udp"))


def timeouts(entries: list[CachedEntry]) -> tuple[set[int], set[int]]:
    """Return the idle times of the entries for questions, and of those for answers."""
    asking = {made.idle_timeout_s for made in entries if not is_reply(made.cookie)}
    return asking, {made.idle_timeout_s for made in entries if is_reply(made.cookie)}


def asked(core: ControlCore, entries: list[CachedEntry], now_s: float) -> CountEntry:
    """Return what is asked of a switch when all entries of the questions have run idle: one count, that of answers."""
    gone = [made for made in entries if not is_reply(made.cookie)]
    (effect,) = [each for made in gone for each in core.ageing.flow_removed(removal(made, IDLE_TIMEOUT), now_s)]
    assert isinstance(effect, CountEntry) and is_reply(effect.cookie)
    return effect


def test_a_question_has_a_short_timeout_and_is_no_half_open_connection() -> None:
    """M21: entries of questions live for the short time, and no quota of TCP connections counts them."""
    core, entries = begun()
    assert timeouts(entries) == ({SHORT_S}, {LONG_S}) and len(entries) == 4
    assert not core.life.full(101)
    for sport in range(2, 5):
        again = installed(core.packet_in(met(question(sport)), 2.0)) + installed(core.release(3.0))
        assert timeouts(again) == ({SHORT_S}, {LONG_S}), "the fast path's are the same"
    assert not core.life.full(101)


@pytest.mark.parametrize("rule_s", [20, 45])
def test_a_rules_own_timeout_stands_before_the_short_one(rule_s: int) -> None:
    """M10: what a rule says of the sender's datagrams is what their entry there has, whether more or less."""
    _, entries = begun(rule_s)
    (asking,) = [made for made in entries if made.vport == 101 and not is_reply(made.cookie)]
    assert asking.idle_timeout_s == rule_s


def test_an_unanswered_question_ends_with_the_short_timeout() -> None:
    """M09: no answer counted, so the connection is gone with all its entries."""
    core, entries = begun()
    effects = core.ageing.entry_counted(EntryCounted(asked(core, entries, 30.0).cookie, 0), 30.0)
    assert {each.entry.cookie for each in effects if isinstance(each, Release)} == {made.cookie for made in entries}
    assert len(core.flows) == 0


def test_an_answered_one_lasts_and_its_answers_entries_are_left_alone() -> None:
    """M10: the entries of the questions come back with the long time; those of the answers have it from the start."""
    core, entries = begun()
    effects = core.ageing.entry_counted(EntryCounted(asked(core, entries, 30.0).cookie, 1), 30.0)
    assert timeouts(installed(effects)) == ({LONG_S}, set())
    assert len(effects) == 2
    (flow,) = core.flows
    assert timeouts(list(flow.entries())) == ({LONG_S}, {LONG_S})
    # Nothing of its answers since: it ends by their time.
    answers = next(made for made in entries if is_reply(made.cookie))
    (effect,) = core.ageing.flow_removed(removal(answers, IDLE_TIMEOUT), 61.0)
    assert isinstance(effect, CountEntry) and not is_reply(effect.cookie)
    core.ageing.entry_counted(EntryCounted(effect.cookie, 0), 61.0)
    assert len(core.flows) == 0


def test_a_stream_that_nobody_answers_goes_on() -> None:
    """M10: where the answers' entries run idle and questions are counted, all entries are renewed as they were."""
    core, entries = begun()
    answers = next(made for made in entries if is_reply(made.cookie))
    (effect,) = core.ageing.flow_removed(removal(answers, IDLE_TIMEOUT), 60.0)
    assert isinstance(effect, CountEntry)
    again = installed(core.ageing.entry_counted(EntryCounted(effect.cookie, 500), 60.0))
    assert timeouts(again) == ({SHORT_S}, {LONG_S})


def test_a_restart_takes_it_over_as_it_is() -> None:
    """M26: entries with the short timeout are wanted as they are, and take no place of a TCP connection."""
    _, entries = begun()
    core = ControlCore(begun()[0].policy, half_open_per_vport=1)
    core.datapaths = {1: {}, 2: {}}
    found = [Found(e.cookie, e.segment, e.vport, e.direction, e.key, e.idle_timeout_s) for e in entries]
    assert adopt_flows(core, found, 0.0) == 1
    (flow,) = core.flows
    assert set(flow.entries()) == set(entries) and not core.life.full(101)
