"""Which instances of functions answer their probes: when one is sent, which are lost, and what follows from it.

An instance works until `fall` probes in a row are lost, and again when `rise` in a row have come back.
What a process knows of it ends with the process, but for who has failed: that the switches tell the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from zlib import crc32

from ryu_apps.control.histogram import Durations, Histogram
from ryu_apps.engine.policy import Policy
from ryu_apps.model.hairpin import Hairpin
from ryu_apps.model.probe import Probe
from ryu_apps.pipeline.probing import Target, probe_frame, targets, token_of

TURN_S: Final = 0.02
"""How often a turn is taken while there is something to probe."""

_LATE_S: Final = 0.1
"""A turn that comes later than this shows that the process stood still; answers may wait unread meanwhile."""

Name = tuple[str, str]
"""A function and one of its instances, by id."""


class Aim(NamedTuple):
    """An instance and the datapath through which it is probed."""

    dpid: int
    target: Target


class Shot(NamedTuple):
    """A probe to be sent: out of which port of which datapath."""

    dpid: int
    port_no: int
    frame: bytes


class _Sent(NamedTuple):
    """When a probe was sent, and from when on it is lost."""

    sent_s: float
    until_s: float


@dataclass(slots=True)
class _State:
    """What is known of one instance; streak counts lost ones below 0 and those that came back above."""

    aim: Aim
    due_s: float
    reachable: bool = True
    works: bool = True
    streak: int = 0
    lost: int = 0
    answered: int = 0
    latency_s: float | None = None
    under_way: dict[bytes, _Sent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeCount:
    """What probes say of an instance: latency_s is that of the last one that came back, None while none has."""

    works: bool
    lost: int
    answered: int
    latency_s: float | None


def aims_of(policy: Policy, ready: Mapping[int, Mapping[str, int]]) -> dict[Name, Aim | None]:
    """Return where each instance is probed, None where its datapath or a port of it is not ready.

    ready has the ports by name of the datapaths that have their entries.
    """
    found: dict[Name, Aim | None] = {
        (function.id, one.id): None
        for function in policy.snapshot.functions.values()
        if function.probe is not None
        for one in function.instances
    }
    if found:
        for host in policy.snapshot.hosts.values():
            dpid = host.hairpin.function_port.dpid if isinstance(host.hairpin, Hairpin) else None
            for target in targets(policy, host, ready[dpid]) if dpid is not None and dpid in ready else ():
                found[target.function, target.instance] = Aim(dpid or 0, target)
    return found


class Probes:
    """The probes of all instances; time and chance come in as arguments."""

    def __init__(self) -> None:
        self.failed: frozenset[Name] = frozenset()
        """The instances that have failed by their probes."""
        self.failures: Counter[str] = Counter()
        """By function, how often an instance has failed, by a link or by its probes."""
        self._before: frozenset[Name] = frozenset()
        self._states: dict[Name, _State] = {}
        self._owners: dict[bytes, Name] = {}
        self._latencies: dict[str, Histogram] = {}
        self._turn_s: float | None = None

    def had_failed(self, names: Iterable[Name]) -> None:
        """Take note of instances that had failed before this process began: their probes must come back first."""
        self._before |= frozenset(names) - self._states.keys()
        self._judge()

    def aim(self, aims: Mapping[Name, Aim | None], now_s: float) -> bool:
        """Probe these instances from now on; return whether others have failed than before.

        One that cannot be reached keeps what is known of it; one that is probed otherwise than before begins anew.
        """
        self._before &= aims.keys()
        for name in self._states.keys() - aims.keys():
            self._forget_under_way(self._states.pop(name))
        for name, aim in aims.items():
            state = self._states.get(name)
            if aim is None:
                if state is not None:
                    state.reachable = False
                    self._forget_under_way(state)
            elif state is None or state.aim != aim:
                if state is not None:
                    self._forget_under_way(state)
                works = state is not None or name not in self._before
                self._states[name] = _State(aim, now_s + _phase_s(name, aim.target.probe), works=works)
            elif not state.reachable:
                state.reachable, state.due_s = True, now_s + _phase_s(name, aim.target.probe)
        self._before -= self._states.keys()
        functions = sorted({function for function, _ in aims})
        self._latencies = {name: self._latencies.get(name) or Histogram() for name in functions}
        return self._judge()

    def turn(self, now_s: float, draw: Callable[[], bytes]) -> tuple[list[Shot], bool]:
        """Return the probes that are due, and whether others have failed than before; draw returns a new token."""
        self._forgive(now_s)
        shots = []
        for name, state in self._states.items():
            probe = state.aim.target.probe
            self._lose(state, now_s)
            if not state.reachable or now_s < state.due_s:
                continue
            # What a late turn has left out is not made up for.
            state.due_s = max(state.due_s, now_s - TURN_S) + probe.interval_ms / 1000
            token = draw()
            state.under_way[token] = _Sent(now_s, now_s + probe.timeout_ms / 1000)
            self._owners[token] = name
            dpid, target = state.aim
            shots.append(Shot(dpid, target.inside, probe_frame(probe, token, target.tag)))
        return shots, self._judge()

    def came_back(self, dpid: int, in_port: int, frame: bytes, now_s: float) -> bool:
        """Take a frame that was caught as a probe; return whether others have failed than before."""
        token = token_of(frame)
        state = self._states.get(self._owners.get(token, ("", "")))
        if state is None or (dpid, in_port) != (state.aim.dpid, state.aim.target.outside):
            return False
        del self._owners[token]
        state.latency_s = now_s - state.under_way.pop(token).sent_s
        state.answered += 1
        state.streak = max(state.streak, 0) + 1
        self._latencies[state.aim.target.function].observe(state.latency_s, 1)
        return not state.works and self._judge()

    def count_of(self, name: Name) -> ProbeCount | None:
        """Return what probes say of an instance, None where it has not been probed."""
        state = self._states.get(name)
        if state is None:
            return None
        return ProbeCount(works=state.works, lost=state.lost, answered=state.answered, latency_s=state.latency_s)

    def latency_of(self, function: str) -> Durations | None:
        """Return how long the probes of a function took that came back, None where it has none."""
        histogram = self._latencies.get(function)
        return None if histogram is None else histogram.now()

    def _lose(self, state: _State, now_s: float) -> None:
        """Count the probes that were sent too long ago."""
        while state.under_way:
            token, sent = next(iter(state.under_way.items()))
            if now_s < sent.until_s:
                return
            del state.under_way[token], self._owners[token]
            state.lost += 1
            state.streak = min(state.streak, 0) - 1

    def _forgive(self, now_s: float) -> None:
        """Give what is under way the time for which this process stood still."""
        late_s = 0.0 if self._turn_s is None else now_s - self._turn_s - TURN_S
        self._turn_s = now_s
        if late_s > _LATE_S:
            for state in self._states.values():
                for token, sent in state.under_way.items():
                    state.under_way[token] = sent._replace(until_s=sent.until_s + late_s)

    def _forget_under_way(self, state: _State) -> None:
        for token in state.under_way:
            del self._owners[token]
        state.under_way.clear()

    def _judge(self) -> bool:
        """Decide who works; return whether that has changed."""
        for state in self._states.values():
            probe = state.aim.target.probe
            if state.works and -state.streak >= probe.fall:
                state.works = False
            elif not state.works and state.streak >= probe.rise:
                state.works = True
        before, failed = self.failed, [name for name, state in self._states.items() if not state.works]
        self.failed = self._before.union(failed)
        return before != self.failed


def _phase_s(name: Name, probe: Probe) -> float:
    """Return when in its interval an instance is probed, so that not all are at once."""
    return crc32("/".join(name).encode()) % probe.interval_ms / 1000
