"""Delivery: who gets a frame, and who hears a broadcast."""

from __future__ import annotations

from hypothesis import given

from ryu_apps.engine.delivery import directory
from tests.unit.pipeline.networks import Network, networks


@given(networks())
def test_a_frame_goes_where_a_route_or_else_a_vport_says(network: Network) -> None:
    """S02, S04: for each segment and MAC the answer is the route's, without one the vport's, else the outside."""
    snapshot = network.policy.snapshot
    found = directory(snapshot)
    macs = {vport.mac for vport in snapshot.vports.values()} | {r.eth_dst for r in snapshot.routes.values()} | {1}
    for segment in snapshot.segments:
        for mac in macs:
            routes = [r for r in snapshot.routes.values() if (r.segment, r.eth_dst) == (segment, mac)]
            owners = [v.id for v in snapshot.vports.values() if segment in v.segments and v.mac == mac]
            expected = routes[0].vport if routes else owners[0] if owners else None
            owner = found.owner(segment, mac)
            assert (None if owner is None else owner.id) == expected


@given(networks())
def test_the_members_of_a_segment_are_found_per_host(network: Network) -> None:
    """Each member of a segment is on one host's list, once, in the order of numbers."""
    snapshot = network.policy.snapshot
    for segment in snapshot.segments:
        lists = [directory(snapshot).residents(segment, host) for host in snapshot.hosts]
        everyone = [vport.id for vports in lists for vport in vports]
        assert sorted(everyone) == sorted(v.id for v in snapshot.vports.values() if segment in v.segments)
        assert all(vports == sorted(vports, key=lambda vport: vport.number) for vports in lists)
