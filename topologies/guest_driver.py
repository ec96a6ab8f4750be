"""One hypervisor whose VMs have a synthetic port beside their VF, joined by a small switch in place of the VM's driver.

    mn --custom topologies/guest_driver.py --topo guest_driver,2 --controller remote,port=6653
"""

import inspect
import sys
from pathlib import Path
from typing import Any

from mininet.topo import Topo

# mn executes this text without importing it, so the repository's root is known from the code alone.
sys.path.insert(0, str(Path(inspect.getfile(lambda: None)).resolve().parent.parent))
from topologies.parts import add_external_host, add_nic_bridge, add_uplink, add_vm_with_driver


class GuestDriver(Topo):
    """NIC bridge h1 with vmN behind switch gN on h1-vfN and h1-synN, and `ext` at h1-uplink."""

    def build(self, n: int = 2, **_opts: Any) -> None:
        """Add the nodes and links for `n` VMs."""
        bridge = add_nic_bridge(self, 1)
        for number in range(1, n + 1):
            add_vm_with_driver(self, bridge, vf=number, number=number)
        ext = add_external_host(self)
        add_uplink(self, bridge, n + 1, ext, intfName2=f"{ext}-eth0")


topos = {"guest_driver": GuestDriver}
