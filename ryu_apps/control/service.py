"""What the outer shells may ask of a running controller, and what they get."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ryu_apps.control.promises import Progress
from ryu_apps.control.statistics import Statistics
from ryu_apps.model.chain import Chain, Function
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rights import Rights


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a change.

    state: installed (every datapath confirmed), stored (kept, and waiting for the datapaths named), unchanged,
    planned (a dry run).
    difference: flow entries removed (-) and added (+) per host, in the syntax of ovs-ofctl; filled for a dry run.
    touched_flows: unified flows whose verdict the change alters.
    """

    state: str
    generation: int
    waiting_for: tuple[str, ...] = ()
    difference: tuple[str, ...] = ()
    touched_flows: int = 0


class FunctionsAtWork(Protocol):
    """What is known of functions and chains."""

    def health(self, function: Function) -> Mapping[str, Any]:
        """Return what is known of the instances of a function; their switches are asked at most once a second."""

    def chain_health(self, chain: Chain) -> Mapping[str, Any]:
        """Return what becomes of frames at the hops of a chain, by host."""


class Service(Protocol):
    """The controller as its shells see it; calls may wait, and raise only errors of the tree in model.errors."""

    @property
    def functions(self) -> FunctionsAtWork:
        """The functions and chains at work."""

    def snapshot(self) -> Snapshot:
        """Return the policy snapshot in force."""

    def change(self, changes: Sequence[Change], *, rights: Rights, dry_run: bool = False, wait: bool = True) -> Outcome:
        """Check, keep and install changes as one; with wait the switches have confirmed when it returns.

        Forbidden when the rights do not cover a change of the policy that it meets, a dry run included.
        SwitchAway when wait is asked and a datapath that the change needs is not connected.
        """

    def progress(self, generation: int) -> Progress:
        """Return how far the change has come that made this generation of the policy, or an earlier one."""

    def hosts(self) -> Iterable[Mapping[str, Any]]:
        """Return what is known of each host and of each unregistered datapath."""

    def flows(self, *, vport: str | None, after: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return unified flows with an id above `after`, ascending, at most `limit`."""

    def hints(self, *, vport: str, since: str, limit: int) -> Mapping[str, Any]:
        """Return which packets of a VM the NIC knows, as far as it has changed since a version; at most so many."""

    def trace(self, *, vport: str, direction: str, packet: Mapping[str, str]) -> Mapping[str, Any]:
        """Return what would become of a packet; nothing is sent and no state is made."""

    def statistics(self, *, max_age_s: float) -> Statistics:
        """Return all counts; what the switches count was asked for at most so many seconds ago.

        A switch that does not answer in time is named, and its counts are those of the time before.
        """

    def pause(self) -> None:
        """Let others have their turn, in the middle of long work: misses wait meanwhile."""
