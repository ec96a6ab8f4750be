"""Sending probes through functions, hearing of those that come back, and having the switches follow."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final

from ryu.lib import hub

from ryu_apps.control.core import ControlCore
from ryu_apps.control.events import ProbeCaught
from ryu_apps.control.probes import TURN_S, Shot, aims_of
from ryu_apps.pipeline.entry import Output
from ryu_apps.pipeline.probing import TOKEN_BYTES
from ryu_apps.southbound.bringup import BringUp
from ryu_apps.southbound.codec import encode_actions
from ryu_apps.southbound.links import Links
from ryu_apps.southbound.wire import NO_BUFFER, VERSION, Type

LOG = logging.getLogger("vfswitch")

# Packet-out (OpenFlow 1.4.0, section 7.3.7): header, buffer_id, in_port, actions_len.
_HEAD: Final = Struct("!BBHIIIH6x")
_FROM_CONTROLLER: Final = 0xFFFFFFFD
"""OFPP_CONTROLLER: the packet has come in by no port."""


class Probing:
    """A green thread that probes the instances of functions; it ends while no function has a probe."""

    def __init__(
        self,
        core: ControlCore,
        links: Links,
        bringup: BringUp,
        clock: Callable[[], float],
        follow: Callable[[], None],
    ) -> None:
        """Keep what is shared; `follow` has the switches follow, and may wait."""
        self._core = core
        self._links = links
        self._bringup = bringup
        self._clock = clock
        self._follow = follow
        self._running = False
        self._policy = core.policy
        self._ready: dict[int, Mapping[str, int]] = {}
        self.settle()

    def settle(self) -> None:
        """Probe by the policy in force, whose entries the switches have now; does not wait."""
        self._policy = self._core.policy
        self._aim()
        if self._wanted() and not self._running:
            self._running = True
            hub.spawn(self._run)

    def caught(self, event: ProbeCaught, now_s: float) -> None:
        """Take note of a probe that came back; does not wait."""
        if self._core.probes.came_back(*event, now_s):
            hub.spawn(self._follow)

    def _wanted(self) -> bool:
        return any(function.probe is not None for function in self._policy.snapshot.functions.values())

    def _run(self) -> None:
        while self._wanted():
            try:
                self._turn()
            except Exception:
                self._links.fault("probing functions")
            hub.sleep(TURN_S)
        self._running = False

    def _turn(self) -> None:
        changed = self._aim() if self._stale() else False
        shots, failed = self._core.probes.turn(self._clock(), _draw)
        for shot in shots:
            self._links.write(shot.dpid, [packet_out(shot)])
        if changed or failed:
            hub.spawn(self._follow)

    def _stale(self) -> bool:
        """Return whether other datapaths are ready than when aim was taken, or they have other ports."""
        now = self._ports()
        return now.keys() != self._ready.keys() or any(now[dpid] is not ports for dpid, ports in self._ready.items())

    def _aim(self) -> bool:
        self._ready = self._ports()
        return self._core.probes.aim(aims_of(self._policy, self._ready), self._clock())

    def _ports(self) -> dict[int, Mapping[str, int]]:
        """Return the ports of the datapaths that have their entries."""
        known = self._core.datapaths
        ready = {dpid for dpid, agreement in self._bringup.agreements.items() if agreement.state == "ready"}
        return {dpid: known[dpid] for dpid in known if dpid in ready}


def _draw() -> bytes:
    return secrets.token_bytes(TOKEN_BYTES)


def packet_out(shot: Shot) -> bytes:
    """Return the packet-out that sends a probe out of a port."""
    actions = encode_actions([Output(shot.port_no)])
    length = _HEAD.size + len(actions) + len(shot.frame)
    head = _HEAD.pack(VERSION, Type.PACKET_OUT, length, 0, NO_BUFFER, _FROM_CONTROLLER, len(actions))
    return head + actions + shot.frame
