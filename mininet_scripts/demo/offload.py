"""Steps that show the switch at work alone: round trips, packet-ins, throughput."""

from __future__ import annotations

from contextlib import suppress
from itertools import accumulate
from statistics import median

from mininet_scripts.demo.policy import IPERF_PORT, UDP_PORT
from mininet_scripts.demo.stage import Stage
from mininet_scripts.support import hosts, traffic
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until

PINGS = 20
PACKETS = 10_000
RATE_PPS = 5_000
# The first packet, and those that follow before the switch has its entries: Open vSwitch's datapath may take
# 5 ms to see them. One in a hundred is 20 ms at this rate.
MOST_PACKET_INS = PACKETS // 100
LEAST_BITS_PER_S = 100e6


def round_trips(stage: Stage) -> None:
    """Show that the first packet of a connection costs more than the later ones, over both address families."""
    receiver = address_of("vm3")
    for version, address in (("IPv4", receiver.ipv4), ("IPv6", receiver.ipv6)):
        pings = hosts.ping(stage.host("vm1"), address, count=PINGS, interval_s=0.05)
        first, later = pings.rtt_ms[:1], pings.rtt_ms[1:]
        seen = f"{pings.received} of {pings.sent} answered"
        if later:
            seen = f"first {first[0]:.2f} ms, later {median(later):.2f} ms (median of {len(later)})"
        held = pings.all_answered and median(later) < first[0]
        stage.report.check(f"Round trip to a VM on the other host, {version}", seen, held)
    pings = hosts.ping(stage.host("vm1"), address_of("ext").ipv4, count=3, interval_s=0.05)
    seen = f"{pings.received} of {pings.sent} pings answered"
    stage.report.check("vm1 reaches the external host, untagged", seen, pings.all_answered)


def packet_ins(stage: Stage) -> None:
    """Show that the controller sees the beginning of a flow and no more."""
    before = stage.packet_ins()
    with traffic.udp_receiver(stage.host("vm3"), UDP_PORT) as arrivals:
        address = address_of("vm3").ipv4
        traffic.send_udp(stage.host("vm1"), address, UDP_PORT, count=PACKETS, rate_pps=RATE_PPS, source_port=40_000)
        numbers = arrivals.wait_count(PACKETS)
    asked = stage.packet_ins() - before
    counted = _counted(stage, PACKETS - asked)
    stage.report.check(
        f"Packet-ins for {PACKETS:,} packets of one flow",
        f"{asked} at both hosts together (misses in GET /v1/stats)",
        0 < asked <= MOST_PACKET_INS,
    )
    # At this rate the next packets are on their way before the first has its entries, and some overtake others.
    late = sum(number < highest for number, highest in zip(numbers[1:], accumulate(numbers, max), strict=False))
    stage.report.check(
        "The same packets at the receiver: none lost, none twice",
        f"{len(numbers):,}, {len(set(numbers)):,} different, {late} overtaken at set-up",
        sorted(numbers) == list(range(PACKETS)),
    )
    stage.report.check("The same packets in the switch's n_packets", f"{counted:,}", counted >= PACKETS - asked)


def _counted(stage: Stage, wanted: int) -> int:
    """Return what the entries on the flow's way have counted, the least of them."""

    def least() -> int:
        flows = stage.flows("vm1", ip_proto="udp", l4_dst=str(UDP_PORT))
        return min((leg["packets"] for flow in flows for leg in flow["forward"]), default=0)

    # Open vSwitch adds up what its datapath has counted every half second.
    with suppress(TimeoutError):
        wait_until(least, 3, f"{wanted} packets counted", until=lambda counted: counted >= wanted)
    return least()


def throughput(stage: Stage) -> None:
    """Show what a TCP connection carries once the switch has it."""
    before = stage.packet_ins()
    result = traffic.iperf3(
        stage.host("vm1"), stage.host("vm3"), address_of("vm3").ipv4, duration_s=3, port=IPERF_PORT
    )
    asked = stage.packet_ins() - before
    stage.report.check(
        "TCP throughput of an offloaded connection (iperf3)",
        f"{result.bits_per_s / 1e6:,.0f} Mb/s, {asked} packet-ins",
        result.bits_per_s > LEAST_BITS_PER_S and asked <= MOST_PACKET_INS,
    )
