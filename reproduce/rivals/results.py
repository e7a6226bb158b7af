"""What a complete study found: its parts read, and the searchers compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from reproduce.audit.authors_data.files import EPOCHS
from reproduce.audit.study import LEARNING_FILE, RACE_FILE
from reproduce.files import write_atomically
from reproduce.rivals.comparison import Comparison, Races, compare, cut
from reproduce.rivals.comparison import Unit as Spent
from reproduce.rivals.early_stopping.study import EarlyStoppingStudy
from reproduce.rivals.figure_3_comparison import Comparison as LearningComparison
from reproduce.rivals.figure_3_comparison import comparisons
from reproduce.rivals.figure_3_runs import LearningRun
from reproduce.rivals.plan import Q_LEARNING, Ground, Kind, Plan, Unit, units
from reproduce.rivals.race import Race
from reproduce.rivals.searchers import RIVALS
from reproduce.rivals.study import StudyError, part, read_part, read_plan
from reproduce.rivals.surrogate.quality import Quality

RESULTS_FILE = "results.csv"
_SEED = 0  # of the intervals


@dataclass(frozen=True)
class StudyResults:
    """All of a study.

    Attributes:
        about: what `study.json` says: sources, packages, revisions and machines.
        races: by ground, budget and searcher, then by seed; of those that run at that budget.
    """

    plan: Plan
    about: Mapping[str, Any]
    qualities: tuple[Quality, ...]
    early_stopping: tuple[EarlyStoppingStudy, ...]
    learning: tuple[LearningRun, ...]
    races: Mapping[str, Mapping[int, Races]]
    _compared: dict[tuple[str, int, Spent], Comparison] = field(
        default_factory=dict, repr=False, compare=False
    )

    @cached_property
    def figure_3(self) -> list[LearningComparison]:
        """The searches against the paper's figure, by data set, preset and failure share."""
        return comparisons(self.learning)

    def best(self, ground: str) -> float:
        """The highest prediction of any net that any searcher found on a ground."""
        return max(
            one.expected
            for races in self.races[ground].values()
            for found in races.values()
            for race in found.values()
            for one in race.improvements
        )

    def comparison(self, ground: str, models: int, unit: Spent) -> Comparison:
        """All searchers with a budget of models, where they have spent the same of a unit.

        Those that train nets in part are left out where models are counted.
        """
        key = ground, models, unit
        if key not in self._compared:
            self._compared[key] = self._compare(*key)
        return self._compared[key]

    def _compare(self, ground: str, models: int, unit: Spent) -> Comparison:
        races = {
            name: found
            for name, found in self.races[ground][models].items()
            if unit != "models" or not RIVALS[name].by_epochs
        }
        rng = np.random.default_rng(_SEED)
        return compare(races, unit, Q_LEARNING, self.best(ground), rng)


def read_study(folder: Path) -> StudyResults:
    """Read a study's folder.

    Raises:
        StudyError: if it is not complete, or cannot be read.
    """
    plan, about = read_plan(folder)
    parts = {unit: read_part(folder, unit) for unit in units(plan)}
    read: dict[Unit, Any] = {}
    for one in sorted(parts, key=lambda one: (one.ground, one.what, one.seeds)):
        try:
            read[one] = _READERS[one.kind](parts[one])
        except (ValueError, KeyError, TypeError):
            raise StudyError(
                f"{part(folder, one)} is not what it should be: delete it and run the study"
            ) from None
    of = {kind: [read[one] for one in read if one.kind == kind] for kind in _READERS}
    found: dict[tuple[str, str, int], dict[int, Race]] = {}
    for one in read:
        if one.kind == "race":
            found.setdefault((one.ground, one.what, one.models), {}).update(read[one])
    return StudyResults(
        plan,
        about,
        tuple(of["quality"]),
        tuple(of["early stopping"]),
        tuple(run for runs in of["learning"] for run in runs),
        {
            ground.name: {models: _at(plan, ground, models, found) for models in plan.budgets}
            for ground in plan.grounds()
        },
    )


_READERS: dict[Kind, Callable[[Any], Any]] = {
    "quality": TypeAdapter(Quality).validate_python,
    "early stopping": EarlyStoppingStudy.from_json,
    "learning": lambda runs: [LearningRun.from_json(run) for run in runs],
    "race": TypeAdapter(dict[int, Race]).validate_python,
}


def _at(
    plan: Plan, ground: Ground, models: int, found: Mapping[tuple[str, str, int], dict[int, Race]]
) -> Races:
    """Races with a budget: those run with it, and those run with a larger one as far as it goes."""
    races = {}
    for searcher in plan.searchers_on(ground):
        fitting = [own for own in plan.models(searcher) if own >= models]
        if not fitting:
            continue
        own = found[ground.name, searcher, fitting[0]]
        unit: Spent = "epochs" if RIVALS[searcher].by_epochs else "models"
        budget = models * EPOCHS if unit == "epochs" else models
        races[searcher] = {seed: cut(race, unit, budget) for seed, race in own.items()}
    return races


def write_files(results: StudyResults, folder: Path) -> None:
    """Write what the audit reads of a study: Figure 3's runs, and all races."""
    provenance = {key: results.about[key] for key in ("sources", "packages", "provenance")}
    learning = [run.to_json() for run in results.learning]
    races = [
        {
            "data_set": ground,
            "searcher": searcher,
            "seed": seed,
            "models_allowed": models,
            "models": race.models,
            "epochs": race.epochs,
            "flop": race.flop,
            "improvements": [list(astuple(one)) for one in race.improvements],
        }
        for ground, models, searcher, seed, race in each_race(results)
    ]
    for name, key, content in (
        (LEARNING_FILE, "runs", learning),
        (RACE_FILE, "races", races),
    ):
        text = json.dumps({key: content, "provenance": provenance})
        write_atomically(folder / name, text + "\n")


def each_race(results: StudyResults) -> Iterator[tuple[str, int, str, int, Race]]:
    """Ground, budget of models, searcher, seed and race of all that were run."""
    for ground, budgets in results.races.items():
        for models, races in budgets.items():
            for searcher, found in races.items():
                for seed, race in sorted(found.items()):
                    yield ground, models, searcher, seed, race


COLUMNS = "ground,budget,searcher,seed,models,epochs,exaflop,outside,reward,expected,net"


def table(results: StudyResults) -> Iterable[str]:
    """A CSV: one row for each race, with its best net at its end; accuracies in [0, 1]."""
    yield COLUMNS
    for ground, models, searcher, seed, race in each_race(results):
        best = race.improvements[-1]
        outside = "" if race.outside is None else race.outside
        yield (
            f"{ground},{models},{searcher},{seed},{race.models},{race.epochs},"
            f"{race.flop / 1e18:.4f},{outside},{best.reward:.6f},{best.expected:.6f},"
            f'"{best.net}"'
        )
