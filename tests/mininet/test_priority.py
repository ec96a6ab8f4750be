"""Priority where room is short: greedy senders at a limited uplink, and toward a VM with a limited bandwidth."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple

import pytest

from mininet_scripts.support import traffic
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of
from tests.mininet.lab import Lab
from topologies.single_host import SingleHost

TOPOLOGY = SingleHost

OPEN = layer(stateful=False, outbound="allow", inbound="allow")
RATE_KBPS = 5_000
PAYLOAD_BYTES = 1200
FRAME_BITS = (14 + 20 + 8 + PAYLOAD_BYTES) * 8
# Packets per second that fill the rate, three times of which a busy machine still sends. The senders are out of step.
FULL_PPS = RATE_KBPS * 1000 / FRAME_BITS
LOW_PPS, HIGH_PPS = 3 * FULL_PPS, 2.9 * FULL_PPS
# The switch's counts are read five times a second, and what a priority uses is held for two readings.
SETTLED_S = 1.5
LOW_PORT, HIGH_PORT = 5000, 5001


class Sender(NamedTuple):
    """A VM that sends to a port at a steady rate for a while."""

    vm: str
    port: int
    pps: float
    lasts_s: float


def limit_uplink(lab: Lab) -> None:
    """Limit the uplink of the one host."""
    host = lab.client.get("/v1/hosts/h1")
    limits = {"uplink_kbps": RATE_KBPS}
    lab.client.put("/v1/hosts/h1", {"dpid": host["dpid"], "uplink": host["uplink"], "limits": limits})


@pytest.fixture
def limited(lab: Lab) -> Iterator[Lab]:
    """Yield the network with a limited uplink, which is without limit again afterwards."""
    limit_uplink(lab)
    yield lab
    host = lab.client.get("/v1/hosts/h1")
    lab.client.put("/v1/hosts/h1", {"dpid": host["dpid"], "uplink": host["uplink"]})


def _sending(lab: Lab, target: str, sender: Sender) -> AbstractContextManager[subprocess.Popen[bytes]]:
    vm, port, pps, lasts_s = sender
    return traffic.udp_sender(
        lab.host(vm), address_of(target).ipv4, port,
        count=int(pps * lasts_s), rate_pps=pps, payload_bytes=PAYLOAD_BYTES,
    )  # fmt: skip


@contextmanager
def sending(lab: Lab, target: str, *senders: Sender) -> Iterator[list[traffic.Arrivals]]:
    """Yield what has arrived of each sender when all have sent everything."""
    with ExitStack() as stack:
        arrivals = [stack.enter_context(traffic.udp_receiver(lab.host(target), each.port)) for each in senders]
        running = [stack.enter_context(_sending(lab, target, each)) for each in senders]
        for process in running:
            process.wait(40)
        yield arrivals


def kbps(arrivals: traffic.Arrivals, begin_s: float, end_s: float) -> float:
    """Return the rate of what arrived in a time, in kbit/s of whole frames."""
    count = sum(begin_s <= arrival.at_ns / 1e9 < end_s for arrival in arrivals.seen())
    return count * FRAME_BITS / (end_s - begin_s) / 1000


def span_s(arrivals: traffic.Arrivals) -> tuple[float, float]:
    """Return when the first and the last packet arrived."""
    seen = arrivals.seen()
    return seen[0].at_ns / 1e9, seen[-1].at_ns / 1e9


def test_the_higher_priority_wins_the_uplink(limited: Lab) -> None:
    """S13: of two greedy VMs the one of higher priority has the uplink; when it stops, the other has all of it."""
    limited.tenant("red", "vm1")
    limited.tenant("red", "vm2", priority=5)
    assert limited.reaches("vm1", "ext") and limited.reaches("vm2", "ext")
    senders = Sender("vm1", LOW_PORT, LOW_PPS, 7.0), Sender("vm2", HIGH_PORT, HIGH_PPS, 3.5)
    with sending(limited, "ext", *senders) as (low, high):
        begun_s, stopped_s = span_s(high)
        contended = begun_s + SETTLED_S, stopped_s
        assert kbps(high, *contended) == pytest.approx(RATE_KBPS, rel=0.1)
        assert kbps(low, *contended) < 0.1 * RATE_KBPS
        assert kbps(low, stopped_s + SETTLED_S, span_s(low)[1]) == pytest.approx(RATE_KBPS, rel=0.1)


def test_what_the_higher_priority_leaves_goes_to_the_lower(lab: Lab) -> None:
    """S13: toward a VM of limited bandwidth a rule's priority gets all that it sends, the lower one the rest."""
    lab.tenant("red", "vm1", "vm2")
    lab.tenant("red", "vm3", bandwidth={"inbound_kbps": RATE_KBPS})
    first = rule("voice", {"type": "priority", "priority": 7}, ip_proto="udp", l4_dst=str(HIGH_PORT))
    lab.layer("classes", OPEN, g=group("outbound", first))
    assert lab.reaches("vm1", "vm3") and lab.reaches("vm2", "vm3")
    senders = Sender("vm1", LOW_PORT, LOW_PPS, 4.0), Sender("vm2", HIGH_PORT, FULL_PPS / 2, 4.0)
    with sending(lab, "vm3", *senders) as (low, high):
        window = span_s(high)[0] + SETTLED_S, min(span_s(low)[1], span_s(high)[1])
        # None of what is sent within the bandwidth is lost; the first packets may be behind one another's entries.
        assert len(high.seen()) > 0.99 * int(senders[1].pps * senders[1].lasts_s)
        assert kbps(low, *window) + kbps(high, *window) == pytest.approx(RATE_KBPS, rel=0.1)
        (shared,) = lab.client.get("/v1/stats")["hosts"]["h1"]["shared"]
    assert (shared["at"], shared["vport"], shared["rate_kbps"]) == ("inbound", "vm3", RATE_KBPS)
    assert [each["priority"] for each in shared["priorities"]] == [7, 0]
