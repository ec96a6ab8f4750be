"""A NIC smaller than what its VMs talk about: real connections all work, and the switch holds no more than it may."""

from __future__ import annotations

from mininet_scripts.support import traffic
from mininet_scripts.support.waiting import wait_until
from tests.mininet.lab import Lab
from topologies.two_hosts import TwoHosts

TOPOLOGY = TwoHosts

LIMIT = 10
CONNECTIONS = 40
EACH = 25


def limit(lab: Lab, **limits: object) -> None:
    """Put the limits of both hosts."""
    for host in lab.controller.client.get("/v1/hosts")["items"]:
        body = {"dpid": host["dpid"], "uplink": host["uplink"], "limits": limits}
        lab.controller.client.put(f"/v1/hosts/{host['id']}", body)


def test_more_connections_than_both_nics_hold(lab: Lab) -> None:
    """M11: of four times as many connections across hosts as the NICs have room for, no packet is lost."""
    lab.tenant("red", "vm1", "vm3")
    limit(lab, outbound_entries=LIMIT, inbound_entries=LIMIT)
    try:
        lab.ping("vm1", "vm3")
        with traffic.udp_receiver(lab.host("vm3"), 7000) as arrivals:
            for round_ in range(2):
                for number in range(CONNECTIONS):
                    first = (round_ * CONNECTIONS + number) * EACH
                    send = {"count": EACH, "rate_pps": 2000, "source_port": 4000 + number, "first": first}
                    traffic.send_udp(lab.host("vm1"), "10.0.0.3", 7000, **send)
            total = 2 * CONNECTIONS * EACH
            assert sorted(arrivals.wait_count(total)) == list(range(total))
        live = {item["id"]: item["live"]["nic_entries"] for item in lab.controller.client.get("/v1/hosts")["items"]}
        assert all(held <= LIMIT for caches in live.values() for held in caches.values()), live
        assert live["h1"]["outbound"] == LIMIT
        stats = wait_until(lambda: lab.controller.client.get("/v1/stats"), 5, "statistics", until=bool)
        counts = stats["vports"]["vm1"]
        assert counts["nic-evictions"] > 0 and counts["host-hits"] > CONNECTIONS
        print(counts)
    finally:
        limit(lab)
