"""What one layer says of a packet, and what all layers together say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ryu_apps.model.action import (
    Action,
    Deny,
    Meter,
    Nat,
    PopVlanTag,
    PushVlanTag,
    Rewrite,
    Tagging,
    Treating,
    named_pool,
)
from ryu_apps.model.flow_key import CUSTOMER_TAG, VLAN_PRESENT
from ryu_apps.model.nat_pool import Lease
from ryu_apps.model.rules import Offload, Rule
from ryu_apps.model.transposition import IDENTITY, Transposition, transposition
from ryu_apps.model.treatment import Treatment


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
    treats: Treating | None = None
    """What the rule does beside editing; None for nothing."""
    needs: frozenset[str] = frozenset()
    """The names of actions that a NIC must support to carry it out."""
    offload: Offload = Offload.AUTO
    to_reply: Ruling | None = None
    """What a rule that translates says of a reply whose connection it did not translate; None for other sources."""
    pool: str | None = None
    """The NAT pool, by id, that the rule takes the source of a connection from."""
    lease: Lease | None = None
    """What the connection that this ruling is about has got from the pool."""


def ruling_of(layer: str, group: str, rule: Rule) -> Ruling:
    """Return what a rule says when it decides."""
    match rule.action:
        case Rewrite(edit=edit) | Nat(edit=edit):
            pass
        case PushVlanTag(vlan=vlan):
            edit = transposition({"vlan_vid": CUSTOMER_TAG | VLAN_PRESENT | vlan})
        case PopVlanTag():
            edit = transposition({"vlan_vid": 0})
        case _:
            edit = IDENTITY
    ruling = Ruling(
        layer=layer,
        group=group,
        rule=rule.id,
        reason="rule",
        allow=not _drops(rule.action),
        edit=edit,
        idle_timeout_s=rule.idle_timeout_s,
        treats=rule.action if isinstance(rule.action, Treating) else None,
        needs=rule.needs,
        offload=rule.offload,
        pool=named_pool(rule.action),
    )
    if not isinstance(rule.action, Nat | Tagging):
        return ruling
    return replace(ruling, translates=True, to_reply=replace(ruling, edit=IDENTITY, needs=frozenset()))


def _drops(action: Action) -> bool:
    """Return whether no packet passes: nothing of a rate of 0 ever does, so its packets need no meter."""
    return isinstance(action, Deny) or (isinstance(action, Meter) and not action.rate)


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
    treatment: Treatment | None = None
    needs: frozenset[str] = frozenset()
    """The names of actions that a NIC must support to handle such packets by itself."""
    offload: Offload = Offload.AUTO
    leases: tuple[Lease, ...] = ()
    """What packets under this verdict show of NAT pools, those denied in copies alone."""
    pooled: bool = False
    """A rule with a NAT pool has spoken, so that the verdict is one connection's own, or that of a single packet."""

    def same_effect(self, other: Verdict) -> bool:
        """Return whether the switch would treat packets alike under both, and have the same say in whether it does."""
        return (self.allow, self.edit, self.idle_timeout_s, self.treatment, self.needs, self.offload) == (
            other.allow,
            other.edit,
            other.idle_timeout_s,
            other.treatment,
            other.needs,
            other.offload,
        )


def conclude(rulings: tuple[Ruling, ...], treat: Callable[[Ruling], Treatment]) -> Verdict:
    """Return the verdict that follows from the layers' rulings, in the order of the walk.

    treat says what a ruling that treats packets does at the vport in question.
    """
    edit, treatment = IDENTITY, Treatment()
    for ruling in rulings:
        if ruling.treats is not None and ruling.allow:
            treatment = treatment.then(treat(ruling).behind(edit))
        edit = edit.then(ruling.edit)
    timeouts = [ruling.idle_timeout_s for ruling in rulings if ruling.idle_timeout_s is not None]
    allow = all(ruling.allow for ruling in rulings)
    translates = any(ruling.translates for ruling in rulings)
    kept = treatment if allow else treatment.refused()
    # Of a denied packet only what befell it on its way counts: a copy.
    done = rulings if allow else tuple(ruling for ruling in rulings if ruling.treats is not None and kept)
    wishes = {ruling.offload for ruling in rulings}
    return Verdict(
        rulings,
        allow,
        edit if allow else IDENTITY,
        min(timeouts, default=None),
        translates,
        None if kept == Treatment() else kept,
        frozenset[str]().union(*(ruling.needs for ruling in done)),
        next((wish for wish in (Offload.OFF, Offload.ON) if wish in wishes), Offload.AUTO),
        tuple(dict.fromkeys(ruling.lease for ruling in rulings if ruling.lease is not None)) if allow or kept else (),
        any(ruling.pool is not None for ruling in rulings),
    )
