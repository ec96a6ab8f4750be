"""Follows the hint list of a VM and programs the guest switch by it: what the NIC knows by the VF, all else at once
by the synthetic port.

    python3 mininet_scripts/support/guest_agent.py --vport vm1 --bridge g1
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# Run as a file, its own folder is what Python searches; the packages lie above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
from mininet_scripts.support.rest import RestClient, RestError

INTERVAL_S = 0.2
# Ports of a guest switch; how its entries go before each other. Those that it has by itself are above and below.
_VM, _PORTS = 1, {"vf": 2, "synthetic": 3}
_STANDING, _HINT, _OTHERS = 700, 300, 100

_NAMES = {
    "eth_dst": "dl_dst", "eth_src": "dl_src", "vlan_vid": "dl_vlan", "eth_type": "dl_type", "ip_proto": "nw_proto",
    "ipv4_src": "nw_src", "ipv4_dst": "nw_dst", "l4_src": "tp_src", "l4_dst": "tp_dst",
    "icmpv4_type": "icmp_type", "icmpv4_code": "icmp_code",
}  # fmt: skip
_VALUES = {
    "ipv4": "0x0800", "ipv6": "0x86dd", "arp": "0x0806",
    "tcp": "6", "udp": "17", "sctp": "132", "icmp": "1", "icmpv6": "58",
}  # fmt: skip
# Open vSwitch wants a field after those that it presumes.
_ORDER = ("eth_type", "ip_proto")


def match_text(match: Mapping[str, str]) -> str:
    """Return a condition of the list in the syntax of ovs-ofctl."""
    names = sorted(match, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
    return ",".join(f"{_NAMES.get(name, name)}={_VALUES.get(match[name], match[name])}" for name in names)


class GuestAgent:
    """The part of a VM's driver that knows the VM's hints."""

    def __init__(self, client: RestClient, vport: str, bridge: str) -> None:
        self._client = client
        self._vport = vport
        self._bridge = bridge
        self._version = ""
        self._hints: dict[int, str] = {}
        self._standing: list[str] = []

    @property
    def hints(self) -> int:
        """How many hints the switch has."""
        return len(self._hints)

    def poll(self) -> None:
        """Ask what has changed until nothing more has, and bring the switch to it."""
        more = True
        while more:
            since = f"&since={self._version}" if self._version else ""
            told = self._client.get(f"/v1/vports/{self._vport}/hints?limit=1000{since}")
            gone = list(self._hints) if told["whole"] else told["remove"]
            changes = [f"delete_strict {self._hints.pop(number)}" for number in gone if number in self._hints]
            for hint in told["add"]:
                self._hints[hint["id"]] = f"priority={_HINT},in_port={_VM},{match_text(hint['match'])}"
                changes.append(f"add {self._hints[hint['id']]},actions=output:{_PORTS['vf']}")
            self._apply([*self._standing_changes(told["standing"]), *changes])
            self._version, more = told["version"], told["more"]

    def _standing_changes(self, told: Sequence[Mapping[str, Mapping[str, str]]]) -> list[str]:
        """Return the changes for the kinds of packets without exact entries, and for all that no hint is about."""
        entries = [
            f"priority={_STANDING - place},in_port={_VM},{match_text(each['match'])},"
            f"actions=output:{_PORTS[str(each['port'])]}"
            for place, each in enumerate(told)
        ]
        entries.append(f"priority={_OTHERS},in_port={_VM},actions=output:{_PORTS['synthetic']}")
        if entries == self._standing:
            return []
        gone = [f"delete_strict {entry.partition(',actions=')[0]}" for entry in self._standing]
        self._standing = entries
        return [*gone, *(f"add {entry}" for entry in entries)]

    def _apply(self, changes: list[str]) -> None:
        if changes:
            command = ["ovs-ofctl", "-O", "OpenFlow14", "--bundle", "add-flows", self._bridge, "-"]
            subprocess.run(command, input="\n".join(changes), text=True, check=True, capture_output=True, timeout=10)


@contextmanager
def following(agent: GuestAgent) -> Iterator[None]:
    """Let an agent follow its list while the block runs; it has the list of now when the block begins."""
    agent.poll()
    ended = threading.Event()
    thread = threading.Thread(target=_follow, args=(agent, ended))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _follow(agent: GuestAgent, ended: threading.Event) -> None:
    while not ended.wait(INTERVAL_S):
        try:
            agent.poll()
        except (RestError, OSError) as error:
            # Without a controller hints grow old, which does no harm: the NIC checks everything.
            print(f"guest agent: {error}", file=sys.stderr)


def main() -> int:
    """Follow a list until interrupted; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--token", default="")
    parser.add_argument("--vport", required=True)
    parser.add_argument("--bridge", required=True)
    given = parser.parse_args()
    agent = GuestAgent(RestClient(given.url, token=given.token), given.vport, given.bridge)
    with following(agent):
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
