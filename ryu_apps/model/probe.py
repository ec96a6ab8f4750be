"""Probes through network functions: how often one is sent, what it looks like, and how many say that one has failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LEAST_INTERVAL_MS: Final = 20
MOST_MS: Final = 60_000
"""The longest interval and time-out."""

MOST_STREAK: Final = 100
"""The most probes in a row that may be asked for before an instance counts as failed, or as working again."""

MOST_UNDER_WAY: Final = 10
"""The most probes of one instance that may be under way at a time: the time-out in intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePacket:
    """The headers of a probe, a UDP datagram over IPv4 in Ethernet.

    The defaults pass what bridges: MACs that nobody else has, and addresses for documentation (RFC 5737).
    """

    eth_src: int = 0x0256_4653_0001
    eth_dst: int = 0x0256_4653_0002
    ipv4_src: int = 0xC000_0201
    ipv4_dst: int = 0xC000_0202
    udp_src: int = 33434
    udp_dst: int = 33434


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What is sent through each instance of a function from its inside, and awaited at its outside.

    A probe that is not back after timeout_ms is lost; one lost after another, `fall` of them, and the instance has
    failed; then one back after another, `rise` of them, and it works again.
    """

    interval_ms: int = 200
    timeout_ms: int = 200
    fall: int = 3
    rise: int = 3
    packet: ProbePacket = ProbePacket()
