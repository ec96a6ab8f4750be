"""Stateful pairs: the reply's entry comes with the first packet's, and goes with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mininet_scripts.support.flow_dump import FlowEntry
from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, EXT2, VM1, VM2, VM3, Station, frame, ping, rule, tcp, udp

Talk = tuple[Callable[[Station, Station], bytes], Callable[[Station, Station], bytes]]

# How to ask and how to answer, by kind and IP version.
TALKS: dict[str, Talk] = {
    f"{kind}-{version}": (ask, answer)
    for version in (4, 6)
    for kind, (ask, answer) in {
        "tcp": (
            lambda a, b, v=version: tcp(a, b, version=v),
            lambda a, b, v=version: tcp(a, b, 80, 40000, flags=packets.SYN_ACK, version=v),
        ),
        "udp": (
            lambda a, b, v=version: udp(a, b, version=v),
            lambda a, b, v=version: udp(a, b, 53, 40000, version=v),
        ),
        "sctp": (
            lambda a, b, v=version: frame(a, b, packets.SCTP, packets.sctp(7, 8), version=v),
            lambda a, b, v=version: frame(a, b, packets.SCTP, packets.sctp(8, 7), version=v),
        ),
        "ping": (
            lambda a, b, v=version: ping(a, b, version=v),
            lambda a, b, v=version: ping(a, b, reply=True, version=v),
        ),
        "gre": (
            lambda a, b, v=version: frame(a, b, packets.GRE, b"\0\0\x08\0ask", version=v),
            lambda a, b, v=version: frame(a, b, packets.GRE, b"\0\0\x08\0answer", version=v),
        ),
    }.items()
}


def _wall(lab: Lab, *vms: Station, stateful: bool = True) -> None:
    """Register VMs behind a layer that lets nothing in by itself."""
    lab.tenant(*vms)
    lab.layer("firewall", stateful=stateful, inbound="deny")


@pytest.mark.parametrize("talk", TALKS)
def test_reply_from_outside_comes_in(lab: Lab, talk: str) -> None:
    """M08: an outbound allow lets the reply in through a denying inbound default, without a packet-in of its own."""
    ask, answer = TALKS[talk]
    _wall(lab, VM1)

    lab.send(VM1, ask(VM1, EXT))
    lab.wait_sent("h1-uplink")
    lab.from_network(answer(EXT, VM1))

    assert lab.wait_sent(VM1) == [answer(EXT, VM1)]
    assert lab.packet_ins() == 1


@pytest.mark.parametrize("talk", TALKS)
def test_reply_passes_a_stateful_layer_and_asks_the_others(lab: Lab, talk: str) -> None:
    """M08: between layers without memory, which decide on the reply by themselves, the stateful one lets it pass."""
    ask, answer = TALKS[talk]
    _wall(lab, VM1)
    lab.layer("before", 5)
    lab.layer("after", 20)

    lab.send(VM1, ask(VM1, EXT))
    lab.wait_sent("h1-uplink")
    lab.from_network(answer(EXT, VM1))
    assert lab.wait_sent(VM1) == [answer(EXT, VM1)]

    lab.group("shut", "inbound", rule("all", {}, "deny"), layer="after")
    lab.refresh()
    lab.from_network(answer(EXT, VM1))
    lab.settle()
    assert len(lab.sent(VM1)) == 1


@pytest.mark.parametrize("talk", TALKS)
def test_unsolicited_packets_stay_out(lab: Lab, talk: str) -> None:
    """M08: what nobody asked for stays denied: before any connection, and from another host at the same port."""
    ask, answer = TALKS[talk]
    _wall(lab, VM1)

    lab.from_network(answer(EXT, VM1))
    assert lab.silent(VM1)

    lab.send(VM1, ask(VM1, EXT))
    lab.wait_sent("h1-uplink")
    lab.from_network(answer(EXT2, VM1))
    assert lab.silent(VM1)
    lab.from_network(ask(EXT2, VM1))
    assert lab.silent(VM1)


@pytest.mark.parametrize("talk", TALKS)
def test_a_connection_asked_for_works_after_its_reply_was_refused(lab: Lab, talk: str) -> None:
    """M08: a refused packet from outside does not stand in the way of the connection that the VM then begins."""
    ask, answer = TALKS[talk]
    _wall(lab, VM1)
    lab.from_network(answer(EXT, VM1))
    assert lab.silent(VM1)

    lab.send(VM1, ask(VM1, EXT))
    lab.wait_sent("h1-uplink")
    lab.refresh()
    lab.from_network(answer(EXT, VM1))

    assert lab.wait_sent(VM1) == [answer(EXT, VM1)]


@pytest.mark.parametrize("version", [4, 6])
def test_unsolicited_tcp_to_the_same_port_is_denied(lab: Lab, version: int) -> None:
    """M08: from the very host that the VM talks to, another source port to the same port of the VM stays denied."""
    _wall(lab, VM1)
    lab.send(VM1, tcp(VM1, EXT, version=version))
    lab.wait_sent("h1-uplink")

    lab.from_network(tcp(EXT, VM1, 81, 40000, version=version))

    assert lab.silent(VM1)


@pytest.mark.parametrize("version", [4, 6])
def test_stateless_layer_denies_the_reply(lab: Lab, version: int) -> None:
    """M08: only a stateful layer remembers: the same rules without it deny the reply."""
    _wall(lab, VM1, stateful=False)
    lab.send(VM1, tcp(VM1, EXT, version=version))
    lab.wait_sent("h1-uplink")

    lab.from_network(tcp(EXT, VM1, 80, 40000, version=version))

    assert lab.silent(VM1)


def test_pair_within_one_host(lab: Lab) -> None:
    """M08: between two VMs of one host the sender's outbound allow does not open the receiver's wall."""
    _wall(lab, VM1, VM2)
    lab.send(VM1, tcp(VM1, VM2))
    assert lab.silent(VM2)

    lab.group("web", "inbound", rule("web", {"ip_proto": "tcp", "l4_dst": 80}), applies_to={"vport": "vm2"})
    lab.send(VM1, tcp(VM1, VM2))
    assert lab.wait_sent(VM2) == [tcp(VM1, VM2)]
    lab.send(VM2, tcp(VM2, VM1, 80, 40000))
    assert lab.wait_sent(VM1) == [tcp(VM2, VM1, 80, 40000)]
    lab.send(VM2, tcp(VM2, VM1, 80, 40001))
    lab.settle()
    assert len(lab.sent(VM1)) == 1


@pytest.mark.parametrize("version", [4, 6])
def test_pair_across_hosts_is_on_both_from_one_miss(lab: Lab, version: int) -> None:
    """M08: one miss at the sender's host installs all four entries, each on the host of its VM."""
    _wall(lab, VM1, VM3)
    lab.group("web", "inbound", rule("web", {"ip_proto": "tcp", "l4_dst": 80}), applies_to={"vport": "vm3"})

    lab.send(VM1, tcp(VM1, VM3, version=version))
    lab.carry("h1", "h2")
    assert lab.wait_sent(VM3) == [tcp(VM1, VM3, version=version)]
    lab.send(VM3, tcp(VM3, VM1, 80, 40000, version=version))
    lab.carry("h2", "h1")
    assert lab.wait_sent(VM1) == [tcp(VM3, VM1, 80, 40000, version=version)]

    assert (lab.packet_ins("h1"), lab.packet_ins("h2")) == (1, 0)
    assert (len(lab.cached("h1")), len(lab.cached("h2"))) == (2, 2)


def _delete(lab: Lab, host: str, entry: FlowEntry) -> None:
    """Remove one entry by hand, as an operator would."""
    match = f"cookie=0x{entry.cookie:x}/-1,table={entry.table}"
    lab.ovs.ofctl("del-flows", host, match)


@pytest.mark.parametrize("gone", range(4))
def test_removing_one_entry_removes_its_connection(lab: Lab, gone: int) -> None:
    """M09: whichever of the four entries is removed, the other three go too, and other connections stay."""
    lab.tenant(VM1, VM2)
    lab.send(VM1, tcp(VM1, VM2), udp(VM1, VM2))
    lab.settle()
    cached = lab.wait_cached(8)
    kept = {entry.match for entry in cached if "udp" in entry.matches}
    victim = [entry for entry in cached if "tcp" in entry.matches][gone]

    _delete(lab, "h1", victim)

    assert {entry.match for entry in lab.wait_cached(4)} == kept


@pytest.mark.parametrize("side", ["h1", "h2"])
def test_removing_one_side_removes_the_other_hosts(lab: Lab, side: str) -> None:
    """M09: a connection across hosts ends on both when an entry is removed on either."""
    lab.tenant(VM1, VM3)
    lab.send(VM1, tcp(VM1, VM3))
    lab.wait_cached(2, "h1")
    lab.wait_cached(2, "h2")

    _delete(lab, side, lab.cached(side)[0])

    lab.wait_cached(0, "h1")
    lab.wait_cached(0, "h2")
    wait_until(lambda: lab.get("flows")["items"], 5, "the flow to be forgotten", until=lambda flows: not flows)


def test_after_its_removal_a_connection_is_unsolicited_again(lab: Lab) -> None:
    """M09: when a connection has gone, its replies are no longer let in, and a new packet begins it again."""
    _wall(lab, VM1)
    lab.send(VM1, tcp(VM1, EXT))
    lab.wait_sent("h1-uplink")
    (outbound,) = lab.cached(table="outbound")

    _delete(lab, "h1", outbound)
    lab.wait_cached(0)

    lab.from_network(tcp(EXT, VM1, 80, 40000))
    assert lab.silent(VM1)
    lab.send(VM1, tcp(VM1, EXT))
    lab.wait_sent("h1-uplink", 2)
    lab.refresh()
    lab.from_network(tcp(EXT, VM1, 80, 40000))
    assert lab.wait_sent(VM1) == [tcp(EXT, VM1, 80, 40000)]


def test_variant_of_a_connection_goes_with_it(lab: Lab) -> None:
    """M09: a reply from another router's MAC has an entry of its own, which ends with the connection."""
    _wall(lab, VM1)
    lab.send(VM1, tcp(VM1, EXT))
    lab.wait_sent("h1-uplink")
    other = tcp(EXT, VM1, 80, 40000)
    other = other[:6] + packets.mac("02:00:00:00:00:77") + other[12:]
    lab.from_network(other)
    assert lab.wait_sent(VM1) == [other]
    assert len(lab.wait_cached(3)) == 3

    (outbound,) = lab.cached(table="outbound")
    _delete(lab, "h1", outbound)

    lab.wait_cached(0)
