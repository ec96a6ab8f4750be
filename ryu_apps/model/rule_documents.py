"""The written form of rules and groups, as plain JSON values: to a document and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from immutables import Map

from ryu_apps.model.action import (
    Action,
    Allow,
    Deny,
    Encapsulate,
    Meter,
    Mirror,
    Nat,
    Per,
    PopVlanTag,
    Prioritise,
    PushVlanTag,
    RateUnit,
    Reroute,
    Rewrite,
    SkipChain,
    ThroughChain,
    default_burst,
)
from ryu_apps.model.address import format_ip, format_mac, parse_address, parse_unicast_mac
from ryu_apps.model.errors import Invalid
from ryu_apps.model.faults import Faults
from ryu_apps.model.fields import FIELDS, parse_edit
from ryu_apps.model.flow_key import PROTOS_WITH_PORTS
from ryu_apps.model.match import Match, parse_match
from ryu_apps.model.nat_pool import VERSIONS
from ryu_apps.model.rules import Direction, Group, Offload, Rule, Scope
from ryu_apps.model.transposition import transposition
from ryu_apps.model.turns import Pause, in_turns, no_pause

Document = dict[str, Any]

_IP_FIELDS = {4: "ipv4", 6: "ipv6"}
_PORTS = ("l4_src", "l4_dst")
_SIDES = {"source": "src", "destination": "dst"}


def rule_document(rule: Rule) -> Document:
    """Return a rule's document, without its id."""
    return {
        "priority": rule.priority,
        "match": dict(rule.match.text),
        "action": _action_document(rule.action),
        "idle_timeout_s": rule.idle_timeout_s,
        "offload": rule.offload.value,
    }


def group_header(group: Group) -> Document:
    """Return a group's document without its rules."""
    scope: object = "all"
    if group.scope.vport is not None:
        scope = {"vport": group.scope.vport}
    elif group.scope.tenant is not None:
        scope = {"tenant": group.scope.tenant}
    return {"applies_to": scope, "direction": group.direction.value, "priority": group.priority}


def group_document(group: Group, pause: Pause = no_pause) -> Document:
    """Return a group's document with its rules in the order in which they are asked."""
    rules = sorted(group.rules.values(), key=lambda rule: rule.precedence)
    return {**group_header(group), "rules": [{"id": rule.id, **rule_document(rule)} for rule in in_turns(rules, pause)]}


def parse_rule(rule_id: str, document: Document, path: str = "") -> Rule:
    """Return the rule of a document; Invalid names every field at fault, each below `path`."""
    faults = Faults()
    written = {name: str(value) for name, value in document["match"].items()}
    match = faults.attempt(f"{path}match", partial(parse_match, path=f"{path}match"), written)
    action = faults.attempt(f"{path}action", partial(_parse_action, match, f"{path}action"), document["action"])
    if match is None or action is None:
        raise faults.refusal("the rule cannot be accepted")
    return Rule(
        id=rule_id,
        priority=document["priority"],
        match=match,
        action=action,
        idle_timeout_s=document.get("idle_timeout_s"),
        offload=Offload(document.get("offload", "auto")),
    )


def parse_group(layer: str, group_id: str, document: Document, pause: Pause = no_pause) -> Group:
    """Return the group of a document; Invalid names every field of every rule at fault."""
    faults = Faults()
    scope = faults.attempt("applies_to", _parse_scope, document.get("applies_to", "all"))
    rules: dict[str, Rule] = {}
    for index, form in in_turns(enumerate(document["rules"]), pause):
        path = f"rules[{index}]."
        if form["id"] in rules:
            faults.add(f"{path}id", f"rule {form['id']!r} stands in the group twice")
        rule = faults.attempt(path, partial(parse_rule, form["id"], path=path), form)
        if rule is not None:
            rules[rule.id] = rule
    faults.refuse("the group cannot be accepted")
    return Group(
        id=group_id,
        layer=layer,
        direction=Direction(document["direction"]),
        scope=scope or Scope(),
        priority=document["priority"],
        rules=Map(rules),
    )


def _parse_scope(form: str | Mapping[str, str | None]) -> Scope:
    if isinstance(form, str):
        return Scope()
    scope = Scope(vport=form.get("vport"), tenant=form.get("tenant"))
    if (scope.vport is None) == (scope.tenant is None):
        raise ValueError('name one vport, one tenant, or write "all"')
    return scope


def _parse_action(match: Match | None, path: str, form: Document) -> Action:
    match form["type"]:
        case "allow":
            return Allow()
        case "deny":
            return Deny()
        case "rewrite":
            return _parse_rewrite(form["set"], match, f"{path}.set")
        case "nat":
            return _parse_nat(form, match, path)
        case "push_vlan":
            return PushVlanTag(form["vlan"])
        case "pop_vlan":
            return PopVlanTag()
        case "meter":
            return _parse_meter(form, path)
        case "mirror":
            return Mirror(form["vport"])
        case "route":
            return Reroute(form["vport"])
        case "skip_chain":
            return SkipChain()
        case "chain":
            return ThroughChain(form["chain"])
        case "encapsulate":
            return _parse_encapsulate(form, path)
        case "priority":
            return Prioritise(form["priority"])
    raise Invalid.at(f"{path}.type", f"{form['type']!r} is not an action")


def _parse_rewrite(written: Mapping[str, object], match: Match | None, path: str) -> Rewrite:
    faults = Faults()
    edits: dict[str, int] = {}
    for name, value in written.items():
        field = FIELDS.get(name)
        if field is None or not field.settable:
            faults.add(f"{path}.{name}", "no field that can be set has this name")
            continue
        if not _reaches(match, name):
            faults.add(f"{path}.{name}", "no packet that the rule matches has this field")
        edits[name] = faults.attempt(f"{path}.{name}", partial(parse_edit, field), str(value)) or 0
    if not written:
        faults.add(path, "name at least one field to set")
    faults.refuse("the rewrite cannot be accepted")
    return Rewrite(transposition(edits))


def _reaches(match: Match | None, name: str) -> bool:
    """Return whether some packet that meets the match has the field."""
    if match is None:
        return True
    if name in _PORTS and match.ip_proto is not None and match.ip_proto not in PROTOS_WITH_PORTS:
        return False
    return any(family in FIELDS[name].shifts for family, _ in match.conditions)


def _parse_nat(form: Document, match: Match | None, path: str) -> Nat:
    faults = Faults()
    edits: dict[str, int] = {}
    versions: set[int] = set()
    source = {name: value for name, value in (form.get("source") or {}).items() if value is not None}
    pool = source.pop("pool", None)
    if pool is not None and source:
        faults.add(f"{path}.source", "a pool gives address, port and MAC: name the pool alone")
    if pool is not None and match is not None and not any(family in VERSIONS for family, _ in match.conditions):
        faults.add(f"{path}.source.pool", "the rule matches no packet of IPv4 or IPv6")
    for side, suffix in _SIDES.items():
        new = form.get(side)
        if new is None or new.get("pool") is not None:
            continue
        if new.get("ip") is None:
            faults.add(f"{path}.{side}.ip", "is required, or a pool instead")
            continue
        address = faults.attempt(f"{path}.{side}.ip", parse_address, new["ip"])
        if address is not None:
            name = f"{_IP_FIELDS[address[0]]}_{suffix}"
            versions.add(address[0])
            edits[name] = address[1]
            if not _reaches(match, name):
                faults.add(f"{path}.{side}.ip", f"the rule matches no packet of IPv{address[0]}")
        if new.get("port") is not None:
            edits[f"l4_{suffix}"] = new["port"]
            # Without a protocol, what becomes of a packet that has no ports would be left open.
            if match is not None and match.ip_proto not in PROTOS_WITH_PORTS:
                faults.add(f"{path}.{side}.port", "the match needs ip_proto tcp, udp or sctp")
        if new.get("mac") is not None:
            edits[f"eth_{suffix}"] = faults.attempt(f"{path}.{side}.mac", parse_unicast_mac, new["mac"]) or 0
    if len(versions) > 1:
        faults.add(f"{path}.destination.ip", "source and destination are of different IP versions")
    if form.get("source") is None and form.get("destination") is None:
        faults.add(path, "name a source, a destination or both")
    faults.refuse("the translation cannot be accepted")
    return Nat(edit=transposition(edits), pool=pool)


def _parse_meter(form: Document, path: str) -> Meter:
    given = [unit for unit in RateUnit if form.get(unit.value) is not None]
    if len(given) != 1:
        raise Invalid.at(path, "give either kbps or pps")
    unit, rate = given[0], form[given[0].value]
    burst = default_burst(unit, rate) if form.get("burst") is None else form["burst"]
    return Meter(unit=unit, rate=rate, burst=burst, per=Per(form.get("per", Per.RULE.value)))


def _parse_encapsulate(form: Document, path: str) -> Encapsulate:
    faults = Faults()
    remote = faults.attempt(f"{path}.remote_ip", parse_address, form["remote_ip"])
    if remote is None:
        raise faults.refusal("the tunnel endpoint cannot be accepted")
    return Encapsulate(remote=remote, vni=form["vni"])


def _action_document(action: Action) -> Document:
    match action:
        case Allow():
            return {"type": "allow"}
        case Deny():
            return {"type": "deny"}
        case Rewrite(edit):
            return {"type": "rewrite", "set": {name: FIELDS[name].format(value) for name, value in edit.edits}}
        case Nat(edit=edit, pool=pool):
            edits = dict(edit.edits)
            sides = {side: _nat_side(edits, suffix) for side, suffix in _SIDES.items()}
            sides["source"] = sides["source"] if pool is None else {"pool": pool}
            return {"type": "nat", **{side: form for side, form in sides.items() if form}}
        case PushVlanTag(vlan):
            return {"type": "push_vlan", "vlan": vlan}
        case PopVlanTag():
            return {"type": "pop_vlan"}
        case Meter(unit=unit, rate=rate, burst=burst, per=per):
            return {"type": "meter", unit.value: rate, "burst": burst, "per": per.value}
        case Mirror(vport):
            return {"type": "mirror", "vport": vport}
        case SkipChain():
            return {"type": "skip_chain"}
        case ThroughChain(chain):
            return {"type": "chain", "chain": chain}
        case Reroute(vport):
            return {"type": "route", "vport": vport}
        case Encapsulate(remote=remote, vni=vni):
            return {"type": "encapsulate", "remote_ip": format_ip(*remote), "vni": vni}
        case Prioritise(priority):
            return {"type": "priority", "priority": priority}


def action_type(action: Action) -> str:
    """Return the word for an action in documents."""
    return str(_action_document(action)["type"])


def _nat_side(edits: Mapping[str, int], suffix: str) -> Document:
    form: Document = {}
    for family in _IP_FIELDS.values():
        name = f"{family}_{suffix}"
        if name in edits:
            form["ip"] = FIELDS[name].format(edits[name])
    if f"l4_{suffix}" in edits:
        form["port"] = edits[f"l4_{suffix}"]
    if f"eth_{suffix}" in edits:
        form["mac"] = format_mac(edits[f"eth_{suffix}"])
    return form
