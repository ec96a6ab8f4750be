"""One hypervisor: VMs on the VFs of one NIC bridge, and an external host at its uplink.

    mn --custom topologies/single_host.py --topo single_host,3 --controller remote,port=6653
"""

import inspect
import sys
from pathlib import Path
from typing import Any

from mininet.topo import Topo

# mn executes this text without importing it, so the repository's root is known from the code alone.
sys.path.insert(0, str(Path(inspect.getfile(lambda: None)).resolve().parent.parent))
from topologies.parts import add_external_host, add_nic_bridge, add_uplink, add_vm


class SingleHost(Topo):
    """NIC bridge h1 with vm1 … vmN on h1-vf1 … h1-vfN, and `ext` at h1-uplink."""

    def build(self, n: int = 3, **_opts: Any) -> None:
        """Add the nodes and links for `n` VMs."""
        bridge = add_nic_bridge(self, 1)
        for number in range(1, n + 1):
            add_vm(self, bridge, vf=number, number=number)
        ext = add_external_host(self)
        add_uplink(self, bridge, n + 1, ext, intfName2=f"{ext}-eth0")


topos = {"single_host": SingleHost}
