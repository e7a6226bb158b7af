"""Commands that only read: `status`, `space`, `doctor`, `tables`, `verify`; each takes `--json`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from reproduce.commands import arguments as args
from reproduce.commands.text import findings_text, space_text, status_text
from reproduce.doctor import examine
from reproduce.driver import agent_of
from reproduce.options import Options, gpu_list
from reproduce.results.markdown import markdown
from reproduce.results.report import notes
from reproduce.results.summary import rows_as_json, table
from reproduce.run import REPLAY_MEMORY, frozen
from reproduce.search.replay_memory import read_replay_memory
from reproduce.search.rerun import rerun
from reproduce.space_report import space_report
from reproduce.status import status as status_of
from reproduce.trainer import reward_of


def status(run: args.RunFolder, as_json: args.AsJson = False) -> None:
    """What a run is doing, or has done; from any terminal, at any time."""
    found = status_of(run)
    _show(found.to_json() if as_json else status_text(found), as_json)


def space(
    experiment: args.ExperimentName,
    preset: args.Preset = "paper",
    member: Annotated[
        list[str] | None, typer.Option(help="an architecture to look up, in its notation")
    ] = None,
    as_json: args.AsJson = False,
) -> None:
    """Count an experiment's states, pairs and architectures; is an architecture one of them?"""
    loaded = args.named_experiment(experiment, "paper", args.DEFAULT_SEED, preset)
    found = space_report(loaded, member or [])
    _show(found.to_json() if as_json else space_text(found), as_json)
    if not all(one.member for one in found.members):
        raise typer.Exit(1)


def doctor(
    experiment: args.ExperimentName,
    budget: args.Budget = "quick",
    preset: args.Preset = "paper",
    run: args.RunOption = None,
    gpus: args.Gpus = "",
    slots_per_gpu: args.SlotsPerGpu = 1,
    cpu_slots: args.CpuSlots = 1,
    data: args.Data = args.DATA,
    cache: args.Cache = args.CACHE,
    as_json: args.AsJson = False,
) -> None:
    """Check Caffe, devices, disk, data and permissions, and say what to do."""
    loaded = args.named_experiment(experiment, budget, args.DEFAULT_SEED, preset)
    options = Options(data.resolve(), cache.resolve(), gpu_list(gpus), slots_per_gpu, cpu_slots)
    findings = examine(loaded, args.run_of(loaded, run), options, os.environ)
    plain = [finding.to_json() for finding in findings]
    _show(plain if as_json else findings_text(findings), as_json)
    if any(finding.level == "failure" for finding in findings):
        raise typer.Exit(1)


def tables(run: args.RunFolder, as_json: args.AsJson = False) -> None:
    """Print a run's table: published and measured numbers side by side."""
    print_tables(run, as_json=as_json)


def verify(run: args.RunFolder, as_json: args.AsJson = False) -> None:
    """Recompute a search from its record: every sample, Q-value and random state, bit for bit."""
    experiment = frozen(run)
    with read_replay_memory(run / REPLAY_MEMORY) as memory:
        report = rerun(
            memory,
            agent_of(experiment),
            np.random.default_rng(experiment.seed),
            experiment.q_learning.stages,
            experiment.q_learning.replays,
            batched=frozenset(experiment.q_learning.batched),
            reward=lambda trial, result: reward_of(experiment, trial.architecture, result),
        )
    _show(report.to_json() if as_json else f"{report}\n", as_json)
    if report.difference:
        raise typer.Exit(1)


def print_tables(run: Path, *, as_json: bool) -> None:
    """Print a run's table to standard output."""
    experiment = frozen(run)
    with read_replay_memory(run / REPLAY_MEMORY) as memory:
        rows = table(experiment, memory)
        if as_json:
            _show(rows_as_json(rows), as_json)
        else:
            _show("\n" + markdown(rows, notes(experiment, memory)) + "\n", as_json)


def _show(content: Any, as_json: bool) -> None:
    if as_json:
        Console(soft_wrap=True).print_json(data=content)
    else:
        sys.stdout.write(content)
