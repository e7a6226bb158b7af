"""Commands that only read: `status`, `space`, `doctor`, `verify`; each takes `--json`."""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Annotated, Any

import numpy as np
import typer

from reproduce.commands import arguments as args
from reproduce.commands.text import findings_text, space_text, status_text
from reproduce.doctor import examine
from reproduce.driver import agent_of
from reproduce.options import Options, gpu_list
from reproduce.run import REPLAY_MEMORY, frozen
from reproduce.search.replay_memory import read_replay_memory
from reproduce.search.rerun import rerun
from reproduce.space_report import space_report
from reproduce.status import status as status_of
from reproduce.trainer import reward_of


def status(run: args.RunFolder, as_json: args.AsJson = False) -> None:
    """What a run is doing, or has done; from any terminal, at any time."""
    found = status_of(run)
    print_result(found.to_json() if as_json else status_text(found), as_json)


def space(
    experiment: args.ExperimentName,
    preset: args.Preset = "paper",
    budget: Annotated[
        str | None, typer.Option(help="a budget whose cap on a net's cost is to hold; none: no cap")
    ] = None,
    member: Annotated[
        list[str] | None, typer.Option(help="an architecture to look up, in its notation")
    ] = None,
    as_json: args.AsJson = False,
) -> None:
    """Count an experiment's states, pairs and architectures; is an architecture one of them?"""
    any_budget = args.first_budget(experiment)  # no budget changes the space, but for its cap
    loaded = args.named_experiment(experiment, budget or any_budget, args.DEFAULT_SEED, preset)
    found = space_report(loaded, member or [], agent_of(loaded).cap if budget else None)
    print_result(found.to_json() if as_json else space_text(found), as_json)
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
    print_result(plain if as_json else findings_text(findings), as_json)
    if any(finding.level == "failure" for finding in findings):
        raise typer.Exit(1)


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
    print_result(report.to_json() if as_json else f"{report}\n", as_json)
    if report.difference:
        raise typer.Exit(1)


def print_result(content: Any, as_json: bool) -> None:
    """Print plain data as JSON, a number that is not finite as null, or text as it is."""
    if as_json:
        text = json.dumps(_finite(content), allow_nan=False, ensure_ascii=False, indent=2)
        content = f"{text}\n"
    sys.stdout.write(content)


def _finite(content: Any) -> Any:
    """Plain data with None for each number that JSON does not have."""
    match content:
        case dict():
            return {key: _finite(value) for key, value in content.items()}
        case list() | tuple():
            return [_finite(value) for value in content]
        case float() if not math.isfinite(content):
            return None
    return content
