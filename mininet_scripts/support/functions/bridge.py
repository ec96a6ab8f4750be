"""A transparent bridge of the Linux kernel."""

from __future__ import annotations

import json

from mininet_scripts.support import hosts
from mininet_scripts.support.functions.function import NetworkFunction

NAME = "function"


class Bridge(NetworkFunction):
    """A bridge that has no address and changes nothing in what it forwards.

    Between two interfaces it is a wire: what comes at one leaves at the other.
    Between more it learns who is where.
    """

    def set_up(self) -> None:
        """Make the bridge and put the interfaces into it."""
        self.do(
            "ip", "link", "add", NAME, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0",
            undo=("ip", "link", "delete", NAME),
        )  # fmt: skip
        for interface in self.interfaces:
            self.do("ip", "link", "set", interface, "master", NAME, "up")
            # At a hop of a chain frames of both directions have the same MACs: who learned them would drop some.
            if len(self.interfaces) == 2:
                self.do("bridge", "link", "set", "dev", interface, "learning", "off")
        self.do("ip", "link", "set", NAME, "up")

    def ready(self) -> bool:
        """Return whether every interface forwards."""
        links = json.loads(hosts.run(self.node, "bridge", "-json", "link", "show"))
        return {link["ifname"] for link in links if link.get("state") == "forwarding"} >= set(self.interfaces)
