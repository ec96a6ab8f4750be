"""The plot of bench_nic_cache: the part of the optimum's hit ratio by table size, one panel for each traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

# Text stays text, and the same figures give the same file.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "vfswitch", "font.size": 9})


def draw(
    path: Path, series: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], parts: Sequence[float], bar: float
) -> None:
    """Write the plot; series holds for each panel and policy the values of all seeds at each table size."""
    figure, panels = pyplot.subplots(1, len(series), sharey=True, figsize=(8, 3.4), layout="constrained")
    places = range(len(parts))
    for panel, (title, lines) in zip(panels, series.items(), strict=True):
        for (name, values), marker in zip(lines.items(), "osD^", strict=True):
            middle = [sorted(each)[len(each) // 2] for each in values]
            (line,) = panel.plot(places, middle, marker=marker, markersize=4, label=name)
            low, high = ([pick(each) for each in values] for pick in (min, max))
            panel.fill_between(places, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        panel.axhline(bar, color="black", linewidth=0.8, linestyle=":")
        panel.set_title(title, fontsize=9)
        panel.set_xticks(places, [f"{part:.0%}" for part in parts])
        panel.set_xlabel("table size, of the flows")
    lowest = min(value for lines in series.values() for values in lines.values() for each in values for value in each)
    panels[0].set_ylim(min(lowest, bar) - 0.05, 1.02)
    panels[0].set_ylabel("hit ratio, of the optimum's")
    panels[-1].legend(loc="lower right", frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
