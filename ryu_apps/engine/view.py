"""All layers as one vport sees them in one direction, compiled for walking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ryu_apps.engine.classifier import GroupClassifier
from ryu_apps.engine.ruling import Ruling, Verdict, conclude
from ryu_apps.engine.treating import Treat
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import Family
from ryu_apps.model.network import Vport
from ryu_apps.model.policy import GroupKey, Snapshot
from ryu_apps.model.rules import Direction, Group, Layer
from ryu_apps.model.treatment import PastFunctions, Treatment

# The guard answers for these; a layer speaks only by a rule that names them, never by its default.
NEIGHBOUR: Final = frozenset({Family.ARP, Family.ND})


# How many verdicts of one kind are remembered; then they are reached again. A VM chooses what packets it sends.
MOST_REMEMBERED: Final = 65536


@dataclass(frozen=True, slots=True)
class CompiledLayer:
    """One layer of a view: its groups' classifiers, best first, and the rulings that need no rule."""

    id: str
    stateful: bool
    groups: tuple[GroupClassifier, ...]
    default: Ruling
    neighbour: Ruling
    established: Ruling

    def rule(self, family: Family, bits: int) -> Ruling:
        """Return what the layer says: of the first group with a matching rule, or of the default."""
        for group in self.groups:
            found = group.find(family, bits)
            if found is not None:
                return found
        return self.neighbour if family in NEIGHBOUR else self.default


@dataclass(frozen=True, slots=True)
class View:
    """What one vport's packets of one direction walk: the layers in order.

    uses_dscp: some rule looks at DSCP, so exact entries must carry it.
    asks_arp, asks_nd: some rule names ARP or neighbour discovery, so these packets must be walked too.
    """

    layers: tuple[CompiledLayer, ...]
    uses_dscp: bool
    asks_arp: bool
    asks_nd: bool
    names_vports: bool
    """Some rule copies or sends packets to a vport, whose number is part of verdicts."""
    stateful: bool
    """Every layer keeps state, so that what a connection opened answers for its replies."""
    established: Verdict
    """The verdict on a reply where every layer keeps state and none translates."""
    relevant: tuple[int, ...]
    """By family, the key bits that any rule looks at: packets that agree in these have one verdict."""
    treat: Treat
    """What rules that do more than edit headers do at this vport."""
    # Verdicts already met, by their rulings: flows of one kind share one verdict object.
    verdicts: dict[tuple[Ruling, ...], Verdict] = field(default_factory=dict, compare=False)
    # Verdicts on replies that skip functions because the connection does, by the verdicts without that.
    past: dict[Verdict, Verdict] = field(default_factory=dict, compare=False)
    # Verdicts already reached, by family and relevant bits: most connections differ only in what no rule looks at.
    walked: tuple[dict[int, Verdict], ...] = field(default_factory=lambda: tuple({} for _ in Family), compare=False)

    def verdict(self, rulings: tuple[Ruling, ...]) -> Verdict:
        """Return the one verdict object for these rulings."""
        found = self.verdicts.get(rulings)
        if found is None:
            if len(self.verdicts) >= MOST_REMEMBERED:
                self.verdicts.clear()
            found = self.verdicts[rulings] = conclude(rulings, self.treat)
        return found


def past_functions(view: View, verdict: Verdict) -> Verdict:
    """Return the verdict on packets that skip network functions as their connection does, unless they go elsewhere."""
    treatment = verdict.treatment or Treatment()
    if not verdict.allow or treatment.exit is not None:
        return verdict
    found = view.past.get(verdict)
    if found is None:
        if len(view.past) >= MOST_REMEMBERED:
            view.past.clear()
        found = replace(verdict, treatment=replace(treatment, exit=PastFunctions()))
        view.past[verdict] = found
    return found


def applies(group: Group, vport: Vport, direction: Direction) -> bool:
    """Return whether a group is part of a vport's view in a direction."""
    scope = group.scope
    return group.direction is direction and scope.vport in (None, vport.id) and scope.tenant in (None, vport.tenant)


def compile_view(
    snapshot: Snapshot, classifiers: Mapping[GroupKey, GroupClassifier], vport: Vport, direction: Direction
) -> View:
    """Return the view of one vport and direction; inbound walks the layers in reverse order."""
    layers = snapshot.ordered_layers()
    if direction is Direction.INBOUND:
        layers = layers[::-1]
    groups = sorted(
        (group for group in snapshot.groups.values() if applies(group, vport, direction)),
        key=lambda group: group.precedence,
    )
    compiled = tuple(_compile_layer(layer, direction, groups, classifiers) for layer in layers)
    used = [classifiers[group.layer, group.id] for group in groups]
    treat = Treat(vport, snapshot.vports, snapshot.chains)
    return View(
        compiled,
        stateful=all(layer.stateful for layer in compiled),
        established=conclude(tuple(layer.established for layer in compiled), treat),
        relevant=tuple(_relevant(family, used) for family in Family),
        treat=treat,
        uses_dscp=any(classifier.uses_dscp for classifier in used),
        asks_arp=any(Family.ARP in classifier.families for classifier in used),
        asks_nd=any(Family.ND in classifier.families for classifier in used),
        names_vports=any(classifier.names_vports for classifier in used),
    )


def _relevant(family: Family, used: Iterable[GroupClassifier]) -> int:
    """Return the bits that rules of these groups look at; the protocol always, since edits of ports depend on it."""
    proto = FIELDS["ip_proto"]
    mask = proto.full << proto.shifts[family] if family in proto.shifts else 0
    for classifier in used:
        mask |= classifier.relevant(family)
    return mask


def _compile_layer(
    layer: Layer, direction: Direction, groups: Iterable[Group], classifiers: Mapping[GroupKey, GroupClassifier]
) -> CompiledLayer:
    return CompiledLayer(
        id=layer.id,
        stateful=layer.stateful,
        groups=tuple(classifiers[group.layer, group.id] for group in groups if group.layer == layer.id),
        default=Ruling(layer=layer.id, reason="default", allow=layer.allows_by_default(direction)),
        neighbour=Ruling(layer=layer.id, reason="neighbour", allow=True),
        established=Ruling(layer=layer.id, reason="established", allow=True),
    )
