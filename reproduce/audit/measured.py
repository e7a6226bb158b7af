"""What the user's runs measured, as inputs of checks: test errors, and how searches went.

Every measured value carries the mark that sets it apart from the paper's own experiment, empty
where nothing does.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path
from typing import Any

from reproduce.audit.context import Evidence
from reproduce.driver import agent_of
from reproduce.estimate import estimate, typical_nets
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.published_results import PublishedError, reported_nets
from reproduce.results.costs import cost_of
from reproduce.results.labels import Label
from reproduce.results.plots.search_curve import SearchCurve, search_curve
from reproduce.results.summary import Row, RunResults, unverified_files
from reproduce.results.top_models import top_trials, validation_accuracy
from reproduce.run import REPLAY_MEMORY, frozen
from reproduce.search.loop import models_done
from reproduce.search.replay_memory import ReplayMemory, read_replay_memory


@dataclasses.dataclass(frozen=True)
class _Search:
    """A search: what of it was done, and its mark."""

    experiment: Experiment
    mark: str
    complete: bool
    curve: SearchCurve
    best: float | None


@dataclasses.dataclass(frozen=True)
class _Run:
    folder: str
    results: tuple[Row, ...]
    search: _Search
    first_version: bool


@lru_cache
def _read(folder: Path) -> _Run:
    """One run.

    Raises:
        RunError: if the folder holds no run.
        ReplayMemoryError: if it cannot be read.
    """
    experiment = frozen(folder)
    with read_replay_memory(folder / REPLAY_MEMORY) as memory, memory.snapshot():
        results = RunResults(experiment, memory)
        rows = [results.measurement(id_) for id_ in results.ids]
        search = _search_of(experiment, memory)
    measured = tuple(row for row in rows if row is not None and row.measured is not None)
    return _Run(str(folder), measured, search, results.first_version)


def _search_of(experiment: Experiment, memory: ReplayMemory) -> _Search:
    stages, trials = experiment.q_learning.stages, memory.trials()
    wanted = sum(stage.models for stage in stages)
    best = [validation_accuracy(trial) for trial in top_trials(trials, 1)]
    data = "unverified" if unverified_files(memory) else "verified"
    return _Search(
        experiment,
        Label(experiment).mark(data),
        bool(wanted) and models_done(stages, memory.unique_per_epsilon()) == wanted,
        search_curve(memory),
        best[0] if best else None,
    )


def read_all(folders: tuple[Path, ...]) -> None:
    """Read all runs, so that one that cannot be read is told before anything is computed.

    Raises:
        RunError, ReplayMemoryError: naming it.
    """
    for folder in folders:
        _read(folder)


def errors(published: PublishedError, folders: tuple[Path, ...]) -> Evidence:
    """A published error, and what runs measured for it: in percent of the test set.

    A top model's error is also measured by training the net of the table that it belongs to.
    """
    nets = [net.id for net in reported_nets(published)]
    rows: list[dict[str, Any]] = [
        {
            "run": run.folder,
            "what": row.what,
            "error": row.measured,
            "interval": list(row.interval or (row.measured, row.measured)),
            "seed": row.seed,
            "mark": row.mark,
        }
        for run in map(_read, folders)
        if published.is_of(first_version=run.first_version)
        for row in run.results
        if row.dataset == published.data and row.what in (published.measured_as, *nets)
    ]
    cost = cost_of(published)
    value = {
        "published": published.error,
        "measured": rows,
        "flop": cost.flop or 0.0,
        "command": cost.command,
    }
    return Evidence(value, tuple(str(row["run"]) for row in rows))


def searches(experiment_name: str, folders: tuple[Path, ...]) -> Evidence:
    """The complete searches of an experiment: mean accuracy per ε, and the best net's."""
    found = [(run.folder, run.search) for run in map(_read, folders)]
    rows = [
        {
            "run": folder,
            "seed": one.experiment.seed,
            "mark": one.mark,
            "best": one.best,
            "means": [
                {"epsilon": epsilon, "mean": sum(r) / len(r), "samples": len(r)}
                for epsilon, r in one.curve.per_epsilon().items()
            ],
        }
        for folder, one in found
        if one.experiment.name == experiment_name and one.complete
    ]
    value = {
        "runs": rows,
        "flop": _search_flop(experiment_name),
        "command": f"metaqnn search {experiment_name} --budget paper",
    }
    return Evidence(value, tuple(folder for folder, one in found if one.complete))


@lru_cache
def _search_flop(name: str) -> float:
    experiment = load_experiment(experiment_path(name), "paper", 0)
    return estimate(experiment, typical_nets(experiment, agent_of(experiment)), 1).flop
