"""What the outside tells the core."""

from __future__ import annotations

from typing import NamedTuple

from ryu_apps.pipeline.cookie import Punt


class PacketIn(NamedTuple):
    """A packet that the switch did not know what to do with.

    table is the table's name; segment, sender and receiver are the registers as they stood there.
    """

    dpid: int
    table: str
    punt: Punt
    in_port: int
    segment: int
    sender: int
    receiver: int
    frame: bytes


class ProbeCaught(NamedTuple):
    """A frame that came out of an instance of a function and looks like a probe of it."""

    dpid: int
    in_port: int
    frame: bytes


class FlowRemoved(NamedTuple):
    """A cached entry of ours is gone from a switch; reason is OpenFlow's (OpenFlow 1.4.0, section 7.4.2)."""

    dpid: int
    cookie: int
    reason: int
    packets: int
    octets: int
    duration_s: int
    hard_timeout_s: int = 0


class EntryCounted(NamedTuple):
    """The answer to a CountEntry: packets of the entry, None when the switch has none with that cookie."""

    cookie: int
    packets: int | None


class CacheCounted(NamedTuple):
    """The answer to a CountCache: cookies of entries with the packets that each has counted."""

    dpid: int
    table: str
    counts: tuple[tuple[int, int], ...]


class PresentEntry(NamedTuple):
    """One entry that a switch reported: what identifies it, what it does, and how much it was used.

    match and instructions are the bytes of the wire, as the switch writes them.
    """

    table: int
    priority: int
    cookie: int
    match: bytes
    instructions: bytes
    idle_timeout_s: int
    hard_timeout_s: int
    packets: int
    octets: int
