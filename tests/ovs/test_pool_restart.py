"""What connections have of NAT pools outlives the controller, also where the host alone forwards them."""

from __future__ import annotations

from typing import Any

from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, VM1, VM2, moved, udp
from tests.ovs.test_nat_pool import led, pool, to_wire

SHOWN = moved(EXT, mac="02:fa:00:00:00:01", ip="10.0.0.200", ip6="fd00::200")


def test_ports_of_connections_in_the_host_are_not_given_away(own_site: Any) -> None:
    """M23 M26: after kill -9 another VM does not get the port of a connection that no NIC has, and it goes on."""
    lab = Lab(own_site).tenant(VM1, VM2)
    pool(lab, SHOWN.ip, ports="40000-40001")
    lab.put("hosts/h1", {"dpid": "1", "uplink": "h1-uplink", "limits": {"actions": []}})
    lab.send(VM1, udp(VM1, EXT, 40000))
    assert lab.wait_sent("h1-uplink") == [to_wire(udp(SHOWN, EXT, 40000))]
    assert lab.cached() == [] and len(led(lab)) == 1

    lab.controller.kill9()
    lab.controller.start()
    lab.site.wait_ready()
    lab.send(VM2, udp(VM2, EXT, 40000))
    assert lab.wait_sent("h1-uplink", 2)[1:] == [to_wire(udp(SHOWN, EXT, 40001))]
    lab.send(VM1, udp(VM1, EXT, 40000))
    assert lab.wait_sent("h1-uplink", 3)[2:] == [to_wire(udp(SHOWN, EXT, 40000))]
    lab.from_network(udp(EXT, SHOWN, 53, 40000), udp(EXT, SHOWN, 53, 40001))
    assert lab.wait_sent(VM1) == [udp(EXT, VM1, 53, 40000)]
    assert lab.wait_sent(VM2) == [udp(EXT, VM2, 53, 40000)]
