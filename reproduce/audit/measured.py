"""What the user's runs measured, as inputs of checks: test errors, and how searches went.

Every measured value carries the mark that sets it apart from the paper's own experiment, empty
where nothing does. What a surrogate predicted was not measured, and is left out.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path
from typing import Any

from reproduce.audit.context import Evidence
from reproduce.published_results import PublishedError, reported_nets
from reproduce.results.costs import cost_of, search_flop
from reproduce.results.searches import Search, read_search
from reproduce.results.summary import Row, RunResults
from reproduce.run import REPLAY_MEMORY, RunError, frozen
from reproduce.search.replay_memory import read_replay_memory
from reproduce.training.caffe import is_predicted


@dataclasses.dataclass(frozen=True)
class _Run:
    folder: str
    results: tuple[Row, ...]
    search: Search
    first_version: bool
    trainer: str

    @property
    def predicted(self) -> bool:
        """Whether a surrogate predicted all that the run has."""
        return is_predicted(self.trainer)


@lru_cache
def read_run(folder: Path) -> _Run:
    """One run, as it was when it was first asked for; `cache_clear` forgets all.

    Raises:
        RunError: if the folder holds no run.
        ReplayMemoryError: if it cannot be read.
    """
    experiment = frozen(folder)
    with read_replay_memory(folder / REPLAY_MEMORY) as memory, memory.snapshot():
        results = RunResults(experiment, memory)
        rows = [results.measurement(id_) for id_ in results.ids]
        search = read_search(experiment, memory)
    measured = tuple(row for row in rows if row is not None and row.measured is not None)
    return _Run(str(folder), measured, search, results.first_version, results.trainer)


def read_all(folders: tuple[Path, ...]) -> None:
    """Read all runs, so that one that cannot count is told before anything is computed.

    Raises:
        RunError, ReplayMemoryError: naming it.
    """
    for folder in folders:
        run = read_run(folder)
        if run.predicted:
            raise RunError(
                f"{folder} has its rewards from {run.trainer}: predictions decide no claim; "
                "leave it out"
            )


def _measuring(folders: tuple[Path, ...]) -> list[_Run]:
    return [run for run in map(read_run, folders) if not run.predicted]


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
        for run in _measuring(folders)
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
    found = [(run.folder, run.search) for run in _measuring(folders)]
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
        "flop": search_flop(experiment_name),
        "command": f"metaqnn search {experiment_name} --budget paper",
    }
    return Evidence(value, tuple(str(row["run"]) for row in rows))
