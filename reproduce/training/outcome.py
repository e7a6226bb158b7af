"""What became of one trial: a closed set of outcomes and the record that is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a trial ended."""

    FINISHED = "finished"
    """Trained to its last iteration and tested there."""
    CHANCE_LEVEL = "chance_level"
    """No better than chance after its first epoch, at every learning rate allowed."""
    DIVERGED = "diverged"
    """The loss became nan or infinite, where no restart was due."""
    OUT_OF_MEMORY = "out_of_memory"
    """Caffe, its framework or the kernel said so."""
    TIMEOUT = "timeout"
    """A process ran longer than allowed, as often as retries allow."""
    CRASHED = "crashed"
    """A process died, or ended before its last iteration, as often as retries allow."""
    STOPPED = "stopped"
    """Asked to stop, or no space on the disk; the trial goes on when run again."""


@dataclass(frozen=True)
class TrialResult:
    """One trial's record.

    Attributes:
        outcome: how it ended.
        accuracies: validation accuracy after each epoch of the kept attempt, in [0, 1]. An
            epoch whose loss is nan has none, whatever accuracy Caffe prints for it.
        learning_rate: initial learning rate of the kept attempt, which is the last one.
        restarts: attempts before the kept one.
        iterations: training iterations of all attempts, repetitions after a kill left out.
        seconds: wall time of the training processes alone.
        trainer: the `caffe` that ran, with its version.
        message: the reason of a failure, or why a prediction is no more than a guess, in one
            line; empty otherwise.
    """

    outcome: Outcome
    accuracies: tuple[float, ...]
    learning_rate: float
    restarts: int
    iterations: int
    seconds: float
    trainer: str
    message: str = ""

    @property
    def best_accuracy(self) -> float | None:
        """The highest accuracy; None without any."""
        return max(self.accuracies, default=None)

    @property
    def last_accuracy(self) -> float | None:
        """The accuracy after the last epoch that has one; None without any."""
        return self.accuracies[-1] if self.accuracies else None

    def to_json(self) -> str:
        """One JSON object, as `from_json` reads it."""
        return json.dumps(vars(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> TrialResult:
        """Read what `to_json` wrote. Raises ValueError naming what is wrong with the text."""
        try:
            fields: dict[str, Any] = json.loads(text)
            outcome = Outcome(fields.pop("outcome"))
            accuracies = tuple(map(float, fields.pop("accuracies")))
            return cls(outcome=outcome, accuracies=accuracies, **fields)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a trial's result: {error}") from error


_MEMORY = (
    "out of memory",
    "cudasuccess (2 vs. 0)",
    "std::bad_alloc",
    "memoryerror",
    "not enough memory",
    "cannot allocate memory",
    "can't allocate memory",
    "_alloc_failed",
)


def is_out_of_memory(message: str) -> bool:
    """Whether an error's text says that memory ran out: Caffe, CUDA, PyTorch, C++ or Python.

    `Check failed: error == cudaSuccess` alone does not: its code says what failed, and 2 is
    cudaErrorMemoryAllocation.
    """
    text = message.lower()
    return any(sign in text for sign in _MEMORY)
