"""The command that makes a token: `python -m ryu_apps.store.make_token ci ops >> tokens`.

The line for the token file goes to standard output, the token itself to standard error: it is shown only this once.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from typing import Final

from ryu_apps.model.rights import ADMIN, Rights, driver_rights
from ryu_apps.model.tokens import Token, parse_line, token_hash, token_text

_SECRET_BYTES: Final = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a new token and its line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ryu_apps.store.make_token", description=__doc__)
    parser.add_argument("id", help="what the token is called in the file; no two have the same")
    parser.add_argument("owner", help=f"whose layers it may write; {ADMIN!r}: everything; with --hints a vport")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--read", action="store_true", help="a token that may only read")
    kinds.add_argument("--hints", action="store_true", help="a token that may only read the hints of one vport")
    given = parser.parse_args(arguments)
    text = token_text(given.id, secrets.token_urlsafe(_SECRET_BYTES))
    rights = driver_rights(given.owner) if given.hints else Rights(owner=given.owner, may_write=not given.read)
    line = Token(id=given.id, sha256=token_hash(text), rights=rights).line
    try:
        parse_line(line)
    except ValueError as error:
        parser.error(str(error))
    print(line)
    print(f"token, not shown again: {text}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
