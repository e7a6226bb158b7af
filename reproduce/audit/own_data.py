"""The authors' own data as inputs of checks: what `authors_data` computes of it, as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from reproduce.audit.authors_data import (
    figure_3,
    figure_a2,
    layers,
    nets,
    q_values,
    rise,
    samples,
    trainings,
)
from reproduce.audit.authors_data.files import (
    PINS,
    AuthorsData,
    authors_space,
    fetch,
    read_authors_data,
)
from reproduce.audit.context import Context, Evidence, NoEvidenceError
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.results.plots.curves import paper_search
from reproduce.search.space import SearchSpace

HOW_TO_GET_IT = (
    "needs the authors' own data: metaqnn audit --authors-data DIR reads it from a folder, and "
    "fetches into it what is missing"
)
_SPREAD = 0.9  # of accuracies: from chance to 1
_SEED = 0  # of resampling
_IMAGES = {"cifar10": 45_000}  # trained on, in the search


def authors(name: str, context: Context) -> Evidence:
    """What the authors' data says of something.

    Raises:
        KeyError: if nothing of this name is computed.
        NoEvidenceError: if the data is not here.
        DataError, ReleasedFileError: if it cannot be fetched or read.
    """
    _, files = NAMES[name]
    if context.authors_data is None:
        raise NoEvidenceError(HOW_TO_GET_IT)
    return Evidence(_computed(name, context.authors_data), files)


@lru_cache
def read(folder: Path) -> AuthorsData:
    """The data of a folder, once what it lacks is fetched into it."""
    fetch(folder)
    return read_authors_data(folder)


@lru_cache
def _computed(name: str, folder: Path) -> Any:
    compute, _ = NAMES[name]
    return plain(compute(read(folder)))


def plain(value: Any) -> Any:
    """Lists and tables of numbers and texts; keys of tables as texts."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {_key(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, int | float | str | None) else str(value)


def _key(key: Any) -> str:
    return f"{key:g}" if isinstance(key, float) else str(key)


def _svhn_nets(data: AuthorsData) -> set[str]:
    return {row.net for row in data.samples} | {curve.net for curve in data.svhn}


def _schedule() -> dict[float, int]:
    experiment = load_experiment(experiment_path("svhn"), "paper", 0)
    return {stage.epsilon: stage.models for stage in experiment.q_learning.stages}


def _rounding_up(data_set: str) -> SearchSpace:
    """The authors' space, but that the agent's R-size after pooling is rounded up as in Caffe."""
    experiment = load_experiment(experiment_path(data_set), "paper", 0, "authors")
    rules: Any = experiment.space.rules(experiment.data)
    return SearchSpace(dataclasses.replace(rules, pool_rounding="ceil"))


def _svhn_bars(data: AuthorsData) -> Any:
    return figure_3.bars(data.samples, paper_search("SVHN"))


def _svhn_window(_: AuthorsData) -> Any:
    return figure_3.rolling_window(paper_search("SVHN"), _SPREAD)


def _cifar10_window(_: AuthorsData) -> Any:
    return figure_3.rolling_window(paper_search("CIFAR10"), _SPREAD)


def _histograms(data: AuthorsData) -> Any:
    return figure_a2.histogram_fits(data.samples, "SVHN")


def _svhn_rise(data: AuthorsData) -> Any:
    first = [row.accuracy_best_val for row in data.samples if row.epsilon == 1]
    return rise.published_rise("SVHN", np.random.default_rng(_SEED), first)


def _replays(data: AuthorsData) -> Any:
    space = authors_space("svhn")
    nets_ = ("[SM(10)]", "[GAP(10), SM(10)]")  # the two that one walk alone leads to
    return [q_values.implied_updates(data.q_values, space, data.samples, net) for net in nets_]


def _q_counts(data: AuthorsData) -> Any:
    space = authors_space("svhn")
    return q_values.q_value_counts(data.q_values, space, data.samples, data.debug)


_REPLAY, _Q, _CIFAR10, _SVHN = (pin.name for pin in PINS)

NAMES: dict[str, tuple[Callable[[AuthorsData], Any], tuple[str, ...]]] = {
    "bars": (_svhn_bars, (_REPLAY,)),
    "window/svhn": (_svhn_window, ()),
    "window/cifar10": (_cifar10_window, ()),
    "histograms": (_histograms, (_REPLAY,)),
    "rise": (_svhn_rise, (_REPLAY,)),
    "rates/cifar10": (lambda data: trainings.learning_rates(data.cifar10), (_CIFAR10,)),
    "rates/svhn": (lambda data: trainings.learning_rates(data.svhn), (_SVHN,)),
    "thresholds/cifar10": (lambda data: trainings.thresholds(data.cifar10), (_CIFAR10,)),
    "thresholds/svhn": (lambda data: trainings.thresholds(data.svhn), (_SVHN,)),
    "schedule/cifar10": (lambda data: trainings.schedule(data.cifar10), (_CIFAR10,)),
    "schedule/svhn": (lambda data: trainings.schedule(data.svhn), (_SVHN,)),
    "first-fields/cifar10": (
        lambda data: nets.first_fields(curve.net for curve in data.cifar10),
        (_CIFAR10,),
    ),
    "first-fields/svhn": (
        lambda data: nets.first_fields(curve.net for curve in data.svhn),
        (_SVHN,),
    ),
    "dropout": (lambda data: nets.dropout_fit(nets.all_nets(data)), (_REPLAY, _CIFAR10, _SVHN)),
    "space/svhn": (
        lambda data: nets.space_fit(_svhn_nets(data), authors_space("svhn")),
        (_REPLAY, _SVHN),
    ),
    "space/svhn/ceil": (
        lambda data: nets.space_fit(_svhn_nets(data), _rounding_up("svhn")),
        (_REPLAY, _SVHN),
    ),
    "space/cifar10": (
        lambda data: nets.space_fit((c.net for c in data.cifar10), authors_space("cifar10")),
        (_CIFAR10,),
    ),
    "failures": (lambda data: nets.failures(data.samples), (_REPLAY,)),
    "layers": (lambda data: layers.layer_counts(nets.all_nets(data)), (_REPLAY, _CIFAR10, _SVHN)),
    "layers/svhn": (lambda data: layers.layer_counts(_svhn_nets(data)), (_REPLAY, _SVHN)),
    "layers/cifar10": (
        lambda data: layers.layer_counts(curve.net for curve in data.cifar10),
        (_CIFAR10,),
    ),
    "first-steps": (lambda data: layers.first_steps(data.samples), (_REPLAY,)),
    "first-fields/early": (
        lambda data: nets.first_fields(row.net for row in data.samples),
        (_REPLAY,),
    ),
    "parameters/cifar10": (lambda data: layers.parameter_column(data.cifar10), (_CIFAR10,)),
    "parameters/svhn": (lambda data: layers.parameter_column(data.svhn), (_SVHN,)),
    "pooling-actions": (lambda data: q_values.pooling_actions(data.q_values), (_Q,)),
    "digits": (lambda data: q_values.written_digits(data.q_values), (_Q,)),
    "published": (nets.published_in_data, (_REPLAY, _CIFAR10, _SVHN)),
    "same-run": (nets.same_run, (_REPLAY, _SVHN)),
    "q-values": (_q_counts, (_Q, _REPLAY)),
    "replays": (_replays, (_Q, _REPLAY)),
    "stages": (lambda data: samples.stages(data.samples, _schedule()), (_REPLAY,)),
    "debug": (lambda data: samples.debug_rows(data.debug, data.samples), (_REPLAY,)),
    "trainings": (lambda data: samples.trainings(data.samples), (_REPLAY,)),
    "work/cifar10": (
        lambda data: samples.work(data.cifar10, _IMAGES["cifar10"], sum(_schedule().values())),
        (_CIFAR10,),
    ),
}
"""What can be computed, and of which files, by the name of the input."""
