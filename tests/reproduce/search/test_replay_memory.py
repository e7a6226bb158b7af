"""The replay memory's file: its readers, its refusals, its transactions."""

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reproduce.search.replay_memory import (
    ImportedSample,
    ReplayMemory,
    ReplayMemoryError,
    read_replay_memory,
)
from reproduce.training.outcome import Outcome, TrialResult

RESULT = TrialResult(Outcome.FINISHED, (0.5, 0.75), 0.001, 0, 20, 1.5, "formula")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    memory = ReplayMemory(tmp_path / "r.sqlite")
    sample = memory.add_sample("[SM(10)]", 1.0, {"state": 2**127 + 1})
    memory.start_trial(sample.trial, "GPU 1")
    again = memory.add_sample("[SM(10)]", 0.9, {"state": 3})
    assert sample.trial == again.trial
    assert (sample.id, again.id, sample.sampled_after) == (1, 2, 0)
    ended = memory.record_outcome(sample.trial, RESULT, 0.75)
    memory.complete(again.id)
    with read_replay_memory(tmp_path / "r.sqlite") as reader:
        assert [s.id for s in reader.owed()] == [again.id]
    memory.record_replays([again.id], [(7, 0.505)], {"state": 4})
    third = memory.add_sample("[GAP(10), SM(10)]", 0.9, {"state": 4})
    with read_replay_memory(tmp_path / "r.sqlite") as reader:
        trial, other = reader.trials()
        assert trial == ended
        assert (trial.architecture, trial.epsilon, trial.reward) == ("[SM(10)]", 1.0, 0.75)
        assert (trial.result, trial.place) == (RESULT, "GPU 1")
        assert (other.outcome, other.started_at, other.place) == (None, None, None)
        for text in (trial.started_at, trial.finished_at, reader.samples()[1].completed_at):
            assert text is not None
            assert before <= datetime.fromisoformat(text) <= datetime.now(UTC)
        assert [s.completed for s in reader.samples()] == [None, 1, None]
        assert [s.sampled_after for s in reader.samples()] == [0, 0, 1]
        assert [s.replayed_after for s in reader.samples()] == [None, 1, None]
        assert [s.id for s in reader.pending()] == [sample.id, third.id]
        assert reader.owed() == []
        assert reader.replayable() == [("[SM(10)]", 0.75)]
        assert reader.q_values() == {7: 0.505}
        assert reader.get("random_state") == {"state": 4}
        assert reader.unique_per_epsilon() == {1.0: 1}


def test_a_trial_that_goes_on_elsewhere_names_its_last_place(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    trial = memory.add_sample("[SM(10)]", 1.0, None).trial
    memory.start_trial(trial, "node-1")
    memory.start_trial(trial)
    assert memory.trial(trial).place == "node-1"
    assert memory.record_outcome(trial, RESULT, None, "node-2").place == "node-2"


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 350])
def test_any_number_of_q_values_is_kept(tmp_path: Path, count: int) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    values = {pair: 1 / (pair + 1) for pair in range(count)}
    memory.record_replays([], [(0, 9.0)], None)
    memory.record_replays([], list(values.items()), None)
    assert memory.q_values() == ({0: 9.0} | values)


def test_a_reader_cannot_write_and_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(ReplayMemoryError, match="cannot open"):
        ReplayMemory(tmp_path / "absent.sqlite", read_only=True)
    ReplayMemory(tmp_path / "r.sqlite").close()
    with (
        read_replay_memory(tmp_path / "r.sqlite") as reader,
        pytest.raises(ReplayMemoryError, match=r"r\.sqlite: cannot write .*readonly database"),
    ):
        reader.put(key=1)


@pytest.mark.parametrize("read_only", [True, False])
def test_other_schemas_and_other_files_are_refused_by_name(tmp_path: Path, read_only: bool) -> None:
    for name, statement, problem in (
        ("newer", "PRAGMA user_version = 99", "schema version 99, this program knows 2"),
        ("other", "CREATE TABLE t (x)", "its tables are not a replay memory's"),
    ):
        with sqlite3.connect(tmp_path / name) as db:
            db.execute(statement)
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ReplayMemoryError, match=rf"{name}: cannot open .*{problem}"):
            ReplayMemory(tmp_path / name, read_only=read_only)
        assert (tmp_path / name).read_bytes() == before
    text = tmp_path / "text.sqlite"
    text.write_text("no database, but long enough to be mistaken for one" * 20)
    with pytest.raises(ReplayMemoryError, match=r"text\.sqlite: cannot open"):
        ReplayMemory(text, read_only=read_only)


def test_a_reader_refuses_an_empty_file(tmp_path: Path) -> None:
    """A driver that was killed at its start leaves one."""
    (tmp_path / "r.sqlite").touch()
    with pytest.raises(ReplayMemoryError, match=r"r\.sqlite: cannot open .* \(it is empty\)"):
        ReplayMemory(tmp_path / "r.sqlite", read_only=True)
    assert ReplayMemory(tmp_path / "r.sqlite").samples() == []


def add_two(memory: ReplayMemory, state: object) -> None:
    memory.complete(memory.add_sample("[SM(10)]", 1.0, None).id)
    memory.add_sample("[GAP(10), SM(10)]", 1.0, state)


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    with pytest.raises(TypeError):
        memory.add_sample("[SM(10)]", 1.0, object())  # no JSON
    assert memory.trials() == []
    assert memory.samples() == []
    with pytest.raises(TypeError), memory.transaction():
        add_two(memory, object())
    assert memory.samples() == []
    with memory.transaction():
        add_two(memory, None)
    with read_replay_memory(tmp_path / "r.sqlite") as reader:
        assert [s.completed for s in reader.samples()] == [1, None]


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    memory.add_sample("[SM(10)]", 1.0, None)
    with read_replay_memory(tmp_path / "r.sqlite") as reader:
        with reader.snapshot():
            assert len(reader.trials()) == 1
            memory.add_sample("[GAP(10), SM(10)]", 1.0, None)
            assert len(reader.samples()) == 1
        assert len(reader.samples()) == 2


# Samples of another program.

SAMPLES = [
    ImportedSample("[SM(10)]", 1.0, RESULT, 0.75),
    ImportedSample("[GAP(10), SM(10)]", 1.0, RESULT, 0.5),
    ImportedSample("[SM(10)]", 0.5, RESULT, 0.25),
]


def test_imported_samples_are_completed_and_learned(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    memory.import_samples(SAMPLES, [(3, 0.25)], source="elsewhere")
    assert [(t.epsilon, t.reward, t.result) for t in memory.trials()] == [
        (1.0, 0.75, RESULT),
        (1.0, 0.5, RESULT),
    ]
    assert [(s.trial, s.epsilon, s.completed) for s in memory.samples()] == [
        (1, 1.0, 1),
        (2, 1.0, 2),
        (1, 0.5, 3),
    ]
    assert [(s.sampled_after, s.replayed_after) for s in memory.samples()] == [
        (0, 1),
        (1, 2),
        (2, 3),
    ]
    assert memory.owed() == memory.pending() == []
    assert memory.q_values() == {3: 0.25}
    assert memory.get("source") == "elsewhere"
    assert memory.get("random_state") is None
    # When they were trained is not known.
    assert {t.started_at for t in memory.trials()} | {t.finished_at for t in memory.trials()} == {
        None
    }
    assert {s.completed_at for s in memory.samples()} == {None}


def test_samples_are_imported_into_an_empty_file_alone(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    memory.import_samples(SAMPLES, [])
    with pytest.raises(ReplayMemoryError, match=r"r\.sqlite: .* is not empty"):
        memory.import_samples(SAMPLES, [])
    assert len(memory.samples()) == 3


KILLED_IMPORT = """
import os, signal, sys
from pathlib import Path
from reproduce.search.replay_memory import ImportedSample, ReplayMemory
from reproduce.training.outcome import Outcome, TrialResult

result = TrialResult(Outcome.FINISHED, (0.5,), 0.001, 0, 20, 1.5, "formula")

def samples():
    for number in range(3000):
        yield ImportedSample(f"[FC({number + 1}), SM(10)]", 1.0, result, 0.5)
    os.kill(os.getpid(), signal.SIGKILL)

ReplayMemory(Path(sys.argv[1])).import_samples(samples(), [(1, 0.5)], source="elsewhere")
"""


def test_a_killed_import_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    command = [sys.executable, "-c", KILLED_IMPORT, str(path)]
    assert subprocess.run(command, check=False).returncode == -9
    memory = ReplayMemory(path)
    assert (memory.trials(), memory.samples(), memory.q_values()) == ([], [], {})
    assert memory.get("source") is None
    memory.import_samples(SAMPLES, [])
    assert len(memory.samples()) == 3
