"""`metaqnn search`: what it says before it trains, what it trains, and what the agent learns."""

import re
from pathlib import Path
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format

from data_prep.manifest import read_manifest
from prototxt_gen.notation import parse
from prototxt_gen.read import read_net
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.nets import PreparedData, exploration_plan, final_plan
from reproduce.search.replay_memory import read_replay_memory
from reproduce.search.space import SearchSpace
from reproduce.trainer import reward_of
from reproduce.training.outcome import Outcome, TrialResult

# Before the first net


def test_a_search_of_more_than_thirty_days_is_not_started_unasked(make_small: Any) -> None:
    """100 nets, five million epochs of one iteration each, 0.02 s an iteration: months."""
    small = make_small(
        (
            "schedule = [[1.0, 2], [0.1, 1]]\nexploration_epochs = 2",
            "schedule = [[1.0, 100]]\nexploration_epochs = 5_000_000",
        )
    )
    small.script(seconds=0.02)
    said = small.search()
    assert re.fullmatch(
        r"the search would take about (\d+ days|\d\.\d years): give YES=1 \(--yes\) to "
        r"start it all the same, or a smaller BUDGET, or more devices",
        said.refusal,
    )
    assert "Estimate: 100 models, 5000000 epochs of 128 images each: " in said.out
    assert re.search(r"about .* on the CPU at \S+ GFLOP/s a trial, 1 at a time", said.out)
    # Nothing was trained but the check of the trainer, which is not made again.
    assert small.trained_processes() == 2
    assert small.search().refusal.startswith("the search would take about")
    assert small.trained_processes() == 2
    assert not (small.run / "trials").exists()


# What is trained


def test_the_nets_trained_are_those_sampled(finished: Any) -> None:
    with read_replay_memory(finished.run / "replay.sqlite") as memory:
        trials = memory.trials()
    assert len(trials) == 3
    for trial in trials:
        text = (finished.run / "trials" / f"{trial.id:04d}" / "net.prototxt").read_text()
        assert str(read_net(text).without_dropout()) == trial.architecture


def pooling_of_gap(
    experiment: Experiment, data: PreparedData, net: str, *, final: bool = False
) -> Any:
    """Caffe's parameters of the average pooling that a net of an experiment is trained with."""
    space = SearchSpace(experiment.space.rules(experiment.data))
    if final:
        assert experiment.final is not None
        section = experiment.final.model_copy(update={"test_batch": 1})
        plan = final_plan(experiment, data, parse(net), section, None, space)
    else:
        plan = exploration_plan(experiment, space, data, parse(net), 0)
    layers = text_format.Parse(plan.net, caffe_pb2.NetParameter()).layer
    pools = [layer.pooling_param for layer in layers if layer.type == "Pooling"]
    (average,) = (pool for pool in pools if pool.pool == pool.AVE)
    return average


@pytest.mark.parametrize(
    ("experiment", "preset", "net", "kernel"),
    [
        # The released code averages over the R-size that its agent believes in.
        ("cifar10", "released", "[C(64,3,1), GAP(10), SM(10)]", 32),
        ("svhn", "released", "[C(64,3,1), GAP(10), SM(10)]", 28),  # of a 32 × 32 blob
        ("svhn", "authors", "[C(64,3,1), GAP(10), SM(10)]", 32),
        ("mnist", "released", "[GAP(10), SM(10)]", 28),
        # It rounds down after pooling, where Caffe's blob is 16 × 16.
        ("cifar10", "authors", "[C(64,3,1), P(3,2), GAP(10), SM(10)]", 15),
        ("cifar10", "authors", "[C(64,3,1), P(3,2), C(64,1,1), P(3,2), GAP(10), SM(10)]", 7),
        ("cifar10", "authors", "[C(64,3,1), P(2,2), GAP(10), SM(10)]", 16),
    ],
)
@pytest.mark.parametrize("final", [False, True])
def test_the_released_codes_average_is_over_what_its_agent_sees(
    experiment: str, preset: str, net: str, kernel: int, prepared: PreparedData, final: bool
) -> None:
    loaded = load_experiment(experiment_path(experiment), "paper", 0, preset)
    pooling = pooling_of_gap(loaded, prepared, net, final=final)
    assert not pooling.global_pooling
    assert (pooling.kernel_size, pooling.stride) == (kernel, 1)


def test_the_papers_average_is_over_the_whole_image(prepared: PreparedData) -> None:
    loaded = load_experiment(experiment_path("cifar10"), "paper", 0, "paper")
    pooling = pooling_of_gap(loaded, prepared, "[C(64,3,1), P(3,2), GAP(10), SM(10)]")
    assert pooling.global_pooling
    assert not pooling.HasField("kernel_size")


@pytest.fixture
def prepared(finished: Any) -> PreparedData:
    """The small data set; the nets' files name it and take its number of images."""
    (folder,) = finished.data.glob("mnist-*")
    return PreparedData.beside(finished.run, finished.data, read_manifest(folder))


# What the agent learns


# By hand, of images of 1 × 28 × 28: weights, and biases.
NETS = {
    "[SM(10)]": {"parameters": 7840 + 10, "macs": 7840},
    "[C(64,1,1), SM(10)]": {
        "parameters": 64 + 64 + 28 * 28 * 64 * 10 + 10,
        "macs": 28 * 28 * 64 * (1 + 10),
    },
}


def penalty(of: str, weight: float, per: float) -> tuple[str, str]:
    """A change to an experiment's file: a penalty."""
    table = f'[exploration.penalty]\nof = "{of}"\nweight = {weight}\nper = {per}'
    return "keep_models = 2", f"keep_models = 2\n{table}"


def test_a_penalty_is_taken_off_the_reward_that_is_replayed(metaqnn: Any, make_small: Any) -> None:
    small = make_small(penalty("macs", 0.1, 1e6))
    assert small.search().code == 0
    with read_replay_memory(small.run / "replay.sqlite") as memory:
        trials = {trial.architecture: trial for trial in memory.trials()}
        replayed = dict(memory.replayable())
    known = trials.keys() & NETS.keys()
    assert known, trials
    for net in known:
        result = trials[net].result
        assert result is not None
        best = max(result.accuracies)
        assert replayed[net] == pytest.approx(best - 0.1 * NETS[net]["macs"] / 1e6)
        assert replayed[net] < best
    assert metaqnn("verify", small.run).code == 0


def result(outcome: Outcome, *accuracies: float, seconds: float = 30.0) -> TrialResult:
    return TrialResult(outcome, accuracies, 0.001, 0, 9, seconds, "caffe")


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("of", ["parameters", "macs", "seconds"])
def test_what_each_penalty_counts(make_small: Any, of: str, net: str) -> None:
    small = make_small(penalty(of, 0.1, 1e7))
    experiment = load_experiment(small.file, "smoke", 0)
    amount = {**NETS[net], "seconds": 30.0}[of]
    reward = reward_of(experiment, net, result(Outcome.FINISHED, 0.6, 0.9, 0.8))
    assert reward == pytest.approx(0.9 - 0.1 * amount / 1e7, abs=1e-12)


def test_a_penalty_never_makes_a_reward_negative(make_small: Any) -> None:
    small = make_small(penalty("seconds", 1.0, 1.0))
    experiment = load_experiment(small.file, "smoke", 0)
    assert reward_of(experiment, "[SM(10)]", result(Outcome.FINISHED, 0.9)) == 0.0


@pytest.mark.parametrize(
    ("outcome", "reward"),
    [
        (Outcome.CHANCE_LEVEL, 0.1),
        (Outcome.DIVERGED, 0.1),
        (Outcome.TIMEOUT, 0.1),
        (Outcome.OUT_OF_MEMORY, None),
        (Outcome.CRASHED, None),
    ],
)
def test_a_net_without_an_accuracy_has_its_outcomes_reward_and_no_penalty(
    make_small: Any, outcome: Outcome, reward: float | None
) -> None:
    experiment = load_experiment(make_small(penalty("seconds", 1.0, 1.0)).file, "smoke", 0)
    assert reward_of(experiment, "[SM(10)]", result(outcome, 0.7)) == reward


@pytest.mark.parametrize(("which", "reward"), [("best", 0.9), ("last", 0.8)])
def test_the_reward_is_the_best_or_the_last_epochs_accuracy(
    make_small: Any, which: str, reward: float
) -> None:
    small = make_small(("keep_models = 2", f'keep_models = 2\nreward = "{which}"'))
    experiment = load_experiment(small.file, "smoke", 0)
    assert reward_of(experiment, "[SM(10)]", result(Outcome.FINISHED, 0.9, 0.8)) == reward


def test_the_models_of_the_best_nets_alone_stay(finished: Any) -> None:
    """`keep_models = 2`: of three trained nets the one of the lowest reward has no model left."""
    with read_replay_memory(finished.run / "replay.sqlite") as memory:
        trials = sorted(memory.trials(), key=lambda trial: trial.reward or 0.0)
    kept = {Path(model).parent.name for model in finished.run.glob("trials/*/model.caffemodel")}
    assert kept == {f"{trial.id:04d}" for trial in trials[1:]}
