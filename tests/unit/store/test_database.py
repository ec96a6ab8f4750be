"""The database file: durable, private, held by one process, and refused when it is not what it should be."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ryu_apps.model.documents import from_document
from ryu_apps.model.policy import Change, Snapshot
from ryu_apps.store.database import Store, open_store
from ryu_apps.store.errors import StoreError
from ryu_apps.store.keeper import StoreKeeper

ROOT = Path(__file__).resolve().parents[3]
KILLS = 25
# One transaction writes this many rows, all with the number of the transaction.
ROWS = 20

WRITER = f"""
import sys
from ryu_apps.store.database import Store
store = Store(sys.argv[1])
rows = store.load()
number = rows[0][2]["number"] if rows else 0
while True:
    number += 1
    store.append(("tenants", f"t{{row}}", {{"number": number, "filler": "x" * 500}}) for row in range({ROWS}))
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a store may be made, in a folder that is not there yet."""
    return tmp_path / "state" / "vfswitch.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """Return an open store."""
    made = Store(path)
    yield made
    made.close()


def test_append_and_load(path: Path) -> None:
    """What was appended is there when the file is opened again: the last of each key, without what was deleted."""
    store = Store(path)
    store.append([("a", "1", {"x": 1}), ("a", "2", {"x": 2})])
    store.append([("a", "1", {"x": "ä"}), ("a", "2", None), ("b", "1", {})])
    store.close()
    store = Store(path)
    assert sorted(store.load()) == [("a", "1", {"x": "ä"}), ("b", "1", {})]
    store.close()


def test_all_or_nothing(store: Store) -> None:
    """When one row cannot be written, none is, and the store goes on."""
    store.append([("a", "1", {})])
    with pytest.raises(StoreError, match="cannot be used"):
        store.append([("a", "2", {}), ("a", None, {})])  # type: ignore[list-item]
    store.append([("a", "3", {})])
    assert sorted(key for _, key, _ in store.load()) == ["1", "3"]


def test_private(store: Store) -> None:
    """Folder and file are for their owner alone."""
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in store.path.parent.iterdir()} == {0o600}


def test_held(store: Store) -> None:
    """Another process, and another store of this one, are refused while the file is open."""
    program = f"from ryu_apps.store.database import Store; Store({str(store.path)!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"{store.path} is in use by another process" in done.stderr
    with pytest.raises(StoreError, match="in use by another process"):
        Store(store.path)
    store.append([("a", "1", {})])


def _refused(path: Path) -> str:
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(StoreError) as caught:
        open_store(path)
    assert str(path) in caught.value.message
    assert not before or path.read_bytes() == before
    return caught.value.message


def test_newer(path: Path) -> None:
    """A file of a later program is refused and left as it is."""
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    assert "newer" in _refused(path)


def test_foreign(tmp_path: Path) -> None:
    """Another program's database is refused and left as it is."""
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert "another program" in _refused(path)


def test_not_a_database(tmp_path: Path) -> None:
    """A file that is no database, and a path that is no file, are refused by name."""
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk\n" * 100)
    assert "not a database" in _refused(path)
    _refused(tmp_path)
    _refused(path / "below")


def test_damaged_pages(path: Path) -> None:
    """A file with pages overwritten is refused."""
    store = Store(path)
    store.append([("a", str(number), {"x": "y" * 100}) for number in range(500)])
    store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(size - 4096))
    assert str(path) in _refused(path)


def test_truncated(path: Path) -> None:
    """A file cut short is refused."""
    store = Store(path)
    store.append([("a", str(number), {"x": "y" * 100}) for number in range(500)])
    store.close()
    os.truncate(path, path.stat().st_size - 8192)
    assert str(path) in _refused(path)


def test_damaged_document(path: Path) -> None:
    """A document that is no JSON, or that no program of ours wrote, is refused with its row's name."""
    store = Store(path)
    store.append([("hosts", "h1", {"color": "red"})])
    store.close()
    assert "'h1'" in _refused(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE resource SET document = '{'")
    connection.commit()
    connection.close()
    _refused(path)


def test_keeper(path: Path) -> None:
    """What a keeper kept is what the next one restores, generation included."""
    keeper = StoreKeeper(path)
    policy = keeper.restored
    assert policy == Snapshot()
    for name in ("red", "blue"):
        change = Change(kind="tenants", key=name, value=from_document("tenants", name, {}))
        keeper.keep([change], policy)
        policy = policy.changed([change])
    keeper.close()
    again = StoreKeeper(path)
    assert (again.restored, again.restored.generation) == (policy, 2)
    again.close()


def test_kill(path: Path) -> None:
    """After kill -9 at any moment every acknowledged transaction is there, and no transaction is there in part."""
    acknowledged = 0
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(random.randint(1, 60)):
            acknowledged = int(writer.stdout.readline())
        # The writer goes on while we turn this many rounds, so that the kill may come anywhere in a transaction.
        for _ in range(random.randint(0, 20_000)):
            pass
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout.read().splitlines(keepends=True):
            acknowledged = int(line) if line.endswith("\n") else acknowledged
        writer.wait()
        writer.stdout.close()
        store = Store(path)
        found = {document["number"] for _, _, document in store.load()}
        store.close()
        assert len(found) == 1, "a transaction is there in part"
        assert acknowledged <= found.pop() <= acknowledged + 1
