"""A step that shows what a chain costs against direct delivery, between the same two VMs of one host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from mininet_scripts.demo.stage import Stage
from mininet_scripts.support import hosts, traffic
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of

PINGS = 50
ROUNDS = 2


def measured(stage: Stage) -> None:
    """Show round trip and TCP throughput through blue's chain of one hop, and past it by a rule, in turns."""
    stage.client.put("/v1/layers/cost", layer(outbound="allow", inbound="allow"))
    rtts_ms: dict[str, list[float]] = {"chain": [], "direct": []}
    bits_per_s: dict[str, list[float]] = {"chain": [], "direct": []}
    answered = True
    for kind in ("direct", "chain") * ROUNDS:
        with _direct(stage) if kind == "direct" else _through():
            pings = hosts.ping(stage.host("vm3"), address_of("vm4").ipv4, count=PINGS, interval_s=0.01)
            answered = answered and pings.all_answered
            # The first is decided by the controller.
            rtts_ms[kind] += pings.rtt_ms[1:]
            carried = traffic.iperf3(stage.host("vm3"), stage.host("vm4"), address_of("vm4").ipv4, duration_s=1)
            bits_per_s[kind].append(carried.bits_per_s)
    rtt = {kind: median(values) for kind, values in rtts_ms.items()}
    bps = {kind: median(values) for kind, values in bits_per_s.items()}
    stage.report.check(
        "Round trip through hairpin and one hop, against direct delivery",
        f"{rtt['chain']:.2f} ms against {rtt['direct']:.2f} ms, {rtt['chain'] / rtt['direct']:.1f} times",
        answered,
    )
    stage.report.check(
        "TCP through hairpin and one hop, against direct delivery",
        f"{bps['chain'] / 1e6:,.0f} Mb/s against {bps['direct'] / 1e6:,.0f} Mb/s, {bps['chain'] / bps['direct']:.2f}",
        bps["chain"] > 0,
    )


@contextmanager
def _direct(stage: Stage) -> Iterator[None]:
    """Have a rule take all of blue's packets past the chain while the block runs."""
    past = group("outbound", rule("past", {"type": "skip_chain"}), applies_to={"tenant": "blue"})
    stage.client.put("/v1/layers/cost/groups/past", past)
    yield
    stage.client.delete("/v1/layers/cost/groups/past")


@contextmanager
def _through() -> Iterator[None]:
    yield
