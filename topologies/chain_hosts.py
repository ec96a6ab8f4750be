"""Two hypervisors whose NICs lead to functions with an inside and an outside each, for two tenants' chains.

mn --custom topologies/chain_hosts.py --topo chain_hosts,4 --controller remote,port=6653
"""

import inspect
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from mininet.topo import Topo

# mn executes this text without importing it, so the repository's root is known from the code alone.
sys.path.insert(0, str(Path(inspect.getfile(lambda: None)).resolve().parent.parent))
from topologies.hairpin_parts import add_hairpin_nic, add_instance, join_outlet, network_port_of
from topologies.parts import TopOfRack, add_external_host

# What stands at each host: instances by function. Two of `filter` are on the first.
PLACES: Mapping[int, Mapping[str, tuple[str, ...]]] = {
    1: {"filter": ("fwa1", "fwb1"), "shaper": ("tbf1",), "nat": ("nat1",), "guard": ("grd1",), "shared": ("all1",)},
    2: {"filter": ("fwa2",), "shaper": ("tbf2",), "nat": ("nat2",), "guard": ("grd2",)},
}


class ChainHosts(Topo):
    """VFs' bridges h1 and h2 with `n` VMs each, numbered through; functions' instances beside them; `tor` and `ext`.

    Instance fwa1 is at the ports h1f-fwa1-in and h1f-fwa1-out, and so with the others; all begin as plain wires.
    The chains of tenants red and blue end at h1f-red and h1f-blue, joined to the outlets h1n-red and h1n-blue.
    """

    def build(self, n: int = 4, **_opts: Any) -> None:
        """Add the nodes and links for `n` VMs on each host."""
        tor = self.addSwitch("tor", cls=TopOfRack, dpid="ffff")
        for host, functions in PLACES.items():
            bridge = add_hairpin_nic(self, host, vfs=n, first_vm=(host - 1) * n + 1)
            # Behind those of the VFs and of the cable.
            port_no = count(n + 2)
            for function, instances in functions.items():
                for name in instances:
                    add_instance(self, bridge, function, name, next(port_no))
                    next(port_no)
            for tenant in ("red", "blue"):
                join_outlet(self, bridge, tenant, next(port_no))
            network = network_port_of(bridge)
            self.addLink(network, tor, intfName1=f"{network}-uplink", intfName2=f"tor-h{host}", port2=host)
        ext = add_external_host(self)
        self.addLink(ext, tor, intfName1=f"{ext}-eth0", intfName2="tor-ext", port2=3)


topos = {"chain_hosts": ChainHosts}
