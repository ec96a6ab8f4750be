"""The network and the policy of the quickstart, put over REST as an operator would."""

from __future__ import annotations

from mininet.net import Mininet

from mininet_scripts.support.policy import group, layer, rule
from mininet_scripts.support.registration import register_hosts, register_tenant, register_vports
from mininet_scripts.support.rest import RestClient

TENANT = "red"
LAYER = "firewall"
SERVERS = f"/v1/layers/{LAYER}/groups/servers"
WEB_PORT, TELNET_PORT, UDP_PORT, IPERF_PORT = 80, 23, 7000, 5201


def set_up(client: RestClient, net: Mininet) -> None:
    """Register hosts, a tenant and the VMs, and put a stateful firewall before them."""
    register_hosts(client, net)
    # VLAN 0: the segment is untagged for everybody outside, the external host among them.
    register_tenant(client, TENANT, vlan=0)
    register_vports(client, net, TENANT, "vm1", "vm2", "vm3", "vm4")
    # VMs may begin connections; what they are sent needs a rule, unless it is a reply.
    client.put(f"/v1/layers/{LAYER}", layer(stateful=True, outbound="allow", inbound="deny"))
    pings = (rule("ping", icmpv4_type=8), rule("ping6", icmpv6_type=128))
    members = group("inbound", *pings, applies_to={"tenant": TENANT}, priority=10)
    client.put(f"/v1/layers/{LAYER}/groups/members", members)
    served = (
        rule("web", ip_proto="tcp", l4_dst=WEB_PORT),
        rule("iperf", ip_proto="tcp", l4_dst=IPERF_PORT),
        rule("numbered", ip_proto="udp", l4_dst=UDP_PORT),
        rule("telnet", "deny", priority=60, ip_proto="tcp", l4_dst=TELNET_PORT),
    )
    client.put(SERVERS, group("inbound", *served, applies_to={"vport": "vm3"}, priority=100))
