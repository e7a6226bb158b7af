"""Commands that exchange a search with the released code: `import` and `export`."""

from __future__ import annotations

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from reproduce.commands import arguments as args
from reproduce.driver import agent_of
from reproduce.run import REPLAY_MEMORY, RunError, freeze, frozen, locked
from reproduce.search.released_files import (
    read_q_values,
    read_replay_database,
    without_debug_rows,
    write_q_values,
    write_replay_database,
)
from reproduce.search.released_import import ImportReport, export_released, import_released
from reproduce.search.replay_memory import ReplayMemory, read_replay_memory
from reproduce.training.caffe import is_predicted

REPLAY_DATABASE, Q_VALUES = "replay_database.csv", "q_values.csv"


def import_(
    experiment: args.ExperimentName,
    replay_database: Annotated[Path, typer.Option(help="the released code's replay_database.csv")],
    q_values: Annotated[
        Path | None, typer.Option(help="its q_values.csv; without it every pair starts anew")
    ] = None,
    budget: args.Budget = "paper",
    preset: args.Preset = "authors",
    seed: args.Seed = args.DEFAULT_SEED,
    run: args.RunOption = None,
) -> None:
    """Make a run that goes on where the released code stopped; debug rows are left out."""
    loaded = args.named_experiment(experiment, budget, seed, preset)
    agent = agent_of(loaded)
    replay = without_debug_rows(read_replay_database(replay_database))
    values = None if q_values is None else read_q_values(q_values, agent.space)
    folder = args.run_of(loaded, run)

    def fill(into: Path) -> ImportReport:
        memory = ReplayMemory(into / REPLAY_MEMORY)
        try:
            return import_released(
                memory,
                agent.space,
                replay.replay,
                values,
                learning_rate=loaded.exploration.base_lr,
                cap=agent.cap,
            )
        finally:
            memory.close()

    with TemporaryDirectory() as scratch:
        fill(Path(scratch))  # so that files that are refused leave no run behind
    with locked(folder):
        freeze(loaded, folder)
        report = fill(folder)
    print(replay)
    print(report)
    words = ["metaqnn", "search", experiment, "--budget", budget, "--preset", preset]
    words += ["--seed", str(seed), *(["--run", str(run)] if run else [])]
    print(f"Run: {folder}; `{shlex.join(words)}` goes on")


def export(
    run: args.RunFolder,
    out: Annotated[Path, typer.Option(help="the folder to write both files into")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="overwrite files of these names")] = False,
) -> None:
    """Write a run as the released code's replay_database.csv and q_values.csv."""
    experiment = frozen(run)
    for path in (out / REPLAY_DATABASE, out / Q_VALUES):
        if path.exists() and not force:
            raise RunError(f"{path} exists: name another folder with --out, or say --force")
    agent = agent_of(experiment)
    with read_replay_memory(run / REPLAY_MEMORY) as memory:
        replay, values = export_released(memory, agent.space, initial=experiment.q_learning.initial)
        trainer = memory.get("trainer")
    out.mkdir(parents=True, exist_ok=True)
    write_replay_database(out / REPLAY_DATABASE, replay)
    write_q_values(out / Q_VALUES, values)
    print(f"{out / REPLAY_DATABASE}: {len(replay.rows)} rows")
    print(f"{out / Q_VALUES}: {len(values.rows)} rows")
    if is_predicted(trainer):
        print(f"Their accuracies are predicted by {trainer}; the files cannot say so")
