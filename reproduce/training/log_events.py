"""What a Caffe log says, as values: one frozen event for each line that means something."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LearningRate:
    """`Iteration 100, lr = 0.001`."""

    iteration: int
    value: float


@dataclass(frozen=True, slots=True)
class TrainLoss:
    """`Iteration 100 (4.9 iter/s, 20.3s/100 iters), loss = 0.36`, or without the speed.

    `seconds` counts from the first time stamp of the log; None where the line has none.
    """

    iteration: int
    loss: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class TrainOutput:
    """`Train net output #0: loss = 0.36 (* 1 = 0.36 loss)`; no `loss_weight` without a loss."""

    iteration: int
    index: int
    name: str
    value: float
    loss_weight: float | None


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
