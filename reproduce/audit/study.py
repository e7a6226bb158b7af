"""What a study of searches on the surrogate found, as inputs of checks.

No reward of a study was measured: the surrogate predicted all of them, and every finding says so.
`figure-3.json` has the searches of the paper's agent over its whole schedule, `race.json` how far
all searchers came within a budget.
"""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from reproduce.audit.claims import ClaimError
from reproduce.audit.context import Context, Evidence, link_to
from reproduce.rivals.figure_3_runs import LearningRun

LEARNING_FILE, RACE_FILE = "figure-3.json", "race.json"
COMMAND = "make rivals AUTHORS_DATA=DIR, then metaqnn audit --rivals STUDY"
OURS, THEIRS = "q-learning", "random"


@dataclass(frozen=True, config=ConfigDict(allow_inf_nan=False))
class _Race:
    """What the audit reads of a race.

    An improvement is its models, epochs, FLOP, reward, expected accuracy and net; expected is what
    the surrogate predicts without noise.
    """

    data_set: str
    searcher: str
    seed: int
    models_allowed: int
    improvements: tuple[tuple[int, int, float, float, float, str], ...]

    def expected(self) -> float | None:
        """The prediction for the best net found; None if there is none."""
        return self.improvements[-1][4] if self.improvements else None


def study(name: str, context: Context) -> Evidence:
    """`learning/DATA/PRESET`: searches by Q-learning; `race/DATA`: it against random search.

    Without a study, or without the file in it, there are no runs and no pairs.

    Raises:
        KeyError: if the name is none of these.
        ClaimError: if a file cannot be read, naming it.
    """
    what, *rest = name.split("/")
    if what == "learning" and len(rest) == 2:
        path = _file(context, LEARNING_FILE)
        runs = [
            _learning(run)
            for run in (_learning_runs(path) if path else ())
            if [run.data_set, run.preset] == rest and run.failure_share != 0
        ]
        return Evidence({"runs": runs, "command": COMMAND}, _links(path, runs))
    if what == "race" and len(rest) == 1:
        path = _file(context, RACE_FILE)
        races = [race for race in (_races(path) if path else ()) if race.data_set == rest[0]]
        models, pairs = _paired(races)
        value = {"pairs": pairs, "models": models, "command": COMMAND}
        return Evidence(value, _links(path, pairs))
    raise KeyError(name)


def _file(context: Context, name: str) -> Path | None:
    path = None if context.rivals is None else context.rivals / name
    return path if path is not None and path.exists() else None


def _links(path: Path | None, found: list[Any]) -> tuple[str, ...]:
    return (link_to(path),) if path is not None and found else ()


def _read(path: Path, key: str) -> list[Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClaimError(f"{path}: it is no study's file: {error!r}") from None
    if not isinstance(found, list):
        raise ClaimError(f"{path}: {key}: it is no list")
    return found


@lru_cache
def _learning_runs(path: Path) -> tuple[LearningRun, ...]:
    found = []
    for number, value in enumerate(_read(path, "runs")):
        try:
            found.append(LearningRun.from_json(value))
        except ValueError as error:
            raise ClaimError(f"{path}: runs.{number}: {error}") from None
    kinds = [(run.data_set, run.preset, run.failure_share, run.seed) for run in found]
    if len(set(kinds)) < len(kinds):
        raise ClaimError(f"{path}: a run is there twice")
    return tuple(found)


def _learning(run: LearningRun) -> dict[str, Any]:
    """Means and shares by ε, and the rolling mean during the first."""
    first = run.stages[0].samples
    return {
        "seed": run.seed,
        "best": run.best,
        "stages": [dataclasses.asdict(stage) for stage in run.stages],
        "rolling": [
            [place, mean]
            for place, mean in zip(run.places, run.rolling, strict=True)
            if place <= first
        ],
    }


@lru_cache
def _races(path: Path) -> tuple[_Race, ...]:
    try:
        return _RACES.validate_python(_read(path, "races"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ClaimError(f"{path}: races.{place}: {first['msg']}") from None


_RACES = TypeAdapter(tuple[_Race, ...])


def _paired(races: list[_Race]) -> tuple[int, list[dict[str, Any]]]:
    """The largest budget of both, and the agent's best net beside random search's, by seed.

    Raises:
        ClaimError: if a race is there twice.
    """
    found = {(one.searcher, one.models_allowed, one.seed): one.expected() for one in races}
    if len(found) < len(races):
        raise ClaimError(f"{RACE_FILE}: a race is there twice")
    both = [
        (models, seed)
        for searcher, models, seed in found
        if searcher == OURS and (THEIRS, models, seed) in found
    ]
    most = max((models for models, _ in both), default=0)
    pairs = [
        {"seed": seed, "ours": found[OURS, most, seed], "theirs": found[THEIRS, most, seed]}
        for seed in sorted(seed for models, seed in both if models == most)
    ]
    return most, [one for one in pairs if None not in one.values()]
