"""A service that keeps policy in memory and has no switches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ryu_apps.control.draining import refuse_live
from ryu_apps.control.promises import Progress
from ryu_apps.control.service import Outcome
from ryu_apps.control.statistics import Figures, Statistics
from ryu_apps.model.chain import Chain, Function
from ryu_apps.model.checks import check
from ryu_apps.model.errors import SwitchAway
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rights import Rights, check_rights


class MemoryFunctions:
    """Knows of functions that all work, and of the connections of instances and chains, by id, that a test says."""

    def __init__(self) -> None:
        self.connections: dict[str, int] = {}

    def refuse_live(self, before: Snapshot, changes: Sequence[Change]) -> None:
        """Refuse what takes away what connections go through."""
        refuse_live(before, changes, lambda one: self.connections.get(one.id))

    def health(self, function: Function) -> Mapping[str, Any]:
        """Return that every instance works."""
        return {"instances": {one.id: {"state": "up"} for one in function.instances}}

    def chain_health(self, chain: Chain) -> Mapping[str, Any]:
        """Return that no host has VFs."""
        return {"hosts": {}}


class MemoryService:
    """Applies changes to a snapshot after the checks; datapaths named `away` are not connected."""

    def __init__(self) -> None:
        self.policy = Snapshot()
        self.functions = MemoryFunctions()
        self.away: tuple[str, ...] = ()
        self.failures: dict[str, str] = {}
        self.flow_count = 0
        self.counted = Statistics(
            flows=0, held_back=0, generation=0, begun_per_s=None, hosts=(), named=frozenset(), general=Figures(),
            faults={}, unanswered=(),
        )  # fmt: skip
        self.before_change: Callable[[], None] = lambda: None

    def snapshot(self) -> Snapshot:
        """Return the policy snapshot in force."""
        return self.policy

    def change(
        self, changes: Sequence[Change], *, rights: Rights, dry_run: bool = False, wait: bool = True
    ) -> Outcome:
        """Check and keep changes as one."""
        self.before_change()
        check_rights(rights, self.policy, changes)
        if not dry_run and all(self.policy.get(change.kind, change.key) == change.value for change in changes):
            return Outcome(state="unchanged", generation=self.policy.generation)
        after = check(self.policy, changes)
        self.functions.refuse_live(self.policy, changes)
        if dry_run:
            return Outcome(state="planned", generation=after.generation, difference=("+ h1 table=outbound",))
        if self.away and wait:
            raise SwitchAway(f"not connected: {', '.join(self.away)}")
        self.policy = after
        state = "stored" if self.away else "installed"
        return Outcome(state=state, generation=after.generation, waiting_for=self.away)

    def progress(self, generation: int) -> Progress:
        """Return that a change waits for the datapaths that are away."""
        state = "stored" if self.away else "installed"
        return Progress(generation=generation, state=state, waiting_for=self.away, failures=self.failures)

    def hosts(self) -> Iterable[Mapping[str, Any]]:
        """Return that every host is connected, and one datapath that nobody registered."""
        for name in self.policy.hosts:
            yield {"id": name, "connected": name not in self.away}
        yield {"id": None, "dpid": "00000000000000ff", "connected": True}

    def flows(self, *, vport: str | None, after: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return flows numbered from 1."""
        return [{"id": number, "vport": vport} for number in range(after + 1, self.flow_count + 1)][:limit]

    def hints(self, *, vport: str, since: str, limit: int) -> Mapping[str, Any]:
        """Return what was asked."""
        return {"vport": vport, "since": since, "limit": limit}

    def trace(self, *, vport: str, direction: str, packet: Mapping[str, str]) -> Mapping[str, Any]:
        """Return what was asked."""
        return {"vport": vport, "direction": direction, "packet": dict(packet)}

    def statistics(self, *, max_age_s: float) -> Statistics:
        """Return the counts that a test has put here, however old."""
        return self.counted

    def pause(self) -> None:
        """Nobody waits here."""
