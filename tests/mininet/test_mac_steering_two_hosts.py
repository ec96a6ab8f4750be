"""MAC steering across hosts: one host with a cable, the other without, in one segment (H10 H15)."""

from __future__ import annotations

from functools import partial

from tests.mininet import test_hairpin_two_hosts as hairpin
from tests.mininet.lab import Lab
from topologies.hairpin_two_hosts import HairpinTwoHosts

TOPOLOGY = partial(HairpinTwoHosts, second="mac")

# The same tests, on this topology.
red = hairpin.red
test_either_function_can_stop_it = hairpin.test_either_function_can_stop_it
test_broadcasts_reach_every_member_once = hairpin.test_broadcasts_reach_every_member_on_both_hosts_once
test_tcp_across_hosts = hairpin.test_tcp_across_hosts


def test_a_packet_passes_both_functions(red: Lab) -> None:
    """H10 H15 H02: by cable, function, network and function to the sub-interface, once at each place, and untagged."""
    hairpin.check_passes_both(red, {"h2-sub1": None})
