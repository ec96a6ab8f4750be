"""Probes on the wire: sent as Ryu would write it, caught whatever a switch says, and counted by what it has written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ryu.ofproto import ofproto_v1_4 as ofp
from ryu.ofproto import ofproto_v1_4_parser as parser
from ryu.ofproto.ofproto_protocol import ProtocolDesc

from ryu_apps.control.events import ProbeCaught
from ryu_apps.control.probes import Shot
from ryu_apps.pipeline.cookie import Cookie, EntryClass
from ryu_apps.pipeline.tables import NUMBER
from ryu_apps.southbound import packet_in
from ryu_apps.southbound.malformed import Malformed
from ryu_apps.southbound.probing import packet_out
from tests.unit.southbound import messages

CAUGHT = Cookie(EntryClass.PROBE).pack()
SPLICE = NUMBER["splice"]


@given(st.integers(1, 0xFFFFFF00), st.binary(max_size=100))
def test_a_probe_is_sent_as_ryu_writes_it(port_no: int, frame: bytes) -> None:
    """H12: a probe leaves by one port, from none."""
    message = parser.OFPPacketOut(
        ProtocolDesc(5), buffer_id=ofp.OFP_NO_BUFFER, in_port=ofp.OFPP_CONTROLLER,
        actions=[parser.OFPActionOutput(port_no, 0)], data=frame,
    )  # fmt: skip
    message.set_xid(0)
    message.serialize()
    assert packet_out(Shot(1, port_no, frame)) == bytes(message.buf)


@given(st.integers(1, 0xFFFFFF00), st.binary(max_size=100))
def test_a_caught_probe_keeps_port_and_frame(port_no: int, frame: bytes) -> None:
    """H12: a packet-in of the entry that catches probes is no miss, and tells where it came out."""
    fields = messages.oxm_fields([("in_port", port_no)])
    message = messages.packet_in(fields, frame, table_id=SPLICE, cookie=CAUGHT)
    assert packet_in.decode(message, 0, len(message), 5) is None
    assert packet_in.decode_probe(message, 0, len(message), 5) == ProbeCaught(5, port_no, frame)


@pytest.mark.parametrize("cookie", [0, messages.PUNTED, Cookie(EntryClass.GUARD).pack()])
def test_other_packet_ins_are_no_probes(cookie: int) -> None:
    """H12: what another entry sends up is not taken for a probe."""
    message = messages.packet_in(messages.oxm_fields([("in_port", 1)]), b"", table_id=SPLICE, cookie=cookie)
    assert packet_in.decode_probe(message, 0, len(message), 5) is None


@given(st.binary(max_size=40), st.integers(0, 80))
def test_a_hostile_probe_is_malformed_or_read(fields: bytes, cut: int) -> None:
    """H12: whatever a switch says of a probe, it is read or refused."""
    message = messages.packet_in(fields, bytes(60), table_id=SPLICE, cookie=CAUGHT)
    try:
        found = packet_in.decode_probe(message, 0, len(message) - cut, 5)
    except Malformed:
        return
    assert found is not None
