"""The model of Open vSwitch's own eviction, which a benchmark compares with, against the switch itself (M28)."""

from __future__ import annotations

from benchmarks.eviction_groups import EvictionGroups
from mininet_scripts.support.waiting import wait_until
from tests.ovs.harness.switch import OpenVSwitch

BRIDGE, LIMIT = "nic", 10
# A letter is a vport; each flow is added, or used again, 3 s after the one before. Vport A has most entries whenever
# one must go, because between equal vports the switch draws by chance.
STEPS = ["A1", "A2", "A3", "A4", "A5", "A6", "A7", "B1", "A1", "B2", "A3", "B3", "C1", "A4", "B1", "C2", "A5", "C3"]


def _installed(ovs: OpenVSwitch) -> dict[int, int]:
    return {entry.cookie: entry.n_packets for entry in ovs.dump_flows(BRIDGE, table=0)}


def _add(ovs: OpenVSwitch, flow: int, vport: int) -> set[int]:
    """Return the flows that an added one pushed out."""
    before = set(_installed(ovs))
    match = f"in_port={vport},udp,tp_src={flow}"
    ovs.ofctl("add-flow", BRIDGE, f"table=0,cookie={flow},idle_timeout=3000,{match},actions=drop")
    return before - set(_installed(ovs))


def _use(ovs: OpenVSwitch, flow: int, vport: int) -> None:
    """Send one packet of a flow, and return when its entry has counted it."""
    before = _installed(ovs)[flow]
    eth = "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)"
    ipv4 = "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no)"
    ovs.receive(f"p{vport}", f"in_port({vport}),{eth},{ipv4},udp(src={flow},dst=9)")
    wait_until(
        lambda: (ovs.appctl("revalidator/purge"), _installed(ovs)[flow])[1],
        10.0,
        f"flow {flow} to be counted",
        until=lambda count: count > before,
    )


def _full_table(ovs: OpenVSwitch) -> None:
    ovs.add_bridge(BRIDGE, 1, ["p1", "p2", "p3"])
    ovs.vsctl(
        "--", "--id=@table", "create", "Flow_Table", f"flow_limit={LIMIT}", "overflow_policy=evict",
        'groups="NXM_OF_IN_PORT[]"', "--", "set", "Bridge", BRIDGE, "flow_tables:0=@table",
    )  # fmt: skip
    ovs.ofctl("del-flows", BRIDGE)
    ovs.appctl("time/stop")


def test_the_model_evicts_what_the_switch_evicts(ovs: OpenVSwitch) -> None:
    """M28: over adds and uses of flows of three vports, model and switch push out the same flows."""
    _full_table(ovs)
    model, now_s, evicted = EvictionGroups(LIMIT), 0.0, list[int]()
    for step in STEPS:
        vport = "ABC".index(step[0]) + 1
        flow = 10 * vport + int(step[1])
        if flow in _installed(ovs):
            _use(ovs, flow, vport)
            model.hit(flow, now_s)
        else:
            by_model = set(model.missed(flow, vport, now_s))
            assert _add(ovs, flow, vport) == by_model, f"{step}, after {evicted}"
            evicted += by_model
        for _ in range(3):
            ovs.appctl("time/warp", "1000")
            now_s += 1.0
        model.polled({}, now_s)
    assert evicted == [12, 15, 16, 17]


def test_of_flows_used_in_the_same_second_the_model_evicts_the_switchs(ovs: OpenVSwitch) -> None:
    """M28: when time stands still all flows of a group are equal, and the heap's own order decides, in both alike."""
    _full_table(ovs)
    model = EvictionGroups(LIMIT)
    for flow in range(100, 100 + 3 * LIMIT):
        assert _add(ovs, flow, 1) == set(model.missed(flow, 1, 0.0)), f"flow {flow}"
