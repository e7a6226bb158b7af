"""A run's folder: its frozen experiment, its lock, its provenance."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

import tomli_w

from reproduce.experiments.schema import Experiment, validate
from reproduce.files import write_atomically
from reproduce.training.disk import is_full

EXPERIMENT_FILE = "experiment.toml"
LOCK_FILE = ".lock"
REPLAY_MEMORY = "replay.sqlite"


class RunError(RuntimeError):
    """A run's folder cannot be used; the message says which, why and what to do."""


def freeze(experiment: Experiment, folder: Path) -> None:
    """Write the experiment into the run's folder, or check that it is the one there.

    Raises:
        RunError: if the folder holds another experiment, or cannot be written.
    """
    path = folder / EXPERIMENT_FILE
    if not path.exists():
        content = json.loads(experiment.model_dump_json(exclude_none=True))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, tomli_w.dumps(content))
        except OSError as error:
            raise _cannot_hold(folder, error) from None
    elif frozen(folder) != experiment:
        raise RunError(
            f"{folder} holds another experiment (preset, budget, seed or file changed): "
            "name another run with RUN=..., or remove that folder"
        )


def _cannot_hold(folder: Path, error: OSError) -> RunError:
    remedy = (
        "free some and give the same command again"
        if is_full(error)
        else "name another folder with RUN=... (--run)"
    )
    return RunError(f"{folder} cannot hold a run: {error.strerror}: {remedy}")


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


@dataclass(frozen=True)
class Owner:
    """The driver that has a run."""

    pid: int
    host: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other drivers out of a run; the lock goes with the process, however it ends.

    Raises:
        RunError: naming the process and host of the driver that has the run, or why the folder
            cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise _cannot_hold(folder, error) from None
    with lock as file:
        for last in (False, False, True):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if last:
                    named = _named_in(file) or "another process"
                    raise RunError(f"{folder} is being run by {named}") from None
                time.sleep(0.1)  # `owner` holds it for a moment
        try:
            os.ftruncate(file.fileno(), 0)
            # Nothing may stay in a buffer: closing the file would fail once more.
            os.write(file.fileno(), str(Owner(os.getpid(), socket.gethostname())).encode())
        except OSError as error:
            raise _cannot_hold(folder, error) from None
        yield


def owner(folder: Path) -> Owner | None:
    """The driver that has a run now; None if there is none.

    Raises:
        RunError: if the lock cannot be read.
    """
    try:
        file = (folder / LOCK_FILE).open("r", encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{folder / LOCK_FILE} cannot be read: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _named_in(file)
    return None


def _named_in(lock: IO[str]) -> Owner | None:
    lock.seek(0)
    match = re.fullmatch(r"process (\d+) on (\S+)", lock.read().strip())
    return Owner(int(match[1]), match[2]) if match else None


def _said_by(*command: str) -> str:
    """What a command prints; empty where it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def git_revision() -> str:
    """The revision of the sources, with `+` if they were changed; `unknown` outside git."""
    here = Path(__file__).resolve().parent
    describe = ("describe", "--always", "--dirty=+", "--abbrev=12")
    return _said_by("git", "-C", str(here), *describe) or "unknown"


def package_version(package: str) -> str:
    """An installed package's version; `not installed` of another."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def machine() -> dict[str, str]:
    """The system, its CPUs, and Python."""
    return {
        "machine": f"{platform.platform()}, {os.cpu_count()} CPUs",
        "Python": platform.python_version(),
    }


def _cards() -> str:
    """This machine's NVIDIA GPUs, as their driver names them; empty without any."""
    fields = "--query-gpu=index,name,driver_version"
    return "; ".join(_said_by("nvidia-smi", fields, "--format=csv,noheader").splitlines())


def provenance(experiment: Experiment, trainer: str, device: str) -> dict[str, str]:
    """What a reader needs to run the same again: seed, versions, revision, machine."""
    packages = ("metaqnn-caffe", "torch", "numpy", "protobuf", "lmdb")
    return {
        "seed": str(experiment.seed),
        "budget": experiment.budget_name,
        "preset": experiment.preset,
        "trainer": trainer,
        "device": device,
        **({"GPUs (number, name, driver)": cards} if (cards := _cards()) else {}),
        "precision": "float32; the embedded caffe leaves TensorFloat-32 off",
        "git revision": git_revision(),
        **machine(),
        **{package: package_version(package) for package in packages},
    }
