"""One trial of the paper's section 5: train one network, restarting where it does not learn.

An attempt trains one epoch, is judged, and goes on from its snapshot to the last epoch; an
attempt at chance level is given up for new weights and a lower learning rate. All that a trial
knows lies in its folder:

    net.prototxt, recipe.json        what is trained
    solver_<k>[_first].prototxt      attempt k; `_first` up to the first epoch's end
    caffe_<k>_<n>.log                the n-th process of attempt k
    processes.jsonl                  when each process began, and how it ended
    snapshot_<k>_iter_<i>.*          the newest snapshot, while training
    result.json, model.caffemodel    the end; the model if the recipe keeps it

So a trial whose driver was killed at any instant goes on where its files end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from prototxt_gen.solver import solver_text
from reproduce.files import write_atomically
from reproduce.training.caffe import Caffe
from reproduce.training.journal import RETRIED, Journal
from reproduce.training.log_parser import TrainLoss, parse_events
from reproduce.training.outcome import Outcome, TrialResult, is_out_of_memory
from reproduce.training.process import CaffeProcess, Ending, end_orphans
from reproduce.training.progress import Progress, TestRow, Verdict
from reproduce.training.recipe import Recipe
from reproduce.training.snapshots import Snapshots
from reproduce.training.trial_events import (
    EpochFinished,
    PhaseStarted,
    Restarted,
    Retried,
    TrainProgress,
    TrialEvent,
    TrialFinished,
)

__all__ = [
    "EpochFinished",
    "PhaseStarted",
    "Recipe",
    "Restarted",
    "Retried",
    "TrainProgress",
    "TrialError",
    "TrialEvent",
    "TrialFinished",
    "run_trial",
]


class TrialError(RuntimeError):
    """The trial's folder cannot be used; the message says why and what to do."""


def run_trial(
    folder: Path,
    run_folder: Path,
    net_text: str,
    recipe: Recipe,
    caffe: Caffe,
    on_event: Callable[[TrialEvent], None] = lambda event: None,
    stop: threading.Event | None = None,
) -> TrialResult:
    """Train one network, or go on where its folder says; a finished trial returns its result.

    Args:
        folder: the trial's own folder, inside `run_folder`; made if missing.
        run_folder: where `caffe` runs. All paths that it sees are relative to it, those in
            `net_text` too.
        net_text: the net's prototxt, with phases TRAIN and TEST; TEST prints an accuracy.
        recipe: how to train.
        caffe: what trains.
        on_event: called with each step, in the calling thread; not with those of earlier calls.
        stop: when set, training stops after a snapshot; the result then is `stopped` and is
            not stored, so that another call goes on.

    Raises:
        TrialError: if the folder holds a trial of another net or recipe, or lies elsewhere.
        OSError: if the folder cannot be written.
    """
    trial = _Trial(folder, run_folder, recipe, caffe, on_event, stop or threading.Event())
    trial.prepare(net_text)
    result = trial.stored_result()
    if result is None:
        result = trial.run()
        on_event(TrialFinished(result))
    return result


class _UntrainedError(Exception):
    """A trial ends without a trained network."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome, self.message = outcome, message


class _Trial:
    def __init__(
        self,
        folder: Path,
        run_folder: Path,
        recipe: Recipe,
        caffe: Caffe,
        on_event: Callable[[TrialEvent], None],
        stop: threading.Event,
    ) -> None:
        self.folder, self.run_folder = folder, run_folder
        self.recipe, self.caffe, self.on_event, self.stop = recipe, caffe, on_event, stop
        self.mark = folder / "caffe.mark"
        self.journal = Journal(folder / "processes.jsonl")

    def prepare(self, net_text: str) -> None:
        """Make the folder this trial's, or find that it is."""
        try:
            self.prefix = self.folder.relative_to(self.run_folder)
        except ValueError as error:
            raise TrialError(f"{self.folder} is not inside {self.run_folder}") from error
        self.folder.mkdir(parents=True, exist_ok=True)
        end_orphans(self.mark)
        for name, text in (
            ("net.prototxt", net_text),
            ("recipe.json", self.recipe.identity()),
        ):
            path = self.folder / name
            if not path.exists():
                write_atomically(path, text)
            elif path.read_text() != text:
                raise TrialError(
                    f"{path} differs from the trial asked for; remove {self.folder} to train anew"
                )

    def stored_result(self) -> TrialResult | None:
        path = self.folder / "result.json"
        if not path.exists():
            return None
        try:
            result = TrialResult.from_json(path.read_text())
        except ValueError as error:
            raise TrialError(f"{path}: {error}; remove it to judge the trial again") from error
        self._clean()
        return result

    def run(self) -> TrialResult:
        iterations = 0
        for attempt in range(self.recipe.max_restarts + 1):
            progress = self._replay(attempt)
            outcome, message = Outcome.FINISHED, ""
            try:
                verdict = self._attempt(attempt, progress)
                if verdict is Verdict.FINISHED:
                    self._keep_model(attempt)
                elif verdict is Verdict.DIVERGED:
                    outcome, message = Outcome.DIVERGED, progress.not_finite
                elif attempt < self.recipe.max_restarts:
                    iterations += self._iterations(progress)
                    self._restart(attempt + 1, self._failed_to_learn(progress))
                    continue
                else:
                    outcome = Outcome.CHANCE_LEVEL
                    message = self._failed_to_learn(progress)
            except _UntrainedError as failure:
                outcome, message = failure.outcome, failure.message
            break
        result = TrialResult(
            outcome=outcome,
            accuracies=progress.accuracies(self.recipe),
            learning_rate=self.recipe.learning_rate(attempt),
            restarts=attempt,
            iterations=iterations + progress.reached,
            seconds=round(self.journal.seconds(), 3),
            trainer=str(self.caffe),
            message=message,
        )
        if outcome is not Outcome.STOPPED:
            write_atomically(self.folder / "result.json", result.to_json() + "\n")
            self._clean()
        return result

    def _replay(self, attempt: int) -> Progress:
        progress = Progress()
        for log in self._logs(attempt):
            progress.replay(parse_events(log))
        return progress

    def _logs(self, attempt: int) -> list[Path]:
        found = self.folder.glob(f"caffe_{attempt}_*.log")
        return sorted(found, key=lambda path: int(path.stem.rpartition("_")[2]))

    def _attempt(self, attempt: int, progress: Progress) -> Verdict:
        """Run processes until the attempt is decided, or raise _UntrainedError."""
        while True:
            verdict = progress.verdict(self.recipe)
            if verdict not in (Verdict.TRAIN_FIRST, Verdict.TRAIN_REST):
                return verdict
            if self.journal.failures() > self.recipe.retries:
                raise _UntrainedError(*self.journal.last_failure())
            if self.stop.is_set():
                raise _UntrainedError(Outcome.STOPPED, "asked to stop")
            first = verdict is Verdict.TRAIN_FIRST
            target = self.recipe.iterations_per_epoch if first else self.recipe.max_iter
            ending = self._train(attempt, target, progress)
            if progress.not_finite or target in progress.rows:
                self.journal.end("done", ending.seconds, "")
                continue
            outcome, message = self._diagnose(ending, progress)
            self.journal.end(outcome, ending.seconds, message)
            if outcome not in RETRIED:
                raise _UntrainedError(outcome, message)
            if self.journal.failures() <= self.recipe.retries:
                self.on_event(Retried(attempt, message))

    def _train(self, attempt: int, target: int, progress: Progress) -> Ending:
        """Run one process from the newest snapshot; `progress` takes its events."""
        snapshots = Snapshots(self.folder, f"snapshot_{attempt}")
        start = snapshots.newest(target)
        solver = f"solver_{attempt}{'' if target == self.recipe.max_iter else '_first'}.prototxt"
        text = solver_text(
            self.recipe.scheme(attempt, target),
            net=str(self.prefix / "net.prototxt"),
            snapshot_prefix=str(self.prefix / f"snapshot_{attempt}"),
        )
        write_atomically(self.folder / solver, text)
        log = self.folder / f"caffe_{attempt}_{len(self._logs(attempt))}.log"
        progress.begin_process()
        self.journal.begin(log)
        from_iteration = 0 if start is None else start.iteration
        rate = self.recipe.learning_rate(attempt)
        self.on_event(PhaseStarted(attempt, rate, from_iteration, target))
        speed, known = _Speed(), {0, *progress.rows}  # a resumed process tests once more
        state = None if start is None else str(self.prefix / start.state.name)
        with CaffeProcess(
            self.caffe.train_argv(str(self.prefix / solver), state),
            cwd=self.run_folder,
            env=self.caffe.environment(os.environ),
            log=log,
            mark=self.mark,
            timeout_s=self.recipe.timeout_s,
            stop=self.stop,
        ) as process:
            for event in process.events():
                row = progress.take(event)
                if row is not None:
                    snapshots.remove_before(row.iteration)
                    if row.iteration not in known:
                        self._report(attempt, row)
                if progress.not_finite:
                    process.kill()
                elif isinstance(event, TrainLoss):
                    per_second = speed.take(event)
                    at = TrainProgress(attempt, event.iteration, target, event.loss, per_second)
                    self.on_event(at)
        return process.ending

    def _report(self, attempt: int, row: TestRow) -> None:
        epoch, rest = divmod(row.iteration, self.recipe.iterations_per_epoch)
        if rest == 0:
            of = self.recipe.epochs
            self.on_event(EpochFinished(attempt, epoch, of, row.accuracy, row.loss))

    def _diagnose(self, ending: Ending, progress: Progress) -> tuple[Outcome, str]:
        """Name what ended a process before its last test."""
        where = f"after iteration {progress.reached}"
        said = "; ".join(progress.complaints[:2])
        if any(map(is_out_of_memory, progress.complaints)):
            return Outcome.OUT_OF_MEMORY, said
        if ending.kernel_out_of_memory:
            return Outcome.OUT_OF_MEMORY, f"the kernel killed it for lack of memory, {where}"
        if ending.reason == "stopped" or (progress.stopped_early and ending.reason == "exited"):
            return Outcome.STOPPED, f"stopped {where}"
        if ending.reason == "timeout":
            return Outcome.TIMEOUT, f"no end within {self.recipe.timeout_s:g} s, {where}"
        return Outcome.CRASHED, said or f"{_how(ending.returncode)} {where}, before the last test"

    def _failed_to_learn(self, progress: Progress) -> str:
        if progress.not_finite:
            return progress.not_finite
        row = progress.rows[self.recipe.iterations_per_epoch]
        chance = self.recipe.chance_accuracy
        return f"accuracy {row.accuracy:g} after the first epoch, no better than {chance:g}"

    def _iterations(self, progress: Progress) -> int:
        return min(progress.reached, self.recipe.iterations_per_epoch)

    def _restart(self, attempt: int, reason: str) -> None:
        Snapshots(self.folder, f"snapshot_{attempt - 1}").remove_all()
        if not self._logs(attempt):
            self.on_event(Restarted(attempt, self.recipe.learning_rate(attempt), reason))

    def _keep_model(self, attempt: int) -> None:
        """Raises _UntrainedError if the trained weights should be kept and are not there."""
        model = self.folder / "model.caffemodel"
        if not self.recipe.keep_model or model.exists():
            return
        snapshot = Snapshots(self.folder, f"snapshot_{attempt}").newest(self.recipe.max_iter)
        if snapshot is None or snapshot.iteration != self.recipe.max_iter:
            raise _UntrainedError(
                Outcome.CRASHED, "trained, but without a whole snapshot at the end"
            )
        snapshot.model.replace(model)

    def _clean(self) -> None:
        for attempt in range(self.recipe.max_restarts + 1):
            Snapshots(self.folder, f"snapshot_{attempt}").remove_all()


def _how(returncode: int) -> str:
    if returncode >= 0:
        return f"exit code {returncode}"
    with contextlib.suppress(ValueError):
        return f"ended by {signal.Signals(-returncode).name}"
    return f"ended by signal {-returncode}"


class _Speed:
    """Iterations per second between two lines of training loss."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def take(self, event: TrainLoss) -> float | None:
        speed = None
        if event.seconds is not None:
            if self._last is not None and event.seconds > self._last[1]:
                passed = event.seconds - self._last[1]
                speed = (event.iteration - self._last[0]) / passed
            self._last = (event.iteration, event.seconds)
        return speed
