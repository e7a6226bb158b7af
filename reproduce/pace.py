"""How long training takes, learned from the trainings of a run so far."""

from __future__ import annotations

import numpy as np

from prototxt_gen.notation import parse
from prototxt_gen.shapes import Padding, total_cost
from reproduce.estimate import PROCESSES, training_flop
from reproduce.experiments.schema import Experiment, FinalTraining
from reproduce.search.replay_memory import Trial

PREFLIGHT = "preflight"
"""The key under which a replay memory keeps what the check of a run's trainer has measured."""

SVHN_EXTRA_IMAGES = 531_131
"""Of SVHN's extra part, which its set `extended` adds to the training images."""


class Pace:
    """Estimates how long training takes: a time to start each process, and a speed.

    Work is counted in forward multiply-accumulates × images. Both constants are least-squares
    fits, never negative, to the trainings so far, beside what is assumed of the device: one
    training of a laptop or, once it is measured, the start of a process and a second of work.
    """

    def __init__(self) -> None:
        self._assumed = [(2.0, 3e11, 20.0)]
        self._trained: list[tuple[float, float, float]] = []

    def calibrate(self, startup: float, work_per_second: float) -> None:
        """Put what was measured on this device in the laptop's place."""
        self._assumed = [(1.0, 0.0, startup), (0.0, work_per_second, 1.0)]

    def add(self, processes: int, work: float, seconds: float) -> None:
        """Count a finished training."""
        self._trained.append((processes, work, seconds))

    def estimate(self, processes: float, work: float) -> float:
        """Seconds that more processes with so much work in all will take."""
        table = np.array(self._assumed + self._trained)
        scale = table[:, :2].max(axis=0)
        causes, seconds = table[:, :2] / scale, table[:, 2]
        fit, *_ = np.linalg.lstsq(causes, seconds, rcond=None)
        if fit.min() < 0:  # one constant alone explains the times best
            alone = fit.argmax()
            cause = causes[:, alone]
            fit = np.zeros(2)
            fit[alone] = cause @ seconds / (cause @ cause)
        return float(np.array([processes, work]) / scale @ fit)


class RunPace:
    """The time that a run still needs; nets to come are taken for the average of those so far."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._pace = Pace()
        self._nets = self._macs = 0
        self.slots = 1

    def calibrate(self, startup: float, flop_per_second: float) -> None:
        """Take up the startup time of a process, in seconds, and the speed of training."""
        self._pace.calibrate(startup, flop_per_second / training_flop(1))

    def macs(self, architecture: str, padding: Padding | None = None) -> int:
        """Forward multiply-accumulates for one image."""
        padding = padding or self._experiment.exploration.padding
        return total_cost(parse(architecture), self._experiment.data.image, padding).macs

    def sampled(self, architecture: str) -> None:
        """Count a net of the search."""
        self._nets += 1
        self._macs += self.macs(architecture)

    def trained(self, trial: Trial) -> None:
        """Learn from a trial, if it has been trained."""
        if trial.result is not None and trial.result.seconds > 0:
            epochs = len(trial.result.accuracies) + trial.result.restarts
            processes = PROCESSES + trial.result.restarts
            work = self.macs(trial.architecture) * epochs * self._experiment.train_images
            self._pace.add(processes, work, trial.result.seconds)

    def search_seconds(self, models: int) -> float:
        """For so many more models; 0 before the first one is known."""
        if not models or not self._nets:
            return 0.0
        training = self._experiment.exploration
        each = self._macs / self._nets * training.epochs * self._experiment.train_images
        return self._pace.estimate(PROCESSES * models, models * each) / self.slots

    def final_images(self, section: FinalTraining) -> int:
        """Images of a final training, as far as they can be told before they are prepared."""
        data = self._experiment.data
        extra = section.svhn == "extended" and data.svhn == "original"
        return data.train_images + (SVHN_EXTRA_IMAGES if extra else 0)

    def training_seconds(self, macs: float, epochs: int, images: int) -> float:
        """For a final training on so many images."""
        return self._pace.estimate(1, macs * epochs * images)

    def final_trained(self, macs: float, epochs: int, images: int, seconds: float) -> None:
        """Learn from a final training: its nets are often larger than the search's."""
        self._pace.add(1, macs * epochs * images, seconds)

    def seconds_left(self, models: int, finals: bool) -> float:
        """For so many more models and, where they are wanted, the final trainings."""
        seconds, experiment = self.search_seconds(models), self._experiment
        if finals and experiment.final is not None and self._nets:
            final = experiment.final
            macs, images = self._macs / self._nets, self.final_images(final)
            each = self.training_seconds(macs, final.epochs, images)
            seconds += min(final.top, self._nets + models) * each
        if finals:
            for net in experiment.published:
                macs = self.macs(net.net.notation, net.padding)
                images = net.epoch_images(self.final_images(net))
                seconds += self.training_seconds(macs, net.epochs, images)
        return seconds
