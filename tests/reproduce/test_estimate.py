"""What a search will cost, against counts by hand and an independent study of the paper."""

import dataclasses
from statistics import mean, median

import pytest

import reproduce.estimate
from prototxt_gen.notation import parse
from prototxt_gen.shapes import NetCost
from reproduce.driver import agent_of
from reproduce.estimate import SampledNet, estimate, training_flop, typical_nets
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment

# `smoke`: 3 models, 2 epochs of 1,280 images each.
SMOKE = load_experiment(experiment_path("mnist"), "smoke", 0)


def net(notation: str, weights: int, biases: int, macs: int) -> SampledNet:
    return SampledNet(parse(notation), NetCost(weights, biases, macs))


SOFTMAX = net("[SM(10)]", 7840, 10, 7840)


def test_training_takes_six_operations_for_each_multiply_accumulate() -> None:
    """Forward, gradient of the weights, gradient of the data: two each."""
    assert training_flop(7840) == 2 * 3 * 7840


def test_a_search_of_one_kind_of_net_by_hand() -> None:
    cost = estimate(SMOKE, [SOFTMAX], 1)
    assert (cost.models, cost.epochs, cost.images) == (3, 2, 1280)
    assert cost.flop == 361_267_200  # 6 · 7,840 · 1,280 · 2 · 3
    assert cost.seconds(1e6, 0.0, 1) == pytest.approx(361.2672)
    assert cost.seconds(1e6, 0.0, 4) == pytest.approx(361.2672 / 4)


def test_each_net_takes_the_start_of_two_processes() -> None:
    """One trains its first epoch, one the rest; those of several trials start side by side."""
    cost = estimate(SMOKE, [SOFTMAX], 1)
    assert cost.seconds(1e6, 2.5, 1) == pytest.approx(361.2672 + 3 * 2 * 2.5)
    assert cost.seconds(1e6, 2.5, 4) == pytest.approx((361.2672 + 3 * 2 * 2.5) / 4)


def test_the_nets_of_a_search_are_taken_for_the_average_of_those_sampled() -> None:
    nets = [SOFTMAX, net("[GAP(10), SM(10)]", 10, 10, 784 * 20)]
    assert estimate(SMOKE, nets, 1).flop == pytest.approx(6 * 11_760 * 1280 * 2 * 3)


def with_kept(models: int) -> Experiment:
    exploration = SMOKE.exploration.model_copy(update={"keep_models": models})
    return SMOKE.model_copy(update={"exploration": exploration})


def test_the_disk_holds_the_kept_models_and_each_slots_snapshots() -> None:
    """Weights in fp32; a snapshot has Adam's two moments too, and is there twice for a moment."""
    weights = 4 * 7850
    none = estimate(with_kept(0), [SOFTMAX], 1).disk_bytes
    assert estimate(with_kept(2), [SOFTMAX], 1).disk_bytes - none == 2 * weights
    assert estimate(with_kept(50), [SOFTMAX], 1).disk_bytes - none == 3 * weights  # there are 3
    assert estimate(with_kept(0), [SOFTMAX], 5).disk_bytes - none == 4 * 2 * 3 * weights


def test_the_disk_must_do_for_the_largest_nets_snapshots() -> None:
    large = dataclasses.replace(SOFTMAX, cost=NetCost(10**7, 0, 7840))
    alone, both = (estimate(with_kept(0), nets, 1) for nets in ([large], [SOFTMAX, large]))
    assert alone.disk_bytes == both.disk_bytes > 2 * 3 * 4 * 10**7


@pytest.mark.parametrize(("experiment", "flop"), [("cifar10", 3.1e19), ("svhn", 4.5e19)])
def test_the_papers_search_costs_what_an_independent_study_counted(
    experiment: str, flop: float
) -> None:
    """The study: 1,000 unique nets at ε = 1, no data gradient in the first layer; its mean and
    ours have a standard error of 5 % each."""
    paper = load_experiment(experiment_path(experiment), "paper", 23)
    nets = typical_nets(paper, agent_of(paper))
    cost = estimate(paper, nets, 1)
    assert cost.models == 2700
    assert cost.epochs == 20
    assert cost.images == {"cifar10": 45_000, "svhn": 68_257}[experiment]
    assert cost.flop == pytest.approx(flop, rel=0.15)
    if experiment == "cifar10":
        assert mean(2 * x.cost.macs for x in nets) == pytest.approx(4.26e9, rel=0.15)
        assert median(2 * x.cost.macs for x in nets) == pytest.approx(2.02e9, rel=0.15)
        assert mean(x.cost.parameters for x in nets) == pytest.approx(4.26e6, rel=0.15)


def test_typical_nets_are_distinct_by_rising_cost_and_below_the_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reproduce.estimate, "SAMPLES", 200)
    quick = load_experiment(experiment_path("mnist"), "quick", 0)
    agent = agent_of(quick)
    before = list(agent.q)
    nets = typical_nets(quick, agent)
    assert len({str(x.architecture) for x in nets}) == len(nets) == 200
    costs = [x.cost.macs for x in nets]
    assert costs == sorted(costs)
    assert costs[-1] <= 30_000_000
    assert list(agent.q) == before
    assert typical_nets(quick, agent) == nets  # so that an estimate is the same each time


def test_a_space_with_few_nets_gives_those_there_are() -> None:
    """Up to 10,000 MACs: of one channel of 28 × 28, softmax and GAP alone."""
    budget = SMOKE.budget.model_copy(update={"max_forward_macs": 10_000})
    capped = SMOKE.model_copy(update={"budget": budget})
    nets = typical_nets(capped, agent_of(capped))
    assert {str(x.architecture) for x in nets} == {"[SM(10)]", "[GAP(10), SM(10)]"}
