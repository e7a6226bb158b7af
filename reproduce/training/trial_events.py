"""What happens in a trial, as values, for whoever shows or records it."""

from __future__ import annotations

from dataclasses import dataclass

from reproduce.training.outcome import TrialResult


@dataclass(frozen=True)
class PhaseStarted:
    """A process begins to train attempt `attempt` between two iterations."""

    attempt: int
    learning_rate: float
    from_iteration: int
    to_iteration: int


@dataclass(frozen=True)
class TrainProgress:
    """A line of training loss; the speed is known from a process's second line on."""

    attempt: int
    iteration: int
    of: int
    loss: float
    iterations_per_second: float | None


@dataclass(frozen=True)
class EpochFinished:
    """An epoch was tested; no loss where the net prints none."""

    attempt: int
    epoch: int
    of: int
    accuracy: float
    loss: float | None


@dataclass(frozen=True)
class Restarted:
    """Attempt `attempt` begins with new weights at a lower learning rate."""

    attempt: int
    learning_rate: float
    reason: str


@dataclass(frozen=True)
class Retried:
    """A process failed and is started again from the newest snapshot."""

    attempt: int
    reason: str


@dataclass(frozen=True)
class TrialFinished:
    """The trial ended."""

    result: TrialResult


TrialEvent = PhaseStarted | TrainProgress | EpochFinished | Restarted | Retried | TrialFinished
