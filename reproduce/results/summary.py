"""What a run measured, each number beside the published one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

from reproduce.experiments.schema import Experiment
from reproduce.paper import results
from reproduce.search.replay_memory import ReplayMemory, Trial
from reproduce.training.outcome import Outcome, TrialResult

BEST = "best"
"""The id under which the search's best net is recorded as a final training."""


def wilson_interval(errors: float, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion `errors`/`total`, both ends in [0, 1]."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = errors / total
    centre = p + z * z / (2 * total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


@dataclass(frozen=True)
class Row:
    """One row of the table; errors in percent of the test set.

    `measured` is None where nothing was run; `status` then says so, and otherwise tells whether
    the number comes from the paper's own budget.
    """

    what: str
    architecture: str
    published: float | None
    published_in: str
    measured: float | None
    interval: tuple[float, float] | None
    epochs: int | None
    trainer: str
    budget: str
    seed: int
    status: str

    @property
    def difference(self) -> float | None:
        """Measured minus published, in percentage points."""
        if self.measured is None or self.published is None:
            return None
        return self.measured - self.published


def _measured(
    result: TrialResult | None, test_images: int
) -> tuple[float | None, tuple[float, float] | None, int | None]:
    """Test error in percent after the last epoch, its interval, and the number of epochs."""
    if result is None or result.outcome is not Outcome.FINISHED:
        return None, None, None
    # The last epoch, not the best: choosing an epoch by its test error would flatter it.
    error = 1 - result.accuracies[-1]
    low, high = wilson_interval(error * test_images, test_images)
    return 100 * error, (100 * low, 100 * high), len(result.accuracies)


def _status(experiment: Experiment, result: TrialResult | None) -> str:
    if result is None:
        return "not run"
    if result.outcome is not Outcome.FINISHED:
        return f"{result.outcome}: {result.message}".rstrip(": ")
    if experiment.budget_name == "paper":
        return "the paper's budget"
    return f"budget {experiment.budget_name}: not the paper's experiment"


def best_trial(trials: list[Trial]) -> Trial | None:
    """The trained net of the highest reward that finished; the earliest among equals."""
    finished = [t for t in trials if t.outcome == "finished" and t.reward is not None]
    return max(finished, key=lambda t: (t.reward or 0.0, -t.id), default=None)


def table(experiment: Experiment, memory: ReplayMemory) -> list[Row]:
    """The run's table: published nets, the search's best net, the ensemble."""
    finals = memory.finals()
    trainer = str(memory.get("trainer") or "none")
    data = memory.get("data") or {}
    tests = data.get("databases", {}).get("test", {}).get("records", experiment.data.test_images)

    def row(
        what: str,
        architecture: str,
        published: float,
        place: str,
        result: TrialResult | None,
    ) -> Row:
        measured, interval, epochs = _measured(result, tests)
        return Row(
            what,
            architecture,
            published,
            place,
            measured,
            interval,
            epochs,
            trainer,
            experiment.budget_name,
            experiment.seed,
            _status(experiment, result),
        )

    rows = []
    for item in experiment.published:
        net = item.net
        result = finals[item.id][1] if item.id in finals else None
        rows.append(row("published net", net.notation, net.error, net.place, result))
    best, best_result = finals.get(BEST, ("", None))
    for published in results(experiment.data.dataset):
        top = published.what == "top model"
        rows.append(
            row(
                f"MetaQNN, {published.what}",
                best if top else "",
                published.error,
                f"Table 3, {published.version}",
                best_result if top else None,
            )
        )
    return rows


def rows_as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """The table as plain data."""
    return [{**asdict(row), "difference": row.difference} for row in rows]
