"""VMs behind a NAT pool talk to a host outside that has never heard of them, shown by captures."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from mininet_scripts.support import hosts, network, traffic
from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import address_of
from mininet_scripts.support.waiting import wait_until
from tests.mininet.lab import Lab
from topologies.single_host import SingleHost

TOPOLOGY = SingleHost

OPEN = layer(stateful=False, outbound="allow", inbound="allow")
STATEFUL = layer(stateful=True, outbound="allow", inbound="deny")
POOL_MAC = "02:fa:00:00:00:01"
ADDRESSES = ("10.0.0.201", "10.0.0.202")


def _pool(lab: Lab, **changed: object) -> None:
    lab.tenant("red", "vm1", "vm2")
    body = {"segment": "red", "host": "h1", "mac": POOL_MAC, "addresses": [*ADDRESSES, "fd00::c9"], **changed}
    lab.client.put("/v1/nat_pools/p", body)
    source = {"type": "nat", "source": {"pool": "p"}}
    rules = (rule("v4", source, eth_type="ipv4"), rule("v6", source, eth_type="ipv6"))
    lab.layer("nat", OPEN, g=group("outbound", *rules))
    lab.layer("firewall", STATEFUL)


def _sources(payloads: list[bytes]) -> set[str]:
    return {".".join(map(str, payload[12:16])) for payload in payloads}


def _answered(lab: Lab, vm: str) -> bool:
    """Return whether each of three pings was answered."""
    return bool(lab.ping(vm, "ext", count=3, answer_timeout_s=2.0).all_answered)


def test_vms_reach_the_outside_by_the_pools_addresses(lab: Lab) -> None:
    """M23: pings and TCP of two VMs leave with the pool's MAC and addresses, and answers find each VM by ARP and ND."""
    _pool(lab)
    inside = {address_of(vm).ipv4 for vm in ("vm1", "vm2")}
    ext = address_of("ext").ipv4
    with lab.watch("ext-eth0") as outside, traffic.tcp_echo_server(lab.host("ext"), 7000):
        for vm in ("vm1", "vm2"):
            # One ping of a full run was lost once, and why is not known; this is about addresses.
            wait_until(partial(_answered, lab, vm), 10, f"answers to {vm}")
            assert traffic.tcp_works(lab.host(vm), ext, 7000)
        assert lab.reaches("vm1", "ext", version=6)
        seen = outside.frames()
    sent = [frame for frame in seen if frame.eth_type == 0x0800 and frame.dst == address_of("ext").mac]
    assert {frame.src for frame in sent} == {POOL_MAC}
    assert _sources([frame.payload for frame in sent]) <= set(ADDRESSES)
    assert not inside & _sources([frame.payload for frame in seen if frame.eth_type == 0x0800])
    answered = [frame for frame in seen if frame.eth_type == 0x0806 and frame.src == POOL_MAC]
    assert {".".join(map(str, frame.payload[14:18])) for frame in answered} == _sources([f.payload for f in sent])
    assert lab.client.get("/v1/stats")["nat_pools"]["p"]["lent"]


def test_many_connections_share_one_address(lab: Lab) -> None:
    """M23: connections of two VMs from the same ports to one server leave by one address with ports of their own."""
    _pool(lab, addresses=["10.0.0.201"], ports="20000-20009")
    ext = lab.host("ext")
    with ExitStack() as running:
        outside = running.enter_context(lab.watch("ext-eth0"))
        running.enter_context(traffic.udp_receiver(ext, 5000))
        for vm in ("vm1", "vm2"):
            for port in (20000, 20001, 20002):
                traffic.send_udp(lab.host(vm), address_of("ext").ipv4, 5000, count=3, rate_pps=100, source_port=port)
        outside.capture.wait_frames(18)
        ends = [(frame.payload[12:16], frame.l4[:2]) for frame in outside.frames() if frame.udp_to(5000)]
    assert {bytes((10, 0, 0, 201))} == {address for address, _ in ends}
    ports = [int.from_bytes(port, "big") for _, port in ends]
    assert sorted(set(ports)) == list(range(20000, 20006)) and len(ports) == 18


def test_a_connection_outlives_the_controller(lab: Lab) -> None:
    """M26 M23: a connection through a pool loses no answer when the controller starts again, and keeps its port."""
    _pool(lab)
    vm1, ext = lab.host("vm1"), address_of("ext").ipv4
    assert lab.ping("vm1", "ext", answer_timeout_s=2.0).all_answered
    before = lab.flows("vm1", ip_proto="icmp")[0]["forward"][0]["edit"]["ipv4_src"]
    # The entry of a first packet follows some milliseconds behind it.
    wait_until(lambda: lab.client.get("/v1/stats")["held_back"], 5, "the entries", until=lambda held: not held)
    lab.controller.kill9()
    assert hosts.ping(vm1, ext, count=3).all_answered
    lab.controller.start()
    network.wait_connected(lab.net, lab.controller.openflow_port)
    lab.wait_ready()
    assert hosts.ping(vm1, ext, count=3).all_answered
    (flow,) = lab.flows("vm1", ip_proto="icmp")
    assert flow["forward"][0]["edit"]["ipv4_src"] == before
    lab.wait_packets("vm1", 6, ip_proto="icmp")
