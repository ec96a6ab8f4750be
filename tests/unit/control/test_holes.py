"""What a hostile VM or an unlucky moment could once do, and cannot any more."""

from __future__ import annotations

import struct
from dataclasses import replace

from ryu_apps.control.adoption import Found, adopt_flows
from ryu_apps.control.effects import Emit, Release
from ryu_apps.control.needs import needed_hosts
from ryu_apps.model.action import Deny
from ryu_apps.model.flow_key import parse
from ryu_apps.model.network import Segment, VportKind
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.pipeline.cookie import Cookie, EntryClass, Punt, Refusal
from ryu_apps.pipeline.guard import refusal
from tests.unit.control.test_core import frame, installed, make_core, met, tcp_frame
from tests.unit.policies import IN, OUT, group, layer, rule, snapshot, tcp, vport

_SOLICIT = b"\x33\x33\xff\x00\x00\x02" + bytes.fromhex("020000000001") + b"\x86\xdd"


def test_neighbour_messages_in_fragments_are_dropped() -> None:
    """RFC 6980: a fragmented neighbour solicitation makes no flow and goes nowhere."""
    core = make_core(layer("fw", 1, out=False, into=False))
    body = bytes([58, 0, 0, 1, 0, 0, 0, 9]) + bytes([135, 0, 0, 0]) + bytes(20)
    packet = bytes([0x60, 0, 0, 0, 0, len(body), 44, 255]) + bytes(15) + b"\1" + bytes(15) + b"\2" + body
    assert core.packet_in(met(_SOLICIT + packet, punt=Punt.FRAGMENT), 0.0) == []
    assert len(core.flows) == 0 and core.tally.of_vport(101)["malformed"] == 1


def test_an_icmp_error_goes_only_to_the_sender_of_what_it_quotes() -> None:
    """A VM cannot send past its policy by quoting a packet of its own, nor by quoting one that never reached it."""
    core = make_core(
        layer("fw", 1, stateful=True, into=False), group("fw", "o", OUT, rule("icmp", Deny(), ip_proto="icmp"))
    )
    sent = tcp_frame(target="ext")
    core.packet_in(met(sent), 0.0)
    for target in ("ext", "vm2"):
        forged = frame("vm1", target, 1, b"\x03\x01\x00\x00\x00\x00\x00\x00" + sent[14:])
        assert not any(isinstance(effect, Emit) for effect in core.packet_in(met(forged), 0.1))


def test_nobody_ends_an_allowed_connection_by_beginning_its_like() -> None:
    """A second station with the same addresses and ports leaves the first one's entries alone."""
    core = make_core()
    core.packet_in(met(tcp_frame(target="ext")), 0.0)
    forged = bytearray(tcp_frame(target="ext"))
    forged[6:12] = (0x020000000002).to_bytes(6, "big")
    effects = core.packet_in(met(bytes(forged), "vm2"), 0.1)
    assert not any(isinstance(effect, Release) for effect in effects)


def test_a_datapath_speaks_for_its_own_vports_only() -> None:
    """A packet-in that names a vport of another host's datapath is counted and dropped."""
    core = make_core()
    assert core.packet_in(met(tcp_frame())._replace(dpid=2), 0.0) == []
    assert core.tally.total["unknown-vport"] == 1


def test_halves_of_a_connection_read_one_after_the_other_become_one() -> None:
    """M26: the receiver's switch may come back first; the sender's then completes the connection."""
    core = make_core()
    entries = installed(core.packet_in(met(tcp_frame(target="vm3")), 0.0))
    found = [Found(e.cookie, e.segment, e.vport, e.direction, e.key) for e in entries]
    again = make_core()
    adopt_flows(again, [entry for entry in found if entry.vport == 103], 0.0)
    adopt_flows(again, [entry for entry in found if entry.vport == 101], 1.0)
    (flow,) = again.flows
    assert [(leg.vport, leg.direction) for leg in flow.plan.forward] == [(101, OUT), (103, IN)]


def test_a_trunk_s_connection_is_taken_over_with_its_tag() -> None:
    """M26: a rule on the VLAN speaks of an adopted connection as it did before."""
    blue = Segment(id="blue", tenant="red", vlan=200, number=2)
    trunk = replace(vport("vm9", "h1", 9), kind=VportKind.TRUNK, segment=None, trunk=("blue",))
    core = make_core(
        Change(kind="segments", key="blue", value=blue),
        Change(kind="vports", key="vm9", value=trunk),
        layer("acl", 1),
        group("acl", "g", OUT, rule("no", Deny(), vlan_vid="200")),
    )
    adopt_flows(core, [Found(Cookie(EntryClass.FORWARD, 1, 109, 7).pack(), 2, 109, OUT, tcp())], 0.0)
    (flow,) = core.flows
    assert not flow.plan.allow


def test_a_dhcp_server_is_known_by_either_port() -> None:
    """S12: an offer from any port to a client's port is refused."""
    made = vport("vm1", "h1", 1)
    for source, target in ((67, 9), (1234, 68)):
        offer = frame("vm1", "vm2", 17, struct.pack("!HHHH", source, target, 8, 0))
        parsed = parse(offer)
        assert parsed and refusal(made, parsed.key) is Refusal.DHCP_SERVER


def test_a_host_that_loses_its_datapath_must_hear_of_it() -> None:
    """Deleting a host needs its switch, whose entries must go."""
    before = snapshot()
    change = Change(kind="hosts", key="h2", value=None)
    after: Snapshot = before.changed([change])
    assert needed_hosts(before, after, [change]) == {"h2"}


def test_trace_and_guard_refuse_alike() -> None:
    """M24: what the guard drops, its plain reading refuses for the same reason."""
    made = replace(vport("vm1", "h1", 1), ips=((4, 0x0A000001),))
    assert refusal(made, tcp()) is None
    assert refusal(made, tcp(ipv4_src="10.0.0.66")) is Refusal.IP
    assert refusal(made, tcp(eth_src="02:00:00:00:00:99")) is Refusal.MAC
