"""The OpenFlow shell: the Ryu application that drives the datapaths."""

from __future__ import annotations

import gc
import logging
import os
import random
import sys
from pathlib import Path
from typing import Any, ClassVar

from platformdirs import user_state_path
from ryu import cfg
from ryu.base import app_manager
from ryu.ofproto import ofproto_v1_4

from ryu_apps.control.core import ControlCore
from ryu_apps.control.life import HALF_OPEN_PER_VPORT
from ryu_apps.engine.policy import compile_policy
from ryu_apps.pipeline.cookie import FLOW_IDS
from ryu_apps.southbound.context import SwitchContext
from ryu_apps.southbound.reserve import MOST_READY_FLOWS, ready_flows, reserve
from ryu_apps.southbound.service import SwitchService
from ryu_apps.store.errors import StoreError
from ryu_apps.store.keeper import StoreKeeper

LOG = logging.getLogger("vfswitch")

CONF = cfg.CONF
CONF.register_opts([cfg.StrOpt("vfswitch_state", default=None, help="file that keeps the policy (SQLite)")])
CONF.register_opts([cfg.IntOpt("vfswitch_half_open_limit", min=1, help="half-open TCP connections of one vport")])
CONF.register_opts([cfg.IntOpt("vfswitch_ready_flows", min=0, max=MOST_READY_FLOWS,
                               help="connections for which memory is held from the start")])  # fmt: skip
CONF.set_default("ofp_listen_host", "127.0.0.1")

# Ryu reads this name: no handler of ours names OpenFlow events, from which it would see that its listener is needed.
_REQUIRED_APP = ["ryu.controller.ofp_handler"]


def state_path() -> Path:
    """Return where the policy is kept: the option, the environment, or the user's state directory."""
    named = CONF.vfswitch_state or os.environ.get("VFSWITCH_STATE")
    return Path(named) if named else user_state_path("vfswitch") / "state.sqlite3"


def half_open_limit() -> int:
    """Return how many half-open connections a vport may have: the option, the environment, or the default."""
    chosen = CONF.vfswitch_half_open_limit
    return _from_environment("VFSWITCH_HALF_OPEN_LIMIT", HALF_OPEN_PER_VPORT) if chosen is None else int(chosen)


def flows_to_hold() -> int:
    """Return for how many flows memory is held: the option, the environment, or what suits the machine."""
    chosen = CONF.vfswitch_ready_flows
    if chosen is not None:
        return int(chosen)
    return _from_environment("VFSWITCH_READY_FLOWS", ready_flows(), least=0, most=MOST_READY_FLOWS)


def _from_environment(variable: str, default: int, *, least: int = 1, most: int = sys.maxsize) -> int:
    """Return the number that a variable has, the default where it is not set or empty."""
    named = os.environ.get(variable, "")
    if not named:
        return default
    if not (named.isascii() and named.isdigit() and least <= int(named) <= most):
        bounds = f"of {least} at least" if most == sys.maxsize else f"from {least} to {most}"
        raise SystemExit(f"vfswitch cannot start: {variable} is {named!r} and must be a number {bounds}")
    return int(named)


class VSwitch(app_manager.RyuApp):
    """Restores the policy and answers the datapaths."""

    OFP_VERSIONS: ClassVar = [ofproto_v1_4.OFP_VERSION]
    _CONTEXTS: ClassVar = {"vfswitch": SwitchContext}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        context: SwitchContext = kwargs["vfswitch"]
        try:
            keeper = StoreKeeper(state_path())
        except StoreError as error:
            raise SystemExit(f"vfswitch cannot start: {error.message}") from None
        snapshot = keeper.restored
        flows = flows_to_hold()
        # Ids of flows begin anywhere, so that those of entries left by an earlier run are not met again soon.
        core = ControlCore(
            compile_policy(snapshot),
            first_flow_id=random.randrange(1, FLOW_IDS),
            half_open_per_vport=half_open_limit(),
            ready_flows=flows,
        )
        context.service = SwitchService(core, keeper)
        # What start-up made lives as long as the process: the collector need not look at it again.
        gc.freeze()
        # A young collection looks at as many objects as it has waited for, and at all that they refer to: of 1,000
        # some are lists with 4,096 flows each, which is a pause of a millisecond, and of 20 times that one of six.
        gc.set_threshold(200, 5, 100_000)
        self._reserve = reserve(flows)
        LOG.info("state in %s: generation %d, %d vports, %d groups restored",
                 keeper.path, snapshot.generation, len(snapshot.vports), len(snapshot.groups))
        LOG.info("OpenFlow 1.4 on %s:%s", CONF.ofp_listen_host, CONF.ofp_tcp_listen_port or "6633 and 6653")
