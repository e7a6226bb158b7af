"""`metaqnn stability`: one search several times, with one seed after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reproduce.commands import arguments as args
from reproduce.commands.running import start_run
from reproduce.experiments.schema import LARGEST_SEED
from reproduce.options import Options, gpu_list
from reproduce.results.stability import read_stability, stability_markdown, write_stability
from reproduce.run import EXPERIMENT_FILE, RunError


def stability(
    experiment: Annotated[
        str, typer.Argument(metavar="EXPERIMENT", help="an experiment's name or its TOML file")
    ] = "svhn-small",
    runs: Annotated[int, typer.Option(min=1, help="how many searches; the paper's ten")] = 10,
    budget: args.Budget = "quick",
    preset: args.Preset = "paper",
    seed: args.Seed = args.DEFAULT_SEED,
    folder: Annotated[
        Path | None, typer.Option("--run", help="where the runs' folders lie")
    ] = None,
    gpus: args.Gpus = "",
    slots_per_gpu: args.SlotsPerGpu = 1,
    cpu_slots: args.CpuSlots = 1,
    threads: args.Threads = None,
    data: args.Data = args.DATA,
    cache: args.Cache = args.CACHE,
    yes: args.Yes = False,
) -> None:
    """Run a search with several seeds, and tell how far its results spread; resumable."""
    if seed + runs - 1 > LARGEST_SEED:
        raise RunError(f"--seed {seed}: {runs} runs need seeds up to {seed + runs - 1}")
    options = Options(
        data.resolve(),
        cache.resolve(),
        gpu_list(gpus),
        slots_per_gpu,
        cpu_slots,
        threads,
        finals=False,
        yes=yes,
    )
    first = args.named_experiment(experiment, budget, seed, preset)
    parent = args.run_of(first, folder)
    parent = parent if folder else parent.with_name(f"{parent.name}-stability")
    if (parent / EXPERIMENT_FILE).exists():
        raise RunError(f"{parent} is a run; name a folder for several runs with --run")
    folders = []
    for number in range(seed, seed + runs):
        one = args.named_experiment(experiment, budget, number, preset)
        folders.append(parent / f"seed-{number}")
        start_run(one, folders[-1], options)
        write_stability(found := read_stability(folders), parent)
    typer.echo(stability_markdown(found))
    typer.echo(f"Tables and figure: {parent}")
