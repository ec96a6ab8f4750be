"""UDP in the switch: questions that nobody answers leave sooner than exchanges do."""

from __future__ import annotations

from mininet_scripts.support.waiting import wait_until
from ryu_apps.pipeline.cached import IDLE_TIMEOUTS_S, UNANSWERED_UDP_IDLE_TIMEOUT_S
from tests.ovs.scenario import Lab
from tests.ovs.stations import VM1, VM2, udp

SHORT_S, LONG_S = UNANSWERED_UDP_IDLE_TIMEOUT_S, IDLE_TIMEOUTS_S[17]


def ask(lab: Lab) -> None:
    """Let VM1 send one datagram to VM2, behind rules that let only answers back."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", stateful=True)
    lab.send(VM1, udp(VM1, VM2))
    lab.wait_sent(VM2, 1)
    entries = lab.wait_cached(4)
    assert sorted(entry.idle_timeout_s for entry in entries) == [SHORT_S, SHORT_S, LONG_S, LONG_S]


def test_an_unanswered_question_leaves_sooner(lab: Lab) -> None:
    """M09 M10: the short time after a question that nobody answered all its entries are gone, answers' as well."""
    ask(lab)
    lab.warp(SHORT_S - 5)
    assert len(lab.cached()) == 4
    lab.warp(8)
    lab.wait_cached(0)
    wait_until(lambda: lab.get("flows")["items"], 5, "the flow to be forgotten", until=lambda flows: not flows)
    assert lab.packet_ins() == 1


def test_an_answered_one_lasts_without_another_packet_in(lab: Lab) -> None:
    """M10: the switch is asked whether answers have passed; then questions have the long time as answers do."""
    ask(lab)
    lab.send(VM2, udp(VM2, VM1, 53, 40000))
    lab.wait_sent(VM1, 1)
    lab.warp(SHORT_S + 3)
    wait_until(
        lambda: [entry.idle_timeout_s for entry in lab.cached()], 10, "four lasting entries",
        until=lambda times: times == [LONG_S] * 4,
    )  # fmt: skip
    lab.send(VM1, udp(VM1, VM2))
    lab.wait_sent(VM2, 2)
    assert lab.packet_ins() == 1
