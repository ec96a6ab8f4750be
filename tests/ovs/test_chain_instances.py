"""Which instance of a function a connection gets and keeps, and what becomes of it without one; frame by frame."""

from __future__ import annotations

import itertools

import pytest

from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.chain_site import (
    Site,
    given_to,
    instance,
    instance_state,
    refused,
    site,
    udp,
)

__all__ = ["site"]


def test_a_connection_keeps_its_instance(site: Site) -> None:
    """H12: new connections spread over instances by weight, and each keeps its own when weights change."""
    both = {"a": instance("nat-a"), "b": instance("nat-b")}
    site.client.put("/v1/functions/nat", {"instances": both})
    frames = [udp(1, 2, 1000 + number) for number in range(64)]
    given = given_to(site, frames)
    assert 10 < sum(name == "nat-a-in" for name in given.values()) < 54
    site.client.put("/v1/functions/nat", {"instances": {**both, "a": instance("nat-a", weight=0)}})
    assert given_to(site, frames) == given
    assert set(given_to(site, [udp(1, 2, 5000 + number) for number in range(16)]).values()) == {"nat-b-in"}


def test_replies_pass_the_instance_of_their_connection(site: Site) -> None:
    """H11 H12: a reply goes into the instance that its connection came out of, whatever the choice would be."""
    site.client.put("/v1/functions/nat", {"instances": {"a": instance("nat-a"), "b": instance("nat-b")}})
    for number in range(16):
        there, back = udp(1, 2, 1000 + number), udp(2, 1, 2000, 1000 + number)
        (way,) = given_to(site, [there]).values()
        name = way.removesuffix("-in")
        site.ovs.receive(f"{name}-out", there)
        assert site.through("h1f-cable", packets.tagged(back, 102), f"{name}-out") == back


def test_replies_pass_the_instance_that_their_connection_came_out_of_last(site: Site) -> None:
    """H12: where the datapath has moved a connection and nothing is written of that yet, what comes out of the other
    instance says where replies go, and these where the connection goes on."""
    site.client.put("/v1/functions/nat", {"instances": {"a": instance("nat-a"), "b": instance("nat-b")}})
    for number in range(16):
        there, back = udp(1, 2, 1000 + number), udp(2, 1, 2000, 1000 + number)
        (way,) = given_to(site, [there]).values()
        other = {"nat-a-in": "nat-b", "nat-b-in": "nat-a"}[way]
        site.through(way.replace("-in", "-out"), there, "h1f-cable")
        # What the datapath has counted so far is written once more when it is looked at.
        site.ovs.appctl("revalidator/wait")
        site.through(f"{other}-out", there, "h1f-cable")
        assert site.through("h1f-cable", packets.tagged(back, 102), f"{other}-out") == back
        site.through(f"{other}-in", back, "fw-a-out")
        # The datapath follows what the switch has written.
        site.ovs.appctl("revalidator/wait")
        assert given_to(site, [there]) == {there: f"{other}-in"}


def test_another_instance_takes_over_while_a_link_is_down(site: Site) -> None:
    """H12: connections of an instance without a link go on by another, and new ones go there; back again without it."""
    site.client.put("/v1/functions/nat", {"instances": {"a": instance("nat-a"), "b": instance("nat-b")}})
    frames = [udp(1, 2, 1000 + number) for number in range(32)]
    assert set(given_to(site, frames).values()) == {"nat-a-in", "nat-b-in"}
    site.ovs.ofctl("mod-port", "h1f", "nat-a-in", "down")
    # The datapath may for a moment send the live ones where they went before.
    wait_until(lambda: set(given_to(site, frames).values()), 5, "b to take over", until=lambda now: now == {"nat-b-in"})
    wait_until(lambda: instance_state(site, "nat", "a"), 5, "it has failed", until=lambda state: state == "down")
    # A change comes after what the link has changed, and the datapath follows; only then is b theirs for good.
    site.client.put("/v1/tenants/other", {})
    site.ovs.appctl("revalidator/wait")
    assert set(given_to(site, frames).values()) == {"nat-b-in"}
    site.ovs.ofctl("mod-port", "h1f", "nat-a-in", "up")
    wait_until(lambda: instance_state(site, "nat", "a"), 5, "it works again", until=lambda state: state == "up")
    assert set(given_to(site, frames).values()) == {"nat-b-in"}
    sports = itertools.count(3000)

    def new_ones() -> set[str]:
        return set(given_to(site, [udp(1, 2, next(sports)) for _ in range(32)]).values())

    wait_until(new_ones, 5, "new ones to spread", until=lambda now: now == {"nat-a-in", "nat-b-in"})


@pytest.mark.parametrize("fail", ["closed", "open"])
def test_a_hop_without_an_instance_that_works(site: Site, fail: str) -> None:
    """H12: frames are dropped there and counted, or pass it by as the chain says."""
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "nat"], "fail": fail})
    site.ovs.ofctl("mod-port", "h1f", "nat-a-out", "down")
    wait_until(lambda: instance_state(site, "nat", "a"), 5, "it has failed", until=lambda state: state == "down")
    frame, before = udp(1, 2), refused(site, "no-function")
    site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in")
    if fail == "open":
        assert site.soon_through("fw-a-out", frame, "h1f-cable") == packets.tagged(frame, 102)
        site.ovs.ofctl("mod-port", "h1f", "fw-a-out", "down")
        wait_until(lambda: instance_state(site, "fw", "a"), 5, "it has failed", until=lambda state: state == "down")
        other = udp(1, 2, 4444)
        assert site.soon_through("h1f-cable", packets.tagged(other, 101), "h1f-cable") == packets.tagged(other, 102)
    else:

        def counted() -> bool:
            site.ovs.receive("fw-a-out", frame)
            return refused(site, "no-function") > before

        wait_until(counted, 5, "it is counted")
        assert site.ovs.sent("h1f-cable") == []


def test_replies_of_what_has_passed_the_last_hop_by_come_back_by_the_others(site: Site) -> None:
    """H12 H07: past a last hop that does not work, in a chain that fails open, replies go in reverse all the same."""
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "nat"], "fail": "open"})
    site.ovs.ofctl("mod-port", "h1f", "nat-a-out", "down")
    wait_until(lambda: instance_state(site, "nat", "a"), 5, "it has failed", until=lambda state: state == "down")
    there, back = udp(1, 2), udp(2, 1, 2000, 1000)
    site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in")
    assert site.soon_through("fw-a-out", there, "h1f-cable") == packets.tagged(there, 102)
    assert site.through("h1f-cable", packets.tagged(back, 102), "fw-a-out") == back
    assert site.through("fw-a-in", back, "h1f-cable") == packets.tagged(back, 101)
