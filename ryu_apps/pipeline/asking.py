"""How packets come to ask the controller: what sends them to table `missed`, and what counts and meters them there.

A vport asks within a meter, so that a flood of its packets is dropped in the switch.
The meter stands before the copy for the controller alone: what else becomes of the packet, as its other copies of a
broadcast, does not hang on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ryu_apps.model.flow_key import ND_TYPES, TCP_ACK, TCP_RST, TCP_SYN
from ryu_apps.model.network import Vport
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cookie import INBOUND_PUNT, Cookie, Counted, EntryClass, Punt
from ryu_apps.pipeline.entry import MISS_PRIORITY, FlowEntry, MatchValue, Resubmit, SetField, ToController, entry
from ryu_apps.pipeline.registers import PUNT, RECEIVER, SENDER
from ryu_apps.pipeline.table import Miss
from ryu_apps.pipeline.tables import TABLES

MULTICAST: Final[MatchValue] = (1 << 40, 1 << 40)
"""Destination MACs of more than one station."""

_BASE: Final = Cookie(EntryClass.BASE).pack()


def misses(behind: str) -> Iterator[FlowEntry]:
    """Yield the entry of each table for what no other entry matches; behind is the table that follows `closing`."""
    for table in TABLES:
        if table.miss is Miss.CONTROLLER:
            yield _ask(table.name, MISS_PRIORITY, {}, Punt.MISS)
            yield from _syn_misses(table.name)
        elif table.miss is Miss.CONTINUE:
            after = behind if table.name == "closing" else next(iter(table.next))
            yield entry(table.name, MISS_PRIORITY, {}, goto=after, cookie=_BASE)
        else:
            yield entry(table.name, MISS_PRIORITY, {}, cookie=_BASE)


def _syn_misses(table: str) -> Iterator[FlowEntry]:
    """Yield the miss of a TCP SYN by itself: what the switch remembers of it is then for no other packet.

    It remembers for some time what became of a packet, after entries have changed too.
    What follows a SYN would go to the controller as well for so long.
    """
    syn: MatchValue = (TCP_SYN, TCP_SYN | TCP_ACK)
    for eth_type in (0x0800, 0x86DD):
        yield _ask(table, MISS_PRIORITY + 1, {"eth_type": eth_type, "ip_proto": 6, "tcp_flags": syn}, Punt.MISS)


def punts() -> Iterator[FlowEntry]:
    """Yield the entries that keep out of the caches what no exact entry can stand for."""
    for table in ("outbound", "inbound"):
        for eth_type in (0x0800, 0x86DD):
            yield _ask(table, 300, {"eth_type": eth_type, "ip_frag": (1, 1)}, Punt.FRAGMENT)
        yield _ask(table, 200, {"eth_dst": MULTICAST}, Punt.SINGLE)
        for eth_type, ports in ((0x0800, (67, 68)), (0x86DD, (546, 547))):
            for port in ports:
                yield _ask(table, 200, {"eth_type": eth_type, "ip_proto": 17, "udp_dst": port}, Punt.SINGLE)


def _ask(table: str, priority: int, match: dict[str, MatchValue], why: Punt) -> FlowEntry:
    """Return the entry by which packets leave a cache to ask the controller."""
    return entry(table, priority, match, SetField(PUNT, why), goto="missed", cookie=_punt(why))


def _punt(why: Punt) -> int:
    return Cookie(EntryClass.PUNT, detail=why).pack()


def closing(behind: str) -> Iterator[FlowEntry]:
    """Yield the copies for the host of what ends a TCP connection at once: RST, behind the verdicts that let it pass.

    The packet itself goes on to the table behind, and no copy is made of any other.
    A FIN ends one direction only, whose entries go by themselves.
    """
    copy = SetField(PUNT, Punt.CLOSING), Resubmit("missed")
    for eth_type in (0x0800, 0x86DD):
        match: dict[str, MatchValue] = {"eth_type": eth_type, "ip_proto": 6, "tcp_flags": (TCP_RST, TCP_RST)}
        yield entry("closing", 100, match, *copy, goto=behind, cookie=_punt(Punt.CLOSING))


def neighbours(vport: Vport, asks: tuple[bool, bool, bool, bool]) -> Iterator[FlowEntry]:
    """Yield what lets ARP and ND pass the caches: at once, or by way of the controller when a rule names them."""
    arp: list[dict[str, MatchValue]] = [{"eth_type": 0x0806}]
    nd: list[dict[str, MatchValue]] = [
        {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": kind} for kind in sorted(ND_TYPES)
    ]
    out_arp, out_nd, in_arp, in_nd = asks
    for direction, register, goto, passed, kinds in (
        (Direction.OUTBOUND, SENDER, "deliver", Counted.OUTBOUND_PASS, ((arp, out_arp), (nd, out_nd))),
        (Direction.INBOUND, RECEIVER, "closing", Counted.INBOUND_PASS, ((arp, in_arp), (nd, in_nd))),
    ):
        for match, asked in ((match, asked) for matches, asked in kinds for match in matches):
            match = {register: vport.number, **match}
            if asked:
                yield _ask(direction.value, 250, match, Punt.NEIGHBOUR)
            else:
                yield entry(direction.value, 250, match, goto=goto, cookie=_counting(vport, passed))


def _counting(vport: Vport, counted: Counted) -> int:
    return Cookie(EntryClass.BASE, vport=vport.number, detail=counted).pack()


def counters(vport: Vport) -> Iterator[FlowEntry]:
    """Yield what counts the packets that are brought to a vport's inbound cache."""
    arrives = _counting(vport, Counted.INBOUND_LOOKUP)
    yield entry("arrival", 100, {RECEIVER: vport.number}, goto="inbound", cookie=arrives)


def asks_of(vport: Vport, meters: tuple[int, int]) -> Iterator[FlowEntry]:
    """Yield what sends a vport's packets to the controller, within its meters for outbound and inbound; 0 for none.

    A copy of what ends a connection is the sender's to ask about if the sender is here.
    """
    number, (outbound, inbound) = vport.number, map(ToController, meters)
    for why in Punt:
        sent: dict[str, MatchValue] = {PUNT: why, SENDER: number, RECEIVER: 0}
        received: dict[str, MatchValue] = {PUNT: why, RECEIVER: number}
        if why is Punt.CLOSING:
            sent, received = {PUNT: why, SENDER: number}, {PUNT: why, SENDER: 0, RECEIVER: number}
        made = Cookie(EntryClass.PUNT, vport=number, detail=why)
        yield entry("missed", 100, sent, outbound, cookie=made.pack())
        yield entry("missed", 100, received, inbound, cookie=made._replace(detail=why | INBOUND_PUNT).pack())
