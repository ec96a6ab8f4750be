"""What one layer says of a packet, and what all layers together say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ryu_apps.model.action import Deny, Nat, Rewrite
from ryu_apps.model.rules import Offload, Rule
from ryu_apps.model.transposition import IDENTITY, Transposition


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ruling:
    """The word of one layer: a rule's, its default's, or that the packet answers an allowed connection.

    Rulings are compared by identity: one object stands for one source in one compiled policy.
    """

    layer: str
    group: str | None = None
    rule: str | None = None
    reason: str
    allow: bool
    edit: Transposition = IDENTITY
    translates: bool = False
    idle_timeout_s: int | None = None
    needs: frozenset[str] = frozenset()
    """The names of actions that a NIC must support to carry it out."""
    offload: Offload = Offload.AUTO
    to_reply: Ruling | None = None
    """What a rule that translates says of a reply whose connection it did not translate; None for other sources."""


def ruling_of(layer: str, group: str, rule: Rule) -> Ruling:
    """Return what a rule says when it decides."""
    match rule.action:
        case Rewrite(edit=edit) | Nat(edit=edit):
            pass
        case _:
            edit = IDENTITY
    ruling = Ruling(
        layer=layer,
        group=group,
        rule=rule.id,
        reason="rule",
        allow=not isinstance(rule.action, Deny),
        edit=edit,
        idle_timeout_s=rule.idle_timeout_s,
        needs=rule.needs,
        offload=rule.offload,
    )
    if not isinstance(rule.action, Nat):
        return ruling
    return replace(ruling, translates=True, to_reply=replace(ruling, edit=IDENTITY, needs=frozenset()))


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What all layers of one vport and direction say of a packet, and how each contributed.

    Verdicts are compared by identity; `same_effect` compares what they do.
    """

    rulings: tuple[Ruling, ...]
    allow: bool
    edit: Transposition
    idle_timeout_s: int | None
    translates: bool
    needs: frozenset[str] = frozenset()
    """The actions that a NIC must support to handle such packets by itself."""
    offload: Offload = Offload.AUTO

    def same_effect(self, other: Verdict) -> bool:
        """Return whether the switch would treat packets alike under both, and have the same say in whether it does."""
        return (self.allow, self.edit, self.idle_timeout_s, self.needs, self.offload) == (
            other.allow,
            other.edit,
            other.idle_timeout_s,
            other.needs,
            other.offload,
        )


def conclude(rulings: tuple[Ruling, ...]) -> Verdict:
    """Return the verdict that follows from the layers' rulings, in the order of the walk."""
    edit = IDENTITY
    for ruling in rulings:
        edit = edit.then(ruling.edit)
    timeouts = [ruling.idle_timeout_s for ruling in rulings if ruling.idle_timeout_s is not None]
    allow = all(ruling.allow for ruling in rulings)
    translates = any(ruling.translates for ruling in rulings)
    needs = frozenset[str]().union(*(ruling.needs for ruling in rulings)) if allow else frozenset()
    wishes = {ruling.offload for ruling in rulings}
    offload = next((wish for wish in (Offload.OFF, Offload.ON) if wish in wishes), Offload.AUTO)
    return Verdict(
        rulings, allow, edit if allow else IDENTITY, min(timeouts, default=None), translates, needs, offload
    )


NO_LAYERS: Final = conclude(())
