"""A router of the Linux kernel."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mininet.node import Node

from mininet_scripts.support import hosts
from mininet_scripts.support.functions.function import NetworkFunction


class Router(NetworkFunction):
    """A router between the subnets of its interfaces: MAC addresses are its own, addresses and ports stay (IPv4)."""

    def __init__(self, node: Node, addresses: Mapping[str, str]) -> None:
        """Prepare a router with these addresses at its interfaces, such as `10.1.0.254/24`."""
        super().__init__(node, tuple(addresses))
        self.addresses = dict(addresses)

    def set_up(self) -> None:
        """Give the interfaces their addresses and forward between them."""
        for interface, address in self.addresses.items():
            self.do("ip", "address", "add", address, "dev", interface,
                    undo=("ip", "address", "delete", address, "dev", interface))  # fmt: skip
            # What a neighbour's MAC was is forgotten with the router.
            self.at_end(hosts.run, self.node, "ip", "neigh", "flush", "dev", interface)
        self.do("sysctl", "-qw", "net.ipv4.ip_forward=1", undo=("sysctl", "-qw", "net.ipv4.ip_forward=0"))

    def ready(self) -> bool:
        """Return whether every interface is up with its address."""
        links = json.loads(hosts.run(self.node, "ip", "-json", "address", "show", "up"))
        held = {
            (link["ifname"], f"{each['local']}/{each['prefixlen']}")
            for link in links
            for each in link.get("addr_info", ())
        }
        return held >= set(self.addresses.items())
