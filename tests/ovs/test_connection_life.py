"""The life of TCP connections: entries leave at once when one closes, and attempts nobody answers are limited."""

from __future__ import annotations

from typing import Any

import pytest

from mininet_scripts.support.waiting import wait_until
from ryu_apps.control.life import HALF_OPEN_PER_VPORT
from ryu_apps.pipeline.cached import HALF_OPEN_IDLE_TIMEOUT_S
from tests.ovs.packets import ACK, FIN, RST, SYN
from tests.ovs.scenario import Lab
from tests.ovs.stations import EXT, VM1, VM2, VM3, Station, rewrite, rule, tcp

# Entries must be gone within this time of a close, by the clock on the wall.
GONE_S = 2.0


@pytest.fixture
def firewall(lab: Lab) -> Lab:
    """Two VMs of one host behind a firewall that lets nothing in by itself."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", stateful=True, inbound="deny")
    lab.group("web", "inbound", rule("web", {"ip_proto": "tcp", "l4_dst": 80}))
    return lab


def opened(lab: Lab, *, version: int = 4) -> None:
    """Set one connection from VM1 to VM2 up, with all three packets of the handshake."""
    lab.send(VM1, tcp(VM1, VM2, version=version))
    lab.wait_cached(4)
    lab.send(VM2, tcp(VM2, VM1, 80, 40000, flags=SYN | ACK, version=version))
    lab.wait_sent(VM1)
    lab.send(VM1, tcp(VM1, VM2, flags=ACK, version=version))
    lab.wait_sent(VM2, 2)


def connection(lab: Lab) -> str | None:
    """Return what REST says of the one connection there is."""
    (flow,) = lab.get("flows")["items"]
    said: str | None = flow["connection"]
    return said


def timeouts(lab: Lab) -> set[int]:
    """Return the idle timeouts of the cached entries."""
    return {entry.idle_timeout_s for entry in lab.cached()}


def gone(lab: Lab) -> None:
    """Return when no cached entry is left, without any time being skipped."""
    wait_until(lab.cached, GONE_S, "the entries to be gone", until=lambda left: not left)


@pytest.mark.parametrize("version", [4, 6])
def test_both_fins_free_all_entries(firewall: Lab, version: int) -> None:
    """M19: after a FIN from each side all four entries leave long before the idle timeout."""
    lab = firewall
    opened(lab, version=version)
    lab.send(VM1, tcp(VM1, VM2, flags=FIN | ACK, version=version))
    lab.send(VM2, tcp(VM2, VM1, 80, 40000, flags=FIN | ACK, version=version))
    lab.send(VM1, tcp(VM1, VM2, flags=ACK, version=version))

    gone(lab)

    assert len(lab.sent(VM2)) == 4
    assert len(lab.sent(VM1)) == 2
    wait_until(lambda: lab.get("flows")["items"], 8, "the flow to be forgotten", until=lambda flows: not flows)


@pytest.mark.parametrize("closer", [VM1, VM2], ids=lambda vm: str(vm.name))
def test_a_reset_from_either_side_frees_all_entries(firewall: Lab, closer: Station) -> None:
    """M19: one RST ends both directions, whoever sends it, and is delivered."""
    lab = firewall
    opened(lab)
    ends = tcp(VM1, VM2, flags=RST) if closer is VM1 else tcp(VM2, VM1, 80, 40000, flags=RST)
    lab.send(closer, ends)

    gone(lab)

    assert lab.sent(VM2 if closer is VM1 else VM1)[-1] == ends


def test_a_half_closed_connection_stays(firewall: Lab) -> None:
    """M19: a FIN of one side alone ends nothing: data goes on the other way, and is acknowledged.

    Entries of the ended direction leave when it is silent; the first packet after that is passed on and brings them
    back to stay, and none misses any more.
    """
    lab = firewall
    opened(lab)
    lab.warp(HALF_OPEN_IDLE_TIMEOUT_S + 2)
    wait_until(lambda: timeouts(lab), 5, "the long timeout", until=lambda found: found == {300})
    lab.send(VM1, tcp(VM1, VM2, flags=FIN | ACK))
    lab.wait_sent(VM2, 3)
    lab.wait_cached(2)
    assert connection(lab) == "established"

    acknowledged(lab, 1)
    assert len(lab.wait_cached(4)) == 4
    before = misses(lab)
    for count in range(2, 5):
        lab.warp(20)
        acknowledged(lab, count)

    assert connection(lab) == "established"
    assert len(lab.cached()) == 4
    assert misses(lab) == before

    lab.send(VM2, tcp(VM2, VM1, 80, 40000, flags=FIN | ACK))
    gone(lab)


def acknowledged(lab: Lab, times: int) -> None:
    """Send data from VM2 on its half, for this many times now, and have VM1 acknowledge it."""
    lab.send(VM2, tcp(VM2, VM1, 80, 40000, b"data", flags=ACK))
    lab.wait_sent(VM1, 1 + times)
    lab.send(VM1, tcp(VM1, VM2, flags=ACK))
    lab.wait_sent(VM2, 3 + times)


def misses(lab: Lab) -> int:
    """Return how often VM1 and VM2 missed."""
    vports: dict[str, Any] = lab.get("stats")["vports"]
    return sum(vports[vm.name].get("misses", 0) for vm in (VM1, VM2))


def test_closing_frees_entries_across_hosts_and_through_edits(lab: Lab) -> None:
    """M19: a connection whose packets are rewritten on the way, to a VM on another host, goes from both hosts."""
    lab.tenant(VM1, VM3)
    lab.layer("balancer", 10, stateful=True)
    moved = rewrite(ipv4_dst=VM3.ip, l4_dst=8080)
    lab.group("web", "outbound", rule("web", {"ip_proto": "tcp", "l4_dst": 80}, moved), layer="balancer")
    lab.send(VM1, tcp(VM1, VM3))
    lab.wait_cached(2, "h1")
    lab.wait_cached(2, "h2")
    lab.carry("h1", "h2")
    lab.send(VM1, tcp(VM1, VM3, flags=FIN | ACK))
    lab.carry("h1", "h2")
    lab.send(VM3, tcp(VM3, VM1, 8080, 40000, flags=FIN | ACK))
    lab.carry("h2", "h1")

    for host in ("h1", "h2"):
        wait_until(lambda host=host: lab.cached(host), GONE_S, f"{host} to be empty", until=lambda left: not left)  # type: ignore[misc]
    assert len(lab.sent(VM1)) == 1


def test_a_packet_that_comes_late_passes_and_leaves_nothing(firewall: Lab) -> None:
    """M19: a repeated FIN behind the close is delivered although its entry is gone, and brings no entry back."""
    lab = firewall
    opened(lab)
    lab.send(VM1, tcp(VM1, VM2, flags=FIN | ACK))
    lab.send(VM2, tcp(VM2, VM1, 80, 40000, flags=FIN | ACK))
    gone(lab)

    lab.send(VM2, tcp(VM2, VM1, 80, 40000, flags=FIN | ACK))

    lab.wait_sent(VM1, 3)
    lab.settle()
    assert not lab.cached()
    assert connection(lab) == "closing"


def test_a_forged_reset_cuts_nobody_off(firewall: Lab) -> None:
    """M19: when packets go on after a RST, the connection is taken up again with its entries, and nothing is lost."""
    lab = firewall
    opened(lab)
    lab.send(VM2, tcp(VM2, VM1, 80, 40000, flags=RST))
    gone(lab)
    before = len(lab.sent(VM1))

    lab.send(VM2, *[tcp(VM2, VM1, 80, 40000, b"data", flags=ACK)] * 6)

    lab.wait_sent(VM1, before + 6)
    wait_until(lab.cached, 5, "entries for what goes on", until=lambda found: len(found) >= 1)
    assert connection(lab) == "established"


def test_the_same_ports_may_be_used_again_at_once(firewall: Lab) -> None:
    """M19: a SYN of a connection that has just closed begins another, which is half open."""
    lab = firewall
    opened(lab)
    lab.send(VM2, tcp(VM2, VM1, 80, 40000, flags=RST | ACK))
    gone(lab)

    lab.send(VM1, tcp(VM1, VM2))

    assert len(lab.wait_cached(4)) == 4
    assert connection(lab) == "half-open"


def test_a_syn_that_missed_is_remembered_for_syns_alone(firewall: Lab) -> None:
    """M01: what the switch remembers of a SYN that missed is for no packet that follows it."""
    remembered = [line for line in firewall.switch_trace(VM1.port, tcp(VM1, VM2)).splitlines() if "Megaflow" in line]
    assert len(remembered) == 1
    assert "tcp_flags=+syn-ack" in remembered[0]


def test_an_unanswered_connection_leaves_soon(firewall: Lab) -> None:
    """M21: entries of a SYN that nobody answers have the short timeout, and go after it."""
    lab = firewall
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_cached(4)
    assert timeouts(lab) == {HALF_OPEN_IDLE_TIMEOUT_S}
    assert connection(lab) == "half-open"

    lab.warp(HALF_OPEN_IDLE_TIMEOUT_S + 2)

    lab.wait_cached(0)
    wait_until(lambda: lab.get("flows")["items"], 5, "the flow to be forgotten", until=lambda flows: not flows)


def test_an_answered_connection_stays_for_long(firewall: Lab) -> None:
    """M10: a connection that was answered outlives the short timeout, and has the long one from then on."""
    lab = firewall
    opened(lab)
    assert connection(lab) == "established"

    lab.warp(HALF_OPEN_IDLE_TIMEOUT_S + 2)

    wait_until(lambda: timeouts(lab), 5, "the long timeout", until=lambda found: found == {300})
    assert len(lab.wait_cached(4)) == 4
    before = misses(lab)
    lab.warp(60)
    lab.send(VM1, tcp(VM1, VM2, flags=ACK))
    lab.wait_sent(VM2, 3)
    assert len(lab.cached()) == 4
    assert misses(lab) == before


def test_a_flood_fills_its_own_quota_only(lab: Lab) -> None:
    """M21: of a SYN flood no more than the quota is let through; others connect with one miss; nothing leaks.

    The flood is repeated after its connections have timed out, and has the same quota again.
    """
    lab.tenant(VM1, VM2)
    lab.layer("firewall", stateful=True)
    extra = 1200
    for round_number in range(2):
        base = 1024 + round_number * 20_000
        flood = [tcp(VM1, EXT, base + n) for n in range(HALF_OPEN_PER_VPORT + extra)]
        sent, counted, others = len(lab.sent("h1-uplink")), refused(lab, VM1), refused(lab, VM2)
        lab.send(VM1, *flood)
        lab.settle()
        assert len(lab.sent("h1-uplink")) - sent == HALF_OPEN_PER_VPORT
        # They have waited for a place. What was under way when the switch began to refuse may be counted once more.
        _wait_refused(lab, counted + extra)
        assert extra <= refused(lab, VM1) - counted <= 1.5 * extra

        before = lab.packet_ins()
        lab.send(VM2, tcp(VM2, EXT, 30_000 + round_number))
        lab.settle()
        assert len(lab.sent("h1-uplink")) - sent == HALF_OPEN_PER_VPORT + 1
        assert lab.packet_ins() == before + 1
        assert refused(lab, VM2) == others

        lab.warp(HALF_OPEN_IDLE_TIMEOUT_S + 2)
        lab.wait_cached(0)
        wait_until(lambda: lab.get("stats")["flows"], 10, "the flood to be forgotten", until=lambda left: not left)


def _wait_refused(lab: Lab, count: int) -> None:
    wait_until(lambda: refused(lab, VM1), 10, f"{count} to be refused", until=lambda now: now >= count)


def refused(lab: Lab, vm: Station) -> int:
    """Return how many connections of a VM were refused for the half-open limit, by the host or by the switch."""
    counts: dict[str, Any] = lab.get("stats")["vports"][vm.name]
    return int(counts.get("half-open-limit", 0)) + int(counts["refused"].get("half-open-limit", 0))


def test_answered_connections_do_not_fill_the_quota(lab: Lab) -> None:
    """M21: a VM may have more connections than its quota of half-open ones, if they are answered."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", stateful=True)
    lab.group("web", "inbound", rule("web", {"ip_proto": "tcp"}))
    before = refused(lab, VM1)
    total, step = HALF_OPEN_PER_VPORT + 400, 300
    for base in range(0, total, step):
        numbers = range(1024 + base, 1024 + base + step)
        sent = len(lab.sent(VM2))
        lab.send(VM1, *(tcp(VM1, VM2, n) for n in numbers))
        lab.wait_sent(VM2, sent + step)
        lab.send(VM2, *(tcp(VM2, VM1, 80, n, flags=SYN | ACK) for n in numbers))
        lab.settle()

    assert refused(lab, VM1) == before
    assert len(lab.sent(VM2)) >= total


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_the_host_forwards_ends_by_its_closing_packets(lab: Lab, reset: bool) -> None:
    """M19 M12: a connection with no entry in any NIC is forgotten as soon, and no closing packet is lost."""
    lab.tenant(VM1, VM2)
    lab.layer("firewall", stateful=True, inbound="deny")
    lab.group("web", "inbound", {**rule("web", {"ip_proto": "tcp", "l4_dst": 80}), "offload": "off"})
    lab.send(VM1, tcp(VM1, VM2))
    lab.wait_sent(VM2, 1)
    lab.send(VM2, tcp(VM2, VM1, 80, 40000, flags=SYN | ACK))
    lab.wait_sent(VM1, 1)
    lab.send(VM1, tcp(VM1, VM2, flags=ACK))
    lab.wait_sent(VM2, 2)
    assert lab.get("flows")["items"] and not lab.cached()

    if reset:
        lab.send(VM1, tcp(VM1, VM2, flags=RST))
        lab.wait_sent(VM2, 3)
    else:
        lab.send(VM1, tcp(VM1, VM2, flags=FIN | ACK))
        lab.wait_sent(VM2, 3)
        lab.send(VM2, tcp(VM2, VM1, 80, 40000, flags=FIN | ACK))
        lab.wait_sent(VM1, 2)
        lab.send(VM1, tcp(VM1, VM2, flags=ACK))
        lab.wait_sent(VM2, 4)

    wait_until(lambda: lab.get("flows")["items"], 8, "the flow to be forgotten", until=lambda flows: not flows)
    assert not lab.cached()
