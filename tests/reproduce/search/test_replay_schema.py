"""Files of earlier versions: read as they are, brought up to date by a writer."""

import sqlite3
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from reproduce.search import replay_schema
from reproduce.search.agent import Agent, QLearning
from reproduce.search.loop import EpsilonStage, search
from reproduce.search.replay_memory import (
    ReplayMemory,
    ReplayMemoryError,
    Trial,
    read_replay_memory,
)
from reproduce.search.rerun import rerun
from reproduce.search.space import SearchSpace, SpaceRules
from reproduce.training.outcome import Outcome, TrialResult

VERSION_1 = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE trials (
  id INTEGER PRIMARY KEY, architecture TEXT NOT NULL UNIQUE, epsilon REAL NOT NULL,
  outcome TEXT, reward REAL, result TEXT
) STRICT;
CREATE TABLE samples (
  id INTEGER PRIMARY KEY, trial INTEGER NOT NULL REFERENCES trials, epsilon REAL NOT NULL,
  completed INTEGER UNIQUE, sampled_at TEXT NOT NULL
) STRICT;
CREATE INDEX samples_pending ON samples (id) WHERE completed IS NULL;
CREATE TABLE finals (id TEXT PRIMARY KEY, architecture TEXT NOT NULL, result TEXT NOT NULL) STRICT;
CREATE TABLE q_values (pair INTEGER PRIMARY KEY, value REAL NOT NULL) STRICT;
PRAGMA user_version = 1;
"""

SPACE = SearchSpace(SpaceRules(depth=2, image=6))
SCHEDULE = (EpsilonStage(1.0, 6), EpsilonStage(0.1, 4))


class FormulaTrainer:
    """Answers at once; every fifth net is too big."""

    slots = 1

    def submit(self, trial: Trial) -> Future[TrialResult]:
        outcome = Outcome.OUT_OF_MEMORY if trial.id % 5 == 0 else Outcome.FINISHED
        future: Future[TrialResult] = Future()
        future.set_result(TrialResult(outcome, (trial.id / 20,), 0.001, 0, 9, 1.0, "formula"))
        return future

    def place(self, trial: Trial) -> str | None:
        return None

    def reward(self, trial: Trial, result: TrialResult) -> float | None:
        return result.best_accuracy if result.outcome is Outcome.FINISHED else None


def run(path: Path, events: int | None = None) -> None:
    memory, agent = ReplayMemory(path), Agent(SPACE, QLearning())
    steps = search(memory, agent, np.random.default_rng(0), SCHEDULE, 10, FormulaTrainer())
    for number, _ in enumerate(steps, start=1):
        if number == events:
            break
    memory.close()


def version_1(path: Path, *, events: int | None = None, device: str | None = None) -> None:
    """A search on one slot as version 1 kept it: on one slot nothing else has changed."""
    run(path.with_suffix(".new"), events)
    with sqlite3.connect(path) as db:
        db.executescript("PRAGMA journal_mode = WAL;" + VERSION_1)
        db.execute("ATTACH ? AS new", (str(path.with_suffix(".new")),))
        for statement in (
            "INSERT INTO run SELECT key, value FROM new.run",
            "INSERT INTO trials "
            "SELECT id, architecture, epsilon, outcome, reward, result FROM new.trials",
            "INSERT INTO samples SELECT id, trial, epsilon, completed, sampled_at FROM new.samples",
        ):
            db.execute(statement)
        with read_replay_memory(path.with_suffix(".new")) as memory:
            changed = known(memory)
        db.executemany("INSERT INTO q_values VALUES (?, ?)", changed.items())
        if device is not None:
            db.execute("INSERT INTO run VALUES ('device', ?)", (f'"{device}"',))
    db.close()


def known(memory: ReplayMemory) -> dict[int, float]:
    """The Q-values that are not the first ones; earlier versions kept no others."""
    return {pair: v for pair, v in memory.q_values().items() if v != QLearning().initial}


def contents(path: Path) -> tuple[object, ...]:
    with read_replay_memory(path) as memory:
        state = memory.get("random_state")
        return memory.trials(), memory.samples(), known(memory), state


def columns(path: Path) -> set[str]:
    with sqlite3.connect(path) as db:
        return {row[1] for row in db.execute("PRAGMA table_info(samples)")}


def test_a_reader_of_an_older_file_reads_it_and_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    version_1(path, device="the CPU")
    before, names = path.read_bytes(), set(tmp_path.iterdir())
    assert contents(path) == contents(path.with_suffix(".new"))
    with (
        read_replay_memory(path) as reader,
        pytest.raises(ReplayMemoryError, match=r"r\.sqlite: cannot write"),
    ):
        reader.put(key=1)
    assert (path.read_bytes(), set(tmp_path.iterdir())) == (before, names)
    assert "sampled_after" not in columns(path)


def test_a_writer_brings_an_older_file_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    version_1(path, device="GPU 0, then the CPU")
    ReplayMemory(path).close()
    assert "sampled_after" in columns(path)
    assert contents(path) == contents(path.with_suffix(".new"))
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)


@pytest.mark.parametrize("events", [None, 1, 2, 3, 7, 12, 20])
def test_a_search_of_version_1_goes_on_and_is_computed_again(
    tmp_path: Path, events: int | None
) -> None:
    path = tmp_path / "r.sqlite"
    version_1(path, events=events, device="the CPU")
    run(path)
    run(tmp_path / "whole.sqlite")
    assert contents(path) == contents(tmp_path / "whole.sqlite")
    with read_replay_memory(path) as memory:
        agent, rng = Agent(SPACE, QLearning()), np.random.default_rng(0)
        assert rerun(memory, agent, rng, SCHEDULE, 10).difference is None


@pytest.mark.parametrize("device", ["GPU 0, 1", "the CPU, then GPU 0, 1", None])
def test_the_order_of_several_places_is_not_made_up(tmp_path: Path, device: str | None) -> None:
    """Nor where it is not known how many there were."""
    path = tmp_path / "r.sqlite"
    version_1(path, device=device)
    with read_replay_memory(path) as memory:
        assert {s.sampled_after for s in memory.samples()} == {None}
        agent, rng = Agent(SPACE, QLearning()), np.random.default_rng(0)
        with pytest.raises(ReplayMemoryError, match=r"r\.sqlite: an earlier version .*sample 1"):
            rerun(memory, agent, rng, SCHEDULE, 10)


def test_samples_completed_out_of_order_were_of_several_places(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    version_1(path, device="the CPU")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE samples SET completed = 3 - completed + 1000 WHERE completed < 3")
        db.execute("UPDATE samples SET completed = completed - 1000 WHERE completed > 1000")
    with read_replay_memory(path) as memory:
        assert {s.sampled_after for s in memory.samples()} == {None}


def test_a_failed_migration_leaves_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.sqlite"
    version_1(path, device="the CPU")
    broken = f"{replay_schema._VERSION_2} DROP TABLE nowhere;"
    monkeypatch.setattr(replay_schema, "_SCRIPTS", (replay_schema._VERSION_1, broken))
    with pytest.raises(ReplayMemoryError, match=r"r\.sqlite: cannot open .*no such table"):
        ReplayMemory(path)
    monkeypatch.undo()
    assert "sampled_after" not in columns(path)
    assert contents(path) == contents(path.with_suffix(".new"))
