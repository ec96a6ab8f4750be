"""Two hypervisors whose NICs have three ports each, behind a top-of-rack switch, and an external host.

    mn --custom topologies/hairpin_two_hosts.py --topo hairpin_two_hosts,2 --controller remote,port=6653

With `--topo hairpin_two_hosts,2,second=mac` the NIC of the second host has two ports and no cable.
"""

import inspect
import sys
from pathlib import Path
from typing import Any

from mininet.topo import Topo

# mn executes this text without importing it, so the repository's root is known from the code alone.
sys.path.insert(0, str(Path(inspect.getfile(lambda: None)).resolve().parent.parent))
from topologies.hairpin_parts import BridgeFunction, add_hairpin_nic, add_steered_nic, attach, network_port_of
from topologies.parts import TopOfRack, add_external_host


class HairpinTwoHosts(Topo):
    """VFs' bridges h1 and h2 with `n` VMs each, numbered through, each with its function fn1, fn2; `tor` and `ext`.

    NIC ports 2 and 3 are h1f, h1n, h2f, h2n; the uplinks h1n-uplink and h2n-uplink lead to `tor`.
    """

    def build(self, n: int = 2, second: str = "vlan", **_opts: Any) -> None:
        """Add the nodes and links for `n` VMs on each host; second is how the second host steers to functions."""
        tor = self.addSwitch("tor", cls=TopOfRack, dpid="ffff")
        for host, steering in ((1, "vlan"), (2, second)):
            add_nic = {"vlan": add_hairpin_nic, "mac": add_steered_nic}[steering]
            bridge = add_nic(self, host, vfs=n, first_vm=(host - 1) * n + 1)
            function = self.addHost(f"fn{host}", cls=BridgeFunction, ip=None)
            attach(self, function, bridge, *range(1, n + 1), outlet="red")
            network = network_port_of(bridge)
            self.addLink(network, tor, intfName1=f"{network}-uplink", intfName2=f"tor-h{host}", port2=host)
        ext = add_external_host(self)
        self.addLink(ext, tor, intfName1=f"{ext}-eth0", intfName2="tor-ext", port2=3)


topos = {"hairpin_two_hosts": HairpinTwoHosts}
