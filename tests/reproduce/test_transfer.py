"""Transfer (Table 5): a run's best net on other data sets, from scratch and from its weights."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from prototxt_gen.notation import parse
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import ExperimentError
from reproduce.run import RunError
from reproduce.search.replay_memory import ReplayMemory, read_replay_memory
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.transfer import best_net, with_classes
from tests.reproduce.test_cifar_and_svhn import (
    CHANCE_ERROR,
    MARGIN,
    labelled,
    run,
    small_experiment,
)
from tests.reproduce.whole_run import METAQNN, REPOSITORY


def test_a_net_for_another_number_of_classes_differs_in_its_last_layers_alone() -> None:
    net = parse("[C(64,3,1), GAP(10), SM(10)]")
    assert str(with_classes(net, 100)) == "[C(64,3,1), GAP(100), SM(100)]"
    assert str(with_classes(parse("[FC(128), SM(10)]"), 7)) == "[FC(128), SM(7)]"


def test_the_paper_names_three_data_sets() -> None:
    transfer = load_experiment(experiment_path("cifar10"), "paper", 0).transfer
    assert transfer is not None
    assert [task.data.dataset for task in transfer.tasks] == ["cifar100", "svhn", "mnist"]
    assert [task.data.classes for task in transfer.tasks] == [100, 10, 10]
    assert {task.data.image for task in transfer.tasks} == {(3, 32, 32)}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('dataset = "svhn"', 'dataset = "mnist"', "tasks must name each data set once"),
        ("centred = true", "centred = true\nsvhn = 5", "svhn"),
        ("fine_tuning_factor = 0.1", "fine_tuning_factor = 0", "fine_tuning_factor"),
        ("[transfer]", "transfer = 5\n[other]", "transfer"),
    ],
)
def test_wrong_tasks_are_refused(old: str, new: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "cifar10.toml"
    path.write_text(experiment_path("cifar10").read_text().replace(old, new, 1))
    with pytest.raises(ExperimentError, match=problem):
        load_experiment(path, "paper", 0)


def trained(memory: ReplayMemory, id_: str, outcome: Outcome = Outcome.FINISHED) -> None:
    result = TrialResult(outcome, (0.5,), 0.001, 0, 10, 1.0, "caffe")
    memory.record_final(id_, "[SM(10)]", result)


def test_the_net_that_was_transferred_first_stays_the_one(tmp_path: Path) -> None:
    """Table 5 is of one net; another that is trained later changes nothing."""
    experiment = load_experiment(experiment_path("cifar10"), "top-models", 0)
    memory = ReplayMemory(tmp_path / "replay.sqlite")
    with pytest.raises(RunError, match="cifar10/v1-1 has not been trained on all images"):
        best_net(memory, experiment)
    trained(memory, "cifar10/v1-2")
    with pytest.raises(RunError, match="cifar10/v1-1 has not been trained on all images"):
        best_net(memory, experiment)
    trained(memory, "cifar10/v1-1")
    assert best_net(memory, experiment) == "cifar10/v1-1"
    memory.put(transfer_source="cifar10/v1-2")
    assert best_net(memory, experiment) == "cifar10/v1-2"


def test_a_net_that_diverged_is_not_transferred(tmp_path: Path) -> None:
    experiment = load_experiment(experiment_path("cifar10"), "quick", 0)
    memory = ReplayMemory(tmp_path / "replay.sqlite")
    trained(memory, "top/1", Outcome.DIVERGED)
    trained(memory, "top/2")
    with pytest.raises(RunError, match="top/1 ended as diverged: there is nothing to transfer"):
        best_net(memory, experiment)


def write_mnist(folder: Path) -> None:
    """Grey 28×28 images whose bright square tells the class, as gzipped IDX files."""
    rng = np.random.default_rng(3)
    for part, count in (("train", 600), ("t10k", 200)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images: NDArray[np.uint8] = rng.integers(0, 80, (count, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = 3 + 12 * (label // 5), 1 + 5 * (label % 5)
            image[row : row + 9, column : column + 5] += 170
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))


def write_cifar100(folder: Path) -> None:
    """Its first ten classes alone, in its binary version."""
    rng = np.random.default_rng(4)
    for name, count in (("train.bin", 600), ("test.bin", 200)):
        pixels, labels = labelled(count, False, rng)
        classes = np.column_stack([np.zeros(count), labels]).astype(np.uint8)  # coarse, fine
        (folder / name).write_bytes(np.hstack([classes, pixels.reshape(count, -1)]).tobytes())


def small_tasks(name: str, path: Path) -> Path:
    """The small experiment whose tasks have as few images."""
    small_experiment(name, path)  # which has 1,000 images where CIFAR-10 and CIFAR-100 have more
    text = path.read_text()
    head, tasks, rest = text.partition("[[transfer.tasks]]")
    for old, new in (("train_images = 1000", "train_images = 600"), ("= 60000", "= 600")):
        assert old in rest, old
        rest = rest.replace(old, new)
    path.write_text(f"{head}{tasks}{rest}transfer_epochs = 4\n")
    return path


def transfer(folder: Path, words: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "CAFFE"}
    env |= {"DATA_DIR": str(folder / "files"), "PYTHONPATH": str(REPOSITORY)}
    command = [*METAQNN, "transfer", str(folder / "run"), "--data", str(folder / "data"), *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_best_net_learns_other_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the files of one are missing, the others are trained all the same."""
    monkeypatch.setattr("tests.reproduce.test_cifar_and_svhn.small_experiment", small_tasks)
    run("cifar10", tmp_path, "paper", shuffled=False)
    write_cifar100(tmp_path / "files")
    write_mnist(tmp_path / "files")
    said = transfer(tmp_path)
    assert said.returncode == 1, said.stdout + said.stderr
    assert "svhn: " in said.stderr
    assert "Traceback" not in said.stderr
    errors = measured(tmp_path)
    assert errors.keys() == {
        f"transfer/{name}/{way}"
        for name in ("cifar100", "mnist")
        for way in ("scratch", "fine-tuned")
    }
    assert max(errors.values()) < CHANCE_ERROR - MARGIN
    # All layers but the last start from the net's weights, and learn more slowly.
    finals = tmp_path / "run" / "finals"
    fine, scratch = (finals / f"transfer-mnist-{way}" for way in ("fine-tuned", "scratch"))
    assert "Finetuning from finals/top-1/model.caffemodel" in log_of(fine)
    assert "Finetuning" not in log_of(scratch)
    assert 'name: "scores_mnist"' in (fine / "net.prototxt").read_text()
    rates = [json.loads((f / "recipe.json").read_text())["base_lr"] for f in (fine, scratch)]
    assert rates[0] == pytest.approx(rates[1] / 10)
    # Nothing is trained again.
    logs = sorted(finals.rglob("*.log"))
    assert transfer(tmp_path, ["--to", "cifar100,mnist"]).returncode == 0
    assert sorted(finals.rglob("*.log")) == logs
    refused = transfer(tmp_path, ["--to", "imagenet"])
    assert refused.returncode == 1
    assert "no transfer to 'imagenet'; there are: cifar100, svhn, mnist" in refused.stderr


def log_of(folder: Path) -> str:
    return (folder / "caffe_0_0.log").read_text()


def measured(folder: Path) -> dict[str, Any]:
    """Test errors in percent of the trainings on other data sets, by id."""
    with read_replay_memory(folder / "run" / "replay.sqlite") as memory:
        return {
            id_: 100 * (1 - result.accuracies[-1])
            for id_, (_, result) in memory.finals().items()
            if id_.startswith("transfer/")
        }
