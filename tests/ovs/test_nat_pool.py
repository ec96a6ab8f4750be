"""Sources from a NAT pool on a real switch: given out, led back, given back, and never twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ovs import packets
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, RED_VLAN, VM1, VM2, Station, moved, ping, rule, tcp, udp

POOL_MAC = "02:fa:00:00:00:01"
# How the outside sees a VM that has borrowed the first address.
SHOWN = moved(EXT, mac=POOL_MAC, ip="10.0.0.200", ip6="fd00::200")
_PROTOS = {"tcp": tcp, "udp": udp}


def pool(lab: Lab, *addresses: str, **more: Any) -> None:
    """Put pool p at host h1, with a layer whose rule takes all sources from it."""
    body = {"segment": "red", "host": "h1", "mac": POOL_MAC, "addresses": list(addresses or [SHOWN.ip, SHOWN.ip6])}
    lab.put("nat_pools/p", {**body, **more})
    lab.layer("nat", 5)
    action = {"type": "nat", "source": {"pool": "p"}}
    lab.group("out", "outbound", rule("out", {"eth_type": "ipv4"}, action), rule("out6", {"eth_type": "ipv6"}, action),
              layer="nat")  # fmt: skip


def to_wire(frame: bytes) -> bytes:
    """Return a frame as it stands on the cable."""
    return packets.tagged(frame, RED_VLAN)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("version", [4, 6])
def test_source_from_a_pool_and_the_way_back(lab: Lab, version: int, proto: str) -> None:
    """M23: a source becomes the pool's address with the VM's port, and the reply to the pool's MAC reaches the VM."""
    lab.tenant(VM1, VM2)
    pool(lab)
    make = _PROTOS[proto]
    for count in (1, 2):
        lab.send(VM1, make(VM1, EXT, 40000, 80, b"hello", version=version))
        lab.wait_sent("h1-uplink", count)
    assert lab.sent("h1-uplink") == [to_wire(make(SHOWN, EXT, 40000, 80, b"hello", version=version))] * 2

    for _ in range(2):
        lab.from_network(make(EXT, SHOWN, 80, 40000, b"answer", version=version))
    assert lab.wait_sent(VM1, 2) == [make(EXT, VM1, 80, 40000, b"answer", version=version)] * 2
    assert lab.packet_ins() == 1
    assert lab.silent(VM2)
