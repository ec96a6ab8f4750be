"""The OpenFlow shell: the Ryu application that drives the datapaths."""

from __future__ import annotations

import gc
import logging
import os
import random
from pathlib import Path
from typing import Any, ClassVar, Final

from platformdirs import user_state_path
from ryu import cfg
from ryu.base import app_manager
from ryu.ofproto import ofproto_v1_4

from ryu_apps.control.core import ControlCore
from ryu_apps.control.life import HALF_OPEN_PER_VPORT
from ryu_apps.engine.policy import compile_policy
from ryu_apps.pipeline.cookie import FLOW_IDS
from ryu_apps.southbound.context import SwitchContext
from ryu_apps.southbound.reserve import FLOW_BYTES, MOST_READY_FLOWS, ready_flows, reserve
from ryu_apps.southbound.service import SwitchService
from ryu_apps.southbound.usable_memory import usable_bytes
from ryu_apps.store.errors import StoreError
from ryu_apps.store.keeper import StoreKeeper

LOG = logging.getLogger("vfswitch")

CONF = cfg.CONF
# Numbers are taken as text, so that a wrong one is told alike wherever it comes from.
CONF.register_opts([
    cfg.StrOpt("vfswitch_state", default=None, help="file that keeps the policy (SQLite)"),
    cfg.StrOpt("vfswitch_half_open_limit", default=None, help="half-open TCP connections of one vport"),
    cfg.StrOpt("vfswitch_ready_flows", default=None, help="connections for which memory is held from the start"),
])  # fmt: skip
CONF.set_default("ofp_listen_host", "127.0.0.1")

_MOST_DIGITS: Final = 18

# Ryu reads this name: no handler of ours names OpenFlow events, from which it would see that its listener is needed.
_REQUIRED_APP = ["ryu.controller.ofp_handler"]


def state_path() -> Path:
    """Return where the policy is kept: the option, the environment, or the user's state directory."""
    named = CONF.vfswitch_state or os.environ.get("VFSWITCH_STATE")
    return Path(named) if named else user_state_path("vfswitch") / "state.sqlite3"


def number(option: str, default: int, least: int, most: int | None = None) -> int:
    """Return the number of an option: as the file has it, or the environment in capitals, or the default.

    SystemExit with the name when it is none, or out of bounds.
    """
    name, said = option, getattr(CONF, option)
    if not said:
        name = option.upper()
        said = os.environ.get(name)
    if not said:
        return default
    is_number = said.isascii() and said.isdigit() and len(said) <= _MOST_DIGITS
    if not is_number or not least <= int(said) <= (int(said) if most is None else most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise SystemExit(f"vfswitch cannot start: {name} is {said[:40]!r} and must be a number, {bounds}")
    return int(said)


class VSwitch(app_manager.RyuApp):
    """Restores the policy and answers the datapaths."""

    OFP_VERSIONS: ClassVar = [ofproto_v1_4.OFP_VERSION]
    _CONTEXTS: ClassVar = {"vfswitch": SwitchContext}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        context: SwitchContext = kwargs["vfswitch"]
        half_open = number("vfswitch_half_open_limit", HALF_OPEN_PER_VPORT, 1)
        flows = number("vfswitch_ready_flows", ready_flows(usable_bytes()), 0, MOST_READY_FLOWS)
        try:
            keeper = StoreKeeper(state_path())
        except StoreError as error:
            raise SystemExit(f"vfswitch cannot start: {error.message}") from None
        snapshot = keeper.restored
        # Said before: who has not that much may be ended without another word.
        LOG.info("memory for %d connections: %d MB", flows, flows * FLOW_BYTES // 1_000_000)
        try:
            # Ids of flows begin anywhere, so that those of entries left by an earlier run are not met again soon.
            core = ControlCore(
                compile_policy(snapshot),
                first_flow_id=random.randrange(1, FLOW_IDS),
                half_open_per_vport=half_open,
                ready_flows=flows,
            )
            self._reserve = reserve(flows)
        except (MemoryError, OSError):
            raise SystemExit(
                f"vfswitch cannot start: there is no memory for {flows} connections;"
                " set vfswitch_ready_flows or VFSWITCH_READY_FLOWS to fewer"
            ) from None
        context.service = SwitchService(core, keeper)
        # What start-up made lives as long as the process: the collector need not look at it again.
        gc.freeze()
        # A young collection looks at as many objects as it has waited for, and at all that they refer to: of 1,000
        # some are lists with 4,096 flows each, which is a pause of a millisecond, and of 20 times that one of six.
        gc.set_threshold(200, 5, 100_000)
        LOG.info("state in %s: generation %d, %d vports, %d groups restored",
                 keeper.path, snapshot.generation, len(snapshot.vports), len(snapshot.groups))
        LOG.info("OpenFlow 1.4 on %s:%s", CONF.ofp_listen_host, CONF.ofp_tcp_listen_port or "6633 and 6653")
