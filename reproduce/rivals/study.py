"""A study of the rivals: its units of work in several processes, each result a file of its own.

What is done stays done: the same command goes on after any end, and repeats what was under way.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from threadpoolctl import threadpool_limits

from reproduce.audit.authors_data.files import AuthorsData, fetch, read_authors_data
from reproduce.driver import agent_of
from reproduce.files import write_atomically
from reproduce.rivals.plan import GROUNDS, PRESET, Plan, Unit, experiment_of, units
from reproduce.rivals.race import Limit, Race, Runner, run_all
from reproduce.rivals.searchers import RIVALS, new_searcher
from reproduce.rivals.surrogate.data import training_data
from reproduce.rivals.surrogate.quality import Quality, measure
from reproduce.rivals.surrogate.surrogate import Surrogate
from reproduce.run import git_revision, locked, machine, package_version

STUDY_FILE, PARTS = "study.json", "parts"
_SEED = 0  # of the surrogate, its quality and early stopping
_PACKAGES = ("metaqnn-caffe", "numpy", "scipy", "scikit-learn", "optuna", "torch")


@dataclass(frozen=True)
class Done:
    """A unit that is done, and whether it was before this process began."""

    unit: Unit
    before: bool


class StudyError(RuntimeError):
    """A study cannot be run or read; the message says which file or package, and what to do."""


def run_study(plan: Plan, authors_data: Path, folder: Path, workers: int) -> Iterator[Done]:
    """Do what is not done yet; yields each unit once it is.

    Args:
        authors_data: folder of the authors' files; what is missing is fetched.
        folder: of the study.
        workers: processes, each with one thread.

    Raises:
        StudyError: if the folder holds another study, or a worker died.
        RunError: if another process runs it.
        DataError, ReleasedFileError: if the authors' data cannot be fetched or read.
    """
    fetch(authors_data)
    sources = read_authors_data(authors_data).sources
    with locked(folder):
        (folder / PARTS).mkdir(exist_ok=True)
        _begin(plan, folder, {one.name: f"{one.sha256} ({one.status})" for one in sources})
        left = []
        for unit in units(plan):
            if part(folder, unit).exists():
                yield Done(unit, before=True)
            else:
                left.append(unit)
        if left:
            yield from _work(left, authors_data, folder, workers)


def part(folder: Path, unit: Unit) -> Path:
    """The file of a unit's result."""
    return folder / PARTS / f"{unit.name}.json"


def provenance() -> dict[str, str]:
    """Revision and machine."""
    return {"git revision": git_revision(), **machine()}


def _begin(plan: Plan, folder: Path, sources: dict[str, str]) -> None:
    """Write down what the study is, or find that it is the one begun; note each revision."""
    path = folder / STUDY_FILE
    now = provenance()
    content = {
        "plan": json.loads(json.dumps(asdict(plan))),
        "sources": sources,
        "packages": {package: package_version(package) for package in _PACKAGES},
        "provenance": [],
    }
    if path.exists():
        before = _read(path)
        for what in ("plan", "sources", "packages"):
            if before.get(what) != content[what]:
                raise StudyError(f"{folder} holds a study of other {what}; name another folder")
        content = before
    if now not in content["provenance"]:
        content["provenance"].append(now)
        write_atomically(path, json.dumps(content, indent=1) + "\n")


def _work(left: Sequence[Unit], data: Path, folder: Path, workers: int) -> Iterator[Done]:
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker)
    try:
        futures: dict[Future[None], Unit] = {
            pool.submit(_do, unit, data, folder): unit for unit in left
        }
        for future in as_completed(futures):
            try:
                future.result()
            except ValueError as error:
                raise StudyError(f"{futures[future].name}: {error}") from None
            yield Done(futures[future], before=False)
    except BrokenProcessPool:
        raise StudyError(
            "a worker died, of too little memory perhaps; the same command goes on"
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in active_children():
            worker.terminate()


def _start_worker() -> None:
    """One thread for all libraries; and when the parent dies, however it does, so does this.

    What is loaded already is told by a call, what will be (PyTorch) by its variable.
    """
    threadpool_limits(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _do(unit: Unit, data: Path, folder: Path) -> None:
    result = json.dumps(compute(unit, data, folder))
    write_atomically(part(folder, unit), result)


@lru_cache
def _authors(folder: Path) -> AuthorsData:
    return read_authors_data(folder)


@lru_cache
def _surrogate(folder: Path, ground: str) -> Surrogate:
    one = GROUNDS[ground]
    return Surrogate.fit(training_data(_authors(folder), one.data_set), _SEED, one.failure_share)


def compute(unit: Unit, data: Path, folder: Path) -> Any:
    """A unit's result, as JSON can hold it."""
    plan, _ = read_plan(folder)
    match unit.kind:
        case "quality":
            known = training_data(_authors(data), GROUNDS[unit.ground].data_set)
            found = measure(known, _SEED, plan.folds, plan.depths)
            return TypeAdapter(Quality).dump_python(found, mode="json")
        case "early stopping":
            from reproduce.rivals.early_stopping.published import NETS
            from reproduce.rivals.early_stopping.study import study

            curves = getattr(_authors(data), unit.ground)[:NETS]
            rng = np.random.default_rng(_SEED)
            return study(curves, unit.ground, plan.orders, rng).to_json()
        case "learning":
            from reproduce.rivals import figure_3

            surrogate = _surrogate(data, unit.ground)
            experiment = experiment_of(GROUNDS[unit.ground].data_set, unit.what)
            runs = figure_3.learn(surrogate, experiment, unit.seeds, plan.learning_models)
            return [run.to_json() for run in runs]
        case "race":
            return _races(unit, _surrogate(data, unit.ground))


def _races(unit: Unit, surrogate: Surrogate) -> Any:
    experiment = experiment_of(surrogate.data_set, PRESET)
    limit = Limit(models=unit.models)
    if RIVALS[unit.what].by_epochs:
        limit = Limit(epochs=unit.models * experiment.exploration.epochs)
    space = agent_of(experiment).space
    runners = [
        Runner(
            new_searcher(unit.what, experiment, space, unit.models, seed),
            surrogate,
            experiment,
            seed,
            limit,
        )
        for seed in unit.seeds
    ]
    run_all(runners, surrogate)
    found = {str(seed): one.race for seed, one in zip(unit.seeds, runners, strict=True)}
    return TypeAdapter(dict[str, Race]).dump_python(found, mode="json")


def read_plan(folder: Path) -> tuple[Plan, dict[str, Any]]:
    """A study's plan, and all that its file says.

    Raises:
        StudyError: if it is none.
    """
    path = folder / STUDY_FILE
    content = _read(path)
    try:
        return TypeAdapter(Plan).validate_python(content["plan"]), content
    except (ValidationError, KeyError, TypeError):
        raise StudyError(f"{path} is not a study's; name the folder of another") from None


def read_part(folder: Path, unit: Unit) -> Any:
    """A unit's result.

    Raises:
        StudyError: if it is not done, or cannot be read.
    """
    return _read(part(folder, unit))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path} is not there: the study is not complete; run it") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read ({error}): delete it and run the study") from None
