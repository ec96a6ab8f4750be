"""Rewrites of many layers as one entry, and translations with their reverse."""

from __future__ import annotations

import pytest

from ryu_apps.engine.rewrite import rewrite as rewrite_frame
from ryu_apps.model.fields import FIELDS, parse_exact
from ryu_apps.model.flow_key import parse
from ryu_apps.model.transposition import transposition
from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, RED_VLAN, VM1, VM2, VM3, Station, frame, moved, ping, rewrite, rule, tcp, udp

# What four layers set, by IP version; the last overrides part of the first.
LAYERS: dict[int, list[dict[str, object]]] = {
    4: [
        {"ip_dscp": 10, "ipv4_dst": "10.0.0.77"},
        {"eth_dst": VM2.mac, "ipv4_src": "10.0.0.200"},
        {"l4_dst": 8080},
        {"ip_dscp": 46, "l4_src": 5555, "ipv4_dst": VM2.ip},
    ],
    6: [
        {"ip_dscp": 10, "ipv6_dst": "fd00::77"},
        {"eth_dst": VM2.mac, "ipv6_src": "fd00::200"},
        {"l4_dst": 8080},
        {"ip_dscp": 46, "l4_src": 5555, "ipv6_dst": VM2.ip6},
    ],
}
KINDS = {
    "tcp": (packets.TCP, packets.tcp(40000, 80, b"odd")),
    "udp": (packets.UDP, packets.udp(40000, 80, b"data")),
    "sctp": (packets.SCTP, packets.sctp(40000, 80)),
    "icmp": (packets.ICMP, packets.icmp(8, 0, b"ping", 1)),
    "icmpv6": (packets.ICMPV6, packets.icmp(128, 0, b"ping", 1)),
    "gre": (packets.GRE, b"\0\0\x08\0inner"),
}


def _one_by_one(sent: bytes, layers: list[dict[str, object]]) -> bytes:
    """Return a frame after each layer's edit has been carried out on its bytes in turn."""
    for fields in layers:
        parsed = parse(sent)
        assert parsed is not None
        edit = transposition({name: parse_exact(FIELDS[name], str(value)) for name, value in fields.items()})
        sent = rewrite_frame(sent, parsed, edit)
    return sent


def _without_crc(read: packets.Read) -> dict[str, object]:
    """Return what the layers can change; the CRC32c of SCTP is checked by itself."""
    return {**read.headers(), "body": read.body[12:] if read.proto == packets.SCTP else read.body}


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        *((kind, 4) for kind in KINDS if kind != "icmpv6"),
        *((kind, 6) for kind in KINDS if kind != "icmp"),
    ],
)
def test_layers_leave_as_one_entry(lab: Lab, kind: str, version: int) -> None:
    """M07: four rewriting layers are one entry, whose bytes on the wire equal the layers run one by one."""
    lab.tenant(VM1, VM2)
    for number, fields in enumerate(LAYERS[version]):
        settable = {name: value for name, value in fields.items() if kind in ("tcp", "udp", "sctp") or "l4" not in name}
        match: dict[str, object] = {"eth_type": f"ipv{version}"}
        if any("l4" in name for name in fields):
            match["ip_proto"] = KINDS[kind][0]
        if settable:
            lab.layer(f"layer{number}", number)
            lab.group("set", "outbound", rule("set", match, rewrite(**settable)), layer=f"layer{number}")
    proto, payload = KINDS[kind]
    sent = frame(VM1, moved(VM2, mac="02:00:00:00:00:fe"), proto, payload, version=version)
    expected = _one_by_one(sent, LAYERS[version])

    lab.send(VM1, sent)
    lab.wait_sent(VM2)
    lab.send(VM1, sent)
    by_controller, by_switch = lab.wait_sent(VM2, 2)

    assert by_controller == by_switch
    assert _without_crc(packets.read(by_switch)) == _without_crc(packets.read(expected))
    assert packets.read(by_switch).wrong_checksums == ()
    assert kind == "sctp" or by_switch == expected
    assert lab.packet_ins() == 1
    forward = [entry for entry in lab.cached(table="outbound") if entry.matches["reg1"] == hex(VM1.vlan)]
    assert len(forward) == 1
    assert "ip_dscp" in forward[0].actions or "nw_tos" in forward[0].actions


VIP = moved(VM2, mac="02:00:00:00:00:fe", ip="10.0.0.50", ip6="fd00::50")
_PROTOS = {"tcp": tcp, "udp": udp}


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("version", [4, 6])
def test_destination_is_translated_and_replies_back(lab: Lab, version: int, proto: str) -> None:
    """M07: a translated destination reaches its new owner, and the reply comes from the address that was asked."""
    lab.tenant(VM1, VM2)
    make = _PROTOS[proto]
    vip, real = (VIP.ip, VM2.ip) if version == 4 else (VIP.ip6, VM2.ip6)
    lab.layer("nat")
    action = {"type": "nat", "destination": {"ip": real, "port": 8080, "mac": VM2.mac}}
    name = "ipv4_dst" if version == 4 else "ipv6_dst"
    match = {name: vip, "ip_proto": proto, "l4_dst": 80}
    lab.group("vip", "outbound", rule("vip", match, action), layer="nat", applies_to={"vport": "vm1"})

    for count in (1, 2):
        lab.send(VM1, make(VM1, VIP, 40000, 80, b"hello", version=version))
        lab.wait_sent(VM2, count)
    assert lab.sent(VM2) == [make(VM1, VM2, 40000, 8080, b"hello", version=version)] * 2

    for _ in range(2):
        lab.send(VM2, make(VM2, VM1, 8080, 40000, b"answer", version=version))
    assert lab.wait_sent(VM1, 2) == [make(VIP, VM1, 80, 40000, b"answer", version=version)] * 2
    assert lab.packet_ins() == 1


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("version", [4, 6])
def test_source_is_translated_and_replies_back(lab: Lab, version: int, proto: str) -> None:
    """M07: a translated source leaves by the uplink, and its reply is given back to the VM as it asked."""
    lab.tenant(VM1)
    make = _PROTOS[proto]
    public = moved(VM1, ip="10.0.0.200", ip6="fd00::200")
    lab.layer("nat")
    new = public.ip if version == 4 else public.ip6
    match = {"eth_type": f"ipv{version}", "ip_proto": proto}
    lab.group("out", "outbound", rule("out", match, {"type": "nat", "source": {"ip": new, "port": 61000}}), layer="nat")

    for count in (1, 2):
        lab.send(VM1, make(VM1, EXT, 40000, 80, b"hello", version=version))
        lab.wait_sent("h1-uplink", count)
    expected = packets.tagged(make(public, EXT, 61000, 80, b"hello", version=version), RED_VLAN)
    assert lab.sent("h1-uplink") == [expected] * 2

    for _ in range(2):
        lab.from_network(make(EXT, public, 80, 61000, b"answer", version=version))
    assert lab.wait_sent(VM1, 2) == [make(EXT, VM1, 80, 40000, b"answer", version=version)] * 2
    assert lab.packet_ins() == 1


def test_source_and_destination_are_translated_together(lab: Lab) -> None:
    """M07: one rule that translates both sides is undone on both sides for the reply."""
    lab.tenant(VM1, VM2)
    lab.layer("nat")
    shown = moved(VM1, ip="10.0.0.200")
    action = {
        "type": "nat",
        "source": {"ip": shown.ip, "port": 61000},
        "destination": {"ip": VM2.ip, "port": 8080, "mac": VM2.mac},
    }
    lab.group("both", "outbound", rule("both", {"ip_proto": "tcp"}, action), layer="nat", applies_to={"vport": "vm1"})

    lab.send(VM1, tcp(VM1, VIP))
    assert lab.wait_sent(VM2) == [tcp(shown, VM2, 61000, 8080)]
    lab.send(VM2, tcp(VM2, moved(VM1, ip=shown.ip), 8080, 61000, flags=packets.SYN_ACK))

    assert lab.wait_sent(VM1) == [tcp(VIP, VM1, 80, 40000, flags=packets.SYN_ACK)]


def test_translation_of_echo_requests_is_undone_for_replies(lab: Lab) -> None:
    """M07: a ping through a translated source gets its reply."""
    lab.tenant(VM1)
    public = moved(VM1, ip="10.0.0.200")
    lab.layer("nat", stateful=True, inbound="deny")
    action = {"type": "nat", "source": {"ip": public.ip}}
    lab.group("out", "outbound", rule("out", {"eth_type": "ipv4"}, action), layer="nat")

    lab.send(VM1, ping(VM1, EXT))
    assert lab.wait_sent("h1-uplink") == [packets.tagged(ping(public, EXT), RED_VLAN)]
    lab.from_network(ping(EXT, public, reply=True))

    assert lab.wait_sent(VM1) == [ping(EXT, VM1, reply=True)]


def _unreachable(router: Station, target: Station, quoted: bytes, version: int) -> bytes:
    """Return a destination-unreachable message that quotes a frame's packet."""
    kind, code, proto = (3, 1, packets.ICMP) if version == 4 else (1, 3, packets.ICMPV6)
    return frame(router, target, proto, packets.icmp(kind, code, quoted[14:]), version=version)


@pytest.mark.parametrize("version", [4, 6])
def test_icmp_error_of_an_allowed_connection_comes_through(lab: Lab, version: int) -> None:
    """M08: an ICMP error that quotes an allowed packet passes a denying inbound default; a foreign one does not."""
    lab.tenant(VM1)
    lab.layer("firewall", stateful=True, inbound="deny")
    sent = udp(VM1, EXT, 40000, 33434, b"probe", version=version)
    lab.send(VM1, sent)
    lab.wait_sent("h1-uplink")
    router = moved(EXT, ip="10.9.9.9", ip6="fd99::9")

    lab.from_network(_unreachable(router, VM1, udp(VM1, EXT, 40000, 33435, version=version), version))
    assert lab.silent(VM1)

    lab.from_network(_unreachable(router, VM1, sent, version))
    assert lab.wait_sent(VM1) == [_unreachable(router, VM1, sent, version)]


@pytest.mark.parametrize("version", [4, 6])
def test_icmp_error_of_a_translated_connection_quotes_what_the_vm_sent(lab: Lab, version: int) -> None:
    """M08: an ICMP error about a translated packet is given to the VM with its own packet quoted, checksums right."""
    lab.tenant(VM1)
    public = moved(VM1, ip="10.0.0.200", ip6="fd00::200")
    lab.layer("nat", stateful=True, inbound="deny")
    new = public.ip if version == 4 else public.ip6
    action = {"type": "nat", "source": {"ip": new, "port": 61000}}
    match = {"eth_type": f"ipv{version}", "ip_proto": "udp"}
    lab.group("out", "outbound", rule("out", match, action), layer="nat")
    sent = udp(VM1, EXT, 40000, 33434, b"probe", version=version)
    lab.send(VM1, sent)
    outside = packets.untagged(lab.wait_sent("h1-uplink")[0])

    lab.from_network(_unreachable(EXT, public, outside, version))

    (error,) = lab.wait_sent(VM1)
    read = packets.read(error)
    assert (read.src, read.dst) == ((EXT.ip, VM1.ip) if version == 4 else (EXT.ip6, VM1.ip6))
    assert read.wrong_checksums == ()
    assert read.body[8:] == sent[14:]


@pytest.mark.parametrize("version", [4, 6])
def test_translation_across_hosts(lab: Lab, version: int) -> None:
    """M07: a translation made at the sender on one host is undone there for replies from a VM on another."""
    lab.tenant(VM1, VM3)
    shown = moved(VM1, ip="10.0.0.200", ip6="fd00::200")
    lab.layer("nat")
    new = shown.ip if version == 4 else shown.ip6
    action = {"type": "nat", "source": {"ip": new}}
    lab.group("out", "outbound", rule("out", {"eth_type": f"ipv{version}"}, action), layer="nat",
              applies_to={"vport": "vm1"})  # fmt: skip

    lab.send(VM1, tcp(VM1, VM3, version=version))
    lab.carry("h1", "h2")
    assert lab.wait_sent(VM3) == [tcp(shown, VM3, version=version)]

    lab.send(VM3, tcp(VM3, shown, 80, 40000, version=version))
    lab.carry("h2", "h1")
    assert lab.wait_sent(VM1) == [tcp(VM3, VM1, 80, 40000, version=version)]
