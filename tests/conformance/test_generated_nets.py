"""Real Caffe accepts every prototxt that the quick budget's search and final trainings write."""

import subprocess
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from data_prep.datasets import locate
from data_prep.idx import encode_idx
from data_prep.prepare import prepare
from data_prep.recipes import Recipe
from prototxt_gen.notation import parse
from prototxt_gen.solver import solver_text
from reproduce.commands.arguments import DEFAULT_SEED
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.nets import PreparedData, TrialPlan, exploration_plan, final_plan
from reproduce.search.agent import Agent
from reproduce.search.cost_cap import CostCap
from reproduce.search.loop import search
from reproduce.search.replay_memory import ReplayMemory, Trial
from reproduce.search.space import SearchSpace
from reproduce.training.outcome import Outcome, TrialResult

LOAD = """
import sys
import caffe
for path in sys.argv[1:]:
    caffe.get_solver(path)  # builds the training net and the test net, or aborts
    print("accepted", path)
"""


class DepthTrainer:
    """Rewards depth, at once: enough for the search to go through its whole schedule."""

    slots = 1

    def submit(self, trial: Trial) -> Future[TrialResult]:
        future: Future[TrialResult] = Future()
        accuracy = len(parse(trial.architecture)) / 14
        future.set_result(TrialResult(Outcome.FINISHED, (accuracy,), 0.001, 0, 1, 0.0, "none"))
        return future

    def place(self, trial: Trial) -> None:
        return None

    def reward(self, trial: Trial, result: TrialResult) -> float | None:
        return result.best_accuracy


def few_digits(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 400), ("t10k", 100)):
        images = rng.integers(0, 255, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(encode_idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(encode_idx(labels))
    return folder


@pytest.mark.conformance
def test_real_caffe_accepts_every_prototxt_of_the_quick_run(tmp_path: Path, pycaffe: Path) -> None:
    experiment = load_experiment(experiment_path("mnist"), "quick", DEFAULT_SEED)
    recipe = Recipe(validation=100)
    digits = locate("mnist", recipe, data_dir=few_digits(tmp_path), cache=tmp_path)
    manifest = prepare(digits, recipe, tmp_path)
    data = PreparedData.beside(tmp_path, tmp_path, manifest)
    space = SearchSpace(experiment.space.rules(experiment.data))
    agent = Agent(
        space,
        experiment.q_learning.constants,
        CostCap(space, 1, experiment.budget.max_forward_macs or 0),
    )
    memory = ReplayMemory(tmp_path / "replay.sqlite")
    stages = experiment.q_learning.stages
    rng = np.random.default_rng(DEFAULT_SEED)
    for _ in search(memory, agent, rng, stages, experiment.q_learning.replays, DepthTrainer()):
        pass
    trials = memory.trials()
    assert len(trials) == sum(stage.models for stage in stages)
    plans: list[TrialPlan] = [
        exploration_plan(experiment, space, data, parse(trial.architecture), trial.id)
        for trial in trials
    ]
    plans += [
        final_plan(experiment, data, parse(trials[-1].architecture), experiment.final, 0.001),
        *(
            final_plan(experiment, data, parse(net.net.notation), net, None)
            for net in experiment.published
        ),
    ]
    solvers = []
    for number, plan in enumerate(plans):
        (tmp_path / f"net_{number}.prototxt").write_text(plan.net)
        for end in {plan.recipe.iterations_per_epoch, plan.recipe.max_iter}:
            text = solver_text(
                plan.recipe.scheme(0, end), net=f"net_{number}.prototxt", snapshot_prefix="snap"
            )
            solvers.append(f"solver_{number}_{end}.prototxt")
            (tmp_path / solvers[-1]).write_text(text)
    done = subprocess.run(
        [pycaffe, "-c", LOAD, *solvers], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("accepted") == len(solvers) > len(plans)
