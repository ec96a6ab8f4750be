"""A tenant on two hosts whose chain is filter, shaper and NAT: its VMs in subnets of their own behind the NATs.

A VM is known outside by the address of its host's NAT, which forwards some ports to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from mininet.net import Mininet

from mininet_scripts.support import hosts
from mininet_scripts.support.functions import FilteringBridge, NetworkFunction, Shaper, SourceNat
from mininet_scripts.support.registration import (
    register_chain,
    register_function,
    register_outlets,
    register_tenant,
    register_vports,
)
from mininet_scripts.support.rest import RestClient
from mininet_scripts.support.traffic import IPERF_PORT

TENANT = "red"
VLAN = 300
HOPS = ("filter", "shaper", "nat")
ECHO_PORT, CLOSED_PORT, UDP_PORT = 8080, 8081, 7000
FORWARDED = (ECHO_PORT, CLOSED_PORT, UDP_PORT, IPERF_PORT)
OUTSIDE = "10.9.0.0/24"


class Side(NamedTuple):
    """One host's part: its VM, its bridging functions, and its NAT with addresses in subnets of 24 bits."""

    host: str
    vm: str
    address: str
    filters: tuple[str, ...]
    shaper: str
    nat: str
    gateway: str
    outside: str

    @property
    def routed(self) -> Mapping[str, str]:
        """The addresses of the NAT by interface, that toward the VMs first."""
        return {f"{self.nat}-in": f"{self.gateway}/24", f"{self.nat}-out": f"{self.outside}/24"}

    @property
    def forwards(self) -> Mapping[int, str]:
        """The ports that the NAT forwards, each to the VM."""
        return dict.fromkeys(FORWARDED, self.address)


NEAR = Side("h1", "vm1", "10.1.0.1", ("fwa1", "fwb1"), "tbf1", "nat1", "10.1.0.254", "10.9.0.1")
FAR = Side("h2", "vm5", "10.2.0.1", ("fwa2",), "tbf2", "nat2", "10.2.0.254", "10.9.0.2")
SIDES = (NEAR, FAR)


def register(client: RestClient, net: Mininet, filters: tuple[str, ...] = (), **changed: Any) -> None:
    """Register the tenant with its functions, of `filter` these instances or all, its chain, VMs and outlets."""
    register_tenant(client, TENANT, vlan=VLAN)
    register_function(client, net, "filter", *filters)
    register_function(client, net, "shaper")
    register_function(client, net, "nat", rewriting=True)
    register_chain(client, TENANT, TENANT, *HOPS)
    for side in SIDES:
        register_vports(client, net, TENANT, side.vm, **{"ips": [side.address], **changed})
    # A NAT sends to the network with its own MAC.
    register_outlets(client, net, TENANT, {side.host: [net[side.nat].intf(f"{side.nat}-out").MAC()] for side in SIDES})


@contextmanager
def subnets(net: Mininet) -> Iterator[None]:
    """Have the VMs live in their subnets, with the NATs as their way out, while the block runs."""
    with ExitStack() as stack:
        for side in SIDES:
            vm, place = net[side.vm], (f"{side.address}/24", "dev", f"{side.vm}-eth0")
            hosts.run(vm, "ip", "address", "add", *place)
            stack.callback(hosts.run, vm, "ip", "address", "delete", *place)
            hosts.run(vm, "ip", "route", "add", OUTSIDE, "via", side.gateway, "src", side.address)
        yield


@contextmanager
def at_work(net: Mininet, *, rate_kbps: int, nats: tuple[Side, ...] = SIDES) -> Iterator[Mapping[str, NetworkFunction]]:
    """Yield the tenant's functions by the names of their hosts, of the NATs these, at work while the block runs."""
    made: dict[str, NetworkFunction] = {}
    for side in SIDES:
        for name in side.filters:
            made[name] = FilteringBridge(net[name], {CLOSED_PORT}, both(name))
        made[side.shaper] = Shaper(net[side.shaper], rate_kbps, both(side.shaper))
        if side in nats:
            made[side.nat] = nat_of(net, side)
    with ExitStack() as stack:
        for function in made.values():
            stack.enter_context(function)
        yield made


def nat_of(net: Mininet, side: Side) -> SourceNat:
    """Return the NAT of one host."""
    return SourceNat(net[side.nat], side.routed, outside=f"{side.nat}-out", forwards=side.forwards)


def both(name: str) -> tuple[str, str]:
    """Return the interfaces of an instance, that toward the VMs first."""
    return f"{name}-in", f"{name}-out"
