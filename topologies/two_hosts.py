"""Two hypervisors behind a top-of-rack switch, and an external host.

    mn --custom topologies/two_hosts.py --topo two_hosts,2 --controller remote,port=6653
"""

import inspect
import sys
from pathlib import Path
from typing import Any

from mininet.topo import Topo

# mn executes this text without importing it, so the repository's root is known from the code alone.
sys.path.insert(0, str(Path(inspect.getfile(lambda: None)).resolve().parent.parent))
from topologies.parts import TopOfRack, add_external_host, add_nic_bridge, add_uplink, add_vm


class TwoHosts(Topo):
    """NIC bridges h1 and h2 with `n` VMs each, numbered through, a switch `tor` and `ext` on it."""

    def build(self, n: int = 2, **_opts: Any) -> None:
        """Add the nodes and links for `n` VMs on each host."""
        tor = self.addSwitch("tor", cls=TopOfRack, dpid="ffff")
        for host in (1, 2):
            bridge = add_nic_bridge(self, host)
            for vf in range(1, n + 1):
                add_vm(self, bridge, vf=vf, number=(host - 1) * n + vf)
            add_uplink(self, bridge, n + 1, tor, intfName2=f"tor-h{host}", port2=host)
        ext = add_external_host(self)
        self.addLink(ext, tor, intfName1=f"{ext}-eth0", intfName2="tor-ext", port2=3)


topos = {"two_hosts": TwoHosts}
