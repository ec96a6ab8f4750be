"""How much a vport may ask that asks far too much."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.control.floods import FAR_TOO_MUCH, Floods, slowed, steps_for
from ryu_apps.engine.policy import Policy, compile_policy, recompile
from ryu_apps.model.action import Allow, RateUnit
from ryu_apps.model.policy import Change
from ryu_apps.pipeline.meters import MeterConfig
from tests.unit.policies import OUT, group, layer, rule, snapshot, vport

METER = MeterConfig(7, RateUnit.PPS, 500, 256)
OTHER = METER._replace(number=8)
WANTED = {7: METER, 8: OTHER}
DPID = 1


class Switch:
    """The meters of one switch: set as they are told, counting from nothing when they change, as Open vSwitch does."""

    def __init__(self) -> None:
        self.floods = Floods()
        self.present: dict[int, MeterConfig | None] = dict(WANTED)
        self.dropped = dict.fromkeys(WANTED, 0)
        self.now_s = 100.0
        self.read(0)

    def read(self, offered_pps: int, wanted: dict[int, MeterConfig] = WANTED) -> MeterConfig | None:
        """Return how meter 7 is set a second later, in which so many packets asked."""
        self.now_s += 1
        found = self.present[7]
        self.dropped[7] += max(0, offered_pps - found.rate) if found is not None else 0
        slow = {number: self.present.get(number) for number in self.floods.slowed_at(DPID)}
        for made in self.floods.counted(DPID, wanted, self.dropped, slow, self.now_s):
            self.present[made.number], self.dropped[made.number] = made, 0
        assert self.present[8] == OTHER
        return self.present[7]


def rate(config: MeterConfig | None) -> int:
    """Return the rate of a meter that is there."""
    assert config is not None
    return config.rate


def test_a_flood_is_slowed_down_at_once_and_let_up_step_by_step() -> None:
    """S07, M21: a vport that asks 200 times its rate may ask a 64th of it, until it stops; no other is touched."""
    switch = Switch()
    assert switch.read(100_000) == METER._replace(rate=7, burst=7)
    for _ in range(20):
        assert rate(switch.read(100_000)) == 7
    let_up = [rate(switch.read(0)) for _ in range(12)]
    assert let_up == sorted(let_up) and set(let_up) == {15, 31, 62, 125, 250, 500}
    assert switch.present[7] == METER and not switch.floods.slowed_at(DPID)


def test_a_little_too_much_is_dropped_and_no_more() -> None:
    """S07: a vport that asks some times its rate keeps its rate."""
    switch = Switch()
    for _ in range(5):
        assert switch.read(500 * FAR_TOO_MUCH) == METER


def test_a_meter_that_was_set_anew_is_not_taken_for_slow() -> None:
    """S07: a rate that policy or a fresh start has put meanwhile is slowed down from there, and let up to there."""
    switch = Switch()
    switch.read(100_000)
    faster = METER._replace(rate=2000, burst=500)
    switch.present[7], switch.dropped[7] = faster, 0
    wanted = {**WANTED, 7: faster}
    assert switch.read(0, wanted) == switch.read(0, wanted) == faster
    assert rate(switch.read(100_000, wanted)) == 2000 >> steps_for(2000, 98_000)


def test_a_meter_that_went_is_forgotten() -> None:
    """S07: the meter of a vport that is gone, or of a switch that came back without it, is not asked about again."""
    switch = Switch()
    switch.read(100_000)
    assert switch.floods.slowed_at(DPID) == {7}
    assert switch.floods.counted(DPID, {8: OTHER}, {8: 0}, {}, switch.now_s + 1) == ()
    assert not switch.floods.slowed_at(DPID)


def test_only_what_meters_follow_from_has_them_made_again() -> None:
    """S07: a change of rules leaves the known meters of misses as they are, one of a vport's rate does not."""
    floods = Floods()
    policy = compile_policy(snapshot(layer("l", 1)))
    known = floods.meters(policy)
    assert [(dpid, len(each.configs), sorted(each.owners.values())) for dpid, each in sorted(known.items())] == [
        (1, 4, [101, 101, 102, 102]),
        (2, 2, [103, 103]),
    ]
    ruled = _changed(policy, group("l", "g", OUT, rule("r", Allow())))
    assert floods.meters(ruled) is known
    faster = replace(vport("vm3", "h2", 3), miss_rate_pps=900)
    again = floods.meters(_changed(ruled, Change(kind="vports", key="vm3", value=faster)))
    assert {config.rate for config in again[2].configs.values()} == {900}


def _changed(policy: Policy, change: Change) -> Policy:
    return recompile(policy, policy.snapshot.changed([change]), [change])


@given(st.integers(1, 1_000_000), st.floats(0, 1e7), st.floats(0, 1e7))
def test_more_flood_never_gets_more(config_pps: int, less: float, more: float) -> None:
    """S07: what a meter lets through never rises with what comes, is never more than its rate, and never nothing."""
    less, more = sorted((less, more))
    config = METER._replace(rate=config_pps)
    gets = [slowed(config, steps_for(config_pps, dropped)).rate for dropped in (less, more)]
    assert config_pps >= gets[0] >= gets[1] >= 1
