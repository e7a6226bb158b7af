"""What a run measured, each number beside the published one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

from reproduce.experiments.schema import Experiment
from reproduce.paper import results
from reproduce.results.top_models import top_id
from reproduce.search.replay_memory import ReplayMemory
from reproduce.training.outcome import Outcome, TrialResult

PAPERS_ENSEMBLE = 5
"""The paper's ensembles are of its top five models (section 5)."""


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

    `data` is "unverified" if any file of the run's data is not known to be the published one, else
    "verified", or "none" before there is any.
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
    preset: str
    budget: str
    seed: int
    data: str
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


def _budget(experiment: Experiment) -> str:
    if experiment.preset != "paper":
        return f"preset {experiment.preset}, budget {experiment.budget_name}: not the paper's text"
    if experiment.budget_name == "paper":
        return "the paper's budget"
    if not experiment.q_learning.stages:
        return f"budget {experiment.budget_name}: trained from its notation, without a search"
    return f"budget {experiment.budget_name}: not the paper's experiment"


def _status(experiment: Experiment, result: TrialResult | None) -> str:
    if result is None:
        return "not run"
    if result.outcome is not Outcome.FINISHED:
        return f"{result.outcome}: {result.message}".rstrip(": ")
    return _budget(experiment)


def unverified_files(memory: ReplayMemory) -> list[str]:
    """Files of the run's data whose content is not known to be the published one, by name."""
    manifests = (memory.get(key) or {} for key in ("data", "final_data"))
    sources = (source for manifest in manifests for source in manifest.get("sources", []))
    return list(dict.fromkeys(s["name"] for s in sources if s["status"] != "verified"))


def table(experiment: Experiment, memory: ReplayMemory) -> list[Row]:
    """The run's table: published nets, the search's top models, their ensembles."""
    return _Table(experiment, memory).rows()


class _Table:
    """What the rows of a run have in common."""

    def __init__(self, experiment: Experiment, memory: ReplayMemory) -> None:
        self.experiment, self.finals = experiment, memory.finals()
        self.trainer = str(memory.get("trainer") or "none")
        known = "verified" if memory.get("data") else "none"
        self.data = "unverified" if unverified_files(memory) else known
        self.failures: dict[str, str] = memory.get("final_failures") or {}
        self.ensembles: list[dict[str, Any]] = (memory.get("evaluation") or {}).get("ensembles", [])
        data = memory.get("data") or {}
        tests = data.get("databases", {}).get("test", {})
        self.test_images = tests.get("records", experiment.data.test_images)

    def rows(self) -> list[Row]:
        """All rows, the paper's own first."""
        rows = [
            self._trained("published net", net.id, net.net.error, net.net.place, net.net.notation)
            for net in self.experiment.published
        ]
        first = self.experiment.space.family == "first_version"
        for result in results(self.experiment.data.dataset, first_version=first):
            what, place = f"MetaQNN, {result.what}", f"Table 3, {result.version}"
            if result.what == "ensemble":
                rows.append(self._ensemble(what, PAPERS_ENSEMBLE, "mean", result.error, place))
            else:
                rows.append(self._trained(what, top_id(1), result.error, place))
        rows += [
            self._trained(f"MetaQNN, model {id_.removeprefix('top/')}", id_)
            for id_ in self.finals
            if id_.startswith("top/") and id_ != top_id(1)
        ]
        rows += [
            self._ensemble(f"MetaQNN, {one['method']} of {one['size']}", one["size"], one["method"])
            for one in self.ensembles
            if (one["size"], one["method"]) != (PAPERS_ENSEMBLE, "mean")
        ]
        return rows

    def _row(
        self,
        what: str,
        architecture: str,
        published: float | None,
        place: str,
        measured: float | None,
        interval: tuple[float, float] | None,
        epochs: int | None,
        status: str,
    ) -> Row:
        of = self.experiment
        return Row(
            what, architecture, published, place, measured, interval, epochs, self.trainer,
            of.preset, of.budget_name, of.seed, self.data, status,
        )  # fmt: skip

    def _trained(
        self,
        what: str,
        id_: str,
        published: float | None = None,
        place: str = "",
        notation: str = "",
    ) -> Row:
        """A net that was trained on all training images, or was not."""
        architecture, result = self.finals.get(id_, (notation, None))
        measured = _measured(result, self.test_images)
        status = _status(self.experiment, result)
        if result is None and id_ in self.failures:
            status = f"failed: {self.failures[id_]}"
        return self._row(what, architecture, published, place, *measured, status)

    def _ensemble(
        self,
        what: str,
        size: int,
        method: str,
        published: float | None = None,
        place: str = "",
    ) -> Row:
        """An ensemble of the models that are best on validation."""
        for one in self.ensembles:
            if (one["size"], one["method"]) == (size, method):
                errors, total = one["score"]["errors"], one["score"]["total"]
                low, high = wilson_interval(errors, total)
                epochs = self.experiment.final.epochs if self.experiment.final else None
                return self._row(
                    what, f"{method} of {', '.join(one['members'])}", published, place,
                    100 * errors / total, (100 * low, 100 * high), epochs,
                    _budget(self.experiment),
                )  # fmt: skip
        return self._row(what, "", published, place, None, None, None, "not run")


def rows_as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """The table as plain data."""
    return [{**asdict(row), "difference": row.difference} for row in rows]
