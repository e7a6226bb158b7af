"""Commands that run: `search`, `reproduce`, `resume`, `stop`."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from reproduce.commands import arguments as args
from reproduce.commands.tables import print_tables
from reproduce.experiments.schema import Experiment
from reproduce.options import ExecutorName, Options, TrainerName, gpu_list
from reproduce.pipeline import drive
from reproduce.run import REPLAY_MEMORY, RunError, frozen, owner
from reproduce.search.replay_memory import read_replay_memory


def starting(*, finals: bool) -> Callable[..., None]:
    """The command that starts or resumes an experiment, to the end of its search or of all."""

    def start(
        experiment: args.ExperimentName,
        budget: args.Budget = "quick",
        preset: args.Preset = "paper",
        seed: args.Seed = args.DEFAULT_SEED,
        run: args.RunOption = None,
        gpus: args.Gpus = "",
        slots_per_gpu: args.SlotsPerGpu = 1,
        cpu_slots: args.CpuSlots = 1,
        threads: args.Threads = None,
        executor: args.ExecutorOption = "local",
        ray_address: args.RayAddress = None,
        gpus_per_trial: args.GpusPerTrial = 0.0,
        cpus_per_trial: args.CpusPerTrial = 1.0,
        trainer: args.TrainerOption = "caffe",
        authors_data: args.AuthorsData = None,
        failure_share: args.FailureShare = None,
        data: args.Data = args.DATA,
        cache: args.Cache = args.CACHE,
        yes: args.Yes = False,
    ) -> None:
        options = Options(
            data=data.resolve(),
            cache=cache.resolve(),
            gpus=gpu_list(gpus),
            slots_per_gpu=slots_per_gpu,
            cpu_slots=cpu_slots,
            threads=threads,
            executor=_executor(executor),
            ray_address=ray_address,
            gpus_per_trial=gpus_per_trial,
            cpus_per_trial=cpus_per_trial,
            trainer=_trainer(trainer, authors_data, failure_share),
            authors_data=authors_data and authors_data.resolve(),
            failure_share=failure_share,
            finals=finals,
            yes=yes,
        )
        start_run(args.named_experiment(experiment, budget, seed, preset), run, options)

    return start


def resume(
    run: args.RunFolder,
    gpus: Annotated[
        str | None, typer.Option(help="other GPUs than before, as 0,1; empty: the CPU")
    ] = None,
    yes: args.Yes = False,
) -> None:
    """Go on with a run, by the choices that it was last started with."""
    experiment = frozen(run)
    with read_replay_memory(run / REPLAY_MEMORY) as memory:
        stored = memory.get("options")
    if stored is None:
        raise RunError(f"{run} was never started; start it with `metaqnn search` or `reproduce`")
    options = dataclasses.replace(Options.from_json(stored), yes=yes)
    if gpus is not None:
        options = dataclasses.replace(options, gpus=gpu_list(gpus))
    start_run(experiment, run, options)


def stop(
    run: args.RunFolder,
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for its end")] = 660.0,
) -> None:
    """End a running driver: Caffe writes its snapshots first, nothing is lost."""
    frozen(run)
    driver = owner(run)
    if driver is None:
        print(f"{run} is not running")
        return
    if driver.host != socket.gethostname():
        raise RunError(f"{run} is being run by {driver}: run `metaqnn stop` on {driver.host}")
    try:
        os.kill(driver.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended
    except PermissionError:
        raise RunError(
            f"{run} is being run by {driver}, which is another user's: only they can stop it"
        ) from None
    deadline = time.monotonic() + wait
    while owner(run) == driver:
        if time.monotonic() > deadline:
            raise RunError(
                f"{driver} has not ended within {wait:g} s; it may still be snapshotting"
            )
        time.sleep(0.1)
    print(f"stopped {driver}; `metaqnn resume {run}` goes on")


def _executor(name: str) -> ExecutorName:
    if name == "local":
        return "local"
    if name == "ray":
        return "ray"
    raise RunError(f"an executor is local or ray, not {name!r}")


def _trainer(name: str, authors_data: Path | None, failure_share: float | None) -> TrainerName:
    if name == "surrogate":
        return "surrogate"
    if name != "caffe":
        raise RunError(f"a trainer is caffe or surrogate, not {name!r}")
    if authors_data is not None or failure_share is not None:
        raise RunError("--authors-data and --failure-share go with --trainer surrogate")
    return "caffe"


def start_run(experiment: Experiment, run: Path | None, options: Options) -> None:
    """Start or resume a run, and print its table at the end."""
    folder = args.run_of(experiment, run)
    console = Console()
    logging.basicConfig(
        level=logging.INFO,
        format="    %(message)s",
        handlers=[RichHandler(console=console, show_time=False, show_level=False, show_path=False)],
    )
    page = drive(experiment, folder, options, os.environ, console)
    if page is None:
        console.print(f"Search complete: `metaqnn status {folder}`", soft_wrap=True)
        return
    print_tables(folder)
    console.print(f"Report: {page}", soft_wrap=True, highlight=False)
