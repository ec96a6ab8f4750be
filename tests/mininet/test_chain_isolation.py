"""That nothing of one VF reaches another but through its chain, whatever is sent, shown by captures at every place."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import permutations

import pytest

from mininet_scripts.support import frames, functions
from mininet_scripts.support.frames import ethernet
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until
from tests.mininet import chained
from tests.mininet.chained import watching
from tests.mininet.lab import Lab, Watch
from topologies.chain_hosts import ChainHosts

TOPOLOGY = ChainHosts

TENANTS = {"red": ("vm1", "vm2"), "blue": ("vm3", "vm4")}
TENANT_OF = {vm: tenant for tenant, vms in TENANTS.items() for vm in vms}
CHAIN = {"red": ("fwa1", "tbf1"), "blue": ("grd1",)}
CHAIN_PLACES = {
    tenant: [f"h1f-{name}-{side}" for name in names for side in ("in", "out")] for tenant, names in CHAIN.items()
}
PLACES = ("h1-cable", *CHAIN_PLACES["red"], *CHAIN_PLACES["blue"], *(f"{vm}-eth0" for vm in TENANT_OF))
VF_VLAN = {vm: 100 + number for number, vm in enumerate(TENANT_OF, 1)}
MAC = {vm: address_of(vm).mac for vm in TENANT_OF}


@pytest.fixture
def tenants(lab: Lab) -> Iterator[Lab]:
    """Yield the network with four VFs on one port, two of each tenant, whose chains are wires."""
    chained.tenant(lab, "red", {"filter": ("fwa1",), "shaper": ("tbf1",)}, *TENANTS["red"])
    chained.tenant(lab, "blue", {"guard": ("grd1",)}, *TENANTS["blue"])
    yield lab


def sightings(watched: Mapping[str, Watch], mark: bytes) -> dict[str, list[int | None]]:
    """Return at which places frames with a mark in them were seen, with the tags that they had."""
    seen = {}
    for place, watch in watched.items():
        tags = [frame.vlan for frame in watch.frames() if mark in frame.payload]
        if tags:
            seen[place] = tags
    return seen


def wait_marked(watch: Watch, count: int) -> None:
    """Return when so many frames from one VF to another were seen."""

    def marked() -> int:
        return sum(b" to vm" in data for data in watch.capture.frames())

    wait_until(marked, 10, f"{count} frames between VFs at {watch.interface}", until=lambda seen: seen >= count)


def refusals(lab: Lab, *vms: str) -> int:
    """Return how many frames of VMs the switch has refused as tagged or of another MAC."""
    return sum(lab.refused(vm).get(reason, 0) for vm in vms for reason in ("vlan", "mac"))


def test_every_pair_of_vfs_meets_in_its_chain_or_not_at_all(tenants: Lab) -> None:
    """H02 H11: of two VFs of one tenant frames pass its whole chain, of two tenants they stay in the sender's."""
    with watching(tenants, *PLACES) as watched:
        for sender, receiver in permutations(TENANT_OF, 2):
            mark = f"{sender} to {receiver}".encode()
            tenants.send(sender, ethernet(MAC[receiver], MAC[sender], frames.EXPERIMENTAL, mark))
        for tenant, places in CHAIN_PLACES.items():
            wait_marked(watched[places[-1]], 6)
            for vm in TENANTS[tenant]:
                wait_marked(watched[f"{vm}-eth0"], 4)
        captured = {place: watch.frames() for place, watch in watched.items()}
    for sender, receiver in permutations(TENANT_OF, 2):
        mark, tenant = f"{sender} to {receiver}".encode(), TENANT_OF[sender]
        seen = {place: [f.vlan for f in found if mark in f.payload] for place, found in captured.items()}
        expected = {f"{sender}-eth0": [None], "h1-cable": [VF_VLAN[sender]]}
        expected |= {place: [None] for place in CHAIN_PLACES[tenant]}
        if TENANT_OF[receiver] == tenant:
            expected |= {"h1-cable": [VF_VLAN[sender], VF_VLAN[receiver]], f"{receiver}-eth0": [None]}
        assert {place: tags for place, tags in seen.items() if tags} == expected


def tagged(*tags: tuple[int, int]) -> bytes:
    """Return VLAN tags, each an EtherType and a TCI."""
    return b"".join(struct.pack("!HH", *tag) for tag in tags)


def hostile_frames(victim: str) -> dict[str, bytes]:
    """Return what vm1 may try to reach a VF by another way than its chain, each marked with its kind."""
    dst, src = map(frames.mac_bytes, (MAC[victim], MAC["vm1"]))
    kinds: dict[str, tuple[bytes, bytes]] = {
        "its VLAN": (src, tagged((0x8100, VF_VLAN[victim]))),
        "own VLAN": (src, tagged((0x8100, VF_VLAN["vm1"]))),
        "a segment's VLAN": (src, tagged((0x8100, chained.VLAN[TENANT_OF[victim]]))),
        "a chain's mark": (src, tagged((0x8100, 1 << 13 | VF_VLAN[victim]))),
        "priority tag": (src, tagged((0x8100, 2 << 13))),
        "two tags": (src, tagged((0x8100, VF_VLAN["vm1"]), (0x8100, VF_VLAN[victim]))),
        "service tag": (src, tagged((0x88A8, VF_VLAN[victim]))),
        "service and customer's": (src, tagged((0x88A8, VF_VLAN["vm1"]), (0x8100, VF_VLAN[victim]))),
        "its own MAC": (dst, b""),
        "a stranger's MAC": (frames.mac_bytes("02:00:00:00:99:99"), b""),
        "from all": (b"\xff" * 6, b""),
    }
    ether_type = struct.pack("!H", frames.EXPERIMENTAL)
    return {
        kind: (dst + sender + tags + ether_type + f"hostile: {kind} {victim}".encode()).ljust(60, b"\0")
        for kind, (sender, tags) in kinds.items()
    }


def test_hostile_frames_of_a_vf_reach_nobody(tenants: Lab) -> None:
    """H03 S12: frames with tags of any kind or MACs not the VF's own are refused in the NIC, before the cable."""
    hostile = [frame for victim in ("vm2", "vm3", "vm4") for frame in hostile_frames(victim).values()]
    with watching(tenants, *PLACES) as watched:
        before = refusals(tenants, "vm1")
        tenants.send("vm1", *hostile)
        honest = ethernet(MAC["vm2"], MAC["vm1"], frames.EXPERIMENTAL, b"honest")
        tenants.send("vm1", honest)
        watched["vm2-eth0"].capture.wait_frames(1)
        wait_until(lambda: refusals(tenants, "vm1") - before, 5, "all refused", until=lambda n: n == len(hostile))
        places = set(PLACES) - {"vm1-eth0"}
        assert sightings({place: watched[place] for place in places}, b"hostile") == {}
        assert sightings(watched, b"honest")["vm2-eth0"] == [None]


def test_hostile_frames_of_a_function_stay_in_its_tenant(tenants: Lab) -> None:
    """H04 H11: a function reaches no VF of another tenant, with any tag, destination or source, by either port."""
    kinds = [
        ethernet(MAC[victim], source, frames.EXPERIMENTAL, b"hostile", vlan=vlan)
        for victim in TENANTS["blue"]
        for source in (MAC["vm1"], MAC[victim], "02:00:00:00:99:99")
        for vlan in (None, VF_VLAN[victim], chained.VLAN["blue"])
    ]
    to_all = ethernet(frames.BROADCAST, "02:00:00:00:99:99", frames.EXPERIMENTAL, b"hostile to all")
    with watching(tenants, "h1-cable", *CHAIN_PLACES["blue"], *(f"{vm}-eth0" for vm in TENANT_OF)) as watched:
        for interface in ("fwa1-in", "tbf1-out"):
            tenants.send_from_peer(f"h1f-{interface}", [*kinds, to_all])
        # What came last is where it may be: at the VFs of its own tenant, and at nobody else's.
        watched["vm2-eth0"].capture.wait_frames(2)
        seen = sightings(watched, b"hostile")
    assert set(seen) == {"h1-cable", "vm1-eth0", "vm2-eth0"}
    assert set(seen["h1-cable"]) == {VF_VLAN["vm1"], VF_VLAN["vm2"]}


STORM = 1000


def test_a_storm_of_broadcasts_stays_in_its_tenant(tenants: Lab) -> None:
    """H08 H09: of a storm each frame passes the chain at most once and comes to no other tenant's VF or function."""
    storm = [ethernet(frames.BROADCAST, MAC["vm1"], frames.EXPERIMENTAL, b"storm %d" % number)
             for number in range(STORM)]  # fmt: skip
    with watching(tenants, *PLACES) as watched:
        tenants.send("vm1", *storm)
        assert tenants.reaches("vm3", "vm4")
        watched["vm2-eth0"].capture.wait_frames(1)
        seen = sightings(watched, b"storm")
        distinct = {frame.payload for frame in watched["vm2-eth0"].frames() if b"storm" in frame.payload}
    # Each asks the controller, which a busy machine may keep from some: those are dropped, none comes twice.
    assert set(seen) == {"vm1-eth0", "h1-cable", "vm2-eth0", *CHAIN_PLACES["red"]}
    assert len(seen["vm1-eth0"]) == STORM
    assert 0 < len(seen["vm2-eth0"]) == len(distinct) <= STORM
    assert set(seen["h1-cable"]) == {VF_VLAN["vm1"], VF_VLAN["vm2"]}
    assert all(len(seen[place]) <= STORM for place in CHAIN_PLACES["red"])
    assert seen["h1-cable"].count(VF_VLAN["vm1"]) <= STORM


# No other test sends it: for half a second after a change Open vSwitch may send frames on as it did before,
# and writes nothing down for them.
OWN_TYPE = 0x88B7


@pytest.mark.parametrize("dst", [MAC["vm2"], frames.BROADCAST])
def test_functions_that_reflect_in_a_chain_make_no_loop(tenants: Lab, dst: str) -> None:
    """H08 H11: with two functions that send all back as well, each frame passes each place once or twice."""
    count = 5
    sent = [ethernet(dst, MAC["vm1"], OWN_TYPE, b"reflected %d" % number) for number in range(count)]
    with ExitStack() as stack:
        for name in CHAIN["red"]:
            stack.enter_context(functions.reflecting(tenants.host(name)))
        watched = stack.enter_context(watching(tenants, *PLACES))
        before = reflected(tenants)
        tenants.send("vm1", *sent)
        watched["vm2-eth0"].capture.wait_frames(count)
        # Each function sends each frame back once, and there it ends; so do frames of the hosts themselves.
        wait_until(lambda: reflected(tenants) - before, 5, "all refused", until=lambda n: n >= 2 * count)
        seen = sightings(watched, b"reflected")
    expected = {place: count * (2 if place.endswith("-in") else 1) for place in CHAIN_PLACES["red"]}
    expected |= {"vm1-eth0": count, "vm2-eth0": count, "h1-cable": 2 * count}
    assert {place: len(tags) for place, tags in seen.items()} == expected


def reflected(lab: Lab) -> int:
    """Return how many frames of functions were refused as sent back."""
    return int(lab.client.get("/v1/stats")["hosts"]["h1"]["refused"].get("reflected", 0))
