"""A transparent bridge of the Linux kernel."""

from __future__ import annotations

import json

from mininet_scripts.support import hosts
from mininet_scripts.support.functions.function import NetworkFunction

NAME = "function"


class Bridge(NetworkFunction):
    """A bridge that learns who is where, has no address and changes nothing in what it forwards."""

    def set_up(self) -> None:
        """Make the bridge and put the interfaces into it."""
        self.do(
            "ip", "link", "add", NAME, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0",
            undo=("ip", "link", "delete", NAME),
        )  # fmt: skip
        for interface in self.interfaces:
            self.do("ip", "link", "set", interface, "master", NAME, "up")
        self.do("ip", "link", "set", NAME, "up")

    def ready(self) -> bool:
        """Return whether every interface forwards."""
        links = json.loads(hosts.run(self.node, "bridge", "-json", "link", "show"))
        return {link["ifname"] for link in links if link.get("state") == "forwarding"} >= set(self.interfaces)
