"""What every step of the quickstart works with: the REST client, the network and the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mininet.net import Mininet
from mininet.node import Node

from mininet_scripts.demo.report import Report
from mininet_scripts.support.functions import NetworkFunction
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.rest import RestClient


@dataclass(frozen=True)
class Stage:
    """A running network with its controller, the functions at work in it, and the report that steps write to."""

    client: RestClient
    net: Mininet
    report: Report
    functions: dict[str, NetworkFunction] = field(default_factory=dict)

    def host(self, name: str) -> Node:
        """Return a VM or the external host."""
        return self.net[name]

    def packet_ins(self) -> int:
        """Return how many packets the controller has been asked about, as GET /v1/stats counts them."""
        return int(self.client.get("/v1/stats")["counts"].get("misses", 0))

    def refused(self, vport: str, reason: str) -> int:
        """Return how many frames of a vport the switch has dropped for a reason."""
        return int(self.client.get("/v1/stats")["vports"][vport]["refused"].get(reason, 0))

    def flows(self, vport: str, **key: str) -> list[dict[str, Any]]:
        """Return the unified flows at a vport whose key has these values."""
        items = self.client.get(f"/v1/flows?vport={vport}&limit=1000")["items"]
        return [flow for flow in items if all(flow["key"].get(name) == value for name, value in key.items())]

    def trace(self, sender: str, receiver: str, **packet: object) -> Any:
        """Return the trace of a packet from one VM to another."""
        ends = {
            "eth_dst": address_of(receiver).mac,
            "ipv4_src": address_of(sender).ipv4,
            "ipv4_dst": address_of(receiver).ipv4,
        }
        return self.client.post("/v1/trace", {"vport": sender, "direction": "outbound", "packet": {**ends, **packet}})
