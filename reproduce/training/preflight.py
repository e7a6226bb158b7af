"""Shows that the chosen Caffe trains, snapshots, resumes and tests, before a search needs it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from prototxt_gen.solver import solver_text
from reproduce.training import disk
from reproduce.training.caffe import Caffe
from reproduce.training.diagnosis import diagnose
from reproduce.training.log_parser import TrainLoss
from reproduce.training.process import CaffeProcess, Ending, end_orphans
from reproduce.training.progress import Progress
from reproduce.training.recipe import Recipe
from reproduce.training.snapshots import Snapshots, is_whole, snapshot_bytes

_TIMED = 5  # iterations between the two time stamps that give the speed
_LAST = 2 + _TIMED + 1  # one from scratch, two slow ones after the resume, those timed


class PreflightError(RuntimeError):
    """The chosen Caffe does not do what training needs; the message says what, and its log."""


@dataclass(frozen=True)
class Preflight:
    """What a few iterations of one net have shown.

    Attributes:
        seconds_per_iteration: of training; the first iteration of a process is left out.
        startup_seconds: what a process takes beyond its iterations until the first is done.
        snapshot_bytes: size of a model and its solver state.
    """

    seconds_per_iteration: float
    startup_seconds: float
    snapshot_bytes: int


def preflight(
    folder: Path,
    run_folder: Path,
    net_text: str,
    recipe: Recipe,
    caffe: Caffe,
    *,
    timeout_s: float | None = 900.0,
    stop: threading.Event | None = None,
) -> Preflight:
    """Train one iteration, snapshot, go on from the snapshot for a few more, and test one batch.

    Two processes do it, with the recipe's solver at its lowest learning rate. Only their logs,
    `train.log` and `resume.log`, stay in the folder.

    Args:
        folder: a folder of its own inside `run_folder`; what it holds is removed.
        run_folder, net_text, recipe, caffe: as `run_trial` takes them.
        timeout_s: what each process may take; None for no limit.
        stop: when set, the check ends with a PreflightError.

    Raises:
        PreflightError: if Caffe fails at any of it.
        OSError: if the folder cannot be written.
    """
    end_orphans(folder / "caffe.mark", caffe.stop)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    check = _Check(folder, run_folder, recipe, caffe, timeout_s, stop or threading.Event())
    try:
        (folder / "net.prototxt").write_text(net_text)
        return check.run()
    except OSError as error:
        if not disk.is_full(error):
            raise
        raise PreflightError(disk.no_space(run_folder)) from error
    finally:
        for path in folder.iterdir():
            if path.suffix != ".log":
                path.unlink()


@dataclass(frozen=True)
class _Said:
    """One process: its lines of training loss, and all that a failure is named from."""

    log: Path
    lines: list[TrainLoss]
    first_line_after: float
    progress: Progress
    ending: Ending


@dataclass
class _Check:
    folder: Path
    run_folder: Path
    recipe: Recipe
    caffe: Caffe
    timeout_s: float | None
    stop: threading.Event

    def __post_init__(self) -> None:
        self.snapshots = Snapshots(self.folder, "snapshot")

    def run(self) -> Preflight:
        first = self.snapshots.at(1)
        said = self._train("train", 1)
        if not said.lines:
            raise self._error(said, "did not train")
        if not is_whole(first):
            raise self._error(said, "wrote no snapshot that can be read again")
        size = snapshot_bytes(first)
        said = self._train("resume", _LAST, first.state)
        lines = said.lines
        if not lines or lines[0].iteration != 1:
            raise self._error(said, "did not resume from its own snapshot")
        if lines[-1].iteration != _LAST - 1:
            raise self._error(said, "did not train on after it had resumed")
        if _LAST not in said.progress.rows:
            raise self._error(said, "printed no test accuracy")
        seconds = [line.seconds for line in lines if line.seconds is not None]
        if len(seconds) != _LAST - 1:
            raise self._error(said, "printed no time stamp with each training loss")
        each = (seconds[-1] - seconds[-1 - _TIMED]) / _TIMED
        return Preflight(each, max(0.0, said.first_line_after - each), size)

    def _train(self, name: str, last: int, state: Path | None = None) -> _Said:
        """Train up to an iteration in a process of its own."""
        prefix = self.folder.relative_to(self.run_folder)
        scheme = replace(
            self.recipe.scheme(self.recipe.max_restarts, last),
            test_iter=1,
            test_interval=_LAST,
            snapshot=0,  # at the end Caffe writes one in any case
            display=1,
        )
        text = solver_text(
            scheme, net=str(prefix / "net.prototxt"), snapshot_prefix=str(prefix / "snapshot")
        )
        (self.folder / "solver.prototxt").write_text(text)
        snapshot = None if state is None else str(prefix / state.name)
        launch = self.caffe.train(self.run_folder, str(prefix / "solver.prototxt"), snapshot)
        log = self.folder / f"{name}.log"
        lines: list[TrainLoss] = []
        progress, began, first_line_after = Progress(), time.monotonic(), 0.0
        with CaffeProcess(
            launch.argv,
            cwd=self.run_folder,
            env=self.caffe.environment(os.environ),
            log=log,
            mark=self.folder / "caffe.mark",
            timeout_s=self.timeout_s,
            stop=self.stop,
            stop_command=launch.stop,
        ) as process:
            for event in process.events():
                progress.take(event)
                # The line of the last iteration tells of a forward pass alone.
                if isinstance(event, TrainLoss) and event.iteration < last:
                    first_line_after = first_line_after or time.monotonic() - began
                    lines.append(event)
        said = _Said(log, lines, first_line_after, progress, process.ending)
        if progress.not_finite:
            raise self._error(said, "computes no finite numbers")
        return said

    def _error(self, said: _Said, what: str) -> PreflightError:
        why = said.progress.not_finite
        if not why:
            _, why = diagnose(
                said.ending,
                said.progress,
                self.snapshots,
                self.run_folder,
                timeout_s=self.timeout_s,
                lacking="with no complaint",
            )
        return PreflightError(f"{self.caffe} {what}: {why}; its log is {said.log}")
