"""The ledger: switches' counts added up so that nothing falls, whatever becomes of entries, vports and switches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.control.events import PresentEntry
from ryu_apps.control.ledger import Asked, CacheCount, EntryId, Ledger
from ryu_apps.control.tally import Tally
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.cookie import INBOUND_PUNT, Cookie, Counted, EntryClass, Punt, Refusal

DPID, OTHER_DPID = 1, 2
VM1, VM2 = 101, 102
OWNERS = {VM1: ("vm1", DPID), VM2: ("vm2", DPID)}


def entry(cookie: Cookie, packets: int, name: str = "") -> PresentEntry:
    """Return a standing entry; entries with other names are others."""
    match = f"{cookie.entry_class}/{cookie.vport}/{cookie.detail}/{name}".encode()
    return PresentEntry(1, 100, cookie.pack(), match, b"", 0, 0, packets, 0)


def counting(counted: Counted, packets: int, vport: int = VM1, name: str = "") -> PresentEntry:
    """Return an entry that counts for a vport."""
    return entry(Cookie(EntryClass.BASE, vport=vport, detail=counted), packets, name)


def asking(
    packets: int, vport: int = VM1, *, inbound: bool = False, why: Punt = Punt.MISS, name: str = ""
) -> PresentEntry:
    """Return an entry by which a vport's packets ask the controller."""
    detail = why | INBOUND_PUNT if inbound else why
    return entry(Cookie(EntryClass.PUNT, vport=vport, detail=detail), packets, name)


def refusing(reason: Refusal, packets: int, vport: int = VM1) -> PresentEntry:
    """Return an entry that refuses."""
    return entry(Cookie(EntryClass.GUARD, vport=vport, detail=reason), packets)


def ledger_of(*rounds: Iterable[PresentEntry]) -> Ledger:
    """Return a ledger that has taken these reports of one datapath."""
    ledger = Ledger(Tally())
    ledger.settle(OWNERS)
    for present in rounds:
        ledger.take(DPID, present)
    return ledger


def outbound(ledger: Ledger, vport: int = VM1) -> CacheCount:
    """Return what is told of a vport's outbound cache."""
    return ledger.of_vport(DPID, vport).caches[Direction.OUTBOUND]


def test_hits_are_the_look_ups_that_neither_missed_nor_passed() -> None:
    """M28: look-ups less misses less neighbour messages are hits, per vport and cache."""
    ledger = ledger_of([
        counting(Counted.OUTBOUND_LOOKUP, 100, name="a"), counting(Counted.OUTBOUND_LOOKUP, 20, name="b"),
        counting(Counted.OUTBOUND_PASS, 7), asking(3),
        counting(Counted.INBOUND_LOOKUP, 50), asking(1, inbound=True),
        counting(Counted.OUTBOUND_LOOKUP, 5, VM2), asking(5, VM2),
    ])  # fmt: skip
    assert ledger.of_vport(DPID, VM1).caches == {
        Direction.OUTBOUND: CacheCount(hits=110, misses=3, passes=7),
        Direction.INBOUND: CacheCount(hits=49, misses=1, passes=0),
    }
    assert outbound(ledger, VM2) == CacheCount(hits=0, misses=5)


def test_what_closes_a_connection_is_no_miss_and_all_else_that_asks_is() -> None:
    """M28: copies of FIN and RST have passed their cache, what asks of pools meets none; all else has missed."""
    ledger = ledger_of([
        counting(Counted.OUTBOUND_LOOKUP, 100), *(asking(10, why=why) for why in Punt),
        counting(Counted.INBOUND_LOOKUP, 100), *(asking(1, why=why, inbound=True) for why in Punt),
    ])  # fmt: skip
    caches = ledger.of_vport(DPID, VM1).caches
    assert (caches[Direction.OUTBOUND].misses, caches[Direction.INBOUND].misses) == (40, 4)


def test_what_meters_have_dropped_is_refused_to_the_vport() -> None:
    """S07, M28: drops of a vport's two meters add up under one reason; a meter made anew counts from nothing."""
    ledger = ledger_of([refusing(Refusal.IP, 4)])
    owners = {71: VM1, 72: VM1, 73: VM2}
    for counts in ({71: 5, 72: 2, 73: 0, 99: 8}, {71: 9, 72: 2, 99: 9}, {71: 3, 72: 2}):
        ledger.take_dropped(DPID, counts, owners)
    assert ledger.of_vport(DPID, VM1).refused == {"ip": 4, "miss-limit": 5 + 2 + 4 + 3}
    assert ledger.of_vport(DPID, VM2).refused == {}


def test_entries_that_are_gone_or_made_anew_leave_their_counts() -> None:
    """M28: no figure falls when an entry goes, comes back from nothing, or changes what it is for."""
    first = [counting(Counted.OUTBOUND_LOOKUP, 100), refusing(Refusal.IP, 4)]
    gone: list[PresentEntry] = []
    anew = [counting(Counted.OUTBOUND_LOOKUP, 30), refusing(Refusal.IP, 1)]
    for reports, hits, refused in (([first], 100, 4), ([first, gone], 100, 4), ([first, gone, anew], 130, 5),
                                   ([first, anew], 130, 5), ([first, first], 100, 4)):  # fmt: skip
        ledger = ledger_of(*reports)
        assert (outbound(ledger).hits, ledger.of_vport(DPID, VM1).refused) == (hits, {"ip": refused})


def test_what_an_entry_counted_for_the_controller_is_no_pass() -> None:
    """M28: an entry that Open vSwitch replaces keeps its count; only what it counts from then on is of its new kind."""
    asks = entry(Cookie(EntryClass.PUNT, detail=Punt.NEIGHBOUR), 40)
    passes = counting(Counted.OUTBOUND_PASS, 45)._replace(match=asks.match)
    assert outbound(ledger_of([asks], [passes])).passes == 5


def test_hits_do_not_fall_while_the_switch_hands_its_counts_over() -> None:
    """M28: a miss that is told before its look-up takes no hit away."""
    lookup, missed = counting(Counted.OUTBOUND_LOOKUP, 100), asking(10)
    ledger = ledger_of([lookup, missed], [lookup, missed._replace(packets=15)])
    assert outbound(ledger) == CacheCount(hits=90, misses=15)
    ledger.take(DPID, [lookup._replace(packets=110), missed._replace(packets=15)])
    assert outbound(ledger) == CacheCount(hits=95, misses=15)


def test_a_vport_that_goes_leaves_its_counts_and_its_number_starts_again() -> None:
    """M28: counts of a deleted vport are the host's still, and not those of a vport that gets its number."""
    tally = Tally()
    ledger = Ledger(tally)
    ledger.settle(OWNERS)
    ledger.take(DPID, [counting(Counted.OUTBOUND_LOOKUP, 100), refusing(Refusal.MAC, 3)])
    for name in ("misses", "misses", "denied"):
        tally.count(name, VM1)

    ledger.settle({VM1: ("heir", DPID), VM2: ("vm2", DPID)})

    assert outbound(ledger) == CacheCount() and not tally.of_vport(VM1)
    assert ledger.of_gone(DPID).caches[Direction.OUTBOUND].hits == 100
    assert ledger.of_gone(DPID).refused == {"mac": 3}
    assert tally.of_gone(DPID) == {"misses": 2, "denied": 1}
    assert (tally.total["misses"], tally.total["denied"]) == (2, 1)


def test_a_vport_that_moves_counts_anew_where_it_is() -> None:
    """M28: what a vport did on one host stays there when it moves to another."""
    ledger = ledger_of([counting(Counted.OUTBOUND_LOOKUP, 100)])
    ledger.settle({**OWNERS, VM1: ("vm1", OTHER_DPID)})
    ledger.take(OTHER_DPID, [counting(Counted.OUTBOUND_LOOKUP, 5)])
    assert ledger.of_gone(DPID).caches[Direction.OUTBOUND].hits == 100
    assert ledger.of_vport(OTHER_DPID, VM1).caches[Direction.OUTBOUND].hits == 5


def test_who_has_a_name_keeps_it_and_who_has_none_gets_none() -> None:
    """M28: only so many vports are told apart; a free place goes to a new vport, whose counts begin at 0."""
    ledger = Ledger(Tally(), named_most=2)
    owners = {number: (f"vm{number}", DPID) for number in (1, 2, 3)}
    ledger.settle(owners)
    assert [ledger.is_named(number) for number in (1, 2, 3)] == [True, True, False]
    del owners[1]
    ledger.settle(owners)
    assert [ledger.is_named(number) for number in (1, 2, 3)] == [False, True, False]
    ledger.settle({**owners, 1: ("vm1", DPID), 4: ("vm4", DPID)})
    assert [ledger.is_named(number) for number in (1, 2, 3, 4)] == [True, True, False, False]


def _refused(ledger: Ledger) -> int:
    return ledger.of_vport(DPID, VM1).refused[Refusal.IP.slug]


def _id(entry: PresentEntry) -> EntryId:
    return entry.table, entry.priority, entry.match


def test_an_entry_that_was_removed_and_made_again_counts_from_nothing() -> None:
    """M28: as many packets as before, or more, of an entry that is another one now are all counted."""
    ledger, known = ledger_of(), _id(refusing(Refusal.IP, 0))
    for packets, sum_of_lives in ((3, 3), (3, 6), (5, 11)):
        ledger.ask(DPID)
        ledger.take(DPID, [refusing(Refusal.IP, packets)])
        assert _refused(ledger) == sum_of_lives
        ledger.removed(DPID, [known])


def test_an_entry_that_is_replaced_goes_on_counting() -> None:
    """M28: the switch keeps the count of an entry whose actions change."""
    ledger = ledger_of()
    for packets in (3, 3, 5):
        ledger.ask(DPID)
        ledger.take(DPID, [refusing(Refusal.IP, packets)])
    assert _refused(ledger) == 5


def test_an_answer_on_its_way_shows_what_is_removed_meanwhile() -> None:
    """M28: an entry removed after the switch was asked stands in that answer, and counts from nothing in the next."""
    ledger, known = ledger_of(), _id(refusing(Refusal.IP, 0))
    ledger.ask(DPID)
    ledger.removed(DPID, [known])
    ledger.take(DPID, [refusing(Refusal.IP, 3)])
    ledger.ask(DPID)
    ledger.take(DPID, [refusing(Refusal.IP, 4)])
    assert _refused(ledger) == 7
    # An answer that does not come leaves nothing to remember of entries that were never seen.
    ledger.ask(DPID)
    ledger.unanswered(DPID)
    ledger.removed(DPID, [(1, 1, b"another")])
    assert not ledger._removed[DPID]


def test_what_a_switch_lost_while_it_was_away_counts_from_nothing() -> None:
    """M28: after a switch comes back without an entry or a meter, those that are made again are others."""
    ledger, known = ledger_of([refusing(Refusal.IP, 3)]), _id(refusing(Refusal.IP, 0))
    ledger.take_dropped(DPID, {7: 10}, {7: VM1})
    ledger.keep(DPID, {known: 3}, {7})
    ledger.take(DPID, [refusing(Refusal.IP, 4)])
    ledger.take_dropped(DPID, {7: 12}, {7: VM1})
    assert ledger.of_vport(DPID, VM1).refused == {Refusal.IP.slug: 4, Refusal.MISS_LIMIT.slug: 12}
    ledger.keep(DPID, {known: 3}, set())  # It has the entry again, from nothing.
    ledger.take(DPID, [refusing(Refusal.IP, 4)])
    ledger.take_dropped(DPID, {7: 12}, {7: VM1})
    assert ledger.of_vport(DPID, VM1).refused == {Refusal.IP.slug: 8, Refusal.MISS_LIMIT.slug: 24}


_kinds = st.sampled_from([Counted.OUTBOUND_LOOKUP, Counted.OUTBOUND_PASS, None])
_reports = st.dictionaries(st.tuples(_kinds, st.sampled_from([VM1, VM2]), st.sampled_from("ab")), st.integers(0, 50))
_owned = st.dictionaries(st.sampled_from([VM1, VM2]), st.sampled_from([("x", DPID), ("y", DPID), ("x", OTHER_DPID)]))


@given(st.lists(st.tuples(_reports, _owned), max_size=12))
def test_the_figures_of_a_host_never_fall(
    history: list[tuple[dict[tuple[Counted | None, int, str], int], object]]
) -> None:
    """M28: over any history of reports and of vports that come, go and move, no sum of a host falls."""
    tally = Tally()
    ledger = Ledger(tally)
    before: Counter[str] = Counter()
    for report, owned in history:
        ledger.settle(owned)  # type: ignore[arg-type]
        ledger.take(DPID, [
            asking(packets, vport, name=name) if kind is None else counting(kind, packets, vport, name)
            for (kind, vport, name), packets in report.items()
        ])  # fmt: skip
        tally.count("begun", VM1)
        found: Counter[str] = Counter(begun=tally.total["begun"])
        for told in (ledger.of_gone(DPID), ledger.of_vport(DPID, VM1), ledger.of_vport(DPID, VM2)):
            found.update(told.caches[Direction.OUTBOUND]._asdict())
        assert all(found[name] >= count for name, count in before.items())
        before = found


def test_what_the_controller_was_asked_goes_before_what_a_switch_takes_for_hits() -> None:
    """M28: misses that a switch has told as hits are put right at the sender, and not counted twice at receivers."""
    ledger, asked = ledger_of(), {VM1: Asked(outbound=20, begun=20), VM2: Asked(brought=20)}
    first = [counting(Counted.OUTBOUND_LOOKUP, 100), asking(15), counting(Counted.INBOUND_LOOKUP, 105, VM2)]
    ledger.take(DPID, first, asked)
    assert outbound(ledger) == CacheCount(hits=80, misses=20)
    assert ledger.of_vport(DPID, VM2).caches[Direction.INBOUND] == CacheCount(hits=100)
    # The switch tells later what it has not told: nothing is counted twice, and nothing falls.
    ledger.take(DPID, [counting(Counted.OUTBOUND_LOOKUP, 100), asking(20)], asked)
    assert outbound(ledger) == CacheCount(hits=80, misses=20)


def test_misses_from_before_the_controller_started_stay_misses() -> None:
    """M28: what a switch has counted before this controller came is taken as it is, and what it knows is added."""
    ledger = ledger_of()
    ledger.take(DPID, [counting(Counted.OUTBOUND_LOOKUP, 100), asking(30)], {VM1: Asked(outbound=5)})
    assert outbound(ledger) == CacheCount(hits=70, misses=30)
    ledger.take(DPID, [counting(Counted.OUTBOUND_LOOKUP, 120), asking(32)], {VM1: Asked(outbound=10)})
    assert outbound(ledger) == CacheCount(hits=85, misses=35)
    ledger.settle({VM2: ("vm2", DPID)})
    assert ledger.of_gone(DPID).caches[Direction.OUTBOUND] == CacheCount(hits=85, misses=35)
