"""The replay memory's file: its readers, its refusals, its transactions."""

import math
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.search import replay_memory
from reproduce.search.replay_memory import (
    ImportedSample,
    ReplayMemory,
    ReplayMemoryError,
    read_replay_memory,
)
from reproduce.training import disk
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
    memory.record_replays([again.id], [0.5, 0.505], {"state": 4})
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
        assert reader.q_values() == {0: 0.5, 1: 0.505}
        assert reader.get("random_state") == {"state": 4}
        assert reader.unique_per_epsilon() == {1.0: 1}


def test_a_trial_that_goes_on_elsewhere_names_its_last_place(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    trial = memory.add_sample("[SM(10)]", 1.0, None).trial
    memory.start_trial(trial, "node-1")
    memory.start_trial(trial)
    assert memory.trial(trial).place == "node-1"
    assert memory.record_outcome(trial, RESULT, None, "node-2").place == "node-2"


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 6), st.floats(allow_nan=False)),
            max_size=5,
        ),
        max_size=40,
    ),
    st.integers(1, 20),
)
def test_the_last_q_values_are_read_whatever_steps_changed(
    steps: list[list[tuple[int, float]]], writes_before_reopening: int
) -> None:
    """Over whole tables, changes, and writers that end and begin anew."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "r.sqlite")
        memory, table = ReplayMemory(path), [0.5] * 7
        for number, step in enumerate(steps, start=1):
            for pair, value in step:
                table[pair] = value
            memory.record_replays([], table, None)
            with read_replay_memory(path) as reader:
                found = reader.q_values()
            assert [found[pair].hex() for pair in range(7)] == [value.hex() for value in table]
            if number % writes_before_reopening == 0:
                memory.close()
                memory = ReplayMemory(path)
        memory.close()


def test_q_values_are_those_before_a_step_that_failed(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    memory.record_replays([], [0.5, 0.5], None)
    with pytest.raises(TypeError, match="not JSON serializable"):
        memory.record_replays([], [0.6, 0.5], object())
    assert memory.q_values() == {0: 0.5, 1: 0.5}
    memory.record_replays([], [0.6, 0.7], None)
    assert memory.q_values() == {0: 0.6, 1: 0.7}


def test_damaged_q_values_are_named(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    memory.record_replays([], [0.5], None)
    memory.record_replays([], [0.6], None)
    with sqlite3.connect(tmp_path / "r.sqlite") as db:
        db.execute("UPDATE q_changes SET q_values = x'0700000000000000000000E0'")
    with pytest.raises(ReplayMemoryError, match=r"r\.sqlite: damaged Q-values \(a pair beyond"):
        memory.q_values()
    with sqlite3.connect(tmp_path / "r.sqlite") as db:
        db.execute("UPDATE q_changes SET q_values = x'07'")
    with pytest.raises(ReplayMemoryError, match=r"r\.sqlite: damaged Q-values"):
        memory.q_values()


def test_a_reader_cannot_write_and_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(ReplayMemoryError, match="cannot open"):
        ReplayMemory(tmp_path / "absent.sqlite", read_only=True)
    ReplayMemory(tmp_path / "r.sqlite").close()
    with (
        read_replay_memory(tmp_path / "r.sqlite") as reader,
        pytest.raises(ReplayMemoryError, match=r"r\.sqlite: cannot write .*readonly database"),
    ):
        reader.put(key=1)


def files(folder: Path, state: str) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    if state == "open":  # here by this very process, whose connections share their index
        found["r.sqlite-shm"] = b""
    return found


@pytest.mark.parametrize(
    ("state", "there"),
    [
        ("closed", {"r.sqlite"}),
        ("open", {"r.sqlite", "r.sqlite-wal", "r.sqlite-shm"}),
        ("killed", {"r.sqlite", "r.sqlite-wal", "r.sqlite-shm"}),
        ("index torn", {"r.sqlite", "r.sqlite-wal", "r.sqlite-shm"}),
        ("index left out", {"r.sqlite", "r.sqlite-wal"}),
        ("log left out", {"r.sqlite", "r.sqlite-shm"}),
    ],
)
def test_a_reader_writes_nothing(tmp_path: Path, state: str, there: set[str]) -> None:
    """Neither the file nor beside it: the disk may be full, the folder another user's."""
    folder, elsewhere = tmp_path / "run", tmp_path / "copy"
    folder.mkdir()
    path = folder / "r.sqlite"
    ReplayMemory(path).close()
    memory = ReplayMemory(path)
    if state != "log left out":
        memory.add_sample("[SM(10)]", 1.0, None)
    if state in ("closed", "open"):
        elsewhere = folder
    else:  # what a killed writer leaves, locks aside
        shutil.copytree(folder, elsewhere)
    if state != "open":
        memory.close()
    if state == "index torn":
        (elsewhere / "r.sqlite-shm").write_bytes(b"")
    for path in elsewhere.iterdir():
        if path.name not in there:
            path.unlink()
    before = files(elsewhere, state)
    assert before.keys() == there
    for _ in range(2):
        with read_replay_memory(elsewhere / "r.sqlite") as reader:
            assert len(reader.samples()) == (state != "log left out")
            assert files(elsewhere, state) == before
        assert files(elsewhere, state) == before


def test_a_reader_follows_a_writer(tmp_path: Path) -> None:
    """Also over a checkpoint, and when the writer is gone."""
    memory = ReplayMemory(tmp_path / "r.sqlite")
    with read_replay_memory(tmp_path / "r.sqlite") as reader:
        for number in range(3):
            memory.add_sample(f"[FC({number + 1}), SM(10)]", 1.0, None)
            assert len(reader.samples()) == number + 1
            memory.record_replays([], [0.5 + number] * 50_000, None)
            assert len(reader.q_values()) == 50_000
        memory.close()
        assert len(reader.samples()) == 3


@pytest.mark.parametrize("doing", ["open", "read", "write"])
def test_a_full_disk_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, doing: str
) -> None:
    """A page limit makes SQLite say what it says on a full disk; an I/O error is one without
    space."""
    memory = ReplayMemory(tmp_path / "r.sqlite")
    if doing == "write":
        memory._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(ReplayMemoryError) as caught:
            memory.put(key="x" * 100_000)
    else:
        memory.close()
        monkeypatch.setattr(disk, "free_bytes", lambda folder: 0)
        failing = sqlite3.OperationalError("disk I/O error")
        failing.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE

        class Failing:
            def execute(self, sql: str, parameters: object) -> None:
                raise failing

        def connect(path: Path, *, read_only: bool) -> Any:
            if doing == "open":
                raise failing
            return Failing()

        monkeypatch.setattr(replay_memory, "connect", connect)
        with pytest.raises(ReplayMemoryError) as caught:
            ReplayMemory(tmp_path / "r.sqlite").samples()
    said = str(caught.value)
    assert said.startswith(f"no space left on the disk of {tmp_path} (")
    assert "r.sqlite: d" in said  # disk I/O error, database or disk is full
    assert said.endswith("free some and give the same command again")


def test_another_disk_error_names_the_file_and_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(path: Path, *, read_only: bool) -> Any:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    monkeypatch.setattr(replay_memory, "connect", connect)
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 1 << 40)
    with pytest.raises(
        ReplayMemoryError, match=r"r\.sqlite: .* \(disk I/O error\); see to its disk"
    ):
        ReplayMemory(tmp_path / "r.sqlite")


@pytest.mark.parametrize("read_only", [True, False])
def test_other_schemas_and_other_files_are_refused_by_name(tmp_path: Path, read_only: bool) -> None:
    for name, statement, problem in (
        ("newer", "PRAGMA user_version = 99", "schema version 99, this program knows 3"),
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
    memory.import_samples(SAMPLES, [math.nan, 0.25], source="elsewhere")
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
    assert memory.q_values() == {1: 0.25}
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

ReplayMemory(Path(sys.argv[1])).import_samples(samples(), [0.5], source="elsewhere")
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
