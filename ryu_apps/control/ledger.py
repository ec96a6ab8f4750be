"""What the switches' standing entries have counted, kept so that no figure falls when an entry or a vport goes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from ryu_apps.control.events import PresentEntry
from ryu_apps.control.tally import Tally
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cookie import INBOUND_PUNT, Cookie, Counted, EntryClass, Punt, Refusal, unpack
from ryu_apps.pipeline.entry import FlowEntry

NAMED_VPORTS: Final = 1000
"""How many vports are told apart where each costs its reader memory for ever: a handful of full cards of 256 VFs."""

_LOOKUP: Final = {Counted.OUTBOUND_LOOKUP: Direction.OUTBOUND, Counted.INBOUND_LOOKUP: Direction.INBOUND}
_PASS: Final = {Direction.OUTBOUND: Counted.OUTBOUND_PASS, Direction.INBOUND: Counted.INBOUND_PASS}
# What closes a connection is a copy of a packet that its cache has let pass.
_ASKING: Final = [int(punt) for punt in Punt if punt not in (Punt.CLOSING, Punt.POOL)]
_MISSES: Final = {
    Direction.OUTBOUND: _ASKING,
    Direction.INBOUND: [punt | INBOUND_PUNT for punt in _ASKING],
}
_REFUSALS: Final = frozenset(Refusal)

_NOBODY: Final[Mapping[int, Asked]] = MappingProxyType({})

EntryId = tuple[int, int, bytes]
"""Which entry of a datapath: table, priority, and match as the switch writes it."""

_Of = tuple[EntryClass, int]


class CacheCount(NamedTuple):
    """Packets that asked one cache: answered by its entries, not answered, and let past it.

    misses asked the controller; returns went back to their VM instead and ask again by its synthetic port.
    """

    hits: int = 0
    misses: int = 0
    passes: int = 0
    returns: int = 0


class SwitchCount(NamedTuple):
    """What a switch counted of a vport: its two caches by direction, and its refusals by reason."""

    caches: Mapping[Direction, CacheCount]
    refused: Mapping[str, int]


class Asked(NamedTuple):
    """What the controller itself knows of a vport's look-ups: packets that asked it, by cache, and what it began.

    brought: connections of other vports of the same switch whose first packet it sent on to this vport's cache.
    """

    outbound: int = 0
    inbound: int = 0
    begun: int = 0
    brought: int = 0

    def at(self, direction: Direction) -> int:
        """Return how many packets of one cache asked."""
        return self.outbound if direction is Direction.OUTBOUND else self.inbound


class _Vport:
    """Packets of one vport on one datapath, by what their entry is for, and the hits told so far.

    A switch adds what its datapath has counted to the entries that it finds when it looks, which may be others than
    those that the packets met: Open vSwitch forwards the first packets of several connections by one flow of its
    datapath, and takes them for hits when the first of these connections has its entries by then.
    So the packets that asked the controller are counted there, too; misread are those that the switch has not told.
    """

    __slots__ = ("_earlier", "counted", "hits", "misread")

    def __init__(self) -> None:
        self.counted: Counter[_Of] = Counter()
        self.hits: Counter[Direction] = Counter()
        self.misread: Counter[Direction] = Counter()
        # Misses of which the controller does not know: from before its start.
        self._earlier: dict[Direction, int] = {}

    def hear(self, asked: Asked) -> None:
        """Take note of how many packets asked the controller."""
        for direction in Direction:
            told, known = self._told(direction), asked.at(direction)
            earlier = self._earlier.setdefault(direction, max(0, told - known))
            self.misread[direction] = max(0, earlier + known - told)

    def settle_hits(self, brought_twice: int) -> None:
        """Bring the hits up to date: look-ups less misses and less what passed.

        The switch hands its counts over one by one, so that a difference may fall for a moment; hits do not.
        brought_twice: misread packets that the inbound cache was brought in the switch's books, and by the controller.
        """
        for lookup, direction in _LOOKUP.items():
            base = EntryClass.BASE
            asked = self.counted[base, lookup]
            asked -= brought_twice if direction is Direction.INBOUND else 0
            found = asked - self.missed(direction) - self.counted[base, _PASS[direction]] - self._returns(direction)
            self.hits[direction] = max(self.hits[direction], found)

    def missed(self, direction: Direction) -> int:
        """Return how many packets asked the controller, those that a meter kept from it included."""
        return self._told(direction) + self.misread[direction]

    def _told(self, direction: Direction) -> int:
        return sum(self.counted[EntryClass.PUNT, why] for why in _MISSES[direction])

    def _returns(self, direction: Direction) -> int:
        return self.counted[EntryClass.BASE, Counted.OUTBOUND_RETURN] if direction is Direction.OUTBOUND else 0

    def take_over(self, other: _Vport) -> None:
        """Add what another has counted."""
        self.counted.update(other.counted)
        self.hits.update(other.hits)
        self.misread.update(other.misread)

    def count(self) -> SwitchCount:
        """Return the figures."""
        base = EntryClass.BASE
        caches = {
            direction: CacheCount(
                self.hits[direction],
                self.missed(direction),
                self.counted[base, _PASS[direction]],
                self._returns(direction),
            )
            for direction in Direction
        }
        refused = {
            Refusal(detail).slug: packets
            for (entry_class, detail), packets in sorted(self.counted.items())
            if entry_class is EntryClass.GUARD
        }
        return SwitchCount(caches, refused)


class Ledger:
    """Adds up what datapaths report, and lets vports that go leave their counts behind.

    Entries of connections are not asked for: they come and go, and there are too many to read.
    Hits follow from standing entries: those before each cache, and those that count what the cache did not answer.
    """

    def __init__(self, tally: Tally, named_most: int = NAMED_VPORTS) -> None:
        self._tally = tally
        self._named_most = named_most
        self._seen: dict[int, dict[EntryId, int]] = {}
        self._removed: defaultdict[int, set[EntryId]] = defaultdict(set)
        self._asked: set[int] = set()
        self._dropped: dict[int, dict[int, int]] = {}
        self._vports: defaultdict[int, dict[int, _Vport]] = defaultdict(dict)
        self._gone: defaultdict[int, _Vport] = defaultdict(_Vport)
        self._owners: dict[int, tuple[str, int]] = {}
        self._named: set[int] = set()

    def ask(self, dpid: int) -> None:
        """Take note that a datapath is being asked; no change of it is under way.

        What was removed before is not in the answer.
        """
        seen = self._seen.get(dpid, {})
        for known in self._removed.pop(dpid, ()):
            seen.pop(known, None)
        self._asked.add(dpid)

    def unanswered(self, dpid: int) -> None:
        """Take note that a datapath that was asked has not answered."""
        self._asked.discard(dpid)

    def removed(self, dpid: int, entries: Iterable[EntryId]) -> None:
        """Take note that a datapath has removed entries: those made again later are not to be taken for the same."""
        seen = self._seen.get(dpid, {})
        # An answer that is on its way may bring more of them.
        self._removed[dpid].update(entries if dpid in self._asked else (known for known in entries if known in seen))

    def keep(self, dpid: int, entries: Mapping[EntryId, int], meters: Container[int]) -> None:
        """Take note of the entries and meters that a datapath has that was away, or of which it was not known.

        entries: packets of each. Those that are not there, or have counted less than before, are gone.
        """
        seen = self._seen.get(dpid, {})
        self._seen[dpid] = {known: packets for known, packets in seen.items() if entries.get(known, -1) >= packets}
        self._dropped[dpid] = {meter: count for meter, count in self._dropped.get(dpid, {}).items() if meter in meters}

    def take(
        self, dpid: int, present: Iterable[PresentEntry], asked: Mapping[int, Asked] = _NOBODY
    ) -> None:
        """Add what the standing entries of a datapath have counted since they were last seen.

        asked: what the controller knows of vports, by number; of those that are elsewhere it is left out of account.

        One that was removed in between, or has fewer packets than before, was made anew and counts from nothing.
        What an entry counted after it was last seen and before it went is lost.
        """
        self._asked.discard(dpid)
        before, now = self._seen.get(dpid, {}), {}
        vports = self._vports[dpid]
        for entry in present:
            if not entry.packets:
                continue
            known = entry.table, entry.priority, entry.match
            now[known] = entry.packets
            seen = before.get(known, 0)
            more = entry.packets - seen if entry.packets >= seen else entry.packets
            cookie = unpack(entry.cookie) if more else None
            if cookie is not None and _counts(cookie):
                _of(vports, cookie.vport).counted[cookie.entry_class, cookie.detail] += more
        self._seen[dpid] = now
        for number, vport in vports.items():
            if number in asked:
                vport.hear(asked[number])
        here = {number: asked[number] for number in vports if number in asked}
        begun = max(1, sum(each.begun for each in here.values()))
        misread = sum(vports[number].misread[Direction.OUTBOUND] for number in here)
        for number, vport in vports.items():
            brought = here[number].brought if number in here else 0
            # Of whom they were is not known: of all connections begun, so many went to this vport.
            vport.settle_hits(round(misread * brought / begun))

    def take_dropped(self, dpid: int, dropped: Mapping[int, int], owners: Mapping[int, int]) -> None:
        """Add what the meters of misses have dropped since they were last seen, by meter; owners are their vports."""
        before = self._dropped.get(dpid, {})
        for meter, packets in dropped.items():
            seen = before.get(meter, 0)
            more = packets - seen if packets >= seen else packets
            if more and meter in owners:
                vport = _of(self._vports[dpid], owners[meter])
                vport.counted[EntryClass.GUARD, Refusal.MISS_LIMIT] += more
        self._dropped[dpid] = dict(dropped)

    def begin_anew(self, dpid: int, changed: Iterable[int]) -> None:
        """Take note that meters were changed, by number: Open vSwitch has them count from nothing then."""
        for meter in changed:
            self._dropped.get(dpid, {}).pop(meter, None)

    def settle(self, owners: Mapping[int, tuple[str, int]]) -> None:
        """Take note of which vport has which number on which datapath; what is another's now starts from nothing."""
        for number, owner in self._owners.items():
            if owners.get(number) != owner:
                self._close(number, owner[1])
        for number in self._tally.by_vport().keys() - owners.keys() - {0}:
            self._tally.close(number, 0)
        for dpid, vports in self._vports.items():
            for number in [number for number in vports if number and owners.get(number, ("", 0))[1] != dpid]:
                self._gone[dpid].take_over(vports.pop(number))
        # Who has a name keeps it, and who has none gets none later: its counts are among the others' already.
        for number in sorted(owners.keys() - self._owners.keys()):
            if len(self._named) < self._named_most:
                self._named.add(number)
        self._owners = dict(owners)

    def _close(self, number: int, dpid: int) -> None:
        self._named.discard(number)
        self._tally.close(number, dpid)
        left = self._vports[dpid].pop(number, None)
        if left is not None:
            self._gone[dpid].take_over(left)

    def is_named(self, number: int) -> bool:
        """Return whether a vport is told apart where only so many are."""
        return number in self._named

    def of_vport(self, dpid: int, number: int) -> SwitchCount:
        """Return what a datapath counted of a vport; number 0 is for packets whose vport was not known yet."""
        return self._vports[dpid].get(number, _Vport()).count()

    def of_gone(self, dpid: int) -> SwitchCount:
        """Return what a datapath counted of vports that it had once."""
        return self._gone[dpid].count()


def _of(vports: dict[int, _Vport], number: int) -> _Vport:
    found = vports.get(number)
    if found is None:
        found = vports[number] = _Vport()
    return found


def counts(entry: FlowEntry | PresentEntry) -> bool:
    """Return whether a ledger adds up what this entry counts."""
    cookie = unpack(entry.cookie)
    return cookie is not None and _counts(cookie)


def _counts(cookie: Cookie) -> bool:
    if cookie.entry_class is EntryClass.GUARD:
        return cookie.detail in _REFUSALS
    if cookie.entry_class is EntryClass.PUNT:
        return bool(cookie.vport)
    return cookie.entry_class is EntryClass.BASE and cookie.detail != Counted.NOTHING
