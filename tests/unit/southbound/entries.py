"""Hypothesis strategies for cached entries of every shape."""

from __future__ import annotations

from hypothesis import strategies as st

from ryu_apps.model.fields import FIELDS, SETTABLE
from ryu_apps.model.flow_key import (
    CUSTOMER_TAG,
    ND_TYPES,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTOS_WITH_PORTS,
    VLAN_PRESENT,
    Family,
    FlowKey,
)
from ryu_apps.model.rules import Direction
from ryu_apps.model.transposition import Transposition, transposition
from ryu_apps.model.treatment import Copied, Metered, ToTunnel, ToVport, Treatment
from ryu_apps.pipeline.cached import CachedEntry, is_tcp
from ryu_apps.pipeline.cookie import CACHED, Cookie

bits16 = st.integers(0, 0xFFFF)
_mac = st.integers(0, (1 << 48) - 1)
_protos = st.sampled_from((1, 6, 17, 58, 132, 47, 50)) | st.integers(0, 255)
# What a frame of neither IP nor ARP can carry; 0x5ff stands for an 802.3 length.
_eth_types = st.just(0x05FF) | st.integers(0x0600, 0xFFFF).filter(lambda t: t not in (0x0800, 0x0806, 0x86DD))


_tags = st.sampled_from([0, 0, 0, CUSTOMER_TAG | VLAN_PRESENT | 7, CUSTOMER_TAG | VLAN_PRESENT | 4094])


@st.composite
def keys(draw: st.DrawFn) -> FlowKey:
    """Return a key that can have an exact entry: untagged or a customer's, and neither ARP nor neighbour discovery."""
    family = draw(st.sampled_from((Family.LINK, Family.IPV4, Family.IPV6)))
    link = draw(_mac) << 80 | draw(_mac) << 32 | draw(_tags) << 16
    if family is Family.LINK:
        return FlowKey(family, link | draw(_eth_types))
    width, eth_type, icmp = (32, 0x0800, PROTO_ICMP) if family is Family.IPV4 else (128, 0x86DD, PROTO_ICMPV6)
    proto = draw(_protos)
    source = destination = 0
    if proto in PROTOS_WITH_PORTS:
        source, destination = draw(bits16), draw(bits16)
    elif proto == icmp:
        kinds = st.integers(0, 255).filter(lambda kind: family is Family.IPV4 or kind not in ND_TYPES)
        source, destination = draw(kinds), draw(st.integers(0, 255))
    addresses = draw(st.integers(0, (1 << 2 * width) - 1))
    above = (link | eth_type) << 16 | proto << 8 | draw(st.integers(0, 63))
    return FlowKey(family, above << (2 * width + 32) | addresses << 32 | source << 16 | destination)


@st.composite
def edits(draw: st.DrawFn) -> Transposition:
    """Return an edit of any settable fields, also of such as a packet may not have."""
    names = draw(st.lists(st.sampled_from(SETTABLE), unique=True))
    tag = {"vlan_vid": draw(_tags)} if draw(st.integers(0, 3)) == 0 else {}
    return transposition(tag | {name: draw(st.integers(0, FIELDS[name].full)) for name in names})


@st.composite
def treatments(draw: st.DrawFn, exits: bool = True) -> Treatment:
    """Return a treatment of up to three steps, with an exit or without."""
    number = st.integers(1, 4094)
    steps = st.one_of(
        st.integers(1, 0x7FFFFFFF).map(Metered),
        st.tuples(number, edits()).map(lambda drawn: Copied(*drawn)),
    )
    tunnel = st.builds(ToTunnel, st.just(4), st.integers(1, (1 << 32) - 1), st.integers(1, 0xFFFFFF))
    tunnel6 = st.builds(ToTunnel, st.just(6), st.integers(1, (1 << 128) - 1), st.integers(1, 0xFFFFFF))
    exit_ = draw(st.none() | number.map(ToVport) | tunnel | tunnel6) if exits else None
    return Treatment(steps=tuple(draw(st.lists(steps, max_size=3))), exit=exit_)


@st.composite
def treated_entries(draw: st.DrawFn) -> CachedEntry:
    """Return a cached entry that treats packets; only what a VM sends has an exit."""
    made = draw(cached_entries())
    outbound = made.direction is Direction.OUTBOUND
    return made._replace(treatment=draw(treatments(exits=outbound and made.allow)))


@st.composite
def cached_entries(draw: st.DrawFn) -> CachedEntry:
    """Return a cached entry."""
    vport = draw(st.integers(0, 4095))
    cookie = Cookie(draw(st.sampled_from(sorted(CACHED))), draw(st.integers(0, 4095)), vport, draw(bits16))
    made = CachedEntry(
        cookie=cookie.pack(),
        direction=draw(st.sampled_from(Direction)),
        segment=draw(bits16),
        vport=vport,
        key=draw(keys()),
        exact_dscp=draw(st.booleans()),
        allow=draw(st.booleans()),
        edit=draw(edits()),
        idle_timeout_s=draw(bits16),
        hard_timeout_s=draw(bits16),
    )
    return made._replace(ends_by_fin=made.allow and is_tcp(made.key) and draw(st.booleans()))
