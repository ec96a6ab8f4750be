"""What one message costs at the edge: templates, decoders, and the receive loop around a core that decides at once.

Every call gets another flow, so that nothing remembered from an earlier one helps beyond what flows share in life.
The core's part of a miss, parsing and walking, is left out. Prints a table and one JSON line.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Container, Sequence
from typing import Any, Final

import eventlet

from benchmarks.frames import ConnectionRing, PacketInTemplate, ipv4, mac, tcp_syn
from benchmarks.measurement import print_table
from benchmarks.openflow import OF_14
from ryu_apps.control.effects import AnyEntry, Effect, Emit, Install
from ryu_apps.control.events import FlowRemoved, PacketIn, PresentEntry, ProbeCaught
from ryu_apps.control.fast_path import FastPath
from ryu_apps.control.flow_table import FlowTable
from ryu_apps.control.holding import Holding
from ryu_apps.control.life import Life
from ryu_apps.control.tally import Tally
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.flow_key import Family, FlowKey
from ryu_apps.model.policy import Snapshot
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import IDENTITY, Transposition, transposition
from ryu_apps.pipeline.cached import CachedEntry, compile_cached
from ryu_apps.pipeline.cookie import Cookie, EntryClass
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import codec, flow_dump, packet_in, templates
from ryu_apps.southbound.cached_match import key_of_match
from ryu_apps.southbound.handler import Refusal
from ryu_apps.southbound.limits import Limits
from ryu_apps.southbound.link import Link
from ryu_apps.southbound.links import Links
from ryu_apps.southbound.packet_out import packet_out
from ryu_apps.southbound.receiver import Receiver
from ryu_apps.southbound.reported import wire

FLOWS: Final = 5_000
ROUNDS: Final = 9
BATCH: Final = 64
# Microseconds; a hundred thousand entries of a dump are to be read in half a second.
BARS: Final = {"add, IPv4": 2.0, "packet-out": 1.5, "dump, per entry": 5.0}

_FRAME: Final = tcp_syn(mac("02:00:00:00:00:01"), mac("02:00:00:00:00:02"), ipv4("10.0.0.1"), ipv4("10.0.0.2"), 80)
_MISS: Final = PacketInTemplate(
    frame=_FRAME,
    in_port=1,
    table_id=NUMBER["missed"],
    cookie=Cookie(EntryClass.PUNT).pack(),
    registers={0: 1, 1: 101},
)


def entries(family: Family, edit: Callable[[int], Transposition] = lambda number: IDENTITY) -> list[CachedEntry]:
    """Return the entries of TCP connections that differ in address and port."""
    width, eth_type = (32, 0x0800) if family is Family.IPV4 else (128, 0x86DD)
    above = (0x020000000001020000000002 << 32 | eth_type) << 16 | 6 << 8
    made = []
    for number in range(FLOWS):
        addresses = number << width | 0x0A000001
        bits = (above << 2 * width | addresses) << 32 | (1024 + number) << 16 | 80
        cookie = Cookie(EntryClass.FORWARD, 1, 101, number).pack()
        key = FlowKey(family, bits)
        made.append(CachedEntry(cookie, Direction.OUTBOUND, 1, 101, key, False, True, edit(number), 300, 0))
    return made


def _nat(number: int) -> Transposition:
    return transposition({"ipv4_src": 0xC6336401, "l4_src": 1024 + number})


def microseconds(call: Callable[[Any], object], arguments: Sequence[Any], per_call: int = 1) -> float:
    """Return the median over all rounds of what one call costs."""
    samples = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        for argument in arguments:
            call(argument)
        samples.append((time.perf_counter() - started_s) / len(arguments) / per_call * 1e6)
    return statistics.median(samples)


def _packet_ins() -> list[bytes]:
    ring = ConnectionRing(OF_14, [_MISS], size=FLOWS)
    return [bytes(ring.take(1)) for _ in range(FLOWS)]


def _dump(made: Sequence[CachedEntry]) -> bytes:
    """Return the body of a reply with the statistics of these entries."""
    parts = []
    for each in made:
        message = templates.add(each)
        body = message[48:]
        head = bytearray(48)
        head[:2] = (48 + len(body)).to_bytes(2, "big")
        head[2] = 2
        head[24:32] = each.cookie.to_bytes(8, "big")
        parts.append(bytes(head) + body)
    return b"".join(parts)


class _Core:
    """Answers each miss with two entries and the packet, all made beforehand; knows no kinds."""

    fast_path = FastPath(compile_policy(Snapshot()), FlowTable(), Holding(), Life(), Tally(), 0)

    def __init__(self, made: CachedEntry) -> None:
        self._install = Install(1, made)

    def packet_in(self, event: PacketIn, now_s: float) -> Sequence[Effect]:
        _, table, _, in_port, segment, sender, receiver, frame = event
        return self._install, self._install, Emit(1, table, in_port, segment, sender, receiver, frame)

    def flow_removed(self, event: FlowRemoved, now_s: float) -> Sequence[Effect]:
        return ()

    def answered(self) -> None: ...

    def probe_caught(self, event: ProbeCaught, now_s: float) -> None: ...

    def miss_dropped(self, vport: int) -> None: ...

    def link_up(self, link: Link) -> None: ...

    def link_down(self, link: Link) -> None: ...

    def ports_changed(self, link: Link) -> None: ...

    def removed(self, link: Link, entries: Sequence[AnyEntry], meters: Sequence[int]) -> None: ...

    def found(self, link: Link, present: Sequence[PresentEntry], meters: Container[int]) -> None: ...

    def refused(self, link: Link, refusal: Refusal) -> None: ...


def receive_loop(made: CachedEntry) -> float:
    """Return what one miss costs from received bytes to written answers, in a batch, in microseconds."""
    listener = eventlet.listen(("127.0.0.1", 0))
    peer = eventlet.connect(listener.getsockname())
    socket, address = listener.accept()
    link = Link(socket, address, Links(_Core(made), time.monotonic, Limits(turn_s=60.0)))
    link.id, link.state = 1, "main"
    receiver = Receiver(link)
    ring = ConnectionRing(OF_14, [_MISS])
    samples = []
    for _ in range(200 * ROUNDS):
        data = bytes(ring.take(BATCH))
        started_s = time.perf_counter()
        receiver.take(data)
        samples.append((time.perf_counter() - started_s) / BATCH * 1e6)
        peer.recv(1 << 20)
    for each in (socket, peer, listener):
        each.close()
    return statistics.median(samples)


def measure() -> dict[str, float]:
    """Return microseconds by what was measured."""
    v4, v6, nat = entries(Family.IPV4), entries(Family.IPV6), entries(Family.IPV4, _nat)
    packet_ins = _packet_ins()
    emits = [Emit(1, "outbound", 1, 1, 101, 0, message[-60:]) for message in packet_ins]
    matches = [wire(each)[0] for each in v4]
    present = flow_dump.decode(_dump(v4))
    assert [entry.match for entry in present] == matches
    return {
        "add, IPv4": microseconds(templates.add, v4),
        "add, IPv6": microseconds(templates.add, v6),
        "add, IPv4 with NAT": microseconds(templates.add, nat),
        "remove, IPv4": microseconds(templates.delete_strict, v4),
        "plain twin of add, IPv4": microseconds(lambda made: codec.flow_mod(compile_cached(made)), v4),
        "packet-out": microseconds(packet_out, emits),
        "packet-in": microseconds(lambda message: packet_in.decode(message, 0, len(message), 1), packet_ins),
        "dump, per entry": microseconds(flow_dump.decode, [_dump(v4)], FLOWS),
        "flow of a match": microseconds(key_of_match, matches),
        "match and instructions": microseconds(wire, v4),
        "removal of a reported entry": microseconds(_remove, present),
        "receive loop, per miss": receive_loop(v4[0]),
    }


def _remove(entry: PresentEntry) -> bytes:
    return flow_dump.delete_strict(entry)


def main() -> None:
    """Measure and print."""
    gc.disable()
    measured = measure()
    print_table(("what", "µs"), [(name, f"{value:.2f}") for name, value in measured.items()])
    missed = [name for name, bar in BARS.items() if measured[name] > bar]
    print(f"bars: {', '.join(f'{name} {bar:g}' for name, bar in BARS.items())}: {'fail' if missed else 'pass'}")
    print(json.dumps({"benchmark": "southbound_micro", "us": measured, "missed": missed}))


if __name__ == "__main__":
    main()
