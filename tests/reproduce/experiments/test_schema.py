"""Experiment files: the paper's values, what a budget may change, and clear refusals."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from prototxt_gen.notation import Convolution, FullyConnected, Pooling
from reproduce.commands.arguments import DEFAULT_SEED
from reproduce.experiments.load import experiment_path, known_experiments, load_experiment
from reproduce.experiments.schema import Experiment, ExperimentError, validate
from reproduce.run import Owner, RunError, freeze, frozen, locked, owner
from reproduce.search.agent import Agent
from reproduce.search.cost_cap import CostCap
from reproduce.search.space import SearchSpace, SpaceRules

MNIST = experiment_path("mnist")


def load(budget: str) -> Experiment:
    return load_experiment(MNIST, budget, DEFAULT_SEED)


def test_the_paper_budget_is_the_papers() -> None:
    experiment = load("paper")
    assert sum(stage.models for stage in experiment.q_learning.stages) == 2700
    assert [stage.epsilon for stage in experiment.q_learning.stages] == [
        1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1,
    ]  # fmt: skip
    assert experiment.space.rules(experiment.data) == SpaceRules(depth=12, image=28)
    assert experiment.exploration.epochs == 20
    assert experiment.train_images == 55_000


def test_a_budget_scales_counts_epochs_images_and_cost_and_nothing_else() -> None:
    def scaled_away(experiment: Experiment) -> dict[str, object]:
        content = experiment.model_dump(exclude={"budget", "budget_name"})
        del content["q_learning"]["schedule"]
        for section in (content["exploration"], content["final"], *content["published"]):
            del section["epochs"]
        return content

    assert scaled_away(load("quick")) == scaled_away(load("paper")) == scaled_away(load("smoke"))


def test_the_quick_budget_is_large_enough_to_mean_something() -> None:
    experiment = load("quick")
    assert sum(stage.models for stage in experiment.q_learning.stages) >= 12
    assert experiment.exploration.epochs >= 2
    assert experiment.train_images >= 5000


def test_the_quick_search_samples_a_net_of_every_layer_type() -> None:
    """Its nets at ε = 1 do not depend on rewards, so the default seed decides."""
    experiment = load("quick")
    space = SearchSpace(experiment.space.rules(experiment.data))
    cap = CostCap(space, 1, experiment.budget.max_forward_macs or 0)
    agent = Agent(space, experiment.q_learning.constants, cap)
    nets = set()
    rng = np.random.default_rng(DEFAULT_SEED)
    assert experiment.q_learning.stages[0].epsilon == 1
    # Replays draw from the same generator, so only the first net is certain.
    nets.add(agent.sample(rng, 1.0).architecture)
    wanted = (Convolution, Pooling, FullyConnected)
    assert any(all(any(isinstance(x, t) for x in net) for t in wanted) for net in nets)


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = MNIST.read_text()
    assert old in text
    path = tmp_path / "edited.toml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("depth = 12", "depth = 0", "depth: Input should be greater than 0"),
        ("depth = 12", "deep = 12", "space"),
        ("[final]", "[q_learning]\nalpha = 'low'\n[final]", "q_learning.alpha: Input should be"),
        ("[final]", "[q_learner]\nalpha = 1\n[final]", "q_learner: Extra inputs are not"),
        ('id = "mnist/v1-3"', 'id = "mnist/v1-9"', "no published net 'mnist/v1-9'"),
        ("[final]", "[q_learning]\nschedule = [[1.0, 2], [1.0, 1]]\n[final]", "name each ε once"),
        ('"data.scale"', '"data.scales"', "unstated names 'data.scales'"),
        ("[budget.paper]", "[budget.paper]\nmax_parameters = 1\nmax_forward_macs = 1", "one cost"),
        ("[data]", "[data", "at line"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_field(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = edited(tmp_path, old, new)
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path, "paper", 0)
    assert words in str(caught.value)
    assert "edited.toml" in str(caught.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ExperimentError, match="no budget 'huge'; there are: paper, quick, smoke"):
        load_experiment(MNIST, "huge", 0)
    with pytest.raises(ExperimentError, match="no preset 'theirs'; there are: paper, released, au"):
        load_experiment(MNIST, "quick", 0, "theirs")
    with pytest.raises(ExperimentError, match="no preset 'released'; there are: paper"):
        load_experiment(experiment_path("mnist-v1"), "quick", 0, "released")
    with pytest.raises(ExperimentError, match="there are: cifar10, mnist, mnist-v1, svhn"):
        experiment_path("presets")


def test_every_outcome_needs_a_rule(tmp_path: Path) -> None:
    content = load("quick").model_dump(mode="json", exclude_none=True)
    del content["exploration"]["rewards"]["out_of_memory"]
    with pytest.raises(ExperimentError, match="no rule for out_of_memory"):
        validate(content, tmp_path / "mine.toml")


def presets(name: str) -> list[str]:
    return ["paper"] if name == "mnist-v1" else ["paper", "released", "authors"]


@pytest.mark.parametrize("name", known_experiments())
def test_every_experiment_loads_with_every_preset_and_budget(name: str) -> None:
    for preset in presets(name):
        for budget in ("paper", "quick"):
            experiment = load_experiment(experiment_path(name), budget, 1, preset)
            assert (experiment.preset, experiment.budget_name) == (preset, budget)
            SearchSpace(experiment.space.rules(experiment.data))


def test_the_presets_differ_where_their_sources_do() -> None:
    """The figures are those of section B5 of the comparison of code, paper and runs."""
    paper, released, authors = (
        load_experiment(experiment_path("svhn"), "paper", 1, preset)
        for preset in ("paper", "released", "authors")
    )
    assert [e.q_learning.replays for e in (paper, released, authors)] == [100, 128, 128]
    chances = [e.exploration.restarts.chance for e in (paper, released, authors)]
    assert chances == [0.1, 0.15, 0.27]
    assert [e.exploration.restarts.most for e in (paper, released, authors)] == [5, 4, 4]
    assert [e.exploration.weight_decay for e in (paper, released, authors)] == [0, 5e-4, 5e-4]
    assert [e.space.rules(e.data).image for e in (paper, released, authors)] == [32, 28, 32]
    assert authors.q_learning.batched == (1.0, 0.9, 0.8)
    assert not released.q_learning.batched
    mirrored = load_experiment(experiment_path("cifar10"), "paper", 1, "authors")
    assert mirrored.exploration.mirror


def test_a_value_that_a_later_source_sets_loses_the_mark_unstated(tmp_path: Path) -> None:
    assert "exploration.weight_decay" in load("quick").unstated
    released = load_experiment(MNIST, "quick", 1, "released")
    assert "exploration.weight_decay" not in released.unstated
    assert "exploration.retries" in released.unstated
    mine = edited(tmp_path, "[final]", "[exploration]\nweight_decay = 0.1\n[final]")
    assert "exploration.weight_decay" not in load_experiment(mine, "quick", 1).unstated


def test_a_frozen_experiment_is_read_back_and_kept_from_change(tmp_path: Path) -> None:
    experiment = load("quick")
    freeze(experiment, tmp_path)
    freeze(experiment, tmp_path)
    assert frozen(tmp_path) == experiment
    with pytest.raises(RunError, match="holds another experiment"):
        freeze(load_experiment(MNIST, "quick", 99), tmp_path)
    with pytest.raises(RunError, match="holds no run"):
        frozen(tmp_path / "elsewhere")


def test_a_second_driver_is_refused_by_name(tmp_path: Path) -> None:
    assert owner(tmp_path) is None
    with (
        locked(tmp_path),
        pytest.raises(RunError, match=r"is being run by process \d+ on "),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):  # free again
        assert owner(tmp_path) == Owner(os.getpid(), socket.gethostname())
    assert owner(tmp_path) is None
