"""The tables of the replay memory, version by version.

A new file is made by all scripts in turn, an older one is brought up to date by those that it
lacks; each is one transaction. `PRAGMA user_version` tells how many a file has had.
"""

from __future__ import annotations

import math
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from reproduce.search.stored_q_table import as_table

_VERSION_1 = """
CREATE TABLE run (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;
-- One row per distinct architecture; outcome is null until it has been trained.
CREATE TABLE trials (
  id INTEGER PRIMARY KEY,
  architecture TEXT NOT NULL UNIQUE,
  epsilon REAL NOT NULL,
  outcome TEXT,
  reward REAL,
  result TEXT
) STRICT;
-- One row per sample, duplicates included, in the order of sampling; completed is the position
-- in the order of completion, from 1.
CREATE TABLE samples (
  id INTEGER PRIMARY KEY,
  trial INTEGER NOT NULL REFERENCES trials,
  epsilon REAL NOT NULL,
  completed INTEGER UNIQUE,
  sampled_at TEXT NOT NULL
) STRICT;
CREATE INDEX samples_pending ON samples (id) WHERE completed IS NULL;
-- Nets trained on all training data and tested on the test set.
CREATE TABLE finals (
  id TEXT PRIMARY KEY,
  architecture TEXT NOT NULL,
  result TEXT NOT NULL
) STRICT;
CREATE TABLE q_values (
  pair INTEGER PRIMARY KEY,
  value REAL NOT NULL
) STRICT;
"""

_VERSION_2 = """
-- What orders sampling, completion and replays: the number of samples completed when this one
-- was sampled, and when its replays were done (null: not yet, or none as it gave no reward).
ALTER TABLE samples ADD COLUMN sampled_after INTEGER;
ALTER TABLE samples ADD COLUMN replayed_after INTEGER;
-- Wall clock, UTC. A trial's start is its last one, of several; place is where it ran.
ALTER TABLE samples ADD COLUMN completed_at TEXT;
ALTER TABLE trials ADD COLUMN started_at TEXT;
ALTER TABLE trials ADD COLUMN finished_at TEXT;
ALTER TABLE trials ADD COLUMN place TEXT;
-- Version 1 replayed each sample as it was completed.
UPDATE samples SET replayed_after = completed
  WHERE trial IN (SELECT id FROM trials WHERE reward IS NOT NULL);
-- A run on one place at a time sampled when all before was completed. Of several places the
-- order of sampling and completion was not kept: sampled_after stays null.
UPDATE samples SET sampled_after = id - 1
  WHERE (SELECT replace(value, ', then ', '') FROM run WHERE key = 'device') NOT LIKE '%,%'
  AND NOT EXISTS (
    SELECT 1 FROM samples WHERE completed IS NOT id AND id < (SELECT max(id) FROM samples)
  );
"""

_VERSION_3 = """
-- The whole Q table, and what steps have changed since: see stored_q_table.py.
CREATE TABLE q_table (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  q_values BLOB NOT NULL
) STRICT;
CREATE TABLE q_changes (
  step INTEGER PRIMARY KEY,
  q_values BLOB NOT NULL
) STRICT;
INSERT INTO q_table SELECT 1, as_table(pair, value) FROM q_values GROUP BY pair IS NULL;
DROP TABLE q_values;
"""

_SCRIPTS = (_VERSION_1, _VERSION_2, _VERSION_3)

SCHEMA_VERSION = len(_SCRIPTS)


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open a file of the newest version, with manual transactions.

    A writer creates it, or brings it up to date. A reader writes nothing, beside it neither, so
    that a full disk and a folder that cannot be written do not matter to it.

    Raises:
        sqlite3.Error, OSError: if it cannot be opened, is of a newer version or no replay memory.
    """
    path = path.resolve()
    if not read_only:
        return _writer(path)
    try:
        return _reader(path)
    except (sqlite3.OperationalError, FileNotFoundError):
        return _reader(path)  # the writer may just have closed it


def _open(path: Path, parameters: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?{parameters}", uri=True, isolation_level=None)


def _writer(path: Path) -> sqlite3.Connection:
    db = _open(path, "mode=rwc")
    try:
        version = _version(db)
        db.execute("PRAGMA journal_mode = WAL")
        # In WAL mode nothing is lost to a killed process; a power cut may undo the last
        # steps, which the search then repeats from the random state before them.
        db.execute("PRAGMA synchronous = NORMAL")
        _migrate(db, version)
    except BaseException:
        db.close()
        raise
    return db


def _reader(path: Path) -> sqlite3.Connection:
    """The file itself while it has its `-wal` and `-shm`, else a copy of it in memory.

    It has both while a writer has it open, and after one was killed. Without them nobody writes
    it, and SQLite would make them.
    """
    wal, shm = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    if wal.exists() and shm.exists():
        db = _open(path, "mode=ro&readonly_shm=1")
    elif wal.exists() and wal.stat().st_size:  # the -shm was left out when they were copied
        with tempfile.TemporaryDirectory() as folder:
            for file in (path, wal):
                shutil.copyfile(file, Path(folder, file.name))
            db = _in_memory(_open(Path(folder, path.name), "mode=rw"))
    else:
        db = _in_memory(_open(path, "mode=ro&immutable=1"))
    try:
        version = _version(db)
        if not version:
            raise sqlite3.DatabaseError("it is empty")
        if version < SCHEMA_VERSION:
            db = _in_memory(db)
            _migrate(db, version)
        db.execute("PRAGMA query_only = ON")
    except BaseException:
        db.close()
        raise
    return db


def _in_memory(db: sqlite3.Connection) -> sqlite3.Connection:
    """A copy in memory; the original is closed."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    with closing(db):
        try:
            db.backup(copy)
        except BaseException:
            copy.close()
            raise
    return copy


def _version(db: sqlite3.Connection) -> int:
    """How many scripts an open file has had; 0 if it is empty."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise sqlite3.DatabaseError(
            f"schema version {version}, this program knows {SCHEMA_VERSION}"
        )
    if not version and db.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise sqlite3.DatabaseError("its tables are not a replay memory's")
    return version


class _AsTable:
    """The aggregate `as_table(pair, value)`: rows of Q-values as a whole table."""

    def __init__(self) -> None:
        self._values: dict[int, float] = {}

    def step(self, *row: Any) -> None:
        pair, value = row
        self._values[pair] = value

    def finalize(self) -> bytes:
        pairs = range(max(self._values, default=-1) + 1)
        return as_table([self._values.get(pair, math.nan) for pair in pairs]).tobytes()


def _migrate(db: sqlite3.Connection, version: int) -> None:
    db.create_aggregate("as_table", 2, _AsTable)  # type: ignore[arg-type]
    for number, script in enumerate(_SCRIPTS[version:], start=version + 1):
        db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
