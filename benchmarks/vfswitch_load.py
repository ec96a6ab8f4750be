"""The load for vfswitch: a policy of three stateful layers, set by REST, and misses that it allows."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks import frames
from benchmarks.frames import PacketInTemplate
from benchmarks.openflow import OXM_BASIC, OXM_IN_PORT, OXM_NXM_1, FlowMod, Port

LAYERS: Final = ("perimeter", "firewall", "microsegments")
RULES_PER_LAYER: Final = 100
DPID: Final = 1
_VMS: Final = 8
_UPLINK_PORT: Final = 1
_FIRST_VF_PORT: Final = 2
_FIRST_VLAN: Final = 101
_REST_TIMEOUT_S: Final = 30.0

PORTS: Final = (
    Port(_UPLINK_PORT, "h1-uplink", frames.mac("02:00:00:00:ff:01")),
    *(Port(_FIRST_VF_PORT + n, f"h1-vf{n + 1}", frames.mac(f"02:00:00:00:ff:{n + 2:02x}")) for n in range(_VMS)),
)


def rules(layer: int) -> list[dict[str, Any]]:
    """Return the 100 rules of a layer: 25 each of an exact port, a prefix, a port range and a protocol.

    The misses of `templates` meet the first three shapes alike; priorities make another of them decide in each layer.
    """
    made: list[dict[str, Any]] = []
    for n in range(RULES_PER_LAYER // 4):
        shapes: list[tuple[str, dict[str, str]]] = [
            ("port", {"ip_proto": "tcp", "l4_dst": str(_l4_dst(n))}),
            ("prefix", {"ip_proto": "tcp", "ipv4_dst": f"198.51.{n}.0/24"}),
            ("range", {"ip_proto": "tcp", "l4_dst": f"{10000 + 100 * n}-{10099 + 100 * n}"}),
        ]
        for place, (name, match) in enumerate(shapes):
            priority = 100 * (1 + (place + layer) % 3) + n
            made.append({"id": f"{name}-{n}", "priority": priority, "match": match, "action": {"type": "allow"}})
        match = {"ip_proto": str(100 + n)}
        made.append({"id": f"proto-{n}", "priority": 1000 + n, "match": match, "action": {"type": "deny"}})
    return made


def _l4_dst(n: int) -> int:
    return 10007 + 100 * n


# A rule that looks at source ports, so that policy may say something else of every connection.
UNLIKE: Final[dict[str, Any]] = {
    "id": "source", "priority": 2000, "match": {"ip_proto": "tcp", "l4_src": "7"}, "action": {"type": "deny"},
}  # fmt: skip


def configure(url: str, *more: dict[str, Any]) -> None:
    """Set hosts, vports and policy, with more rules in each layer if there are any.

    Every answer is waited for, and one that is no success is an error.
    """
    rest = _Rest(url)
    rest.wait_until_up()
    rest.put("/v1/hosts/h1", {"dpid": f"{DPID:016x}", "uplink": "h1-uplink"})
    rest.put("/v1/tenants/red", {})
    for n in range(_VMS):
        vport = {"host": "h1", "port": f"h1-vf{n + 1}", "kind": "vf", "tenant": "red", "vlan": _FIRST_VLAN + n}
        rest.put(f"/v1/vports/vm{n + 1}", vport | {"mac": _vm_mac(n), "ips": []})
    for number, name in enumerate(LAYERS):
        default = {"outbound": "deny", "inbound": "deny"}
        layer = {"position": 10 * (number + 1), "stateful": True, "owner": "bench", "default": default}
        rest.put(f"/v1/layers/{name}", layer)
        put = [*rules(number), *more]
        group = {"applies_to": {"tenant": "red"}, "direction": "outbound", "priority": 100, "rules": put}
        rest.put(f"/v1/layers/{name}/groups/all", group)


def _vm_mac(n: int) -> str:
    return f"02:00:00:00:00:{n + 1:02x}"


class _Rest:
    def __init__(self, url: str) -> None:
        self._netloc = urlsplit(url).netloc

    def wait_until_up(self, timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._request("GET", "/v1/hosts", None)
                return
            except ConnectionError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no REST API on {self._netloc} after {timeout_s} s: {error}") from error
                time.sleep(0.05)

    def put(self, path: str, body: dict[str, Any]) -> None:
        self._request("PUT", path, body)

    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> None:
        connection = http.client.HTTPConnection(self._netloc, timeout=_REST_TIMEOUT_S)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {answer.status} {text}")


def templates(entries: Sequence[FlowMod]) -> list[PacketInTemplate]:
    """Return the misses of all VMs, each to another prefix and port, as the entries in the switch would make them.

    What the entries for a VF's port write into registers stands above the expected meaning:
    register 0 the segment, 1 the sender's VLAN.
    """
    made = []
    for n in range(_VMS):
        in_port = _FIRST_VF_PORT + n
        registers = {0: 1, 1: _FIRST_VLAN + n} | _registers_written(entries, in_port)
        miss = outbound_miss(entries, in_port, registers)
        made.append(
            PacketInTemplate(
                frame=frames.tcp_syn(
                    frames.mac(_vm_mac(n)),
                    frames.mac("02:00:00:00:99:01"),
                    frames.ipv4(f"10.{n}.0.0"),
                    frames.ipv4(f"198.51.{3 * n}.9"),
                    _l4_dst(3 * n),
                ),
                in_port=in_port,
                table_id=miss.table_id,
                cookie=miss.cookie,
                registers=registers,
                reason=0 if miss.priority == 0 and not miss.fields else 1,
            )
        )
    return made


def _registers_written(entries: Sequence[FlowMod], in_port: int) -> dict[int, int]:
    written: dict[int, int] = {}
    for entry in entries:
        value = entry.fields.get((OXM_BASIC, OXM_IN_PORT))
        if entry.command == 0 and value is not None and int.from_bytes(value[0], "big") == in_port:
            written |= entry.sets
    return written


def outbound_miss(entries: Sequence[FlowMod], in_port: int, registers: dict[int, int]) -> FlowMod:
    """Return the entry that sends a VF's misses to the controller; LookupError when there is none.

    It is in the lower of the tables whose entry of priority 0 does that, and may be one for the VF alone.
    """
    punts = [entry for entry in entries if entry.command == 0 and entry.to_controller]
    tables = {entry.table_id for entry in punts if entry.priority == 0} or {entry.table_id for entry in punts}
    if not tables:
        raise LookupError(f"none of {len(entries)} flow-mods outputs to the controller")
    fitting = [e for e in punts if e.table_id == min(tables) and _fits(e, in_port, registers)]
    if not fitting:
        raise LookupError(f"no entry of table {min(tables)} sends the misses of port {in_port} to the controller")
    return max(fitting, key=lambda entry: entry.priority)


def _fits(entry: FlowMod, in_port: int, registers: dict[int, int]) -> bool:
    known = {(OXM_NXM_1, number): registers.get(number, 0) for number in range(16)}
    known[OXM_BASIC, OXM_IN_PORT] = in_port
    for field, (value, mask) in entry.fields.items():
        if field not in known:
            return False
        bits = int.from_bytes(mask, "big") if mask is not None else 0xFFFFFFFF
        if known[field] & bits != int.from_bytes(value, "big"):
            return False
    return True
