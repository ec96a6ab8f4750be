"""Trace: what POST /v1/trace says is what the packet meets, on the wire and in the switch's own trace."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, VM1, VM2, VM3, VM4, Rule, Station, frame, rewrite, rule, tcp

# Each has found a disagreement at least once.
SEEDS: Final = (8930690, 6, 23)
PACKETS: Final = 240
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


def _policy(lab: Lab, rng: random.Random) -> None:
    """Put three layers with groups of random rules for everybody, a tenant, and single vports."""
    lab.tenant(VM1, VM2, VM3, VM4)
    for position in range(3):
        name = f"layer{position}"
        defaults = {way: "deny" if rng.random() < 0.05 else "allow" for way in ("outbound", "inbound")}
        lab.layer(name, position, stateful=rng.random() < 0.5, **defaults)
        for number, scope in enumerate(("all", {"tenant": "red"}, {"vport": "vm1"}, {"vport": "vm2"})):
            direction = rng.choice(["outbound", "inbound"])
            lab.group(f"g{number}", direction, *_rules(rng, 5), layer=name, applies_to=scope, priority=number)


def _sample(rng: random.Random) -> Sample:
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


_FINAL: Final = re.compile(r"^Final flow: (.*)$", re.MULTILINE)
_ACTIONS: Final = re.compile(r"^Datapath actions: (.*)$", re.MULTILINE)


def _by_switch(lab: Lab, port: str, sent: bytes) -> tuple[str, dict[str, object]]:
    """Return the port, or "", to which the switch says that it would send a frame, and the headers it would have."""
    text = lab.switch_trace(port, sent)
    actions = _ACTIONS.findall(text)[-1].split(",")
    if actions[-1] == "drop":
        return "", {}
    flow = dict(part.partition("=")[::2] for part in _FINAL.findall(text)[-1].split(","))
    return actions[-1], {
        "eth_src": flow["dl_src"],
        "eth_dst": flow["dl_dst"],
        "src": flow.get("nw_src") or flow["ipv6_src"],
        "dst": flow.get("nw_dst") or flow["ipv6_dst"],
        "dscp": int(flow["nw_tos"]) >> 2,
        "sport": int(flow.get("tp_src", 0)),
        "dport": int(flow.get("tp_dst", 0)),
    }


def _as_headers(after: dict[str, str]) -> dict[str, object]:
    """Return the packet that a trace ends with, in the words of a captured one."""
    return {
        "eth_src": after["eth_src"],
        "eth_dst": after["eth_dst"],
        "src": after.get("ipv4_src") or after["ipv6_src"],
        "dst": after.get("ipv4_dst") or after["ipv6_dst"],
        "dscp": int(after["ip_dscp"]),
        "sport": int(after.get("l4_src", 0)),
        "dport": int(after.get("l4_dst", 0)),
    }


def _new_frames(lab: Lab, seen: dict[str, int]) -> list[tuple[str, bytes]]:
    """Return what has left by any port of h1, and by the VM of h2, since the last time."""
    found = []
    for port in seen:
        sent = lab.sent(port)
        found += [(port, one) for one in sent[seen[port] :]]
        seen[port] = len(sent)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_trace_agrees_with_the_wire_and_with_the_switch(lab: Lab, seed: int) -> None:
    """M24: over random packets and rules, verdict, edits and port are the same in trace, capture and ofproto/trace."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    _policy(lab, rng)
    seen = dict.fromkeys((VM1.port, VM2.port, VM4.port, VM3.port, "h1-uplink"), 0)
    outcomes: dict[str, int] = {}
    for number in range(PACKETS):
        sample = _sample(rng)
        label = f"packet {number}, seed {seed}: {sample.source.name} {sample.described}"

        traced = lab.trace(sample.source, sample.described)
        lab.send(sample.source, sample.sent)
        lab.settle()
        left = _new_frames(lab, seen)
        port, headers = _by_switch(lab, sample.source.port, sample.sent)
        assert [at for at, _ in left] == ([port] if port else []), label
        if left:
            assert packets.read(left[0][1]).headers() == headers, label
            assert packets.read(left[0][1]).wrong_checksums == (), label

        if port == "h1-uplink" and packets.read(left[0][1]).vlan == sample.source.vlan:
            crossed = left[0][1]
            lab.send("h2-uplink", crossed)
            lab.settle()
            left = _new_frames(lab, seen)
            port, headers = _by_switch(lab, "h2-uplink", crossed)
            assert [at for at, _ in left] == ([port] if port else []), label

        dropped = traced["delivery"] in (None, {"to": "nowhere"})
        assert dropped is not bool(left), label
        if left:
            assert packets.read(left[0][1]).headers() == headers == _as_headers(traced["packet_after"]), label
            delivery = traced["delivery"]
            expected = STATIONS[delivery["vport"]].port if delivery["to"] == "vport" else "h1-uplink"
            assert port == expected, label
            if delivery["to"] == "uplink":
                assert packets.read(left[0][1]).vlan == delivery["vlan"], label
        outcomes[port] = outcomes.get(port, 0) + 1
    # A corpus that all goes one way would show little.
    assert min(outcomes.get(port, 0) for port in ("", VM2.port, VM3.port, "h1-uplink")) >= 5, outcomes


def test_trace_names_what_the_flow_then_shows(lab: Lab) -> None:
    """M24: the layers, rules and entries of a trace are those of the flow that the packet then makes."""
    lab.tenant(VM1, VM2)
    lab.layer("one", 10)
    lab.layer("two", 20)
    lab.group("mark", "outbound", rule("mark", {"ip_proto": "tcp"}, rewrite(ip_dscp=46)), layer="one")
    lab.group("ports", "outbound", rule("move", {"ip_proto": "tcp"}, rewrite(l4_dst=8080)), layer="two")
    packet = {"eth_dst": VM2.mac, "ipv4_src": VM1.ip, "ipv4_dst": VM2.ip, "ip_proto": "tcp"}
    packet |= {"l4_src": "40000", "l4_dst": "80"}

    traced = lab.trace(VM1, packet)
    lab.send(VM1, tcp(VM1, VM2))
    cached = lab.wait_cached(4)

    (flow,) = lab.get("flows")["items"]
    assert [leg["layers"] for leg in flow["forward"]] == [leg["layers"] for leg in traced["walk"]]
    assert [leg["layers"] for leg in flow["reply"]] == [leg["layers"] for leg in traced["reply"]]
    assert traced["edit"] == {"ip_dscp": "46", "l4_dst": "8080"}
    lab.ovs.add_bridge("scratch", 77)
    try:
        lab.ovs.ofctl("add-flows", "scratch", "-", stdin="\n".join(traced["entries"]))
        shown = {(entry.table, entry.match, entry.actions) for entry in lab.ovs.dump_flows("scratch")}
    finally:
        lab.ovs.vsctl("del-br", "scratch")
    assert shown == {(entry.table, entry.match, entry.actions) for entry in cached}


def test_trace_sends_nothing_and_makes_no_state(lab: Lab) -> None:
    """M24: traces, allowed and denied, leave switch, ports and flow table as they were."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.group("web", "outbound", rule("no", {"ip_proto": "tcp", "l4_dst": 80}, "deny"))
    packet = {"eth_dst": VM2.mac, "ipv4_src": VM1.ip, "ipv4_dst": VM2.ip, "ip_proto": "tcp", "l4_src": "5"}
    before = [(entry.table, entry.match, entry.cookie) for entry in lab.dump("h1")]

    verdicts = [lab.trace(VM1, {**packet, "l4_dst": str(port)})["allow"] for port in (80, 81)]
    inbound = lab.trace(VM2, {**packet, "eth_src": VM1.mac, "l4_dst": "80"}, "inbound")

    assert verdicts == [False, True]
    assert (inbound["allow"], inbound["delivery"]["vport"]) == (True, "vm2")
    assert lab.silent(VM1, VM2, "h1-uplink")
    assert [(entry.table, entry.match, entry.cookie) for entry in lab.dump("h1")] == before
    assert lab.get("flows")["items"] == []
    assert lab.packet_ins() == 0


def test_trace_knows_the_connection_that_is_there(lab: Lab) -> None:
    """M24: a reply is traced as part of its connection, not as a packet that nobody asked for."""
    lab.tenant(VM1)
    lab.layer("firewall", stateful=True, inbound="deny")
    back = {"eth_src": EXT.mac, "ipv4_src": EXT.ip, "ipv4_dst": VM1.ip, "ip_proto": "tcp", "l4_src": "80"}
    back |= {"l4_dst": "40000"}
    assert lab.trace(VM1, back, "inbound")["allow"] is False

    lab.send(VM1, tcp(VM1, EXT))
    lab.wait_sent("h1-uplink")

    traced = lab.trace(VM1, back, "inbound")
    assert traced["allow"] is True
    assert traced["established_flow"] == lab.get("flows")["items"][0]["id"]
    assert traced["walk"][0]["layers"][0]["reason"] == "established"
