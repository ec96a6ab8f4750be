"""A small world of NICs for the core: caches of exact entries, delivery between them, and where each packet ends up.

It stands for the pipeline only as far as the caches go, so that the same packets can be sent under many limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ryu_apps.control.change import adopt, bundles, plan_change, revise_flows, settle
from ryu_apps.control.core import ControlCore
from ryu_apps.control.effects import Effect, Emit, Install, Release, SwitchChange
from ryu_apps.control.events import CacheCounted, FlowRemoved, PacketIn, PresentEntry
from ryu_apps.control.expiry import DELETE
from ryu_apps.control.variant import same_packets
from ryu_apps.engine.connection import owner
from ryu_apps.engine.policy import compile_policy
from ryu_apps.engine.rewrite import rewrite
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import Family, FlowKey, Parsed, parse
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import transposition
from ryu_apps.pipeline.cached import CachedEntry, compile_cached
from ryu_apps.pipeline.cookie import Punt
from ryu_apps.pipeline.entry import EntryAction, EntryKey, Resubmit, SetField
from ryu_apps.pipeline.registers import COPY, METER, VIA
from ryu_apps.pipeline.tables import NUMBER
from tests.unit.frames import frame_of

PORTS = {1: {"h1-vf1": 1, "h1-vf2": 2, "h1-uplink": 9}, 2: {"h2-vf3": 1, "h2-uplink": 9}}
_SEGMENT = 1


class World:
    """A core with two NICs; `arrived` lists where packets came out, and as what."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.core = ControlCore(compile_policy(snapshot))
        self.core.datapaths = dict(PORTS)
        self.nics: dict[tuple[int, Direction], dict[EntryKey, CachedEntry]] = {}
        self.packets: Counter[tuple[int, int]] = Counter()
        self.arrived: list[tuple[str, bytes]] = []
        self.misses = 0
        self.most: Counter[tuple[int, Direction]] = Counter()
        self.now_s = 0.0

    def send(self, name: str, direction: Direction, key: FlowKey) -> None:
        """Let a packet be sent by a vport (outbound), or come by the uplink for it (inbound)."""
        self.now_s += 0.001
        vport = self.core.policy.snapshot.vports[name]
        self._meet(vport.number, direction, _frame(key), sender=vport.number if direction is Direction.OUTBOUND else 0)

    def pause(self) -> None:
        """Let time pass, so that what is held back is installed, and the counters are read."""
        self.now_s += 0.02
        self.do(self.core.release(self.now_s))
        for dpid, table, _, _ in self.core.nic_caches.questions():
            nic = self.nics.get((dpid, Direction(table)), {})
            counts = tuple((made.cookie, self.packets[dpid, made.cookie]) for made in nic.values())
            self.core.nic_caches.counted(CacheCounted(dpid, table, counts), self.now_s)

    def change(self, changes: list[Change]) -> None:
        """Put changes in force as the running controller does."""
        core = self.core
        plan = plan_change(core, core.policy.snapshot.changed(changes), changes)
        counted_before = {dpid: core.nic_caches.room(dpid) for dpid in PORTS}
        core.policy = plan.after
        switches = [SwitchChange(dpid=dpid, removed=(made,)) for dpid, made in core.offload.shrink(self.now_s)]
        for dpid, known in counted_before.items():
            if core.nic_caches.room(dpid).keys() - known.keys():
                gone = {entry.cookie for entry in core.offload.recount(dpid, self.present(dpid), self.now_s)}
                found = [made for nic in self.nics.values() for made in nic.values() if made.cookie in gone]
                switches.append(SwitchChange(dpid=dpid, removed=tuple(found)))
        for piece in plan.pieces():
            revisions = revise_flows(core, plan, piece)
            adopt(core, plan, revisions)
            for switch in bundles([*switches, *revisions.switches]):
                for made in (*switch.removed, *switch.added):
                    if isinstance(made, CachedEntry):
                        self._put(switch.dpid, made, gone=made in switch.removed)
            settle(core, plan, revisions, self.now_s)
            switches = []
        core.nic_caches.tidy()

    def present(self, dpid: int) -> list[PresentEntry]:
        """Return what a switch would report of its caches."""
        return [
            PresentEntry(
                NUMBER[direction.value], 100, made.cookie, b"", b"", made.idle_timeout_s, made.hard_timeout_s,
                self.packets[dpid, made.cookie], 0,
            )
            for (place, direction), nic in self.nics.items() if place == dpid for made in nic.values()
        ]  # fmt: skip

    def do(self, effects: Iterable[Effect]) -> None:
        """Carry out effects in their order."""
        for effect in effects:
            if isinstance(effect, Install | Release):
                self._put(effect.dpid, effect.entry, gone=isinstance(effect, Release))
            elif isinstance(effect, Emit):
                self._go(effect.dpid, effect.table, effect.frame, effect.actions, effect.sender, effect.receiver)

    def _put(self, dpid: int, made: CachedEntry, *, gone: bool) -> None:
        nic = self.nics.setdefault((dpid, made.direction), {})
        old = nic.pop(compile_cached(made).key, None)
        if not gone:
            nic[compile_cached(made).key] = made
            self.most[dpid, made.direction] = max(self.most[dpid, made.direction], len(nic))
        if old is not None:
            counted = self.packets.pop((dpid, old.cookie), 0)
            if gone:
                self.do(self.core.ageing.flow_removed(FlowRemoved(dpid, old.cookie, DELETE, counted, 0, 1), self.now_s))

    def _meet(self, number: int, direction: Direction, frame: bytes, sender: int) -> None:
        """Let a packet come to a cache of the NIC that a vport is on."""
        dpid = self.core.policy.dpids[number]
        parsed = _parsed(frame)
        receiver = number if direction is Direction.INBOUND else 0
        for made in self.nics.get((dpid, direction), {}).values():
            if made.vport == number and same_packets(made.key, parsed.key, made.exact_dscp):
                self.packets[dpid, made.cookie] += 1
                entry = compile_cached(made)
                self._go(dpid, entry.goto, frame, entry.actions, sender, receiver)
                return
        self.misses += 1
        event = PacketIn(dpid, direction.value, Punt.MISS, 1, _SEGMENT, sender, receiver, frame)
        self.do(self.core.packet_in(event, self.now_s))

    def _go(
        self, dpid: int, table: str | None, frame: bytes, actions: Iterable[EntryAction], sender: int, receiver: int
    ) -> None:
        """Carry out actions on a packet, and let it go on from a table; None drops it."""
        registers: dict[str, int] = {}
        for action in actions:
            match action:
                case Resubmit(table="meter"):
                    self.arrived.append((f"meter {registers[METER]}", b""))
                case Resubmit(table="mirror"):
                    self.arrived.append((f"copy for {registers[COPY]}", frame))
                case SetField(field=field, value=value) if _field(field) in FIELDS:
                    frame = rewrite(frame, _parsed(frame), transposition({_field(field): value}))
                case SetField(field=field, value=value):
                    registers[field] = value
        match table:
            case "outbound" | "inbound":
                self._meet(sender if table == "outbound" else receiver, Direction(table), frame, sender)
            case "mirror":
                self.arrived.append((f"copy for {registers[COPY]}", frame))
            case "meter":
                self.arrived.append((f"meter {registers[METER]}", b""))
            case "deliver":
                self._deliver(dpid, frame, sender, registers.get(VIA, 0))
            case "egress" | "closing":
                self.arrived.append((f"out of {receiver} {sorted(registers.items())}", frame))

    def _deliver(self, dpid: int, frame: bytes, sender: int, via: int) -> None:
        policy = self.core.policy
        target = policy.vports.get(via) if via else owner(policy, "red", _parsed(frame).key)
        if target is None:
            self.arrived.append((f"uplink {dpid}", frame))
        elif target.number != sender:
            elsewhere = policy.dpids[target.number] != dpid
            self._meet(target.number, Direction.INBOUND, frame, sender=0 if elsewhere else sender)


def _field(name: str) -> str:
    proto, _, side = name.partition("_")
    return f"l4_{side}" if proto in ("tcp", "udp", "sctp") else name


def _frame(key: FlowKey) -> bytes:
    if key.family is Family.LINK:
        frame = key.bits.to_bytes(16, "big")
        return frame[:12] + frame[14:] + b"\0" * 46
    return frame_of(key)


def _parsed(frame: bytes) -> Parsed:
    parsed = parse(frame)
    assert parsed is not None
    return parsed
