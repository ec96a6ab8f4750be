"""Chains of functions on the real datapaths of a NIC, frame by frame; a test stands in the place of each function."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from mininet_scripts.support.controller import Controller
from mininet_scripts.support.waiting import wait_until
from ryu_apps.pipeline.tables import NUMBER
from tests.ovs import packets
from tests.ovs.harness.switch import OpenVSwitch

NIC = {"h1": 1, "h1f": 0x101, "h1n": 0x201}
INSTANCES = ("fw-a", "nat-a", "nat-b")
PORTS = {
    "h1": {"h1-vf1": 1, "h1-vf2": 2, "h1-vf3": 3, "h1-cable": 9},
    "h1f": {
        "h1f-cable": 9, "h1f-net": 8,
        **{f"{name}-{side}": 10 + number * 2 + place
           for number, name in enumerate(INSTANCES) for place, side in enumerate(("in", "out"))},
    },
    "h1n": {"h1n-red": 1, "h1n-uplink": 9},
}  # fmt: skip
MACS = {number: f"02:00:00:00:00:{number:02x}" for number in (1, 2, 3)}
HOST: dict[str, Any] = {
    "dpid": "1",
    "hairpin": {
        "cable": "h1-cable",
        "function_port": {"dpid": "101", "cable": "h1f-cable"},
        "network_port": {"dpid": "201", "uplink": "h1n-uplink"},
    },
}


def instance(name: str, **more: Any) -> dict[str, Any]:
    """Return what a PUT says of an instance on the host."""
    return {"host": "h1", "inside": f"{name}-in", "outside": f"{name}-out", **more}


class Site:
    """Three bridges of a private Open vSwitch, with a segment whose chain is `fw`, then `nat`."""

    def __init__(self, ovs: OpenVSwitch, controller: Controller) -> None:
        self.ovs = ovs
        self.controller = controller
        self.client = controller.client
        for name, dpid in NIC.items():
            ovs.add_bridge(name, dpid, PORTS[name])
            ovs.set_controller(name, controller.openflow_port)
        put = self.client.put
        put("/v1/tenants/red", {})
        put("/v1/segments/red", {"tenant": "red", "vlan": 200})
        wait_until(lambda: len(self.client.get("/v1/hosts")["unregistered"]), 10, "three datapaths",
                   until=lambda count: count == len(NIC))  # fmt: skip
        put("/v1/hosts/h1", HOST)
        put("/v1/functions/fw", {"instances": {"a": instance("fw-a")}})
        put("/v1/functions/nat", {"instances": {"a": instance("nat-a")}})
        put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "nat"]})
        put("/v1/segments/red", {"tenant": "red", "vlan": 200, "chain": "c"})
        for number, mac in MACS.items():
            body = {"host": "h1", "port": f"h1-vf{number}", "tenant": "red", "mac": mac, "vlan": 100 + number}
            put(f"/v1/vports/vm{number}", body)
        put("/v1/outlets/o", {"host": "h1", "segment": "red", "port": "h1n-red", "chain_port": "h1f-net"})

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer to a call, whatever the status."""
        return self.controller.rest(method, f"/v1/{path}", body)

    def soon_through(self, into: str, frame: bytes, out: str) -> bytes:
        """Return what comes out of a port for a frame that is sent until the switch has followed the last change."""
        before = len(self.ovs.sent(out))

        def came() -> bool:
            self.ovs.receive(into, frame)
            return len(self.ovs.sent(out)) > before

        wait_until(came, 5, f"a frame out of {out}")
        return bytes(self.ovs.sent(out)[-1])

    def through(self, into: str, frame: bytes, out: str) -> bytes:
        """Return the one frame that comes out of a port of the functions' datapath for one that goes into another."""
        before = len(self.ovs.sent(out))
        self.ovs.receive(into, frame)
        return bytes(self.ovs.wait_sent(out, before + 1)[-1])


@pytest.fixture
def site(ovs: OpenVSwitch, controller: Controller) -> Iterator[Site]:
    """Return three bridges with a chain."""
    yield Site(ovs, controller)


FAR = "02:00:00:00:00:fe"
OWN = "02:00:00:00:0f:01"
RESUME, ASSIGNED = NUMBER["resume"], NUMBER["assigned"]


def pass_chain(site: Site, frame: bytes, received: bytes | None = None) -> None:
    """Have a frame of vm1 pass both hops, as functions that change nothing would."""
    site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in")
    site.through("fw-a-out", frame, "nat-a-in")
    before = len(site.ovs.sent("h1f-cable"))
    site.ovs.receive("nat-a-out", frame)
    out = site.ovs.wait_sent("h1f-cable", before + 1)[before]
    assert out == (received or packets.tagged(frame, 102))


def given_to(site: Site, frames: list[bytes]) -> dict[bytes, str]:
    """Return into which instance of the second hop each frame of vm1 goes that has passed the first."""
    given = {}
    for frame in frames:
        before = _entered(site)
        site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in")
        site.ovs.receive("fw-a-out", frame)
        now = wait_until(partial(_entered, site), 5, "it is given to one", until=partial(operator.ne, before))
        (given[frame],) = [way for way, count in now.items() if count > before[way]]
    return given


def _entered(site: Site) -> dict[str, int]:
    """Return how many frames went into each instance of the second hop."""
    return {way: len(site.ovs.sent(way)) for way in ("nat-a-in", "nat-b-in")}


def refused(site: Site, reason: str) -> int:
    """Return how many frames were dropped for a reason."""
    return int(site.client.get("/v1/stats")["hosts"]["h1"]["refused"].get(reason, 0))


def instance_state(site: Site, function: str, name: str) -> str:
    """Return what is known of an instance."""
    return str(site.client.get(f"/v1/functions/{function}")["live"]["instances"][name]["state"])


def traced_chain(site: Site, dport: int) -> str:
    """Return the chain that a trace names for a datagram of vm1 to vm2."""
    packet = {"eth_dst": MACS[2], "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2", "ip_proto": "udp", "l4_dst": dport}
    answer = site.ask("POST", "trace", {"vport": "vm1", "direction": "outbound", "packet": packet})
    return str(answer.body["delivery"]["chain"])


def udp(sender: int, receiver: int, sport: int = 1000, dport: int = 2000) -> bytes:
    """Return a datagram from one VM to another."""
    ends = f"10.0.0.{sender}", f"10.0.0.{receiver}"
    payload = packets.transport(*ends, packets.UDP, packets.udp(sport, dport))
    return packets.ether(MACS[sender], MACS[receiver], packets.IPV4, packets.packet(*ends, packets.UDP, payload))


def test_a_connection_passes_the_hops_in_order_and_its_replies_in_reverse(site: Site) -> None:
    """H11: forward by inside to outside of each hop, back the other way, with the VLANs of sender and receiver."""
    there, back = udp(1, 2), udp(2, 1, 2000, 1000)
    assert site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in") == there
    assert site.through("fw-a-out", there, "nat-a-in") == there
    assert site.through("nat-a-out", there, "h1f-cable") == packets.tagged(there, 102)
    assert site.through("h1f-cable", packets.tagged(back, 102), "nat-a-out") == back
    assert site.through("nat-a-in", back, "fw-a-out") == back
    assert site.through("fw-a-in", back, "h1f-cable") == packets.tagged(back, 101)


def test_a_restart_keeps_every_entry(site: Site) -> None:
    """M26 H11: a controller that starts again finds every entry as it must be, and keeps what was learned."""
    there, back = udp(1, 2), udp(2, 1, 2000, 1000)
    pass_chain(site, there)
    before = {name: len(site.ovs.dump_flows(name)) for name in NIC}
    learned = len(site.ovs.dump_flows("h1f", ASSIGNED))
    assert learned == 2
    site.controller.stop()
    site.controller.start()

    def states() -> list[tuple[str, int, int]]:
        live = site.client.get("/v1/hosts/h1")["live"]
        parts = (live, live["hairpin"]["function_port"], live["hairpin"]["network_port"])
        return [(part["state"], part["kept_entries"], part["changed_entries"]) for part in parts]

    own = before["h1f"] - learned - len(site.ovs.dump_flows("h1f", RESUME))
    kept = [("ready", before["h1"], 0), ("ready", own, 0), ("ready", before["h1n"], 0)]
    wait_until(states, 10, "all three to be ready", until=lambda seen: seen == kept)
    assert site.through("h1f-cable", packets.tagged(back, 102), "nat-a-out") == back


def test_the_network_is_behind_the_last_hop(site: Site) -> None:
    """H10 H11: what leaves for others has passed all hops, and what comes for a VM passes them in reverse."""
    there = packets.ether(MACS[1], FAR, packets.IPV4, udp(1, 2)[14:])
    back = packets.ether(FAR, MACS[1], packets.IPV4, udp(2, 1, 2000, 1000)[14:])
    assert site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in") == there
    assert site.through("fw-a-out", there, "nat-a-in") == there
    assert site.through("nat-a-out", there, "h1f-net") == there
    assert site.through("h1f-net", back, "nat-a-out") == back
    assert site.through("nat-a-in", back, "fw-a-out") == back
    assert site.through("fw-a-in", back, "h1f-cable") == packets.tagged(back, 101)


def test_replies_find_their_way_behind_a_function_that_rewrites(site: Site) -> None:
    """H11: the switch knows a connection again by the addresses and ports that it has behind a function."""
    there, changed = udp(1, 2), udp(3, 2, 7777)
    site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in")
    site.through("fw-a-out", there, "nat-a-in")
    assert site.through("nat-a-out", changed, "h1f-cable") == packets.tagged(changed, 102)
    reply = udp(2, 3, 2000, 7777)
    assert site.through("h1f-cable", packets.tagged(reply, 102), "nat-a-out") == reply
    translated = udp(2, 1, 2000, 1000)
    assert site.through("nat-a-in", translated, "fw-a-out") == translated


def test_what_a_function_sends_with_its_own_mac(site: Site) -> None:
    """H11: what is sent to a MAC of a function's enters the chain at its end, and goes to that function."""
    site.client.put("/v1/functions/nat", {"rewriting": True, "instances": {"a": instance("nat-a", macs=[OWN])}})
    to_function = packets.ether(MACS[2], OWN, packets.ARP, packets.arp(2, MACS[2], "10.0.0.2", "10.0.0.9")[14:])
    assert site.through("h1f-cable", packets.tagged(to_function, 102), "nat-a-out") == to_function


def test_to_all_is_to_each_once(site: Site) -> None:
    """H08 H09: a broadcast of a VM that has passed the chain goes to each other VM and the network, and not back."""
    frame = packets.ether(MACS[1], packets.BROADCAST, packets.ARP, packets.arp(1, MACS[1], "10.0.0.1", "10.0.0.2")[14:])
    pass_chain(site, frame, packets.tagged(frame, 102))
    site.ovs.wait_sent("h1f-cable", 2)
    assert sorted(site.ovs.sent("h1f-cable")) == [packets.tagged(frame, 102), packets.tagged(frame, 103)]
    assert site.ovs.sent("h1f-net") == [frame]
    inward = packets.ether(FAR, packets.BROADCAST, packets.ARP, packets.arp(1, FAR, "10.0.0.7", "10.0.0.1")[14:])
    site.through("h1f-net", inward, "nat-a-out")
    site.through("nat-a-in", inward, "fw-a-out")
    site.ovs.receive("fw-a-in", inward)
    site.ovs.wait_sent("h1f-cable", 5)
    assert sorted(site.ovs.sent("h1f-cable"))[2:] == [packets.tagged(inward, vlan) for vlan in (101, 102, 103)]
    assert site.ovs.sent("h1f-net") == [frame]


@pytest.mark.parametrize("frame", [udp(1, 2), packets.ether(MACS[1], packets.BROADCAST, 0x88B5, b"to all")])
def test_functions_that_reflect_make_no_loop(site: Site, frame: bytes) -> None:
    """H08 H11: what comes out of the port that it went in by goes nowhere and is counted, from either side."""
    site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in")
    site.ovs.receive("fw-a-in", frame)
    site.through("fw-a-out", frame, "nat-a-in")
    site.ovs.receive("nat-a-in", frame)
    wait_until(lambda: refused(site, "reflected"), 5, "both refused", until=lambda count: count == 2)
    assert site.ovs.sent("h1f-cable") == site.ovs.sent("fw-a-out") == []
    assert site.ovs.sent("fw-a-in") == site.ovs.sent("nat-a-in") == [frame]


def test_a_connection_that_both_ends_begin_at_once_goes_on(site: Site) -> None:
    """H11: of two first frames that meet in the first hop one is lost; from then on both ways pass, one as replies."""
    there, back = udp(1, 2), udp(2, 1, 2000, 1000)
    site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in")
    site.through("h1f-cable", packets.tagged(back, 102), "fw-a-in")
    assert site.through("fw-a-out", there, "nat-a-in") == there
    site.ovs.receive("fw-a-out", back)
    assert site.through("nat-a-out", there, "h1f-cable") == packets.tagged(there, 102)

    def replied() -> list[bytes]:
        # The datapath may for a while send it where it went before.
        site.ovs.receive("h1f-cable", packets.tagged(back, 102))
        return site.ovs.sent("nat-a-out")

    assert back in wait_until(replied, 5, "it goes as a reply")
    assert site.through("nat-a-in", back, "fw-a-out") == back
    assert site.through("fw-a-in", back, "h1f-cable") == packets.tagged(back, 101)
    assert site.through("h1f-cable", packets.tagged(there, 101), "fw-a-in") == there
    before = refused(site, "reflected")
    site.ovs.receive("fw-a-in", there)
    wait_until(lambda: refused(site, "reflected"), 5, "it is refused", until=lambda count: count == before + 1)


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


def test_another_instance_takes_over_while_a_link_is_down(site: Site) -> None:
    """H12: connections of an instance without a link go on by another, and new ones go there; back again without it."""
    site.client.put("/v1/functions/nat", {"instances": {"a": instance("nat-a"), "b": instance("nat-b")}})
    frames = [udp(1, 2, 1000 + number) for number in range(32)]
    assert set(given_to(site, frames).values()) == {"nat-a-in", "nat-b-in"}
    site.ovs.ofctl("mod-port", "h1f", "nat-a-in", "down")
    # The datapath may for a moment send the live ones where they went before.
    wait_until(lambda: set(given_to(site, frames).values()), 5, "b to take over", until=lambda now: now == {"nat-b-in"})
    wait_until(lambda: instance_state(site, "nat", "a"), 5, "it has failed", until=lambda state: state == "down")
    # A change comes after what the link has changed; only then are live ones given to b for good.
    site.client.put("/v1/tenants/other", {})
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


def test_a_rule_sends_a_connection_by_another_chain(site: Site) -> None:
    """H11 H14: what a rule sends by a chain has its mark on the cable and passes it; other connections their own."""
    site.client.put("/v1/functions/other", {"instances": {"b": instance("nat-b")}})
    site.client.put("/v1/chains/d", {"tenant": "red", "hops": ["other"]})
    by = {"id": "web", "priority": 1, "match": {"ip_proto": "udp", "l4_dst": "2000"},
          "action": {"type": "chain", "chain": "d"}}  # fmt: skip
    site.client.put("/v1/layers/steer", {"position": 1, "stateful": True})
    group = {"applies_to": {"tenant": "red"}, "direction": "outbound", "priority": 1, "rules": [by]}
    site.client.put("/v1/layers/steer/groups/g", group)
    there, back = udp(1, 2), udp(2, 1, 2000, 1000)
    on_cable = site.through("h1-vf1", there, "h1-cable")
    assert on_cable[:12] + on_cable[16:] == there
    assert int.from_bytes(on_cable[14:16], "big") == 2 << 13 | 101
    assert site.through("h1f-cable", on_cable, "nat-b-in") == there
    assert site.through("nat-b-out", there, "h1f-cable") == packets.tagged(there, 102)
    assert site.through("h1-cable", packets.tagged(there, 102), "h1-vf2") == there
    answered = site.through("h1-vf2", back, "h1-cable")
    assert site.through("h1f-cable", answered, "nat-b-out") == back
    assert traced_chain(site, 2000) == "d"
    assert traced_chain(site, 2001) == "c"
    other = site.through("h1-vf1", udp(1, 2, 1000, 2001), "h1-cable")
    assert site.through("h1f-cable", other, "fw-a-in") == udp(1, 2, 1000, 2001)


def test_two_chains_share_a_function_that_keeps_them_apart(site: Site) -> None:
    """H11: each chain's frames have its VLAN toward a shared function, and no tag means no chain."""
    site.client.put("/v1/functions/shared", {"keeps_apart": True, "instances": {"b": instance("nat-b")}})
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["shared"], "vlan": 301})
    site.client.put("/v1/chains/d", {"tenant": "red", "hops": ["shared"], "vlan": 302})
    frame, other = udp(1, 2), udp(1, 2, 1001)
    assert site.through("h1f-cable", packets.tagged(frame, 101), "nat-b-in") == packets.tagged(frame, 301)
    by_mark = packets.tagged(other, 2 << 13 | 101)
    assert site.through("h1f-cable", by_mark, "nat-b-in") == packets.tagged(other, 302)
    assert site.through("nat-b-out", packets.tagged(other, 302), "h1f-cable") == packets.tagged(other, 102)
    before = refused(site, "unknown-vlan")
    site.ovs.receive("nat-b-out", frame)
    wait_until(lambda: refused(site, "unknown-vlan"), 5, "it is counted", until=lambda count: count == before + 1)


def test_only_functions_that_keep_chains_apart_see_tags(site: Site) -> None:
    """H11: the VLAN of a chain is put on before a function that keeps chains apart, and taken off before the next."""
    site.client.put("/v1/functions/shared", {"keeps_apart": True, "instances": {"b": instance("nat-b")}})
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "shared", "nat"], "vlan": 301})
    frame = udp(1, 2)
    assert site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in") == frame
    assert site.through("fw-a-out", frame, "nat-b-in") == packets.tagged(frame, 301)
    assert site.through("nat-b-out", packets.tagged(frame, 301), "nat-a-in") == frame
    assert site.through("nat-a-out", frame, "h1f-cable") == packets.tagged(frame, 102)


def test_replies_that_pass_no_function(site: Site) -> None:
    """H11: where a chain is not passed by replies they come to the VM over the cable alone."""
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "nat"], "symmetric_return": False})
    pass_chain(site, udp(1, 2))
    back = udp(2, 1, 2000, 1000)
    assert site.through("h1f-cable", packets.tagged(back, 102), "h1f-cable") == packets.tagged(back, 101)


def test_a_reply_reaches_the_sender_alone(site: Site) -> None:
    """H10 H11: with the addresses of a reply that passes no function a VM does not reach another than its peer."""
    site.client.put("/v1/chains/c", {"tenant": "red", "hops": ["fw", "nat"], "symmetric_return": False})
    pass_chain(site, udp(1, 2))
    back = udp(2, 1, 2000, 1000)
    to_another = packets.ether(MACS[2], MACS[3], packets.IPV4, back[14:])
    assert site.through("h1f-cable", packets.tagged(to_another, 102), "fw-a-in") == to_another
    assert site.through("h1f-cable", packets.tagged(back, 102), "h1f-cable") == packets.tagged(back, 101)


def test_a_chain_that_changes_forgets_its_connections(site: Site) -> None:
    """H11: what the switch has written down for a chain goes with it, and an unaltered one keeps it."""
    pass_chain(site, udp(1, 2))
    site.client.put("/v1/functions/fw", {"instances": {"a": instance("fw-a", weight=2)}})
    assert len(site.ovs.dump_flows("h1f", ASSIGNED)) == 2
    site.client.put("/v1/chains/c?force=true", {"tenant": "red", "hops": ["nat", "fw"]})
    wait_until(lambda: len(site.ovs.dump_flows("h1f", ASSIGNED)), 5, "nothing is left", until=lambda count: count == 0)
    assert len(site.ovs.dump_flows("h1f", RESUME)) == 0


def test_a_hop_more_forgets_connections_whatever_its_name(site: Site) -> None:
    """H11: what the switch has written down under other hops goes, also where checksums of their names are alike."""
    pass_chain(site, udp(1, 2))
    # Of the names of these hops nine bits of the checksum are those of "fw/nat".
    site.client.put("/v1/functions/x405", {"instances": {"b": instance("nat-b")}})
    site.client.put("/v1/chains/c?force=true", {"tenant": "red", "hops": ["fw", "x405", "nat"]})
    wait_until(lambda: len(site.ovs.dump_flows("h1f", ASSIGNED)), 5, "nothing is left", until=lambda count: count == 0)
    assert site.ovs.dump_flows("h1f", RESUME) == []


REFUSED: dict[str, tuple[str, Any, int, str]] = {
    "unknown function": ("chains/x", {"tenant": "red", "hops": ["nobody"]}, 422, "hops[0]"),
    "cycle": ("chains/x", {"tenant": "red", "hops": ["new", "new"]}, 422, "hops[1]"),
    "function of another chain": ("chains/x", {"tenant": "red", "hops": ["fw"]}, 409, "hops[0]"),
    "vlan of a vport": ("chains/x", {"tenant": "red", "hops": ["new"], "vlan": 101}, 409, "vlan"),
    "no such host": ("functions/x", {"instances": {"a": {**instance("fw-a"), "host": "h7"}}}, 422, "instances.a.host"),
    "no such port": ("functions/x", {"instances": {"a": instance("nowhere")}}, 422, "instances.a.inside"),
    "port of another": ("functions/x", {"instances": {"a": instance("fw-a")}}, 409, "instances.a.inside"),
    "one port twice": (
        "functions/x", {"instances": {"a": {"host": "h1", "inside": "nat-b-in", "outside": "nat-b-in"}}}, 422,
        "instances.a.outside",
    ),
    "instance not drained": ("functions/fw", {"instances": {}}, 409, "instances.a"),
    "segment's chain unknown": ("segments/red", {"tenant": "red", "vlan": 200, "chain": "x"}, 422, "chain"),
    "vport without a way": ("segments/red", {"tenant": "red", "vlan": 200}, 409, "chain"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_field_that_is_at_fault(site: Site, case: str) -> None:
    """H11: a chain or function that cannot be is refused, with its field named, and no switch changes."""
    path, body, status, field = REFUSED[case]
    site.client.put("/v1/functions/new", {})
    before = [site.ovs.dump_flows(name) for name in NIC]
    answer = site.ask("PUT", path, body)
    assert (answer.status, [fault["path"] for fault in answer.body["errors"]][:1]) == (status, [field])
    assert [[(e.table, e.match) for e in site.ovs.dump_flows(name)] for name in NIC] == [
        [(e.table, e.match) for e in entries] for entries in before
    ]


@pytest.mark.parametrize("path", ["functions/fw", "chains/c"])
def test_what_is_in_use_stays(site: Site, path: str) -> None:
    """H11: a function of a chain and a chain of a segment are not deleted."""
    assert site.ask("DELETE", path).status == 409
