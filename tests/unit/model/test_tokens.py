"""Tokens and the lines of their file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ryu_apps.model.errors import Invalid
from ryu_apps.model.rights import Rights, driver_rights
from ryu_apps.model.tokens import Token, Tokens, parse_tokens, token_hash, token_text

SECRET = "kY3w-Qz_8"
HASH = token_hash(f"ci.{SECRET}").hex()
LINE = f"ci:write:{HASH}:ops"


def _faults(text: str) -> dict[str, str]:
    with pytest.raises(Invalid) as refusal:
        parse_tokens(text)
    return {fault.path: fault.message for fault in refusal.value.errors}


def test_only_the_token_itself_is_known() -> None:
    """A token gives the rights of its line; no other text does, neither its hash nor a part of it nor another id."""
    tokens = parse_tokens(f"{LINE}\nviewer:read:{token_hash('viewer.abc').hex()}:ops\n")
    assert tokens.rights_of(f"ci.{SECRET}") == Rights(owner="ops", may_write=True)
    assert tokens.rights_of("viewer.abc") == Rights(owner="ops", may_write=False)
    for text in ("", ".", "ci", "ci.", f"ci.{SECRET}x", f"ci.{SECRET[:-1]}", f"viewer.{SECRET}", SECRET, f"ci.{HASH}",
                 HASH, LINE, f"CI.{SECRET}", f"none.{SECRET}", f"ci.{SECRET}.", "viewer.Abc"):
        assert tokens.rights_of(text) is None


def test_file() -> None:
    """Empty lines and comments count for the numbering alone; an owner may hold spaces, colons and end with them."""
    tokens = parse_tokens(f"# tokens\n\n{LINE}\r\n  \nb:read:{token_hash('b.c').hex()}:a: b \n")
    assert len(tokens) == 2
    assert tokens.rights_of("b.c") == Rights(owner="a: b ", may_write=False)
    assert tokens.rights_of(f"ci.{SECRET}") == Rights(owner="ops", may_write=True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"ci.{SECRET}", "must be id:"),
        (f"ci:write:{HASH}", "must be id:"),
        (f" {LINE}", "the id"),
        (f"a b:write:{HASH}:ops", "the id"),
        (f":write:{HASH}:ops", "the id"),
        (f"{'a' * 65}:write:{HASH}:ops", "the id"),
        (f"ci:admin:{HASH}:ops", "read, write or hints"),
        (f"ci:Write:{HASH}:ops", "read, write or hints"),
        (f"ci:hints:{HASH}:a b", "the vport"),
        (f"ci:hints:{HASH}:", "the vport"),
        (f"ci:write:{SECRET}:ops", "SHA-256"),
        (f"ci:write:{HASH[:-1]}:ops", "SHA-256"),
        (f"ci:write:{HASH.upper()}:ops", "SHA-256"),
        (f"ci:write:{HASH}:", "the owner"),
        (f"ci:write:{HASH}:o\tps", "the owner"),
        (f"ci:write:{HASH}:Ö", "the owner"),
        (f"ci:write:{HASH}:{'o' * 65}", "the owner"),
    ],
)
def test_bad_lines(line: str, said: str) -> None:
    """A bad line is named by its number and by what is wrong with it, and nothing of it is shown."""
    faults = _faults(f"# one\n{line}\n")
    assert list(faults) == ["line 2"]
    assert said in faults["line 2"]
    assert SECRET not in faults["line 2"] and HASH not in faults["line 2"]


def test_every_bad_line_is_named() -> None:
    """All faults are told at once, an id that is given twice among them."""
    assert list(_faults(f"x\n{LINE}\n{LINE}\n\ny\n")) == ["line 1", "line 3", "line 5"]


@given(
    st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_-]{1,50}", fullmatch=True),
    st.from_regex(r"[ -~]{1,64}", fullmatch=True),
    st.booleans(),
)
def test_a_line_is_read_back(token_id: str, secret: str, owner: str, may_write: bool) -> None:
    """Whatever id, secret and owner a token has, its line says so to the reader, among other lines too."""
    text = token_text(token_id, secret)
    token = Token(id=token_id, sha256=token_hash(text), rights=Rights(owner=owner, may_write=may_write))
    for lines in (token.line, f"# first\n{token.line}\n"):
        assert parse_tokens(lines).rights_of(text) == token.rights
    assert Tokens([token]).rights_of(text) == token.rights
    assert text not in token.line or len(secret) < 8


def test_the_line_of_a_vm() -> None:
    """M14: the line of a VM's driver names its vport, and gives nothing but that vport's hints."""
    token = Token(id="driver", sha256=token_hash("driver.x"), rights=driver_rights("vm1"))
    assert token.line == f"driver:hints:{token.sha256.hex()}:vm1"
    assert parse_tokens(token.line).rights_of("driver.x") == Rights(owner="", may_write=False, vport="vm1")


def test_the_line_that_the_documentation_shows() -> None:
    """The example in docs/operations.md is a line that the file accepts."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "operations.md").read_text()
    shown = [line for line in page.splitlines() if re.match(r"\w+:(read|write):", line)]
    assert len(shown) == 1
    assert len(parse_tokens(shown[0])) == 1
