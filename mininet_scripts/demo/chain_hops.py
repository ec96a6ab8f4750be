"""Steps that show which way two tenants' connections take: captures at every hop, and the entries of the switches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from mininet_scripts.demo import chain_picture, way
from mininet_scripts.demo.chain_tenants import Connection, connections
from mininet_scripts.demo.stage import Stage
from mininet_scripts.support import traffic
from mininet_scripts.support.behind_nat import ECHO_PORT
from mininet_scripts.support.capture import Capture, capture
from mininet_scripts.support.parsed import Frame, read_frame
from topologies.hairpin_parts import ChainFunction

# On both hosts: where frames enter the cable, where they enter functions and leave the last one, and the network.
_NETWORK = ("h1-cable", "h1n-uplink", "h2-cable")
_PSH = 0x08
# The mark and the class of entries that a switch has written by itself: docs/pipeline.md, Cookies.
_LEARNED = 0xF5C


class Sighting(NamedTuple):
    """When and where a segment was first seen, and how it was."""

    at_us: int
    place: str
    frame: Frame


def captured(stage: Stage) -> None:
    """Show both connections at every hop in order of time, with tag and addresses, and each tenant at its own alone."""
    both = connections(stage.net, 40_000)
    functions = [node for node in stage.net.hosts if isinstance(node, ChainFunction)]
    places = [*_NETWORK, *(f"{node.at}f-{node.name}-{side}" for node in functions for side in ("in", "out"))]
    with ExitStack() as stack:
        taken = {place: stack.enter_context(capture(None, place)) for place in places}
        for connection in both:
            server = stage.host(connection.server)
            stack.enter_context(traffic.tcp_echo_server(server, ECHO_PORT))
            taken[f"{server}-eth0"] = stack.enter_context(capture(server, f"{server}-eth0"))
            works = traffic.tcp_works(
                stage.host(connection.client), connection.address, ECHO_PORT,
                source_port=connection.source_port, exchanges=3,
            )  # fmt: skip
            what = f"Tenant {connection.tenant}: TCP {connection.client} → {connection.server}"
            stage.report.check(what, "echoed three times" if works else "NO CONNECTION", works)
        for connection in both:
            _tell(stage, connection, taken)
        _apart(stage, both, taken)


def _sightings(connection: Connection, taken: dict[str, Capture]) -> Iterator[Sighting]:
    """Yield the first sight of the connection's first segment with data at every place that had it."""
    macs = {header[end] for header in connection.headers for end in ("dl_src", "dl_dst")}
    for place, capturing in taken.items():
        for at_us, data in capturing.timed():
            frame = read_frame(data)
            if {frame.src, frame.dst} <= macs and frame.tcp_port(ECHO_PORT) and frame.l4[13] & _PSH:
                yield Sighting(at_us, place, frame)
                break


def _tell(stage: Stage, connection: Connection, taken: dict[str, Capture]) -> None:
    seen = sorted(_sightings(connection, taken))
    passed = [_function(stage, sighting.place) for sighting in seen]
    # Each function has two ports: one way through it is two sightings.
    order = tuple(name for name, again in zip(passed, [None, *passed], strict=False) if name and name != again)
    entered = " → ".join(name for name in order)
    stage.report.check(
        f"Tenant {connection.tenant}: functions by captures", entered or "none", order == connection.hops
    )
    lines = [_line(seen[0].at_us, sighting) for sighting in seen]
    stage.report.detail(f"The first data of tenant {connection.tenant}'s connection, wherever it was seen:", lines)


def _function(stage: Stage, place: str) -> str | None:
    name = place.split("-")[1]
    return stage.net[name].function if name in stage.net else None


def _line(began_us: int, sighting: Sighting) -> str:
    frame = sighting.frame
    source, destination = (".".join(map(str, frame.payload[at : at + 4])) for at in (12, 16))
    tag = "untagged" if frame.vlan is None else f"VLAN {frame.vlan}"
    return f"{sighting.at_us - began_us:6} µs  {sighting.place:14} {tag:9} {source:>10} → {destination}"


def _apart(stage: Stage, both: tuple[Connection, Connection], taken: dict[str, Capture]) -> None:
    """Show that no function has seen a frame of the other tenant's VMs."""
    own = {"red": {"filter", "shaper", "nat"}, "blue": {"guard"}}
    for connection, other in (both, both[::-1]):
        strangers = {stage.host(vm).defaultIntf().MAC() for vm in (other.client, other.server)}
        seen = [
            read_frame(data)
            for place, capturing in taken.items()
            if _function(stage, place) in own[connection.tenant]
            for data in capturing.frames()
        ]
        of_others = sum(bool({frame.src, frame.dst} & strangers) for frame in seen)
        stage.report.check(
            f"Frames of the other tenant at {connection.tenant}'s functions",
            f"{of_others} of {len(seen)}",
            len(seen) > 0 and of_others == 0,
        )


def followed(stage: Stage, *, picture: Path) -> None:
    """Show that the switches' entries, learned ones included, have both connections take these ways, and draw them."""
    both = connections(stage.net, 40_001)
    with ExitStack() as stack:
        for connection in both:
            server, client = stage.host(connection.server), stage.host(connection.client)
            stack.enter_context(traffic.tcp_echo_server(server, ECHO_PORT))
            talk = traffic.tcp_talk(client, connection.address, ECHO_PORT, source_port=connection.source_port)
            stack.enter_context(talk).wait_count(10)
        entries = way.dumps(stage.net)
    learned = sum(entry.cookie >> 52 == _LEARNED for found in entries.values() for entry in found)
    drawn = {}
    for connection in both:
        there = way.follow(stage.net, entries, connection.client, connection.headers)
        back = way.follow(stage.net, entries, connection.server, connection.replies())
        graph = way.graph_of(there, back)
        drawn[connection.tenant] = (there, graph)
        ends = f"{connection.client}-eth0", f"{connection.server}-eth0"
        for title, (begin, end), expected in (
            ("there", ends, connection.hops),
            ("back", ends[::-1], connection.hops[::-1]),
        ):
            names = way.hops(graph, begin, end)
            found = tuple([stage.net[name].function for name in names])
            seen = " → ".join(names) or "no way"
            stage.report.check(f"Tenant {connection.tenant}: functions by entries, {title}", seen, found == expected)
    chain_picture.draw(picture, stage.net, drawn)
    steps = sum(len(graph.edges) for _, graph in drawn.values())
    total = sum(map(len, entries.values()))
    stage.report.check(
        f"The picture {picture}", f"{steps} steps by {total} entries, {learned} of them learned",
        picture.stat().st_size > 0 and learned > 0,
    )  # fmt: skip
