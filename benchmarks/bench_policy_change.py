"""What a policy change costs in the controller with 100,000 flows present, and what a flow costs in memory.

One rule is put that touches ten flows, in each of four kinds of match; then one that touches 1,000.
One vport is put and deleted on a host with 200 others, and with 2,000, without flows.
Prints tables and one JSON line.
"""

from __future__ import annotations

import json
import statistics
import time
import tracemalloc
from collections.abc import Mapping

from benchmarks.frames import ipv4, mac, tcp_syn
from benchmarks.measurement import print_table
from ryu_apps.control.change import adopt, plan_change, revise_flows
from ryu_apps.control.core import ControlCore
from ryu_apps.control.events import PacketIn
from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.action import Deny
from ryu_apps.model.match import parse_match
from ryu_apps.model.network import Host, Segment, Tenant, Vport, VportKind
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Direction, Group, Layer, Rule, Scope
from ryu_apps.pipeline.cookie import Punt

FLOWS = 100_000
SERVICES = 10_000
VPORTS = 10
BAR_MS = 20.0
BAR_BYTES = 600
ROUNDS = 5
PRESENT_VPORTS = (200, 2000)

# Flow n goes to l4_dst n % 10,000 of 10.9.n // 10,000.1, so each of these but the last meets ten flows.
MATCHES: Mapping[str, dict[str, str]] = {
    "one port: 10 flows": {"ip_proto": "tcp", "l4_dst": "5000"},
    "port range: 10 flows": {"ip_proto": "tcp", "l4_dst": "65000-65535", "ipv4_dst": "10.9.0.0/16"},
    "prefix and port: 1 flow": {"ip_proto": "tcp", "ipv4_dst": "10.9.3.0/24", "l4_dst": "5000"},
    "port range: 1,000 flows": {"ip_proto": "tcp", "l4_dst": "2000-2099"},
}


def _network(vports: int) -> list[Change]:
    changes = [
        Change(kind="hosts", key="h1", value=Host(id="h1", dpid=1, uplink="up")),
        Change(kind="tenants", key="red", value=Tenant(id="red")),
        Change(kind="segments", key="red", value=Segment(id="red", tenant="red", vlan=0, number=1)),
    ]
    return changes + [_vport(number) for number in range(1, vports + 1)]


def _vport(number: int, ips: tuple[tuple[int, int], ...] = ()) -> Change:
    value = Vport(
        id=f"vm{number}",
        host="h1",
        port=f"vf{number}",
        kind=VportKind.VF,
        tenant="red",
        segment="red",
        mac=0x020000000000 + number,
        ips=ips,
        vlan=100 + number,
    )
    return Change(kind="vports", key=value.id, value=value)


def _snapshot() -> Snapshot:
    changes = _network(VPORTS)
    allow = tuple((direction, True) for direction in Direction)
    for position in range(3):
        name = f"layer{position}"
        layer = Layer(id=name, position=position, stateful=True, owner="ops", default_allow=allow)
        group = Group(
            id="g",
            layer=name,
            direction=Direction.OUTBOUND,
            scope=Scope(),
            priority=1,
            rules=Snapshot().groups,  # type: ignore[arg-type]
        )
        changes += [Change(kind="layers", key=name, value=layer), Change(kind="groups", key=(name, "g"), value=group)]
    return Snapshot().changed(changes)


def _fill(core: ControlCore) -> None:
    for n in range(FLOWS):
        sender = n % VPORTS + 1
        frame = bytearray(
            tcp_syn(
                mac(f"02:00:00:00:00:{sender:02x}"),
                mac("02:00:00:00:00:fe"),
                ipv4("10.0.0.1"),
                ipv4(f"10.9.{n // SERVICES}.1"),
                n % SERVICES if n % SERVICES != 7777 else 65001,
            )
        )
        frame[34:36] = (1024 + n % 60000).to_bytes(2, "big")
        event = PacketIn(1, "outbound", Punt.MISS, sender, 1, 100 + sender, 0, bytes(frame))
        place = core.fast_path.place(event)
        if place is None or core.fast_path.meet(place, event.frame, 0, len(frame), 0.0) is None:
            core.packet_in(event, 0.0)


def _time_change(core: ControlCore, match: dict[str, str]) -> tuple[float, int]:
    """Return the milliseconds from a rule to the changes that each switch must make, and the flows touched."""
    rule = Rule(id="new", priority=10, match=parse_match(match), action=Deny())
    changes = [Change(kind="rules", key=("layer1", "g", "new"), value=rule)]
    started_s = time.perf_counter()
    touched = _carry_out(core, changes)
    elapsed_ms = (time.perf_counter() - started_s) * 1000
    _carry_out(core, [Change(kind="rules", key=("layer1", "g", "new"), value=None)])
    return elapsed_ms, touched


def _carry_out(core: ControlCore, changes: list[Change]) -> int:
    """Do in the core what the service does, without a switch; return the flows touched."""
    plan = plan_change(core, core.policy.snapshot.changed(changes), changes)
    core.policy = plan.after
    for piece in plan.pieces():
        adopt(core, plan, revise_flows(core, plan, piece))
    return len(plan.touched)


def _time_vport(present: int) -> float:
    """Return the median milliseconds from one vport more or less to the entries that its switch must change."""
    core = ControlCore(compile_policy(Snapshot().changed(_network(present))))
    core.datapaths = {1: {"up": 4095, **{f"vf{number}": number for number in range(1, present + 2)}}}
    put = _vport(present + 1, ((4, 0x0A000001), (6, 0xFD << 120 | 1)))
    changes = [[put], [Change(kind="vports", key=put.key, value=None)]]
    samples = []
    for turn in range(1 + 4 * ROUNDS):
        started_s = time.perf_counter()
        _carry_out(core, changes[turn % 2])
        samples.append((time.perf_counter() - started_s) * 1000)
    # The first compiles all entries, as a start does.
    return statistics.median(samples[1:])


def main() -> None:
    """Measure and print."""
    core = ControlCore(compile_policy(_snapshot()), half_open_per_vport=FLOWS)
    core.datapaths = {1: {}}
    tracemalloc.start()
    _fill(core)
    bytes_per_flow = tracemalloc.get_traced_memory()[0] / len(core.flows)
    tracemalloc.stop()
    figures: dict[str, dict[str, float]] = {}
    for name, match in MATCHES.items():
        samples = [_time_change(core, match) for _ in range(ROUNDS)]
        figures[name] = {"ms": statistics.median(ms for ms, _ in samples), "touched": samples[0][1]}
    rows = [(name, f"{figure['touched']:,.0f}", f"{figure['ms']:.2f}") for name, figure in figures.items()]
    print(f"{len(core.flows):,} flows present, {VPORTS} vports, 3 stateful layers")
    print_table(("rule put", "flows touched", "ms in the controller"), rows)
    vports_ms = {present: _time_vport(present) for present in PRESENT_VPORTS}
    print_table(
        ("vports on the host", "ms in the controller for one more or less"),
        [(f"{present:,}", f"{ms:.2f}") for present, ms in vports_ms.items()],
    )
    print(f"bar: ten flows touched in under {BAR_MS:g} ms")
    print(f"memory per unified flow: {bytes_per_flow:.0f} bytes (bar: under {BAR_BYTES})")
    print(
        json.dumps(
            {
                "benchmark": "policy_change",
                "bytes_per_flow": round(bytes_per_flow),
                "changes": figures,
                "vport_ms": vports_ms,
            }
        )
    )


if __name__ == "__main__":
    main()
