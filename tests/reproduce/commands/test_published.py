"""`metaqnn train-published`: which net is trained, and how."""

from typing import Any

import pytest

from reproduce.commands.published import published_experiment
from reproduce.experiments.schema import ExperimentError
from reproduce.paper import NETS


@pytest.mark.parametrize("net", [net.id for net in NETS])
def test_every_row_of_the_tables_can_be_trained(net: str) -> None:
    experiment = published_experiment(net, "paper", 1, None)
    (only,) = experiment.published
    assert (only.id, experiment.name) == (net, net.partition("/")[0])
    assert experiment.q_learning.stages == ()
    assert experiment.budget_name == "top-models"


@pytest.mark.parametrize("row", range(1, 6))
def test_a_table_with_a_training_of_its_own_keeps_it(row: int) -> None:
    """The first version's MNIST nets: ELU, VALID, 20 epochs; the thesis' as the later revision."""
    (first,) = published_experiment(f"mnist/v1-{row}", "paper", 1, None).published
    assert first.id == f"mnist/v1-{row}"
    assert (first.activation, first.padding, first.epochs) == ("ELU", "VALID", 20)
    with pytest.raises(ExperimentError, match="never released; train it with preset paper"):
        published_experiment(f"mnist/v1-{row}", "released", 1, None)


def test_other_tables_are_trained_as_the_top_models() -> None:
    (thesis,) = published_experiment("mnist/thesis-2", "paper", 1, None).published
    assert (thesis.activation, thesis.padding, thesis.epochs) == ("ReLU", "SAME", 40)


def test_the_preset_decides_the_solver() -> None:
    """Section 5's Adam, or the published solvers' SGD."""
    for preset, solver, rate in (("paper", "Adam", 0.0001), ("released", "SGD", 0.0125 / 2**7)):
        (net,) = published_experiment("cifar10/v1-1", preset, 1, None).published
        assert (net.solver, net.rates[2], net.pad, net.mirror) == (solver, (160, rate), 5, True)


def test_other_epochs_are_told() -> None:
    experiment = published_experiment("cifar10/v1-1", "paper", 1, 2)
    assert experiment.published[0].epochs == 2
    assert experiment.budget_name == "top-models, 2 epochs"
    assert published_experiment("mnist/v1-3", "paper", 1, 20).budget_name == "top-models"


def test_an_unknown_net_is_refused_in_one_line(metaqnn: Any) -> None:
    refusal = metaqnn("train-published", "cifar10/v9-1").refusal
    assert refusal.startswith("no published net 'cifar10/v9-1'; there are ")
