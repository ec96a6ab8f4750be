"""Addresses as integers: parsing and formatting of MAC, IPv4 and IPv6."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")

MULTICAST_BIT = 1 << 40
BROADCAST_MAC = (1 << 48) - 1
BROADCAST_IPV4 = (1 << 32) - 1


def parse_mac(text: str) -> int:
    """Return a 48-bit MAC address; ValueError unless it is six hex pairs with colons."""
    if not _MAC.fullmatch(text):
        raise ValueError(f"{text!r} is not a MAC address such as 02:00:00:00:00:01")
    return int(text.replace(":", ""), 16)


def format_mac(mac: int) -> str:
    """Return a MAC address as six lower-case hex pairs with colons."""
    return mac.to_bytes(6, "big").hex(":")


def parse_unicast_mac(text: str) -> int:
    """Return the MAC address of one station; ValueError for a group address or all zeros (IEEE 802-2014 section 8)."""
    mac = parse_mac(text)
    if mac & MULTICAST_BIT or not mac:
        raise ValueError(f"{text!r} is not the address of one station")
    return mac


def parse_prefix(text: str, version: int) -> tuple[int, int]:
    """Return (value, mask) of an address or prefix of IP version 4 or 6.

    ValueError for another version or when bits are set beyond the prefix length.
    """
    if "%" in text:
        raise ValueError(f"{text!r} has a zone, which no packet carries")
    network = ip_network(text)
    if network.version != version:
        raise ValueError(f"{text!r} is not an IPv{version} address or prefix")
    return int(network.network_address), int(network.netmask)


def parse_address(text: str) -> tuple[int, int]:
    """Return (IP version, value) of one station's address; ValueError for a prefix, a group or no address at all."""
    address = ip_address(text)
    broadcast = address.version == 4 and int(address) == BROADCAST_IPV4
    if "%" in text or address.is_multicast or address.is_unspecified or broadcast:
        raise ValueError(f"{text!r} is not the address of one station")
    return address.version, int(address)


def format_ip(version: int, value: int) -> str:
    """Return the text of an address of IP version 4 or 6."""
    return format_ipv4(value) if version == 4 else format_ipv6(value)


def format_ipv4(value: int) -> str:
    """Return dotted-quad notation."""
    return str(IPv4Address(value))


def format_ipv6(value: int) -> str:
    """Return the canonical text of RFC 5952."""
    return str(IPv6Address(value))


def link_local(mac: int) -> int:
    """Return the IPv6 link-local address made from a MAC (RFC 4291 appendix A, modified EUI-64)."""
    high, low = mac >> 24, mac & 0xFFFFFF
    return (0xFE80 << 112) | ((high ^ 0x020000) << 40) | (0xFFFE << 24) | low
