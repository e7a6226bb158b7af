"""The replay memory's file: its schema, its readers, its refusals."""

import sqlite3
from pathlib import Path

import pytest

from reproduce.search.replay_memory import ReplayMemory, ReplayMemoryError, read_replay_memory
from reproduce.training.outcome import Outcome, TrialResult

RESULT = TrialResult(Outcome.FINISHED, (0.5, 0.75), 0.001, 0, 20, 1.5, "formula")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    sample = memory.add_sample("[SM(10)]", 1.0, {"state": 2**127 + 1})
    again = memory.add_sample("[SM(10)]", 0.9, {"state": 3})
    assert sample.trial == again.trial
    memory.record_outcome(sample.trial, RESULT, 0.75)
    memory.complete(again.id, [(7, 0.505)], {"state": 4})
    with read_replay_memory(tmp_path / "r.sqlite") as reader:
        (trial,) = reader.trials()
        assert (trial.architecture, trial.epsilon, trial.reward) == ("[SM(10)]", 1.0, 0.75)
        assert trial.result == RESULT
        assert [s.completed for s in reader.samples()] == [None, 1]
        assert reader.replayable() == [("[SM(10)]", 0.75)]
        assert reader.q_values() == {7: 0.505}
        assert reader.get("random_state") == {"state": 4}
        assert reader.unique_per_epsilon() == {1.0: 1}


def test_a_reader_cannot_write_and_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(ReplayMemoryError, match="cannot open"):
        ReplayMemory(tmp_path / "absent.sqlite", read_only=True)
    ReplayMemory(tmp_path / "r.sqlite").close()
    with read_replay_memory(tmp_path / "r.sqlite") as reader, pytest.raises(sqlite3.Error):
        reader.put(key=1)


def test_other_schemas_and_other_files_are_refused_by_name(tmp_path: Path) -> None:
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ReplayMemoryError, match=r"newer\.sqlite: schema version 99"):
        ReplayMemory(newer)
    text = tmp_path / "text.sqlite"
    text.write_text("no database, but long enough to be mistaken for one" * 20)
    with pytest.raises(ReplayMemoryError, match=r"text\.sqlite: cannot open"):
        ReplayMemory(text)


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    with pytest.raises(TypeError):
        memory.add_sample("[SM(10)]", 1.0, object())  # no JSON
    assert memory.trials() == []
    assert memory.samples() == []
