"""The part of docs/pipeline.md about a host with a hairpin: what its three datapaths have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ryu_apps.engine.policy import Policy, compile_policy
from ryu_apps.model.chain import Chain, Function, Instance
from ryu_apps.model.hairpin import AnyHairpin, FunctionPort, Hairpin, MacSteering, NetworkPort, Outlet
from ryu_apps.model.network import Host, Segment, Tenant, Vport, VportKind
from ryu_apps.model.policy import KIND_OF, Change, Resource, Snapshot
from ryu_apps.model.probe import Probe
from ryu_apps.pipeline.entry import FlowEntry
from ryu_apps.pipeline.hairpin_tables import HAIRPIN_TABLES
from ryu_apps.pipeline.pieces import entries_of
from ryu_apps.pipeline.show import show
from ryu_apps.pipeline.standing import standing_pieces
from ryu_apps.pipeline.tables import TABLES

_VFS, _FUNCTIONS, _NETWORK = 1, 0x101, 0x201
_PORTS: Final = {
    _VFS: {"h1-vf1": 1, "h1-vf2": 2, "h1-cable": 3, "h1-sub1": 4, "h1-sub2": 5},
    _FUNCTIONS: {"h1f-vf1": 1, "h1f-vf2": 2, "h1f-cable": 3},
    _NETWORK: {"h1n-red": 1, "h1n-uplink": 2},
}
# Of the VFs' datapath only what differs from that of a host without a hairpin.
_SECOND: Final = frozenset(table.name for table in HAIRPIN_TABLES)
_OWN_TABLES: Final = ("classify", "deliver", "returned", "egress")
# And of one without a cable only what differs from that.
_OWN_WAYS: Final = ("classify", "egress")
_NETWORK_PORT: Final = NetworkPort(dpid=_NETWORK, uplink="h1n-uplink")
_CABLED: Final = Hairpin(
    cable="h1-cable", function_port=FunctionPort(dpid=_FUNCTIONS, cable="h1f-cable"), network_port=_NETWORK_PORT
)
_SUB_INTERFACE: Final = {Hairpin: "h1f-vf{}", MacSteering: "h1-sub{}"}

_TEXT: Final = """\
## A hairpin

Host `h1` here has a NIC of three ports, each a datapath of its own:
port 1 with `vm1` (VF VLAN 101) and `vm2` (102), port 2 with the sub-interfaces `h1f-vf1` and `h1f-vf2`,
and port 3 with the outlet `h1n-red` of segment `red` (VLAN 200); `vm4` (VF VLAN 104) is on a host without a hairpin.

On port 1 the tables are those above, and these of them differ:
"""


_CHAINS: Final = """\
### A chain

Here segment `red` has a chain of `fw` (ports 11 and 12) and `nat` (13 and 14, with a MAC of its own),
and a cable joins port 15 to the outlet `h1n-red`.
Position 1 is before `fw` and 3 before `nat` forward, 4 before `nat` and 2 before `fw` in reverse;
65534 and 65535 are past the chain, outward and inward.
Function `fw` has a probe.
What the switch writes into `resume` and `assigned` itself is not shown.
"""


_STEERED_TEXT: Final = """\
Without a cable (`"steering": "mac"`) the sub-interfaces `h1-sub1` and `h1-sub2` are ports 4 and 5 of the VFs' datapath.
The datapath of port 2 is not there, that of port 3 is as above, and of the VFs' datapath these tables differ:
"""


def _resources(hairpin: AnyHairpin) -> Iterator[Resource]:
    yield Host(id="h1", dpid=_VFS, uplink=None, hairpin=hairpin)
    yield Host(id="h2", dpid=2, uplink="h2-uplink")
    yield Tenant(id="red")
    yield Segment(id="red", tenant="red", vlan=200, number=1)
    for number, host in ((1, "h1"), (2, "h1"), (4, "h2")):
        yield Vport(
            id=f"vm{number}", host=host, port=f"{host}-vf{number}", kind=VportKind.VF, tenant="red", segment="red",
            mac=0x020000000000 + number, ips=(), vlan=100 + number,
            subinterface=_SUB_INTERFACE[type(hairpin)].format(number) if host == "h1" else None,
        )  # fmt: skip
    yield Outlet(id="red", host="h1", segment="red", port="h1n-red")


def _chain_resources() -> Iterator[Resource]:
    for name, macs in (("fw", ()), ("nat", (0x020000000F01,))):
        instance = Instance(id="a", host="h1", inside=f"{name}-in", outside=f"{name}-out", macs=macs)
        probe = None if macs else Probe()
        yield Function(id=name, instances=(instance,), rewriting=bool(macs), probe=probe)
    yield Chain(id="c1", tenant="red", segment="red", hops=("fw", "nat"), mark=1)
    yield Segment(id="red", tenant="red", vlan=200, number=1, chain="c1")
    yield Outlet(id="red", host="h1", segment="red", port="h1n-red", chain_port="h1f-red")


def _example(hairpin: AnyHairpin, *more: Resource) -> Policy:
    resources = (*_resources(hairpin), *more)
    changes = (Change(kind=KIND_OF[type(each)], key=each.id, value=each) for each in resources)
    return compile_policy(Snapshot().changed(changes))


def _dump(entries: Iterable[FlowEntry]) -> Iterator[str]:
    """Yield entries with tables by name, each table's by priority and then by their text."""
    names = {name: number for tables in (TABLES, HAIRPIN_TABLES) for number, name in enumerate(t.name for t in tables)}

    def line(made: FlowEntry) -> str:
        text = show(made).replace(f"table={names[made.table]},", f"table={made.table},", 1)
        tables = HAIRPIN_TABLES if made.table in _SECOND else TABLES
        named = r"(goto_table:|table=|resubmit\(,)(\d+)"
        return re.sub(named, lambda found: f"{found[1]}{tables[int(found[2])].name}", text)

    found = sorted(entries, key=lambda made: (names[made.table], -made.priority, line(made).partition(",")[2]))
    yield "```"
    yield from map(line, found)
    yield "```"
    yield ""


def hairpin_section() -> Iterator[str]:
    """Yield the lines of the section."""
    policy = _example(_CABLED)
    made = {dpid: list(entries_of(standing_pieces(policy, dpid, ports))) for dpid, ports in _PORTS.items()}
    yield from _TEXT.splitlines()
    yield ""
    yield from _dump(entry for entry in made[_VFS] if entry.table in _OWN_TABLES)
    splice = HAIRPIN_TABLES[0]
    yield f"Without chains ports 2 and 3 have one table, `{splice.name}`: {splice.purpose}."
    yield "This is port 2:"
    yield ""
    yield from _dump(made[_FUNCTIONS])
    yield "And this is port 3:"
    yield ""
    yield from _dump(made[_NETWORK])
    yield from _steered()
    yield from _chains()


def _steered() -> Iterator[str]:
    """Yield what the VFs' datapath has without a cable."""
    made = standing_pieces(_example(MacSteering(network_port=_NETWORK_PORT)), _VFS, _PORTS[_VFS])
    yield from _STEERED_TEXT.splitlines()
    yield ""
    yield from _dump(entry for entry in entries_of(made) if entry.table in _OWN_WAYS)


def _chains() -> Iterator[str]:
    """Yield what port 2 has where the segment has a chain."""
    yield from _CHAINS.splitlines()
    yield ""
    yield "| # | table | purpose | no entry matches |"
    yield "|---|---|---|---|"
    for number, table in enumerate(HAIRPIN_TABLES):
        yield f"| {number} | {table.name} | {table.purpose} | {table.miss.value} |"
    yield ""
    ports = {**_PORTS[_FUNCTIONS], "fw-in": 11, "fw-out": 12, "nat-in": 13, "nat-out": 14, "h1f-red": 15}
    policy = _example(_CABLED, *_chain_resources())
    yield from _dump(entries_of(standing_pieces(policy, _FUNCTIONS, ports)))
