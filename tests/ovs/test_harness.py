"""The switch tier's own tools tell the truth, shown with Ryu's apps in place of ours."""

from __future__ import annotations

import pytest

from mininet_scripts.support.waiting import wait_until
from tests.conftest import StartController
from tests.ovs.harness.switch import OpenVSwitch
from tests.ovs.harness.unixctl import CommandError

RYU_APPS = ("ryu.app.simple_switch_14", "ryu.app.ofctl_rest")
# 02:…:01 → 02:…:02, IPv4 10.0.0.1 → 10.0.0.2, TCP SYN 3000 → 80.
SYN = bytes.fromhex(
    "0200000000020200000000010800"
    "450000280000000040060000" + "0a0000010a000002"
    "0bb80050000000010000000050020400" + "00000000"
)


def test_injected_frame_leaves_where_the_entry_says(ovs: OpenVSwitch) -> None:
    """A frame received at a dummy port is found in the capture of the port that it was sent out of."""
    ovs.add_bridge("h1", 1, ["h1-vf1", "h1-uplink"])
    ovs.ofctl("add-flow", "h1", "in_port=1,actions=push_vlan:0x8100,set_field:4197->vlan_vid,output:2")

    ovs.receive("h1-vf1", SYN)

    assert ovs.wait_sent("h1-uplink") == [SYN[:12] + bytes.fromhex("81000065") + SYN[12:]]
    assert ovs.sent("h1-vf1") == []


def test_dump_gives_match_actions_and_counters(ovs: OpenVSwitch) -> None:
    """A dumped entry carries the fields that it was installed with and the packets it has seen."""
    ovs.add_bridge("h1", 1, {"h1-vf1": 7})
    entry = "table=3,cookie=0x1f,priority=9,idle_timeout=30,send_flow_rem,in_port=7,tcp,tp_dst=80,actions=drop"
    ovs.ofctl("add-flow", "h1", entry)
    ovs.ofctl("add-flow", "h1", "actions=goto_table:3")
    ovs.receive("h1-vf1", SYN)

    (found,) = wait_until(
        lambda: ovs.dump_flows("h1", table=3), 5, "the entry to count", until=lambda dump: dump[0].n_packets
    )

    assert (found.table, found.cookie, found.priority, found.idle_timeout_s) == (3, 0x1F, 9, 30)
    assert found.matches == {"in_port": "7", "tcp": "", "tp_dst": "80"}
    assert (found.actions, found.flags, found.n_packets, found.n_bytes) == ("drop", ("send_flow_rem",), 1, len(SYN))
    assert len(ovs.dump_flows("h1")) == 2


def test_trace_follows_a_packet_without_sending_it(ovs: OpenVSwitch) -> None:
    """A trace names the ports of the datapath actions, for a flow in words and for a frame in bytes."""
    ovs.add_bridge("h1", 1, ["h1-vf1", "h1-vf2"])
    ovs.ofctl("add-flow", "h1", "tcp,tp_dst=80,actions=output:2")

    assert ovs.trace("h1", "in_port=1,tcp,tp_dst=80").datapath_actions == "h1-vf2"
    assert ovs.trace("h1", "in_port=1", SYN).datapath_actions == "h1-vf2"
    assert ovs.trace("h1", "in_port=1,udp,udp_dst=80").datapath_actions == "drop"
    assert ovs.sent("h1-vf2") == []


def test_refused_command_says_why(ovs: OpenVSwitch) -> None:
    """A refused command is an exception that carries the switch's own words."""
    with pytest.raises(CommandError, match="nowhere"):
        ovs.receive("nowhere", SYN)


def test_switch_restart_keeps_bridges_and_loses_entries(ovs: OpenVSwitch) -> None:
    """After a crash of the switch the bridge is back, empty as fail_mode=secure wants it."""
    ovs.add_bridge("h1", 1, ["h1-vf1"])
    ovs.ofctl("add-flow", "h1", "actions=drop")

    ovs.restart_switch()

    assert ovs.dump_flows("h1") == []
    assert ovs.vsctl("list-ports", "h1").split() == ["h1-vf1"]


def test_bridge_finds_a_controller_again_within_two_seconds(
    ovs: OpenVSwitch, start_controller: StartController
) -> None:
    """A bridge connects to a controller, and again after the controller was killed and started anew."""
    ovs.add_bridge("h1", 1, ["h1-vf1", "h1-vf2"])
    controller = start_controller(apps=RYU_APPS, ready_path="/stats/switches")
    ovs.set_controller("h1", controller.openflow_port)
    ovs.wait_connected("h1")
    assert wait_until(lambda: controller.rest("GET", "/stats/switches").body, 5, "the datapath to register") == [1]

    controller.kill9()
    wait_until(lambda: ovs.connected("h1"), 5, "the loss to be noticed", until=lambda connected: not connected)
    controller.start()

    ovs.wait_connected("h1", timeout_s=2)


def test_miss_reaches_the_controller_and_leaves_an_entry(ovs: OpenVSwitch, start_controller: StartController) -> None:
    """Frame in, packet-in, flow-mod, packet-out: the whole loop works through a dummy port."""
    ovs.add_bridge("h1", 1, ["h1-vf1", "h1-vf2"])
    controller = start_controller(apps=RYU_APPS, ready_path="/stats/switches")
    ovs.set_controller("h1", controller.openflow_port)
    wait_until(lambda: ovs.dump_flows("h1"), 5, "the table-miss entry")

    ovs.receive("h1-vf1", SYN)
    assert ovs.wait_sent("h1-vf2") == [SYN]

    ovs.receive("h1-vf2", SYN[6:12] + SYN[:6] + SYN[12:])
    wait_until(lambda: ovs.dump_flows("h1"), 5, "a learned entry", until=lambda dump: len(dump) == 2)


def test_controller_that_does_not_start_shows_its_log(start_controller: StartController) -> None:
    """A controller that ends at once is reported with the end of its log, not by a time-out."""
    with pytest.raises(RuntimeError, match=r"(?s)ended with status.*no_such_app"):
        start_controller(apps=("no_such_app",))
