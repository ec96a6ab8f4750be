"""Two VMs of one tenant in subnets of their own, each with a function as its way to the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mininet_scripts.support import hosts
from tests.mininet.lab import Lab

ADDRESS = {"vm1": "10.1.0.1", "vm2": "10.2.0.1"}
GATEWAY = {"vm1": "10.1.0.254", "vm2": "10.2.0.254"}
_BEYOND = {"vm1": "10.2.0.0/24", "vm2": "10.1.0.0/24"}


@contextmanager
def two_subnets(lab: Lab) -> Iterator[None]:
    """Have tenant red's vm1 and vm2 live in these subnets while the block runs."""
    with ExitStack() as stack:
        for name, address in ADDRESS.items():
            lab.tenant("red", name, ips=[address])
            place = (f"{address}/24", "dev", f"{name}-eth0")
            hosts.run(lab.host(name), "ip", "address", "add", *place)
            stack.callback(hosts.run, lab.host(name), "ip", "address", "delete", *place)
            way = (_BEYOND[name], "via", GATEWAY[name], "src", address)
            hosts.run(lab.host(name), "ip", "route", "add", *way)
        yield


def gateways(at_vm1: str, at_vm2: str) -> dict[str, str]:
    """Return the addresses of a router between the subnets, by its interface at each."""
    return {at_vm1: f"{GATEWAY['vm1']}/24", at_vm2: f"{GATEWAY['vm2']}/24"}
