"""How several priorities share one rate: a closed loop of meters that drop, and what their counts change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.control.sharing import MeterCount, Sharing
from ryu_apps.engine.policy import Policy, compile_policy
from ryu_apps.model.action import Prioritise
from ryu_apps.model.network import Bandwidth, Host
from ryu_apps.model.nic_limits import NicLimits
from ryu_apps.model.policy import Change
from ryu_apps.pipeline.bottlenecks import bottlenecks
from ryu_apps.pipeline.meters import MeterConfig, host_meters
from tests.unit.policies import OUT, group, layer, rule, snapshot, vport

RATE_KBPS = 10_000
READ_EVERY_MS = 200
DPID = 1


def policy_with(*priorities: int, rate_kbps: int = RATE_KBPS) -> Policy:
    """Return a policy whose host h1 has a limited uplink, and rules that give these priorities."""
    rules = [rule(f"r{priority}", Prioritise(priority), l4_dst=str(priority + 1), ip_proto="udp")
             for priority in priorities]  # fmt: skip
    host = Host(id="h1", dpid=DPID, uplink="h1-uplink", limits=NicLimits(uplink_kbps=rate_kbps))
    return compile_policy(
        snapshot(Change(kind="hosts", key="h1", value=host), layer("l", 1), group("l", "g", OUT, *rules))
    )


class Switch:
    """Meters at the uplink of one switch as the sharing sees them: each lets its rate through and counts."""

    def __init__(self, policy: Policy) -> None:
        self.meters: dict[int, MeterConfig] = host_meters(policy, "h1")
        (self.narrow,) = bottlenecks(policy, policy.snapshot.hosts["h1"])
        self.policy = policy
        self.sharing = Sharing(policy)
        self.age_ms = 0
        self.counts = dict.fromkeys(self.meters, 0)
        self.changes = 0

    def run(self, *offered_kbps: int, times: int = 1) -> list[int]:
        """Let each priority, from the highest on, offer a load for some readings; return what passed in the last."""
        passed: list[int] = []
        for _ in range(times):
            self.age_ms += READ_EVERY_MS
            pairs = zip(self.narrow.turns, offered_kbps, strict=True)
            passes = {turn.meter: min(offered, self.meters[turn.meter].rate) for turn, offered in pairs}
            for meter, kbps in passes.items():
                self.counts[meter] += kbps * READ_EVERY_MS // 8
            counts = {meter: MeterCount(self.age_ms, octets, 0) for meter, octets in self.counts.items()}
            change = self.sharing.counted(DPID, counts, self.meters)
            assert not change.put and not change.gone
            for config in change.altered:
                self.changes += 1
                self.meters[config.number] = config
                self.counts[config.number] = 0  # Open vSwitch begins to count anew.
            passed = list(passes.values())
        return passed


def strict(rate_kbps: int, offered: tuple[int, ...]) -> list[int]:
    """Return what strict priority gives each, from the highest on."""
    given_, left = [], rate_kbps
    for each in offered:
        given_.append(min(each, left))
        left -= given_[-1]
    return given_


LOADS = st.integers(0, 3 * RATE_KBPS)


@given(LOADS, LOADS, LOADS, LOADS, LOADS, LOADS)
def test_priorities_get_what_strict_priority_gives_them(a: int, b: int, c: int, d: int, e: int, f: int) -> None:
    """S13: soon after any change of loads each priority has what the higher ones leave of the rate, within ±10 %."""
    switch = Switch(policy_with(7, 3))
    switch.run(a, b, c, times=10)
    found = switch.run(d, e, f, times=10)
    expected = strict(RATE_KBPS, (d, e, f))
    assert found[0] == expected[0]
    assert found == pytest.approx(expected, abs=0.1 * RATE_KBPS)
    assert sum(found) == pytest.approx(sum(expected), abs=0.1 * RATE_KBPS)


def test_the_highest_priority_never_waits() -> None:
    """S13: the highest priority may have all of the rate at once, whatever the others had."""
    switch = Switch(policy_with(5))
    switch.run(9000, 20_000, times=5)
    assert switch.run(0, 20_000, times=10) == [0, RATE_KBPS]
    assert switch.meters == host_meters(switch.policy, "h1")  # The burst is that of one alone.
    assert switch.run(20_000, 20_000) == [RATE_KBPS, RATE_KBPS]
    assert switch.run(20_000, 20_000) == [RATE_KBPS, RATE_KBPS // 100]


def test_a_pause_of_one_reading_gives_nothing_away() -> None:
    """S13: a high priority that sends every other reading keeps what it uses; it goes to others when it stops."""
    switch = Switch(policy_with(5))
    switch.run(8000, 20_000, times=3)
    for _ in range(5):
        assert switch.run(0, 20_000)[1] == 2000
        assert switch.run(8000, 20_000)[1] == 2000
    assert switch.run(0, 20_000, times=3)[1] == RATE_KBPS


def test_small_changes_are_left_alone() -> None:
    """A meter that is set anew lets a burst through, so loads that waver by 2 % change nothing."""
    switch = Switch(policy_with(5))
    switch.run(5000, 20_000, times=3)
    before = switch.changes
    for offered in (5100, 4900, 5050, 5100):
        switch.run(offered, 20_000)
    assert switch.changes == before


def test_a_clock_that_stands_still_tells_nothing() -> None:
    """Two readings of one moment, or a meter made anew, tell of no use, and nothing follows from them."""
    policy = policy_with(5)
    switch = Switch(policy)
    switch.run(4000, 4000, times=3)
    reading = {meter: MeterCount(switch.age_ms, octets, 0) for meter, octets in switch.counts.items()}
    assert switch.sharing.counted(DPID, reading, switch.meters).altered == ()
    anew = {meter: MeterCount(0, 0, 0) for meter in reading}
    assert switch.sharing.counted(DPID, anew, switch.meters).altered == ()
    assert [turn.passes_kbps for turn in switch.sharing.shares(DPID)[0].turns] == [0, 0]


def test_a_meter_that_was_set_anew_counts_from_nothing() -> None:
    """Open vSwitch forgets the counts of a meter that is changed, not its age: what it shows has passed since."""
    switch = Switch(policy_with(5))
    for age_ms, octets in ((1000, 10**6), (1200, 25_000)):
        counts = {meter: MeterCount(age_ms, octets, 0) for meter in switch.meters}
        switch.sharing.counted(DPID, counts, switch.meters)
    assert [turn.passes_kbps for turn in switch.sharing.shares(DPID)[0].turns] == [1000, 1000]


def test_meters_of_others_are_left_alone() -> None:
    """A meter that the switch does not have yet, or that is not of our making, is not changed."""
    policy = policy_with(5)
    switch = Switch(policy)
    low = switch.narrow.turns[1].meter
    for had in (None, {}):
        present = {switch.narrow.turns[0].meter: switch.meters[switch.narrow.turns[0].meter]}
        if had is None:
            present[low] = None  # type: ignore[assignment]
        counts = {switch.narrow.turns[0].meter: MeterCount(0, 0, 0)}
        switch.sharing.counted(DPID, counts, present)
        counts = {switch.narrow.turns[0].meter: MeterCount(200, 10**9, 0)}
        assert switch.sharing.counted(DPID, counts, present).altered == ()


def test_a_restart_keeps_the_rates_that_a_switch_has() -> None:
    """M26: what follows from loads is not set back to the whole rate; what is above the rate, or no rate, is."""
    policy = policy_with(5)
    wanted = host_meters(policy, "h1")
    (narrow,) = bottlenecks(policy, policy.snapshot.hosts["h1"])
    high, low = (turn.meter for turn in narrow.turns)
    sharing = Sharing(policy)
    for rate, kept in ((2000, True), (RATE_KBPS, True), (RATE_KBPS + 1, False)):
        had: dict[int, MeterConfig | None] = {number: config._replace(rate=rate) for number, config in wanted.items()}
        made = sharing.as_set(DPID, had, wanted)
        assert made[high] == wanted[high]
        assert made[low] == (had[low] if kept else wanted[low])
    squeezed = {**wanted, low: wanted[low]._replace(rate=2000)}
    first = {number: MeterCount(5000, 10**6, 0) for number in wanted}
    assert sharing.counted(DPID, first, squeezed).altered == ()
    assert sharing.as_set(DPID, {low: None}, wanted) == wanted


def test_one_priority_has_the_rate_for_itself() -> None:
    """S13: without priorities each bottleneck is one meter, and no switch is asked."""
    policy = policy_with()
    one = replace(vport("vm1", "h1", 1), bandwidth=Bandwidth(inbound_kbps=500))
    policy = compile_policy(policy.snapshot.changed([Change(kind="vports", key="vm1", value=one)]))
    found = bottlenecks(policy, policy.snapshot.hosts["h1"])
    assert [(narrow.vport, narrow.rate_kbps, len(narrow.turns)) for narrow in found] == [
        (None, RATE_KBPS, 1), ("vm1", 500, 1),
    ]  # fmt: skip
    assert list(Sharing(policy).datapaths()) == []
    high = replace(one, priority=3)
    policy = compile_policy(policy.snapshot.changed([Change(kind="vports", key="vm1", value=high)]))
    assert list(Sharing(policy).datapaths()) == [DPID]
    found = bottlenecks(policy, policy.snapshot.hosts["h1"])
    assert [[turn.priority for turn in narrow.turns] for narrow in found] == [[3, 0], [3, 0]]
