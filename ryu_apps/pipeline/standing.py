"""The standing entries of any datapath of ours, by what it is to its host."""

from __future__ import annotations

from collections.abc import Mapping

from ryu_apps.engine.policy import Policy
from ryu_apps.model.hairpin import Hairpin
from ryu_apps.pipeline.base import base_pieces
from ryu_apps.pipeline.pieces import NO_PIECES, Pieces, pieces_of
from ryu_apps.pipeline.splice import function_parts, network_parts


def standing_pieces(policy: Policy, dpid: int, ports: Mapping[str, int], known: Pieces = NO_PIECES) -> Pieces:
    """Return the standing entries of a datapath in pieces, none when no host has it.

    Pieces of `known` made from the same values are taken over.
    """
    host = next((host for host in policy.snapshot.hosts.values() if dpid in host.dpids), None)
    if host is None:
        return NO_PIECES
    hairpin = host.hairpin
    if hairpin is None or dpid == host.dpid:
        return base_pieces(policy, host, ports, known)
    if isinstance(hairpin, Hairpin) and dpid == hairpin.function_port.dpid:
        return pieces_of(function_parts(policy, host, hairpin.function_port, ports), known)
    if hairpin.network_port is not None:
        return pieces_of(network_parts(policy, host, hairpin.network_port, ports), known)
    return NO_PIECES
