"""The `metaqnn` command: nothing but arguments."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from data_prep.errors import DataError
from reproduce.experiments.schema import LARGEST_SEED, ExperimentError, load_experiment
from reproduce.nets import BatchError
from reproduce.pipeline import REPLAY_MEMORY, reproduce
from reproduce.results.markdown import markdown
from reproduce.results.report import notes
from reproduce.results.summary import rows_as_json, table
from reproduce.run import RunError, frozen
from reproduce.search.cost_cap import CostCapError
from reproduce.search.loop import TrainerBrokenError
from reproduce.search.replay_memory import ReplayMemoryError, read_replay_memory
from reproduce.training.caffe import CaffeError
from reproduce.training.trial import TrialError

EXPERIMENTS = Path(__file__).parent / "experiments"
DEFAULT_SEED = 23

_EXPECTED = (
    BatchError,
    CaffeError,
    CostCapError,
    DataError,
    ExperimentError,
    ReplayMemoryError,
    RunError,
    TrainerBrokenError,
    TrialError,
    OSError,  # a full disk, a folder that cannot be written: its message names the file
    sqlite3.Error,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _main() -> None:
    """Reproduce MetaQNN (Baker, Gupta, Naik, Raskar; ICLR 2017) with Caffe."""


@app.command("reproduce")
def reproduce_command(
    experiment: Annotated[str, typer.Argument(help="an experiment's name or its TOML file")],
    budget: Annotated[str, typer.Option(help="how much to run: quick, paper, smoke")] = "quick",
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="of the agent, the data and the nets")
    ] = (DEFAULT_SEED),
    run: Annotated[
        Path | None, typer.Option(help="the run's folder; runs/EXPERIMENT-BUDGET if not named")
    ] = None,
    gpus: Annotated[str, typer.Option(help="GPUs to train on, as 0,1; none: the CPU")] = "",
    data: Annotated[Path, typer.Option(help="where prepared data sets lie")] = Path("data"),
    cache: Annotated[Path, typer.Option(help="where downloads are kept")] = Path(".cache/data"),
) -> None:
    """Data, search, final training, table and report. The same command resumes."""
    path = Path(experiment) if experiment.endswith(".toml") else EXPERIMENTS / f"{experiment}.toml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in EXPERIMENTS.glob("*.toml")))
        raise ExperimentError(f"no experiment {experiment!r}; there are: {known}")
    loaded = load_experiment(path, budget, seed)
    folder = (run or Path("runs") / f"{loaded.name}-{budget}").resolve()
    console = Console()
    logging.basicConfig(
        level=logging.INFO,
        format="    %(message)s",
        handlers=[RichHandler(console=console, show_time=False, show_level=False, show_path=False)],
    )
    page = reproduce(
        loaded,
        folder,
        data=data.resolve(),
        cache=cache,
        gpus=gpu_list(gpus),
        environment=os.environ,
        console=console,
    )
    print_tables(folder, as_json=False)
    console.print(f"Report: {page}", soft_wrap=True, highlight=False)


def gpu_list(text: str) -> list[int]:
    """GPU numbers from a text such as `0,1`.

    Raises:
        RunError: if the text is no such list.
    """
    numbers = [part.strip() for part in text.split(",") if part.strip()]
    if not all(number.isdecimal() for number in numbers):
        raise RunError(f"GPUs are numbers such as 0,1, not {text!r}")
    return [int(number) for number in numbers]


@app.command("tables")
def tables_command(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Print a run's table: published and measured numbers side by side."""
    print_tables(run, as_json=as_json)


def print_tables(run: Path, *, as_json: bool) -> None:
    """Print a run's table to standard output."""
    experiment = frozen(run)
    with read_replay_memory(run / REPLAY_MEMORY) as memory:
        rows = table(experiment, memory)
        if as_json:
            Console(soft_wrap=True).print_json(data=rows_as_json(rows))
        else:
            sys.stdout.write("\n" + markdown(rows, notes(experiment, memory)) + "\n")


def main() -> None:
    """Entry point: expected failures end in one line on standard error."""
    try:
        app()
    except _EXPECTED as error:
        sys.stdout.flush()
        sys.exit(f"metaqnn: {error}")


if __name__ == "__main__":
    main()
