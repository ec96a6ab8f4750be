"""Trace: what POST /v1/trace says is what the packet meets, on the wire and in the switch's own trace."""

from __future__ import annotations

import random
import re
from typing import Final

import pytest

from tests.ovs import packets
from tests.ovs.corpus import STATIONS, Sample, put_policy
from tests.ovs.corpus import sample as random_sample
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, VM1, VM2, VM3, VM4, rewrite, rule, tcp

# Each has found a disagreement at least once.
SEEDS: Final = (8930690, 6, 23)
PACKETS: Final = 240
# Of so many packets as many may come at the very moment at which their connection has been idle for long enough.
MOST_IDLE: Final = 2
_TO_CONTROLLER: Final = "max_len="

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


def _pass(lab: Lab, sample: Sample, seen: dict[str, int]) -> tuple[list[tuple[str, bytes]], str, dict[str, object]]:
    """Return what left for a frame, and the port and headers that the switch then says it would have."""
    lab.send(sample.source, sample.sent)
    lab.settle()
    return _new_frames(lab, seen), *_by_switch(lab, sample.source.port, sample.sent)


@pytest.mark.parametrize("seed", SEEDS)
def test_trace_agrees_with_the_wire_and_with_the_switch(lab: Lab, seed: int) -> None:
    """M24: over random packets and rules, verdict, edits and port are the same in trace, capture and ofproto/trace."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    put_policy(lab, rng)
    seen = dict.fromkeys((VM1.port, VM2.port, VM4.port, VM3.port, "h1-uplink"), 0)
    outcomes: dict[str, int] = {}
    idle = 0
    for number in range(PACKETS):
        sample = random_sample(rng)
        label = f"packet {number}, seed {seed}: {sample.source.name} {sample.described}"

        traced = lab.trace(sample.source, sample.described)
        left, port, headers = _pass(lab, sample, seen)
        if _TO_CONTROLLER in port:
            # The connection's entries had run idle just then, and went between the frame and the question.
            idle += 1
            left, port, headers = _pass(lab, sample, seen)
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
    assert idle <= MOST_IDLE
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
