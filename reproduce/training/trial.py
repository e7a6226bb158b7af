"""One trial of the paper's section 5: train one network, restarting where it does not learn.

An attempt trains one epoch, is judged, and goes on from its snapshot to the last epoch; an
attempt at chance level is given up for new weights and a lower learning rate. All that a trial
knows lies in its folder:

    net.prototxt, recipe.json        what is trained
    solver_<k>[_first].prototxt      attempt k; `_first` up to the first epoch's end
    caffe_<k>_<n>.log                the n-th process of attempt k
    processes.jsonl                  when each process began, and how it ended
    snapshot_<k>_iter_<i>.*          the newest snapshot, while training; after a failure if the
                                     recipe keeps it
    result.json, model.caffemodel    the end; the model if the recipe keeps it
    caffe.mark                       while a process may run: what `end_orphans` needs

So a trial whose driver was killed at any instant goes on where its files end. A full disk stops
a trial as the user does: it is no failure, and what was half written is never believed.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

from prototxt_gen.solver import solver_text
from reproduce.files import write_atomically
from reproduce.training import disk
from reproduce.training.caffe import Caffe
from reproduce.training.diagnosis import diagnose
from reproduce.training.journal import RETRIED, Journal
from reproduce.training.log_parser import TrainLoss, parse_events
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.process import CaffeProcess, Ending, end_orphans
from reproduce.training.progress import Progress, Speed, TestRow, Verdict
from reproduce.training.recipe import Recipe
from reproduce.training.snapshots import MODEL, Snapshots, is_whole
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
    "CAN_BE_TRIED_AGAIN",
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


CAN_BE_TRIED_AGAIN = (Outcome.CRASHED, Outcome.TIMEOUT, Outcome.OUT_OF_MEMORY)
"""Outcomes that another try, with more time or memory or a sound device, may better."""


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
        recipe: how to train. Of a trial that has begun, its limits and what it keeps may change;
            a finished one stays as it is.
        caffe: what trains.
        on_event: called with each step, in the calling thread; not with those of earlier calls.
        stop: when set, training stops after a snapshot; the result then is `stopped` and is
            not stored, so that another call goes on. A full disk ends the same way, with a
            message that says so.

    Raises:
        TrialError: if the folder holds a trial of another net or recipe, or lies elsewhere.
        OSError: if the folder cannot be written, though there is space.
    """
    trial = _Trial(folder, run_folder, recipe, caffe, on_event, stop or threading.Event())
    try:
        trial.prepare(net_text)
        result = trial.stored_result()
        if result is not None:
            return result
        result = trial.run()
    except OSError as error:
        if not disk.is_full(error):
            raise
        result = trial.result(Outcome.STOPPED, disk.no_space(run_folder))
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
        self._begin(0, Progress())
        self.iterations = 0  # of the attempts before this one

    def _begin(self, attempt: int, progress: Progress) -> None:
        self.attempt, self.progress = attempt, progress
        self.snapshots = Snapshots(self.folder, f"snapshot_{attempt}")

    def prepare(self, net_text: str) -> None:
        """Make the folder this trial's, or find that it is."""
        try:
            self.prefix = self.folder.relative_to(self.run_folder)
        except ValueError as error:
            raise TrialError(f"{self.folder} is not inside {self.run_folder}") from error
        self.folder.mkdir(parents=True, exist_ok=True)
        end_orphans(self.mark, self.caffe.stop)
        for name, text, same in (
            ("net.prototxt", net_text, net_text.__eq__),
            ("recipe.json", self.recipe.identity(), self.recipe.is_of),
        ):
            path = self.folder / name
            if not path.exists():
                write_atomically(path, text)
            elif not same(path.read_text()):
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
        self._clean(result.outcome)
        return result

    def run(self) -> TrialResult:
        try:
            outcome, message = self._attempts()
        except _UntrainedError as failure:
            outcome, message = failure.outcome, failure.message
        result = self.result(outcome, message)
        if outcome is not Outcome.STOPPED:
            write_atomically(self.folder / "result.json", result.to_json() + "\n")
            self._clean(outcome)
        return result

    def result(self, outcome: Outcome, message: str) -> TrialResult:
        return TrialResult(
            outcome=outcome,
            accuracies=self.progress.accuracies(self.recipe),
            learning_rate=self.recipe.learning_rate(self.attempt),
            restarts=self.attempt,
            iterations=self.iterations + self.progress.reached,
            seconds=round(self.journal.seconds(), 3),
            trainer=str(self.caffe),
            message=message,
        )

    def _attempts(self) -> tuple[Outcome, str]:
        """Climb down the learning rates until an attempt is the last; its outcome, and why."""
        attempt = 0
        while True:
            self._begin(attempt, self._replay(attempt))
            verdict = self._train_until_decided()
            if verdict is Verdict.FINISHED:
                self._keep_model()
                return Outcome.FINISHED, ""
            if verdict is Verdict.DIVERGED:
                return Outcome.DIVERGED, self.progress.not_finite
            reason = self._failed_to_learn()
            if attempt >= self.recipe.max_restarts:
                return Outcome.CHANCE_LEVEL, reason
            self.snapshots.remove_all()
            attempt += 1
            if not self._logs(attempt):
                self.on_event(Restarted(attempt, self.recipe.learning_rate(attempt), reason))
            self.iterations += min(self.progress.reached, self.recipe.iterations_per_epoch)

    def _replay(self, attempt: int) -> Progress:
        progress = Progress()
        for log in self._logs(attempt):
            progress.replay(parse_events(log))
        return progress

    def _logs(self, attempt: int) -> list[Path]:
        pattern = re.compile(rf"caffe_{attempt}_(\d+)\.log")
        found = {path: pattern.fullmatch(path.name) for path in self.folder.iterdir()}
        numbered = [(int(match[1]), path) for path, match in found.items() if match]
        return [path for _, path in sorted(numbered)]

    def _train_until_decided(self) -> Verdict:
        """Run processes until the attempt is decided, or raise _UntrainedError."""
        while True:
            verdict = self.progress.verdict(self.recipe)
            if verdict is Verdict.FINISHED and not self._has_model():
                verdict = Verdict.TRAIN_REST
            if verdict not in (Verdict.TRAIN_FIRST, Verdict.TRAIN_REST):
                return verdict
            if self.journal.failures() > self.recipe.retries:
                raise _UntrainedError(*self.journal.last_failure())
            if self.stop.is_set():
                raise _UntrainedError(Outcome.STOPPED, "asked to stop")
            first = verdict is Verdict.TRAIN_FIRST
            target = self.recipe.iterations_per_epoch if first else self.recipe.max_iter
            ending = self._train(target)
            tested = target in self.progress.rows
            if self.progress.not_finite or (tested and (first or self._has_model())):
                self.journal.end("done", ending.seconds, "")
                continue
            outcome, message = diagnose(
                ending,
                self.progress,
                self.snapshots,
                self.run_folder,
                timeout_s=self.recipe.timeout_s,
                lacking="without a whole snapshot" if tested else "before the last test",
            )
            self.snapshots.newest(target)  # what is torn takes space
            self.journal.end(outcome, ending.seconds, message)
            if outcome not in RETRIED:
                raise _UntrainedError(outcome, message)
            if self.journal.failures() <= self.recipe.retries:
                self.on_event(Retried(self.attempt, message))

    def _train(self, target: int) -> Ending:
        """Run one process from the newest snapshot; `progress` takes its events."""
        attempt, progress, snapshots = self.attempt, self.progress, self.snapshots
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
        speed, known = Speed(), {0, *progress.rows}  # a resumed process tests once more
        state = None if start is None else str(self.prefix / start.state.name)
        solver_path, weights = str(self.prefix / solver), self.recipe.weights
        launch = self.caffe.train(self.run_folder, solver_path, state, weights)
        with CaffeProcess(
            launch.argv,
            cwd=self.run_folder,
            env=self.caffe.environment(os.environ),
            log=log,
            mark=self.mark,
            timeout_s=self.recipe.timeout_s,
            stop=self.stop,
            stop_command=launch.stop,
        ) as process:
            for event in process.events():
                row = progress.take(event)
                if row is not None:
                    snapshots.remove_before(row.iteration)
                    if row.iteration not in known:
                        self._report(row)
                if progress.not_finite:
                    process.kill()
                elif isinstance(event, TrainLoss):
                    per_second = speed.take(event)
                    at = TrainProgress(attempt, event.iteration, target, event.loss, per_second)
                    self.on_event(at)
        return process.ending

    def _report(self, row: TestRow) -> None:
        epoch, rest = divmod(row.iteration, self.recipe.iterations_per_epoch)
        if rest == 0:
            of = self.recipe.epochs
            self.on_event(EpochFinished(self.attempt, epoch, of, row.accuracy, row.loss))

    def _failed_to_learn(self) -> str:
        if self.progress.not_finite:
            return self.progress.not_finite
        row = self.progress.rows[self.recipe.iterations_per_epoch]
        chance = self.recipe.chance_accuracy
        return f"accuracy {row.accuracy:g} after the first epoch, no better than {chance:g}"

    def _has_model(self) -> bool:
        """Whether the trained weights are on disk, whole, if they shall be kept."""
        if not self.recipe.keep_model or (self.folder / MODEL).exists():
            return True
        return is_whole(self.snapshots.at(self.recipe.max_iter))

    def _keep_model(self) -> None:
        model = self.folder / MODEL
        if self.recipe.keep_model and not model.exists():
            self.snapshots.at(self.recipe.max_iter).model.replace(model)

    def _clean(self, outcome: Outcome) -> None:
        if self.recipe.keep_snapshot and outcome in CAN_BE_TRIED_AGAIN:
            return
        for attempt in range(self.recipe.max_restarts + 1):
            Snapshots(self.folder, f"snapshot_{attempt}").remove_all()
