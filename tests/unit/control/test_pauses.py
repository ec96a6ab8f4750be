"""A large change is planned with pauses for misses, and loses none of the connections that begin in them."""

from __future__ import annotations

from ryu_apps.control.change import plan_change
from ryu_apps.model.action import Allow, Deny
from ryu_apps.model.policy import Change
from ryu_apps.model.turns import AT_ONCE
from tests.unit.control.test_change import make_core, meet
from tests.unit.policies import OUT, group, layer, rule, snapshot, tcp

RULES = 5 * AT_ONCE


def _large(name: str, proto: str, action: Allow | Deny) -> Change:
    rules = (rule(f"r{n}", action, ip_proto=proto, l4_dst=str(n + 1)) for n in range(RULES))
    return group("a", name, OUT, *rules)


def test_a_connection_that_begins_while_a_change_is_planned_is_found_by_it() -> None:
    """M15: whichever pause a connection begins in, the change touches it, and the plan before it is not what counts."""
    core = make_core(snapshot(layer("a", 1), _large("g", "tcp", Allow()), _large("other", "udp", Allow())))
    pauses = 0

    def begin() -> None:
        nonlocal pauses
        pauses += 1
        meet(core, "vm1", OUT, tcp(sport=1000 + pauses, dport=80))

    changes = [_large("g", "tcp", Deny()), _large("other", "udp", Deny())]
    plan = plan_change(core, core.policy.snapshot.changed(changes), changes, begin)
    assert pauses >= 4 * RULES // AT_ONCE
    assert len(plan.touched) == len(core.flows) == pauses
