"""A study's folder with made-up numbers, in the form that `metaqnn audit --rivals` reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reproduce.rivals.figure_3_runs import LearningRun, Stage, rolling_places

EPSILONS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
SAMPLES, WINDOW, CHANCE = 60, 10, 0.1
NET = "[C(64,3,1), SM(10)]"


def learning_run(
    seed: int, means: Sequence[float], failed: Sequence[float], **changes: Any
) -> LearningRun:
    """A run of given means and shares of failures by ε, whose rolling mean is flat at ε = 1."""
    stages = [
        Stage(e, SAMPLES, mean, share, 0.0, SAMPLES, mean)
        for e, mean, share in zip(EPSILONS, means, failed, strict=False)
    ]
    places = rolling_places(SAMPLES * len(stages), WINDOW)
    fields: dict[str, Any] = {
        "data_set": "svhn", "preset": "authors", "failure_share": None, "seed": seed,
        "stages": tuple(stages), "window": WINDOW, "rolling": tuple(means[0] for _ in places),
        "models": SAMPLES * len(stages), "outside": 0, "best": 0.95, "expected": 0.94, "net": NET,
    }  # fmt: skip
    return LearningRun(**{**fields, **changes})


def rising_runs(seeds: int, data_set: str, preset: str) -> list[LearningRun]:
    """From 0.52 to 0.88, as failures fall from 45 to 5 %; seeds differ by some thousandths."""
    rng = np.random.default_rng(seeds)
    found = []
    for seed in range(seeds):
        means = np.linspace(0.52, 0.88, len(EPSILONS)) + rng.normal(0, 0.004, len(EPSILONS))
        failed = np.linspace(0.45, 0.05, len(EPSILONS))
        found.append(
            learning_run(
                seed,
                [float(x) for x in means],
                [float(x) for x in failed],
                data_set=data_set,
                preset=preset,
                failure_share=None if data_set == "svhn" else 0.019,
                best=0.95 + float(rng.normal(0, 0.002)),
            )
        )
    return found


def race(
    data_set: str, searcher: str, seed: int, expected: float, models: int = 500
) -> dict[str, Any]:
    """One searcher's race with a single improvement, noisier than its prediction."""
    return {
        "data_set": data_set,
        "searcher": searcher,
        "seed": seed,
        "models_allowed": models,
        "models": models,
        "epochs": 20 * models,
        "flop": 1e15,
        "improvements": [[1, 20, 2e12, expected + 0.01, expected, NET]],
    }


def write_study(
    folder: Path,
    runs: Sequence[LearningRun] | None = None,
    races: Sequence[dict[str, Any]] | None = None,
) -> Path:
    """A folder with the files of a study; without numbers of one's own, ten seeds of each kind."""
    if runs is None:
        kinds = [(d, p) for d in ("svhn", "cifar10") for p in ("paper", "authors")]
        runs = [run for data_set, preset in kinds for run in rising_runs(10, data_set, preset)]
    if races is None:
        races = [
            race(data_set, searcher, seed, base + seed / 1000)
            for data_set in ("svhn", "cifar10")
            for searcher, base in (("q-learning", 0.93), ("random", 0.92))
            for seed in range(10)
        ]
    folder.mkdir(parents=True, exist_ok=True)
    content = {"runs": [run.to_json() for run in runs], "provenance": {}}
    (folder / "figure-3.json").write_text(json.dumps(content))
    (folder / "race.json").write_text(json.dumps({"races": list(races)}))
    return folder
