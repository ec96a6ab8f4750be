"""Who talks in the tests, what they send, and the rules about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.ovs import packets

# The VLAN by which the network outside knows tenant red's segment.
RED_VLAN: Final = 200

# Misses a second of each VF: more than tests send, so that only those that mean to meet the limit do.
MISS_RATE_PPS: Final = 100_000

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
        return {
            "host": self.host, "port": self.port, "tenant": "red", "mac": self.mac, "ips": ips, "vlan": self.vlan,
            "miss_rate_pps": MISS_RATE_PPS,
        }  # fmt: skip


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
