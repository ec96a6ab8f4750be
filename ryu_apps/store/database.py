"""The database file: rows of (kind, key, document) in SQLite, one writer, durable at every commit."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ryu_apps.model.policy import Snapshot
from ryu_apps.store.errors import StoreError
from ryu_apps.store.rows import Row, StoredRow, restore

SCHEMA_VERSION: Final = 1
# Marks the file as ours (https://www.sqlite.org/pragma.html#pragma_application_id): "vfsw".
_APPLICATION_ID: Final = 0x76667377
_written: Final = json.JSONEncoder(separators=(",", ":")).encode


class Store:
    """The desired state in one file.

    The file is held exclusively while the store is open; another process is refused.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the file, made with its directory when missing; StoreError names the file when it cannot be used."""
        self.path = Path(path)
        with self._named():
            _create(self.path)
            self._connection = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            with self._named():
                self._prepare()
        except StoreError:
            self._connection.close()
            raise

    def load(self) -> list[StoredRow]:
        """Return all rows, in no particular order."""
        with self._named():
            found = self._connection.execute("SELECT kind, key, document FROM resource")
            return [(kind, key, json.loads(document)) for kind, key, document in found]

    def append(self, rows: Iterable[Row]) -> None:
        """Write the rows as one transaction; they are on the disk when this returns, or none of them is."""
        with self._named(), self._transaction():
            for kind, key, document in rows:
                if document is None:
                    self._connection.execute("DELETE FROM resource WHERE kind = ? AND key = ?", (kind, key))
                else:
                    self._connection.execute(
                        "INSERT INTO resource VALUES (?, ?, ?)"
                        " ON CONFLICT (kind, key) DO UPDATE SET document = excluded.document",
                        (kind, key, _written(document)),
                    )

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def _prepare(self) -> None:
        query = self._connection.execute
        # Before the first read, so that the lock is held from then on (https://www.sqlite.org/wal.html#noshm).
        query("PRAGMA locking_mode = EXCLUSIVE")
        owner, version = query("PRAGMA application_id").fetchone()[0], query("PRAGMA user_version").fetchone()[0]
        is_new = owner == version == query("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if owner != _APPLICATION_ID and not is_new:
            raise StoreError(f"{self.path} is a database of another program")
        if version > SCHEMA_VERSION:
            raise StoreError(f"{self.path} is of version {version}, newer than this program's {SCHEMA_VERSION}")
        query("PRAGMA journal_mode = WAL")
        query("PRAGMA synchronous = FULL")
        if is_new:
            with self._transaction():
                self._make_tables()
        damage = query("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise StoreError(f"{self.path} is damaged: {damage}")

    def _make_tables(self) -> None:
        query = self._connection.execute
        query(
            "CREATE TABLE resource (kind TEXT NOT NULL, key TEXT NOT NULL, document TEXT NOT NULL,"
            " PRIMARY KEY (kind, key)) WITHOUT ROWID"
        )
        query(f"PRAGMA application_id = {_APPLICATION_ID}")
        query(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn what SQLite and the system raise into a StoreError that names the file."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY") or "is locked" in str(error):
                raise StoreError(f"{self.path} is in use by another process") from error
            raise StoreError(f"{self.path} cannot be used: {error}") from error
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.path} cannot be used: {error}") from error


def open_store(path: str | Path) -> tuple[Store, Snapshot]:
    """Return the store in a file and the policy that it holds; StoreError names the file and what is wrong with it."""
    store = Store(path)
    try:
        return store, restore(store.load())
    except StoreError as error:
        store.close()
        raise StoreError(f"{store.path} cannot be restored: {error.message}") from error


def _create(path: Path) -> None:
    """Make the file, for its owner alone, and its directory, unless they are there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        # Opening a file that is there, and closing it again, would drop the locks that SQLite holds on it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
