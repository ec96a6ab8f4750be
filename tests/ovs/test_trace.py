"""POST /v1/trace against the real path and against the switch's own trace, on a random corpus."""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import Any

import pytest

from tests.ovs import packets
from tests.ovs.scenario import EXT, VM1, VM2, VM3, Lab, Packet, Rule, Station, frame, rule, tcp, udp

PACKETS = 220
_PORTS = (22, 53, 80, 443, 8080)
_ADDRESSES = (VM1, VM2, VM3, EXT)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return a new seed at each run; a failure prints it."""
    chosen = random.randrange(1 << 32)
    print(f"seed {chosen}")
    return chosen


def _match(values: random.Random) -> dict[str, Any]:
    match: dict[str, Any] = {}
    if values.random() < 0.7:
        match["ip_proto"] = values.choice(["tcp", "udp"])
        if values.random() < 0.8:
            match["l4_dst"] = values.choice([str(values.choice(_PORTS)), "1-100", "50-1024", "400-9000"])
        if values.random() < 0.2:
            match["l4_src"] = "40000-40100"
    if values.random() < 0.4:
        match["ipv4_dst"] = values.choice([VM2.ip, "10.0.0.0/24", "10.0.0.2/31", EXT.ip])
    if values.random() < 0.2:
        match["ipv4_src"] = values.choice([VM1.ip, "10.0.0.0/30"])
    if values.random() < 0.1:
        match["ip_dscp"] = values.choice([0, 10])
    return match


def _action(values: random.Random) -> dict[str, Any]:
    kind = values.choices(["allow", "deny", "rewrite", "nat"], weights=[5, 3, 3, 1])[0]
    if kind == "rewrite":
        return {"type": kind, "set": values.choice([{"ip_dscp": 20}, {"l4_dst": 443}, {"ip_dscp": 7, "l4_dst": 8080}])}
    if kind == "nat":
        return {"type": kind, "source": {"ip": "10.0.0.77"}}
    return {"type": kind}


def _rules(values: random.Random) -> list[Rule]:
    return [
        rule(f"r{n}", _match(values), _action(values), priority=values.randrange(5)) for n in range(values.randrange(8))
    ]


def _policy(lab: Lab, values: random.Random) -> None:
    for position, name in enumerate(("first", "second", "third")):
        stateful = values.random() < 0.5
        lab.layer(name, position, stateful=stateful, inbound=values.choice(["allow", "allow", "deny"]))
        for direction in ("outbound", "inbound"):
            for number in range(2):
                scope = values.choice(["all", {"vport": "vm1"}, {"vport": "vm2"}, {"tenant": "red"}])
                lab.group(
                    f"{direction}{number}", direction, *_rules(values), layer=name, applies_to=scope, priority=number
                )


def _packet(values: random.Random, number: int) -> tuple[bytes, Packet, Station]:
    """Return a frame of a connection of its own from vm1, the same in words, and where it goes."""
    target = values.choice([VM2, VM2, EXT])
    kind = values.choice(["tcp", "udp", "gre", "ping"])
    dscp = values.choice([0, 0, 0, 10])
    said: dict[str, str] = {
        "eth_src": VM1.mac,
        "eth_dst": target.mac,
        "ipv4_src": VM1.ip,
        "ipv4_dst": target.ip,
        "ip_dscp": str(dscp),
    }
    if kind in ("tcp", "udp"):
        sport, dport = 40000 + number, values.choice(_PORTS)
        make = tcp if kind == "tcp" else udp
        said |= {"ip_proto": kind, "l4_src": str(sport), "l4_dst": str(dport)}
        return make(VM1, target, sport, dport, b"corpus", dscp=dscp), said, target
    if kind == "ping":
        said |= {"ip_proto": "icmp", "icmpv4_type": "8", "icmpv4_code": "0"}
        return frame(VM1, target, packets.ICMP, packets.icmp(8, 0, b"corpus", number), dscp=dscp), said, target
    said["ip_proto"] = str(packets.GRE)
    return frame(VM1, target, packets.GRE, b"\0\0\x08\0corpus", dscp=dscp), said, target


def _out(lab: Lab) -> dict[str, list[bytes]]:
    return {port: lab.sent(port) for port in (VM2.port, "h1-uplink", VM1.port)}


def _agrees(told: Any, left: list[tuple[str, bytes]], sent: bytes) -> str | None:
    """Return what is wrong between what the trace told and what left the switch, None when they agree."""
    if not told["allow"]:
        return None if not left else f"denied, and left by {left[0][0]}"
    if len(left) != 1:
        return f"allowed, and {len(left)} frames left"
    (port, out), after = left[0], told["packet_after"]
    if port != (VM2.port if told["delivery"]["to"] == "vport" else "h1-uplink"):
        return f"delivery {told['delivery']}, and left by {port}"
    read, original = packets.read(out), packets.read(sent)
    if read.wrong_checksums:
        return f"wrong checksums: {read.wrong_checksums}"
    seen = {"eth_src": read.eth_src, "eth_dst": read.eth_dst, "ipv4_src": read.src, "ipv4_dst": read.dst}
    seen["ip_dscp"] = str(read.dscp)
    if "l4_dst" in after:
        seen |= {"l4_src": str(read.sport), "l4_dst": str(read.dport)}
    differing = {name: (value, after[name]) for name, value in seen.items() if after[name] != value}
    return f"on the wire and in the trace: {differing} (sent {original.headers()})" if differing else None


def test_trace_equals_the_real_path_and_the_switchs_own_trace(lab: Lab, seed: int) -> None:
    """M24: verdict, edits and output of 220 random packets agree between REST, the wire, and ofproto/trace."""
    values = random.Random(seed)
    lab.tenant(VM1, VM2)
    _policy(lab, values)
    flows = lab.get("stats")["flows"]
    allowed = 0
    for number in range(PACKETS):
        sent, said, _ = _packet(values, number)
        told = lab.trace(VM1, said)
        before = _out(lab)
        lab.send(VM1, sent)
        lab.settle()
        left = [(port, out) for port, frames in _out(lab).items() for out in frames[len(before[port]) :]]
        wrong = _agrees(told, left, sent)
        assert wrong is None, (seed, number, said, told, wrong)
        shown = lab.switch_trace(VM1.port, sent).rpartition("Datapath actions:")[2]
        assert ("drop" in shown) is not told["allow"], (seed, number, said, told, shown)
        if told["allow"]:
            _same_edits(shown, told, said, (seed, number))
        allowed += told["allow"]
    assert 0 < allowed < PACKETS, f"a corpus that shows nothing: {allowed} of {PACKETS} allowed (seed {seed})"
    assert lab.get("stats")["flows"] > flows


def _same_edits(shown: str, told: Any, said: Packet, where: object) -> None:
    """Check that the switch's own trace sets the addresses that REST's trace says are edited."""
    for name in ("ipv4_src", "ipv4_dst"):
        if name in told["edit"]:
            assert str(ip_address(told["edit"][name])) in shown, (where, told, shown)
    changes = {name: value for name, value in told["edit"].items() if said.get(name) != value}
    assert ("set(" in shown) is bool(changes), (where, told, shown)


def test_a_trace_leaves_no_state(lab: Lab) -> None:
    """M24: nothing is sent, no flow is kept and no entry is made by a trace."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    before = (lab.get("stats")["flows"], [entry.match for entry in lab.dump("h1")])
    told = lab.trace(
        VM1, {"eth_dst": VM2.mac, "ipv4_src": VM1.ip, "ipv4_dst": VM2.ip, "ip_proto": "tcp", "l4_dst": "80"}
    )
    assert told["allow"] and len(told["entries"]) == 4
    assert (lab.get("stats")["flows"], [entry.match for entry in lab.dump("h1")]) == before
    assert lab.silent(VM2, "h1-uplink")


def test_the_entries_of_a_trace_are_those_that_the_packet_makes(lab: Lab) -> None:
    """M24: the entries that a trace names are in the switch after the packet, as ovs-ofctl reads them."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", stateful=True)
    told = lab.trace(
        VM1,
        {
            "eth_dst": VM2.mac,
            "ipv4_src": VM1.ip,
            "ipv4_dst": VM2.ip,
            "ip_proto": "tcp",
            "l4_src": "40000",
            "l4_dst": "80",
        },
    )
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_sent(VM2)
    lab.ovs.add_bridge("plain", 77, {})
    for entry in told["entries"]:
        lab.ovs.ofctl("add-flow", "plain", entry)
    wanted = {(e.table, e.match, e.actions, e.idle_timeout_s) for e in lab.ovs.dump_flows("plain")}
    assert wanted == {(e.table, e.match, e.actions, e.idle_timeout_s) for e in lab.cached("h1")}
