"""What crosses between the VFs' NIC port and network functions: on a cable by VLAN, or at sub-interfaces beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from mininet_scripts.support.registration import FIRST_VLAN, vm_number
from tests.mininet.lab import Frame, Lab

_CABLE = "h1-cable"


class Crossing(NamedTuple):
    """by_vf returns the frames seen so far that have the VF of each of the VMs, either way; no other may be there.

    sees_reflected: what a function sends back to its sender is seen too, because it is cut off only behind this place.
    """

    by_vf: Callable[[], dict[str, list[Frame]]]
    sees_reflected: bool


@contextmanager
def crossing(lab: Lab, *vms: str) -> Iterator[Crossing]:
    """Yield what crosses on host h1; what says whose a frame is there is its VLAN, or else where it is."""
    with ExitStack() as stack:
        if _CABLE in lab.net["h1"].intfNames():
            cable = stack.enter_context(lab.watch(_CABLE))
            yield Crossing(lambda: _by_vlan(cable.frames(), vms), sees_reflected=False)
        else:
            watched = {vm: stack.enter_context(lab.watch(f"h1-sub{vm_number(vm)}")) for vm in vms}
            yield Crossing(lambda: {vm: _untagged(each.frames()) for vm, each in watched.items()}, sees_reflected=True)


def _by_vlan(seen: list[Frame], vms: tuple[str, ...]) -> dict[str, list[Frame]]:
    vlans = {vm: FIRST_VLAN + vm_number(vm) for vm in vms}
    assert {frame.vlan for frame in seen} <= set(vlans.values())
    return {vm: [frame for frame in seen if frame.vlan == vlan] for vm, vlan in vlans.items()}


def _untagged(seen: list[Frame]) -> list[Frame]:
    assert {frame.vlan for frame in seen} <= {None}
    return seen
