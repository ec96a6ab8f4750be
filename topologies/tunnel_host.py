"""One hypervisor with a VXLAN tunnel port: its VMs, its uplink, and an underlay network toward a peer.

    mn --custom topologies/tunnel_host.py --topo tunnel_host,2 --controller remote,port=6653
"""

import inspect
import sys
from pathlib import Path
from typing import Any

from mininet.topo import Topo

# mn executes this text without importing it, so the repository's root is known from the code alone.
sys.path.insert(0, str(Path(inspect.getfile(lambda: None)).resolve().parent.parent))
from topologies.parts import EndHost, TunnelNic, Underlay, add_external_host, add_uplink, add_vm

ENDPOINT = "172.31.255.1"
PEER = "172.31.255.2"
PEER_MAC = "02:aa:00:00:00:02"


class TunnelHost(Topo):
    """NIC bridge h1 as in SingleHost with tunnel port h1-vx0, and `peer` on the underlay bridge u1."""

    def build(self, n: int = 2, **_opts: Any) -> None:
        """Add the nodes and links for `n` VMs."""
        bridge = self.addSwitch("h1", cls=TunnelNic, dpid="1")
        for number in range(1, n + 1):
            add_vm(self, bridge, vf=number, number=number)
        ext = add_external_host(self)
        add_uplink(self, bridge, n + 1, ext, intfName2=f"{ext}-eth0")
        underlay = self.addSwitch("u1", cls=Underlay, dpid="fffe", address=f"{ENDPOINT}/24")
        peer = self.addHost("peer", cls=EndHost, ip=f"{PEER}/24", mac=PEER_MAC)
        self.addLink(peer, underlay, intfName1="peer-eth0", intfName2="u1-peer", port2=1)


topos = {"tunnel_host": TunnelHost}
