"""Connections that skip network functions do so both ways."""

from __future__ import annotations

import pytest

from ryu_apps.engine.connection import connect
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.action import Deny, SkipChain
from ryu_apps.model.checks import check
from ryu_apps.model.packet import build_key
from ryu_apps.model.policy import Snapshot
from ryu_apps.model.rules import Direction
from ryu_apps.model.treatment import PastFunctions, Treatment
from tests.unit import policies

ENDS = {"eth_src": "02:00:00:00:00:01", "eth_dst": "02:00:00:00:00:02", "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2",
        "ip_proto": "tcp", "l4_src": "4000"}  # fmt: skip
PAST = Treatment(exit=PastFunctions())


@pytest.mark.parametrize("stateful", [True, False])
@pytest.mark.parametrize(("port", "past"), [("80", PAST), ("81", None)])
def test_replies_skip_functions_with_their_connection(stateful: bool, port: str, past: Treatment | None) -> None:
    """H14: the sender's leg of a skipping connection and that of its replies have the exit, and inbound legs none."""
    skips = policies.group("fw", "g", Direction.OUTBOUND, policies.rule("r", SkipChain(), ip_proto="tcp", l4_dst="80"))
    changes = [*policies.network(), policies.layer("fw", 1, stateful=stateful), skips]
    policy = compile_policy(check(Snapshot(), changes))
    sender = policy.snapshot.vports["vm1"]
    key = build_key({**ENDS, "l4_dst": port}, "packet")
    plan = connect(policy, sender.segments[0], sender, Direction.OUTBOUND, key)
    seen = [(leg.direction, leg.verdict.treatment) for leg in (*plan.forward, *plan.reply)]
    out, into = (Direction.OUTBOUND, past), (Direction.INBOUND, None)
    assert seen == [out, into, out, into]


def test_a_reply_that_is_denied_goes_nowhere() -> None:
    """H14: skipping functions lets nothing pass that the receiver's rules deny on the way back."""
    rules = [
        policies.group("fw", "g", Direction.OUTBOUND, policies.rule("r", SkipChain(), ip_proto="tcp", l4_dst="80")),
        policies.group("fw", "d", Direction.OUTBOUND, policies.rule("no", Deny(), ip_proto="tcp", l4_src="80")),
    ]
    policy = compile_policy(check(Snapshot(), [*policies.network(), policies.layer("fw", 1, stateful=False), *rules]))
    sender = policy.snapshot.vports["vm1"]
    key = build_key({**ENDS, "l4_dst": "80"}, "packet")
    plan = connect(policy, sender.segments[0], sender, Direction.OUTBOUND, key)
    assert [leg.verdict.allow for leg in plan.reply] == [False]
    assert plan.reply[0].verdict.treatment is None
