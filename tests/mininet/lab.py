"""One running network with its controller, shared by the tests of a module and emptied of policy between them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mininet.net import Mininet
from mininet.node import Node

from mininet_scripts.support import frames, hosts, registration, traffic
from mininet_scripts.support.capture import Capture, capture
from mininet_scripts.support.controller import Controller
from mininet_scripts.support.parsed import Frame as Frame
from mininet_scripts.support.parsed import read_frame as read_frame
from mininet_scripts.support.policy import Document
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until

# Misses a second of each VF: more than tests send.
MISS_RATE_PPS = 100_000
# Local experimental EtherType 2 (IEEE Std 802): says where a capture has got to.
MARKER_TYPE = 0x88B6
MARKER = frames.ethernet("02:ee:ee:ee:ee:01", "02:ee:ee:ee:ee:02", MARKER_TYPE, b"")


@dataclass(frozen=True)
class Watch:
    """What passes an interface, both ways."""

    lab: Lab
    interface: str
    capture: Capture

    def frames(self) -> list[Frame]:
        """Return every frame seen so far, none forgotten: a marker sent last has been seen."""
        seen = self._markers()
        self.lab.send_from_peer(self.interface, [MARKER])
        wait_until(self._markers, 5, f"the marker on {self.interface}", until=lambda now: now > seen)
        return [frame for frame in map(read_frame, self.capture.frames()) if frame.eth_type != MARKER_TYPE]

    def unicast(self) -> list[Frame]:
        """Return the frames seen so far that address one station."""
        return [frame for frame in self.frames() if frame.unicast]

    def _markers(self) -> int:
        return sum(read_frame(data).eth_type == MARKER_TYPE for data in self.capture.frames())


class Lab:
    """A network, its controller, and the words in which tests speak to both."""

    def __init__(self, controller: Controller, net: Mininet) -> None:
        self.controller = controller
        self.net = net
        self.client = controller.client
        registration.register_hosts(self.client, net)

    def host(self, name: str) -> Node:
        """Return a VM or the external host."""
        return self.net[name]

    def reset(self) -> None:
        """Take all policy and all vports away, and with them every flow; hosts forget their neighbours."""
        for layer in self._ids("layers"):
            for group in self._ids(f"layers/{layer}/groups"):
                self.client.delete(f"/v1/layers/{layer}/groups/{group}")
            self.client.delete(f"/v1/layers/{layer}")
        self._delete("routes", "nat_pools", "vports", "outlets")
        for name in self._ids("segments"):
            segment = self.client.get(f"/v1/segments/{name}")
            if segment.get("chain") is not None:
                self.client.put(f"/v1/segments/{name}", {"tenant": segment["tenant"], "vlan": segment["vlan"]})
        self._delete("chains", "functions", "segments", "tenants")
        # Else one would still be waiting for an answer that it was refused, or ask its old neighbours now and then.
        self.forget_neighbours(*(host.name for host in self.net.hosts))
        self._forget_flows()

    def _forget_flows(self) -> None:
        """Empty the datapath's own cache, which keeps for ten seconds what it last did.

        Else the first reply between two ends that begin anew may be dropped (docs/rest.md, chains).
        """
        subprocess.run(["ovs-appctl", "--timeout=10", "revalidator/purge"], check=True, capture_output=True)

    def _delete(self, *kinds: str) -> None:
        for kind in kinds:
            for name in self._ids(kind):
                # What the switch remembers of connections that are over may still be there.
                self.client.delete(f"/v1/{kind}/{name}" + ("?force=true" if kind == "chains" else ""))

    def _ids(self, path: str) -> list[str]:
        return [item["id"] for item in self.client.get(f"/v1/{path}?limit=1000")["items"]]

    def tenant(self, name: str, *vms: str, vlan: int | None = 0, **changed: Any) -> None:
        """Register a tenant with its segment, and these VMs as its vports."""
        registration.register_tenant(self.client, name, vlan=vlan)
        registration.register_vports(self.client, self.net, name, *vms, **{"miss_rate_pps": MISS_RATE_PPS, **changed})
        registration.register_outlets(self.client, self.net, name)

    def layer(self, name: str, document: Document, **groups: Document) -> None:
        """Put a layer and its groups."""
        self.client.put(f"/v1/layers/{name}", document)
        for group, body in groups.items():
            self.client.put(f"/v1/layers/{name}/groups/{group}", body)

    def ping(self, sender: str, receiver: str, *, version: int = 4, **options: Any) -> hosts.Pings:
        """Return what pinging from one host to another gave."""
        address = address_of(receiver)
        return hosts.ping(self.host(sender), address.ipv4 if version == 4 else address.ipv6, **options)

    def reaches(self, sender: str, receiver: str, version: int = 4, *, timeout_s: float = 2.0) -> bool:
        """Return whether one ping was answered; the time is enough for ARP to ask twice."""
        return self.ping(sender, receiver, version=version, answer_timeout_s=timeout_s).all_answered

    def wait_unreachable(self, sender: str, receiver: str) -> None:
        """Return when pings of a live flow are no longer answered."""
        # Open vSwitch answers a barrier before its datapath has caught up: it gathers changes for 5 ms.
        wait_until(lambda: not self.reaches(sender, receiver, timeout_s=0.5), 2, f"{sender} not to reach {receiver}")

    def forget_neighbours(self, *names: str) -> None:
        """Empty the ARP and neighbour tables of hosts."""
        for name in names:
            hosts.run(self.host(name), "ip", "neigh", "flush", "all")

    def packet_ins(self, vport: str | None = None) -> int:
        """Return how many packets the controller was asked about, in all or at one vport."""
        stats = self.client.get("/v1/stats")
        return int((stats["counts"] if vport is None else stats["vports"][vport]).get("misses", 0))

    def refused(self, vport: str) -> dict[str, int]:
        """Return how many frames of a vport the switch has refused, by reason, those without any left out."""
        refused = self.client.get("/v1/stats")["vports"][vport]["refused"]
        return {reason: count for reason, count in refused.items() if count}

    def flows(self, vport: str, **key: str) -> list[dict[str, Any]]:
        """Return the unified flows at a vport whose key has these values."""
        items = self.client.get(f"/v1/flows?vport={vport}&limit=1000")["items"]
        return [flow for flow in items if all(flow["key"].get(name) == value for name, value in key.items())]

    def wait_packets(self, vport: str, count: int, **key: str) -> None:
        """Return when every entry on the way of the one flow with this key has counted so many packets."""
        wait_until(
            lambda: self._packets(vport, **key),
            5,
            f"{count} packets counted at each entry",
            until=lambda counts: len(counts) > 0 and min(counts) >= count,
        )

    def settled_packets(self, vport: str, **key: str) -> list[int]:
        """Return what each entry on the way of the one flow with this key has counted, of a flow that pauses."""

        def settled() -> list[int]:
            before = self._packets(vport, **key)
            # Open vSwitch adds up what its datapath has counted every half second.
            time.sleep(0.7)
            counts = self._packets(vport, **key)
            return counts if counts == before else []

        return wait_until(settled, 10, "the counts of the flow's entries to stay")

    def _packets(self, vport: str, **key: str) -> list[int]:
        return [leg["packets"] for flow in self.flows(vport, **key) for leg in flow["forward"]]

    def entries_of(self, bridge: str, text: str = "") -> list[str]:
        """Return the exact-match entries of a switch that hold this text, as ovs-ofctl prints them."""
        lines = self.net[bridge].dpctl("dump-flows").splitlines()
        return [line for line in lines if "idle_timeout=" in line and text in line]

    def wait_ready(self, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """Return the live state of all hosts once every datapath agrees with the controller."""
        return wait_until(
            lambda: [item["live"] for item in self.client.get("/v1/hosts")["items"]],
            timeout_s,
            "all datapaths to be ready",
            until=lambda states: all(state and state["state"] == "ready" for state in states),
        )

    def send(self, vm: str, *sent: bytes) -> None:
        """Send raw frames from inside a host."""
        traffic.send_frames(self.host(vm), f"{vm}-eth0", sent)

    def send_from_peer(self, interface: str, sent: Sequence[bytes]) -> None:
        """Send raw frames into an interface, from the other end of its cable."""
        peer = self._peer(interface)
        traffic.send_frames(self._node(peer), peer, sent)

    @contextmanager
    def watch(self, interface: str) -> Iterator[Watch]:
        """Yield what passes an interface, of a host or of a bridge."""
        with capture(self._node(interface), interface) as running:
            yield Watch(self, interface, running)

    def _node(self, interface: str) -> Node | None:
        """Return the host that an interface lies in, None for a bridge's port."""
        owner = self.net[interface.partition("-")[0]]
        return owner if owner in self.net.hosts else None

    def _peer(self, interface: str) -> str:
        for link in self.net.links:
            ends = [link.intf1.name, link.intf2.name]
            if interface in ends:
                return str(ends[1 - ends.index(interface)])
        raise LookupError(f"no link has an end {interface}")
