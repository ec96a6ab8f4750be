"""The hint list of a VM, as its followers read it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.control import hints
from ryu_apps.control.hints import Condition, HintList, Hints
from ryu_apps.control.key_rows import CHUNK_ROWS
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.network import Vport
from tests.unit.control.test_core import make_core, met, tcp_frame
from tests.unit.policies import tcp

CONDITIONS = [Condition(tcp("vm1", "vm2", sport=port), False) for port in range(5)]


class Follower:
    """Reads a list in pages and keeps what it was told."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.version = ""
        self.known: dict[int, dict[str, str]] = {}

    def read(self, answer: dict[str, Any]) -> None:
        """Take one answer in; what is removed need not be known."""
        if answer["whole"]:
            self.known.clear()
        for number in answer["remove"]:
            self.known.pop(number, None)
        for hint in answer["add"]:
            assert hint["id"] not in self.known
            self.known[hint["id"]] = hint["match"]
        assert len(answer["add"]) + len(answer["remove"]) <= self.limit
        self.version = answer["version"]

    def ports(self) -> list[str]:
        """Return the source port of each condition, ascending."""
        return sorted(match["l4_src"] for match in self.known.values())


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("settle"), st.integers(1, 6), st.sets(st.sampled_from(range(5)), max_size=3)),
        st.tuples(st.just("drop"), st.integers(1, 6), st.just(frozenset[int]())),
        st.tuples(st.just("read"), st.integers(0, 2), st.just(frozenset[int]())),
    ),
    max_size=40,
)


@given(steps=_STEPS, told=st.sampled_from([0, 2, 10_000]))
def test_whoever_follows_comes_to_know_the_list(steps: list[tuple[str, int, set[int]]], told: int) -> None:
    """M14: after any changes and readings, in pages of any size and with any lag, each follower ends with the list."""
    followers = [Follower(1), Follower(2), Follower(100)]
    followed = HintList(101, 7, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hints, "GONE_TOLD", told)
        for step, number, ports in steps:
            if step == "read":
                followers[number].read(followed.document(followers[number].version, followers[number].limit))
            elif step == "drop":
                followed.drop(number)
            else:
                followed.settle(number, [CONDITIONS[port] for port in sorted(ports)])
        for follower in followers:
            more = True
            while more:
                answer = followed.document(follower.version, follower.limit)
                follower.read(answer)
                more = answer["more"]
    wanted = [str(FIELDS["l4_src"].get(each.key)) for flow in followed.by_flow.values() for each in flow]
    assert all(follower.ports() == sorted(wanted) for follower in followers)


def test_much_that_is_new_is_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """M14: one answer looks at so many flows only and not more often than it may; the next ones bring the rest."""
    monkeypatch.setattr(hints, "LOOKED_AT", 4)
    core = make_core()
    for sport in range(10):
        core.packet_in(met(tcp_frame(sport=sport + 1)), 0.0)
    core.release(10.0)
    vport: Vport = core.policy.snapshot.vports["vm1"]
    asked = Hints(core)
    times = (10.0, 10.0, 10.0 + 2 * hints.REFRESH_S, 10.0 + 4 * hints.REFRESH_S)
    answers = [asked.ask(vport, "", 100, now_s) for now_s in times]
    assert [len(answer["add"]) for answer in answers] == [4, 4, 8, 10]


def test_a_list_that_nobody_asks_for_is_forgotten() -> None:
    """M14: after a minute without questions a list begins anew, and its versions are unknown."""
    core = make_core()
    vport = core.policy.snapshot.vports["vm1"]
    asked = Hints(core)
    first = asked.ask(vport, "", 100, 5.0)
    assert not asked.ask(vport, first["version"], 100, 6.0)["whole"]
    assert asked.ask(vport, first["version"], 100, 6.0 + hints.FORGOTTEN_S)["whole"]


def test_a_follower_knows_what_comes_and_goes_in_a_large_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """M14: with more flows than one part of the table holds, each asking goes through few parts, and none is missed."""
    monkeypatch.setattr(hints, "LOOKED_AT", 10_000)
    monkeypatch.setattr(hints, "PARTS_AT_ONCE", 1)
    core = make_core()
    for number in range(2 * CHUNK_ROWS + 10):
        core.packet_in(met(tcp_frame(sport=number + 1, flags=0x10)), 0.0)
    core.release(10.0)
    vport: Vport = core.policy.snapshot.vports["vm1"]
    asked, follower, now_s = Hints(core), Follower(1000), 10.0

    def follow() -> None:
        nonlocal now_s
        more, rounds = True, 0
        while more or rounds < 4:
            now_s += 2 * hints.REFRESH_S
            answer = asked.ask(vport, follower.version, follower.limit, now_s)
            follower.read(answer)
            more, rounds = answer["more"], rounds + 1

    follow()
    assert len(follower.known) == 2 * CHUNK_ROWS + 10
    flows = list(core.flows)
    for flow in (flows[0], flows[-1]):
        core.ageing.remove(flow)
    core.packet_in(met(tcp_frame(sport=50_000)), 20.0)
    core.release(30.0)
    follow()
    assert len(follower.known) == 2 * CHUNK_ROWS + 9
    assert "50000" in follower.ports()


def test_a_page_of_a_long_list_costs_what_the_page_costs() -> None:
    """M14: of 50,000 hints the first page and the last look at no more of them than the page holds."""
    looked: list[int] = []

    class Counting(dict[int, Condition]):
        def __contains__(self, number: object) -> bool:
            looked.append(1)
            return super().__contains__(number)

    followed = HintList(101, 7, 0.0)
    for number in range(50_000):
        followed.settle(number, [Condition(CONDITIONS[0].key, False)])
    followed.hints = Counting(followed.hints)
    first = followed.document("", 10)
    assert len(first["add"]) == 10 and first["more"]
    last = followed.document(f"7.{followed.latest - 5}.{followed.latest}", 10)
    assert len(last["add"]) == 5 and not last["more"]
    assert len(looked) <= 20
