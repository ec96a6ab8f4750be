"""The token file as it lies on the disk; read once, when REST starts."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from ryu_apps.model.errors import Invalid
from ryu_apps.model.tokens import Tokens, parse_tokens
from ryu_apps.store.errors import StoreError

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_tokens(path: Path) -> Tokens:
    """Return the tokens of a file.

    StoreError when it cannot be read, when others than its owner may read or write it, when it is another user's,
    when a line is wrong (each is named by its number), or when no token is in it.
    """
    try:
        text = _read_private(path).decode(errors="replace")
    except OSError as error:
        raise StoreError(f"the token file {path} cannot be read: {error.strerror}") from error
    try:
        tokens = parse_tokens(text)
    except Invalid as error:
        lines = "; ".join(f"{fault.path}: {fault.message}" for fault in error.errors)
        raise StoreError(f"the token file {path} cannot be accepted: {lines}") from None
    if not tokens:
        raise StoreError(f"the token file {path} has no token in it: nobody could use REST")
    return tokens


def _read_private(path: Path) -> bytes:
    # Not blocking: opening a pipe would wait for its writer.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"the token file {path} is not an ordinary file")
        if found.st_mode & _OTHERS:
            raise StoreError(f"the token file {path} is open to other users: run chmod 600 on it")
        if found.st_uid not in (0, os.geteuid()):
            raise StoreError(f"the token file {path} belongs to another user, who could change it")
        return file.read()
