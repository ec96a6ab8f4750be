"""Statistics on a real switch: hits, misses, offloads and refusals are what was sent, and nothing falls."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from mininet_scripts.support.waiting import wait_until
from ryu_apps.pipeline.cookie import Refusal
from ryu_apps.pipeline.tables import NUMBER
from tests.ovs import packets
from tests.ovs.harness import snoop
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, VM1, VM2, Station, moved, rule, tcp, udp

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(lab: Lab) -> Series:
    """Return every sample of a scrape by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{lab.controller.rest_port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    """Return one sample, 0 where there is none."""
    return series.get((f"vfswitch_{name}", frozenset(labels.items())), 0.0)


def counted(lab: Lab, vm: str = "vm1") -> Any:
    """Return what REST counts of a vport once all that was sent has been dealt with and handed over."""
    lab.settle()
    return lab.get("stats")["vports"][vm]


def fallen(before: Series, after: Series) -> dict[object, tuple[float, float | None]]:
    """Return the counters that are lower now, or gone."""
    rising = ("_total", "_count", "_sum", "_bucket")
    return {
        key: (number, after.get(key))
        for key, number in before.items()
        if key[0].endswith(rising) and (key not in after or after[key] < number)
    }


def test_one_miss_and_the_rest_are_hits(lab: Lab) -> None:
    """M28: of N packets of a flow one misses at the sender's cache and N - 1 hit; the receiver's cache answers all."""
    lab.tenant(VM1, VM2)
    before = counted(lab)
    assert (before["begun"], before["offloads"], before["hit_ratio"]) == (0, 0, None)
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_sent(VM2)
    lab.send(VM1, *(tcp(VM1, VM2, flags=packets.ACK) for _ in range(99)))
    lab.wait_sent(VM2, 100)

    sender, receiver = counted(lab), counted(lab, "vm2")

    assert sender["caches"]["outbound"] == {"hits": 99, "misses": 1, "passes": 0, "returns": 0}
    assert receiver["caches"]["inbound"] == {"hits": 100, "misses": 0, "passes": 0, "returns": 0}
    assert (sender["misses"], sender["host-hits"], sender["begun"]) == (1, 0, 1)
    assert (receiver["misses"], receiver["begun"]) == (0, 0)
    # One pair: to the other and back, an entry each at the cache of either vport.
    assert (sender["offloads"], receiver["offloads"]) == (2, 2)
    assert (sender["hit_ratio"], sender["nic_share"], receiver["nic_share"]) == (0.99, 0.99, 1.0)


def test_what_a_vport_made_again_counts_is_not_taken_for_its_predecessors(lab: Lab) -> None:
    """M28: entries made again have counted as much as those before them when somebody asks; all of it counts."""

    def refused_in_all() -> int:
        return int(lab.get("stats")["hosts"]["h1"]["refused"].get("ip", 0))

    forged = udp(moved(VM1, ip=VM2.ip), EXT)
    lab.tenant(VM1)
    before = refused_in_all()
    for lives in (1, 2, 3):
        lab.send(VM1, *[forged] * 3)
        wait_until(lambda: lab.guarded(Refusal.IP), 5, "the switch to have refused 3", until=lambda count: count == 3)
        assert refused_in_all() - before == 3 * lives
        lab.delete("vports/vm1")
        lab.put("vports/vm1", VM1.vport)


def test_many_connections_at_once_count_exactly(lab: Lab) -> None:
    """M28: of 5 packets of a connection one misses, and of 10 look-ups 9 hit, whatever flows the datapath shares."""
    lab.tenant(VM1, VM2)
    counted(lab)
    for first in range(20000, 20300, 50):
        ports = range(first, first + 50)
        lab.send(VM1, *[udp(VM1, VM2, port) for port in ports])
        lab.settle()
        for sender, receiver in ((VM2, VM1), (VM1, VM2), (VM2, VM1), (VM1, VM2)):
            lab.send(sender, *[udp(sender, receiver, *_ports(sender, port)) for port in ports])
        lab.settle()

    sender, receiver = counted(lab), counted(lab, "vm2")

    none = {"passes": 0, "returns": 0}
    assert lab.packet_ins() == sender["misses"] == 300
    assert sender["caches"] == {
        "outbound": {"hits": 600, "misses": 300, **none}, "inbound": {"hits": 600, "misses": 0, **none}
    }  # fmt: skip
    assert receiver["caches"] == {
        "outbound": {"hits": 600, "misses": 0, **none}, "inbound": {"hits": 900, "misses": 0, **none}
    }  # fmt: skip


def _ports(sender: Station, port: int) -> tuple[int, int]:
    return (port, 53) if sender is VM1 else (53, port)


def test_neighbour_messages_and_broadcasts_are_no_hits(lab: Lab) -> None:
    """M28: ARP passes the caches by and is counted as such; a broadcast that the host decides is a miss."""
    lab.tenant(VM1, VM2)
    counted(lab)
    lab.send(VM1, packets.arp(1, VM1.mac, VM1.ip, VM2.ip))
    lab.wait_sent(VM2)
    lab.send(VM2, packets.arp(2, VM2.mac, VM2.ip, VM1.ip, tha=VM1.mac))
    lab.wait_sent(VM1)

    assert counted(lab)["caches"]["outbound"] == {"hits": 0, "misses": 0, "passes": 1, "returns": 0}
    # A flooded frame asks at the inbound cache of every member, and is not sent back.
    assert counted(lab)["caches"]["inbound"] == {"hits": 0, "misses": 0, "passes": 2, "returns": 0}
    assert counted(lab, "vm2")["caches"]["inbound"] == {"hits": 0, "misses": 0, "passes": 1, "returns": 0}

    lab.send(VM1, packets.dhcp(VM1.mac, 68, 67))
    lab.wait_sent(VM2, 2)
    assert counted(lab)["caches"]["outbound"] == {"hits": 0, "misses": 1, "passes": 1, "returns": 0}
    assert counted(lab, "vm2")["caches"]["inbound"] == {"hits": 0, "misses": 1, "passes": 1, "returns": 0}
    assert counted(lab)["begun"] == counted(lab)["offloads"] == 0


def test_denied_packets_are_hits_of_the_drop_entry(lab: Lab) -> None:
    """M28: the packet that a rule denies is refused once by the host, and by the NIC alone from then on."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", outbound="deny")
    lab.send(VM1, udp(VM1, VM2))
    lab.wait_cached(1)
    lab.send(VM1, *(udp(VM1, VM2) for _ in range(9)))

    found = counted(lab)

    assert found["caches"]["outbound"] == {"hits": 9, "misses": 1, "passes": 0, "returns": 0}
    assert (found["denied"], found["offloads"]) == (1, 1)


def test_figures_do_not_fall_when_entries_and_vports_go(lab: Lab) -> None:
    """M28: idle timeouts, deletion by hand, changes of rules and of vports, and a deleted vport lower no counter."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall")
    lab.group("short", "outbound", rule("r", {"ip_proto": "udp"}, idle_timeout_s=5))

    def traffic(port: int) -> None:
        lab.send(VM1, udp(VM1, VM2, dport=port))
        lab.settle()
        lab.send(VM1, *(udp(VM1, VM2, dport=port) for _ in range(5)))
        lab.send(VM1, tcp(moved(VM1, ip="10.0.0.66"), EXT))
        lab.settle()

    def later(before: Series) -> Series:
        # A scrape may be told counts of a second ago: one is waited for that has been asked anew.
        lab.refresh()
        lab.get("stats")
        after = scrape(lab)
        assert fallen(before, after) == {}
        return after

    traffic(1001)
    first = later({})
    assert value(first, "cache_hits_total", host="h1", vport="vm1", cache="outbound") == 5

    lab.warp(10)
    wait_until(lambda: lab.cached(), 5, "the entries to run idle", until=lambda entries: not entries)
    idle = later(first)
    removed = {"host": "h1", "vport": "vm1", "reason": "idle-timeout"}
    wait_until(lambda: value(scrape(lab), "entries_removed_total", **removed), 5, "removals", until=lambda n: n >= 1)
    assert value(idle, "cache_hits_total", host="h1", vport="vm1", cache="outbound") == 5

    traffic(1002)
    lab.ovs.ofctl("del-flows", "h1", "cookie=0xf540000000000000/0xfff0000000000000")
    deleted = later(idle)
    assert value(deleted, "cache_hits_total", host="h1", vport="vm1", cache="outbound") == 10

    lab.group("short", "outbound", rule("r", {"ip_proto": "udp"}, "deny"))
    lab.put("vports/vm1", {**VM1.vport, "ips": [*VM1.vport["ips"], "10.0.0.77"]})
    changed = later(deleted)

    lab.delete("vports/vm1")
    gone = scrape(lab)
    lost = fallen(changed, gone)
    assert lost and all(("vport", "vm1") in key[1] and now is None for key, (_, now) in lost.items())  # type: ignore[index]
    for name in {name for name, labels in changed if dict(labels).get("vport")}:
        assert total(gone, name) >= total(changed, name), name
    assert value(gone, "cache_hits_total", host="h1", vport="other", cache="outbound") >= 10


def total(series: Series, name: str) -> float:
    """Return the sum over all vports of the first host."""
    return sum(number for (found, labels), number in series.items() if found == name and ("host", "h1") in labels)


def test_both_ways_of_telling_agree(lab: Lab) -> None:
    """M28: GET /metrics, in both its formats, and GET /v1/stats tell the same; the latency counts every miss."""
    lab.tenant(VM1, VM2)
    misses_before = lab.get("stats")["hosts"]["h1"]["miss_latency"]["misses"]
    for port in range(5):
        lab.send(VM1, tcp(VM1, VM2, dport=port + 1))
    lab.wait_sent(VM2, 5)
    lab.settle()

    told, series = lab.get("stats"), scrape(lab)

    for name, vport in told["vports"].items():
        for cache, counts in vport["caches"].items():
            for kind, number in counts.items():
                found = value(series, f"cache_{kind}_total", host="h1", vport=name, cache=cache)
                assert found == number, (name, cache, kind)
        for metric, count in (("packet_ins", "misses"), ("connections_begun", "begun"), ("offloads", "offloads")):
            assert value(series, f"{metric}_total", host="h1", vport=name) == vport[count]
    assert sum(n for (name, _), n in series.items() if name == "vfswitch_offloads_total") == told["counts"]["offloads"]
    latency = told["hosts"]["h1"]["miss_latency"]
    assert value(series, "miss_latency_seconds_count", host="h1") == latency["misses"] == misses_before + 5
    assert latency["buckets"][-1] == {"up_to_s": None, "misses": latency["misses"]} and latency["sum_s"] > 0
    url = f"http://127.0.0.1:{lab.controller.rest_port}/metrics"
    wanted = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    with urllib.request.urlopen(wanted, timeout=20) as answer:
        families = {family.name for family in parse_openmetrics(answer.read().decode())}
    assert "vfswitch_cache_hits" in families and "vfswitch_miss_latency_seconds" in families


def test_a_spoofed_frame_shows_under_its_reason(lab: Lab) -> None:
    """M28, S12: forged frames are refusals of their vport by reason, for Prometheus as for REST."""
    lab.tenant(VM1, VM2)
    lab.send(VM1, *[tcp(moved(VM1, ip="10.0.0.66"), EXT)] * 3, tcp(moved(VM1, mac="02:00:00:00:00:66"), EXT))
    lab.wait_refusals(VM1, {"ip": 3, "mac": 1})
    series = scrape(lab)
    for reason, number in {"ip": 3, "mac": 1, "arp": 0}.items():
        assert value(series, "refusals_total", host="h1", vport="vm1", reason=reason) == number
    found = counted(lab)
    assert (found["caches"]["outbound"]["hits"], found["nic_share"]) == (0, 1.0)


def test_evictions_are_counted(lab: Lab) -> None:
    """M11, M28: entries that the switch takes out to make room are told apart from those that ran idle."""
    lab.tenant(VM1, VM2)
    # Four entries to a connection, two of them at each table.
    lab.ovs.vsctl("--", "--id=@t", "create", "Flow_Table", "flow_limit=34", "overflow_policy=evict", "groups=\"\"",
                  "--", "set", "bridge", "h1", f"flow_tables:{NUMBER['outbound']}=@t")  # fmt: skip
    try:
        for port in range(30):
            lab.send(VM1, udp(VM1, VM2, dport=port + 1))
            lab.settle()
        evicted = counted(lab)["evicted"] + counted(lab, "vm2")["evicted"]
    finally:
        lab.ovs.vsctl("clear", "bridge", "h1", "flow_tables")
    assert evicted >= 60 - 34
    assert counted(lab)["caches"]["outbound"]["misses"] == 30


def test_a_switch_that_is_slow_or_away_is_told(own_site: Any) -> None:
    """M28: a scrape ends in time without the switch, says so, and keeps the counts told before."""
    lab = Lab(own_site)
    lab.tenant(VM1, VM2)
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_sent(VM2)
    lab.settle()
    lab.get("stats")
    before = scrape(lab)
    assert value(before, "host_answered", host="h1") == value(before, "host_connected", host="h1") == 1

    pid = own_site.ovs.daemons.switch_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        slow = wait_until(lambda: scrape(lab), 20, "the scrape to say so", until=_silent)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert value(slow, "host_connected", host="h1") == 1 and fallen(before, slow) == {}

    lab.ovs.vsctl("del-controller", "h1")
    away = wait_until(lambda: scrape(lab), 10, "the host to be away", until=_away)
    assert value(away, "host_answered", host="h1") == 0 and fallen(slow, away) == {}
    assert value(away, "host_answered", host="h2") == 1


def test_many_readers_ask_the_switch_no_more_than_one(lab: Lab) -> None:
    """M28: scrapes at the same time share one round of asking, and what it brought serves for a second."""
    lab.tenant(VM1)
    asked = lab.site.snoops["h1"]
    for scrapes, most in ((1, 1), (24, 3)):
        lab.get("stats")
        before, begun_s = asked.count(snoop.MULTIPART_REQUEST), time.monotonic()
        with ThreadPoolExecutor(8) as readers:
            told = list(readers.map(lambda _: scrape(lab), range(scrapes)))
        seconds = int(time.monotonic() - begun_s)
        assert all(value(series, "host_answered", host="h1") for series in told)
        assert asked.count(snoop.MULTIPART_REQUEST) - before <= most + seconds


def _silent(told: Series) -> bool:
    return not value(told, "host_answered", host="h1")


def _away(told: Series) -> bool:
    return not value(told, "host_connected", host="h1")


def test_a_new_vport_of_the_same_number_starts_from_nothing(lab: Lab) -> None:
    """M28: a vport that takes a deleted one's VLAN has none of its counts, and the host keeps them."""
    lab.tenant(VM1, VM2)
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_sent(VM2)
    host = _host(lab)
    lab.delete("vports/vm1")
    lab.put("vports/heir", VM1.vport)
    heir = counted(lab, "heir")
    assert (heir["misses"], heir["begun"], heir["caches"]["outbound"]["misses"]) == (0, 0, 0)
    assert all(_host(lab)["counts"][name] >= number for name, number in host["counts"].items())
    lab.delete("vports/heir")


def _host(lab: Lab) -> Mapping[str, Any]:
    lab.settle()
    found: Mapping[str, Any] = lab.get("stats")["hosts"]["h1"]
    return found
