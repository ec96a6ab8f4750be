"""What rules do beside allowing and denying, each shown by a capture on the wire."""

from __future__ import annotations

import pytest

from mininet_scripts.support import traffic
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until
from tests.mininet.lab import Frame, Lab, Watch
from topologies.single_host import SingleHost

TOPOLOGY = SingleHost

OPEN = layer(stateful=False, outbound="allow", inbound="allow")
VM1 = {"vport": "vm1"}
FRAME_BYTES = 14 + 20 + 8
"""What stands around a UDP payload: Ethernet, IPv4 and UDP headers."""


def _datagrams(watch: Watch, count: int, port: int = 5000) -> list[Frame]:
    """Return the datagrams to a port that passed an interface, when there are so many."""
    return wait_until(
        lambda: [frame for frame in watch.frames() if frame.udp_to(port)],
        5,
        f"{count} datagrams to port {port} on {watch.interface}",
        until=lambda seen: len(seen) >= count,
    )


def test_dscp_mark_on_the_wire(lab: Lab) -> None:
    """M23: packets that a rule marks leave by the uplink with that DSCP, from the first on; others stay unmarked."""
    lab.tenant("red", "vm1", "vm2")
    lab.layer("mark", OPEN, g=group("outbound", rule("ef", {"type": "rewrite", "set": {"ip_dscp": 46}}, ip_proto="udp",
                                                      l4_dst="5000")))  # fmt: skip
    ext = lab.host("ext")
    with lab.watch("h1-uplink") as uplink, traffic.udp_receiver(ext, 5000), traffic.udp_receiver(ext, 5001):
        for port in (5000, 5001):
            traffic.send_udp(lab.host("vm1"), address_of("ext").ipv4, port, count=5, rate_pps=50)
        seen = [[frame.payload[1] >> 2 for frame in _datagrams(uplink, 5, port)] for port in (5000, 5001)]
    assert seen == [[46] * 5, [0] * 5]


def test_nat_on_the_wire(lab: Lab) -> None:
    """M23: a translated destination is what the uplink sees, and the VM hears the address that it asked."""
    lab.tenant("red", "vm1", "vm2")
    ext = address_of("ext")
    action = {"type": "nat", "destination": {"ip": ext.ipv4, "port": 7000, "mac": ext.mac}}
    lab.layer("nat", OPEN, g=group("outbound", rule("vip", action, ip_proto="tcp", ipv4_dst="10.0.0.200")))
    lab.host("vm1").cmd("ip neigh replace 10.0.0.200 lladdr 02:00:00:00:00:c8 dev vm1-eth0")
    with lab.watch("h1-uplink") as uplink, traffic.tcp_echo_server(lab.host("ext"), 7000):
        assert traffic.tcp_works(lab.host("vm1"), "10.0.0.200", 80)
        ends = {frame.payload[16:20] for frame in uplink.unicast() if frame.eth_type == 0x0800}
    assert bytes((10, 0, 0, 200)) not in ends and bytes((10, 0, 0, 254)) in ends


def test_mirror_on_the_wire(lab: Lab) -> None:
    """M23: the monitor's port carries a copy of each packet of the mirrored VM, and the packets still arrive."""
    lab.tenant("red", "vm1", "vm2", "vm3")
    lab.layer("watch", OPEN, g=group("outbound", rule("all", {"type": "mirror", "vport": "vm3"}, ip_proto="udp"),
                                     applies_to=VM1))  # fmt: skip
    lab.reaches("vm1", "vm2")
    with (
        lab.watch("vm3-eth0") as monitor,
        lab.watch("vm2-eth0") as receiver,
        traffic.udp_receiver(lab.host("vm2"), 5000),
    ):
        traffic.send_udp(lab.host("vm1"), address_of("vm2").ipv4, 5000, count=20, rate_pps=100)
        arrived = _datagrams(receiver, 20)
        assert _datagrams(monitor, 20) == arrived
    assert len(arrived) == 20


def test_route_on_the_wire(lab: Lab) -> None:
    """M23: packets to the outside that a rule routes reach the VM that it names, unaltered, and not the uplink."""
    lab.tenant("red", "vm1", "vm3")
    lab.layer("steer", OPEN, g=group("outbound", rule("r", {"type": "route", "vport": "vm3"}, ip_proto="udp"),
                                     applies_to=VM1))  # fmt: skip
    assert lab.reaches("vm1", "ext")
    with lab.watch("vm3-eth0") as target, lab.watch("h1-uplink") as uplink:
        traffic.send_udp(lab.host("vm1"), address_of("ext").ipv4, 5000, count=20, rate_pps=100)
        routed = _datagrams(target, 20)
        assert not [frame for frame in uplink.frames() if frame.udp_to(5000)]
    assert [frame.dst for frame in routed] == [address_of("ext").mac] * 20


def _rate_kbps(lab: Lab, sender: str, receiver: str, offered_kbps: int, duration_s: int = 4) -> float:
    """Return what arrives of an offered UDP load, in kbit/s of whole frames."""
    payload = 1200
    measured = traffic.iperf3(lab.host(sender), lab.host(receiver), address_of(receiver).ipv4, duration_s=duration_s,
                              udp_kbps=offered_kbps, payload_bytes=payload)  # fmt: skip
    return measured.bits_per_s / 1000 * (payload + FRAME_BYTES) / payload


@pytest.mark.parametrize("kbps", [2_000, 20_000])
def test_metered_rule_keeps_its_rate(lab: Lab, kbps: int) -> None:
    """M23 S13: of twice the rate of a rule's meter the rate arrives, within ±10 %."""
    lab.tenant("red", "vm1", "vm2")
    meter = {"type": "meter", "kbps": kbps}
    lab.layer("shape", OPEN, g=group("outbound", rule("slow", meter, ip_proto="udp"), applies_to=VM1))
    assert lab.reaches("vm1", "vm2")
    assert _rate_kbps(lab, "vm1", "vm2", 2 * kbps) == pytest.approx(kbps, rel=0.1)


def test_each_connection_of_a_rule_has_the_rate(lab: Lab) -> None:
    """S13: two connections that one rule meters each by itself get its rate each, within ±10 %."""
    lab.tenant("red", "vm1", "vm2")
    meter = {"type": "meter", "kbps": 2_000, "per": "connection"}
    lab.layer("shape", OPEN, g=group("outbound", rule("slow", meter, ip_proto="udp"), applies_to=VM1))
    assert lab.reaches("vm1", "vm2")
    with (
        traffic.udp_receiver(lab.host("vm2"), 5000) as first,
        traffic.udp_receiver(lab.host("vm2"), 5001) as second,
        traffic.udp_sender(lab.host("vm1"), address_of("vm2").ipv4, 5000, count=1600, rate_pps=400,
                           payload_bytes=1200) as sender,
    ):  # fmt: skip
        traffic.send_udp(lab.host("vm1"), address_of("vm2").ipv4, 5001, count=2000, rate_pps=500, payload_bytes=1200)
        sender.wait(10)
        for arrivals in (first, second):
            times = [each.at_ns for each in arrivals.seen()]
            kbps = len(times) * (1200 + FRAME_BYTES) * 8 / ((times[-1] - times[0]) / 1e9) / 1000
            assert kbps == pytest.approx(2_000, rel=0.1)


def test_packet_rate_is_kept(lab: Lab) -> None:
    """S13: of 1,000 packets a second a meter of 300 packets/s lets 300 through each second, within ±10 %."""
    lab.tenant("red", "vm1", "vm2")
    meter = {"type": "meter", "pps": 300}
    lab.layer("shape", OPEN, g=group("outbound", rule("slow", meter, ip_proto="udp"), applies_to=VM1))
    assert lab.reaches("vm1", "vm2")
    with traffic.udp_receiver(lab.host("vm2"), 5000) as arrivals:
        traffic.send_udp(lab.host("vm1"), address_of("vm2").ipv4, 5000, count=4000, rate_pps=1000)
        arrivals.wait_count(1000)
        seen = [each.at_ns for each in arrivals.seen()]
    lasted_s = (seen[-1] - seen[0]) / 1e9
    assert len(seen) / lasted_s == pytest.approx(300, rel=0.1)


@pytest.mark.parametrize("direction", ["outbound_kbps", "inbound_kbps"])
def test_bandwidth_of_a_vnic_is_shared_by_its_flows(lab: Lab, direction: str) -> None:
    """S13: two flows of one VNIC together get its bandwidth, within ±10 %, whichever way they go; others are free."""
    lab.tenant("red", "vm1", "vm2", "vm3")
    limited, free = ("vm1", "vm2") if direction == "outbound_kbps" else ("vm2", "vm1")
    body = lab.client.get(f"/v1/vports/{limited}")
    lab.client.put(f"/v1/vports/{limited}", {**body, "bandwidth": {direction: 10_000}})
    assert lab.reaches("vm1", "vm2")
    with (
        traffic.udp_receiver(lab.host("vm2"), 5000) as first,
        traffic.udp_receiver(lab.host("vm2"), 5001) as second,
        traffic.udp_sender(lab.host("vm1"), address_of("vm2").ipv4, 5000, count=4000, rate_pps=1000,
                           payload_bytes=1200) as sender,
    ):  # fmt: skip
        # Not in step with the other sender: of two at the same rate one would find the bucket empty each time.
        traffic.send_udp(lab.host("vm1"), address_of("vm2").ipv4, 5001, count=5480, rate_pps=1370, payload_bytes=1200)
        sender.wait(10)
        times = sorted(each.at_ns for arrivals in (first, second) for each in arrivals.seen())
        assert len(first.seen()) > 100 and len(second.seen()) > 100
    kbps = len(times) * (1200 + FRAME_BYTES) * 8 / ((times[-1] - times[0]) / 1e9) / 1000
    assert kbps == pytest.approx(10_000, rel=0.1)
    assert _rate_kbps(lab, free if direction == "outbound_kbps" else "vm1", "vm3", 30_000, 2) > 25_000


def test_zero_bandwidth_asks_the_controller_once(lab: Lab) -> None:
    """S13: a flow of a rule with 0 kbit/s is dropped in the NIC: 1,000 packets cost one packet-in."""
    lab.tenant("red", "vm1", "vm2")
    lab.layer("shape", OPEN, g=group("outbound", rule("none", {"type": "meter", "kbps": 0}, ip_proto="udp")))
    assert lab.reaches("vm1", "vm2")
    with lab.watch("vm2-eth0") as receiver:
        # Until the datapath follows its table, some milliseconds, packets are still on their way to the controller.
        traffic.send_udp(lab.host("vm1"), address_of("vm2").ipv4, 5000, count=10, rate_pps=50, source_port=4444)
        traffic.send_udp(lab.host("vm1"), address_of("vm2").ipv4, 5000, count=1000, rate_pps=2000, source_port=4444)
        # The entry counts what the controller is not asked about: all but the first, and one that was on its way.
        lab.wait_packets("vm1", 1008, l4_dst="5000")
        assert not [frame for frame in receiver.frames() if frame.udp_to(5000)]
