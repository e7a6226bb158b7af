"""What it would take to measure a published number, against sums done elsewhere."""

import csv
from pathlib import Path

import pytest

from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.paper import NETS
from reproduce.published_results import ERRORS, PublishedError
from reproduce.results.costs import (
    UNKNOWN,
    cost_of,
    net_cost,
    published_cost,
    published_counts,
    search_cost,
    transfer_cost,
)


def flop(net_id: str) -> float:
    cost = published_cost(net_id).flop
    assert cost is not None
    return cost


def test_a_net_of_one_layer_by_hand() -> None:
    """28 × 28 × 10 weights and ten biases; a multiply-accumulate for each weight."""
    style = load_experiment(experiment_path("mnist"), "paper", 0).exploration
    cost = net_cost("[SM(10)]", (1, 28, 28), style)
    assert cost
    assert (cost.parameters, cost.macs) == (7850, 7840)
    assert net_cost("no net", (1, 28, 28), style) is None
    assert net_cost("[P(99,1), SM(10)]", (1, 28, 28), style) is None


def test_the_first_versions_smallest_published_net_by_hand() -> None:
    """VALID on 28 × 28: 7×7 gives 22, pooling 3/2 gives 11, 5×5 by two gives 4.

    An epoch of 60,000 images is 468 whole batches of 128.
    """
    macs = 240 * 49 * 22**2 + 120 * 240 * 25 * 4**2 + 50 * 120 * 4**2 + 10 * 50
    assert flop("mnist/v1-3") == 6 * macs * 468 * 128 * 20


def test_the_thesis_mnist_nets_take_what_an_independent_count_says() -> None:
    """All ten 3.2·10¹⁷ FLOP, the five cheapest 7·10¹⁶."""
    costs = sorted(flop(net.id) for net in NETS if net.id.startswith("mnist/thesis"))
    assert len(costs) == 10
    assert sum(costs) == pytest.approx(3.2e17, rel=0.02)
    assert sum(flop(f"mnist/thesis-{row}") for row in (1, 2, 3, 5, 7)) == pytest.approx(
        7e16, rel=0.02
    )


def test_svhns_final_training_has_the_extra_images() -> None:
    counts = published_counts("svhn/v1-1")
    assert counts.flop == pytest.approx(6 * counts.macs * (73_257 + 531_131) * 40, rel=1e-3)


def test_parameters_are_those_of_an_independent_count(reference: Path) -> None:
    """It gives the one net that ends in an average the released code's last inner product too."""
    with (reference / "paper" / "table_params.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 30
    for row in rows:
        source = "thesis" if row["source"] == "thesis" else "v1"
        of_table = [net for net in NETS if net.id.startswith(f"{row['dataset']}/{source}-")]
        (net,) = [net for net in of_table if net.notation == row["arch"]]
        counted = published_counts(net.id)
        last = 10 * 10 + 10 if "GAP" in net.notation else 0
        exact = int(row["exact_caffe_total(weights+bias,ceil)"])
        assert counted.parameters + last == exact, net.id
        assert net.parameters == float(row["stated_Mparams"])


def test_a_search_costs_its_trainings_and_the_finals() -> None:
    """An independent study of 1,000 nets at ε = 1 found 12.8 GFLOP for an image in training."""
    cost = search_cost("cifar10")
    exploration, finals = 2700 * 20 * 45_000, 10 * 300 * 50_000
    assert cost.flop == pytest.approx(12.8e9 * (exploration + finals), rel=0.1)
    assert cost.command == "metaqnn reproduce cifar10 --budget paper"


def test_a_search_that_ends_with_its_search_measures_no_test_error() -> None:
    assert search_cost("mnist-v1") == UNKNOWN


def test_transfer_takes_the_net_itself_and_two_trainings() -> None:
    """On CIFAR-100 the last layer has ten times the weights; SVHN has its extra images."""
    first = flop("cifar10/v1-1")
    on_cifar10 = first / 300
    cifar100 = transfer_cost("cifar100")
    assert cifar100.flop is not None
    assert first + 2 * first < cifar100.flop < 1.01 * 3 * first
    svhn = transfer_cost("svhn")
    assert svhn.flop == pytest.approx(first + 2 * 40 * on_cifar10 * 604_388 / 50_000, rel=2e-3)
    assert svhn.command == (
        "metaqnn train-published cifar10/v1-1 && metaqnn transfer runs/cifar10-v1-1 --to svhn"
    )
    assert transfer_cost("fashion") == UNKNOWN


@pytest.mark.parametrize(
    "error", [one for one in ERRORS if one.measured_as], ids=lambda one: one.id
)
def test_each_of_metaqnns_numbers_has_a_command_but_one(error: PublishedError) -> None:
    """The first version's ensemble: how its members were trained is not said."""
    cost = cost_of(error)
    assert (cost == UNKNOWN) == (error.id == "3/mnist/ensemble-first")
    assert cost == UNKNOWN or (cost.flop or 0) > 1e14
