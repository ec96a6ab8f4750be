"""The way of a connection through a network of chains, followed in what the switches have: a graph of ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import networkx
from mininet.net import Mininet
from mininet.node import Node

from mininet_scripts.support import flow_dump, hosts
from mininet_scripts.support.crossings import Packet, leave
from mininet_scripts.support.flow_dump import FlowEntry
from topologies.hairpin_parts import ChainFunction
from topologies.parts import OPENFLOW, UserspaceBridge

_MOST_STEPS = 100


class Step(NamedTuple):
    """A packet's step: from one port to another of a switch, through a function, or along a wire (`by` is empty)."""

    begin: str
    end: str
    by: str
    vlan: int | None


def dumps(net: Mininet) -> dict[str, list[FlowEntry]]:
    """Return the entries of every switch of a network, those that it has learned included."""
    names = [switch.name for switch in net.switches if isinstance(switch, UserspaceBridge)]
    command = ("ovs-ofctl", "-O", OPENFLOW, "--names", "dump-flows")
    return {name: flow_dump.parse_all(hosts.run(None, *command, name)) for name in names}


def follow(
    net: Mininet, entries: Mapping[str, Sequence[FlowEntry]], vm: str, headers: Sequence[Mapping[str, str]]
) -> list[Step]:
    """Return the steps of a TCP packet from a VM to where it ends, as the switches' entries would have it go.

    headers has its fields as the VM sends them, and as they are behind each function that changes them.
    """
    return list(_steps(net, entries, net[vm], list(headers)))


def _steps(
    net: Mininet, entries: Mapping[str, Sequence[FlowEntry]], begin: Node, headers: list[Mapping[str, str]]
) -> Iterator[Step]:
    wires = dict(_wires(net))
    packet = Packet(fields=headers.pop(0))
    out = begin.defaultIntf().name
    for _ in range(_MOST_STEPS):
        node, port = wires[out]
        yield Step(out, port, "", packet.vlan)
        if isinstance(node, ChainFunction):
            out = node.outside if port == node.inside else node.inside
            if node.function == "nat":
                packet = Packet(fields=headers.pop(0))
        elif isinstance(node, UserspaceBridge):
            left = leave(entries[node.name], port, packet)
            if left is None:
                return
            out, packet = left.port, left.packet
        else:
            return
        yield Step(port, out, node.name, packet.vlan)


def _wires(net: Mininet) -> Iterator[tuple[str, tuple[Node, str]]]:
    """Yield what is at the other end of each interface."""
    for link in net.links:
        for here, there in ((link.intf1, link.intf2), (link.intf2, link.intf1)):
            yield here.name, (there.node, there.name)


def graph_of(*ways: Sequence[Step]) -> networkx.DiGraph:
    """Return the graph of a connection's ways, there and back: ports are its nodes, steps its edges."""
    graph = networkx.DiGraph()
    for step in (step for steps in ways for step in steps):
        graph.add_edge(step.begin, step.end, by=step.by, vlan=step.vlan)
    return graph


def hops(graph: networkx.DiGraph, begin: str, end: str) -> list[str]:
    """Return the functions on the one way between two ports of a graph, in order; empty where there is none."""
    if begin not in graph or end not in graph or not networkx.has_path(graph, begin, end):
        return []
    path = networkx.shortest_path(graph, begin, end)
    by = (graph.edges[edge]["by"] for edge in pairwise(path))
    ports = {name.rpartition("-")[0] for name in path if name.endswith("-in")}
    return [name for name in by if name in ports]
