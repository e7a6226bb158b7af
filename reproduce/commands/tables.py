"""`metaqnn tables`: what runs measured, and the paper's tables with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reproduce.commands import arguments as args
from reproduce.commands.reading import print_result
from reproduce.results.formats import csv_text, latex_of
from reproduce.results.markdown import markdown, markdown_of
from reproduce.results.paper_tables import Group, Table, groups_of, paper_tables
from reproduce.results.report import notes
from reproduce.results.summary import RunResults, rows_as_json, table
from reproduce.run import REPLAY_MEMORY, frozen
from reproduce.search.replay_memory import read_replay_memory

TableForm = Literal["markdown", "latex", "csv"]


def tables(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="folders; runs that differ in seed are merged"),
    ],
    form: Annotated[
        TableForm, typer.Option("--format", help="Markdown, LaTeX tables, or CSV")
    ] = "markdown",
    as_json: args.AsJson = False,
) -> None:
    """Print the paper's tables, published and measured numbers side by side.

    First the runs' own tables, then the paper's 3, 4, 5 and those of top architectures. Runs that
    differ in their seeds alone are merged; all others have lines of their own, with their budgets.
    """
    found = tables_of(runs)
    rows = [row for one in found for row in one.rows]
    if as_json:
        print_result(rows_as_json(rows), as_json)
    elif form == "csv":
        print_result(csv_text(rows), as_json)
    else:
        print_result(latex_of(found) if form == "latex" else markdown_of(found), as_json)


def tables_of(folders: list[Path]) -> list[Table]:
    """The tables of some runs' folders.

    Raises:
        RunError: if one holds no run, or two hold the same experiment with the same seed.
        ReplayMemoryError: if one cannot be read.
    """
    runs, remarks = [], []
    for folder in folders:
        experiment = frozen(folder)
        with read_replay_memory(folder / REPLAY_MEMORY) as memory, memory.snapshot():
            runs.append((str(folder), RunResults(experiment, memory)))
            remarks.append(notes(experiment, memory))
    own, groups = [], []
    for indices in groups_of(runs):
        groups.append(Group([runs[index][1] for index in indices]))
        of_all = dict.fromkeys(note for index in indices for note in remarks[index])
        own.append(groups[-1].table(list(of_all)))
    return own + paper_tables(groups)


def print_tables(run: Path) -> None:
    """Print a run's own table to standard output."""
    experiment = frozen(run)
    with read_replay_memory(run / REPLAY_MEMORY) as memory:
        text = markdown(table(experiment, memory), notes(experiment, memory))
    print_result(f"\n{text}\nThe paper's tables: metaqnn tables {run}\n", as_json=False)
