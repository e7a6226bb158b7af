"""What a run measured, each number beside the published one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from reproduce.experiments.schema import Experiment, FinalTraining
from reproduce.paper import NETS
from reproduce.published_results import ERRORS, NAMES, PublishedError, errors_of
from reproduce.results.costs import UNKNOWN, Cost, cost_of, net_cost, published_cost
from reproduce.results.intervals import wilson_interval as wilson_interval
from reproduce.results.labels import NOT_RUN, Label
from reproduce.search.replay_memory import ReplayMemory
from reproduce.training.caffe import is_predicted
from reproduce.training.outcome import Outcome, TrialResult

TOP, TRANSFER, ENSEMBLE = "top/", "transfer/", "ensemble/"
"""What the ids of measurements begin with, those of published nets aside."""


@dataclass(frozen=True)
class Row:
    """One row of a table; errors in percent of the test set.

    Attributes:
        what: the row's name.
        published, published_in: the printed error and where it stands.
        measured: None where nothing was run; `status` then says so, and otherwise tells whether
            the number comes from the paper's own budget. Over several seeds it is their mean.
        interval: of `measured`: what `interval_is` says.
        epochs: of the final training.
        seed: of the run, or the first of several; None of a row of no run.
        data: "unverified" if any file of the row's data is not known to be the published one, else
            "verified", or "none" before there is any.
        seeds, errors: those that `measured` is the mean of, and each one's error.
        mark: what sets the number apart from the paper's experiment; see `labels`.
        parameters_published: in millions, as printed.
        parameters: weights and biases, as Caffe allocates them.
        flop, command: where nothing was run, what measuring the published number would take.
        table: "run", or a key of the paper's tables.
        dataset: what the error is of.
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
    seed: int | None
    data: str
    status: str
    seeds: tuple[int, ...] = ()
    errors: tuple[float, ...] = ()
    interval_is: str = ""
    mark: str = ""
    parameters_published: float | None = None
    parameters: int | None = None
    flop: float | None = None
    command: str = ""
    table: str = "run"
    dataset: str = ""

    @property
    def difference(self) -> float | None:
        """Measured minus published, in percentage points."""
        if self.measured is None or self.published is None:
            return None
        return self.measured - self.published


def _unverified(manifests: list[dict[str, Any]]) -> list[str]:
    sources = (source for manifest in manifests for source in manifest.get("sources", []))
    return list(dict.fromkeys(s["name"] for s in sources if s["status"] != "verified"))


def unverified_files(memory: ReplayMemory) -> list[str]:
    """Files of the run's data whose content is not known to be the published one, by name."""
    return _unverified([memory.get(key) or {} for key in ("data", "final_data")])


def table(experiment: Experiment, memory: ReplayMemory) -> list[Row]:
    """The run's table: published nets, the search's top models, their ensembles, transfer."""
    return RunResults(experiment, memory).rows()


class RunResults:
    """What a run measured, by the id of each measurement.

    Ids are those of final trainings (`mnist/v1-3`, `top/1`, `transfer/svhn/scratch`), and
    `ensemble/SIZE/METHOD`. Trainings on the validation split (`tuning/…`) measure nothing here.
    """

    def __init__(self, experiment: Experiment, memory: ReplayMemory) -> None:
        self.experiment, self._finals = experiment, memory.finals()
        self.trainer = str(memory.get("trainer") or "none")
        self._label = Label(experiment, predicted=is_predicted(self.trainer))
        self.first_version = experiment.space.family == "first_version"
        self._failures: dict[str, str] = memory.get("final_failures") or {}
        self._manifests: list[dict[str, Any]] = [
            manifest for key in ("data", "final_data") if (manifest := memory.get(key))
        ]
        self._transfer_data: dict[str, dict[str, Any]] = memory.get("transfer_data") or {}
        ensembles = (memory.get("evaluation") or {}).get("ensembles", [])
        self._ensembles: dict[str, dict[str, Any]] = {
            f"{ENSEMBLE}{one['size']}/{one['method']}": one for one in ensembles
        }
        published = {net.id for net in NETS} | {net.id for net in experiment.published}
        finals = [
            id_
            for id_ in {**self._finals, **self._failures}
            if id_.startswith((TOP, TRANSFER)) or id_ in published
        ]
        self.ids = (*finals, *self._ensembles)
        """What was measured, or failed."""

    @property
    def sources(self) -> frozenset[tuple[str, str]]:
        """Name and SHA-256 of each file of the search's data."""
        sources = (self._manifests or [{}])[0].get("sources", [])
        return frozenset((source["name"], str(source.get("sha256"))) for source in sources)

    def measurement(self, id_: str) -> Row | None:
        """A row with what the run measured and nothing published; None if it was not run."""
        if id_ not in self.ids:
            return None
        if id_ in self._ensembles:
            return self._ensemble(id_)
        architecture, result = self._finals.get(id_, ("", None))
        row = self._row(id_, architecture)
        if result is None:
            return replace(row, status=f"failed: {self._failures[id_]}")
        if result.outcome is not Outcome.FINISHED:
            return replace(row, status=f"{result.outcome}: {result.message}".rstrip(": "))
        return self._with_error(row, result)

    def _with_error(self, row: Row, result: TrialResult) -> Row:
        # The last epoch, not the best: choosing an epoch by its test error would flatter it.
        error, total = 1 - result.accuracies[-1], self._test_images(row.dataset)
        low, high = wilson_interval(error * total, total)
        return replace(
            row,
            measured=100 * error,
            interval=(100 * low, 100 * high),
            interval_is="Wilson",
            epochs=len(result.accuracies),
            errors=(100 * error,),
            status=self._label.status,
        )

    def _ensemble(self, id_: str) -> Row:
        one, final = self._ensembles[id_], self.experiment.final
        errors, total = one["score"]["errors"], one["score"]["total"]
        low, high = wilson_interval(errors, total)
        return replace(
            self._row(id_, f"{one['method']} of {', '.join(one['members'])}"),
            measured=100 * errors / total,
            interval=(100 * low, 100 * high),
            interval_is="Wilson",
            epochs=final.epochs if final else None,
            errors=(100 * errors / total,),
            status=self._label.status + self._which(one["members"]),
        )

    def _which(self, members: list[str]) -> str:
        """What is to be said of an ensemble's members that are not the best of the search."""
        best = [f"{TOP}{place}" for place in range(1, len(members) + 1)]
        return "" if members == best else f"; members: {', '.join(members)}"

    def _row(self, id_: str, architecture: str) -> Row:
        of, dataset = self.experiment, self._dataset(id_)
        manifests = self._manifests
        if id_.startswith(TRANSFER):
            manifests = [self._transfer_data.get(dataset, {})]
        known = "verified" if any(manifests) else "none"
        data = "unverified" if _unverified(manifests) else known
        training = self._training(id_)
        net = net_cost(architecture, of.data.image, training) if training else None
        return Row(
            id_, architecture, None, "", None, None, None, self.trainer,
            of.preset, of.budget_name, of.seed, data, NOT_RUN, (of.seed,),
            mark=self._label.mark(data), parameters=net.parameters if net else None,
            dataset=dataset,
        )  # fmt: skip

    def _dataset(self, id_: str) -> str:
        return id_.split("/")[1] if id_.startswith(TRANSFER) else self.experiment.data.dataset

    def _training(self, id_: str) -> FinalTraining | None:
        for net in self.experiment.published:
            if net.id == id_:
                return net
        return self.experiment.final

    def _test_images(self, dataset: str) -> int:
        of = self.experiment
        if dataset == of.data.dataset:
            manifest, said = (self._manifests or [{}])[0], of.data.test_images
        else:
            tasks = of.transfer.tasks if of.transfer else ()
            others: dict[str, int] = {task.data.dataset: task.data.test_images for task in tasks}
            manifest, said = self._transfer_data.get(dataset, {}), others.get(dataset, 0)
        records = manifest.get("databases", {}).get("test", {}).get("records", said)
        return int(records)

    def rows(self) -> list[Row]:
        """The run's own table, the paper's numbers first."""
        return list(self._rows())

    def _rows(self) -> Iterator[Row]:
        for net in self.experiment.published:
            row = self.measurement(net.id) or self._not_run(net.id, _cost_of(net.id))
            yield replace(
                row,
                what="published net",
                architecture=net.net.notation,
                published=net.net.error,
                published_in=net.net.place,
                parameters_published=net.net.parameters,
            )
        headlines = self._headlines()
        yield from map(self._beside, headlines)
        shown = {error.measured_as for error in headlines}
        for id_ in self.ids:
            other = self.measurement(id_)
            if other is None or id_ in shown:
                continue
            if id_.startswith(TOP):
                yield replace(other, what=f"MetaQNN, model {id_.removeprefix(TOP)}")
            elif id_.startswith(ENSEMBLE):
                size, method = id_.split("/")[1:]
                yield replace(other, what=f"MetaQNN, {method} of {size}")
        yield from (
            self._beside(error, f" on {NAMES[error.data]}")
            for error in ERRORS
            if error.table == "5" and error.measured_as in self.ids
        )

    def _headlines(self) -> list[PublishedError]:
        """What the paper's Table 3 prints of such an experiment: top model, then ensemble."""
        return [
            error
            for error in reversed(errors_of("3", self.experiment.data.dataset))
            if error.measured_as.startswith((TOP, ENSEMBLE))
            and error.is_of(first_version=self.first_version)
        ]

    def _beside(self, error: PublishedError, on: str = "") -> Row:
        """What was measured beside a printed error, or that it was not run."""
        row = self.measurement(error.measured_as)
        return replace(
            row or self._not_run(error.measured_as, cost_of(error)),
            what=error.what.replace(" (", ", ").replace(")", "") + on,
            published=error.error,
            published_in=f"Table {error.table}, {error.version}",
        )

    def _not_run(self, id_: str, cost: Cost) -> Row:
        return replace(self._row(id_, ""), flop=cost.flop, command=cost.command)


def _cost_of(net_id: str) -> Cost:
    """The cost of a published net; unknown of one that is in a file of the user's alone."""
    return published_cost(net_id) if any(net.id == net_id for net in NETS) else UNKNOWN


def rows_as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """The tables as plain data."""
    return [{**asdict(row), "difference": row.difference} for row in rows]
