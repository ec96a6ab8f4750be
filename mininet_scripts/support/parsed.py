"""Captured frames taken apart."""

from __future__ import annotations

from typing import NamedTuple

from mininet_scripts.support import frames


class Frame(NamedTuple):
    """A captured frame: its addresses, the VLAN of its tag (None for untagged), its type and the rest."""

    dst: str
    src: str
    vlan: int | None
    eth_type: int
    payload: bytes

    @property
    def unicast(self) -> bool:
        """Return whether one station is addressed."""
        return not int(self.dst[:2], 16) & 1

    def udp_to(self, port: int) -> bool:
        """Return whether this is an IPv4 UDP datagram, or its first fragment, to a port."""
        is_udp = self.eth_type == frames.IPV4 and self.payload[9] == frames.UDP
        return is_udp and int.from_bytes(self.l4[2:4], "big") == port

    def tcp_port(self, port: int) -> bool:
        """Return whether this is an IPv4 TCP segment from or to a port."""
        is_tcp = self.eth_type == frames.IPV4 and self.payload[9] == frames.TCP
        return is_tcp and port in (int.from_bytes(self.l4[:2], "big"), int.from_bytes(self.l4[2:4], "big"))

    @property
    def l4(self) -> bytes:
        """Return what follows an IPv4 header."""
        return self.payload[(self.payload[0] & 0x0F) * 4 :]


def read_frame(data: bytes) -> Frame:
    """Return a captured frame taken apart."""
    vlan = int.from_bytes(data[14:16], "big") & 0xFFF if data[12:14] == b"\x81\x00" else None
    at = 12 if vlan is None else 16
    return Frame(_mac(data[:6]), _mac(data[6:12]), vlan, int.from_bytes(data[at : at + 2], "big"), data[at + 2 :])


def _mac(data: bytes) -> str:
    return data.hex(":")
