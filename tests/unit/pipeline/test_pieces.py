"""Standing entries compiled in pieces: what is taken over from an earlier policy is what would be compiled anew."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from ryu_apps.engine.policy import compile_policy, recompile
from ryu_apps.model.action import Deny
from ryu_apps.model.network import Host
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.model.rules import Scope
from ryu_apps.pipeline.base import base_entries, base_pieces
from ryu_apps.pipeline.entry import EntryKey, FlowEntry
from ryu_apps.pipeline.pieces import Pieces, differences, entries_of
from tests.unit import policies
from tests.unit.pipeline.networks import Network, networks

KINDS = ("hosts", "tenants", "segments", "vports", "routes", "nat_pools", "layers", "groups")


def _by_key(entries: Any) -> dict[EntryKey, FlowEntry]:
    return {made.key: made for made in entries}


def _changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return what leads from one snapshot to another."""
    found = []
    for kind in KINDS:
        old, new = getattr(before, kind), getattr(after, kind)
        for key in {*old, *new}:
            if old.get(key) != new.get(key):
                found.append(Change(kind=kind, key=key, value=new.get(key)))
    return found


@given(networks(), networks())
def test_pieces_taken_over_are_those_compiled_anew(first: Network, second: Network) -> None:
    """From any network to any other, the entries that follow step by step equal those compiled from scratch."""
    changes = _changes(first.policy.snapshot, second.policy.snapshot)
    after = first.policy.snapshot.changed(changes)
    scratch = compile_policy(after)
    for host in second.hosts:
        ports = second.ports[host.id]
        old = _pieces(first, host.id)
        stepped = recompile(first.policy, after, changes)
        new = base_pieces(stepped, host, ports, old)
        assert _by_key(entries_of(new)) == _by_key(base_entries(scratch, host, ports))
        removed, added = differences(old, new)
        kept = _by_key(entries_of(old))
        for made in removed:
            del kept[made.key]
        assert kept | _by_key(added) == _by_key(entries_of(new))
        assert not any(_by_key(entries_of(old)).get(made.key) == made for made in added)


def _pieces(network: Network, name: str) -> Pieces:
    hosts = {host.id: host for host in network.hosts}
    host = hosts.get(name)
    return {} if host is None else base_pieces(network.policy, host, network.ports[name])


def test_a_change_of_one_vport_compiles_only_what_is_its_own() -> None:
    """Of a host with many vports, one more costs its own pieces and the list of its segment's members."""
    many = [Change(kind="vports", key=f"n{n}", value=policies.vport(f"n{n}", "h1", n)) for n in range(10, 200)]
    before = compile_policy(policies.snapshot(*many))
    ports = {"h1-uplink": 999, **{f"h1-vf{n}": n for n in range(1, 201)}}
    host = before.snapshot.hosts["h1"]
    old = base_pieces(before, host, ports)

    one = [Change(kind="vports", key="new", value=policies.vport("new", "h1", 200))]
    after = recompile(before, before.snapshot.changed(one), one)
    new = base_pieces(after, host, ports, old)

    assert len([key for key, piece in new.items() if old.get(key) is not piece]) == 4
    removed, added = differences(old, new)
    assert removed == () and len(added) < 70


def test_views_of_other_vports_are_kept_and_a_number_taken_over_gets_its_own() -> None:
    """A change of one vport compiles its view alone; another vport with its number does not inherit rules."""
    names_arp = policies.rule("r", Deny(), eth_type="arp")
    scoped = policies.group("fw", "g", policies.OUT, names_arp, scope=Scope(vport="vm1"))
    before = compile_policy(policies.snapshot(policies.layer("fw", 1), scoped))
    vports = before.snapshot.vports
    assert before.view(vports["vm1"], policies.OUT).asks_arp
    kept = before.view(vports["vm2"], policies.OUT)
    other = policies.vport("other", "h1", 1)
    changes = [Change(kind="vports", key="vm1", value=None), Change(kind="vports", key="other", value=other)]

    after = recompile(before, before.snapshot.changed(changes), changes)

    assert not after.view(other, policies.OUT).asks_arp
    assert after.view(vports["vm2"], policies.OUT) is kept


def test_a_host_that_is_gone_loses_everything() -> None:
    """Without pieces to follow, all that stood is to be removed."""
    policy = compile_policy(policies.snapshot())
    host: Host = policy.snapshot.hosts["h1"]
    old = base_pieces(policy, host, {"h1-uplink": 9, "h1-vf1": 1})
    removed, added = differences(old, {})
    assert _by_key(removed) == _by_key(entries_of(old)) and added == ()
