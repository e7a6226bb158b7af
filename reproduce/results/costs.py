"""What it would take to measure a published number: the FLOP and the command.

Of the paper's own experiment, whatever the run at hand was: nets as it trains them, for as long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from prototxt_gen.notation import NotationError, parse
from prototxt_gen.shapes import NetCost, Shape, ShapeError, total_cost
from reproduce.driver import agent_of
from reproduce.estimate import SampledNet, estimate, training_flop, typical_nets
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment, ExperimentError, Style
from reproduce.pace import RunPace
from reproduce.paper import FIRST
from reproduce.published_costs import PublishedCost, published_costs
from reproduce.published_results import PublishedError, reported_nets

BEST_CIFAR10_NET = "cifar10/v1-1"
"""The net of Table 5; in the first version's Table A2 and the thesis' A.1 it is the first."""

_SEED = 0  # of the nets that stand for a search to come


@dataclass(frozen=True)
class Cost:
    """Floating-point operations of training, None where they cannot be told, and a command.

    The command is empty where none measures the number.
    """

    flop: float | None
    command: str


UNKNOWN = Cost(None, "")


def net_cost(notation: str, image: Shape, style: Style) -> NetCost | None:
    """A net's parameters and multiply-accumulates under Caffe's arithmetic.

    None for a text that is no net of such images.
    """
    try:
        return total_cost(parse(notation), image, style.padding, style.gap)
    except (NotationError, ShapeError):
        return None


def published_cost(net_id: str) -> Cost:
    """Training one net of the paper's tables, without a search.

    Raises:
        KeyError: if there is no such net.
    """
    known = published_counts(net_id)
    return Cost(known.flop, known.command)


def published_counts(net_id: str) -> PublishedCost:
    """All that is counted of a net of the paper's tables, trained as the paper says.

    Raises:
        KeyError: if there is no such net.
    """
    return _counts(net_id.partition("/")[0])[net_id]


@lru_cache
def _counts(data: str) -> dict[str, PublishedCost]:
    try:
        return {one.id: one for one in published_costs(data, "paper")}
    except ExperimentError:  # no net of this data set was published
        return {}


def cost_of(error: PublishedError) -> Cost:
    """Measuring one of MetaQNN's printed errors, the cheapest way that there is."""
    if error.measured_as.startswith("transfer/"):
        return transfer_cost(error.data)
    nets = [published_cost(net.id) for net in reported_nets(error)]
    if nets:
        return min(nets, key=lambda cost: math.inf if cost.flop is None else cost.flop)
    return search_cost("mnist-v1" if error.version == FIRST else error.data)


@lru_cache
def search_cost(experiment_name: str) -> Cost:
    """The whole experiment: its search and the final trainings of the top models and others.

    All nets are taken for those sampled at ε = 1; later ones are larger. Unknown of an experiment
    that ends with its search, since nothing is tested then.
    """
    experiment = _papers(experiment_name)
    final = experiment.final
    if final is None:
        return UNKNOWN
    nets = _typical(experiment_name)
    macs = sum(net.cost.macs for net in nets) / len(nets)
    images = RunPace(experiment).final_images(final)
    finals = training_flop(macs) * images * final.epochs * final.top
    if experiment.tuning is not None:
        points = experiment.tuning.epochs * len(experiment.grid)
        part = experiment.data.train_images - experiment.data.validation
        finals += training_flop(macs) * part * points * final.top
    others = [published_counts(net.id).flop for net in experiment.published]
    command = f"metaqnn reproduce {experiment_name} --budget paper"
    return Cost(search_flop(experiment_name) + finals + sum(others), command)


def search_flop(experiment_name: str) -> float:
    """The search alone, by nets as they are sampled at ε = 1."""
    return estimate(_papers(experiment_name), _typical(experiment_name), 1).flop


def transfer_cost(dataset: str) -> Cost:
    """The best CIFAR-10 net trained, then on another data set from scratch and fine-tuned."""
    first = published_counts(BEST_CIFAR10_NET)
    experiment = _papers("cifar10")
    final, tasks = experiment.final, experiment.transfer.tasks if experiment.transfer else ()
    for task in tasks:
        if task.data.dataset == dataset and final is not None:
            notation = first.architecture.replace("SM(10)", f"SM({task.data.classes})")
            net = net_cost(notation, task.data.image, final)
            if net is None:
                return UNKNOWN
            each = training_flop(net.macs) * task.data.train_images * task.epochs
            folder = f"runs/{BEST_CIFAR10_NET.replace('/', '-')}"
            command = f"{first.command} && metaqnn transfer {folder} --to {dataset}"
            return Cost(first.flop + 2 * each, command)
    return UNKNOWN


@lru_cache
def _typical(name: str) -> list[SampledNet]:
    experiment = _papers(name)
    return typical_nets(experiment, agent_of(experiment))


@lru_cache
def _papers(name: str) -> Experiment:
    return load_experiment(experiment_path(name), "paper", _SEED)
