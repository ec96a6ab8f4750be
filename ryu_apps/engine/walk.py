"""The walk: a packet through every layer, stopping at the first that denies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from ryu_apps.engine.lending import Lend, borrow
from ryu_apps.engine.ruling import Ruling, Verdict, conclude
from ryu_apps.engine.view import MOST_REMEMBERED, View
from ryu_apps.model.fields import FIELDS
from ryu_apps.model.flow_key import FlowKey
from ryu_apps.model.transposition import Transposition, transposition

_ENDS: Final = (("eth_src", "eth_dst"), ("ipv4_src", "ipv4_dst"), ("ipv6_src", "ipv6_dst"), ("l4_src", "l4_dst"))
# Each field with the one that holds its value in a packet that goes the other way.
MIRROR: Final = {name: other for first, second in _ENDS for name, other in ((first, second), (second, first))}
MIRROR["vlan_vid"] = "vlan_vid"


def walk(view: View, key: FlowKey, lend: Lend | None = None) -> Verdict:
    """Return the verdict on the first packet of a connection, remembered where only irrelevant bits are new.

    Rules with a NAT pool ask `lend`; without it, for packets decided one by one, they let the packet pass as it is.
    """
    family, bits = key
    walked = view.walked[family]
    relevant = bits & view.relevant[family]
    verdict = walked.get(relevant)
    if verdict is None:
        if len(walked) >= MOST_REMEMBERED:
            walked.clear()
        verdict = walked[relevant] = walk_layers(view, key)
    return walk_layers(view, key, lend) if verdict.pooled and lend is not None else verdict


def walk_layers(view: View, key: FlowKey, lend: Lend | None = None) -> Verdict:
    """Return the verdict on the first packet of a connection, from the layers one by one.

    Each layer sees the packet as the layers before it have left it (US 8,930,690).
    """
    family, bits = key
    rulings: list[Ruling] = []
    for layer in view.layers:
        ruling = layer.rule(family, bits)
        if ruling.pool is not None:
            ruling = borrow(ruling, lend, FlowKey(family, bits))
        rulings.append(ruling)
        if not ruling.allow:
            break
        if ruling.edit.edits:
            bits = ruling.edit.apply(FlowKey(family, bits)).bits
    # What was lent is the connection's own, so its verdict is shared with no other.
    lent = lend is not None and any(ruling.pool is not None for ruling in rulings)
    return conclude(tuple(rulings), view.treat) if lent else view.verdict(tuple(rulings))


def steps(verdict: Verdict, key: FlowKey) -> Iterator[tuple[Ruling, FlowKey]]:
    """Yield each ruling with the key as that layer saw it."""
    for ruling in verdict.rulings:
        yield ruling, key
        key = ruling.edit.apply(key)


def walk_reply(view: View, key: FlowKey, forward: Verdict, forward_key: FlowKey) -> Verdict:
    """Return the verdict on a reply to a connection that was allowed as `forward` at the same vport.

    A stateful layer lets the reply pass and a layer that translated translates back; other layers are asked as usual,
    but a translation is decided by the first packet alone, so a rule that would translate lets the reply pass as it is.
    """
    if view.stateful and not forward.translates:
        return view.established
    opened = {ruling.layer: (ruling, seen) for ruling, seen in steps(forward, forward_key)}
    rulings: list[Ruling] = []
    translated = False
    for layer in view.layers:
        ruling, seen = opened.get(layer.id, (None, forward_key))
        if ruling is not None and ruling.translates:
            answer = replace(layer.established, edit=_untranslate(ruling.edit, seen))
            translated = True
        elif ruling is not None and layer.stateful:
            answer = layer.established
        else:
            asked = layer.rule(*key)
            answer = asked.to_reply or asked
        rulings.append(answer)
        if not answer.allow:
            break
        key = answer.edit.apply(key)
    # A translation back holds the connection's own values, so its verdict is shared with no other.
    return conclude(tuple(rulings), view.treat) if translated else view.verdict(tuple(rulings))


def _untranslate(edit: Transposition, seen: FlowKey) -> Transposition:
    """Return the edit that gives a reply the addresses which the translation replaced."""
    return transposition({MIRROR[name]: FIELDS[name].get(seen) for name, _ in edit.on(seen)})
