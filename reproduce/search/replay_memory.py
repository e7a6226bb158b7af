"""The replay memory: one SQLite file, the single source of truth of a run.

The driver alone writes it, one transaction per step; everyone else reads. The agent's random
state is stored with each step, so that a run killed at any instant goes on as one never stopped,
and what orders the steps, so that a whole search can be computed again.
"""

from __future__ import annotations

import functools
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reproduce.search.replay_schema import connect
from reproduce.search.stored_q_table import (
    FOLD,
    Table,
    as_table,
    changes,
    known_values,
    restored,
)
from reproduce.training import disk
from reproduce.training.outcome import TrialResult


class ReplayMemoryError(RuntimeError):
    """The file cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class Trial:
    """One distinct architecture; times are ISO texts in UTC, and None where they are not known.

    Attributes:
        epsilon: the ε at which it was first sampled.
        outcome, result: how its training ended and all that it reported; None until then.
        reward: what the agent learns from it; None also where the outcome gives none.
        started_at: when it was last started or resumed.
        finished_at: when its outcome was recorded.
        place: where it ran, such as "GPU 0" or a node's name.
    """

    id: int
    architecture: str
    epsilon: float
    outcome: str | None
    reward: float | None
    result: TrialResult | None
    started_at: str | None = field(default=None, compare=False)
    finished_at: str | None = field(default=None, compare=False)
    place: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Sample:
    """One sampled architecture; times are ISO texts in UTC.

    Attributes:
        trial: the architecture's trial.
        epsilon: the ε at which it was sampled.
        completed: its position in the order of completion, from 1; None while its trial is
            still to be trained.
        sampled_after: the number of samples completed when it was sampled; None in a run of an
            earlier version on several places at a time.
        replayed_after: the number of samples completed when its replays were done; None while
            they are not, and always if the trial gave no reward.
        sampled_at, completed_at: when; None if not known. Of an imported sample `sampled_at`
            is the time of the import.
    """

    id: int
    trial: int
    epsilon: float
    completed: int | None
    sampled_after: int | None = None
    replayed_after: int | None = None
    sampled_at: str | None = field(default=None, compare=False)
    completed_at: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ImportedSample:
    """A sample of another program's search; its trial has the first one's result and reward."""

    architecture: str
    epsilon: float
    result: TrialResult
    reward: float


def _trial(row: sqlite3.Row) -> Trial:
    fields = dict(row)
    if fields["result"] is not None:
        fields["result"] = TrialResult.from_json(fields["result"])
    return Trial(**fields)


def _problem(path: Path, doing: str, error: sqlite3.Error | OSError) -> ReplayMemoryError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary one
    failed = code == sqlite3.SQLITE_IOERR
    if code == sqlite3.SQLITE_FULL or (failed and disk.free_bytes(path.parent) < disk.LEAST):
        return ReplayMemoryError(disk.no_space(path.parent, f"{path.name}: {error}"))
    remedy = "; see to its disk and give the same command again" if failed else ""
    return ReplayMemoryError(f"{path}: cannot {doing} the replay memory ({error}){remedy}")


def _now() -> str:
    return _as_text(int(time.time()))


@functools.lru_cache(maxsize=1)
def _as_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


class ReplayMemory:
    """Reads and, unless opened read-only, writes a run's replay memory.

    A writer brings the file of an earlier version up to date. A reader leaves it and its folder
    as they are. Unless a driver has it open, it reads a copy in memory, of the moment when it was
    opened.

    Args:
        path: the SQLite file; created if absent and not read-only.
        read_only: open it for reading alone.

    Raises:
        ReplayMemoryError: if the file is absent (read-only), of a newer version, or no replay
            memory; by any method, if it cannot be read or written.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        try:
            self._db = connect(path, read_only=read_only)
        except (sqlite3.Error, OSError) as error:
            raise _problem(path, "open", error) from None
        self._db.row_factory = sqlite3.Row
        self._q_table: Table | None = None  # as stored last, where this object stored it
        self._changes = 0  # stored since a whole table was

    def close(self) -> None:
        """Close the file; the object cannot be used afterwards."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside is kept together, or not at all after an error or a kill.

        Each writing method is a transaction of its own, unless called inside one.
        """
        if self._db.in_transaction:
            yield
            return
        self._write("BEGIN IMMEDIATE")
        try:
            yield
            self._write("COMMIT")
        except BaseException:
            self._q_table = None
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read inside is of one moment, whatever the driver writes meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def _write(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, parameters)
        except sqlite3.OperationalError as error:
            raise _problem(self.path, "write", error) from None

    def _read(self, sql: str, parameters: Sequence[object] = ()) -> list[sqlite3.Row]:
        try:
            return self._db.execute(sql, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise _problem(self.path, "read", error) from None

    def get(self, key: str) -> Any:
        """A value stored with the run (JSON), or None."""
        rows = self._read("SELECT value FROM run WHERE key = ?", (key,))
        return json.loads(rows[0]["value"]) if rows else None

    def put(self, **values: object) -> None:
        """Store values (JSON) with the run, all in one transaction."""
        with self.transaction():
            for key, value in values.items():
                self._write(
                    "INSERT INTO run VALUES (?, ?) "
                    "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    (key, json.dumps(value)),
                )

    # Writing: what a step of the search consists of.

    def add_sample(self, architecture: str, epsilon: float, random_state: object) -> Sample:
        """Record a sampled architecture, and the random state after sampling it."""
        with self.transaction():
            self._write(
                "INSERT INTO trials (architecture, epsilon) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (architecture, epsilon),
            )
            row = self._write(
                "INSERT INTO samples (trial, epsilon, sampled_after, sampled_at) "
                "SELECT id, ?, (SELECT coalesce(max(completed), 0) FROM samples), ? "
                "FROM trials WHERE architecture = ? RETURNING *",
                (epsilon, _now(), architecture),
            ).fetchone()
            self.put(random_state=random_state)
        return Sample(**dict(row))

    def start_trial(self, trial: int, place: str | None = None) -> None:
        """Record that a trial starts or goes on now, and where, if that is known."""
        self._write(
            "UPDATE trials SET started_at = ?, place = coalesce(?, place) WHERE id = ?",
            (_now(), place, trial),
        )

    def record_outcome(
        self, trial: int, result: TrialResult, reward: float | None, place: str | None = None
    ) -> Trial:
        """Record what training an architecture gave; its samples are completed separately."""
        row = self._write(
            "UPDATE trials SET outcome = ?, reward = ?, result = ?, finished_at = ?, "
            "place = coalesce(?, place) WHERE id = ? RETURNING *",
            (result.outcome.value, reward, result.to_json(), _now(), place, trial),
        ).fetchone()
        return Trial(**{**dict(row), "result": result})

    def complete(self, sample: int) -> None:
        """Append a sample to the order of completion."""
        self._write(
            "UPDATE samples SET completed = 1 + "
            "(SELECT coalesce(max(completed), 0) FROM samples), completed_at = ? WHERE id = ?",
            (_now(), sample),
        )

    def record_replays(
        self,
        samples: Sequence[int],
        q_values: Sequence[float],
        random_state: object,
    ) -> None:
        """Record that the replays of some completed samples were done.

        Args:
            samples: their ids.
            q_values: those of all pairs, after the replays.
            random_state: the random state after them.
        """
        with self.transaction():
            for sample in samples:
                self._write(
                    "UPDATE samples SET replayed_after = (SELECT max(completed) FROM samples) "
                    "WHERE id = ?",
                    (sample,),
                )
            self._put_q_values(q_values)
            self.put(random_state=random_state)

    def import_samples(
        self,
        samples: Iterable[ImportedSample],
        q_values: Sequence[float],
        **values: object,
    ) -> None:
        """Fill an empty replay memory with completed samples, in their order, in one transaction.

        Their replays count as done: what they taught is in the Q-values, those of all pairs, NaN
        for what keeps its first value; none at all are as good as these. `values` are stored as
        by `put`.

        Raises:
            ReplayMemoryError: if the replay memory is not empty.
        """
        with self.transaction():
            if self.samples() or self.q_values():
                raise ReplayMemoryError(f"{self.path}: the replay memory to fill is not empty")
            trials: dict[str, int | None] = {}
            now = _now()
            for position, sample in enumerate(samples, start=1):
                if sample.architecture not in trials:
                    result = sample.result
                    trials[sample.architecture] = self._write(
                        "INSERT INTO trials (architecture, epsilon, outcome, reward, result) "
                        "VALUES (?, ?, ?, ?, ?)",
                        (
                            *(sample.architecture, sample.epsilon),
                            *(result.outcome.value, sample.reward, result.to_json()),
                        ),
                    ).lastrowid
                trial = trials[sample.architecture]
                self._write(
                    "INSERT INTO samples (trial, epsilon, completed, sampled_after, "
                    "replayed_after, sampled_at) VALUES (?, ?, ?, ?, ?, ?)",
                    (trial, sample.epsilon, position, position - 1, position, now),
                )
            self._put_q_values(q_values)
            self.put(**values)

    def _put_q_values(self, q_values: Sequence[float]) -> None:
        table = as_table(q_values)
        if self._q_table is None or self._changes == FOLD:
            self._write("INSERT OR REPLACE INTO q_table VALUES (1, ?)", (table.tobytes(),))
            self._write("DELETE FROM q_changes")
            self._changes = 0
        else:
            self._write(
                "INSERT INTO q_changes (q_values) VALUES (?)", (changes(self._q_table, table),)
            )
            self._changes += 1
        self._q_table = table

    def record_final(self, id_: str, architecture: str, result: TrialResult) -> None:
        """Record a final training; the same id again replaces it."""
        self._write(
            "INSERT OR REPLACE INTO finals VALUES (?, ?, ?)",
            (id_, architecture, result.to_json()),
        )

    # Reading.

    def finals(self) -> dict[str, tuple[str, TrialResult]]:
        """Final trainings by id: architecture and result."""
        rows = self._read("SELECT * FROM finals ORDER BY rowid")
        return {
            row["id"]: (row["architecture"], TrialResult.from_json(row["result"])) for row in rows
        }

    def trials(self) -> list[Trial]:
        """All architectures, in the order of their first sample."""
        return [_trial(row) for row in self._read("SELECT * FROM trials ORDER BY id")]

    def trial(self, id_: int) -> Trial:
        """One architecture.

        Raises:
            KeyError: if there is none of this id.
        """
        rows = self._read("SELECT * FROM trials WHERE id = ?", (id_,))
        if not rows:
            raise KeyError(f"no trial {id_} in {self.path}")
        return _trial(rows[0])

    def samples(self) -> list[Sample]:
        """All samples in the order of sampling."""
        return self._samples("")

    def pending(self) -> list[Sample]:
        """Samples not completed yet, in the order of sampling."""
        return self._samples("WHERE completed IS NULL")

    def owed(self) -> list[Sample]:
        """Completed samples with a reward whose replays were not done, in the same order."""
        return self._samples(
            "WHERE completed IS NOT NULL AND replayed_after IS NULL "
            "AND trial IN (SELECT id FROM trials WHERE reward IS NOT NULL)"
        )

    def _samples(self, which: str) -> list[Sample]:
        rows = self._read(f"SELECT * FROM samples {which} ORDER BY id")  # noqa: S608 (constants above)
        return [Sample(**dict(row)) for row in rows]

    def replayable(self) -> list[tuple[str, float]]:
        """Architecture and reward of each completed sample, in the order of completion."""
        rows = self._read(
            "SELECT architecture, reward FROM samples JOIN trials ON trials.id = samples.trial "
            "WHERE completed IS NOT NULL AND reward IS NOT NULL ORDER BY completed"
        )
        return [(row["architecture"], row["reward"]) for row in rows]

    def unique_per_epsilon(self) -> dict[float, int]:
        """Distinct trained architectures by the ε at which they were first sampled."""
        rows = self._read(
            "SELECT epsilon, count(*) AS n FROM trials WHERE reward IS NOT NULL GROUP BY epsilon"
        )
        return {row["epsilon"]: row["n"] for row in rows}

    def q_values(self) -> dict[int, float]:
        """The Q-values by the index of their pair; those that are missing never changed."""
        rows = self._read(
            "SELECT 0 AS step, q_values FROM q_table "
            "UNION ALL SELECT step, q_values FROM q_changes ORDER BY step"
        )
        if not rows:
            return {}
        try:
            table = restored(rows[0]["q_values"], [row["q_values"] for row in rows[1:]])
        except ValueError as error:
            raise ReplayMemoryError(f"{self.path}: damaged Q-values ({error})") from None
        return known_values(table)


def read_replay_memory(path: Path) -> closing[ReplayMemory]:
    """Open a replay memory for reading, as a context manager."""
    return closing(ReplayMemory(path, read_only=True))
