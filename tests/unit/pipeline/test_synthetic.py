"""Standing entries of vports with a synthetic port."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ryu_apps.engine.policy import compile_policy
from ryu_apps.model.network import Bandwidth, Host, MissPath, Vport
from ryu_apps.model.policy import Change
from ryu_apps.model.rules import Direction
from ryu_apps.pipeline.base import base_entries
from ryu_apps.pipeline.cookie import Punt
from ryu_apps.pipeline.entry import IN_PORT, FlowEntry, Output, SetField
from ryu_apps.pipeline.registers import BACK, CAME_BY, RECEIVER, SEGMENT, SENDER
from ryu_apps.pipeline.synthetic import miss_path
from tests.unit.policies import snapshot

PORTS = {"h1-vf1": 1, "h1-vf2": 2, "h1-uplink": 9, "h1-syn1": 11}


def _policy(miss: MissPath, **changed: object) -> tuple[Host, Vport, list[FlowEntry]]:
    plain = snapshot()
    host = replace(plain.hosts["h1"], miss=miss)
    vport = replace(plain.vports["vm1"], synthetic="h1-syn1", **changed)  # type: ignore[arg-type]
    policy = compile_policy(
        plain.changed([Change(kind="hosts", key="h1", value=host), Change(kind="vports", key="vm1", value=vport)])
    )
    return host, vport, list(base_entries(policy, host, PORTS))


def _at(entries: list[FlowEntry], port_no: int) -> list[FlowEntry]:
    return [made for made in entries if ("in_port", port_no) in made.match]


@pytest.mark.parametrize("miss", MissPath)
@pytest.mark.parametrize("outbound_kbps", [None, 0, 1000])
def test_both_ports_are_classified_alike(miss: MissPath, outbound_kbps: int | None) -> None:
    """M13: meter, refusals and registers are those of the VF, and the packet counts as having come in there."""
    _, _, entries = _policy(miss, bandwidth=Bandwidth(outbound_kbps=outbound_kbps))
    by_vf, by_synthetic = _at(entries, 1), _at(entries, 11)
    assert len(by_vf) == len(by_synthetic) == 2
    for vf, synthetic in zip(by_vf, by_synthetic, strict=True):
        assert (vf.priority, vf.goto, vf.cookie, vf.meter) == (
            synthetic.priority, synthetic.goto, synthetic.cookie, synthetic.meter,
        )  # fmt: skip
        shared = [action for action in vf.actions if action != SetField(BACK, 1)]
        assert [action for action in synthetic.actions if action != SetField(CAME_BY, 1)] == shared
        assert (SetField(CAME_BY, 1) in synthetic.actions) is (vf.goto is not None)
        assert (SetField(BACK, 1) in vf.actions) is (vf.goto is not None and miss is MissPath.VM)


def test_what_would_ask_the_controller_goes_back() -> None:
    """M13: above each entry by which packets of the VF ask the controller stands one that sends them back instead."""
    _, vport, entries = _policy(MissPath.VM)
    sent = {(SENDER, vport.number), (RECEIVER, 0)}
    missed = [made for made in entries if made.table == "missed" and made.priority == 100]
    asking = [dict(made.match) for made in missed if sent <= set(made.match)]
    back = [dict(made.match) for made in entries if made.actions == (Output(IN_PORT),)]
    assert len(asking) == len(back) == len(Punt) - 1
    assert back == [{**match, BACK: 1, SEGMENT: 1} for match in asking]
    assert all(made.priority > 100 for made in entries if made.actions == (Output(IN_PORT),))


@pytest.mark.parametrize("miss", MissPath)
def test_miss_path(miss: MissPath) -> None:
    """M13: outbound misses take the host's path where the synthetic port is there; all others the PF."""
    host, vport, _ = _policy(miss)
    assert miss_path(vport, host, PORTS, Direction.OUTBOUND) is miss
    assert miss_path(vport, host, PORTS, Direction.INBOUND) is MissPath.PF
    assert miss_path(vport, host, {"h1-vf1": 1}, Direction.OUTBOUND) is MissPath.PF
    assert miss_path(replace(vport, synthetic=None), host, PORTS, Direction.OUTBOUND) is MissPath.PF
