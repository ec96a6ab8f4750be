"""The OpenFlow shell: the Ryu application that drives the datapaths."""

from __future__ import annotations

import gc
import logging
import os
import random
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
from ryu_apps.southbound.reserve import reserve
from ryu_apps.southbound.service import SwitchService
from ryu_apps.store.errors import StoreError
from ryu_apps.store.keeper import StoreKeeper

LOG = logging.getLogger("vfswitch")

CONF = cfg.CONF
CONF.register_opts([cfg.StrOpt("vfswitch_state", default=None, help="file that keeps the policy (SQLite)")])
CONF.register_opts([cfg.IntOpt("vfswitch_half_open_limit", min=1, help="half-open TCP connections of one vport")])
CONF.set_default("ofp_listen_host", "127.0.0.1")

# Ryu reads this name: no handler of ours names OpenFlow events, from which it would see that its listener is needed.
_REQUIRED_APP = ["ryu.controller.ofp_handler"]


def state_path() -> Path:
    """Return where the policy is kept: the option, the environment, or the user's state directory."""
    named = CONF.vfswitch_state or os.environ.get("VFSWITCH_STATE")
    return Path(named) if named else user_state_path("vfswitch") / "state.sqlite3"


def half_open_limit() -> int:
    """Return how many half-open connections a vport may have: the option, the environment, or the default."""
    named = os.environ.get("VFSWITCH_HALF_OPEN_LIMIT", "")
    if CONF.vfswitch_half_open_limit is not None:
        return int(CONF.vfswitch_half_open_limit)
    if named and not (named.isascii() and named.isdigit() and int(named)):
        raise SystemExit(f"vfswitch cannot start: VFSWITCH_HALF_OPEN_LIMIT is {named!r} and must be a number above 0")
    return int(named or HALF_OPEN_PER_VPORT)


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
        # Ids of flows begin anywhere, so that those of entries left by an earlier run are not met again soon.
        core = ControlCore(
            compile_policy(snapshot),
            first_flow_id=random.randrange(1, FLOW_IDS),
            half_open_per_vport=half_open_limit(),
        )
        context.service = SwitchService(core, keeper)
        # What start-up made lives as long as the process: the collector need not look at it again.
        gc.freeze()
        # A young collection looks at as many objects as it has waited for, and at all that they refer to: of 1,000
        # some are lists with 4,096 flows each, which is a pause of a millisecond, and of 20 times that one of six.
        gc.set_threshold(200, 5, 100_000)
        self._reserve = reserve()
        LOG.info("state in %s: generation %d, %d vports, %d groups restored",
                 keeper.path, snapshot.generation, len(snapshot.vports), len(snapshot.groups))
        LOG.info("OpenFlow 1.4 on %s:%s", CONF.ofp_listen_host, CONF.ofp_tcp_listen_port or "6633 and 6653")
