"""The topologies carry traffic, shown with plain learning entries in place of our controller."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest
from mininet.net import Mininet

from mininet_scripts.support import hosts, network, traffic
from mininet_scripts.support.capture import capture
from mininet_scripts.support.waiting import wait_until
from tests.conftest import StartController
from tests.mininet.conftest import StartNetwork
from topologies.single_host import SingleHost
from topologies.two_hosts import TwoHosts

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MN = Path("/usr/bin/mn")
RYU_APPS = ("ryu.app.simple_switch_14", "ryu.app.ofctl_rest")


def let_learn(net: Mininet, *bridges: str) -> None:
    """Make plain learning switches of NIC bridges."""
    for bridge in bridges:
        net[bridge].dpctl("add-flow", "actions=normal")


@pytest.mark.parametrize("address", ["10.0.0.254", "fd00::fe", "10.0.0.2", "fd00::2"])
def test_single_host_reaches_everyone(start_network: StartNetwork, address: str) -> None:
    """A VM reaches the external host and its neighbour over both address families, from the first packet."""
    net = start_network(SingleHost())
    let_learn(net, "h1")

    assert hosts.ping(net["vm1"], address).all_answered


def test_bridge_without_controller_isolates(start_network: StartNetwork) -> None:
    """A NIC bridge that nobody has programmed forwards nothing."""
    net = start_network(SingleHost(n=2))

    pings = hosts.ping(net["vm1"], "10.0.0.2", answer_timeout_s=0.3)

    assert (pings.sent, pings.received) == (1, 0)


def test_representors_are_numbered_as_vfs(start_network: StartNetwork) -> None:
    """VF k is port k by number and h1-vfk by name, and the uplink comes after them."""
    net = start_network(SingleHost(n=2))

    ports = hosts.run(None, "ovs-vsctl", "--columns=name,ofport", "--format=csv", "--no-headings", "list", "interface")

    assert {"h1-vf1,1", "h1-vf2,2", "h1-uplink,3"} <= set(ports.split())
    assert net["h1"].dpctl("show").count("dpid:0000000000000001") == 1


def test_two_hosts_reach_each_other_through_the_top_of_rack(start_network: StartNetwork) -> None:
    """VMs of both hosts and the external host reach each other; the frames pass the uplink."""
    net = start_network(TwoHosts())
    let_learn(net, "h1", "h2")

    with capture(None, "h1-uplink", "icmp") as uplink:
        assert hosts.ping(net["vm1"], "10.0.0.3").all_answered
        assert len(uplink.wait_frames(2)) == 2
    assert hosts.ping(net["vm4"], "fd00::1").all_answered
    assert hosts.ping(net["ext"], "10.0.0.4").all_answered


def test_top_of_rack_learns_one_table_for_all_vlans(start_network: StartNetwork) -> None:
    """With another tag in each direction frames still go to one port only, and their tags are kept."""
    net = start_network(TwoHosts(n=1))
    for bridge, out_tag, in_tag in (("h1", 101, 102), ("h2", 102, 101)):
        net[bridge].dpctl("add-flow", f"'in_port=1,actions=push_vlan:0x8100,set_field:{4096 + out_tag}->vlan_vid,2'")
        net[bridge].dpctl("add-flow", f"'in_port=2,vlan_vid={4096 + in_tag},actions=pop_vlan,1'")
    assert hosts.ping(net["vm1"], "10.0.0.2").all_answered

    with capture(None, "tor-ext") as elsewhere, capture(None, "tor-h2", "vlan and icmp") as cable:
        assert hosts.ping(net["vm1"], "10.0.0.2", count=3).all_answered
        assert {frame[12:16].hex() for frame in cable.wait_frames(6)} == {"81000065", "81000066"}
        assert [frame for frame in elsewhere.frames() if not frame[0] & 1] == [], "unicast was flooded"


def test_numbered_udp_arrives_complete_and_in_order(start_network: StartNetwork) -> None:
    """The receiver lists what was sent, over both address families."""
    net = start_network(SingleHost(n=2))
    let_learn(net, "h1")

    for anywhere, address in (("0.0.0.0", "10.0.0.2"), ("::", "fd00::2")):
        with traffic.udp_receiver(net["vm2"], 7000, address=anywhere) as arrivals:
            traffic.send_udp(net["vm1"], address, 7000, count=200, rate_pps=2000, source_port=4000)
            assert arrivals.wait_count(200) == list(range(200))


def test_tcp_talk_shows_a_cut_and_its_end(start_network: StartNetwork) -> None:
    """One connection goes on where it stopped after an entry has cut it for a while."""
    net = start_network(SingleHost(n=2))
    let_learn(net, "h1")

    with traffic.tcp_echo_server(net["vm2"], 80):
        assert traffic.tcp_works(net["vm1"], "10.0.0.2", 80)
        assert not traffic.tcp_works(net["vm1"], "10.0.0.2", 81)
        with traffic.tcp_talk(net["vm1"], "10.0.0.2", 80) as echoes:
            echoes.wait_count(3)
            net["h1"].dpctl("add-flow", "priority=40000,tcp,actions=drop")
            assert not traffic.tcp_works(net["vm1"], "10.0.0.2", 80, timeout_s=0.5)
            stopped_at = len(echoes.numbers())
            net["h1"].dpctl("--strict del-flows", "priority=40000,tcp")
            numbers = echoes.wait_count(stopped_at + 3, timeout_s=10)

    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("reverse", [False, True])
def test_iperf3_measures_both_directions(start_network: StartNetwork, reverse: bool) -> None:
    """TCP runs at a rate that only works with whole, summed segments; UDP loses little at a modest rate."""
    net = start_network(SingleHost(n=2))
    let_learn(net, "h1")

    # Of three tries one must show the rate: others may have the machine meanwhile.
    tcp = [traffic.iperf3(net["vm1"], net["vm2"], "10.0.0.2", duration_s=1, reverse=reverse) for _ in range(3)]
    udp = traffic.iperf3(net["vm1"], net["vm2"], "10.0.0.2", duration_s=1, reverse=reverse, udp_kbps=5_000)

    assert max(run.bits_per_s for run in tcp) > 100e6
    assert udp.sent_pkts > 300
    assert udp.lost_pkts < udp.sent_pkts / 10


def test_raw_frames_leave_as_they_are(start_network: StartNetwork) -> None:
    """A forged frame, with a tag and a foreign source address, reaches the bridge bit by bit."""
    net = start_network(SingleHost(n=1))
    forged = bytes.fromhex("020000000002" "0200000000aa" "81000fff" "88b5") + bytes(range(46))

    with capture(None, "h1-vf1", "vlan") as seen:
        traffic.send_frames(net["vm1"], "vm1-eth0", [forged, forged])
        assert seen.wait_frames(2) == [forged, forged]


def test_hosts_speak_only_when_spoken_to(start_network: StartNetwork) -> None:
    """No router is sought and no address is tested for duplicates, so a silent VM stays nearly silent."""
    net = start_network(SingleHost(n=1))

    settings = hosts.run(net["vm1"], "sysctl", "-n", *(f"net.ipv6.conf.vm1-eth0.{name}" for name in (
        "router_solicitations", "accept_ra", "accept_dad"
    )))  # fmt: skip
    bridge_side = hosts.run(None, "sysctl", "-n", "net.ipv6.conf.h1-vf1.disable_ipv6", "net.ipv6.conf.h1.disable_ipv6")

    assert settings.split() == ["0", "0", "0"]
    assert bridge_side.split() == ["1", "1"]


def test_bridges_connect_and_come_back_to_a_restarted_controller(
    start_network: StartNetwork, start_controller: StartController
) -> None:
    """All NIC bridges connect, the top-of-rack switch does not, and a restarted controller is found again."""
    controller = start_controller(apps=RYU_APPS, ready_path="/stats/switches")
    net = start_network(TwoHosts(n=1), controller)
    wait_until(
        lambda: sorted(controller.rest("GET", "/stats/switches").body), 5, "h1 and h2", until=lambda ids: ids == [1, 2]
    )

    controller.kill9()
    controller.start()

    network.wait_connected(net, controller.openflow_port, timeout_s=3)


def test_a_network_leaves_nothing_behind() -> None:
    """After a network, also one that failed, no bridge and no link of it is left."""
    topo = TwoHosts()

    with pytest.raises(ZeroDivisionError), network.running(topo):
        raise ZeroDivisionError

    assert not set(hosts.run(None, "ovs-vsctl", "list-br").split()) & set(topo.switches())
    links = hosts.run(None, "ip", "-brief", "link")
    assert not [line for line in links.splitlines() if line.startswith(("h1", "h2", "tor", "vm"))]


def test_leftovers_of_a_killed_run_are_removed(start_network: StartNetwork) -> None:
    """A bridge and a link that a killed run left do not stop the next one."""
    hosts.run(None, "ovs-vsctl", "--may-exist", "add-br", "h1", "--", "set", "bridge", "h1", "datapath_type=netdev")
    hosts.run(None, "ip", "link", "add", "h1-vf1", "type", "veth", "peer", "name", "h1-left")

    net = start_network(SingleHost(n=2))
    let_learn(net, "h1")

    assert hosts.ping(net["vm1"], "10.0.0.2").all_answered


@pytest.mark.parametrize(
    "name",
    ["single_host", "two_hosts", "guest_driver", "hairpin_nic", "hairpin_two_hosts", "hairpin_chain", "mac_steering"],
)
def test_mn_takes_the_topology_files(name: str) -> None:
    """`mn --custom` executes a file as text and takes over all of its names: none may hide one of mn's own."""
    path = REPOSITORY / "topologies" / f"{name}.py"
    loader = (
        "import sys; customs = {}; path = sys.argv[1]\n"
        "exec(compile(open(path).read(), path, 'exec'), customs, customs)\n"
        f"print(*customs['topos']['{name}'](3).switches(), *customs)"
    )
    # As mn does it, with the system's interpreter and from elsewhere; mn itself would, if it failed,
    # kill every controller on this machine by name.
    done = subprocess.run(
        ["/usr/bin/python3", "-c", loader, str(path)], cwd="/", capture_output=True, text=True, check=True
    )
    assert "h1" in done.stdout.split()

    mns_own = {
        target.id
        for statement in ast.parse(MN.read_text()).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    assert "HOSTS" in mns_own
    assert not mns_own & set(done.stdout.split())
