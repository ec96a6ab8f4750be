"""The hint list of a VM: what the NIC knows of its packets, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.guest import SYNTHETIC, Driver, add_synthetic_ports, put_host, with_synthetic
from tests.ovs.scenario import Lab
from tests.ovs.site import Site
from tests.ovs.stations import EXT, VM1, VM2, VM4, rule, tcp, udp


@pytest.fixture
def lab(site: Site) -> Iterator[Lab]:
    """Return the shared site with VM 1 at both ports and its misses back through it, for one test."""
    made = Lab(site)
    add_synthetic_ports(made)
    made.tenant(VM2, VM4)
    made.put("vports/vm1", with_synthetic(VM1))
    put_host(made, "vm")
    yield made
    put_host(made, "pf")


class Follower:
    """A VM's driver that follows its list."""

    def __init__(self, lab: Lab, vport: str, limit: int = 1000) -> None:
        self.lab = lab
        self.path = f"vports/{vport}/hints?limit={limit}"
        self.hints: dict[int, dict[str, str]] = {}
        self.version = ""
        self.answers: list[dict[str, Any]] = []

    def follow(self) -> list[dict[str, str]]:
        """Return the conditions after asking until nothing more comes."""
        more = True
        while more:
            answer = self.lab.get(self.path + (f"&since={self.version}" if self.version else ""))
            self.answers.append(answer)
            if answer["whole"]:
                self.hints.clear()
            for number in answer["remove"]:
                self.hints.pop(number, None)
            self.hints |= {hint["id"]: hint["match"] for hint in answer["add"]}
            self.version, more = answer["version"], answer["more"]
        return list(self.hints.values())

    def wait(self, expected: set[tuple[str, ...]]) -> None:
        """Return when exactly packets between these ends are in the list."""
        wait_until(self.ends, 5, "the hints", until=lambda found: found == expected)

    def ends(self) -> set[tuple[str, ...]]:
        """Return source, destination and ports of each condition."""
        names = ("ipv4_src", "ipv4_dst", "l4_src", "l4_dst")
        return {tuple(hint[name] for name in names) for hint in self.follow()}


def _to(vm: str, dport: int, sport: int = 40000) -> tuple[str, ...]:
    return VM1.ip, vm, str(sport), str(dport)


def test_hints_are_the_conditions_of_what_the_nic_knows(lab: Lab) -> None:
    """M14: the list has the VM's side of each connection, begun by it or to it, allowed or not, and no action."""
    lab.layer("firewall")
    lab.group("no", "outbound", rule("no", {"ip_proto": "tcp", "l4_dst": 22}, "deny"))
    nat = rule("nat", {"ip_proto": "tcp", "l4_dst": 80}, {"type": "nat", "source": {"ip": "10.0.0.77"}})
    lab.group("nat", "outbound", nat, applies_to={"vport": "vm1"}, priority=50)
    lab.send(SYNTHETIC["vm1"], tcp(VM1, EXT), tcp(VM1, VM2, dport=22))
    lab.from_network(tcp(EXT, VM1, 5000, 443))
    lab.send(VM2, udp(VM2, VM4))
    lab.settle()

    follower = Follower(lab, "vm1")
    follower.wait({_to(EXT.ip, 80), _to(VM2.ip, 22), _to(EXT.ip, 5000, 443)})
    (first,) = [hint for hint in follower.follow() if hint["l4_dst"] == "80"]
    assert first == {
        "eth_dst": EXT.mac, "eth_src": VM1.mac, "eth_type": "ipv4", "ip_proto": "tcp",
        "ipv4_src": VM1.ip, "ipv4_dst": EXT.ip, "l4_src": "40000", "l4_dst": "80",
    }  # fmt: skip
    said = str(follower.answers)
    assert "10.0.0.77" not in said and VM4.ip not in said and VM2.mac in said
    assert set(follower.answers[0]) == {"version", "whole", "more", "add", "remove", "standing"}


def test_a_driver_follows_what_changes(lab: Lab) -> None:
    """M14: after the first answer only what has come and gone is told, in pages, and nothing when nothing has."""
    sent = [udp(VM1, EXT, 1000 + number) for number in range(30)]
    lab.send(SYNTHETIC["vm1"], *sent)
    lab.settle()
    follower = Follower(lab, "vm1", limit=7)
    follower.wait({_to(EXT.ip, 53, 1000 + number) for number in range(30)})
    assert [answer["whole"] for answer in follower.answers[:5]] == [True, False, False, False, False]
    assert all(len(answer["add"]) <= 7 for answer in follower.answers)

    told = len(follower.answers)
    follower.follow()
    assert [(a["add"], a["remove"], a["version"]) for a in follower.answers[told:]] == [([], [], follower.version)]

    lab.layer("firewall")
    lab.send(SYNTHETIC["vm1"], udp(VM1, EXT, 2000))
    lab.delete("layers/firewall")
    lab.put("vports/vm2", {**VM2.vport, "ips": []})
    lab.settle()
    follower.wait({_to(EXT.ip, 53, port) for port in (*range(1000, 1030), 2000)})
    assert not any(answer["whole"] for answer in follower.answers[told:])

    lab.warp(61)  # UDP entries go after 60 s without packets.
    lab.settle()
    wait_until(lambda: lab.get("flows")["items"], 10, "the flows to end", until=lambda found: not found)
    follower.wait(set())
    assert not any(answer["whole"] for answer in follower.answers[told:])


def test_what_stays_with_the_host_is_not_hinted(lab: Lab) -> None:
    """M14: a connection that a rule keeps out of the NIC is not in the list until the rule lets it in."""
    lab.layer("firewall")
    kept = {**rule("kept", {"ip_proto": "tcp"}), "offload": "off"}
    lab.group("kept", "outbound", kept, applies_to={"vport": "vm1"})
    lab.send(SYNTHETIC["vm1"], tcp(VM1, EXT), udp(VM1, EXT))
    lab.settle()
    follower = Follower(lab, "vm1")
    follower.wait({_to(EXT.ip, 53)})
    lab.group("kept", "outbound", {**kept, "offload": "auto"}, applies_to={"vport": "vm1"})
    lab.settle()
    follower.wait({_to(EXT.ip, 53), _to(EXT.ip, 80)})


def test_kinds_that_have_no_exact_entries_are_told(lab: Lab) -> None:
    """M14: fragments, multicast and DHCP go by the synthetic port; ARP by the VF unless a rule names it."""

    def by_port() -> dict[str, str]:
        return {str(each["match"]): each["port"] for each in lab.get("vports/vm1/hints")["standing"]}

    arp, multicast = "{'eth_type': 'arp'}", "{'eth_dst': '01:00:00:00:00:00/01:00:00:00:00:00'}"
    asking = packets.arp(1, VM1.mac, VM1.ip, EXT.ip)
    driver = Driver(lab, VM1)
    assert (by_port()[arp], by_port()[multicast]) == ("vf", "synthetic")
    assert driver.send(asking) == []
    lab.layer("firewall")
    lab.group("arp", "outbound", rule("arp", {"eth_type": "arp"}, "allow"), applies_to={"vport": "vm1"})
    assert by_port()[arp] == "synthetic"
    lab.refresh()
    assert driver.send(asking) == [asking]


def test_versions_that_are_not_known_and_bad_ones(lab: Lab) -> None:
    """M14: a version of another time gives the whole list again; what is none is refused, as is an unknown vport."""
    lab.send(SYNTHETIC["vm1"], udp(VM1, EXT))
    lab.settle()
    follower = Follower(lab, "vm1")
    follower.wait({_to(EXT.ip, 53)})
    born, seen, floor = map(int, follower.version.split("."))
    for version in (f"{born + 1}.{seen}.{floor}", f"{born}.{seen + 5}.{floor + 5}", f"{born}.{seen}.{floor - 1}"):
        answer = lab.get(f"vports/vm1/hints?since={version}")
        assert answer["whole"] and len(answer["add"]) == 1
    for query in ("since=x", "since=1.2", "since=-1.2", "limit=0", "until=3"):
        assert lab.rest("GET", f"vports/vm1/hints?{query}").status == 400
    assert lab.rest("GET", "vports/none/hints").status == 404
