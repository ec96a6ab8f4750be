"""The picture of connections' ways through chains: every port, and the tag with which frames leave each switch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib

matplotlib.use("svg")
import networkx
from matplotlib import pyplot
from matplotlib.axes import Axes
from mininet.net import Mininet
from mininet.node import Node

from mininet_scripts.demo.way import Step
from topologies.hairpin_parts import ChainFunction, FunctionPort, NetworkPort
from topologies.parts import NicBridge, TopOfRack

# Text stays text, and the same ways give the same file.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "vfswitch", "font.size": 7})

# How high each kind of device stands, with its colour and what it is called.
_LEVELS: tuple[tuple[type[Node], float, str, str], ...] = (
    (ChainFunction, 0.0, "#e69f00", "network function"),
    (FunctionPort, 1.0, "#56b4e9", "NIC port 2"),
    (NetworkPort, 2.0, "#009e73", "NIC port 3"),
    (NicBridge, 3.0, "#0072b2", "NIC port 1"),
    (TopOfRack, 3.0, "#999999", "top of rack"),
    (Node, 4.0, "#cc79a7", "VM"),
)

# What is written stays readable where an arrow passes under it.
_PAPER: Final = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 0.5}


def draw(path: Path, net: Mininet, ways: Mapping[str, tuple[Sequence[Step], networkx.DiGraph]]) -> None:
    """Write a picture with a panel for each tenant: its connection's ports along its way, and its graph's steps."""
    figure, panels = pyplot.subplots(len(ways), 1, figsize=(15, 4.2 * len(ways)), layout="constrained")
    for panel, (name, (steps, graph)) in zip(panels, ways.items(), strict=True):
        _panel(panel, net, steps, graph)
        panel.set_title(f"tenant {name}: {steps[0].begin} to {steps[-1].end}" if steps else f"tenant {name}: no way")
    for _, _, colour, title in _LEVELS:
        panels[0].scatter([], [], color=colour, label=title)
    panels[0].legend(loc="upper right", frameon=False, ncols=len(_LEVELS), bbox_to_anchor=(1, 1.02))
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _panel(panel: Axes, net: Mininet, steps: Sequence[Step], graph: networkx.DiGraph) -> None:
    ports = [step.begin for step in steps] + [step.end for step in steps[-1:]]
    looks = {port: _look(net, port) for port in ports}
    places = {port: (number, looks[port][0]) for number, port in enumerate(ports)}
    part = graph.subgraph(ports)
    colours = [looks[port][1] for port in part]
    networkx.draw_networkx_nodes(part, places, ax=panel, node_size=60, node_color=colours)
    for through, style in ((True, "solid"), (False, "dotted")):
        edges = [(begin, end) for begin, end, by in part.edges(data="by") if bool(by) == through]
        networkx.draw_networkx_edges(
            part, places, edgelist=edges, ax=panel, style=style, node_size=60, arrowsize=7, width=0.8,
            connectionstyle="arc3,rad=0.12",
        )  # fmt: skip
    for port, (x, y) in places.items():
        panel.annotate(
            port, (x, y), xytext=(0, -7), textcoords="offset points", rotation=90, ha="center", va="top", bbox=_PAPER
        )
    for step in steps:
        if step.by and step.vlan is not None:
            (begin, _), (end, y) = places[step.begin], places[step.end]
            panel.annotate(
                f"VLAN {step.vlan}", ((begin + end) / 2, y), xytext=(0, 8), textcoords="offset points", ha="center",
                color="#d55e00", bbox=_PAPER,
            )  # fmt: skip
    panel.set_ylim(-1.3, 4.6)
    panel.set_axis_off()


def _look(net: Mininet, port: str) -> tuple[float, str]:
    """Return how high a port stands, and its colour."""
    owner = net[port.partition("-")[0]]
    return next((level, colour) for kind, level, colour, _ in _LEVELS if isinstance(owner, kind))
