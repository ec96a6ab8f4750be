"""A random policy of three layers, and random packets under it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, VM1, VM2, VM3, VM4, Rule, Station, frame, rewrite, rule

STATIONS: Final = {station.name: station for station in (VM1, VM2, VM3, VM4, EXT)}
PROTOS: Final = {"tcp": packets.TCP, "udp": packets.UDP, "sctp": packets.SCTP, "icmp": packets.ICMP, "47": packets.GRE}
PORTS: Final = (22, 80, 443, 1000, 8080)
RANGES: Final = ("80", "1-1024", "443-1000", "22-80", "0-65535")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One packet of the corpus, as bytes and as a client describes it."""

    source: Station
    sent: bytes
    described: dict[str, str]


def _match(rng: random.Random, version: int) -> dict[str, object]:
    match: dict[str, object] = {"eth_type": f"ipv{version}"}
    if rng.random() < 0.9:
        match["ip_proto"] = rng.choice(["tcp", "udp", "sctp", "icmp" if version == 4 else "icmpv6", 47])
    if match.get("ip_proto") in ("tcp", "udp", "sctp"):
        for name in ("l4_src", "l4_dst"):
            if rng.random() < 0.6:
                match[name] = rng.choice(RANGES)
    if rng.random() < 0.4:
        target = rng.choice(list(STATIONS.values()))
        match[f"ipv{version}_dst"] = target.ip if version == 4 else target.ip6
    if rng.random() < 0.2:
        match["ip_dscp"] = rng.choice([0, 10, 46])
    return match


def _action(rng: random.Random, version: int) -> dict[str, Any]:
    kind = rng.choice(["allow", "allow", "rewrite", "rewrite", "nat", "deny"])
    if kind == "rewrite":
        fields: dict[str, object] = {"ip_dscp": rng.choice([10, 20, 46])}
        if rng.random() < 0.3:
            fields["eth_dst"] = rng.choice([VM2.mac, VM3.mac, VM4.mac, EXT.mac])
        return rewrite(**fields)
    if kind == "nat":
        side = {"ip": f"10.0.9.{rng.randrange(1, 9)}" if version == 4 else f"fd09::{rng.randrange(1, 9)}"}
        return {"type": "nat", rng.choice(["source", "destination"]): side}
    return {"type": kind}


def _rules(rng: random.Random, count: int) -> list[Rule]:
    made = []
    for number in range(count):
        version = rng.choice([4, 6])
        action = _action(rng, version)
        made.append(rule(f"r{number}", _match(rng, version), action, priority=rng.randrange(5)))
    return made


def put_policy(lab: Lab, rng: random.Random) -> None:
    """Put three layers with groups of random rules for everybody, a tenant, and single vports."""
    lab.tenant(VM1, VM2, VM3, VM4)
    for position in range(3):
        name = f"layer{position}"
        defaults = {way: "deny" if rng.random() < 0.05 else "allow" for way in ("outbound", "inbound")}
        lab.layer(name, position, stateful=rng.random() < 0.5, **defaults)
        for number, scope in enumerate(("all", {"tenant": "red"}, {"vport": "vm1"}, {"vport": "vm2"})):
            direction = rng.choice(["outbound", "inbound"])
            lab.group(f"g{number}", direction, *_rules(rng, 5), layer=name, applies_to=scope, priority=number)


def sample(rng: random.Random) -> Sample:
    """Return a packet of VM 1 or 2."""
    source = rng.choice([VM1, VM2])
    target = rng.choice([station for station in STATIONS.values() if station is not source])
    version, name, dscp = rng.choice([4, 4, 6]), rng.choice(list(PROTOS)), rng.choice([0, 0, 10, 46])
    proto = PROTOS[name]
    src, dst = (source.ip, target.ip) if version == 4 else (source.ip6, target.ip6)
    described = {f"ipv{version}_src": src, f"ipv{version}_dst": dst, "eth_dst": target.mac, "ip_dscp": str(dscp)}
    if name == "icmp":
        kind = 8 if version == 4 else 128
        proto = packets.ICMP if version == 4 else packets.ICMPV6
        payload = packets.icmp(kind, 0, b"ping", rng.randrange(1 << 16))
        described[f"icmpv{version}_type"] = str(kind)
    elif name == "47":
        payload = b"\0\0\x08\0" + rng.randbytes(8)
        described["ip_proto"] = "47"
    else:
        sport, dport = rng.choice(PORTS), rng.choice(PORTS)
        payload = {"tcp": packets.tcp, "udp": packets.udp, "sctp": packets.sctp}[name](sport, dport, rng.randbytes(8))
        described |= {"ip_proto": name, "l4_src": str(sport), "l4_dst": str(dport)}
    return Sample(
        source=source, sent=frame(source, target, proto, payload, version=version, dscp=dscp), described=described
    )
