"""Making a running topology known over REST: hosts, tenants with their segments, and vports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mininet.net import Mininet

from mininet_scripts.support.rest import RestClient
from topologies.hairpin_parts import (
    ChainFunction,
    FunctionPort,
    NetworkPort,
    function_port_of,
    network_port_of,
    sub_interface_of,
)
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


def register_outlets(
    client: RestClient, net: Mininet, tenant: str, macs: Mapping[str, list[str]] | None = None
) -> None:
    """Register the outlets that the topology has for a tenant's segment, as `<host>-<tenant>`.

    macs holds by host the MACs, besides its VMs', that leave there.
    Where the topology joins an outlet to NIC port 2, the segment's chains end there.
    """
    for switch in net.switches:
        port = f"{switch.name}-{tenant}"
        if isinstance(switch, NetworkPort) and port in switch.intfNames():
            host = switch.name.removesuffix("n")
            functions = function_port_of(host)
            end = f"{functions}-{tenant}"
            joined = {"chain_port": end} if functions in net and end in net[functions].intfNames() else {}
            own = {"macs": (macs or {}).get(host, [])}
            body = {"host": host, "segment": tenant, "port": port, **joined, **own}
            client.put(f"/v1/outlets/{host}-{tenant}", body)


def register_function(client: RestClient, net: Mininet, name: str, *instances: str, **changed: Any) -> None:
    """Register a function of chains with these instances, or with all that the topology has of it.

    One that is rewriting sends away from the VMs with the MACs of its outside interfaces.
    """
    nodes = [node for node in net.hosts if isinstance(node, ChainFunction) and node.function == name]
    chosen = [node for node in nodes if not instances or node.name in instances]
    rewriting = bool(changed.get("rewriting"))
    found = {node.name: _instance(node, rewriting=rewriting) for node in chosen}
    client.put(f"/v1/functions/{name}", {"instances": found, **changed})


def _instance(node: ChainFunction, *, rewriting: bool) -> dict[str, Any]:
    """Return the document of an instance as the topology has it."""
    inside, outside = node.intf(node.inside), node.intf(node.outside)
    own = {"macs": [outside.MAC()]} if rewriting else {}
    return {"host": node.at, "inside": inside.link.intf2.name, "outside": outside.link.intf2.name, **own}


def register_chain(client: RestClient, name: str, tenant: str, *hops: str, own: bool = True, **changed: Any) -> None:
    """Register a chain in a tenant's segment; `own` makes it the segment's, which all its frames pass."""
    client.put(f"/v1/chains/{name}", {"tenant": tenant, "hops": list(hops), **changed})
    if own:
        segment = client.get(f"/v1/segments/{tenant}")
        client.put(f"/v1/segments/{tenant}", {"tenant": tenant, "vlan": segment["vlan"], "chain": name})


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
        node, subinterface, _ = sub_interface_of(net, representor.node.name, int(representor.name.partition("-vf")[2]))
        # Where all goes by chains a topology may have none.
        if subinterface in net[node].intfNames():
            at_function["subinterface"] = subinterface
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
