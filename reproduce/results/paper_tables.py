"""The paper's Tables 3, 4, 5 and its tables of top architectures, with what runs measured.

Each printed number is a row. Beside one of MetaQNN's own stands what was measured for it: by
several groups of runs, a line for each; by none, that it was not run and what it would take.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reproduce.paper import PublishedNet
from reproduce.published_results import (
    NAMES,
    TITLES,
    PublishedError,
    errors_of,
    nets_by_table,
    reported_nets,
)
from reproduce.results.costs import UNKNOWN, Cost, cost_of, published_cost, published_counts
from reproduce.results.labels import NOT_RUN, QUOTED
from reproduce.results.seeds import merged, merged_tables, note_on
from reproduce.results.summary import Row, RunResults
from reproduce.run import RunError

MARKS = (
    "In brackets stands what sets a number apart from the paper's experiment: its budget, a "
    "preset, a changed experiment file, unverified data."
)


@dataclass(frozen=True)
class Table:
    """A table to be printed: its rows, and what a reader must know of them."""

    title: str
    rows: list[Row]
    notes: list[str]


class Group:
    """Runs that differ in their seeds alone: their numbers are merged.

    What makes runs one group: the experiment with its preset and budget, the trainer, and the
    files of the data.
    """

    def __init__(self, runs: Sequence[RunResults]) -> None:
        self.runs = sorted(runs, key=lambda run: run.experiment.seed)
        self.experiment, self.trainer = self.runs[0].experiment, self.runs[0].trainer
        self.first_version = self.runs[0].first_version

    @property
    def seeds(self) -> list[int]:
        """Of its runs."""
        return [run.experiment.seed for run in self.runs]

    def measurement(self, id_: str) -> Row | None:
        """What the runs measured, merged; None if none of them did."""
        found = {run.experiment.seed: run.measurement(id_) for run in self.runs}
        rows = [row for row in found.values() if row is not None]
        if not rows:
            return None
        return merged(rows, [seed for seed, row in found.items() if row is None])

    def table(self, notes: list[str]) -> Table:
        """The runs' own table."""
        of = self.experiment
        seeds = f"seed{'s' if len(self.runs) > 1 else ''} {', '.join(map(str, self.seeds))}"
        title = f"{of.title}: budget {of.budget_name}, preset {of.preset}, {seeds}"
        if len(self.runs) > 1:
            notes = [note_on(self.seeds), *notes]
        return Table(title, merged_tables([run.rows() for run in self.runs]), notes)


def groups_of(runs: Sequence[tuple[str, RunResults]]) -> list[list[int]]:
    """The runs (name and results) by group, as indices, in the order given.

    Raises:
        RunError: if two of a group have the same seed: they are one experiment, counted twice.
    """
    groups: dict[str, list[int]] = {}
    for index, (name, run) in enumerate(runs):
        experiment = run.experiment.model_copy(update={"seed": 0}).model_dump_json()
        key = repr((experiment, run.trainer, sorted(run.sources)))
        for other in groups.setdefault(key, []):
            if runs[other][1].experiment.seed == run.experiment.seed:
                raise RunError(
                    f"{runs[other][0]} and {name} are the same experiment with the same seed "
                    f"{run.experiment.seed}: a mean would count it twice; name one of them"
                )
        groups[key].append(index)
    return list(groups.values())


def paper_tables(groups: Sequence[Group]) -> list[Table]:
    """The tables that concern the data sets of some groups."""
    tables = []
    for data in dict.fromkeys(group.experiment.data.dataset for group in groups):
        of_data = [group for group in groups if group.experiment.data.dataset == data]
        for key, title in TITLES.items():
            errors = errors_of(key, data)
            rows = [replace(row, table=key) for error in errors for row in _rows(error, of_data)]
            if rows:
                title = title if key == "5" else f"{title}; {NAMES[data]}"
                tables.append(Table(title, rows, _notes(key, errors, rows)))
        for place, nets in nets_by_table(data).items():
            tables.append(_architectures(place, nets, data, of_data))
    return tables


def _notes(key: str, errors: Sequence[PublishedError], rows: Sequence[Row]) -> list[str]:
    own = [error for error in errors if error.table == key]
    notes = []
    if any(row.mark and row.measured is not None for row in rows):
        notes.append(MARKS)
    if any(not error.measured_as for error in own):
        notes.append("Rows that are published only are quoted; nothing here trains those nets.")
    if len(own) < len(errors):
        notes.append("MetaQNN's rows are those of Table 3.")
    notes += [f"{error.name}: {error.note}." for error in own if error.note]
    return list(dict.fromkeys(notes))


def _rows(error: PublishedError, groups: Sequence[Group]) -> list[Row]:
    """A printed number's row, or its rows where several groups measured it."""
    if not error.measured_as:
        return [_without_number(error.name, error.data, error.error, QUOTED, UNKNOWN)]
    found = []
    for group in groups:
        if error.is_of(first_version=group.first_version):
            found.append((error.name, group.measurement(error.measured_as)))
        for net in reported_nets(error):
            if _is_new(net, error):
                found.append((f"{error.name}: net {net.id}", _measured_net(net, group)))
    rows = [
        replace(
            row,
            what=what,
            published=error.error,
            architecture=row.architecture if error.table == "5" else "",
            parameters=None,
        )
        for what, row in found
        if row is not None
    ]
    return rows or [_without_number(error.name, error.data, error.error, NOT_RUN, cost_of(error))]


def _is_new(net: PublishedNet, error: PublishedError) -> bool:
    """Whether no net before it is the same under another id."""
    same = [one for one in reported_nets(error) if one.notation == net.notation]
    return same[0].id == net.id


def _measured_net(net: PublishedNet, group: Group) -> Row | None:
    """What a group measured for a published net, under this id or another table's."""
    same = [
        one.id
        for nets in nets_by_table(net.id.partition("/")[0]).values()
        for one in nets
        if one.notation == net.notation and one.id != net.id
    ]
    return next(filter(None, map(group.measurement, (net.id, *same))), None)


def _architectures(
    place: str, nets: Sequence[PublishedNet], data: str, groups: Sequence[Group]
) -> Table:
    """A table of top architectures; `place` is empty for the nets that are in none."""
    rows = []
    for net in nets:
        measured = [row for group in groups if (row := _measured_net(net, group)) is not None]
        for row in measured or [
            _without_number(net.id, data, net.error, NOT_RUN, published_cost(net.id))
        ]:
            rows.append(
                replace(
                    row,
                    what=net.id,
                    architecture=net.notation,
                    published=net.error,
                    parameters_published=net.parameters,
                    parameters=published_counts(net.id).parameters,
                    table=re.sub(r".*, Table ", "", place) or "none",
                )
            )
    said = place.rpartition(", ")
    title = f"{said[2]} ({said[0]}): top architectures" if place else "Nets that are in no table"
    padding = "VALID" if any(net.id.startswith("mnist/v1-") for net in nets) else "SAME"
    note = (
        "Parameters are counted as Caffe allocates them: weights and biases, "
        f"{padding} convolutions, pooling that rounds up."
    )
    marks = [MARKS] if any(row.mark and row.measured is not None for row in rows) else []
    return Table(f"{title}; {NAMES[data]}", rows, [*marks, note])


def _without_number(what: str, data: str, published: float | None, status: str, cost: Cost) -> Row:
    return Row(
        what, "", published, "", None, None, None, "", "", "", None, "", status,
        flop=cost.flop, command=cost.command, dataset=data,
    )  # fmt: skip
