"""What NIC port 2 writes down of connections in a chain, and how long it is kept."""

from __future__ import annotations

import re

import pytest

from mininet_scripts.support.waiting import wait_until
from tests.ovs import packets
from tests.ovs.chain_site import ASSIGNED, MACS, RESUME, Site, site

__all__ = ["site"]

TCP = 6
SYN, ACK, FIN, RST = 0x02, 0x10, 0x01, 0x04


def segment(sender: int, receiver: int, flags: int) -> bytes:
    """Return the frame of a TCP segment of one connection between two VMs."""
    ends = f"10.0.0.{sender}", f"10.0.0.{receiver}"
    ports = (1000, 80) if sender < receiver else (80, 1000)
    payload = packets.transport(*ends, TCP, packets.tcp(*ports, flags=flags))
    return packets.ether(MACS[sender], MACS[receiver], packets.IPV4, packets.packet(*ends, TCP, payload))


def there(site: Site, flags: int) -> None:
    """Have vm1 send a segment to vm2 through both hops."""
    frame = segment(1, 2, flags)
    site.through("h1f-cable", packets.tagged(frame, 101), "fw-a-in")
    site.through("fw-a-out", frame, "nat-a-in")
    assert site.through("nat-a-out", frame, "h1f-cable") == packets.tagged(frame, 102)


def back(site: Site, flags: int) -> None:
    """Have vm2 answer by both hops."""
    frame = segment(2, 1, flags)
    site.through("h1f-cable", packets.tagged(frame, 102), "nat-a-out")
    site.through("nat-a-in", frame, "fw-a-out")
    assert site.through("fw-a-in", frame, "h1f-cable") == packets.tagged(frame, 101)


def idle_timeouts(site: Site) -> dict[int, list[int]]:
    """Return the idle timeouts of what each of the two tables has learned of connections, in seconds."""
    dumps = {table: site.ovs.ofctl("dump-flows", "h1f", f"table={table}") for table in (ASSIGNED, RESUME)}
    return {table: sorted(map(int, re.findall(r" idle_timeout=(\d+)", dump))) for table, dump in dumps.items()}


@pytest.mark.parametrize("last", [FIN | ACK, RST])
def test_what_is_known_of_a_connection_that_has_ended_goes_soon(site: Site, last: int) -> None:
    """M19 H11: a FIN of both sides, or a RST, leaves of five minutes ten seconds, and twenty of its direction."""
    there(site, SYN)
    back(site, SYN | ACK)
    there(site, ACK)
    assert idle_timeouts(site) == {ASSIGNED: [300] * 2, RESUME: [330]}
    there(site, last)
    back(site, last)
    there(site, ACK)
    ended = {ASSIGNED: [10] * 2, RESUME: [20]}
    wait_until(lambda: idle_timeouts(site), 5, "the timeouts to be short", until=lambda now: now == ended)
