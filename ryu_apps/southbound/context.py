"""What the app files of one ryu-manager share."""

from __future__ import annotations

from ryu_apps.control.service import Service


class SwitchContext:
    """Holds the running controller once the switch app has started it; None until then."""

    def __init__(self) -> None:
        self.service: Service | None = None
