"""What a Caffe log says, as values: one immutable event for each line that means something.

The three that a log repeats by the thousand are not frozen, which makes them three times faster to
build; their fields are Final instead, for the type checker to guard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(slots=True, unsafe_hash=True)
class LearningRate:
    """`Iteration 100, lr = 0.001`."""

    iteration: Final[int]
    value: Final[float]


@dataclass(slots=True, unsafe_hash=True)
class TrainLoss:
    """`Iteration 100 (4.9 iter/s, 20.3s/100 iters), loss = 0.36`, or without the speed.

    `seconds` counts from the first time stamp of the log; None where the line has none.
    """

    iteration: Final[int]
    loss: Final[float]
    seconds: Final[float | None]


@dataclass(slots=True, unsafe_hash=True)
class TrainOutput:
    """`Train net output #0: loss = 0.36 (* 1 = 0.36 loss)`; no `loss_weight` without a loss."""

    iteration: Final[int]
    index: Final[int]
    name: Final[str]
    value: Final[float]
    loss_weight: Final[float | None]


@dataclass(frozen=True, slots=True)
class TestStart:
    """`Iteration 430, Testing net (#0)`."""

    __test__ = False  # not a test class, whatever pytest makes of the name

    iteration: int
    net: int


@dataclass(frozen=True, slots=True)
class TestOutput:
    """`Test net output #0: accuracy = 0.98`, of the test that began last."""

    __test__ = False

    iteration: int
    net: int
    index: int
    name: str
    value: float
    loss_weight: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Caffe begins to write a snapshot's model, or its solver state (`is_state`)."""

    iteration: int | None
    path: str
    is_state: bool


@dataclass(frozen=True, slots=True)
class Resumed:
    """`Resuming from path`; the iteration is the one in the file's name."""

    iteration: int | None
    path: str


@dataclass(frozen=True, slots=True)
class Finished:
    """`Optimization Done.`; Caffe prints it twice, and also after it stopped early."""


@dataclass(frozen=True, slots=True)
class StoppedEarly:
    """`Optimization stopped early.`: Caffe obeyed SIGINT."""


@dataclass(frozen=True, slots=True)
class Fatal:
    """A line of severity F, Caffe's last words."""

    message: str


@dataclass(frozen=True, slots=True)
class Error:
    """A line of severity E, protobuf's or gflags' complaint, or a Python or C++ exception."""

    message: str


@dataclass(frozen=True, slots=True)
class Signal:
    """`*** SIGTERM (@0x33ee) received by PID 13295 …`."""

    name: str
    message: str


Event = (
    LearningRate
    | TrainLoss
    | TrainOutput
    | TestStart
    | TestOutput
    | Snapshot
    | Resumed
    | Finished
    | StoppedEarly
    | Fatal
    | Error
    | Signal
)
