"""The command line: `python -m data_prep mnist --out DIR`."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from data_prep.errors import DataError
from data_prep.manifest import Manifest
from data_prep.mnist import prepare_mnist

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Prepare data sets as the LMDBs and mean images that Caffe reads.",
)  # fmt: skip


@app.callback()
def data_prep() -> None:
    """Prepare data sets as the LMDBs and mean images that Caffe reads."""


class _Bars:
    """Progress bars on a terminal's stderr, one per step; silence elsewhere."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.display = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self.tasks:
            self.tasks[what] = self.display.add_task(what)
        self.display.update(self.tasks[what], completed=done, total=total or None)


def _summary(out: Path, manifest: Manifest) -> str:
    counts = ", ".join(f"{key} {db.records}" for key, db in manifest.databases.items())
    return f"{out / manifest.folder} ({counts})"


@app.command()
def mnist(
    out: Annotated[Path, typer.Option(help="Where the prepared folder mnist-<hash> is put.")],
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="DATA_DIR", help="Folder of your own four IDX files, plain or .gz."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split and the shuffles.")] = 0,
    validation: Annotated[int, typer.Option(help="Training examples set aside.")] = 5000,
    subset: Annotated[
        int | None, typer.Option(help="Keep only so many of the rest, stratified.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where fetched files are kept.", show_default=".cache/data")
    ] = None,
) -> None:
    """Prepare MNIST: train, val, train_full and test LMDBs, mean images, a manifest."""
    bars = _Bars()
    with bars.display:
        manifest = prepare_mnist(
            out, data_dir=data_dir, seed=seed, validation=validation, subset=subset,
            cache=cache or Path.cwd() / ".cache" / "data", progress=bars,
        )  # fmt: skip
    typer.echo(_summary(out, manifest))


def main() -> None:
    """Run the command line; a DataError becomes one line on stderr and exit code 1."""
    logging.basicConfig(format="data_prep: %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        app(prog_name="data_prep")
    except DataError as error:
        sys.stderr.write(f"data_prep: error: {error}\n")
        sys.exit(1)
