"""A hairpin whose first tenant has three functions in a row, and whose second has one of its own.

    mn --custom topologies/hairpin_chain.py --topo hairpin_chain,2 --controller remote,port=6653
"""

import inspect
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from mininet.topo import Topo

# mn executes this text without importing it, so the repository's root is known from the code alone.
sys.path.insert(0, str(Path(inspect.getfile(lambda: None)).resolve().parent.parent))
from topologies.hairpin_parts import BridgeFunction, add_hairpin_nic, attach, network_port_of
from topologies.parts import add_external_host


class HairpinChain(Topo):
    """VFs' bridge h1: `filter`, `shaper` and `nat` in a row between vm1 and vm2, `other` between the VMs from vm3 on.

    The row is h1f-vf1 ↔ filter-vf1, filter-next ↔ shaper-prev, shaper-next ↔ nat-prev, nat-vf2 ↔ h1f-vf2.
    All begin as transparent bridges.
    """

    def build(self, n: int = 2, **_opts: Any) -> None:
        """Add the nodes and links, with `n` VMs behind `other`."""
        bridge = add_hairpin_nic(self, 1, vfs=2 + n, first_vm=1)
        row = [self.addHost(name, cls=BridgeFunction, ip=None) for name in ("filter", "shaper", "nat")]
        attach(self, row[0], bridge, 1)
        for before, after in pairwise(row):
            self.addLink(before, after, intfName1=f"{before}-next", intfName2=f"{after}-prev")
        attach(self, row[-1], bridge, 2)
        attach(self, self.addHost("other", cls=BridgeFunction, ip=None), bridge, *range(3, 3 + n))
        ext = add_external_host(self)
        network = network_port_of(bridge)
        self.addLink(network, ext, intfName1=f"{network}-uplink", intfName2=f"{ext}-eth0")


topos = {"hairpin_chain": HairpinChain}
