"""How many samples there are, where they were trained, and what the trainings cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from prototxt_gen.shapes import GapForm, Padding, Shape, total_cost
from reproduce.audit.authors_data.figure_a2 import CHANCE
from reproduce.audit.authors_data.files import EPOCHS, LearningCurve, architecture
from reproduce.estimate import training_flop
from reproduce.search.released_files import ReplayRow

UNKNOWN = "unknown"
"""What the replay database has in place of a host that it does not know."""

DAY = 86_400.0


@dataclass(frozen=True)
class Stage:
    """The samples of one ε.

    Attributes:
        planned: unique nets in the schedule, Table 2.
        rows: samples; `nets` the distinct ones among them; `new` those not sampled at an ε before.
        updates: the distinct `ix_q_value_update`: one for a stage run as a batch, one per sample
            if the agent learned after each.
    """

    epsilon: float
    planned: int
    rows: int
    nets: int
    new: int
    updates: tuple[float, ...]


@dataclass(frozen=True)
class DebugRows:
    """The rows that no net can have produced.

    Attributes:
        rows, nets: how many, and of how many distinct nets; `known` of them have a real row.
        accuracies: their distinct best accuracies; `epsilons` their distinct ε.
        first, last: when the first and the last were finished, UTC, None without times.
        hosts: rows by host.
    """

    rows: int
    nets: int
    known: int
    accuracies: tuple[float, ...]
    epsilons: tuple[float, ...]
    first: datetime | None
    last: datetime | None
    hosts: dict[str, int]


@dataclass(frozen=True)
class Trainings:
    """What the rows tell of the trainings themselves.

    Attributes:
        timed: rows with a time: without one, no duration can be told.
        hosts: rows by named host; `unnamed` rows without a name.
        at_chance: rows at chance level, of nets that never learned.
        per_epoch: iterations of an epoch, by which all numbers of iterations divide.
        whole: rows that ended after all epochs; `cut_short` that ended before and were kept as
            they were.
        best_is_last: rows of nets that learned whose best epoch is the last.
    """

    timed: int
    hosts: dict[str, int]
    unnamed: int
    at_chance: int
    per_epoch: int
    whole: int
    cut_short: int
    best_is_last: int


@dataclass(frozen=True)
class Work:
    """What a search costs, if its nets cost what these do, against the GPUs that the paper names.

    Attributes:
        nets: those of which the mean is.
        epochs: mean epochs of a net, restarts included.
        flop: mean floating-point operations of a net's training.
        searched: unique nets of the schedule; `total` operations for all of them.
        gpus, days: of the paper; days as the least and the most.
        sustained: operations per second that each GPU would have had to sustain without a pause,
            for the most days and for the least.
    """

    nets: int
    epochs: float
    flop: float
    searched: int
    total: float
    gpus: int
    days: tuple[float, float]
    sustained: tuple[float, float]


def stages(samples: Sequence[ReplayRow], schedule: Mapping[float, int]) -> tuple[Stage, ...]:
    """The samples of each ε that there are any of, by falling ε.

    Args:
        schedule: unique nets by ε.
    """
    first: dict[str, float] = {}
    for row in samples:
        first.setdefault(row.net, row.epsilon)
    new = Counter(first.values())
    found = []
    for epsilon in sorted({row.epsilon for row in samples}, reverse=True):
        rows = [row for row in samples if row.epsilon == epsilon]
        found.append(
            Stage(
                epsilon,
                schedule.get(epsilon, 0),
                len(rows),
                len({row.net for row in rows}),
                new[epsilon],
                tuple(sorted({float(row.ix_q_value_update) for row in rows})),
            )
        )
    return tuple(found)


def debug_rows(debug: Sequence[ReplayRow], samples: Sequence[ReplayRow]) -> DebugRows:
    """Describe the debug rows."""
    nets = {row.net for row in debug}
    times = [row.time_finished for row in debug if row.time_finished > 0]
    return DebugRows(
        len(debug),
        len(nets),
        len(nets & {row.net for row in samples}),
        tuple(sorted({float(row.accuracy_best_val) for row in debug})),
        tuple(sorted({float(row.epsilon) for row in debug})),
        datetime.fromtimestamp(min(times), UTC) if times else None,
        datetime.fromtimestamp(max(times), UTC) if times else None,
        _hosts(debug),
    )


def trainings(samples: Sequence[ReplayRow]) -> Trainings:
    """Describe the rows' trainings.

    Raises:
        ValueError: if no net has learned.
    """
    learned = [row for row in samples if row.accuracy_best_val != CHANCE]
    if not learned:
        raise ValueError("no net has learned")
    whole = max(row.iter_last_val for row in learned)
    iterations = [int(x) for row in learned for x in (row.iter_best_val, row.iter_last_val)]
    hosts = _hosts(samples)
    return Trainings(
        sum(row.time_finished > 0 for row in samples),
        {name: rows for name, rows in hosts.items() if name != UNKNOWN},
        hosts.get(UNKNOWN, 0),
        len(samples) - len(learned),
        int(np.gcd.reduce(iterations)),
        sum(row.iter_last_val == whole for row in learned),
        sum(row.iter_last_val < whole for row in learned),
        sum(row.iter_best_val == row.iter_last_val for row in learned),
    )


def work(
    curves: Sequence[LearningCurve],
    images: int,
    searched: int,
    *,
    failures: float = 0.0,
    rates: Sequence[float] = (0.001, 0.0004, 0.00016, 0.000064, 0.000026),
    image: Shape = (3, 32, 32),
    gpus: int = 10,
    days: tuple[float, float] = (8.0, 10.0),
) -> Work:
    """Estimate what the search cost from the nets that learned.

    A net costs 20 epochs and one for each restart, 6 operations for each forward
    multiply-accumulate; one that never learns, an epoch at each rate and what a mean net costs
    for each.

    Args:
        curves: the nets that learned.
        images: training images.
        searched: unique nets of the schedule.
        failures: share of those that never learn.
        rates: of all attempts, the highest first.
        image: channels, height, width.
        gpus, days: of the paper (section 5).

    Raises:
        ValueError: without curves, or if one has another rate.
    """
    if not curves:
        raise ValueError("there are no learning curves")
    macs = [
        total_cost(architecture(curve.net), image, Padding.SAME, GapForm.RELEASED).macs
        for curve in curves
    ]
    epochs = [EPOCHS + list(rates).index(curve.learning_rate) for curve in curves]
    learned = np.mean([training_flop(m) * images * e for m, e in zip(macs, epochs, strict=True)])
    lost = training_flop(float(np.mean(macs))) * images * len(rates)
    mean = float((1 - failures) * learned + failures * lost)
    total = mean * searched
    least, most = sorted(days)
    return Work(
        len(curves),
        float((1 - failures) * np.mean(epochs) + failures * len(rates)),
        mean,
        searched,
        total,
        gpus,
        (least, most),
        (total / (gpus * most * DAY), total / (gpus * least * DAY)),
    )


def _hosts(rows: Iterable[ReplayRow]) -> dict[str, int]:
    return dict(Counter(row.machine_run_on for row in rows).most_common())
