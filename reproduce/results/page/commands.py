"""The commands that the page gives: what made the run, and what can be done with it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment, ExperimentError
from reproduce.search.replay_memory import ReplayMemory


def commands(experiment: Experiment, memory: ReplayMemory, run: Path) -> list[tuple[str, str]]:
    """What each command does, and its line for a shell in the folder where the page was written.

    The first one, which made the run, is left out where it cannot be told: of a run that was
    never started, or of an experiment file that is not the package's own.
    """
    rows = []
    options, folder, us = memory.get("options"), _here(run), _program()
    made = _made_by(experiment, finals=options is None or options["finals"])
    if options is not None and made is not None:
        words = [us, *made, "--run", folder, *_flags(options)]
        rows.append(("Made this run; the same command goes on where it stopped", words))
    rows += [
        ("Goes on with it, by the choices it was last started with", [us, "resume", folder]),
        ("Tells what it is doing", [us, "status", folder]),
        ("Prints the table", [us, "tables", folder]),
        ("Prints the table for LaTeX", [us, "tables", folder, "--format", "latex"]),
        ("Computes the whole search again from its record", [us, "verify", folder]),
        ("Writes this page again", [us, "report", folder]),
    ]
    return [(what, shlex.join(words)) for what, words in rows]


def with_authors_data(run: Path) -> str:
    """The line that writes the page again with the authors' own data, from a folder `DIR`."""
    return shlex.join([_program(), "report", _here(run), "--authors-data", "DIR"])


def _made_by(experiment: Experiment, *, finals: bool) -> list[str] | None:
    """The words that name the experiment; None where they would name another."""
    name, preset, budget = experiment.name, experiment.preset, experiment.budget_name
    choices = [] if preset == "paper" else ["--preset", preset]
    choices += ["--seed", str(experiment.seed)]
    try:
        if load_experiment(experiment_path(name), budget, experiment.seed, preset) == experiment:
            return ["reproduce" if finals else "search", name, "--budget", budget, *choices]
    except ExperimentError:
        pass  # a budget of one published net, or an experiment of another version
    alone = re.fullmatch(r"top-models(?:, (\d+) epochs)?", budget)
    if alone and len(experiment.published) == 1 and not experiment.q_learning.stages:
        epochs = ["--epochs", alone[1]] if alone[1] else []
        return ["train-published", experiment.published[0].id, *epochs, *choices]
    return None


def _flags(options: dict[str, Any]) -> list[str]:
    """The stored choices of a start, as far as they are not the defaults."""
    words: list[str] = []
    for key, folder in (("data", "data"), ("cache", ".cache/data")):
        if options[key] != str(Path(folder).resolve()):
            words += [f"--{key}", _here(Path(options[key]))]
    if options["gpus"]:
        words += ["--gpus", ",".join(map(str, options["gpus"]))]
    defaults = {
        "slots_per_gpu": 1,
        "cpu_slots": 1,
        "threads": None,
        "executor": "local",
        "ray_address": None,
        "gpus_per_trial": 0.0,
        "cpus_per_trial": 1.0,
        "trainer": "caffe",
        "authors_data": None,
        "failure_share": None,
    }
    for key, default in defaults.items():
        if options.get(key, default) != default:
            words += [f"--{key.replace('_', '-')}", str(options[key])]
    return words


def _here(path: Path) -> str:
    """A path as it is typed in the current folder."""
    path = path.resolve()
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _program() -> str:
    """How `metaqnn` is called: by its name where that is on the PATH."""
    beside = Path(sys.executable).parent / "metaqnn"
    on_path = shutil.which("metaqnn")
    return "metaqnn" if on_path or not beside.exists() else _beside(beside)


def _beside(program: Path) -> str:
    absolute = program.absolute()  # not resolved: an environment's Python is a link
    return os.path.relpath(absolute) if absolute.is_relative_to(Path.cwd()) else str(absolute)
