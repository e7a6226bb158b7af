"""The report: one self-contained HTML page, and the table as Markdown and JSON beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reproduce.experiments.schema import Experiment
from reproduce.files import write_atomically
from reproduce.results.figures import learning_curve_svg, run_figures, search_curve, write_figures
from reproduce.results.formats import csv_text, latex
from reproduce.results.markdown import HEADER, cells, markdown
from reproduce.results.plots import style
from reproduce.results.summary import rows_as_json, table, unverified_files
from reproduce.search.replay_memory import ReplayMemory, Trial

_COSTS = {
    "macs": "forward multiply-accumulates per image",
    "parameters": "parameters",
    "memory": "bytes of memory in training",
}


def _trial_view(trial: Trial) -> dict[str, Any]:
    result = trial.result
    return {
        "id": trial.id,
        "epsilon": f"{trial.epsilon:g}",
        "architecture": trial.architecture,
        "outcome": trial.outcome,
        "accuracies": ", ".join(f"{a:.4f}" for a in result.accuracies) if result else "",
        "rate": f"{result.learning_rate:g}" if result else "",
        "restarts": result.restarts if result else "",
        "seconds": f"{result.seconds:.0f}" if result else "",
    }


def notes(experiment: Experiment, memory: ReplayMemory) -> list[str]:
    """What a reader must know to read the table."""
    out = [
        f"Budget {experiment.budget_name}, seed {experiment.seed}, preset {experiment.preset}, "
        f"trained by {memory.get('trainer')} on {memory.get('device')}.",
        "The measured error is the last epoch's, on the whole test set "
        f"({experiment.data.test_images:,} images); the interval is Wilson's.",
    ]
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
        out.append(
            f"{net.net.place} does not state the padding of its net; it is trained with "
            f"{net.padding} convolutions, {net.activation} and dropout rule {net.dropout}."
        )
    for one in (memory.get("evaluation") or {}).get("ensembles", []):
        out.append(f"{one['verdict'][:1].upper()}{one['verdict'][1:]}.")
    if unverified := unverified_files(memory):
        out.append(f"Unverified data files: {', '.join(unverified)}.")
    return out


def _inline(svg: str) -> str:
    """An SVG file's element, as it stands in a page."""
    return svg[svg.index("<svg") :]


def write_report(experiment: Experiment, memory: ReplayMemory, folder: Path) -> Path:
    """Write the page, the table in four formats, and the figures; returns the page's path."""
    rows, remarks = table(experiment, memory), notes(experiment, memory)
    svg = learning_curve_svg(
        search_curve(memory),
        f"{experiment.title}, budget {experiment.budget_name}, seed {experiment.seed}",
    )
    figures = run_figures(memory, experiment)
    environment = Environment(
        loader=PackageLoader("reproduce", "results"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("report.html.j2").render(
        title=experiment.title,
        preset=experiment.preset,
        budget=experiment.budget_name,
        seed=experiment.seed,
        trainer=memory.get("trainer"),
        device=memory.get("device"),
        header=HEADER,
        rows=[cells(row) for row in rows],
        notes=remarks,
        figure=_inline(svg),
        figures=[(one, _inline(style.svg(one.figure, one.name))) for one in figures],
        trials=[_trial_view(trial) for trial in memory.trials()],
        provenance=memory.get("provenance") or {},
        unstated=experiment.unstated,
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "table.md", markdown(rows, remarks))
    write_atomically(folder / "table.json", json.dumps(rows_as_json(rows), indent=2) + "\n")
    write_atomically(folder / "table.csv", csv_text(rows))
    write_atomically(folder / "table.tex", latex(rows, remarks))
    write_atomically(folder / "search.svg", svg)
    write_figures(figures, folder / "figures")
    write_atomically(folder / "index.html", page)
    return folder / "index.html"
