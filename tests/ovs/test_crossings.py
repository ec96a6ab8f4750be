"""Where a dump of entries says that a packet goes, against where the switch sends it."""

from __future__ import annotations

from mininet_scripts.support import flow_dump
from mininet_scripts.support.crossings import Packet, leave
from tests.ovs import packets
from tests.ovs.chain_site import MACS, Site, site

__all__ = ["site"]

TCP = 6


def segment(sender: int, receiver: int, sport: int, dport: int) -> bytes:
    """Return the frame of a TCP segment from one VM to another."""
    ends = f"10.0.0.{sender}", f"10.0.0.{receiver}"
    payload = packets.transport(*ends, TCP, packets.tcp(sport, dport))
    return packets.ether(MACS[sender], MACS[receiver], packets.IPV4, packets.packet(*ends, TCP, payload))


def fields(sender: int, receiver: int, sport: int, dport: int) -> dict[str, str]:
    """Return the same segment's fields in ovs-ofctl's words."""
    return {
        "dl_src": MACS[sender], "dl_dst": MACS[receiver], "nw_src": f"10.0.0.{sender}", "nw_dst": f"10.0.0.{receiver}",
        "tp_src": str(sport), "tp_dst": str(dport),
    }  # fmt: skip


def test_a_dump_tells_the_way_that_a_connection_takes(site: Site) -> None:
    """H11: hop by hop, both ways, from the entries alone; what none lets pass leaves nowhere."""
    there, back = segment(1, 2, 1000, 80), segment(2, 1, 80, 1000)
    ways = [
        ("h1f-cable", packets.tagged(there, 101), "fw-a-in"), ("fw-a-out", there, "nat-a-in"),
        ("nat-a-out", there, "h1f-cable"), ("h1f-cable", packets.tagged(back, 102), "nat-a-out"),
        ("nat-a-in", back, "fw-a-out"), ("fw-a-in", back, "h1f-cable"),
    ]  # fmt: skip
    for into, frame, out in ways:
        site.through(into, frame, out)
    entries = flow_dump.parse_all(site.ovs.ofctl("dump-flows", "h1f", options=["--names"]))
    for into, frame, out in ways:
        reply = frame.endswith(back[14:])
        vlan = (102 if reply else 101) if into == "h1f-cable" else None
        header = fields(2, 1, 80, 1000) if reply else fields(1, 2, 1000, 80)
        found = leave(entries, into, Packet(fields=header, vlan=vlan))
        assert found is not None and found.port == out, into
        assert found.packet.vlan == ((101 if reply else 102) if out == "h1f-cable" else None)
    assert leave(entries, "h1f-cable", Packet(fields=fields(1, 2, 1000, 80), vlan=999)) is None
