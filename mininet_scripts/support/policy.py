"""Short ways to write the documents of layers, groups and rules."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]


def layer(
    *, position: int = 10, stateful: bool = True, outbound: str = "allow", inbound: str = "deny", owner: str = "ops"
) -> Document:
    """Return a layer; without more said, one that lets VMs begin connections and nobody else."""
    default = {"outbound": outbound, "inbound": inbound}
    return {"position": position, "stateful": stateful, "owner": owner, "default": default}


def group(direction: str, *rules: Document, applies_to: object = "all", priority: int = 100) -> Document:
    """Return a group of rules of one direction."""
    return {"applies_to": applies_to, "direction": direction, "priority": priority, "rules": list(rules)}


def rule(rule_id: str, action: str | Document = "allow", *, priority: int = 50, **match: object) -> Document:
    """Return a rule as it stands in a group; the action is a word or a whole document."""
    return {"id": rule_id, **lone_rule(action, priority=priority, **match)}


def lone_rule(action: str | Document = "allow", *, priority: int = 50, **match: object) -> Document:
    """Return a rule as it is put on a path of its own."""
    written = {"type": action} if isinstance(action, str) else action
    return {"priority": priority, "match": match, "action": written}
