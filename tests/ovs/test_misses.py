"""Misses: the first packet of a connection asks the controller, the rest is the switch's alone."""

from __future__ import annotations

import pytest

from ryu_apps.pipeline.tables import NUMBER
from tests.ovs import packets
from tests.ovs.scenario import DUMMY_QUEUE, Lab
from tests.ovs.stations import VM1, VM2, VM3, Station, frame, moved, ping, rule, tcp, udp

# What one connection's entry names, in ovs-ofctl's words, beside the registers and the MACs.
_ADDRESSES = {4: {"nw_src", "nw_dst"}, 6: {"ipv6_src", "ipv6_dst"}}


@pytest.mark.parametrize("version", [4, 6])
def test_first_packet_asks_and_later_ones_do_not(lab: Lab, version: int) -> None:
    """M01: one packet-in for a new 5-tuple, none for the packets after it, which the entries count."""
    lab.tenant(VM1, VM2)

    lab.send(VM1, tcp(VM1, VM2, version=version))
    assert lab.wait_sent(VM2) == [tcp(VM1, VM2, version=version)]
    assert lab.packet_ins() == 1

    for number in range(50):
        lab.send(VM1, tcp(VM1, VM2, data=bytes([number]), flags=packets.ACK, version=version))
    assert len(lab.wait_sent(VM2, 51)) == 51
    assert lab.packet_ins() == 1
    counted = [entry.n_packets for entry in lab.cached() if entry.matches["dl_src"] == VM1.mac]
    assert counted == [51, 51]


def test_packets_already_on_their_way_do_not_make_more_entries(lab: Lab) -> None:
    """M01: a burst that arrives before the answer asks once a packet, and leaves the entries of one connection."""
    lab.tenant(VM1, VM2)
    lab.send(VM1, *(udp(VM1, VM2, data=bytes([number])) for number in range(20)))
    assert len(lab.wait_sent(VM2, 20)) == 20
    assert 1 <= lab.packet_ins() <= 20
    assert len(lab.cached()) == 4

    asked = lab.packet_ins()
    lab.send(VM1, *(udp(VM1, VM2, data=bytes([number])) for number in range(20)))
    assert len(lab.wait_sent(VM2, 40)) == 40
    assert lab.packet_ins() == asked


def _conversations(version: int) -> dict[str, tuple[bytes, set[str]]]:
    """Return a frame of every kind of connection, and what its entries must name beside MACs, VLAN and registers."""
    ends = _ADDRESSES[version]
    suffix = "" if version == 4 else "6"
    ports = {"tp_src", "tp_dst"}
    other = frame(VM1, VM2, packets.GRE, b"\0\0\x08\0data", version=version)
    return {
        "tcp": (tcp(VM1, VM2, version=version), {f"tcp{suffix}", *ends, *ports}),
        "udp": (udp(VM1, VM2, version=version), {f"udp{suffix}", *ends, *ports}),
        "sctp": (frame(VM1, VM2, packets.SCTP, packets.sctp(7, 8), version=version), {f"sctp{suffix}", *ends, *ports}),
        "icmp": (ping(VM1, VM2, version=version), {f"icmp{suffix}", *ends, "icmp_type", "icmp_code"}),
        "gre": (other, {"ip" if version == 4 else "ipv6", *ends, "nw_proto"}),
        "ethertype": (packets.ether(VM1.mac, VM2.mac, 0x88B5, bytes(46)), {"dl_type"}),
    }


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", ["tcp", "udp", "sctp", "icmp", "gre", "ethertype"])
def test_entries_name_every_field_of_one_connection(lab: Lab, kind: str, version: int) -> None:
    """M02: entries name segment, vport, no VLAN, both MACs and the whole tuple, none of it under a mask."""
    lab.tenant(VM1, VM2)
    sent, named = _conversations(version)[kind]
    lab.send(VM1, sent)
    assert lab.wait_sent(VM2) == [sent]

    entries = lab.cached()

    assert len(entries) == 4
    for entry in entries:
        register = "reg1" if entry.actions.endswith(f"goto_table:{NUMBER['deliver']}") else "reg2"
        assert set(entry.matches) == named | {"reg0", register, "vlan_tci", "dl_src", "dl_dst"}, entry.text
        # 0x1fff is OpenFlow's whole field: 12 bits of VLAN id and the one that says that there is a tag.
        assert entry.matches["vlan_tci"] == "0x0000/0x1fff"
        masked = [name for name, value in entry.matches.items() if "/" in value and name != "vlan_tci"]
        assert not masked, entry.text


_OTHER = moved(VM2, mac="02:00:00:00:00:77", ip="10.0.0.77", ip6="fd00::77")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("changed", "sender", "receiver", "ports"),
    [
        ("eth_dst", VM1, moved(VM2, mac=_OTHER.mac), (40000, 80)),
        ("destination", VM1, moved(VM2, ip=_OTHER.ip, ip6=_OTHER.ip6), (40000, 80)),
        ("source", moved(VM1, ip=_OTHER.ip, ip6=_OTHER.ip6), VM2, (40000, 80)),
        ("l4_src", VM1, VM2, (40001, 80)),
        ("l4_dst", VM1, VM2, (40000, 81)),
    ],
)
def test_another_value_in_any_field_is_another_connection(
    lab: Lab, changed: str, sender: Station, receiver: Station, ports: tuple[int, int], version: int
) -> None:
    """M02: a packet that differs in one field of the tuple misses, so no entry is wider than one connection."""
    lab.tenant(VM2)
    lab.put("vports/vm1", {**VM1.vport, "ips": []})  # any source address
    lab.send(VM1, tcp(VM1, VM2, version=version))
    lab.wait_sent(VM2)
    assert lab.packet_ins() == 1

    lab.send(VM1, tcp(sender, receiver, *ports, version=version))

    assert lab.packet_ins() == 2, changed


@pytest.mark.parametrize("version", [4, 6])
def test_first_packets_leave_in_order(lab: Lab, version: int) -> None:
    """M20: all packets that arrive before the controller answers leave, in the order in which they came."""
    lab.tenant(VM1, VM2)
    sent = [udp(VM1, VM2, data=number.to_bytes(2, "big"), version=version) for number in range(DUMMY_QUEUE)]

    with lab.controller_paused():
        lab.send(VM1, *sent)

    assert lab.wait_sent(VM2, len(sent)) == sent
    assert lab.silent("h1-uplink")
    assert lab.packet_ins() == len(sent)


def test_no_packet_is_lost_while_a_connection_is_set_up(lab: Lab) -> None:
    """M20: of a stream that goes on during set-up all packets leave once, and those of each path keep their order.

    What the switch forwards itself can overtake what is still with the controller.
    """
    lab.tenant(VM1, VM2)
    sent = [udp(VM1, VM2, data=number.to_bytes(2, "big")) for number in range(300)]

    lab.send(VM1, *sent)

    left = [int.from_bytes(packets.read(found).body[8:10], "big") for found in lab.wait_sent(VM2, len(sent))]
    assert sorted(left) == list(range(len(sent)))
    asked = lab.packet_ins()
    for path in (range(asked), range(asked, len(sent))):
        assert [number for number in left if number in path] == list(path)


def test_first_packets_of_many_connections_all_leave(lab: Lab) -> None:
    """M20: a burst of new connections loses nothing, and each keeps its own order."""
    lab.tenant(VM1, VM2)
    sent = [udp(VM1, VM2, sport=1000 + flow, data=bytes([number])) for number in range(4) for flow in range(25)]

    # All of them are on their way to the controller before it answers: what comes later may overtake them.
    with lab.controller_paused():
        lab.send(VM1, *sent)

    arrived = lab.wait_sent(VM2, len(sent))
    for flow in range(25):
        one = [found for found in arrived if packets.read(found).sport == 1000 + flow]
        assert one == [made for made in sent if packets.read(made).sport == 1000 + flow]


def test_frames_of_a_vm_to_itself_ask_once_and_leave_nowhere(lab: Lab) -> None:
    """M01: what a VM sends to its own MAC is dropped in the switch after one packet-in, not asked about each time."""
    lab.tenant(VM1, VM2)
    lab.send(VM1, udp(VM1, VM1))
    assert lab.packet_ins() == 1

    lab.send(VM1, *[udp(VM1, VM1)] * 20)

    assert lab.silent(VM1, VM2, "h1-uplink")
    assert lab.packet_ins() == 1


def test_malformed_frames_are_dropped_and_counted(lab: Lab) -> None:
    """M01: a frame shorter than its headers say leaves nowhere, makes no entry, and is counted for its vport."""
    lab.tenant(VM1, VM2)
    whole = tcp(VM1, VM2)
    bad_length = bytearray(whole)
    bad_length[16:18] = b"\x05\xdc"

    lab.send(VM1, whole[:40], bytes(bad_length))

    assert lab.silent(VM2, "h1-uplink")
    assert lab.cached() == []
    stats = lab.get("stats")["vports"]["vm1"]
    assert stats.get("malformed", 0) + sum(stats["refused"].values()) == 2, stats


def test_a_page_of_flows_tells_each_ones_packets(lab: Lab) -> None:
    """M01: of many connections on two hosts GET /v1/flows tells how many packets each entry has counted."""
    lab.tenant(VM1, VM2, VM3)
    many = {number: udp(VM1, VM3 if number % 2 else VM2, 40000 + number) for number in range(20)}
    lab.send(VM1, *many.values())
    lab.carry("h1", "h2")
    lab.wait_cached(60, "h1")
    lab.wait_cached(20, "h2")
    for number, sent in many.items():
        lab.send(VM1, *[sent] * (number % 4))
    lab.carry("h1", "h2")
    counted: dict[int, list[int]] = {number: [] for number in many}
    for entry in (*lab.cached("h1"), *lab.cached("h2")):
        port = int(entry.matches["tp_dst" if entry.matches["tp_src"] == "53" else "tp_src"])
        counted[port - 40000].append(entry.n_packets)

    pages = [lab.get("flows?limit=7")["items"]]
    while len(pages[-1]) == 7:
        pages.append(lab.get(f"flows?limit=7&after={pages[-1][-1]['id']}")["items"])

    flows = [flow for page in pages for flow in page]
    assert sorted(int(flow["key"]["l4_src"]) - 40000 for flow in flows) == list(many)
    for flow in flows:
        number, legs = int(flow["key"]["l4_src"]) - 40000, flow["forward"] + flow["reply"]
        assert all(leg["installed"] for leg in legs)
        assert sorted(leg["packets"] for leg in legs) == sorted(counted[number])
        assert all(leg["packets"] >= number % 4 for leg in flow["forward"])


def test_flows_are_told_apart_in_what_rest_reports(lab: Lab) -> None:
    """M01: GET /v1/flows shows the connection with the packets that the switch counted, per direction."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.group("web", "outbound", rule("http", {"ip_proto": "tcp", "l4_dst": 80}))
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_sent(VM2)
    lab.send(VM1, *(tcp(VM1, VM2, flags=packets.ACK) for _ in range(4)))
    lab.send(VM2, tcp(VM2, VM1, 80, 40000, flags=packets.SYN_ACK))
    lab.wait_sent(VM1)
    lab.dump("h1")

    (flow,) = lab.get("flows?vport=vm1")["items"]

    assert flow["state"] == "allowed"
    assert [leg["packets"] for leg in flow["forward"]] == [5, 5]
    assert [leg["packets"] for leg in flow["reply"]] == [1, 1]
    assert all(leg["installed"] for leg in flow["forward"] + flow["reply"])
    assert [(layer["layer"], layer["group"], layer["rule"]) for layer in flow["forward"][0]["layers"]] == [
        ("firewall", "web", "http")
    ]
