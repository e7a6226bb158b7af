"""A search that goes on from the released files, and a search written as those files."""

import csv
import dataclasses
from collections import Counter
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from prototxt_gen.notation import parse
from reproduce.search.agent import Agent, QLearning
from reproduce.search.loop import EpsilonStage, Sampled, Trained, search
from reproduce.search.released_files import (
    Q_COLUMNS,
    ReleasedFileError,
    ReleasedReplay,
    ReplayRow,
    read_q_values,
    read_replay_database,
    without_debug_rows,
    write_q_values,
    write_replay_database,
)
from reproduce.search.released_import import ImportReport, export_released, import_released
from reproduce.search.replay_memory import ReplayMemory, ReplayMemoryError, Trial
from reproduce.search.rerun import rerun
from reproduce.search.space import SearchSpace, SpaceRules
from reproduce.training.outcome import Outcome, TrialResult

AUTHORS = SearchSpace(
    SpaceRules(
        depth=12,
        image=32,
        smaller_than_bin=True,
        pool_rounding="floor",
        gap="layer",
        fc_sees_bin=True,
    )
)
SMALL = SearchSpace(dataclasses.replace(AUTHORS.rules, depth=4, image=12))


@pytest.fixture(scope="module")
def imported(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ImportReport]:
    """A replay memory with both released files, and what the import reported."""
    path = tmp_path_factory.mktemp("imported") / "replay.sqlite"
    memory = ReplayMemory(path)
    replay = without_debug_rows(read_replay_database(runs / "replay_database.csv")).replay
    report = import_released(memory, AUTHORS, replay, read_q_values(runs / "q_values.csv", AUTHORS))
    memory.close()
    return path, report


# Import.


def test_an_import_reports_what_it_brought(imported: tuple[Path, ImportReport]) -> None:
    """22 values exceed 1: they learned from the debug rows' accuracy of 86."""
    assert imported[1] == ImportReport(
        trials=1789, samples=1910, q_values=4161, unmapped=0, missing=4, above_one=22
    )
    assert "1910 samples of 1789 architectures and 4161 Q-values (22 above 1)" in str(imported[1])


def test_imported_trials_are_as_the_rows_say(imported: tuple[Path, ImportReport]) -> None:
    memory = ReplayMemory(imported[0], read_only=True)
    assert memory.unique_per_epsilon() == {1.0: 1526, 0.9: 147, 0.8: 116}
    assert Counter(x.epsilon for x in memory.samples()) == {1.0: 1615, 0.9: 164, 0.8: 131}
    assert [x.completed for x in memory.samples()] == list(range(1, 1911))
    trials = {trial.architecture: trial for trial in memory.trials()}
    never = trials["[C(256,1,1), GAP(10), SM(10)]"]
    assert (never.outcome, never.reward) == (Outcome.CHANCE_LEVEL, 0.1)
    learned = trials["[C(256,5,1), SM(10)]"]
    assert (learned.outcome, learned.reward) == (Outcome.FINISHED, 0.6976)
    assert learned.result is not None
    assert (learned.result.best_accuracy, learned.result.last_accuracy) == (0.6976, 0.6956)
    assert learned.result.trainer == "imported from replay_database.csv"
    assert learned.result.iterations == 10660


def test_an_import_is_exported_byte_by_byte(
    imported: tuple[Path, ImportReport], runs: Path, tmp_path: Path
) -> None:
    """The replay database without its debug rows; the Q-values as they are."""
    memory = ReplayMemory(imported[0], read_only=True)
    replay, q_values = export_released(memory, AUTHORS)
    write_replay_database(tmp_path / "replay.csv", replay)
    write_q_values(tmp_path / "q.csv", q_values)
    lines = (runs / "replay_database.csv").read_bytes().splitlines(keepends=True)
    assert (tmp_path / "replay.csv").read_bytes() == b"".join(lines[:1911])
    assert (tmp_path / "q.csv").read_bytes() == (runs / "q_values.csv").read_bytes()


class FormulaTrainer:
    """Answers at once: accuracy grows with the number of layers."""

    slots = 1

    def __init__(self) -> None:
        self.trained: list[str] = []

    def submit(self, trial: Trial) -> Future[TrialResult]:
        self.trained.append(trial.architecture)
        accuracy = 0.2 + len(parse(trial.architecture)) / 40
        accuracies = (0.1875, accuracy, 0.1875)
        future: Future[TrialResult] = Future()
        future.set_result(TrialResult(Outcome.FINISHED, accuracies, 0.001, 1, 40, 0.0, "formula"))
        return future

    def place(self, trial: Trial) -> str | None:
        return None

    def reward(self, trial: Trial, result: TrialResult) -> float | None:
        return result.best_accuracy


def test_a_search_goes_on_from_an_import(
    imported: tuple[Path, ImportReport], runs: Path, tmp_path: Path
) -> None:
    """At the first stage of Table 2 that is not complete, without training anything again."""
    path = tmp_path / "replay.sqlite"
    path.write_bytes(imported[0].read_bytes())
    memory, trainer = ReplayMemory(path), FormulaTrainer()
    before = {trial.architecture for trial in memory.trials()}
    agent = Agent(AUTHORS, QLearning())
    stages = [EpsilonStage(e, n) for e, n in ((1.0, 1500), (0.9, 100), (0.8, 100), (0.7, 3))]
    events = search(memory, agent, np.random.default_rng(0), stages, 128, trainer)
    sampled = next(events)
    assert isinstance(sampled, Sampled)
    assert (sampled.sample.id, sampled.sample.epsilon) == (1911, 0.7)
    values = read_q_values(runs / "q_values.csv", AUTHORS).values
    assert list(agent.q) == [values.get(i, 0.5) for i in range(AUTHORS.pairs)]
    rest = list(events)
    assert sum(isinstance(event, Trained) for event in rest) == 3
    assert len(trainer.trained) == 3
    assert before.isdisjoint(trainer.trained)
    replay, q_values = export_released(memory, AUTHORS)
    assert len(replay.rows) == len(memory.samples()) >= 1913
    changed = {n for n, value in q_values.values.items() if value != values.get(n, 0.5)}
    assert changed
    # Pairs that the file lacks are added only once they have learned something.
    assert q_values.values == {
        n: value for n, value in enumerate(agent.q) if n in values or value != 0.5
    }
    # Only pairs of replayed walks may change.
    walks = [agent.trajectory(parse(architecture)) for architecture, _ in memory.replayable()]
    assert changed <= {step.chosen for walk in walks for step in walk.steps}
    # The file's rows are as they were, and the new ones follow.
    write_replay_database(tmp_path / "replay.csv", replay)
    lines = (runs / "replay_database.csv").read_bytes().splitlines(keepends=True)
    assert (tmp_path / "replay.csv").read_bytes().startswith(b"".join(lines[:1911]))
    assert [row.ix_q_value_update for row in replay.rows[1910:]] == [
        sample.id for sample in memory.samples()[1910:]
    ]
    # What follows the import can be computed again.
    fresh, rng = Agent(AUTHORS, QLearning()), np.random.default_rng(0)
    report = rerun(memory, fresh, rng, stages, 128, reward=trainer.reward)
    assert (report.difference, report.imported) == (None, 1910)
    assert report.samples == len(memory.samples()) - 1910
    assert f"{report.samples} samples drawn" in str(report)
    assert "after 1910 imported samples" in str(report)


def row(net: str = "[SM(10)]", accuracy: float = 0.5, epsilon: float = 1.0) -> ReplayRow:
    return ReplayRow(
        net, accuracy, 9.0, accuracy, 9.0, -1.0, -1.0, 1.0, epsilon, 0.0, "unknown", line=7
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("[P(2,2), SM(10)]"), "line 7, column net: not in the space: layer 1, P"),
        (row(accuracy=86.0), "column accuracy_best_val: 86.0 is not in .0, 1.; drop debug rows"),
        (row(epsilon=2.0), "column epsilon: 2.0 is not in .0, 1.$"),
        (dataclasses.replace(row(), iter_last_val=-1.0), "column iter_last_val: -1.0 is negative"),
    ],
)
def test_a_bad_row_imports_nothing(tmp_path: Path, bad: ReplayRow, message: str) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    with pytest.raises(ReleasedFileError, match=message):
        import_released(memory, SMALL, ReleasedReplay((row(), bad)))
    assert memory.samples() == []


def test_an_import_needs_an_empty_memory_and_rows(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    with pytest.raises(ReleasedFileError, match="there are no rows to import"):
        import_released(memory, SMALL, ReleasedReplay(()))
    import_released(memory, SMALL, ReleasedReplay((row(),)))
    with pytest.raises(ReplayMemoryError, match=r"r\.sqlite: .* is not empty"):
        import_released(memory, SMALL, ReleasedReplay((row(),)))


def test_only_exactly_one_in_classes_is_chance_level(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    rows = (row(accuracy=0.1), row("[GAP(10), SM(10)]", accuracy=0.1002))
    import_released(memory, SMALL, ReleasedReplay(rows))
    assert [t.outcome for t in memory.trials()] == [Outcome.CHANCE_LEVEL, Outcome.FINISHED]


def test_another_sample_of_an_imported_net_copies_its_row(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    old = dataclasses.replace(row(), accuracy_last_val=0.4, iter_best_val=6.0)
    old = dataclasses.replace(old, time_finished=5.0, machine_run_on="host")
    import_released(memory, SMALL, ReleasedReplay((old,)))
    sample = memory.add_sample("[SM(10)]", 0.5, None)
    memory.complete(sample.id)
    new = dataclasses.replace(old, ix_q_value_update=2, epsilon=0.5, time_finished=0)
    assert export_released(memory, SMALL)[0].rows == (old, new)


# Export of a search of our own.


def test_a_search_is_exported_as_the_released_code_would_write_it(tmp_path: Path) -> None:
    memory, trainer = ReplayMemory(tmp_path / "r.sqlite"), FormulaTrainer()
    agent = Agent(SMALL, QLearning())
    stages = [EpsilonStage(1.0, 8), EpsilonStage(0.1, 2)]
    list(search(memory, agent, np.random.default_rng(3), stages, 10, trainer))
    replay, q_values = export_released(memory, SMALL)
    architectures = [str(parse(row.net).without_dropout()) for row in replay.rows]
    trials = {trial.id: trial.architecture for trial in memory.trials()}
    assert architectures == [trials[sample.trial] for sample in memory.samples()]
    # Three epochs and one restart of an epoch make 40 iterations; the second epoch is the best.
    for row in replay.rows:
        layers = len(parse(row.net).without_dropout())
        assert row.accuracy_best_val == 0.2 + layers / 40
        assert (row.iter_best_val, row.iter_last_val, row.accuracy_last_val) == (20, 30, 0.1875)
        assert (row.accuracy_best_test, row.accuracy_last_test) == (-1, -1)
        assert (row.time_finished, row.machine_run_on) == (0, "unknown")
    assert [row.ix_q_value_update for row in replay.rows] == list(range(1, len(replay.rows) + 1))
    assert [row.epsilon for row in replay.rows] == [s.epsilon for s in memory.samples()]
    write_q_values(tmp_path / "q.csv", q_values)
    again = read_q_values(tmp_path / "q.csv", SMALL)
    assert not again.unmapped
    assert again.values == dict(enumerate(agent.q))
    with (tmp_path / "q.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == SMALL.pairs
    pools = [row for row in rows if row["end_layer_type"] == "pool"]
    assert pools
    assert all(row["end_image_size"] == row["start_image_size"] for row in pools)


def test_nets_of_the_released_file_are_exported_as_they_stand_there(
    runs: Path, tmp_path: Path
) -> None:
    """Dropout layers, and all other columns of nets at chance level, come out as in the file."""
    rows = read_replay_database(runs / "replay_database.csv").rows[:1000:5]
    chance = {row.net: row for row in rows if row.accuracy_best_val == 0.1}
    assert len(chance) > 50
    assert any("FC(" in net for net in chance)
    memory = ReplayMemory(tmp_path / "r.sqlite")
    for net in chance:
        sample = memory.add_sample(str(parse(net).without_dropout()), 1.0, None)
        result = TrialResult(Outcome.CHANCE_LEVEL, (0.11,), 0.001, 5, 60, 1.0, "caffe")
        memory.record_outcome(sample.trial, result, 0.1)
        memory.complete(sample.id)
    memory.add_sample("[C(64,1,1), SM(10)]", 1.0, None)  # still in training: no row
    exported = export_released(memory, AUTHORS)[0].rows
    assert exported == tuple(
        dataclasses.replace(row, ix_q_value_update=position)
        for position, row in enumerate(chance.values(), start=1)
    )


def test_rows_are_in_the_order_of_completion_and_numbered_in_that_of_sampling(
    tmp_path: Path,
) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    result = TrialResult(Outcome.FINISHED, (0.5,), 0.001, 0, 9, 1.0, "caffe")
    for net in ("[SM(10)]", "[GAP(10), SM(10)]"):
        memory.record_outcome(memory.add_sample(net, 1.0, None).trial, result, 0.5)
    memory.complete(2)
    memory.complete(1)
    rows = export_released(memory, SMALL)[0].rows
    assert [(row.net, row.ix_q_value_update) for row in rows] == [
        ("[GAP(10), SM(10)]", 2),
        ("[SM(10)]", 1),
    ]


def test_a_net_that_gave_no_reward_has_no_row(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "r.sqlite")
    sample = memory.add_sample("[SM(10)]", 1.0, None)
    result = TrialResult(Outcome.OUT_OF_MEMORY, (), 0.001, 0, 0, 1.0, "caffe", "out of memory")
    memory.record_outcome(sample.trial, result, None)
    memory.complete(sample.id)
    assert export_released(memory, SMALL)[0].rows == ()


def test_rows_of_unknown_states_are_kept(tmp_path: Path) -> None:
    good = "0,1,0,8,1,start,0,0,0,1,0,1,0,8,0,start,0,0,0,0,"
    text = f"{','.join(Q_COLUMNS)}\n{good.replace('start', 'inception')}0.5\n{good}1\n"
    (tmp_path / "q.csv").write_text(text)
    table = read_q_values(tmp_path / "q.csv", SMALL)
    assert [r.start.layer_type for r in table.unmapped] == ["inception"]
    assert list(table.values.values()) == [1]
    write_q_values(tmp_path / "again.csv", table)
    assert (tmp_path / "again.csv").read_text() == text
    memory = ReplayMemory(tmp_path / "r.sqlite")
    import_released(memory, SMALL, ReleasedReplay((row(),)), table)
    write_q_values(tmp_path / "exported.csv", export_released(memory, SMALL)[1])
    assert (tmp_path / "exported.csv").read_text().startswith(text)
