"""What tests of chains have in common: tenants with a chain, and captures at many places at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from mininet_scripts.support import registration
from tests.mininet.lab import MISS_RATE_PPS, Lab, Watch

VLAN = {"red": 300, "blue": 400}


def tenant(
    lab: Lab, name: str, hops: Mapping[str, tuple[str, ...]], *vms: str, shared: tuple[str, ...] = (), **of_chain: Any
) -> None:
    """Register a tenant with functions of these instances, a chain of them and then the shared ones, VMs, outlets."""
    registration.register_tenant(lab.client, name, vlan=VLAN[name])
    for function, instances in hops.items():
        registration.register_function(lab.client, lab.net, function, *instances)
    registration.register_chain(lab.client, name, name, *hops, *shared, **of_chain)
    registration.register_vports(lab.client, lab.net, name, *vms, miss_rate_pps=MISS_RATE_PPS)
    registration.register_outlets(lab.client, lab.net, name)


@contextmanager
def watching(lab: Lab, *places: str) -> Iterator[Mapping[str, Watch]]:
    """Yield what passes each of these places."""
    with ExitStack() as stack:
        yield {place: stack.enter_context(lab.watch(place)) for place in places}
