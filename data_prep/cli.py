"""The command line: `python -m data_prep DATASET --out DIR`."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from data_prep.datasets import locate, locate_files
from data_prep.errors import DataError
from data_prep.manifest import Manifest
from data_prep.normalize import STEPS
from data_prep.prepare import prepare
from data_prep.recipes import PARTS, Dataset, Labels, Preset, SplitRule, SvhnSet, recipe

NONE = "none"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


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


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _shape(text: str) -> tuple[int, int, int]:
    sides = _listed(text)
    if len(sides) != 3 or not all(side.isdecimal() for side in sides):
        raise DataError(f"--shape {text}: name channels, height and width, as 3,32,32")
    channels, height, width = map(int, sides)
    return channels, height, width


@app.command()
def main_command(
    dataset: Annotated[Dataset, typer.Argument(help="idx: any data set of four IDX files.")],
    out: Annotated[Path, typer.Option(help="Where the prepared folder <data set>-<hash> goes.")],
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="DATA_DIR", help="Folder of your own copies of the files."),
    ] = None,
    preset: Annotated[
        Preset, typer.Option(help="Whose way of preparing; the options below change parts of it.")
    ] = "paper",
    seed: Annotated[int, typer.Option(help="Seed of the split and the shuffles.")] = 0,
    validation: Annotated[int | None, typer.Option(help="Training examples set aside.")] = None,
    split: Annotated[
        SplitRule | None, typer.Option(help="Drawn at random, or the first of each class.")
    ] = None,
    subset: Annotated[
        int | None, typer.Option(help="Keep only so many of the rest, stratified.")
    ] = None,
    svhn: Annotated[
        SvhnSet | None,
        typer.Option("--set", help="SVHN: train part, with extra part, or 1,000 per class of it."),
    ] = None,
    labels: Annotated[
        Labels | None, typer.Option(help="SVHN: label 10 is class 0, or class = label less one.")
    ] = None,
    normalize: Annotated[
        str | None, typer.Option(help=f"Steps in order, of: {', '.join(STEPS)}; or {NONE}.")
    ] = None,
    pad: Annotated[int, typer.Option(help="Border of the training images, in pixels.")] = 0,
    shape: Annotated[
        str | None, typer.Option(help="As 3,32,32: centred on black, grey ones in every channel.")
    ] = None,
    floats: Annotated[
        bool | None, typer.Option("--float/--uint8", help="Records where nothing is normalized.")
    ] = None,
    parts: Annotated[str | None, typer.Option(help=f"Of: {', '.join(PARTS)}.")] = None,
    hdf5: Annotated[bool, typer.Option("--hdf5", help="Write HDF5 files as well.")] = False,
    train_images: Annotated[Path | None, typer.Option(help="idx: this file.")] = None,
    train_labels: Annotated[Path | None, typer.Option(help="idx: this file.")] = None,
    test_images: Annotated[Path | None, typer.Option(help="idx: this file.")] = None,
    test_labels: Annotated[Path | None, typer.Option(help="idx: this file.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where fetched files are kept.", show_default=".cache/data")
    ] = None,
) -> None:
    """Prepare a data set as the LMDBs, HDF5 files and mean images that Caffe reads."""
    given: dict[str, Any] = {
        "validation": validation, "split": split, "labels": labels, "floats": floats,
        "normalize": None if normalize is None else _listed(
            "" if normalize == NONE else normalize
        ),
        "parts": None if parts is None else _listed(parts),
        "shape": None if shape is None else _shape(shape),
    }  # fmt: skip
    four = {
        "--train-images": train_images, "--train-labels": train_labels,
        "--test-images": test_images, "--test-labels": test_labels,
    }  # fmt: skip
    named = [option for option, path in four.items() if path is not None]
    if named and dataset != "idx":
        raise DataError(
            f"{named[0]}: {dataset} finds its files by name, in the folder --data-dir; only idx "
            "takes them one by one"
        )
    if labels and dataset != "svhn":
        raise DataError(f"--labels: {dataset} has one numbering of its classes; only svhn has two")
    chosen = dataclasses.replace(
        recipe(dataset, preset, svhn), seed=seed, subset=subset, pad=pad, hdf5=hdf5,
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip
    if floats is False and chosen.normalize:
        raise DataError(
            f"--uint8: {chosen.normalize[-1]} makes fractions of the pixels; leave it out, or add "
            f"--normalize {NONE}"
        )
    bars = _Bars()
    with bars.display:
        if dataset == "idx":
            if len(named) < len(four):
                raise DataError(f"idx: name the four files with {', '.join(four)}")
            files = cast(tuple[Path, Path, Path, Path], tuple(four.values()))
            data = locate_files(files, bars)
        else:
            data = locate(
                dataset, chosen, data_dir=data_dir, cache=cache or Path.cwd() / ".cache" / "data",
                progress=bars,
            )  # fmt: skip
        manifest = prepare(data, chosen, out, progress=bars)
    typer.echo(_summary(out, manifest))


def main() -> None:
    """Run the command line; what goes wrong becomes one line on stderr and exit code 1."""
    logging.basicConfig(format="data_prep: %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        app(prog_name="data_prep")
    except (DataError, OSError) as error:
        sys.stderr.write(f"data_prep: error: {error}\n")
        sys.exit(1)
    except MemoryError as error:
        sys.stderr.write(f"data_prep: error: out of memory ({error}); see the files' sizes\n")
        sys.exit(1)
