"""The replay memory: one SQLite file, the single source of truth of a run.

The driver alone writes it, one transaction per event; everyone else reads (`mode=ro`). The
agent's random state is stored with each event, so that a run killed at any instant goes on as
one never stopped.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reproduce.training.outcome import TrialResult

SCHEMA_VERSION = 1

_SCHEMA = """
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
-- in the order of completion, which the replays follow.
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


class ReplayMemoryError(RuntimeError):
    """The file cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class Trial:
    """One distinct architecture.

    `epsilon` is the ε at which it was first sampled. `outcome`, `reward` and `result` (all
    that training reported) are None until it has been trained; `reward` stays None where the
    outcome gives none.
    """

    id: int
    architecture: str
    epsilon: float
    outcome: str | None
    reward: float | None
    result: TrialResult | None


@dataclass(frozen=True)
class Sample:
    """One sampled architecture; `completed` is None while its trial is still to be trained."""

    id: int
    trial: int
    epsilon: float
    completed: int | None


def _trial(row: sqlite3.Row) -> Trial:
    result = None if row["result"] is None else TrialResult.from_json(row["result"])
    return Trial(
        row["id"], row["architecture"], row["epsilon"], row["outcome"], row["reward"], result
    )


class ReplayMemory:
    """Reads and, unless opened read-only, writes a run's replay memory.

    Args:
        path: the SQLite file; created if absent and not read-only.
        read_only: open with `mode=ro`.

    Raises:
        ReplayMemoryError: if the file is absent (read-only), of a newer schema, or no database.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        address = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        try:
            # Manual transactions: each public writer is one.
            self._db = sqlite3.connect(address, uri=True, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if not read_only:
                self._db.execute("PRAGMA journal_mode = WAL")
                # In WAL mode nothing is lost to a killed process; a power cut may undo the last
                # events, which the search then repeats from the random state before them.
                self._db.execute("PRAGMA synchronous = NORMAL")
                if version == 0:
                    self._create()
                    version = SCHEMA_VERSION
        except sqlite3.Error as error:
            raise ReplayMemoryError(f"{path}: cannot open the replay memory ({error})") from None
        if version != SCHEMA_VERSION:
            self._db.close()
            raise ReplayMemoryError(
                f"{path}: schema version {version}, this program knows {SCHEMA_VERSION}"
            )

    def _create(self) -> None:
        self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    def close(self) -> None:
        """Close the file; the object cannot be used afterwards."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _put(self, key: str, value: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (key, json.dumps(value)))

    def get(self, key: str) -> Any:
        """A value stored with the run (JSON), or None."""
        row = self._db.execute("SELECT value FROM run WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row["value"])

    def put(self, **values: object) -> None:
        """Store values (JSON) with the run, all in one transaction."""
        with self._transaction():
            for key, value in values.items():
                self._put(key, value)

    # Writing: one method per event of the search.

    def add_sample(self, architecture: str, epsilon: float, random_state: object) -> Sample:
        """Record a sampled architecture, and the random state after sampling it."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT id FROM trials WHERE architecture = ?", (architecture,)
            ).fetchone()
            if row is None:
                cursor = db.execute(
                    "INSERT INTO trials (architecture, epsilon) VALUES (?, ?)",
                    (architecture, epsilon),
                )
                trial = int(cursor.lastrowid or 0)
            else:
                trial = int(row["id"])
            now = datetime.now(UTC).isoformat(timespec="seconds")
            cursor = db.execute(
                "INSERT INTO samples (trial, epsilon, sampled_at) VALUES (?, ?, ?)",
                (trial, epsilon, now),
            )
            sample = int(cursor.lastrowid or 0)
            self._put("random_state", random_state)
        return Sample(sample, trial, epsilon, None)

    def record_outcome(self, trial: int, result: TrialResult, reward: float | None) -> None:
        """Record what training an architecture gave; its samples are completed separately."""
        with self._transaction() as db:
            db.execute(
                "UPDATE trials SET outcome = ?, reward = ?, result = ? WHERE id = ?",
                (result.outcome.value, reward, result.to_json(), trial),
            )

    def complete(
        self, sample: int, q_values: Sequence[tuple[int, float]], random_state: object
    ) -> None:
        """Complete a sample: append it to the order of completion, with the Q-values that the
        replays after it changed (pairs of index and value) and the random state after them."""
        with self._transaction() as db:
            db.execute(
                "UPDATE samples SET completed = "
                "(SELECT coalesce(max(completed), 0) + 1 FROM samples) WHERE id = ?",
                (sample,),
            )
            db.executemany("INSERT OR REPLACE INTO q_values VALUES (?, ?)", q_values)
            self._put("random_state", random_state)

    def record_final(self, id_: str, architecture: str, result: TrialResult) -> None:
        """Record a final training; the same id again replaces it."""
        with self._transaction() as db:
            row = (id_, architecture, result.to_json())
            db.execute("INSERT OR REPLACE INTO finals VALUES (?, ?, ?)", row)

    # Reading.

    def finals(self) -> dict[str, tuple[str, TrialResult]]:
        """Final trainings by id: architecture and result."""
        rows = self._db.execute("SELECT * FROM finals ORDER BY rowid")
        return {
            row["id"]: (row["architecture"], TrialResult.from_json(row["result"])) for row in rows
        }

    def trials(self) -> list[Trial]:
        """All architectures, in the order of their first sample."""
        return [_trial(row) for row in self._db.execute("SELECT * FROM trials ORDER BY id")]

    def trial(self, id_: int) -> Trial:
        """One architecture.

        Raises:
            KeyError: if there is none of this id.
        """
        row = self._db.execute("SELECT * FROM trials WHERE id = ?", (id_,)).fetchone()
        if row is None:
            raise KeyError(f"no trial {id_} in {self.path}")
        return _trial(row)

    def samples(self) -> list[Sample]:
        """All samples in the order of sampling."""
        return self._samples("ORDER BY id")

    def pending(self) -> list[Sample]:
        """Samples not completed yet, in the order of sampling."""
        return self._samples("WHERE completed IS NULL ORDER BY id")

    def _samples(self, which: str) -> list[Sample]:
        rows = self._db.execute(f"SELECT id, trial, epsilon, completed FROM samples {which}")  # noqa: S608 (the two constants above)
        return [Sample(*row) for row in rows]

    def replayable(self) -> list[tuple[str, float]]:
        """Architecture and reward of each completed sample, in the order of completion."""
        rows = self._db.execute(
            "SELECT architecture, reward FROM samples JOIN trials ON trials.id = samples.trial "
            "WHERE completed IS NOT NULL AND reward IS NOT NULL ORDER BY completed"
        )
        return [(row["architecture"], row["reward"]) for row in rows]

    def unique_per_epsilon(self) -> dict[float, int]:
        """Distinct trained architectures by the ε at which they were first sampled."""
        rows = self._db.execute(
            "SELECT epsilon, count(*) AS n FROM trials WHERE reward IS NOT NULL GROUP BY epsilon"
        )
        return {row["epsilon"]: row["n"] for row in rows}

    def q_values(self) -> dict[int, float]:
        """The Q-values that ever changed, by the index of their pair."""
        return {row["pair"]: row["value"] for row in self._db.execute("SELECT * FROM q_values")}


def read_replay_memory(path: Path) -> closing[ReplayMemory]:
    """Open a replay memory for reading, as a context manager."""
    return closing(ReplayMemory(path, read_only=True))
