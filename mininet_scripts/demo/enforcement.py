"""Steps that show policy in force: a denied connection, a live one cut and restored, a forged frame."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mininet_scripts.demo.policy import LAYER, SERVERS, TELNET_PORT, WEB_PORT
from mininet_scripts.demo.stage import Stage
from mininet_scripts.support import frames, traffic
from mininet_scripts.support.capture import capture
from mininet_scripts.support.policy import lone_rule
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until

FORGED = 10
CUT = f"{SERVERS}/rules/maintenance"
TALK_PORT = 41_000
# Open vSwitch confirms a change before its datapath has caught up: it gathers changes for 5 ms.
CUT_WITHIN_MS = 100


def denied(stage: Stage) -> None:
    """Show that a connection is refused, and that the trace names what refuses it."""
    vm1, vm3 = stage.host("vm1"), stage.host("vm3")
    with traffic.tcp_echo_server(vm3, TELNET_PORT), traffic.tcp_echo_server(vm3, WEB_PORT):
        allowed = traffic.tcp_works(vm1, address_of("vm3").ipv4, WEB_PORT)
        refused = not traffic.tcp_works(vm1, address_of("vm3").ipv4, TELNET_PORT, timeout_s=1.0)
    stage.report.check("TCP to vm3 port 80 connects", "connected" if allowed else "no connection", allowed)
    stage.report.check("TCP to vm3 port 23 does not", "no connection" if refused else "CONNECTED", refused)
    trace = stage.trace("vm1", "vm3", ip_proto="tcp", l4_src=42_000, l4_dst=TELNET_PORT)
    by = trace["decided_by"] or {}
    expected = {"layer": LAYER, "group": "servers", "rule": "telnet", "action": "deny"}
    named = {name: by.get(name) for name in expected}
    seen = "denied by layer {layer}, group {group}, rule {rule}".format_map(named)
    stage.report.check("Its trace names what denies it", seen, not trace["allow"] and named == expected)
    lines = [f"{leg['vport']} {leg['direction']}: {_word(layer)}" for leg in trace["walk"] for layer in leg["layers"]]
    stage.report.detail("Trace of TCP from vm1 to vm3 port 23:", lines)


def cut_and_restored(stage: Stage) -> None:
    """Show that a rule change cuts a live connection with its next packet, and that taking it back restores it."""
    vm1, vm3, address = stage.host("vm1"), stage.host("vm3"), address_of("vm3").ipv4
    with (
        traffic.tcp_echo_server(vm3, WEB_PORT),
        traffic.tcp_talk(vm1, address, WEB_PORT, source_port=TALK_PORT) as echoes,
    ):
        echoes.wait_count(20)
        stage.client.put(CUT, lone_rule("deny", priority=90, ip_proto="tcp", l4_dst=WEB_PORT))
        cut_ns = time.monotonic_ns()
        refused = not traffic.tcp_works(vm1, address, WEB_PORT, timeout_s=1.0)
        last_ms = (echoes.seen()[-1].at_ns - cut_ns) / 1e6
        stopped_at = len(echoes.seen())
        seen = f"last echo {abs(last_ms):.0f} ms {'after' if last_ms > 0 else 'before'} the answer to PUT"
        stage.report.check("A live TCP connection is cut by a rule", seen, refused and last_ms < CUT_WITHIN_MS)
        stage.client.delete(CUT)
        restored_ns = time.monotonic_ns()
        try:
            numbers = echoes.wait_count(stopped_at + 20, timeout_s=10)
        except TimeoutError:
            numbers = echoes.numbers()
        whole = numbers == list(range(1, len(numbers) + 1))
        first_ns = next((echo.at_ns for echo in echoes.seen() if echo.at_ns > restored_ns), None)
        _show_flow(stage)
    back = f"{(first_ns - restored_ns) / 1e9:.1f} s later, by TCP's own retry" if first_ns else "stays silent"
    stage.report.check(
        "It goes on when the rule is deleted",
        f"{back}, {'nothing lost' if whole else 'ECHOES LOST'}",
        first_ns is not None and whole,
    )


def forged(stage: Stage) -> None:
    """Show that frames with a neighbour's address are dropped in the NIC and counted by reason."""
    vm1, vm2, vm3 = address_of("vm1"), address_of("vm2"), address_of("vm3")
    packet = frames.ipv4(vm2.ipv4, vm3.ipv4, frames.UDP, frames.udp(1, 7000, b"forged"))
    kinds = {
        "ip": frames.ethernet(vm3.mac, vm1.mac, frames.IPV4, packet),
        "mac": frames.ethernet(vm3.mac, vm2.mac, frames.IPV4, packet),
    }
    for reason, frame in kinds.items():
        counted, leaked = _forge(stage, reason, frame)
        stage.report.check(
            f"{FORGED} frames from vm1 with vm2's {reason.upper()} address",
            f"{counted} refused and counted as {reason!r}, {leaked} left the host",
            counted == FORGED and not leaked,
        )


def _forge(stage: Stage, reason: str, frame: bytes) -> tuple[int, int]:
    """Return how many forged frames were counted under a reason, and how many came out at the uplink."""
    before = stage.refused("vm1", reason)
    with capture(None, "h1-uplink", "udp port 7000 or (vlan and udp port 7000)") as uplink:
        traffic.send_frames(stage.host("vm1"), "vm1-eth0", [frame] * FORGED)
        with suppress(TimeoutError):
            wait_until(lambda: stage.refused("vm1", reason) >= before + FORGED, 5, f"refusals as {reason}")
        return stage.refused("vm1", reason) - before, len(uplink.frames())


def _show_flow(stage: Stage) -> None:
    """Show the entries of the live connection, each with the rule that made it."""
    flows = stage.flows("vm1", ip_proto="tcp", l4_src=str(TALK_PORT))
    legs = [leg for flow in flows for leg in (*flow["forward"], *flow["reply"])]
    installed = [leg for leg in legs if leg["installed"]]
    rules = {layer["rule"] for leg in legs for layer in leg["layers"]}
    stage.report.check(
        "Its unified flow: an entry per vport and direction",
        f"{len(installed)} of {len(legs)} in the switches, made by rule 'web'",
        len(flows) == 1 and len(installed) == len(legs) == 4 and "web" in rules,
    )
    lines = [f"{len(flows)} flow at generation {', '.join(str(flow['generation']) for flow in flows)}"]
    for leg in legs:
        match = leg["match"]
        ends = f"{match['ipv4_src']}:{match['l4_src']} → {match['ipv4_dst']}:{match['l4_dst']}"
        by = "; ".join(_word(layer) for layer in leg["layers"])
        lines.append(f"{leg['vport']} {leg['direction']:8} {ends}  {leg['packets']:4} packets  {by}")
    stage.report.detail("The unified flow of the TCP connection from vm1 to vm3 port 80:", lines)


def _word(layer: Mapping[str, Any]) -> str:
    """Return one layer's word in one line."""
    source = f"group {layer['group']}, rule {layer['rule']}" if layer["rule"] else layer["reason"]
    return f"layer {layer['layer']}, {source}: {layer['action']}"
