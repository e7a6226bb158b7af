"""Hyperparameters of the top models, chosen by validation accuracy (section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reproduce.experiments.schema import Experiment
from reproduce.training.outcome import Outcome, TrialResult


def tuning_id(place: int, point: int) -> str:
    """The id of the training of the net at a place at a point of the grid, both from 1."""
    return f"tuning/{place}/{point}"


@dataclass(frozen=True)
class Point:
    """A point of the grid: what it changes, and the validation accuracy after its last epoch."""

    changes: Mapping[str, Any]
    accuracy: float
    tried: int

    def __str__(self) -> str:
        values = ", ".join(
            f"{name.replace('_', ' ')} {value:g}"
            if isinstance(value, float)
            else f"{name.replace('_', ' ')} {value}"
            for name, value in self.changes.items()
        )
        return f"{values}: validation accuracy {self.accuracy:.4f}, the best of {self.tried}"


def best_point(
    experiment: Experiment, finals: Mapping[str, tuple[str, TrialResult]], place: int
) -> Point | None:
    """The best of the trained points of a net's grid, the first among equals; None without any."""
    trained = [
        (result.accuracies[-1], changes)
        for number, changes in enumerate(experiment.grid, 1)
        if (found := finals.get(tuning_id(place, number))) is not None
        and (result := found[1]).outcome is Outcome.FINISHED
    ]
    if not trained:
        return None
    accuracy, changes = max(trained, key=lambda one: one[0])
    return Point(changes, accuracy, len(trained))
