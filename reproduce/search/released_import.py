"""A search that goes on from the released code's files, and a search written as those files."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prototxt_gen.dropout import DropoutRule, place_dropout
from prototxt_gen.notation import parse
from reproduce.search.cost_cap import CostCap
from reproduce.search.released_files import (
    STATE_FIELDS,
    QRow,
    ReleasedFileError,
    ReleasedQValues,
    ReleasedReplay,
    ReleasedState,
    ReplayRow,
    file_error,
    released_pairs,
)
from reproduce.search.replay_memory import ImportedSample, ReplayMemory, Trial
from reproduce.search.space import NotInSpaceError, SearchSpace
from reproduce.training.outcome import Outcome, TrialResult

IMPORTED = "released_files"
"""The key under which a replay memory keeps the imported rows, to write them back as they were."""


@dataclass(frozen=True)
class ImportReport:
    """What an import brought.

    Attributes:
        trials, samples: distinct architectures, and rows.
        q_values: Q-values that the space has.
        unmapped: Q-values of pairs that it does not have, kept for the export.
        missing: its pairs without a row; they keep the first value of every pair.
        above_one: Q-values > 1, which no accuracy explains: they learned from debug rows.
    """

    trials: int
    samples: int
    q_values: int
    unmapped: int
    missing: int
    above_one: int

    def __str__(self) -> str:
        return (
            f"imported {self.samples} samples of {self.trials} architectures and "
            f"{self.q_values} Q-values ({self.above_one} above 1); {self.unmapped} Q-values are "
            f"of no pair of the space, {self.missing} of its pairs have none"
        )


def import_released(
    memory: ReplayMemory,
    space: SearchSpace,
    replay: ReleasedReplay,
    q_values: ReleasedQValues | None = None,
    *,
    learning_rate: float = 0.001,
    cap: CostCap | None = None,
) -> ImportReport:
    """Fill an empty replay memory so that a search goes on where the released code stopped.

    All rows become completed samples in the file's order, the first of each architecture its
    trial. A best accuracy of exactly 1/classes is the outcome `chance_level`, any other
    `finished`. The file tells only the best and the last accuracy, and no random state: the
    search's own begins after the import.

    Args:
        memory: an empty replay memory.
        space: the space that holds the architectures; its rules should be the authors'.
        replay: the replay database, without debug rows.
        q_values: the Q table; None leaves every pair at its first value.
        learning_rate: what to record for each trial, which the file does not tell.
        cap: the search's cap on a net's cost, which it could not go on from above.

    Raises:
        ReleasedFileError: if there are no rows, a row is not of the space or above the cap, or
            a number is out of its range.
        ReplayMemoryError: if the memory is not empty. Nothing is written in either case.
    """
    if not replay.rows:
        raise ReleasedFileError(f"{replay.path}: there are no rows to import")
    samples = [
        ImportedSample(
            _architecture(replay.path, space, row, cap),
            row.epsilon,
            _result(row, space.rules.classes, learning_rate),
            row.accuracy_best_val,
        )
        for row in replay.rows
    ]
    values = q_values.values if q_values else {}
    rows = {
        "replay": [row.cells() for row in replay.rows],
        "q_values": [row.cells() for row in q_values.rows] if q_values else [],
    }
    table = [values.get(pair, math.nan) for pair in range(space.pairs)]
    memory.import_samples(samples, table, **{IMPORTED: rows})
    return ImportReport(
        trials=len({sample.architecture for sample in samples}),
        samples=len(samples),
        q_values=len(values),
        unmapped=len(q_values.unmapped) if q_values else 0,
        missing=space.pairs - len(values),
        above_one=sum(row.utility > 1 for row in q_values.rows) if q_values else 0,
    )


def _architecture(path: Path, space: SearchSpace, row: ReplayRow, cap: CostCap | None) -> str:
    """The notation of a row's architecture, once all that the import uses has been checked."""
    for column in ("accuracy_best_val", "accuracy_last_val", "epsilon"):
        value = getattr(row, column)
        if not 0 <= value <= 1:
            hint = "; drop debug rows first" if column.startswith("accuracy") else ""
            raise file_error(path, row.line, column, f"{value} is not in [0, 1]{hint}")
    if row.iter_last_val < 0:
        raise file_error(path, row.line, "iter_last_val", f"{row.iter_last_val} is negative")
    architecture = parse(row.net).without_dropout()
    try:
        walk = space.walk(architecture)
    except NotInSpaceError as error:
        raise file_error(path, row.line, "net", f"not in the space: {error}") from None
    if cap is not None:
        meter = cap.meter()
        for node, number in walk:
            meter.spend(node, number)
        if meter.spent > cap.at_most:
            problem = f"its {cap.of}, {meter.spent:,}, exceed the budget's cap of {cap.at_most:,}"
            raise file_error(path, row.line, "net", f"{problem}; choose a budget without one")
    return str(architecture)


def _result(row: ReplayRow, classes: int, learning_rate: float) -> TrialResult:
    best, last = float(row.accuracy_best_val), float(row.accuracy_last_val)
    chance = best == 1 / classes
    return TrialResult(
        outcome=Outcome.CHANCE_LEVEL if chance else Outcome.FINISHED,
        accuracies=(best,) if best == last else (best, last),
        learning_rate=learning_rate,
        restarts=0,
        iterations=int(row.iter_last_val),
        seconds=0.0,
        trainer="imported from replay_database.csv",
    )


def export_released(
    memory: ReplayMemory, space: SearchSpace, *, initial: float = 0.5
) -> tuple[ReleasedReplay, ReleasedQValues]:
    """A replay memory as the released code's two tables.

    Imported rows come first, as they were, but for Q-values that have changed since. Of other
    samples, those completed with a reward follow in the order of completion, with the dropout
    layers of the released code; then the pairs of the space that no row had: those whose value
    changed or, without imported rows, all of them, with `initial` where a value never changed.

    What a replay memory does not know has the values that the released file has for "unknown":
    accuracy_*_test -1, time_finished 0, machine_run_on "unknown". accuracy_best_val is the
    reward; iterations are whole epochs, at (iterations of all attempts) / (epochs + restarts)
    each, and 0 for nets that did not finish; ix_q_value_update is the position in the order of
    sampling. A sample of a net that has a row copies its accuracies and host. All of this is as
    in the released code; only epsilon, there the net's own for samples of a net in training, is
    always the sample's.
    """
    imported: dict[str, list[list[Any]]] = memory.get(IMPORTED) or {"replay": [], "q_values": []}
    trials = {trial.id: trial for trial in memory.trials()}
    first: dict[int, ReplayRow] = {}
    rows = []
    completed = {x.completed: x for x in memory.samples() if x.completed is not None}
    for position, sample in sorted(completed.items()):
        if position <= len(imported["replay"]):
            row = ReplayRow(*imported["replay"][position - 1])
        elif trials[sample.trial].reward is None:
            continue
        else:
            row = dataclasses.replace(
                first.get(sample.trial) or _measured(trials[sample.trial]),
                ix_q_value_update=float(sample.id),
                epsilon=sample.epsilon,
                time_finished=0.0,
            )
        first.setdefault(sample.trial, row)
        rows.append(row)
    q_rows = _q_rows(space, imported["q_values"], memory.q_values(), initial)
    return ReleasedReplay(tuple(rows)), ReleasedQValues(q_rows)


def imported_part(memory: ReplayMemory, space: SearchSpace) -> tuple[int, dict[int, float]]:
    """How many samples a replay memory imported, and the Q-values that came with them."""
    imported: dict[str, list[list[Any]]] = memory.get(IMPORTED) or {"replay": [], "q_values": []}
    numbers = {pair: number for number, pair in enumerate(released_pairs(space))}
    values = {}
    for cells in imported["q_values"]:
        number = numbers.get(_pair(cells))
        if number is not None:
            values[number] = float(cells[-1])
    return len(imported["replay"]), values


def _pair(cells: list[Any]) -> tuple[ReleasedState, ReleasedState]:
    width = len(STATE_FIELDS)
    return ReleasedState(*cells[:width]), ReleasedState(*cells[width:-1])


def _measured(trial: Trial) -> ReplayRow:
    result, reward = trial.result, trial.reward
    if result is None or reward is None:
        raise ValueError(f"trial {trial.id} has no reward")
    last, iter_best, iter_last = reward, 0, 0
    if result.outcome is Outcome.FINISHED and result.accuracies:
        accuracies = result.accuracies
        per_epoch = result.iterations / (len(accuracies) + result.restarts)
        last = accuracies[-1]
        iter_best = round(per_epoch * (accuracies.index(max(accuracies)) + 1))
        iter_last = round(per_epoch * len(accuracies))
    net = str(place_dropout(parse(trial.architecture), DropoutRule.RELEASED))
    measured = (reward, float(iter_best), last, float(iter_last), -1.0, -1.0)
    return ReplayRow(net, *measured, 0.0, trial.epsilon, 0.0, "unknown")


def _q_rows(
    space: SearchSpace, imported: list[list[Any]], values: dict[int, float], initial: float
) -> tuple[QRow, ...]:
    pairs = released_pairs(space)
    numbers = {pair: number for number, pair in enumerate(pairs)}
    rows = []
    for cells in imported:
        end, start = _pair(cells)
        number = numbers.pop((end, start), None)
        old = cells[-1]
        new = old if number is None else values.get(number, old)
        # One that has not changed keeps its spelling, "1" or "1.0".
        rows.append(QRow(end, start, old if new == old else new, number))
    for number in numbers.values():
        value = values.get(number, initial)
        if not imported or value != initial:
            rows.append(QRow(*pairs[number], value, number))
    return tuple(rows)
