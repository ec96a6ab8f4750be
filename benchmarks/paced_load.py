"""Misses at an even rate, and how long each takes, without what is the generator's or another program's doing."""

from __future__ import annotations

import time
from array import array
from typing import Final

from benchmarks.fake_switch import FakeSwitch
from benchmarks.frames import ConnectionRing
from benchmarks.measurement import Measurement
from benchmarks.undisturbed import undisturbed, waited_ns

_ANSWER_TIMEOUT_NS: Final = 1_000_000_000
# Both programs come from a break in which others had the cores: their memory is not in the caches any more.
_WARM_UP_S: Final = 0.05
# Further behind than this, the generator has stood still itself.
_BEHIND_NS: Final = 100_000


def measure_paced(
    switch: FakeSwitch, ring: ConnectionRing, *, rate: float, slices: int, slice_s: float, pid: int | None = None
) -> Measurement:
    """Return latencies at an even rate, of a controller with this process id if it runs here.

    A miss counts from when it was due until the kernel has taken in its answer.
    So all that the controller does counts, a pause of it for every miss that was due meanwhile;
    but the generator's own pauses do not: what falls into one is not sent later in a burst, but not at all.
    How long they were is reported, and so is how long the controller was kept from its core by other programs.
    What the programs lose in the break before each slice, which is the benchmark's own, does not count either:
    the first 50 ms of the load are left out.
    Answers are taken to come in order, so one that is lost makes all after it look late.
    """
    switch.record = False
    switch.stamp_answers()
    parts: list[_Slice] = []
    for _ in range(slices):
        with undisturbed(pid):
            _Slice(switch, ring, rate, _WARM_UP_S, pid)
            parts.append(_Slice(switch, ring, rate, slice_s, pid))
    elapsed_s = sum(part.elapsed_s for part in parts)
    sent, answered = sum(part.sent for part in parts), sum(len(part.latencies_us) for part in parts)
    return Measurement(
        outstanding=0,
        rates=tuple(len(part.latencies_us) / part.elapsed_s for part in parts),
        latencies_us=tuple(sorted(latency for part in parts for latency in part.latencies_us)),
        sent=sent,
        lost=sent - answered,
        flow_mods=sum(part.flow_mods for part in parts),
        busy=1 - sum(part.idle_s for part in parts) / elapsed_s,
        stood_still=sum(part.stood_still_ns for part in parts) / 1e9 / elapsed_s,
        waited=None if waited_ns(pid) is None else sum(part.waited_ns for part in parts) / 1e9 / elapsed_s,
    )


class _Slice:
    """One stretch of load."""

    def __init__(
        self, switch: FakeSwitch, ring: ConnectionRing, rate: float, duration_s: float, pid: int | None
    ) -> None:
        clock, step_ns, total = time.time_ns, 1e9 / rate, int(rate * duration_s)
        self.sent = 0
        self.stood_still_ns = 0.0
        # Places for all that is noted are there at once: to ask for memory meanwhile would be a pause of the generator.
        self.latencies_us, due_ns, answered = array("d", bytes(8 * total)), array("d", bytes(8 * total)), 0
        flow_mods, idle_s, waited_before_ns = switch.flow_mods, switch.idle_s, waited_ns(pid) or 0
        base = switch.packet_outs
        started_ns = heard_ns = clock()
        first_ns = float(started_ns)
        while answered < total:
            now_ns = clock()
            behind_ns = now_ns - first_ns - self.sent * step_ns
            if behind_ns >= 0 and self.sent < total:
                if behind_ns > _BEHIND_NS and not switch.crowded:
                    self.stood_still_ns += behind_ns
                    first_ns += behind_ns
                    behind_ns = 0.0
                count = min(int(behind_ns / step_ns) + 1, total - self.sent)
                switch.send(ring.take(count))
                for number in range(self.sent, self.sent + count):
                    due_ns[number] = first_ns + number * step_ns
                self.sent += count
            if switch.pump(0):
                heard_ns = now_ns
                before, answered = answered, min(self.sent, switch.packet_outs - base)
                for number in range(before, answered):
                    self.latencies_us[number] = (switch.stamp_ns - due_ns[number]) / 1000
            elif self.sent == total and now_ns - heard_ns > _ANSWER_TIMEOUT_NS:
                break
        del self.latencies_us[answered:]
        self.elapsed_s = (clock() - started_ns) / 1e9
        self.flow_mods = switch.flow_mods - flow_mods
        self.idle_s = switch.idle_s - idle_s
        self.waited_ns = (waited_ns(pid) or 0) - waited_before_ns
