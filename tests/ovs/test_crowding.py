"""More TCP connection attempts at once than a VM may have half open: they begin as the others are answered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mininet_scripts.support.waiting import wait_until
from ryu_apps.pipeline.cached import HALF_OPEN_IDLE_TIMEOUT_S
from tests.ovs.scenario import Lab
from tests.ovs.site import Site
from tests.ovs.stations import VM1, VM2, rule, tcp

SYN, ACK = 2, 16
QUOTA, MORE = 40, 8
# An attempt waits for half a second; a machine that is busy elsewhere may take longer to bring the answers.
TRIES = 5


@pytest.fixture
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return a lab whose VMs may have few half-open connections."""
    own = Site(tmp_path_factory.mktemp("site"), env={"VFSWITCH_HALF_OPEN_LIMIT": str(QUOTA)})
    try:
        own.start()
        yield Lab(own)
    finally:
        own.stop()
        print(f"--- {own.controller.log_path}\n{own.controller.log()}")


def test_attempts_beyond_the_quota_begin_when_others_are_answered(narrow: Lab) -> None:
    """M21: a SYN that finds its VM's quota full is sent on, once, when an answer has been counted, not dropped."""
    lab = narrow
    lab.tenant(VM1, VM2)
    lab.layer("firewall", stateful=True)
    lab.group("web", "inbound", rule("web", {"ip_proto": "tcp"}))
    for number in range(TRIES):
        first = 10_000 + 1_000 * number
        answered, more = range(first, first + QUOTA), range(first + QUOTA, first + QUOTA + MORE)
        before = refused(lab)
        sent = len(lab.sent(VM2))
        lab.send(VM1, *(tcp(VM1, VM2, port) for port in answered))
        lab.wait_sent(VM2, sent + QUOTA)
        lab.send(VM1, *(tcp(VM1, VM2, port) for port in more))
        lab.send(VM2, *(tcp(VM2, VM1, 80, port, flags=SYN | ACK) for port in answered))

        def told(sent: int = sent, before: int = before) -> int:
            return len(lab.sent(VM2)) - sent + refused(lab) - before

        wait_until(told, 10, "every attempt to be sent on or refused", until=lambda count: count >= QUOTA + MORE)
        if refused(lab) == before:
            assert lab.sent(VM2)[sent + QUOTA :] == [tcp(VM1, VM2, port) for port in more]
            return
        lab.warp(HALF_OPEN_IDLE_TIMEOUT_S + 2)
        lab.wait_cached(0)
        wait_until(lambda: lab.get("stats")["flows"], 10, "all to be forgotten", until=lambda left: not left)
    pytest.fail(f"attempts were refused each of {TRIES} times")


def refused(lab: Lab) -> int:
    """Return how many attempts of VM1 were refused for the half-open limit."""
    counts = lab.get("stats")["vports"][VM1.name]
    return int(counts.get("half-open-limit", 0)) + int(counts["refused"].get("half-open-limit", 0))
