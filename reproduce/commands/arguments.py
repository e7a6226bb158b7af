"""Arguments that several commands share."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import typer

from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import LARGEST_SEED, Experiment

DEFAULT_SEED = 23

ExperimentName = Annotated[
    str, typer.Argument(metavar="EXPERIMENT", help="an experiment's name or its TOML file")
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder")]
Budget = Annotated[str, typer.Option(help="how much to run: quick, paper, top-models")]
Preset = Annotated[str, typer.Option(help="whose rules: paper, released, authors")]
Seed = Annotated[
    int, typer.Option(min=0, max=LARGEST_SEED, help="of the agent, the data and the nets")
]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="the run's folder; runs/EXPERIMENT-BUDGET if not named")
]
Data = Annotated[Path, typer.Option(help="where prepared data sets lie")]
Cache = Annotated[Path, typer.Option(help="where downloads are kept")]
Gpus = Annotated[str, typer.Option(help="GPUs to train on, as 0,1; none: the CPU")]
SlotsPerGpu = Annotated[int, typer.Option(min=1, help="trials at a time on each GPU")]
CpuSlots = Annotated[int, typer.Option(min=1, help="trials at a time on the CPU")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of each trial")]
ExecutorOption = Annotated[str, typer.Option("--executor", help="local, or ray for a cluster")]
RayAddress = Annotated[
    str | None, typer.Option(help="the cluster: auto, or HOST:PORT; none starts one here")
]
GpusPerTrial = Annotated[float, typer.Option(min=0, help="GPUs of a trial on the cluster, as 0.5")]
CpusPerTrial = Annotated[float, typer.Option(min=0, help="CPUs of a trial on the cluster")]
TrainerOption = Annotated[
    str,
    typer.Option(
        "--trainer", help="caffe, or surrogate: rewards predicted from the authors' runs (search)"
    ),
]
AuthorsData = Annotated[
    Path | None,
    typer.Option(help="folder with the authors' own data; what is missing is fetched into it"),
]
FailureShare = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="of the surrogate: a constant share of nets that do not learn"),
]
Yes = Annotated[bool, typer.Option("--yes", envvar="YES", help="start however long it takes")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]

DATA, CACHE = Path("data"), Path(".cache/data")


def named_experiment(name: str, budget: str, seed: int, preset: str) -> Experiment:
    """The experiment that a command names."""
    return load_experiment(experiment_path(name), budget, seed, preset)


def first_budget(name: str) -> str:
    """A budget that an experiment's file has; where there is none, loading it tells why."""
    try:
        content = tomllib.loads(experiment_path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = {}
    budgets = content.get("budget")
    return next(iter(budgets), "paper") if isinstance(budgets, dict) else "paper"


def run_of(experiment: Experiment, run: Path | None) -> Path:
    """The run's folder, absolute; a preset other than the paper's is in its name."""
    preset = "" if experiment.preset == "paper" else f"-{experiment.preset}"
    return (run or Path("runs") / f"{experiment.name}{preset}-{experiment.budget_name}").resolve()
