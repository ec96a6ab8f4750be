"""One hypervisor whose NIC has two ports and no cable: its VFs' switch steers all frames to a function, and back.

    mn --custom topologies/mac_steering.py --topo mac_steering,3 --controller remote,port=6653
"""

import inspect
import sys
from pathlib import Path
from typing import Any

from mininet.topo import Topo

# mn executes this text without importing it, so the repository's root is known from the code alone.
sys.path.insert(0, str(Path(inspect.getfile(lambda: None)).resolve().parent.parent))
from topologies.hairpin_parts import BridgeFunction, add_steered_nic, attach, network_port_of
from topologies.parts import add_external_host


class MacSteering(Topo):
    """VFs' bridge h1 with vm1 … vmN, network port h1n, bridge function fn1, and `ext`.

    fn1 is at the sub-interfaces h1-sub1 … h1-subN and at the outlet h1n-red.
    """

    def build(self, n: int = 3, **_opts: Any) -> None:
        """Add the nodes and links for `n` VMs."""
        bridge = add_steered_nic(self, 1, vfs=n, first_vm=1)
        function = self.addHost("fn1", cls=BridgeFunction, ip=None)
        attach(self, function, bridge, *range(1, n + 1), outlet="red")
        ext = add_external_host(self)
        network = network_port_of(bridge)
        self.addLink(network, ext, intfName1=f"{network}-uplink", intfName2=f"{ext}-eth0")


topos = {"mac_steering": MacSteering}
