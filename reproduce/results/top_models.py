"""The best nets of a search, as final trainings know them."""

from __future__ import annotations

from reproduce.search.replay_memory import Trial


def top_id(place: int) -> str:
    """The id of the final training of the net at a place, from 1."""
    return f"top/{place}"


def validation_accuracy(trial: Trial) -> float | None:
    """A trained net's best validation accuracy; None of a net that did not finish."""
    if trial.outcome != "finished" or trial.result is None or not trial.result.accuracies:
        return None
    return max(trial.result.accuracies)


def top_trials(trials: list[Trial], most: int) -> list[Trial]:
    """The nets of the highest validation accuracy, best first; the earliest among equals."""
    known = [
        (-accuracy, trial.id, trial)
        for trial in trials
        if (accuracy := validation_accuracy(trial)) is not None
    ]
    return [trial for _, _, trial in sorted(known, key=lambda one: one[:2])[:most]]
