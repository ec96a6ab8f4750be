"""Probes through the instances of functions on one host: where they go, what they look like, and what catches them.

A probe leaves the controller for an instance's inside and comes back from its outside, never through the tables.
Only frames that nothing but a probe can be are caught: none like them gets into the function from anywhere else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from ryu_apps.engine.checksum import checksum
from ryu_apps.engine.meter_id import meter_id
from ryu_apps.engine.policy import Policy
from ryu_apps.model.action import RateUnit
from ryu_apps.model.chain import Chain, Function
from ryu_apps.model.errors import Conflict, FieldError
from ryu_apps.model.flow_key import VLAN_PRESENT
from ryu_apps.model.network import Host
from ryu_apps.model.probe import Probe
from ryu_apps.pipeline.chain import Course, forward, reverse
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Refusal
from ryu_apps.pipeline.entry import FlowEntry, MatchValue, ToController, entry
from ryu_apps.pipeline.meters import MeterConfig
from ryu_apps.pipeline.pieces import Part
from ryu_apps.pipeline.registers import POSITION

TOKEN_BYTES: Final = 16
"""What a probe carries: it is drawn by lot, so that nobody who has not seen it can send it."""

_CAUGHT: Final = Cookie(EntryClass.PROBE).pack()
_CAUGHT_OF_FAILED: Final = Cookie(EntryClass.PROBE, detail=1).pack()
"""On what catches the probes of an instance that has failed: a controller that starts again is told by it."""

_FEIGNED: Final = Cookie(EntryClass.GUARD, detail=Refusal.PROBE).pack()
_UDP: Final = 17
_TTL: Final = 64
_LEAST_METER_PKTS: Final = 10


Likeness = tuple[tuple[str, MatchValue], ...]
"""What matches the probes of an instance."""


class Target(NamedTuple):
    """An instance that is probed: its ports by number, the VLAN of its chain, 0 for none, and how."""

    function: str
    instance: str
    inside: int
    outside: int
    tag: int
    rewriting: bool
    probe: Probe


def tag_of(chain: Chain, function: Function) -> int:
    """Return the VLAN that frames of a chain have toward a function, 0 for none."""
    return chain.vlan or 0 if function.keeps_apart else 0


def targets(policy: Policy, host: Host, ports: Mapping[str, int]) -> Iterator[Target]:
    """Yield the instances on a host that are probed and whose ports are there.

    A function of several chains is probed by the tag of the first by id.
    """
    for function in policy.snapshot.functions.values():
        tag = _probe_tag(policy, function) if function.probe is not None else 0
        for one in function.on(host.id):
            probe, inside, outside = function.probe_of(one), ports.get(one.inside), ports.get(one.outside)
            if probe is not None and inside is not None and outside is not None:
                yield Target(function.id, one.id, inside, outside, tag, function.rewriting, probe)


def _probe_tag(policy: Policy, function: Function) -> int:
    used = sorted(chain.id for chain in policy.snapshot.chains.values() if function.id in chain.hops)
    return tag_of(policy.snapshot.chains[used[0]], function) if used else 0


def probe_parts(policy: Policy, host: Host, ports: Mapping[str, int]) -> Iterator[Part]:
    """Yield what catches the probes of a host's instances."""
    for target in targets(policy, host, ports):
        name = target.function, target.instance
        yield Part(_catch, name, (target, name in policy.failed))


def _catch(target: Target, failed: bool) -> Iterator[FlowEntry]:
    """Yield that a probe ends where it comes out, and is told of where that is the outside, with the tag that it had.

    Lower priorities: what comes out elsewhere goes nowhere.
    """
    likeness = _likeness(target.probe, rewriting=target.rewriting)
    tag = VLAN_PRESENT | target.tag if target.tag else 0
    back: dict[str, MatchValue] = {"in_port": target.outside, "vlan_vid": tag, **likeness}
    up = ToController(_meter_number(target.function, target.instance))
    yield entry("splice", 210, back, up, cookie=_CAUGHT_OF_FAILED if failed else _CAUGHT)
    for port_no in (target.inside, target.outside):
        yield entry("splice", 200, {"in_port": port_no, **likeness}, cookie=_FEIGNED)


def said_to_have_failed(cookie: int) -> bool:
    """Return whether an entry says that the instance whose probes it catches has failed."""
    return cookie == _CAUGHT_OF_FAILED


def _likeness(probe: Probe, *, rewriting: bool) -> dict[str, MatchValue]:
    """Return what matches a probe behind its function, which may have changed MACs and the source if it rewrites."""
    packet = probe.packet
    kept: dict[str, MatchValue] = {
        "eth_type": 0x0800, "ip_proto": _UDP, "ipv4_dst": packet.ipv4_dst, "udp_dst": packet.udp_dst,
    }  # fmt: skip
    if rewriting:
        return kept
    ends: dict[str, MatchValue] = {"eth_src": packet.eth_src, "eth_dst": packet.eth_dst}
    return {**ends, **kept, "ipv4_src": packet.ipv4_src, "udp_src": packet.udp_src}


def likenesses(function: Function, host: Host) -> tuple[Likeness, ...]:
    """Return what the probes of a function look like on a host, each kind once."""
    probes = [probe for one in function.on(host.id) if (probe := function.probe_of(one)) is not None]
    looks = [_likeness(probe, rewriting=function.rewriting) for probe in probes]
    return tuple({tuple(sorted(look.items())): None for look in looks})


def feigned(course: Course, hops: tuple[tuple[Likeness, ...], ...]) -> Iterator[FlowEntry]:
    """Yield that frames that look like the probes of a hop do not get into its function.

    They would use up the meters of the real ones.
    """
    for hop, looks in enumerate(hops):
        for position in (forward(hop), reverse(hop)):
            for likeness in looks:
                match = {**course.place, POSITION: position, **dict(likeness)}
                yield entry("choose", 140, match, cookie=_FEIGNED)


def probe_meters(policy: Policy, host: Host) -> dict[int, MeterConfig]:
    """Return the meters of NIC port 2: what each instance's outside may send to the controller, twice the probes.

    Conflict when two would have one number.
    """
    found: dict[int, MeterConfig] = {}
    for function in policy.snapshot.functions.values():
        if function.probe is None:
            continue
        most = max(_LEAST_METER_PKTS, 2000 // function.probe.interval_ms)
        for one in function.on(host.id):
            number = _meter_number(function.id, one.id)
            if number in found:
                message = f"the meter of {function.id}/{one.id} meets another; give it another id"
                raise Conflict("two meters of one switch have the same number", [FieldError("id", message)])
            found[number] = MeterConfig(number, RateUnit.PPS, most, most)
    return found


def _meter_number(function: str, instance: str) -> int:
    return meter_id(function, instance, "probe")


def probe_frame(probe: Probe, token: bytes, tag: int) -> bytes:
    """Return the frame of a probe: Ethernet with a tag unless that is 0, IPv4, UDP, and the token."""
    packet = probe.packet
    ends = struct.pack("!II", packet.ipv4_src, packet.ipv4_dst)
    length = 8 + len(token)
    udp = struct.pack("!HHH", packet.udp_src, packet.udp_dst, length)
    # A sum of 0 is sent as 0xffff: 0 would say that there is none (RFC 768).
    udp_sum = checksum(ends + struct.pack("!HH", _UDP, length) + udp + b"\0\0" + token) or 0xFFFF
    ip = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, 0, 0x4000, _TTL, _UDP)
    ip_sum = checksum(ip + b"\0\0" + ends)
    vlan = struct.pack("!HH", 0x8100, tag) if tag else b""
    macs = packet.eth_dst.to_bytes(6, "big") + packet.eth_src.to_bytes(6, "big")
    sums = struct.pack("!H", ip_sum), struct.pack("!H", udp_sum)
    return macs + vlan + b"\x08\x00" + ip + sums[0] + ends + udp + sums[1] + token


def token_of(frame: bytes) -> bytes:
    """Return the token in the frame of a probe that came back; nothing where it is too short."""
    at = 18 if frame[12:14] == b"\x81\x00" else 14
    at += (frame[at] & 0xF) * 4 + 8 if len(frame) > at else 0
    return frame[at : at + TOKEN_BYTES]
