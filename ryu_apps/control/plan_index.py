"""The plans in use: each has a number, and is found by the vports and the rules that are part of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ryu_apps.engine.connection import Plan

RuleName = tuple[str, str | None, str | None]


@dataclass(slots=True)
class Use:
    """A plan's number, and how many flows have it; one that none had is forgotten, and is in use no more."""

    number: int
    flows: int


class PlanIndex:
    """Plans with the number of flows that each has; a plan that no flow has is forgotten."""

    def __init__(self) -> None:
        self._uses: dict[Plan, Use] = {}
        self._by_vport: dict[int, set[Plan]] = {}
        self._by_rule: dict[RuleName, set[Plan]] = {}
        self._next = 1

    def all(self) -> Iterable[Plan]:
        """Return every plan in use."""
        return self._uses.keys()

    def number(self, plan: Plan) -> int | None:
        """Return a plan's number, None when no flow has it."""
        use = self._uses.get(plan)
        return None if use is None else use.number

    def at_vport(self, vport: int) -> Iterable[Plan]:
        """Return the plans with a leg at a vport."""
        return self._by_vport.get(vport, ())

    def by_rule(self, rule: RuleName) -> Iterable[Plan]:
        """Return the plans in which a rule (layer, group, rule) has spoken."""
        return self._by_rule.get(rule, ())

    def join(self, plan: Plan) -> Use:
        """Count one more flow with a plan; return its use."""
        use = self._uses.get(plan)
        if use is None:
            use = self._uses[plan] = Use(self._next, 0)
            # Numbers stand in 32-bit fields; what lives on keeps its own.
            self._next = self._next % 0xFFFFFFFF + 1
            for vport, rules in _sources(plan):
                self._by_vport.setdefault(vport, set()).add(plan)
                for rule in rules:
                    self._by_rule.setdefault(rule, set()).add(plan)
        use.flows += 1
        return use

    def leave(self, plan: Plan) -> None:
        """Count one flow less with a plan."""
        use = self._uses[plan]
        use.flows -= 1
        if use.flows:
            return
        del self._uses[plan]
        for vport, rules in _sources(plan):
            _discard(self._by_vport, vport, plan)
            for rule in rules:
                _discard(self._by_rule, rule, plan)


def _discard(index: dict, key: object, plan: Plan) -> None:  # type: ignore[type-arg]
    plans = index.get(key)
    if plans is not None:
        plans.discard(plan)
        if not plans:
            del index[key]


def _sources(plan: Plan) -> Iterator[tuple[int, list[RuleName]]]:
    for leg in (*plan.forward, *plan.reply):
        yield leg.vport, [(r.layer, r.group, r.rule) for r in leg.verdict.rulings if r.rule is not None]
