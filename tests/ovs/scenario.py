"""What a test does with the two hosts: puts policy, sends and receives frames, looks into the switches."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from mininet_scripts.support.flow_dump import FlowEntry
from mininet_scripts.support.rest import RestAnswer
from mininet_scripts.support.waiting import wait_until
from ryu_apps.pipeline.cookie import EntryClass, Refusal, unpack
from ryu_apps.pipeline.tables import NUMBER
from tests.ovs import packets
from tests.ovs.harness import snoop
from tests.ovs.site import HOSTS, VFS, Site
from tests.ovs.stations import RED_VLAN, Rule, Station

# How many frames a dummy port keeps until the switch takes them (netdev-dummy.c, NETDEV_DUMMY_MAX_QUEUE).
DUMMY_QUEUE: Final = 100
_RECEIVED: Final = re.compile(r"port \d+: (\S+) .*\n +RX packets:(\d+)")

CACHES: Final = ("outbound", "inbound")
CACHED_PRIORITY: Final = 100

Packet = Mapping[str, str]


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
        self._wait_released()
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
            self._wait_released()
        self._arrive()
        self.refresh()

    def _wait_released(self) -> None:
        """Return when the switches have the entries that the controller held back while first packets passed."""
        wait_until(lambda: self.get("stats")["held_back"], 5, "no entry to be held back", until=lambda held: not held)
        self.get("stats")

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
        """Return a host's exact-match entries when there are so many, and the datapath follows them."""
        found = wait_until(
            lambda: self.cached(host, table), 5, f"{count} cached entries", until=lambda found: len(found) == count
        )
        # Each dump brought the datapath up to date before it looked; the entries may have come in between.
        self.refresh()
        return found

    def guarded(self, refusal: Refusal, host: str = "h1") -> int:
        """Return what the entries of a host that refuse for this reason have counted; the controller is not asked."""
        cookies = [(unpack(entry.cookie), entry.n_packets) for entry in self.dump(host, "guard")]
        return sum(
            packets
            for cookie, packets in cookies
            if cookie is not None and (cookie.entry_class, cookie.detail) == (EntryClass.GUARD, refusal)
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
        """Delete everything but the hosts, and tenant red with its usual segment."""
        for layer in self._ids("layers"):
            for group in self._ids(f"layers/{layer}/groups"):
                self.delete(f"layers/{layer}/groups/{group}")
            self.delete(f"layers/{layer}")
        for kind in ("routes", "nat_pools", "vports"):
            for name in self._ids(kind):
                self.delete(f"{kind}/{name}")
        # What nearly every test begins with may stay: each change of a switch takes its time.
        red = {"id": "red", "tenant": "red", "vlan": RED_VLAN}
        kept = any(red.items() <= item.items() for item in self.get("segments")["items"])
        tenants = [name for name in self._ids("tenants") if not (kept and name == "red")]
        for name in self._ids("segments"):
            if name not in tenants and not (kept and name == "red"):
                self.delete(f"segments/{name}")
        for name in tenants:
            self.delete(f"tenants/{name}")

    def _ids(self, kind: str) -> list[str]:
        return [item["id"] for item in self.get(f"{kind}?limit=1000")["items"]]


def counters(entries: Sequence[FlowEntry]) -> dict[tuple[int, str], tuple[int, int]]:
    """Return cookie and packets of entries by table and match."""
    return {(entry.table, entry.match): (entry.cookie, entry.n_packets) for entry in entries}
