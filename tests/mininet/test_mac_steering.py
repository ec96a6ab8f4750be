"""MAC steering: what holds with a hairpin holds on a NIC of two ports without a cable (H15).

What says whose a frame is on its way to the function is the sub-interface that it comes out of.
"""

from __future__ import annotations

import re
from contextlib import ExitStack

import pytest

from mininet_scripts.support import frames, functions
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until
from tests.mininet import test_hairpin as hairpin
from tests.mininet import test_hairpin_failure as failure
from tests.mininet.crossing import crossing
from tests.mininet.lab import Lab
from topologies.mac_steering import MacSteering

TOPOLOGY = MacSteering

VMS = ("vm1", "vm2", "vm3")
MAC = hairpin.MAC

# The same tests, on this topology.
red, routed = hairpin.red, hairpin.routed
closed, opened = failure.closed, failure.opened
test_neighbours_meet_through_the_function = hairpin.test_neighbours_meet_through_the_function
test_without_the_function_nothing_passes = hairpin.test_without_the_function_nothing_passes
test_what_the_function_drops_is_dropped = hairpin.test_what_the_function_drops_is_dropped
test_a_vms_own_tag_does_not_get_to_functions = hairpin.test_a_vms_own_tag_does_not_get_to_functions
test_broadcasts_reach_every_other_member_once = hairpin.test_broadcasts_reach_every_other_member_once
test_a_function_that_reflects_makes_no_loop = hairpin.test_a_function_that_reflects_makes_no_loop
test_what_a_function_floods_comes_to_its_owner_alone = hairpin.test_what_a_function_floods_comes_to_its_owner_alone
test_policy_holds_on_both_sides_of_the_function = hairpin.test_policy_holds_on_both_sides_of_the_function
test_a_router_is_a_function = hairpin.test_a_router_is_a_function
test_a_connection_is_known_again = hairpin.test_a_connection_is_known_again_behind_a_function_that_translates
test_a_rule_may_skip_the_functions = hairpin.test_a_rule_may_skip_the_functions
test_a_function_that_is_gone_cuts_its_own_off = failure.test_a_function_that_is_gone_cuts_its_own_off


def test_open_goes_on_without_functions(opened: Lab) -> None:
    """H12 H15: on a host that fails open a live connection goes on past a function that is down, and back."""
    failure.check_goes_on(opened, "function")


def test_open_keeps_policy_and_delivers_once(opened: Lab) -> None:
    """H12 H09 H15: without functions rules still hold, and a broadcast reaches every other member once."""
    failure.check_keeps_policy(opened, "function", via_functions="subinterface")


@pytest.mark.parametrize("receiver", [*VMS, "ext", "nobody"])
def test_the_destination_does_not_choose_the_way(red: Lab, receiver: str) -> None:
    """H02 H15: to whomever a VF sends, itself and nobody included, the frame leaves by its own sub-interface only."""
    dst = "02:00:00:00:99:99" if receiver == "nobody" else address_of(receiver).mac
    sent = frames.ethernet(dst, MAC["vm1"], frames.EXPERIMENTAL, b"whose way")
    with ExitStack() as stack:
        stack.enter_context(functions.stopped(red.host("fn1")))
        between = stack.enter_context(crossing(red, *VMS))
        others = [stack.enter_context(red.watch(place)) for place in ("vm2-eth0", "vm3-eth0", "h1n-uplink")]
        red.send("vm1", sent)
        wait_until(lambda: hairpin.copies(sent, between.by_vf()), 5, "it to come out",
                   until=lambda seen: seen == {"vm1": 1, "vm2": 0, "vm3": 0})  # fmt: skip
        assert [hairpin.tags_of(sent, watch.frames()) for watch in others] == [[], [], []]


def test_a_forged_source_does_not_get_to_functions(red: Lab) -> None:
    """H15 S12: what a VM sends with another's MAC is refused before the function sees it, and so is nobody's."""
    before = red.refused("vm1").get("mac", 0)
    forged = [frames.ethernet(MAC["vm3"], src, frames.EXPERIMENTAL, b"x") for src in (MAC["vm2"], "02:00:00:00:99:99")]
    with crossing(red, *VMS) as between:
        red.send("vm1", *forged)
        wait_until(lambda: red.refused("vm1").get("mac", 0), 5, "both refused", until=lambda now: now == before + 2)
        for sent in forged:
            assert hairpin.copies(sent, between.by_vf()) == dict.fromkeys(VMS, 0)


def test_a_sub_interface_leads_to_its_own_vf(red: Lab) -> None:
    """H04 H06 H15: what the function sends in comes to the sub-interface's VF if it is for its MAC, else nowhere."""
    before = {reason: hairpin.refused(red, reason) for reason in ("not-local", "unknown-vlan", "reflected")}
    outside = address_of("ext").mac
    good = frames.ethernet(MAC["vm2"], outside, frames.EXPERIMENTAL, b"for the second")
    bad = {
        "not-local": frames.ethernet(MAC["vm3"], outside, frames.EXPERIMENTAL, b"for the third"),
        "unknown-vlan": frames.ethernet(MAC["vm2"], outside, frames.EXPERIMENTAL, b"tagged", vlan=102),
        "reflected": frames.ethernet(MAC["vm2"], MAC["vm2"], frames.EXPERIMENTAL, b"its own"),
    }
    with ExitStack() as stack:
        watched = {vm: stack.enter_context(red.watch(f"{vm}-eth0")) for vm in VMS}
        others = stack.enter_context(crossing(red, "vm1", "vm3"))
        red.send_from_peer("h1-sub2", [*bad.values(), good])
        watched["vm2"].capture.wait_frames(1)
        for reason, count in before.items():
            hairpin.wait_refused(red, reason, count + 1)
        seen = {vm: watch.frames() for vm, watch in watched.items()}
        crossed = others.by_vf()
    assert {vm: hairpin.tags_of(good, each) for vm, each in seen.items()} == {"vm1": [], "vm2": [None], "vm3": []}
    for sent in bad.values():
        assert [hairpin.tags_of(sent, each) for each in seen.values()] == [[], [], []]
    for sent in (good, *bad.values()):
        assert hairpin.copies(sent, crossed) == {"vm1": 0, "vm3": 0}


def test_sub_interface_and_vf_come_and_go_together(red: Lab) -> None:
    """H01 H15: a VF's frames come out of its sub-interface just as long as the VF is registered."""

    def steered() -> set[int]:
        return {int(vf) for vf in re.findall(r'output:"?h1-sub(\d)', red.net["h1"].dpctl("dump-flows"))}

    assert steered() == {1, 2, 3}
    red.client.delete("/v1/vports/vm3")
    assert steered() == {1, 2}
    assert not red.reaches("vm3", "vm1", timeout_s=0.5)


@pytest.mark.parametrize("version", [4, 6])
def test_the_network_is_behind_the_function(red: Lab, version: int) -> None:
    """H05 H10 H15: what leaves by NIC port 2 has passed the function, once, and nothing leaves without it."""
    with crossing(red, *VMS) as between, red.watch("fn1-out") as function, red.watch("h1n-uplink") as uplink:
        assert red.ping("vm1", "ext", version=version, answer_timeout_s=2.0).all_answered
        crossed = {vm: len(hairpin.echoes(seen)) for vm, seen in between.by_vf().items()}
        assert crossed == {"vm1": 2, "vm2": 0, "vm3": 0}
        assert len(hairpin.echoes(function.frames())) == len(hairpin.echoes(uplink.frames())) == 2
        with functions.stopped(red.host("fn1")):
            assert not red.reaches("vm1", "ext", version, timeout_s=0.5)
        assert len(hairpin.echoes(uplink.frames())) == 2
