"""How far one attempt has come, told from its logs alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from reproduce.training.log_parser import (
    Error,
    Event,
    Fatal,
    Finished,
    LearningRate,
    Resumed,
    Signal,
    Snapshot,
    StoppedEarly,
    TestOutput,
    TestStart,
    TrainLoss,
    TrainOutput,
)
from reproduce.training.recipe import Recipe


@dataclass(frozen=True)
class TestRow:
    """The whole result of one test; no loss where the net prints none in TEST."""

    __test__ = False

    iteration: int
    accuracy: float
    loss: float | None


class Verdict(Enum):
    """What an attempt's rows say is next."""

    TRAIN_FIRST = "train the first epoch"
    TRAIN_REST = "train to the last iteration"
    RESTART = "restart at a lower learning rate"
    DIVERGED = "end: the loss is not finite"
    FINISHED = "end: trained"


class Progress:
    """Reduces an attempt's events, process after process, to what the trial decides on.

    A test counts when its accuracy and its loss have both been read, or when Caffe has gone on:
    a torn log shows an accuracy whose loss, perhaps nan, is missing. Once a loss is not finite
    nothing later counts: Caffe reports accuracy 1 for a net of nan.
    """

    def __init__(self) -> None:
        self.rows: dict[int, TestRow] = {}
        self.reached = 0
        self.not_finite = ""
        self.stopped_early = False
        self.complaints: list[str] = []
        self._fresh = True  # nothing yet of this process: it may begin anywhere
        self._test: tuple[int, float | None, float | None] | None = None

    def begin_process(self) -> None:
        """The events from here on are another process's."""
        self._fresh, self._test = True, None
        self.stopped_early, self.complaints = False, []

    def replay(self, events: Iterable[Event]) -> None:
        """Take the events of one whole process."""
        self.begin_process()
        for event in events:
            self.take(event)

    def take(self, event: Event) -> TestRow | None:
        """Take the next event; returns the test that it completed."""
        if self.not_finite:
            return None
        row = None
        match event:
            case TestOutput() | TrainOutput() | LearningRate():
                if isinstance(event, TestOutput) and event.net == 0:
                    row = self._output(event)
            case Resumed(iteration=iteration):
                self._rewind(iteration or 0)
            case TestStart(iteration=iteration, net=net):
                row = self._close_test()
                self._at(iteration)
                if net == 0:
                    self._test = (iteration, None, None)
            case TrainLoss(iteration=iteration, loss=loss):
                row = self._close_test()
                self._at(iteration)
                if not math.isfinite(loss):
                    self.not_finite = f"training loss {loss} at iteration {iteration}"
            case Snapshot(iteration=iteration):
                row = self._close_test()
                self._at(iteration or 0)
            case Finished():
                row = self._close_test()
            case StoppedEarly():
                self._test, self.stopped_early = None, True
            case Fatal(message=message):
                self.complaints.insert(0, message)
            case Error(message=message) | Signal(message=message):
                self.complaints.append(message)
        return row

    def verdict(self, recipe: Recipe) -> Verdict:
        """What the rows so far ask for."""
        first = self.rows.get(recipe.iterations_per_epoch)
        if recipe.chance_accuracy is not None:
            if first is None:
                return Verdict.RESTART if self.not_finite else Verdict.TRAIN_FIRST
            if first.accuracy <= recipe.chance_accuracy:
                return Verdict.RESTART
        if self.not_finite:
            return Verdict.DIVERGED
        return Verdict.FINISHED if recipe.max_iter in self.rows else Verdict.TRAIN_REST

    def accuracies(self, recipe: Recipe) -> tuple[float, ...]:
        """The accuracy after epochs 1, 2, … as far as the rows reach."""
        out = []
        for epoch in range(1, recipe.epochs + 1):
            row = self.rows.get(epoch * recipe.iterations_per_epoch)
            if row is None:
                break
            out.append(row.accuracy)
        return tuple(out)

    def _at(self, iteration: int) -> None:
        if self._fresh:
            self._rewind(0)  # training began, and nothing was resumed
        self.reached = max(self.reached, iteration)

    def _rewind(self, iteration: int) -> None:
        """Rows beyond where this process begins belong to weights that are lost."""
        self._fresh = False
        self.rows = {at: row for at, row in self.rows.items() if at <= iteration}

    def _output(self, event: TestOutput) -> TestRow | None:
        if self._test is None:
            return None
        iteration, accuracy, loss = self._test
        if not math.isfinite(event.value):
            self.not_finite = f"test {event.name} {event.value} at iteration {iteration}"
            return None
        if event.loss_weight is not None:
            loss = event.value if loss is None else loss
        elif accuracy is None or event.name == "accuracy":
            accuracy = event.value
        self._test = (iteration, accuracy, loss)
        return self._close_test() if accuracy is not None and loss is not None else None

    def _close_test(self) -> TestRow | None:
        if self._test is None:
            return None
        iteration, accuracy, loss = self._test
        self._test = None
        if accuracy is None:
            return None
        row = self.rows[iteration] = TestRow(iteration, accuracy, loss)
        return row


class Speed:
    """Iterations per second between two lines of training loss."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def take(self, event: TrainLoss) -> float | None:
        """The speed from the last line to this one; None if either has no time stamp."""
        speed = None
        if event.seconds is not None:
            if self._last is not None and event.seconds > self._last[1]:
                passed = event.seconds - self._last[1]
                speed = (event.iteration - self._last[0]) / passed
            self._last = (event.iteration, event.seconds)
        return speed
