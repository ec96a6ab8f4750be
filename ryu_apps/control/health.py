"""What is known of the instances of functions."""

from __future__ import annotations

from typing import Any

from ryu_apps.control.core import ControlCore
from ryu_apps.model.chain import Function


def health_of(core: ControlCore, function: Function) -> dict[str, Any]:
    """Return the live state of a function: of each instance whether it works."""
    failed = core.policy.failed
    return {
        "instances": {
            one.id: {"state": "down" if (function.id, one.id) in failed else "up"} for one in function.instances
        }
    }
