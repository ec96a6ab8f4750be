"""The host as the station of a NAT pool: it answers who asks for the pool's addresses, by ARP or neighbour discovery.

The answer goes where the question came from: to a VM of this host, or out by the uplink in the segment's VLAN.
"""

from __future__ import annotations

import struct
from typing import Final

from ryu_apps.control.effects import Emit
from ryu_apps.control.events import PacketIn
from ryu_apps.engine.checksum import checksum
from ryu_apps.engine.policy import Policy
from ryu_apps.model.flow_key import ETH_ARP, ETH_IPV6, PROTO_ICMPV6
from ryu_apps.model.nat_pool import NatPool
from ryu_apps.pipeline.entry import SetField
from ryu_apps.pipeline.registers import EXIT, EXIT_AS_SEGMENT

# OFPP_CONTROLLER (OpenFlow 1.4.0, section 7.2.1): a packet never leaves by the port that it came in by.
_FROM_HOST: Final = 0xFFFFFFFD
_ARP_HEAD: Final = struct.Struct("!HHBBH")
# Ethernet and IPv4, six and four bytes, reply (RFC 826).
_ARP_REPLY: Final = _ARP_HEAD.pack(1, 0x0800, 6, 4, 2)
_ARP_BYTES: Final = 42
_SOLICITATION_BYTES: Final = 78
_TARGET_LINK_ADDRESS: Final = b"\x02\x01"
# Solicited and override; the pool is no router (RFC 4861 section 4.4).
_FLAGS: Final = 0x60000000


_HOP_LIMIT_AT: Final = 21
_UNROUTED: Final = 255


def answer(policy: Policy, event: PacketIn) -> list[Emit]:
    """Return the answer to an ARP request or neighbour solicitation for a pool's address; nothing for anything else."""
    frame = event.frame
    eth_type = int.from_bytes(frame[12:14], "big")
    if eth_type == ETH_ARP and len(frame) >= _ARP_BYTES:
        version, target, reply = 4, frame[38:42], _arp_reply
    # One that a router has passed on is to be discarded (RFC 4861 section 7.1.1).
    elif eth_type == ETH_IPV6 and len(frame) >= _SOLICITATION_BYTES and frame[_HOP_LIMIT_AT] == _UNROUTED:
        version, target, reply = 6, frame[62:78], _advertisement
    else:
        return []
    pool = _owner(policy, event, version, int.from_bytes(target, "big"))
    if pool is None:
        return []
    made = reply(frame, pool)
    out = () if event.sender else (SetField(EXIT, EXIT_AS_SEGMENT),)
    return [Emit(event.dpid, "egress", _FROM_HOST, event.segment, 0, event.sender, made, out)]


def _owner(policy: Policy, event: PacketIn, version: int, address: int) -> NatPool | None:
    segment = policy.segments.get(event.segment)
    for pool in policy.snapshot.nat_pools.values():
        here = policy.snapshot.hosts[pool.host].dpid == event.dpid
        if here and segment is not None and pool.segment == segment.id and pool.has(version, address):
            return pool
    return None


def _arp_reply(frame: bytes, pool: NatPool) -> bytes:
    ours = pool.mac.to_bytes(6, "big")
    asker = frame[22:28]
    return asker + ours + frame[12:14] + _ARP_REPLY + ours + frame[38:42] + asker + frame[28:32]


def _advertisement(frame: bytes, pool: NatPool) -> bytes:
    """Return the advertisement that answers a solicitation.

    The asker's MAC is that of its frame, as it is in its option where it gives one (the guard sees to that).
    """
    ours, asker, target = pool.mac.to_bytes(6, "big"), frame[22:38], frame[62:78]
    if not any(asker):
        # Somebody would take the address: all stations are told that it has an owner (RFC 4862 section 5.4.3).
        asker, to, flags = bytes.fromhex("ff02") + bytes(13) + b"\x01", bytes.fromhex("333300000001"), 0x20000000
    else:
        to, flags = frame[6:12], _FLAGS
    body = struct.pack("!BBHI", 136, 0, 0, flags) + target + _TARGET_LINK_ADDRESS + ours
    pseudo = target + asker + struct.pack("!II", len(body), PROTO_ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, len(body), PROTO_ICMPV6, 255)
    return to + ours + frame[12:14] + head + target + asker + body
