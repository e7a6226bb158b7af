"""Each data set as each preset prepares it, trained on by both engines in a net of the search."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.datasets import locate
from data_prep.prepare import prepare
from prototxt_gen.notation import parse
from reproduce.commands.arguments import DEFAULT_SEED
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.nets import PreparedData, exploration_plan
from reproduce.search.space import SearchSpace
from tests.data_prep.official_files import FILES

pytestmark = pytest.mark.conformance
Command = Callable[..., subprocess.CompletedProcess[str]]

SOLVER = """
net: "net.prototxt" type: "Adam" base_lr: 0.001 momentum: 0.9 momentum2: 0.999 delta: 1e-8
lr_policy: "fixed" display: 1 max_iter: 3 test_iter: 1 test_interval: 3 test_initialization: false
random_seed: 1 solver_mode: CPU snapshot_after_train: false
"""


def small(name: str, preset: str) -> Experiment:
    """The experiment with 100 validation images and batches that the small files have."""
    experiment = load_experiment(experiment_path(name), "paper", DEFAULT_SEED, preset)
    data = experiment.data.model_copy(update={"validation": 100})
    training = experiment.exploration.model_copy(update={"batch": 20})
    return experiment.model_copy(update={"data": data, "exploration": training})


@pytest.mark.parametrize("engine", ["run_real", "run_ours"])
@pytest.mark.parametrize("preset", ["paper", "released"])
@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_a_net_of_the_search_trains_on_it(
    name: Any, preset: str, engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    experiment = small(name, preset)
    (tmp_path / "files").mkdir()
    FILES[name](tmp_path / "files")
    recipe = experiment.data.recipe(DEFAULT_SEED, None)
    files = locate(name, recipe, data_dir=tmp_path / "files", cache=tmp_path / "cache")
    manifest = prepare(files, recipe, tmp_path / "data")
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    data = PreparedData.beside(run_folder, tmp_path / "data", manifest)
    space = SearchSpace(experiment.space.rules(experiment.data))
    plan = exploration_plan(experiment, space, data, parse("[C(64,3,1), SM(10)]"), 1)
    (run_folder / "net.prototxt").write_text(plan.net)
    (run_folder / "solver.prototxt").write_text(SOLVER)
    run: Command = request.getfixturevalue(engine)
    done = run("train", "-solver", "solver.prototxt", cwd=run_folder)
    assert done.returncode == 0, done.stderr[-1500:]
    losses = [float(loss) for loss in re.findall(r"Iteration \d+.*, loss = (\S+)", done.stderr)]
    assert len(losses) == 4
    assert all(0 < loss < 1000 for loss in losses)
    (accuracy,) = re.findall(r"accuracy = (\S+)", done.stderr)
    assert 0 <= float(accuracy) <= 1
