"""Hyperparameters of the top models, chosen on the validation set before their final training."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prototxt_gen.dropout import DropoutRule
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import ExperimentError
from reproduce.results.tuning import best_point, tuning_id
from reproduce.search.replay_memory import read_replay_memory
from reproduce.training.outcome import Outcome, TrialResult
from tests.reproduce.whole_run import Run

MNIST = experiment_path("mnist")
GRID = """
[tuning]
epochs = 3
weight_decay = [0.0, 0.002]
dropout = ["paper", "ramp_0.4"]
"""


def with_grid(path: Path, text: str) -> Path:
    """An experiment whose smoke budget tunes over the grid above."""
    head, rest = text.split("[tuning]", 1)
    rest = rest[rest.index("[[published]]") :]
    path.write_text(f"{head}{GRID}\n{rest}".replace("tune = false", "tune = true"))
    return path


def test_the_grid_is_the_papers_budget_alone() -> None:
    assert len(load_experiment(MNIST, "paper", 0).grid) == 12
    assert load_experiment(MNIST, "quick", 0).grid == ()
    assert load_experiment(MNIST, "smoke", 0).grid == ()
    assert load_experiment(experiment_path("cifar10"), "paper", 0).grid == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[0.0, 0.002]", "[]"),
        ("[0.0, 0.002]", "[-1.0]"),
        ('"ramp_0.4"', '"ramp_0.7"'),
        ("epochs = 3", "epochs = 0"),
    ],
)
def test_a_wrong_grid_is_refused(old: str, new: str, tmp_path: Path) -> None:
    path = with_grid(tmp_path / "mnist.toml", MNIST.read_text())
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ExperimentError, match=r"mnist\.toml: tuning\."):
        load_experiment(path, "smoke", 0)


def result(accuracy: float, outcome: Outcome = Outcome.FINISHED) -> TrialResult:
    return TrialResult(outcome, (0.99, accuracy), 0.001, 0, 10, 1.0, "caffe")


def test_the_best_after_the_last_epoch_is_chosen_the_first_among_equals(tmp_path: Path) -> None:
    experiment = load_experiment(with_grid(tmp_path / "m.toml", MNIST.read_text()), "smoke", 0)
    trained = {
        tuning_id(1, 1): ("[SM(10)]", result(0.6)),
        tuning_id(1, 2): ("[SM(10)]", result(0.8)),
        tuning_id(1, 3): ("[SM(10)]", result(0.8)),
        tuning_id(1, 4): ("[SM(10)]", result(0.9, Outcome.DIVERGED)),
        tuning_id(2, 1): ("[SM(10)]", result(0.95)),
    }
    chosen = best_point(experiment, trained, 1)
    assert chosen is not None
    assert chosen.changes == {"weight_decay": 0.0, "dropout": DropoutRule.RAMP_40}
    assert str(chosen) == (
        "weight decay 0, dropout ramp_0.4: validation accuracy 0.8000, the best of 3"
    )
    assert best_point(experiment, trained, 3) is None


def test_each_top_model_is_trained_as_was_best_on_the_validation_part(
    fake: Run, experiment: Path, tmp_path: Path
) -> None:
    mine = with_grid(tmp_path / "mnist.toml", experiment.read_text())
    fake.command[fake.command.index(str(experiment))] = str(mine)
    output = fake.finish()
    run = fake.folder / "run"
    with read_replay_memory(run / "replay.sqlite") as memory:
        finals, tuned = memory.finals(), memory.get("tuned")
    assert tuned.keys() == {"top/1", "top/2"}
    for place in (1, 2):
        points = {n: finals[tuning_id(place, n)] for n in range(1, 5)}
        assert {net for net, _ in points.values()} == {finals[f"top/{place}"][0]}
        accuracies = {n: one.accuracies[-1] for n, (_, one) in points.items()}
        assert all(len(one.accuracies) == 3 for _, one in points.values())
        best = max(accuracies, key=lambda n: accuracies[n])
        chosen, final = (run / "finals" / f for f in (f"tuning-{place}-{best}", f"top-{place}"))
        assert decay_of(chosen) == decay_of(final) == (0.0 if best < 3 else 0.002)
        assert ratios_of(chosen) == ratios_of(final)
        assert "val.lmdb" in (chosen / "net.prototxt").read_text()
        assert "test.lmdb" in (final / "net.prototxt").read_text()
        assert not (chosen / "model.caffemodel").exists()
        assert (final / "model.caffemodel").exists()
        assert f"Tuning of top/{place}: {tuned[f'top/{place}']}" in output
    # A net of no more than one point in the tables; nothing of the tuning.
    table = json.loads((run / "report" / "table.json").read_text())
    assert not [row for row in table if "tuning" in json.dumps(row)]
    before = sorted((run / "finals").rglob("*.log"))
    fake.finish()
    assert sorted((run / "finals").rglob("*.log")) == before


def decay_of(folder: Path) -> float:
    return float(json.loads((folder / "recipe.json").read_text())["weight_decay"])


def ratios_of(folder: Path) -> list[str]:
    return re.findall(r"dropout_ratio: (\S+)", (folder / "net.prototxt").read_text())


def test_a_killed_tuning_goes_on(fake: Run, experiment: Path, tmp_path: Path) -> None:
    mine = with_grid(tmp_path / "mnist.toml", experiment.read_text())
    fake.command[fake.command.index(str(experiment))] = str(mine)
    script = Path(fake.env["FAKE_CAFFE"])
    record = tmp_path / "processes.jsonl"
    script.write_text(json.dumps({"seconds": 0.01, "record": str(record)}))
    process = fake.start()
    wait = "import sys, time\nwhile 'tuning-1-2' not in open(sys.argv[1]).read(): time.sleep(0.02)"
    record.touch()
    subprocess.run([sys.executable, "-c", wait, str(record)], check=True, timeout=120)
    process.kill()
    process.communicate()
    fake.finish()
    with read_replay_memory(fake.folder / "run" / "replay.sqlite") as memory:
        assert {id_ for id_ in memory.finals() if id_.startswith("tuning/")} == {
            tuning_id(place, n) for place in (1, 2) for n in range(1, 5)
        }
