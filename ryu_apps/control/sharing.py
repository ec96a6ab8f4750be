"""How much each priority may pass where several share a rate: the highest all of it, each lower one what is left.

The meters of a switch are read several times a second, and the rates of lower priorities follow what higher ones use.
The switch goes on by the last rates while the controller is away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from ryu_apps.control.effects import MeterChange
from ryu_apps.engine.policy import Policy
from ryu_apps.model.action import RateUnit
from ryu_apps.pipeline.bottlenecks import Bottleneck, bottlenecks
from ryu_apps.pipeline.meters import MeterConfig, rate_config

# Of a bottleneck's rate: what the lowest keeps, so that a connection does not die of it, and what is not worth a
# change, because a meter that is changed lets a burst through once more.
LEAST_SHARE: Final = 100
_WORTH: Final = 33
# A changed meter begins with a full bucket, so it is small: five full Ethernet frames, or 100 ms at its rate.
_LEAST_BURST_KBIT: Final = 60
_BURST_PER_RATE: Final = 10


class MeterCount(NamedTuple):
    """What a meter has counted: octets that it let through and that it dropped, and the switch's clock in ms."""

    age_ms: int
    passed_bytes: int
    dropped_bytes: int
    dropped_pkts: int = 0


class Use(NamedTuple):
    """What passed a meter between its last two readings, and between the two before, in kbit/s; None: not known yet."""

    read: MeterCount
    kbps: int | None = None
    kbps_before: int = 0

    @property
    def most_kbps(self) -> int | None:
        """The larger of both, so that a pause of one reading gives nothing away."""
        return None if self.kbps is None else max(self.kbps, self.kbps_before)


class TurnReport(NamedTuple):
    """One priority at a bottleneck: what passes, and the most that may, in kbit/s."""

    priority: int
    passes_kbps: int
    allowed_kbps: int


class Shares(NamedTuple):
    """How priorities share a bottleneck, the uplink (vport None) or the bandwidth toward a VM, from the highest on."""

    vport: str | None
    rate_kbps: int
    turns: tuple[TurnReport, ...]


class Sharing:
    """What was read of the meters at bottlenecks where there are several priorities."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._uses: dict[int, dict[int, Use]] = {}
        self._allowed: dict[int, dict[int, int]] = {}

    def datapaths(self) -> Iterator[int]:
        """Yield the datapaths whose meters are to be read."""
        for host in self.policy.snapshot.hosts.values():
            if any(len(narrow.turns) > 1 for narrow in bottlenecks(self.policy, host)):
                yield host.dpid

    def counted(
        self, dpid: int, counts: Mapping[int, MeterCount], present: Mapping[int, MeterConfig | None]
    ) -> MeterChange:
        """Return how the meters of a datapath are to change, given what they have counted and how they are set."""
        before = self._uses.get(dpid, {})
        uses = {number: _use(before.get(number), count) for number, count in counts.items()}
        altered: list[MeterConfig] = []
        allowed: dict[int, int] = {}
        shared = tuple(self._shared(dpid))
        for narrow in shared:
            for wanted in _rates(narrow, uses):
                found = present.get(wanted.number)
                if found is None:
                    continue
                allowed[wanted.number] = found.rate
                if _differs(narrow.rate_kbps, found, wanted):
                    altered.append(wanted)
                    allowed[wanted.number] = wanted.rate
        read = self.followed(dpid)
        self._uses[dpid] = {number: use for number, use in uses.items() if number in read}
        self._allowed[dpid] = allowed
        return MeterChange(altered=tuple(altered))

    def followed(self, dpid: int) -> set[int]:
        """Return the numbers of the meters of a datapath that are read."""
        return {turn.meter for narrow in self._shared(dpid) for turn in narrow.turns}

    def as_set(
        self, dpid: int, present: Mapping[int, MeterConfig | None], wanted: Mapping[int, MeterConfig]
    ) -> dict[int, MeterConfig]:
        """Return the meters that a datapath must have; those that follow others stay as the switch has them."""
        made = dict(wanted)
        for narrow in self._shared(dpid):
            for turn in narrow.turns[1:]:
                found = present.get(turn.meter)
                if found is not None and found.unit is RateUnit.KBPS and found.rate <= narrow.rate_kbps:
                    made[turn.meter] = found
        return made

    def shares(self, dpid: int) -> tuple[Shares, ...]:
        """Return how the bottlenecks of a datapath are shared that have several priorities."""
        uses, allowed = self._uses.get(dpid, {}), self._allowed.get(dpid, {})

        def turn(priority: int, meter: int, rate_kbps: int) -> TurnReport:
            passes = uses[meter].kbps if meter in uses else None
            return TurnReport(priority, passes or 0, allowed.get(meter, rate_kbps))

        return tuple(
            Shares(narrow.vport, narrow.rate_kbps, tuple(turn(*each, narrow.rate_kbps) for each in narrow.turns))
            for narrow in self._shared(dpid)
        )

    def _shared(self, dpid: int) -> Iterator[Bottleneck]:
        for host in self.policy.snapshot.hosts.values():
            if host.dpid == dpid:
                yield from (narrow for narrow in bottlenecks(self.policy, host) if len(narrow.turns) > 1)


def _use(before: Use | None, count: MeterCount) -> Use:
    """Return what a meter's new count tells: a meter that was changed counts from 0 again, with its age going on."""
    if before is None or count.age_ms < before.read.age_ms:
        return Use(count)
    lasted_ms = count.age_ms - before.read.age_ms
    if not lasted_ms:
        return before
    passed = count.passed_bytes - before.read.passed_bytes
    if passed < 0:
        passed = count.passed_bytes
    return Use(count, passed * 8 // lasted_ms, before.kbps or 0)


def _rates(narrow: Bottleneck, uses: Mapping[int, Use]) -> Iterator[MeterConfig]:
    """Yield how the meters of a bottleneck should be set: each to what those above it leave, if that is known."""
    highest, *lower = narrow.turns
    yield rate_config(highest.meter, narrow.rate_kbps)
    least = max(narrow.rate_kbps // LEAST_SHARE, 1)
    left, above = narrow.rate_kbps, highest.meter
    for turn in lower:
        used_kbps = uses[above].most_kbps if above in uses else None
        if used_kbps is None:
            return
        left = max(left - used_kbps, least)
        yield _rate_config(turn.meter, narrow.rate_kbps, left)
        above = turn.meter


def _rate_config(meter: int, whole: int, left: int) -> MeterConfig:
    """Return the meter for what is left of a whole rate; all of it comes with the burst of any bandwidth."""
    if left == whole:
        return rate_config(meter, whole)
    return MeterConfig(meter, RateUnit.KBPS, left, max(left // _BURST_PER_RATE, _LEAST_BURST_KBIT))


def _differs(whole: int, found: MeterConfig, wanted: MeterConfig) -> bool:
    """Return whether a meter's rate is worth a change; the ends of its range always are."""
    least = max(whole // LEAST_SHARE, 1)
    if found.rate == wanted.rate:
        return False
    return wanted.rate in (least, whole) or abs(found.rate - wanted.rate) > whole // _WORTH
