"""The two tenants of the hairpin demonstration, with their chains, functions and connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from mininet.net import Mininet

from mininet_scripts.demo.stage import Stage
from mininet_scripts.support import behind_nat
from mininet_scripts.support.behind_nat import ECHO_PORT, FAR, NEAR
from mininet_scripts.support.registration import (
    address_of,
    register_chain,
    register_function,
    register_hosts,
    register_outlets,
    register_tenant,
    register_vports,
)

BLUE_VLAN = 400
RATE_KBPS = 50_000
# A frozen filter is found out in 0.2 + 1 s; on a busy machine an answer may well take longer than one would think.
PROBE: dict[str, Any] = {"interval_ms": 200, "timeout_ms": 1000, "fall": 2, "rise": 2}

Header = Mapping[str, str]


class Connection(NamedTuple):
    """A tenant's connection: its ends, the functions on its way, and its header between those that change it."""

    tenant: str
    source_port: int
    client: str
    server: str
    address: str
    hops: tuple[str, ...]
    headers: tuple[Header, ...]

    def replies(self) -> tuple[Header, ...]:
        """Return the header of its replies on each part of their way."""
        return tuple([{_SWAPPED[name]: value for name, value in header.items()} for header in self.headers[::-1]])


_SWAPPED = {f"{kind}_{end}": f"{kind}_{other}" for kind in ("dl", "nw", "tp") for end, other in
            (("src", "dst"), ("dst", "src"))}  # fmt: skip


@contextmanager
def prepared(stage: Stage) -> Iterator[None]:
    """Have both tenants registered and their functions at work while the block runs."""
    client, net = stage.client, stage.net
    register_hosts(client, net)
    behind_nat.register(client, net)
    with behind_nat.subnets(net), behind_nat.at_work(net, rate_kbps=RATE_KBPS) as functions:
        register_tenant(client, "blue", vlan=BLUE_VLAN)
        register_function(client, net, "guard")
        register_chain(client, "blue", "blue", "guard")
        register_vports(client, net, "blue", "vm3", "vm4", "vm7")
        register_outlets(client, net, "blue")
        # From now on the filters are asked again and again whether they pass what they should.
        register_function(client, net, "filter", probe=PROBE)
        stage.functions.update(functions)
        yield


def connections(net: Mininet, source_port: int) -> tuple[Connection, Connection]:
    """Return tenant red's connection through the NATs of both hosts, and tenant blue's, from this port.

    The NATs keep a port that nobody else has there.
    """
    red = (
        _header(net, source_port, "vm1-eth0", "nat1-in", NEAR.address, FAR.outside),
        _header(net, source_port, "nat1-out", "nat2-out", NEAR.outside, FAR.outside),
        _header(net, source_port, "nat2-in", "vm5-eth0", NEAR.outside, FAR.address),
    )
    blue = _header(net, source_port, "vm3-eth0", "vm7-eth0", address_of("vm3").ipv4, address_of("vm7").ipv4)
    hops = (*behind_nat.HOPS, *reversed(behind_nat.HOPS))
    return (
        Connection("red", source_port, NEAR.vm, FAR.vm, FAR.outside, hops, red),
        Connection("blue", source_port, "vm3", "vm7", address_of("vm7").ipv4, ("guard", "guard"), (blue,)),
    )


def _header(net: Mininet, source_port: int, sender: str, receiver: str, source: str, destination: str) -> Header:
    ends = [net[name.partition("-")[0]].intf(name).MAC() for name in (sender, receiver)]
    return {"dl_src": ends[0], "dl_dst": ends[1], "nw_src": source, "nw_dst": destination,
            "tp_src": str(source_port), "tp_dst": str(ECHO_PORT)}  # fmt: skip
