"""The load for learning switches: connections between MACs that they know."""

from __future__ import annotations

from functools import partial
from typing import Final

from benchmarks import frames
from benchmarks.fake_switch import FakeSwitch
from benchmarks.frames import PacketInTemplate
from benchmarks.openflow import Port

PORTS: Final = tuple(Port(n, f"eth{n}", frames.mac(f"02:00:00:00:ff:{n:02x}")) for n in (1, 2))


def templates(mac_pairs: int = 1) -> list[PacketInTemplate]:
    """Return packet-ins on port 1 from MACs that all send to MACs behind port 2."""
    return [_between(frames.mac(f"02:00:00:01:00:{n:02x}"), _server_mac(n), 1) for n in range(mac_pairs)]


def teach(switch: FakeSwitch, mac_pairs: int = 1) -> None:
    """Let a learning switch learn the MACs behind port 2 and wait for its answers."""
    for number in range(mac_pairs):
        before = switch.packet_outs
        switch.send(_between(_server_mac(number), b"\xff" * 6, 2).encode(switch.version))
        switch.pump_until(partial(_answered, switch, before), timeout_s=5.0, what="answer to a broadcast")


def _answered(switch: FakeSwitch, before: int) -> bool:
    return switch.packet_outs > before


def _server_mac(number: int) -> bytes:
    return frames.mac(f"02:00:00:02:00:{number:02x}")


def _between(eth_src: bytes, eth_dst: bytes, in_port: int) -> PacketInTemplate:
    syn = frames.tcp_syn(eth_src, eth_dst, frames.ipv4("10.0.0.0"), frames.ipv4("192.0.2.1"), 80)
    return PacketInTemplate(frame=syn, in_port=in_port, registers={})
