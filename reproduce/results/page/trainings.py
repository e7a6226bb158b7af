"""The trials and final trainings of a run, as rows of the page's tables and as their details."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from prototxt_gen.dropout import place_dropout
from prototxt_gen.notation import NotationError, parse
from prototxt_gen.shapes import ShapeError, total_cost
from reproduce.experiments.schema import Experiment, Style
from reproduce.finals import final_folder
from reproduce.results.drawing import drawing
from reproduce.results.page.details import Training, TrainingFile, training_files
from reproduce.results.top_models import top_trials
from reproduce.search.replay_memory import ReplayMemory, Trial
from reproduce.trainer import trial_folder
from reproduce.training.outcome import Outcome, TrialResult

TOP = 10
"""Models of the search that are drawn: the paper trains its top ten further."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and whether it holds numbers."""

    heading: str
    numeric: bool = True


COLUMNS = (
    Column("trial"),
    Column("ε"),
    Column("architecture", numeric=False),
    Column("parameters"),
    Column("MACs"),
    Column("outcome", numeric=False),
    Column("best accuracy"),
    Column("last accuracy"),
    Column("reward"),
    Column("learning rate"),
    Column("restarts"),
    Column("epochs"),
    Column("seconds"),
    Column("samples"),
)
"""The trials' table, but for the files in its last column."""

FINAL_COLUMNS = (
    Column("net", numeric=False),
    Column("architecture", numeric=False),
    Column("outcome", numeric=False),
    Column("error, %"),
    Column("epochs"),
    Column("learning rate"),
    Column("seconds"),
)
"""The final trainings' table, but for the files in its last column."""


@dataclass(frozen=True)
class TrainingRow:
    """A row: its anchor in the page, its key among the details, its cells, links to its files."""

    anchor: str
    key: str
    cells: tuple[str, ...]
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Net:
    """A net that the page draws: `anchor` leads to its row, and is empty where it has none."""

    title: str
    notation: str
    drawing: Markup
    remark: str
    anchor: str


class Trainings:
    """All of a run.

    Args:
        run: the run's folder.
        page_folder: where the page will lie: links are relative to it.
    """

    def __init__(
        self,
        experiment: Experiment,
        memory: ReplayMemory,
        trials: list[Trial],
        run: Path,
        page_folder: Path,
    ) -> None:
        self._experiment, self._trials = experiment, trials
        self._finals = memory.finals()
        self._samples = Counter(sample.trial for sample in memory.samples())
        self._files = {
            _trial_key(trial): training_files(trial_folder(run, trial.id), page_folder)
            for trial in trials
        } | {id_: training_files(final_folder(run, id_), page_folder) for id_ in self._finals}

    def trials(self) -> list[TrainingRow]:
        """A row for each trial, in the order of their first samples."""
        return [self._trial_row(trial) for trial in self._trials]

    def finals(self) -> list[TrainingRow]:
        """A row for each final training, in the order of their ends."""
        return [
            TrainingRow(
                _final_anchor(id_),
                id_,
                (
                    *(id_, architecture, result.outcome),
                    _error(result),
                    *(str(len(result.accuracies)), f"{result.learning_rate:g}"),
                    f"{result.seconds:.0f}",
                ),
                _links(self._files[id_]),
            )
            for id_, (architecture, result) in self._finals.items()
        ]

    def nets(self) -> list[Net]:
        """The published nets and the best of the search, drawn as they are trained."""
        nets = []
        for published in self._experiment.published:
            row = published.net
            result = self._finals[row_id][1] if (row_id := published.id) in self._finals else None
            measured = f"measured {_error(result)} %" if result and _error(result) else "not run"
            error = (
                "no published error"
                if row.error is None
                else (f"published test error {row.error:.2f} %")
            )
            remark = f"{error}, {measured}"
            anchor = _final_anchor(row_id) if result else ""
            drawn = self._drawing(row.notation, published)
            nets.append(Net(row.place, row.notation, Markup(drawn), remark, anchor))  # noqa: S704
        for place, trial in enumerate(top_trials(self._trials, TOP), 1):
            best = trial.result.best_accuracy if trial.result else None
            remark = f"validation accuracy {best:.4f}" if best is not None else ""
            drawn = self._drawing(trial.architecture, self._experiment.exploration)
            title = f"Place {place} of the search, trial {trial.id}"
            anchor = f"trial-{trial.id}"
            nets.append(Net(title, trial.architecture, Markup(drawn), remark, anchor))  # noqa: S704
        return [net for net in nets if net.drawing]

    def details(self) -> list[Training]:
        """What the page shows of each when it is opened: the trials, then the final trainings."""
        trials = [
            Training(
                _trial_key(trial),
                f"Trial {trial.id}",
                trial.architecture,
                _present(
                    ("first sampled at ε", f"{trial.epsilon:g}"),
                    ("samples", str(self._samples[trial.id])),
                    ("outcome", trial.outcome or "in training"),
                    ("reward", "" if trial.reward is None else f"{trial.reward:.4f}"),
                    *_result_facts(trial.result),
                    ("trained on", trial.place or ""),
                    ("last started", trial.started_at or ""),
                    ("finished", trial.finished_at or ""),
                ),
                self._drawing(trial.architecture, self._experiment.exploration),
                self._files[_trial_key(trial)],
            )
            for trial in self._trials
        ]
        return trials + [
            Training(
                id_,
                f"Final training {id_}",
                architecture,
                _present(("outcome", result.outcome), *_result_facts(result)),
                self._drawing(architecture, self._style(id_)),
                self._files[id_],
            )
            for id_, (architecture, result) in self._finals.items()
        ]

    def _trial_row(self, trial: Trial) -> TrainingRow:
        result, style = trial.result, self._experiment.exploration
        try:
            image = self._experiment.data.image
            cost = total_cost(parse(trial.architecture), image, style.padding, style.gap)
            costs = (f"{cost.parameters:,}", f"{cost.macs:,}")
        except (NotationError, ShapeError):
            costs = ("", "")
        training = ("", "", "", "", "")
        best = last = ""
        if result is not None:
            training = (
                "" if trial.reward is None else f"{trial.reward:.4f}",
                f"{result.learning_rate:g}",
                str(result.restarts),
                str(len(result.accuracies)),
                f"{result.seconds:.0f}",
            )
            if result.best_accuracy is not None and result.last_accuracy is not None:
                best, last = f"{result.best_accuracy:.4f}", f"{result.last_accuracy:.4f}"
        return TrainingRow(
            f"trial-{trial.id}",
            _trial_key(trial),
            (
                *(str(trial.id), f"{trial.epsilon:g}", trial.architecture, *costs),
                *(trial.outcome or "in training", best, last, *training),
                str(self._samples[trial.id]),
            ),
            _links(self._files[_trial_key(trial)]),
        )

    def _style(self, id_: str) -> Style:
        """How a net of a final training is made of its notation."""
        published = {net.id: net for net in self._experiment.published}
        return published.get(id_) or self._experiment.final or self._experiment.exploration

    def _drawing(self, notation: str, style: Style) -> str:
        """The net as it is trained, with its dropout; nothing where it cannot be drawn."""
        try:
            net = place_dropout(parse(notation), style.dropout)
            return drawing(net, self._experiment.data.image, style.padding, style.gap)
        except (NotationError, ShapeError):
            return ""


def _trial_key(trial: Trial) -> str:
    return str(trial.id)


def _final_anchor(id_: str) -> str:
    return f"final-{id_.replace('/', '-')}"


def _error(result: TrialResult) -> str:
    """Error after the last epoch, in percent: of the test set or, while tuning, the validation."""
    if result.outcome is not Outcome.FINISHED or result.last_accuracy is None:
        return ""
    return f"{100 * (1 - result.last_accuracy):.2f}"


def _links(files: Sequence[TrainingFile]) -> tuple[tuple[str, str], ...]:
    """The net, the last solver and the last log: what a reader wants first."""
    solvers = [file for file in files if file.name.startswith("solver_")]
    kinds = {
        "net": [file for file in files if file.name == "net.prototxt"],
        "solver": [file for file in solvers if "_first" not in file.name] or solvers,
        "log": [file for file in files if file.name.endswith(".log")],
    }
    return tuple((kind, found[-1].href) for kind, found in kinds.items() if found)


def _result_facts(result: TrialResult | None) -> tuple[tuple[str, str], ...]:
    if result is None:
        return ()
    return (
        ("why", result.message),
        ("accuracy after each epoch", ", ".join(f"{a:.4f}" for a in result.accuracies)),
        ("learning rate", f"{result.learning_rate:g}"),
        ("restarts", str(result.restarts)),
        ("iterations", f"{result.iterations:,}"),
        ("seconds", f"{result.seconds:.0f}"),
        ("trainer", result.trainer),
    )


def _present(*facts: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((label, value) for label, value in facts if value)
