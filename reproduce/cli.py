"""The `metaqnn` command: nothing but arguments; the commands are in `reproduce.commands`."""

from __future__ import annotations

import sqlite3
import sys

import typer

from data_prep.errors import DataError
from prototxt_gen.notation import NotationError
from prototxt_gen.shapes import ShapeError
from reproduce.audit.claims import ClaimError
from reproduce.audit.findings import UnfitInputError
from reproduce.commands import (
    audit,
    data,
    exchange,
    published,
    reading,
    report,
    rivals,
    running,
    stability,
    tables,
    transfer,
)
from reproduce.experiments.schema import ExperimentError
from reproduce.nets import BatchError
from reproduce.published_files import PublishedFileError
from reproduce.results.predictions import PredictionError
from reproduce.run import RunError
from reproduce.search.cost_cap import CostCapError
from reproduce.search.loop import TrainerBrokenError
from reproduce.search.released_files import ReleasedFileError
from reproduce.search.replay_memory import ReplayMemoryError
from reproduce.training.caffe import CaffeError
from reproduce.training.executors import ExecutorError
from reproduce.training.preflight import PreflightError
from reproduce.training.ray_files import RayError
from reproduce.training.trial import TrialError

_EXPECTED = (
    BatchError,
    CaffeError,
    ClaimError,
    CostCapError,
    DataError,
    ExecutorError,
    ExperimentError,
    NotationError,
    PredictionError,
    PreflightError,
    PublishedFileError,
    RayError,
    ReleasedFileError,
    ReplayMemoryError,
    RunError,
    ShapeError,
    TrainerBrokenError,
    TrialError,
    UnfitInputError,
    MemoryError,
    OSError,  # a full disk, a folder that cannot be written: its message names the file
    sqlite3.Error,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _main() -> None:
    """Reproduce MetaQNN (Baker, Gupta, Naik, Raskar; ICLR 2017) with Caffe."""


_REPRODUCE = "Data, search, final training, table and report. The same command resumes."
_SEARCH = "The search alone; `reproduce` with the same choices goes on to the final trainings."
app.command("reproduce", help=_REPRODUCE)(running.starting(finals=True))
app.command("search", help=_SEARCH)(running.starting(finals=False))
app.command()(published.train_published)
app.command()(published.published)
app.command()(transfer.transfer)
app.command()(stability.stability)
app.command()(running.resume)
app.command()(running.stop)
for _command in (reading.status, reading.space, reading.doctor, tables.tables, reading.verify):
    app.command()(_command)
app.command()(report.report)
app.add_typer(data.app, name="data")
app.add_typer(audit.app, name="audit")
app.command()(rivals.rivals)
app.command("import")(exchange.import_)
app.command()(exchange.export)


def main() -> None:
    """Entry point: expected failures end in one line on standard error."""
    try:
        app()
    except _EXPECTED as error:
        sys.stdout.flush()
        sys.exit(f"metaqnn: {error or type(error).__name__}")


if __name__ == "__main__":
    main()
