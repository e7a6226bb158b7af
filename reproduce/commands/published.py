"""`metaqnn published`, `train-published`: the published nets, each trained without a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reproduce.commands import arguments as args
from reproduce.commands.reading import print_result
from reproduce.commands.running import start_run
from reproduce.experiments.schema import Experiment, ExperimentError
from reproduce.options import Options, gpu_list
from reproduce.paper import NETS
from reproduce.published_costs import PublishedCost, Speed, measured_speed, published_costs
from reproduce.published_experiments import file_experiment, published_experiment, safe

SolverFile = Annotated[
    Path | None, typer.Option("--solver", help="a solver prototxt, whose iterations are kept")
]
DataSetName = Annotated[
    str | None,
    typer.Option("--data-set", help="of a file: mnist, cifar10, svhn or cifar100"),
]


def train_published(
    net: Annotated[
        str,
        typer.Argument(
            metavar="NET", help="a row of a table, as cifar10/v1-1, mnist/thesis-2, or a prototxt"
        ),
    ],
    preset: args.Preset = "paper",
    seed: args.Seed = args.DEFAULT_SEED,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="fewer or more than said; the table says so")
    ] = None,
    solver: SolverFile = None,
    data_set: DataSetName = None,
    run: args.RunOption = None,
    gpus: args.Gpus = "",
    threads: args.Threads = None,
    data: args.Data = args.DATA,
    cache: args.Cache = args.CACHE,
    yes: args.Yes = False,
) -> None:
    """Train a published net on all training images, and test it; the same command resumes."""
    path = _file(net)
    if path is None:
        if data_set is not None:
            raise ExperimentError(f"--data-set is for a file; {net} tells its own")
        experiment = published_experiment(net, preset, seed, epochs, solver)
    else:
        experiment = file_experiment(path, preset, seed, epochs, data_set, solver)
    for remark in _remarks(experiment):
        print(remark)
    folder = run or Path("runs") / run_name(net, preset, seed, epochs, solver, data_set)
    options = Options(data.resolve(), cache.resolve(), gpu_list(gpus), threads=threads, yes=yes)
    start_run(experiment, folder, options)


def run_name(
    net: str,
    preset: str = "paper",
    seed: int = args.DEFAULT_SEED,
    epochs: int | None = None,
    solver: Path | None = None,
    data_set: str | None = None,
) -> str:
    """The name of a run's folder; what is not as usual is in it."""
    path = _file(net)
    parts = [safe(net.replace("/", "-")) if path is None else f"file-{safe(path.stem)}"]
    parts += [data_set] if data_set else []
    parts += [preset] if preset != "paper" else []
    parts += [safe(solver.stem)] if solver else []
    parts += [f"seed-{seed}"] if seed != args.DEFAULT_SEED else []
    parts += [f"{epochs}-epochs"] if epochs is not None else []
    return "-".join(parts)


def published(
    data_set: Annotated[
        str | None, typer.Argument(metavar="[DATASET]", help="mnist, cifar10 or svhn; none: all")
    ] = None,
    preset: args.Preset = "paper",
    gpus: args.Gpus = "",
    runs: Annotated[Path, typer.Option(help="where runs lie, one of which knows a speed")] = Path(
        "runs"
    ),
    as_json: args.AsJson = False,
) -> None:
    """List the published nets, the cheapest to train first, with the command that trains each."""
    device = Options(Path(), Path(), gpu_list(gpus)).device
    speed = measured_speed(runs, device)
    rows = published_costs(data_set, preset, speed, f" --gpus {gpus}" if gpus else "")
    plain = {
        "device": device,
        "speed": speed.to_json() if speed else None,
        "nets": [row.to_json() for row in rows],
    }
    print_result(plain if as_json else _text(rows, device, speed), as_json)


def _file(net: str) -> Path | None:
    """The file that is named; None for a row of a table."""
    if any(row.id == net for row in NETS):
        return None
    path = Path(net)
    return path if path.suffix == ".prototxt" or path.is_file() else None


def _remarks(experiment: Experiment) -> list[str]:
    fields = ("published.file", "published.solver")
    return [experiment.unstated[field] for field in fields if field in experiment.unstated]


def _text(rows: list[PublishedCost], device: str, speed: Speed | None) -> str:
    head = ("net", "place", "error, %", "parameters", "MACs", "FLOP", "hours", "solver", "command")
    cells = [head, *map(_cells, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if 2 <= column <= 6 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    known = (
        f"at {speed.flop_per_second / 1e9:.3g} GFLOP/s on {device}, as measured in {speed.run}"
        if speed
        else f"not known on {device}: a run measures its speed"
    )
    total = sum(row.flop for row in rows)
    lines += [
        "",
        "error: as published; MACs: forward, of one image; FLOP: of the whole training, 6 a MAC "
        f"and image, {total:.2g} in all; hours: {known}.",
    ]
    return "\n".join(lines) + "\n"


def _cells(row: PublishedCost) -> tuple[str, ...]:
    return (
        row.id,
        row.place,
        "" if row.error is None else f"{row.error:.2f}",
        f"{row.parameters:,}",
        f"{row.macs:.3g}",
        f"{row.flop:.3g}",
        "" if row.hours is None else f"{row.hours:.3g}",
        row.solver,
        row.command,
    )
