"""Later fragments follow the verdict of their first: a bounded memory of datagrams seen in pieces (RFC 791)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Container
from typing import NamedTuple

from ryu_apps.control.events import PacketIn
from ryu_apps.engine.ruling import Verdict
from ryu_apps.model.flow_key import Family, FlowKey
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import Transposition

LIFETIME_S = 30.0
PER_VPORT = 1024
# Fragments that wait for their first, in all of one vport's datagrams: a VM must not fill memory with them.
HELD_PER_VPORT = 256

DatagramId = tuple[int, int, Direction, int]


class Datagram(NamedTuple):
    """What is known of a datagram in pieces: its verdict once the first has come, and pieces that came before it."""

    since_s: float
    verdict: Verdict | None
    held: tuple[PacketIn, ...]


class Fragments:
    """Datagrams by what all their fragments share; the oldest make room, per vport."""

    def __init__(self) -> None:
        self._by_vport: dict[int, OrderedDict[DatagramId, Datagram]] = {}
        self._held: Counter[int] = Counter()

    def first(self, vport: int, datagram: DatagramId, verdict: Verdict, now_s: float) -> tuple[PacketIn, ...]:
        """Keep the verdict of a first fragment; return the later ones that were waiting for it, in order."""
        known = self._datagrams(vport, now_s)
        waiting = known.pop(datagram, Datagram(now_s, verdict, ()))
        known[datagram] = Datagram(now_s, verdict, ())
        self._held[vport] -= len(waiting.held)
        return waiting.held

    def later(self, vport: int, datagram: DatagramId, event: PacketIn, now_s: float) -> Verdict | None:
        """Return the verdict of the first fragment; None while that is yet to come: this one waits if there is room."""
        known = self._datagrams(vport, now_s)
        found = known.get(datagram, Datagram(now_s, None, ()))
        if found.verdict is None and self._held[vport] < HELD_PER_VPORT:
            known[datagram] = found._replace(held=(*found.held, event))
            self._held[vport] += 1
        return found.verdict

    def vport_of(self, datagram: DatagramId, now_s: float) -> int | None:
        """Return the vport that has seen a piece of a datagram last, None when none has lately.

        A sender may use an identification again for the same address only after that time (RFC 6864 section 4.3).
        """
        seen = [
            (found.since_s, vport)
            for vport, known in self._by_vport.items()
            if (found := known.get(datagram)) is not None and now_s - found.since_s <= LIFETIME_S
        ]
        return max(seen)[1] if seen else None

    def keep(self, vports: Container[int]) -> None:
        """Forget what vports have sent or got that are not among these any more."""
        for vport in [known for known in self._by_vport if known not in vports]:
            del self._by_vport[vport]
            self._held.pop(vport, None)

    def _datagrams(self, vport: int, now_s: float) -> OrderedDict[DatagramId, Datagram]:
        known = self._by_vport.setdefault(vport, OrderedDict())
        while known and (len(known) >= PER_VPORT or now_s - next(iter(known.values())).since_s > LIFETIME_S):
            _, forgotten = known.popitem(last=False)
            self._held[vport] -= len(forgotten.held)
        return known


def datagram_id(segment: int, direction: Direction, key: FlowKey, ip_id: int) -> DatagramId:
    """Return what all fragments of a datagram share: addresses, protocol and identification (RFC 791, RFC 8200)."""
    above_ports = key.bits >> 32
    if key.family is Family.IPV4:
        ends = above_ports & 0xFFFFFFFFFFFFFFFF | (above_ports >> 72 & 0xFF) << 64
    else:
        # Of an IPv6 datagram's pieces only the first need name the final protocol (RFC 8200 section 4.5).
        ends = above_ports & (1 << 256) - 1
    return segment, ip_id, direction, ends


def later_edit(edit: Transposition) -> Transposition:
    """Return what of an edit applies to a fragment without transport header."""
    return Transposition(tuple((name, value) for name, value in edit.edits if not name.startswith("l4_")))
