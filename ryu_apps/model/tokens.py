"""Bearer tokens and the file that lists them.

A token is its id, a dot and a secret of 256 random bits; the file has the hash of the whole.
A plain SHA-256 is enough for that: slow, salted hashes protect passwords that can be guessed, and this cannot be.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ryu_apps.model.documents import ID_PATTERN
from ryu_apps.model.errors import FieldError, Invalid
from ryu_apps.model.rights import OWNER_PATTERN, Rights, driver_rights

# No SHA-256 of anything known: what an unknown id is compared with.
_NOBODY: Final = bytes(32)
_KINDS: Final = ("read", "write", "hints")
_FORM: Final = "id:read|write:sha256:owner or id:hints:sha256:vport"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One line of the token file: the id that the token begins with, the token's SHA-256, and what it may do."""

    id: str
    sha256: bytes
    rights: Rights

    @property
    def line(self) -> str:
        """The line for the file."""
        if self.rights.vport is not None:
            return f"{self.id}:hints:{self.sha256.hex()}:{self.rights.vport}"
        return f"{self.id}:{'write' if self.rights.may_write else 'read'}:{self.sha256.hex()}:{self.rights.owner}"


class Tokens:
    """The tokens in force."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._by_id: Mapping[str, Token] = {token.id: token for token in tokens}

    def __len__(self) -> int:
        return len(self._by_id)

    def rights_of(self, text: str) -> Rights | None:
        """Return what the bearer of a token may do, None when it is not one of these.

        How long it takes tells nothing about the hash that it is compared with, nor which ids there are.
        """
        listed = self._by_id.get(text.rpartition(".")[0])
        same = hmac.compare_digest(token_hash(text), _NOBODY if listed is None else listed.sha256)
        return listed.rights if same and listed is not None else None


def token_text(token_id: str, secret: str) -> str:
    """Return a token of a secret, which holds no dot."""
    return f"{token_id}.{secret}"


def token_hash(text: str) -> bytes:
    """Return the SHA-256 (FIPS 180-4) of a token."""
    return hashlib.sha256(text.encode()).digest()


def parse_tokens(text: str) -> Tokens:
    """Return the tokens of a file: a line each, empty ones and those that begin with `#` apart.

    Invalid names every line at fault by its number and shows nothing of it, as it may hold a token by mistake.
    """
    tokens: list[Token] = []
    faults: list[FieldError] = []
    seen: set[str] = set()
    for number, line in _lines(text):
        try:
            token = parse_line(line)
            if token.id in seen:
                raise ValueError("another line has this id")
            seen.add(token.id)
            tokens.append(token)
        except ValueError as error:
            faults.append(FieldError(f"line {number}", str(error)))
    if faults:
        raise Invalid("the token file cannot be accepted", faults)
    return Tokens(tokens)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line.removesuffix("\r")


def parse_line(line: str) -> Token:
    """Return the token of one line; ValueError says what is wrong with it, and shows nothing of it."""
    parts = line.split(":", 3)
    if len(parts) != 4:
        raise ValueError(f"must be {_FORM}")
    token_id, may, sha256, holder = parts
    if not re.fullmatch(ID_PATTERN, token_id):
        raise ValueError("the id must be 1 to 64 of letters, digits, '.', '_' and '-'")
    if may not in _KINDS:
        raise ValueError("the second part must be read, write or hints")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError("the third part must be a SHA-256 in 64 hexadecimal digits")
    if may == "hints" and not re.fullmatch(ID_PATTERN, holder):
        raise ValueError("the vport must be 1 to 64 of letters, digits, '.', '_' and '-'")
    if not re.fullmatch(OWNER_PATTERN, holder):
        raise ValueError("the owner must be 1 to 64 printable ASCII characters")
    return Token(id=token_id, sha256=bytes.fromhex(sha256), rights=_rights(may, holder))


def _rights(may: str, holder: str) -> Rights:
    if may == "hints":
        return driver_rights(holder)
    return Rights(owner=holder, may_write=may == "write")
