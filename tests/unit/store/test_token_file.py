"""The token file on the disk, and the command that makes a line for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ryu_apps.model.rights import Rights
from ryu_apps.model.tokens import token_hash
from ryu_apps.store.errors import StoreError
from ryu_apps.store.token_file import read_tokens

ROOT = Path(__file__).resolve().parents[3]
LINE = f"ci:write:{token_hash('ci.secret').hex()}:ops\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a token file in order."""
    made = tmp_path / "tokens"
    made.touch(0o600)
    made.write_text(LINE)
    return made


def _refusal(path: Path) -> str:
    with pytest.raises(StoreError) as refusal:
        read_tokens(path)
    assert str(path) in refusal.value.message
    return refusal.value.message


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_private_file_is_read(path: Path, mode: int) -> None:
    """A file that only its owner may read gives its tokens."""
    path.chmod(mode)
    assert read_tokens(path).rights_of("ci.secret") == Rights(owner="ops", may_write=True)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o666])
def test_a_file_that_is_open_to_others_is_refused(path: Path, mode: int) -> None:
    """A file that others may read or write is refused, with what to do about it."""
    path.chmod(mode)
    assert "chmod 600" in _refusal(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    """A file that another user could change is refused."""
    os.chown(path, 12345, -1)
    assert "another user" in _refusal(path)


def test_what_is_no_ordinary_file_is_refused(tmp_path: Path) -> None:
    """What is missing, a folder, or a pipe is refused at once, without waiting for a writer."""
    assert "No such file" in _refusal(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "ordinary" in _refusal(tmp_path / "pipe")
    (tmp_path / "folder").mkdir(0o700)
    _refusal(tmp_path / "folder")


def test_bad_lines_are_named(path: Path) -> None:
    """Every bad line is named by its number; none of its text is shown."""
    path.write_bytes(f"{LINE}ci.secret\n".encode() + b"\xff\xfe:\n")
    message = _refusal(path)
    assert "line 2: " in message and "line 3: " in message
    assert "secret" not in message


@pytest.mark.parametrize("text", ["", "\n# nothing\n\n"])
def test_a_file_without_tokens_is_refused(path: Path, text: str) -> None:
    """A file that lets nobody in is a mistake, and said to be one."""
    path.write_text(text)
    assert "no token" in _refusal(path)


def _make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ryu_apps.store.make_token", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "rights"),
    [
        (("ci", "ops"), Rights(owner="ops", may_write=True)),
        (("ci", "admin"), Rights(owner="admin", may_write=True)),
        (("ci.2", "a team: ops", "--read"), Rights(owner="a team: ops", may_write=False)),
    ],
)
def test_a_made_token_fits_its_line(path: Path, arguments: tuple[str, ...], rights: Rights) -> None:
    """The command prints a line that the file accepts, and apart from it a token of 256 bits that fits the line."""
    made, again = _make(*arguments), _make(*arguments)
    assert (made.returncode, again.returncode) == (0, 0)
    path.write_text(made.stdout)
    token = made.stderr.split()[-1]
    assert re.fullmatch(rf"{re.escape(arguments[0])}\.[A-Za-z0-9_-]{{43}}", token)
    assert read_tokens(path).rights_of(token) == rights
    assert read_tokens(path).rights_of(again.stderr.split()[-1]) is None
    assert token.rpartition(".")[2] not in made.stdout


@pytest.mark.parametrize(
    "arguments", [("a b", "ops"), ("a:b", "ops"), ("#ci", "ops"), ("ci", ""), ("ci", "a\nb"), ("ci", "a\n#b")]
)
def test_no_line_is_made_that_the_file_would_refuse(arguments: tuple[str, ...]) -> None:
    """An id or an owner that cannot stand in the file makes no token."""
    made = _make(*arguments)
    assert (made.returncode, made.stdout) == (2, "")
    assert "token, not shown" not in made.stderr
