"""What can go wrong with the store."""

from __future__ import annotations

from ryu_apps.model.errors import VfswitchError


class StoreError(VfswitchError):
    """The desired state cannot be read or kept; nothing was changed."""

    slug = "store-failed"
    status = 500
