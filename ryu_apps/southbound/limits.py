"""How long and how much a peer may keep us waiting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one connection.

    greet_s: time in which a peer may say hello before we do. handshake_s: until features and ports are known.
    echo_s: quiet time after which the peer is asked for a sign of life. silent_s: quiet time after which it counts as
    dead. stall_s: time in which it must read something. crowded_bytes: unsent bytes above which nothing more is read
    from it. backlog_bytes: unsent bytes above which it is closed. reply_bytes: longest answer to one request.
    turn_s: longest time that one connection makes others wait, crowded_turn_s: while packet-ins of it wait.
    waiting_pkts: packet-ins of one vport that may wait, waiting_bytes: of all, above which nothing more is read.
    unread_s: for how long those that wait are answered before the next read.
    """

    greet_s: float = 0.1
    handshake_s: float = 10.0
    echo_s: float = 5.0
    silent_s: float = 15.0
    stall_s: float = 10.0
    linger_s: float = 1.0
    crowded_bytes: int = 1 << 20
    backlog_bytes: int = 64 << 20
    reply_bytes: int = 1 << 30
    turn_s: float = 0.005
    crowded_turn_s: float = 0.001
    waiting_pkts: int = 4096
    waiting_bytes: int = 32 << 20
    unread_s: float = 0.0002
