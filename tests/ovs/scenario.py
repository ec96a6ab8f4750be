"""Two hosts with their NIC bridges and one controller, and what a test does with them.

The bridges are h1 and h2, with ports h1-vf1 … h1-vf4 and h1-uplink, and the same for h2.
No cable joins the uplinks: a test carries frames over by hand, so that it sees each of them.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.rest import RestAnswer
from mininet_scripts.support.waiting import wait_until
from ryu_apps.pipeline.tables import NUMBER
from tests.ovs import packets
from tests.ovs.harness import snoop
from tests.ovs.harness.flow_dump import FlowEntry
from tests.ovs.harness.snoop import Snoop
from tests.ovs.harness.switch import OpenVSwitch

HOSTS: Final = {"h1": 1, "h2": 2}
VFS: Final = 4
UPLINK_NO: Final = 9
# The VLAN by which the network outside knows tenant red's segment.
RED_VLAN: Final = 200

# How many frames a dummy port keeps until the switch takes them (netdev-dummy.c, NETDEV_DUMMY_MAX_QUEUE).
DUMMY_QUEUE: Final = 100
_RECEIVED: Final = re.compile(r"port \d+: (\S+) .*\n +RX packets:(\d+)")

CACHES: Final = ("outbound", "inbound")
CACHED_PRIORITY: Final = 100

Packet = Mapping[str, str]
Rule = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Station:
    """One end of a conversation: a VM at a switch port, or a host outside."""

    name: str
    mac: str
    ip: str
    ip6: str
    host: str = ""
    port: str = ""
    vlan: int = 0

    @property
    def vport(self) -> dict[str, Any]:
        """The body that registers the VM's VF."""
        ips = [self.ip, self.ip6]
        return {"host": self.host, "port": self.port, "tenant": "red", "mac": self.mac, "ips": ips, "vlan": self.vlan}


def _station(number: int, name: str, host: str = "", vf: int = 0) -> Station:
    port = f"{host}-vf{vf}" if host else ""
    return Station(
        name=name,
        mac=f"02:00:00:00:00:{number:02x}",
        ip=f"10.0.0.{number}",
        ip6=f"fd00::{number:x}",
        host=host,
        port=port,
        vlan=100 + number if host else 0,
    )


VM1 = _station(1, "vm1", "h1", 1)
VM2 = _station(2, "vm2", "h1", 2)
VM3 = _station(3, "vm3", "h2", 1)
VM4 = _station(4, "vm4", "h1", 3)
EXT = _station(99, "ext")
EXT2 = _station(98, "ext2")


class Site:
    """A private Open vSwitch with both bridges, and a controller that they are connected to."""

    def __init__(self, folder: Path, **arguments: Any) -> None:
        self.ovs = OpenVSwitch()
        self.controller = Controller(folder, **arguments)
        self.snoops: dict[str, Snoop] = {}

    def start(self) -> None:
        """Start all of it; return when both hosts are registered and ready."""
        self.ovs.start()
        for host, dpid in HOSTS.items():
            ports = {f"{host}-vf{vf}": vf for vf in range(1, VFS + 1)} | {f"{host}-uplink": UPLINK_NO}
            self.ovs.add_bridge(host, dpid, ports)
        self.controller.start()
        for host, dpid in HOSTS.items():
            answer = self.controller.rest("PUT", f"/v1/hosts/{host}", {"dpid": f"{dpid:x}", "uplink": f"{host}-uplink"})
            assert answer.status == 201, answer
            self.connect(host)
            self.snoops[host] = Snoop(self.ovs.daemons.folder / f"{host}.snoop")
        self.wait_ready()

    def connect(self, host: str) -> None:
        """Point a bridge at the controller."""
        self.ovs.set_controller(host, self.controller.openflow_port)
        # A test that lets the switch's clock run on must not make it think that the controller is silent.
        for controller in self.ovs.vsctl("get", "bridge", host, "controller").strip(" []\n").split(","):
            self.ovs.vsctl("set", "controller", controller.strip(), "inactivity_probe=0")

    def stop(self) -> None:
        """End all of it."""
        for listener in self.snoops.values():
            listener.stop()
        self.controller.stop()
        self.ovs.stop()

    def states(self) -> dict[str, str]:
        """Return the state that REST reports of each host."""
        return {item["id"]: item["live"]["state"] for item in self.controller.client.get("/v1/hosts")["items"]}

    def wait_ready(self, timeout_s: float = 10.0) -> None:
        """Return when both hosts are reported ready."""
        ready = dict.fromkeys(HOSTS, "ready")
        wait_until(self.states, timeout_s, "both hosts to be ready", until=lambda states: states == ready)


class Lab:
    """A site for one test: an empty policy, captures that begin now, and packet-ins counted from now."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.ovs = site.ovs
        self.controller = site.controller
        self._injected = self._received()
        self._queued: Counter[str] = Counter()
        self._clear()
        self.refresh()
        self._seen_before = {port: len(self.ovs.sent(port)) for port in self._ports()}
        self.settle()
        self._packet_ins_before = {host: site.snoops[host].count(snoop.PACKET_IN) for host in HOSTS}

    # -- policy --------------------------------------------------------------------------------------------------------

    def rest(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> RestAnswer:
        """Return the answer to a call on a path below /v1, whatever the status."""
        return self.controller.rest(method, f"/v1/{path}", body, headers)

    def put(self, path: str, body: object) -> Any:
        """Return the body of a PUT that the switches confirmed."""
        answer = self.rest("PUT", path, body)
        assert answer.status in (200, 201), answer
        return answer.body

    def get(self, path: str) -> Any:
        """Return the body of a GET that succeeded."""
        answer = self.rest("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def delete(self, path: str) -> None:
        """Delete a resource; return when the switches confirmed."""
        answer = self.rest("DELETE", path)
        assert answer.status == 200, answer

    def tenant(self, *vms: Station) -> Lab:
        """Register tenant red, its segment and the VFs of these VMs."""
        self.put("tenants/red", {})
        self.put("segments/red", {"tenant": "red", "vlan": RED_VLAN})
        for vm in vms:
            self.put(f"vports/{vm.name}", vm.vport)
        return self

    def layer(
        self, name: str, position: int = 10, *, stateful: bool = False, outbound: str = "allow", inbound: str = "allow"
    ) -> None:
        """Put a layer."""
        default = {"outbound": outbound, "inbound": inbound}
        self.put(f"layers/{name}", {"position": position, "stateful": stateful, "owner": "ops", "default": default})

    def group(
        self,
        name: str,
        direction: str,
        *rules: Rule,
        layer: str = "firewall",
        applies_to: object = "all",
        priority: int = 100,
    ) -> Any:
        """Put a group of rules; return the answer's body."""
        body = {"applies_to": applies_to, "direction": direction, "priority": priority, "rules": list(rules)}
        return self.put(f"layers/{layer}/groups/{name}", body)

    def trace(self, vm: Station, packet: Packet, direction: str = "outbound") -> Any:
        """Return what POST /v1/trace says of a packet."""
        answer = self.rest("POST", "trace", {"vport": vm.name, "direction": direction, "packet": dict(packet)})
        assert answer.status == 200, answer
        return answer.body

    def wait_refusals(self, vm: Station, expected: Mapping[str, int]) -> None:
        """Return when REST counts exactly this as refused of a VM, by reason."""

        def counted() -> dict[str, int]:
            self.refresh()
            self.settle()
            refused: dict[str, int] = self.get("stats")["vports"][vm.name]["refused"]
            return {reason: number for reason, number in refused.items() if number}

        wait_until(counted, 5, f"refusals {expected}", until=lambda found: found == expected)

    # -- frames --------------------------------------------------------------------------------------------------------

    def send(self, where: Station | str, *frames: bytes) -> None:
        """Let frames arrive back to back at a VM's port, or at any port by name."""
        port = where if isinstance(where, str) else where.port
        for start in range(0, len(frames), DUMMY_QUEUE):
            burst = frames[start : start + DUMMY_QUEUE]
            self._queued[port] += len(burst)
            if self._queued[port] > DUMMY_QUEUE:
                self._arrive()
                self._queued[port] = len(burst)
            self._injected[port] += len(burst)
            self.ovs.appctl("netdev-dummy/receive", port, *(frame.hex() for frame in burst))

    def from_network(self, *frames: bytes, host: str = "h1", vlan: int | None = RED_VLAN) -> None:
        """Let frames arrive at a host's uplink, tagged unless `vlan` is None."""
        tagged = [frame if vlan is None else packets.tagged(frame, vlan) for frame in frames]
        self.send(f"{host}-uplink", *tagged)

    def sent(self, where: Station | str) -> list[bytes]:
        """Return the frames that have left by a VM's port, or by any port, since the test began."""
        port = where if isinstance(where, str) else where.port
        return self.ovs.sent(port)[self._seen_before[port] :]

    def wait_sent(self, where: Station | str, count: int = 1, timeout_s: float = 5.0) -> list[bytes]:
        """Return the frames that have left by a port when there are at least so many."""
        port = where if isinstance(where, str) else where.port
        wait_until(
            lambda: len(self.sent(port)), timeout_s, f"{count} frames out of {port}", until=lambda found: found >= count
        )
        self.refresh()
        return self.sent(port)

    def carry(self, source: str, target: str) -> list[bytes]:
        """Take what left by one uplink since the last time to another host's, as a cable would; return the frames."""
        self.settle()
        port = f"{source}-uplink"
        frames = self.sent(port)
        self._seen_before[port] += len(frames)
        if frames:
            self.send(f"{target}-uplink", *frames)
        self.settle()
        return frames

    def forget(self, port: str) -> None:
        """Begin anew with a port that was taken away and is back."""
        self._seen_before[port] = len(self.ovs.sent(port))
        self._injected[port] = self._received()[port]

    def silent(self, *ports: Station | str) -> bool:
        """Return whether nothing has left by these ports once all that was sent has been dealt with."""
        self.settle()
        return not any(self.sent(port) for port in ports)

    def settle(self) -> None:
        """Return when switch and controller have dealt with every frame that has arrived so far.

        REST's statistics need an answer of each switch, which comes behind the packet-ins; the second round comes
        behind what the controller sent for them.
        """
        for _ in range(2):
            self._arrive()
            self.get("stats")
        self._arrive()
        self.refresh()

    def _arrive(self) -> None:
        """Return when the switch has looked at every frame that was received; it takes them one by one."""

        def missing() -> dict[str, int]:
            taken = self._received()
            return {port: count - taken[port] for port, count in self._injected.items() if taken[port] != count}

        wait_until(missing, 5, "the switch to take what was received", until=lambda left: not left)
        self._queued.clear()

    def _received(self) -> Counter[str]:
        shown = self.ovs.appctl("dpctl/show", "-s", "dummy@ovs-dummy")
        return Counter({name: int(count) for name, count in _RECEIVED.findall(shown)})

    @contextmanager
    def controller_paused(self) -> Iterator[None]:
        """Stop the controller for as long; frames that are sent meanwhile have all reached the switch at the end."""
        os.kill(self.controller.pid, signal.SIGSTOP)
        try:
            yield
            self._arrive()
        finally:
            os.kill(self.controller.pid, signal.SIGCONT)

    # -- the switch ----------------------------------------------------------------------------------------------------

    def dump(self, host: str, table: str | None = None) -> list[FlowEntry]:
        """Return a host's entries with their counters brought up to date, of one table or of all."""
        self.refresh()
        return self.ovs.dump_flows(host, None if table is None else NUMBER[table])

    def refresh(self) -> None:
        """Empty the switches' datapath of what it has learned from their entries, and have its counts handed over.

        After a change of entries the switch does this by itself within some milliseconds, in which a frame may still
        meet the old ones; counts come twice a second.
        """
        self.ovs.appctl("revalidator/purge")

    def cached(self, host: str = "h1", table: str | None = None) -> list[FlowEntry]:
        """Return the exact-match entries of a host, of both caches or of one."""
        tables = CACHES if table is None else (table,)
        return [
            entry
            for name in tables
            for entry in self.dump(host, name)
            if entry.priority == CACHED_PRIORITY and entry.cookie
        ]

    def wait_cached(self, count: int, host: str = "h1", table: str | None = None) -> list[FlowEntry]:
        """Return a host's exact-match entries when there are so many."""
        return wait_until(
            lambda: self.cached(host, table), 5, f"{count} cached entries", until=lambda found: len(found) == count
        )

    def packet_ins(self, host: str = "h1") -> int:
        """Return how many packets the host's switch has sent to the controller since the test began."""
        self.settle()
        return self.site.snoops[host].count(snoop.PACKET_IN) - self._packet_ins_before[host]

    def warp(self, seconds: float) -> None:
        """Let the switch's clock run on, in half-second steps as if the time had passed."""
        self.ovs.appctl("time/warp", str(int(seconds * 1000)), "500")

    def switch_trace(self, port: str, frame: bytes) -> str:
        """Return what the switch itself says it would do with a frame that arrives at a port: its final actions."""
        host = port.partition("-")[0]
        number = self.ovs.vsctl("get", "interface", port, "ofport").strip()
        return self.ovs.trace(host, f"in_port={number}", frame).text

    # ------------------------------------------------------------------------------------------------------------------

    def _ports(self) -> list[str]:
        return [f"{host}-{name}" for host in HOSTS for name in (*(f"vf{vf}" for vf in range(1, VFS + 1)), "uplink")]

    def _clear(self) -> None:
        """Delete everything but the hosts."""
        for layer in self._ids("layers"):
            for group in self._ids(f"layers/{layer}/groups"):
                self.delete(f"layers/{layer}/groups/{group}")
            self.delete(f"layers/{layer}")
        for kind in ("routes", "vports"):
            for name in self._ids(kind):
                self.delete(f"{kind}/{name}")
        tenants = self._ids("tenants")
        for name in self._ids("segments"):
            if name not in tenants:
                self.delete(f"segments/{name}")
        for name in tenants:
            self.delete(f"tenants/{name}")

    def _ids(self, kind: str) -> list[str]:
        return [item["id"] for item in self.get(f"{kind}?limit=1000")["items"]]


def rule(
    name: str,
    match: Mapping[str, object],
    action: str | Mapping[str, Any] = "allow",
    *,
    priority: int = 100,
    idle_timeout_s: int | None = None,
) -> Rule:
    """Return the body of a rule; an action is `allow`, `deny`, or a whole object."""
    made: Rule = {"id": name, "priority": priority, "match": dict(match)}
    made["action"] = {"type": action} if isinstance(action, str) else dict(action)
    return made if idle_timeout_s is None else {**made, "idle_timeout_s": idle_timeout_s}


def rewrite(**fields: object) -> dict[str, Any]:
    """Return the action that sets header fields."""
    return {"type": "rewrite", "set": fields}


def frame(
    source: Station,
    target: Station,
    proto: int,
    payload: bytes,
    *,
    version: int = 4,
    **header: Any,
) -> bytes:
    """Return a frame of any IP protocol between two stations; `header` goes to `packets.packet`."""
    src, dst = (source.ip, target.ip) if version == 4 else (source.ip6, target.ip6)
    eth_type = packets.IPV4 if version == 4 else packets.IPV6
    body = packets.packet(src, dst, proto, packets.transport(src, dst, proto, payload), **header)
    return packets.ether(source.mac, target.mac, eth_type, body)


def tcp(
    source: Station,
    target: Station,
    sport: int = 40000,
    dport: int = 80,
    data: bytes = b"",
    *,
    flags: int = packets.SYN,
    **header: Any,
) -> bytes:
    """Return a TCP frame between two stations."""
    return frame(source, target, packets.TCP, packets.tcp(sport, dport, data, flags), **header)


def udp(
    source: Station, target: Station, sport: int = 40000, dport: int = 53, data: bytes = b"", **header: Any
) -> bytes:
    """Return a UDP frame between two stations."""
    return frame(source, target, packets.UDP, packets.udp(sport, dport, data), **header)


def ping(source: Station, target: Station, *, reply: bool = False, version: int = 4, number: int = 1) -> bytes:
    """Return an echo request or its reply between two stations."""
    kinds = (8, 0) if version == 4 else (128, 129)
    proto = packets.ICMP if version == 4 else packets.ICMPV6
    return frame(source, target, proto, packets.icmp(kinds[reply], 0, b"ping", number), version=version)


def moved(station: Station, **changes: Any) -> Station:
    """Return a station with some of its properties changed: what it will claim to be."""
    return replace(station, **changes)


def counters(entries: Sequence[FlowEntry]) -> dict[tuple[int, str], tuple[int, int]]:
    """Return cookie and packets of entries by table and match."""
    return {(entry.table, entry.match): (entry.cookie, entry.n_packets) for entry in entries}
