"""Making a running topology known over REST: hosts, tenants with their segments, and vports."""

from __future__ import annotations

from typing import Any, NamedTuple

from mininet.net import Mininet

from mininet_scripts.support.rest import RestClient
from topologies.hairpin_parts import FunctionPort, NetworkPort, function_port_of, network_port_of, sub_interface_of
from topologies.parts import EXTERNAL_HOST, GuestSwitch, NicBridge, address_params

FIRST_VLAN = 100  # vmN's VF has VLAN 100 + N


class Address(NamedTuple):
    """An end host's addresses."""

    mac: str
    ipv4: str
    ipv6: str


def address_of(name: str) -> Address:
    """Return the addresses that the topologies give `vmN` or `ext`."""
    params = address_params(EXTERNAL_HOST if name == "ext" else vm_number(name))
    return Address(params["mac"], params["ip"].partition("/")[0], params["ip6"].partition("/")[0])


def vm_number(name: str) -> int:
    """Return N of vmN."""
    return int(name.removeprefix("vm"))


def register_hosts(client: RestClient, net: Mininet, **changed: Any) -> None:
    """Register every NIC bridge of the network as the host of its name, with the fields given besides.

    One with a NIC port toward the network beside it has a hairpin.
    """
    for switch in net.switches:
        if isinstance(switch, NicBridge) and not isinstance(switch, FunctionPort | NetworkPort):
            way_out = _hairpin(net, switch) or {"uplink": f"{switch.name}-uplink"}
            client.put(f"/v1/hosts/{switch.name}", {"dpid": _dpid(switch), **way_out, **changed})


def _hairpin(net: Mininet, bridge: NicBridge) -> dict[str, Any] | None:
    """Return the hairpin of a host as it is put, None when the host has no second NIC port."""
    if network_port_of(bridge.name) not in net:
        return None
    network = net[network_port_of(bridge.name)]
    network_port = {"dpid": _dpid(network), "uplink": f"{network.name}-uplink"}
    if function_port_of(bridge.name) not in net:
        return {"hairpin": {"steering": "mac", "network_port": network_port}}
    functions = net[function_port_of(bridge.name)]
    function_port = {"dpid": _dpid(functions), "cable": f"{functions.name}-cable"}
    cable = {"cable": f"{bridge.name}-cable", "function_port": function_port}
    return {"hairpin": {**cable, "network_port": network_port}}


def _dpid(switch: NicBridge) -> str:
    return f"{int(switch.dpid, 16):016x}"


def register_outlets(client: RestClient, net: Mininet, tenant: str) -> None:
    """Register the outlets that the topology has for a tenant's segment, as `<host>-<tenant>`."""
    for switch in net.switches:
        port = f"{switch.name}-{tenant}"
        if isinstance(switch, NetworkPort) and port in switch.intfNames():
            host = switch.name.removesuffix("n")
            client.put(f"/v1/outlets/{host}-{tenant}", {"host": host, "segment": tenant, "port": port})


def register_tenant(client: RestClient, tenant: str, *, vlan: int | None) -> None:
    """Register a tenant and the VLAN of its segment outside: 0 for untagged, None for each VF's own."""
    client.put(f"/v1/tenants/{tenant}", {})
    client.put(f"/v1/segments/{tenant}", {"tenant": tenant, "vlan": vlan})


def register_vports(client: RestClient, net: Mininet, tenant: str, *names: str, **changed: Any) -> None:
    """Register these VMs as vports of a tenant, with the fields given in place of the topology's."""
    for name in names:
        client.put(f"/v1/vports/{name}", {**vport_body(net, name, tenant), **changed})


def vport_body(net: Mininet, name: str, tenant: str) -> dict[str, Any]:
    """Return the document of a VM's vport: its representor, and MAC and addresses as the topology gave them."""
    representor = net[name].defaultIntf().link.intf2
    second: dict[str, str] = {}
    if isinstance(representor.node, GuestSwitch):
        representor, synthetic = representor.node.representors()
        second = {"synthetic": synthetic.name}
    address = address_of(name)
    at_function: dict[str, str] = {}
    if network_port_of(representor.node.name) in net:
        vf = int(representor.name.partition("-vf")[2])
        at_function["subinterface"] = sub_interface_of(net, representor.node.name, vf)[1]
    return {
        "host": representor.node.name,
        "port": representor.name,
        "tenant": tenant,
        "mac": address.mac,
        "ips": [address.ipv4, address.ipv6],
        "vlan": FIRST_VLAN + vm_number(name),
        **at_function,
        **second,
    }
