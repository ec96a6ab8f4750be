"""What a load showed, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one controller did under one load.

    rates holds answers per second, one number per slice; latencies_us is sorted and empty unless one was outstanding
    or the load was paced; busy is the share of time in which the generator had something to do, cpu_s the processor
    time of the controller, 0 when it was not looked at.
    Of a paced load, stood_still is the share of time that the generator missed, and waited the share of it in which
    the controller was ready and had no core; None when it was not looked at.
    """

    outstanding: int
    rates: tuple[float, ...]
    latencies_us: tuple[float, ...] = ()
    sent: int
    lost: int
    flow_mods: int
    busy: float
    cpu_s: float = 0.0
    stood_still: float | None = None
    waited: float | None = None

    @property
    def rate(self) -> float:
        """The median rate of the slices."""
        return median(self.rates)

    @property
    def flow_mods_per_answer(self) -> float:
        """Flow-mods for each packet-out."""
        return self.flow_mods / max(1, self.sent - self.lost)

    @property
    def cpu_us_per_answer(self) -> float:
        """The controller's processor time for each packet-out, in microseconds."""
        return self.cpu_s * 1e6 / max(1, self.sent - self.lost)

    def percentile_us(self, share: float) -> float | None:
        """Return the latency that the share of answers stayed within, None when it was not measured."""
        if not self.latencies_us:
            return None
        return self.latencies_us[min(len(self.latencies_us) - 1, int(share * len(self.latencies_us)))]

    def merged(self, other: Measurement) -> Measurement:
        """Return both measurements, of one kind of load, as one."""
        total = self.sent + other.sent

        def mean(mine: float, theirs: float) -> float:
            return (mine * self.sent + theirs * other.sent) / max(1, total)

        return Measurement(
            outstanding=self.outstanding,
            rates=self.rates + other.rates,
            latencies_us=tuple(sorted(self.latencies_us + other.latencies_us)),
            sent=total,
            lost=self.lost + other.lost,
            flow_mods=self.flow_mods + other.flow_mods,
            busy=mean(self.busy, other.busy),
            cpu_s=self.cpu_s + other.cpu_s,
            stood_still=None if self.stood_still is None else mean(self.stood_still, other.stood_still or 0),
            waited=None if self.waited is None else mean(self.waited, other.waited or 0),
        )


def summary(measurement: Measurement) -> dict[str, object]:
    """Return the figures of a measurement for the JSON line."""
    p50, p99 = measurement.percentile_us(0.50), measurement.percentile_us(0.99)
    return {
        "outstanding": measurement.outstanding,
        "misses_per_s": round(measurement.rate),
        "slices": [round(rate) for rate in measurement.rates],
        "p50_us": p50 and round(p50, 1),
        "p99_us": p99 and round(p99, 1),
        "sent": measurement.sent,
        "lost": measurement.lost,
        "flow_mods_per_answer": round(measurement.flow_mods_per_answer, 2),
        "cpu_us_per_miss": round(measurement.cpu_us_per_answer, 1) or None,
        "generator_busy": round(measurement.busy, 2),
        "generator_stood_still": measurement.stood_still and round(measurement.stood_still, 4),
        "controller_waited": measurement.waited and round(measurement.waited, 4),
    }


# CPU µs is the controller's processor time per answer, busy the generator's share of time not spent waiting; of a
# paced load, stood is the generator's share of time missed, waited the controller's without a core.
HEADINGS: Final = (
    "controller", "outstanding", "misses/s", "p50 µs", "p99 µs", "lost", "flow-mods", "CPU µs", "busy", "stood",
    "waited",
)  # fmt: skip


def row(name: str, measurement: Measurement) -> tuple[str, ...]:
    """Return the figures of a measurement for the table."""
    p50, p99 = (measurement.percentile_us(share) for share in (0.50, 0.99))
    return (
        name,
        str(measurement.outstanding) if measurement.outstanding else "paced",
        f"{measurement.rate:,.0f}",
        f"{p50:,.0f}" if p50 else "",
        f"{p99:,.0f}" if p99 else "",
        str(measurement.lost),
        f"{measurement.flow_mods_per_answer:.2f}",
        f"{measurement.cpu_us_per_answer:.1f}" if measurement.cpu_s else "",
        f"{measurement.busy:.0%}",
        "" if measurement.stood_still is None else f"{measurement.stood_still:.1%}",
        "" if measurement.waited is None else f"{measurement.waited:.1%}",
    )


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, the first aligned left and the others right."""
    widths = [max(len(each[i]) for each in (headings, *rows)) for i in range(len(headings))]
    for each in (headings, tuple("-" * width for width in widths), *rows):
        first, *others = (f"{text:>{width}}" for text, width in zip(each, widths, strict=True))
        print("  ".join((first.strip().ljust(widths[0]), *others)).rstrip())
