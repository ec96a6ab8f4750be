"""What the receive loops ask of the rest of the controller."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ryu_apps.control.effects import AnyEntry, Effect
from ryu_apps.control.events import FlowRemoved, PacketIn, PresentEntry, ProbeCaught
from ryu_apps.control.fast_path import FastPath

if TYPE_CHECKING:
    from ryu_apps.southbound.link import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An OpenFlow error that answers a message whose outcome nobody waits for.

    message_type and cookie are those of the refused message: -1 and 0 where the switch does not tell.
    """

    type: int
    code: int
    text: str
    message_type: int
    cookie: int


class Handler(Protocol):
    """The controller as a receive loop sees it; no method may wait, and now_s is of the clock given to `install`."""

    @property
    def fast_path(self) -> FastPath:
        """What answers first packets of known kinds."""

    def answered(self) -> None:
        """Take note that the answers to all that was received at once are on their way."""

    def packet_in(self, event: PacketIn, now_s: float) -> Sequence[Effect]:
        """Return what to do about a packet that one of our entries sent up."""

    def probe_caught(self, event: ProbeCaught, now_s: float) -> None:
        """Take note of a probe that has come out of a function."""

    def miss_dropped(self, vport: int) -> None:
        """Take note that a packet-in was dropped because too many of its vport (by number) waited."""

    def flow_removed(self, event: FlowRemoved, now_s: float) -> Sequence[Effect]:
        """Return what to do about a cached entry that is gone."""

    def link_up(self, link: Link) -> None:
        """Take note that a datapath is connected; its ports are known."""

    def link_down(self, link: Link) -> None:
        """Take note that a datapath's connection is gone; called once for each `link_up`."""

    def ports_changed(self, link: Link) -> None:
        """Take note that a datapath's ports have changed; `link.known_ports()` has them."""

    def removed(self, link: Link, entries: Sequence[AnyEntry], meters: Sequence[int]) -> None:
        """Take note that a datapath has removed entries and has meters, by number, count from nothing, or no more.

        `link.changing` is held: what was asked before shows them as they were.
        """

    def found(self, link: Link, present: Sequence[PresentEntry], meters: Container[int]) -> None:
        """Take note of all entries and meters that a datapath has that was away."""

    def refused(self, link: Link, refusal: Refusal) -> None:
        """Take note that the switch refused what an effect made us send."""
