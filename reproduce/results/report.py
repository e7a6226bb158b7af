"""The report: one self-contained HTML page, the table in four formats and the figures beside it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reproduce.experiments.schema import Experiment
from reproduce.files import write_atomically
from reproduce.results import page
from reproduce.results.figures import (
    NamedFigure,
    figure_title,
    learning_curve_svg,
    paper_data,
    run_figures,
    search_curve,
)
from reproduce.results.formats import csv_text, latex
from reproduce.results.markdown import HEADER, cells, header_of, markdown
from reproduce.results.page.claims import Audit, claim_details
from reproduce.results.page.commands import commands, with_authors_data
from reproduce.results.page.details import pack
from reproduce.results.page.facts import (
    data_files,
    prepared_data,
    provenance_rows,
    stages_table,
    state_of,
)
from reproduce.results.page.trainings import COLUMNS, FINAL_COLUMNS, Trainings
from reproduce.results.paper_tables import Group, paper_tables
from reproduce.results.plots import style
from reproduce.results.summary import Row, RunResults, rows_as_json, table, unverified_files
from reproduce.rivals.surrogate.choice import outside_range
from reproduce.run import EXPERIMENT_FILE, REPLAY_MEMORY
from reproduce.search.replay_memory import ReplayMemory
from reproduce.training.caffe import is_predicted

HEADLINES = 6
"""Numbers in the first screen at most."""

_COSTS = {
    "macs": "forward multiply-accumulates per image",
    "parameters": "parameters",
    "memory": "bytes of memory in training",
}


def notes(experiment: Experiment, memory: ReplayMemory) -> list[str]:
    """What a reader must know to read the table."""
    trainer = memory.get("trainer")
    predicted = is_predicted(trainer)
    out = [
        f"Budget {experiment.budget_name}, seed {experiment.seed}, preset {experiment.preset}, "
        f"{'predicted' if predicted else 'trained'} by {trainer} on {memory.get('device')}.",
        "The measured error is the last epoch's, on the whole test set "
        f"({experiment.data.test_images:,} images); the interval is Wilson's.",
    ]
    if predicted:
        out.append(
            "A surrogate predicted all accuracies of this search, and no net was trained: they "
            "measure nothing."
        )
        if guesses := outside_range(memory, memory.trials()):
            out.append(
                f"{len(guesses):,} of its nets are outside the surrogate's range, that is unlike "
                "all nets that it knows: their accuracies are guesses."
            )
    if experiment.budget_name != "paper":
        out.append("These numbers are not the paper's experiment (BUDGET=paper is).")
    if cap := memory.get("cost_cap"):
        out.append(
            f"The cap of {cap['at_most']:,} {_COSTS[cap['of']]} keeps "
            f"between {cap['low']:.3g} and {cap['high']:.3g} of the space's "
            f"{cap['architectures']:.3g} architectures and leaves out all but "
            f"{100 * cap['high'] / cap['architectures']:.2g} % of it."
        )
    for net in experiment.published:
        if net.file is None:
            ratios = "the published ratios" if net.dropout_ratios else f"rule {net.dropout}"
            out.append(
                f"{net.net.place} does not state the padding of its net; it is trained with "
                f"{net.padding} convolutions, {net.activation} and dropout by {ratios}."
            )
    for id_, chosen in (memory.get("tuned") or {}).items():
        out.append(f"Hyperparameters of {id_}, chosen on the validation set: {chosen}.")
    for one in (memory.get("evaluation") or {}).get("ensembles", []):
        out.append(f"{one['verdict'][:1].upper()}{one['verdict'][1:]}.")
    if unverified := unverified_files(memory):
        out.append(f"Unverified data files: {', '.join(unverified)}.")
    return out


@dataclass(frozen=True)
class _PageFigure:
    """A figure as it stands in the page, and where its files are."""

    name: str
    caption: str
    description: str
    svg: Markup
    files: tuple[str, ...]


def write_report(
    experiment: Experiment,
    memory: ReplayMemory,
    folder: Path,
    *,
    audit: Audit | None = None,
    refresh: float | None = None,
    watts: float | None = None,
) -> Path:
    """Write the page, the table in four formats, and the figures; returns the page's path.

    The page links to the files of the run, the folder of `memory`, and holds what it needs of
    them. Several processes may write one report at a time: each file is whole.

    Args:
        audit: the paper's claims, as they stand with this run; None leaves their section out.
        refresh: seconds after which the page loads itself again; None: never.
        watts: what each device draws while it trains, for the estimate of the energy; None assumes
            what the page then says.
    """
    run = memory.path.parent.resolve()
    rows, remarks = table(experiment, memory), notes(experiment, memory)
    trials = memory.trials()
    trainings = Trainings(experiment, memory, trials, run, folder.resolve())
    search = learning_curve_svg(
        search_curve(memory),
        figure_title(memory, experiment),
    )
    figures = run_figures(memory, experiment)
    vectors = {one.name: style.svg(one.figure, one.name) for one in figures}
    claims = (
        claim_details(
            audit, paper_data(experiment.data), [(one.name, one.caption) for one in figures]
        )
        if audit
        else ()
    )
    environment = Environment(
        loader=PackageLoader("reproduce", "results/page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html.j2").render(
        experiment=experiment,
        trainer=(trainer := memory.get("trainer")),
        predicted=is_predicted(trainer),
        device=memory.get("device"),
        state=state_of(run, experiment, memory, trials),
        header=[cell or "model" for cell in HEADER],
        rows=[cells(row) for row in rows],
        papers=[
            (one.title, header, [cells(row, header) for row in one.rows], one.notes)
            for one in paper_tables([Group([RunResults(experiment, memory)])])
            for header in [header_of(one.rows)]
        ],
        headlines=_headlines(rows),
        notes=remarks,
        stages=stages_table(experiment, memory, trials),
        figures=_page_figures(search, figures, vectors),
        nets=trainings.nets(),
        finals=trainings.finals(),
        final_columns=FINAL_COLUMNS,
        trials=trainings.trials(),
        columns=COLUMNS,
        audit=audit,
        details=[*pack(trainings.details()), *pack(list(claims))],
        provenance=provenance_rows(run, memory, trials, watts),
        run_files=[
            (name, quote(os.path.relpath(run / name, folder.resolve())))
            for name in (EXPERIMENT_FILE, REPLAY_MEMORY)
            if (run / name).is_file()
        ],
        prepared=prepared_data(memory),
        data_files=data_files(memory),
        commands=commands(experiment, memory, run),
        with_authors_data=with_authors_data(run),
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        refresh=refresh,
        style=_source("style.css"),
        script=_source("script.js"),
    )
    _write(folder / "table.md", markdown(rows, remarks))
    _write(folder / "table.json", json.dumps(rows_as_json(rows), indent=2) + "\n")
    _write(folder / "table.csv", csv_text(rows))
    _write(folder / "table.tex", latex(rows, remarks))
    _write(folder / "search.svg", search)
    for one in figures:
        _write(folder / "figures" / f"{one.name}.svg", vectors[one.name])
        _write(folder / "figures" / f"{one.name}.png", style.png(one.figure))
    _write(folder / "index.html", text)
    return folder / "index.html"


def _source(name: str) -> Markup:
    """A file that stands in the page as it is."""
    return Markup(resources.files(page).joinpath(name).read_text(encoding="utf-8"))  # noqa: S704


def _write(path: Path, content: str | bytes) -> None:
    """Write a file under a name of this process's own, then give it its name.

    A driver at its end and a command that watches it may write the same report at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f".{os.getpid()}-{path.name}")
    write_atomically(own, content)
    own.replace(path)


def _headlines(rows: list[Row]) -> list[Row]:
    """The rows that stand beside a published number: those measured, then the paper's results."""
    published = [row for row in rows if row.published is not None]
    if len(published) <= HEADLINES:
        return published
    first = sorted(
        published, key=lambda row: (row.measured is None, not row.what.startswith("MetaQNN"))
    )
    return [row for row in published if row in first[:HEADLINES]]


def _page_figures(
    search: str, figures: list[NamedFigure], vectors: dict[str, str]
) -> list[_PageFigure]:
    if not figures:
        return []
    first = _PageFigure(
        "search",
        "Validation accuracy of each sampled net, its mean at each ε, and its rolling mean",
        "The means are in the table above",
        _inline(search),
        ("search.svg",),
    )
    return [first] + [
        _PageFigure(
            one.name,
            one.caption,
            one.description,
            _inline(vectors[one.name]),
            (f"figures/{one.name}.svg", f"figures/{one.name}.png"),
        )
        for one in figures
    ]


def _inline(svg: str) -> Markup:
    """An SVG file's element, as it stands in a page: what it is called is said there."""
    element = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return Markup(element)  # noqa: S704 (Matplotlib has escaped the texts in it)
