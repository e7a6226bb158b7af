"""A run's folder: its frozen experiment, its lock, its provenance."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import tomli_w

from reproduce.experiments.schema import Experiment, validate
from reproduce.files import write_atomically

EXPERIMENT_FILE = "experiment.toml"


class RunError(RuntimeError):
    """A run's folder cannot be used; the message says which, why and what to do."""


def freeze(experiment: Experiment, folder: Path) -> None:
    """Write the experiment into the run's folder, or check that it is the one there.

    Raises:
        RunError: if the folder holds another experiment.
    """
    path = folder / EXPERIMENT_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        content = json.loads(experiment.model_dump_json(exclude_none=True))
        write_atomically(path, tomli_w.dumps(content))
    elif frozen(folder) != experiment:
        raise RunError(
            f"{folder} holds another experiment (budget, seed or file changed): "
            "name another run with RUN=..., or remove that folder"
        )


def frozen(folder: Path) -> Experiment:
    """The experiment of a run's folder.

    Raises:
        RunError: if the folder holds no run.
    """
    path = folder / EXPERIMENT_FILE
    try:
        return validate(tomllib.loads(path.read_text(encoding="utf-8")), path)
    except FileNotFoundError:
        raise RunError(f"{folder} holds no run: {path.name} is missing") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: {error}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other drivers out of a run; the lock goes with the process, however it ends.

    Raises:
        RunError: naming the process and host of the driver that has the run.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise RunError(f"{folder} cannot hold a run: {error.strerror}") from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise RunError(f"{folder} is being run by {owner}") from None
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _git_revision() -> str:
    """The revision of the sources, with `+` if they were changed; `unknown` outside git."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def provenance(experiment: Experiment, trainer: str, device: str) -> dict[str, str]:
    """What a reader needs to run the same again: seed, versions, revision, machine."""
    packages = ("metaqnn-caffe", "torch", "numpy", "protobuf", "lmdb")
    return {
        "seed": str(experiment.seed),
        "budget": experiment.budget_name,
        "preset": experiment.preset,
        "trainer": trainer,
        "device": device,
        "git revision": _git_revision(),
        "machine": f"{platform.platform()}, {os.cpu_count()} CPUs",
        "Python": platform.python_version(),
        **{package: _version(package) for package in packages},
    }
