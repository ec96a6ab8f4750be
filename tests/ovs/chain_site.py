"""Three bridges of a private Open vSwitch as the datapaths of a NIC with a chain; tests stand in for functions."""

from __future__ import annotations

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
