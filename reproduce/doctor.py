"""Is this machine ready for a run? Each check says what it found and, if need be, what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from data_prep.datasets import locate
from data_prep.errors import DataError
from data_prep.manifest import read_manifest
from data_prep.show import prepared_folders
from reproduce.before_finals import final_sections
from reproduce.before_search import LONGEST_UNASKED_S, in_bytes, in_words
from reproduce.display import duration
from reproduce.driver import agent_of
from reproduce.estimate import (
    ASSUMED_FLOP_PER_SECOND,
    ASSUMED_STARTUP_S,
    Estimate,
    estimate,
    typical_nets,
)
from reproduce.experiments.schema import Experiment
from reproduce.options import Options
from reproduce.run import RunError, owner
from reproduce.training.caffe import Caffe, CaffeError, find_caffe

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """One check: what was found; `remedy` says what to do where it is not well."""

    check: str
    level: Level
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def examine(
    experiment: Experiment, run_folder: Path, options: Options, environment: Mapping[str, str]
) -> list[Finding]:
    """Check what a run of an experiment in a folder would need, without starting it.

    `run_folder` is absolute; until there is one, Caffe is told of the nearest folder above it.
    """
    findings: list[Finding] = []
    caffe: Caffe | None = None
    folder = next(path for path in (run_folder, *run_folder.parents) if path.is_dir())
    try:
        caffe = find_caffe(environment, folder)
        findings.append(_ok("caffe", f"{caffe} ({caffe.kind}): {' '.join(caffe.argv)}"))
        if caffe.warning:
            findings.append(Finding("caffe", "warning", caffe.warning))
    except CaffeError as error:
        findings.append(Finding("caffe", "failure", str(error)))
    findings.append(_pycaffe(environment))
    findings += _devices(caffe, folder, options, environment)
    cost = estimate(experiment, typical_nets(experiment, agent_of(experiment)), options.local_slots)
    findings.append(_estimate(cost, options))
    findings += _disk(cost, run_folder)
    findings += _data(experiment, options, environment)
    findings += _permissions(run_folder, options)
    findings += _run(run_folder)
    return findings


def _ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def _pycaffe(environment: Mapping[str, str]) -> Finding:
    """What `import caffe` is in a script that `caffe-torch python` runs; no run needs any."""
    argv = [sys.executable, "-m", "caffe_torch", "python", "--which"]
    try:
        done = subprocess.run(
            argv,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _ok("pycaffe", f"none is needed, and none runs: {error}")
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or [""]
    if done.returncode:
        return _ok("pycaffe", f"none is needed, and none runs: {said[-1]}")
    return _ok("pycaffe", f"`caffe-torch python` runs scripts with {said[-1]}")


def _devices(
    caffe: Caffe | None, folder: Path, options: Options, environment: Mapping[str, str]
) -> Iterator[Finding]:
    yield _ok("cpu", f"{os.cpu_count()} CPUs, {options.local_slots} trials at a time")
    if caffe is None:
        return
    for gpu in options.gpus:
        failure = _device_failure(replace(caffe, gpu=gpu), folder, environment)
        if failure:
            yield Finding(
                f"gpu {gpu}", "failure", failure, "name GPUs that this caffe can use, or none"
            )
        else:
            yield _ok(f"gpu {gpu}", "caffe device_query finds it")


def _device_failure(caffe: Caffe, folder: Path, environment: Mapping[str, str]) -> str:
    """Why caffe cannot use its GPU, in its own words; empty if it can."""
    try:
        done = subprocess.run(
            caffe.launch(folder, ["device_query"]).argv,
            env=caffe.environment(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = (done.stderr or done.stdout).strip().splitlines()
    last = lines[-1] if lines else "no word"
    fatal = next((line for line in lines if line.startswith(("F", "ERROR"))), last)
    return f"caffe device_query --gpu={caffe.gpu}: {fatal.partition('] ')[2] or fatal}"


def _estimate(cost: Estimate, options: Options) -> Finding:
    """What a whole search costs; nothing is measured, so its time is an assumption."""
    kind, devices = ("GPU", len(options.gpus)) if options.gpus else ("CPU", os.cpu_count() or 1)
    speed, slots = ASSUMED_FLOP_PER_SECOND[kind], options.local_slots
    seconds = cost.seconds(speed * devices / slots, ASSUMED_STARTUP_S, slots)
    found = (
        f"{in_words(cost)}; about {duration(seconds)} if each of {devices} {kind}s does "
        f"{speed / 1e9:,.0f} GFLOP/s (assumed, a search measures it)"
    )
    if seconds <= LONGEST_UNASKED_S:
        return _ok("estimate", found)
    return Finding(
        "estimate",
        "warning",
        found,
        "a search of more than 30 days starts with YES=1 (--yes) alone; a smaller BUDGET or more "
        "devices shorten it",
    )


def _disk(cost: Estimate, run_folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(_existing(run_folder)).free
    found = f"{in_bytes(free)} free, a whole search may need {in_bytes(cost.disk_bytes)}"
    if free < cost.disk_bytes:
        yield Finding("disk", "warning", found, f"free some, or name another folder with {_RUN}")
    else:
        yield _ok("disk", found)


_RUN = "RUN= (--run)"


def _data(
    experiment: Experiment, options: Options, environment: Mapping[str, str]
) -> Iterator[Finding]:
    dataset, user_files = experiment.data.dataset, environment.get("DATA_DIR")
    if user_files and not Path(user_files).is_dir():
        yield Finding("data", "failure", f"DATA_DIR={user_files} is no folder", "name one")
    elif user_files:
        yield from dict.fromkeys(_user_files(experiment, options, Path(user_files)))
    folders = prepared_folders(options.data)
    prepared = [folder for folder in folders if folder.name.startswith(f"{dataset}-")]
    if not prepared:
        yield _ok("data", f"{dataset} is not prepared in {options.data} yet; a run does that")
    for folder in prepared:
        try:
            read_manifest(folder)
            yield _ok("data", f"{folder} is complete")
        except DataError as error:
            yield Finding("data", "failure", str(error))


def _user_files(experiment: Experiment, options: Options, folder: Path) -> Iterator[Finding]:
    """What the user's folder has of the data of the search and of the final trainings."""
    data, sections = experiment.data, final_sections(experiment).values()
    recipes = [data.recipe(experiment.seed, None), *map(experiment.recipe_of, sections)]
    for recipe in filter(None, recipes):
        try:
            found = locate(data.dataset, recipe, data_dir=folder, cache=options.cache)
            names = ", ".join(source.name for source in found.sources())
            yield _ok("data", f"DATA_DIR={folder} has {names}")
        except DataError as error:
            yield Finding("data", "failure", str(error))


def _permissions(run_folder: Path, options: Options) -> Iterator[Finding]:
    for what, folder in (
        ("run folder", run_folder),
        ("data folder", options.data),
        ("cache", options.cache),
    ):
        there = _existing(folder)
        if os.access(there, os.W_OK | os.X_OK):
            yield _ok("permissions", f"{what} {folder} can be written")
        else:
            yield Finding(
                "permissions", "failure", f"{what}: {there} cannot be written", "choose another"
            )


def _run(run_folder: Path) -> Iterator[Finding]:
    try:
        driver = owner(run_folder)
    except RunError as error:
        yield Finding("run", "failure", str(error))
        return
    if driver is not None:
        yield Finding(
            "run", "warning", f"{run_folder} is being run by {driver}", "`metaqnn stop` ends it"
        )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
