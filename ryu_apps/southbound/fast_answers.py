"""Answers to first packets of known kinds, as bytes: templates of a whole kind, with a connection's own values put in.

The plain twin is decode, `ControlCore.packet_in` and `answers.encode`, whose bytes these equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, NamedTuple

from ryu_apps.control.effects import Emit
from ryu_apps.control.events import PacketIn
from ryu_apps.control.fast_path import Answer, FastPath, Leg, Place
from ryu_apps.pipeline.cookie import DETAIL_MASK
from ryu_apps.southbound.flow_removed import ended_by_fin
from ryu_apps.southbound.layout import layout
from ryu_apps.southbound.packet_out import packet_out
from ryu_apps.southbound.templates import add

_SMALLEST: Final = 34
_MOST_PLACES: Final = 65536
_COOKIE_AT, _BEHIND_COOKIE = 8, 16
# Where the first of the four values of a match begins with what stands before it: behind the match's header and MACs.
_VALUES_AT: Final = 72

_Encoder = Callable[[int, int, int, int, int], bytes]


class _Encoded:
    """The templates of one kind: entries for the datapath that asked, for others, and the packet-out's head."""

    __slots__ = ("_packet_out", "emits", "heads", "others", "own")

    def __init__(self, answer: Answer, place: Place) -> None:
        self.own = tuple(_encoders([leg for leg in answer.legs if leg.dpid == place.dpid]))
        self.others = tuple((leg.dpid, _encoder(leg)) for leg in answer.legs if leg.dpid != place.dpid)
        self._packet_out = b""
        # The packet-out up to the frame, by the frame's length.
        self.heads: dict[int, bytes] = {}
        if answer.table is not None:
            registers = place.segment, place.sender, place.receiver
            self._packet_out = packet_out(Emit(place.dpid, answer.table, place.in_port, *registers, b""))
        # Whether the packet goes on.
        self.emits = bool(self._packet_out)

    def head(self, frame_bytes: int) -> bytes:
        """Return the packet-out of a frame of this length, up to the frame; it is kept in `heads`."""
        length = (len(self._packet_out) + frame_bytes).to_bytes(2, "big")
        made = self.heads[frame_bytes] = self._packet_out[:2] + length + self._packet_out[4:]
        return made


class FastAnswers:
    """What one receive loop knows of the places that its packet-ins come from."""

    def __init__(self, fast_path: FastPath) -> None:
        self._fast_path = fast_path
        self._meet = fast_path.meet
        self._places: dict[bytes, Place] = {}

    def answer(
        self, data: bytes, at: int, length: int, now_s: float, own: list[bytes], others: dict[int, list[bytes]]
    ) -> bool:
        """Add the answer to the packet-in at data[at:at+length]; False when it must be answered the usual way.

        What is added to own are whole messages, packet-outs apart from flow-mods.
        """
        if length < _SMALLEST:
            return False
        match_bytes = data[at + 26] << 8 | data[at + 27]
        place = self._places.get(data[at + 14 : at + 24 + match_bytes])
        if place is None:
            return False
        frame_at, end = at + 26 + (match_bytes + 7 & ~7), at + length
        met = self._meet(place, data, frame_at, end, now_s)
        if met is None:
            return False
        answer, flow_id, ipv4_src, ipv4_dst, l4_src, l4_dst = met
        encoded = answer.encoded
        if encoded is None:
            encoded = answer.encoded = _Encoded(answer, place)
        for encode in encoded.own:
            own.append(encode(flow_id, ipv4_src, ipv4_dst, l4_src, l4_dst))
        for dpid, encode in encoded.others:
            others.setdefault(dpid, []).append(encode(flow_id, ipv4_src, ipv4_dst, l4_src, l4_dst))
        if encoded.emits:
            # One message whole: behind a barrier packet-outs are told from flow-mods by how they begin.
            own.append((encoded.heads.get(end - frame_at) or encoded.head(end - frame_at)) + data[frame_at:end])
        return True

    def let_go(self, data: bytes, at: int, length: int, now_s: float) -> bool:
        """Take note of the flow-removed at data[at:at+length]; False when it must be told the usual way."""
        gone = ended_by_fin(data, at, length)
        return gone is not None and self._fast_path.letting_go.take(*gone, now_s)

    def note(self, data: bytes, at: int, event: PacketIn) -> None:
        """Remember the place of a packet-in that was answered the usual way."""
        place = self._fast_path.place(event)
        if place is not None:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            match_bytes = data[at + 26] << 8 | data[at + 27]
            self._places[data[at + 14 : at + 24 + match_bytes]] = place


def _encoders(legs: list[Leg]) -> Iterator[_Encoder]:
    """Yield what makes the flow-mods of legs, in order; those of one of each way follow each other and are made as one.

    Their calls are a good part of what a miss costs.
    """
    while legs:
        if len(legs) > 1 and not legs[0].reply and legs[1].reply:
            yield _pair(legs[0], legs[1])
            legs = legs[2:]
        else:
            yield _encoder(legs[0])
            legs = legs[1:]


class _Template(NamedTuple):
    """A kind's flow-mod: its cookie without the flow's id, and its bytes between cookie, addresses and ports.

    Its struct takes these in turn with the values.
    """

    cookie: int
    format: str
    constants: tuple[bytes, bytes, bytes, bytes, bytes, bytes]


def _template(leg: Leg) -> _Template:
    made = leg.entry
    message = add(made)
    bits = made.key.bits
    shape = layout(made.key.family, bits >> 104 & 0xFF, bits >> 96 & 0x3F if made.exact_dscp else None)
    starts = [_COOKIE_AT]
    ends = [_BEHIND_COOKIE]
    at = _VALUES_AT
    for before, width in zip(shape.before, shape.widths, strict=True):
        starts.append(at + len(before))
        at += len(before) + width
        ends.append(at)
    first, to_third, between, to_ports, to_last, rest = (
        message[end:start] for end, start in zip([0, *ends], [*starts, len(message)], strict=True)
    )
    constants = first, to_third, between, to_ports, to_last, rest
    return _Template(made.cookie & ~DETAIL_MASK, "{}sQ{}sI{}sI{}sH{}sH{}s".format(*map(len, constants)), constants)


def _encoder(leg: Leg) -> _Encoder:
    """Return what makes the flow-mod of a kind's entry from a flow's id, addresses and ports."""
    base, template, (first, to_third, between, to_ports, to_last, rest) = _template(leg)
    pack = Struct("!" + template).pack

    def forward(flow_id: int, ipv4_src: int, ipv4_dst: int, l4_src: int, l4_dst: int) -> bytes:
        return pack(
            first, base | flow_id, to_third, ipv4_src, between, ipv4_dst, to_ports, l4_src, to_last, l4_dst, rest
        )

    def reply(flow_id: int, ipv4_src: int, ipv4_dst: int, l4_src: int, l4_dst: int) -> bytes:
        return forward(flow_id, ipv4_dst, ipv4_src, l4_dst, l4_src)

    return reply if leg.reply else forward


def _pair(leg: Leg, answering: Leg) -> _Encoder:
    """Return what makes the flow-mods of an entry and of one for replies, one behind the other."""
    base, template, (first, to_third, between, to_ports, to_last, rest) = _template(leg)
    base_2, template_2, (first_2, to_third_2, between_2, to_ports_2, to_last_2, rest_2) = _template(answering)
    joint = rest + first_2
    at, at_2 = template.rindex("H") + 1, template_2.index("Q")
    pack = Struct(f"!{template[:at]}{len(joint)}s{template_2[at_2:]}").pack

    def both(flow_id: int, ipv4_src: int, ipv4_dst: int, l4_src: int, l4_dst: int) -> bytes:
        return pack(
            first, base | flow_id, to_third, ipv4_src, between, ipv4_dst, to_ports, l4_src, to_last, l4_dst,
            joint, base_2 | flow_id, to_third_2, ipv4_dst, between_2, ipv4_src, to_ports_2, l4_dst, to_last_2, l4_src,
            rest_2,
        )  # fmt: skip

    return both
