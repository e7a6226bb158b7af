"""What an experiment says about training one network, and its solver files."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from prototxt_gen.solver import TrainingScheme

_FREE_TO_CHANGE = frozenset(
    {"timeout_s", "retries", "max_restarts", "display", "keep_model", "keep_snapshot"}
)


def restart_rate(base_lr: float, factor: float, attempt: int, decimals: int | None) -> float:
    """Initial learning rate of attempt 0, 1, …: base_lr · factor^attempt, rounded."""
    try:
        rate = float(base_lr * factor**attempt)
    except OverflowError:
        rate = math.inf
    return rate if decimals is None else float(f"{rate:.{decimals}f}")


@dataclass(frozen=True)
class Recipe:
    """How one network is trained (paper, section 5). Epochs are counted from 1.

    Attributes:
        epochs: epochs to train.
        iterations_per_epoch: batches that make one pass over the training images.
        test_iter: test batches that make one pass over the validation images.
        base_lr: initial learning rate of the first attempt.
        lr_policy: `fixed`; `step`: rate × gamma every `step_epochs`; `multistep`: rate × gamma
            after each of `multistep_epochs`, as often as an epoch is named, at the iterations
            that follow one another there.
        step_iterations, multistep_iterations: `stepsize` and the `stepvalue`s as Caffe counts
            them, in iterations, where a schedule has no whole epochs; they take the place of
            `step_epochs` and `multistep_epochs`.
        chance_accuracy: an attempt whose accuracy after its first epoch is no higher starts
            again from new weights; None trains in one go, without this rule.
        restart_factor: the learning rate's factor at each restart.
        rate_decimals: digits after the point that the solver file's rate is rounded to, as C's
            `%f` rounds to 6; None writes the rate as it is.
        max_restarts: restarts allowed; the last attempt's failure makes the trial chance level.
        timeout_s: seconds one `caffe` process may run; None for no limit.
        retries: how often in a trial a crashed or timed-out process is started again.
        weights: a `.caffemodel` whose layers of the same name each attempt starts from, relative to
            the run's folder; None for fillers alone.
        random_seed: Caffe's seed in the first attempt; attempt k uses random_seed + k.
        solver_mode: `CPU`, `GPU`, or None to leave it to the command line.
        keep_model: keep the trained weights as `model.caffemodel`.
        keep_snapshot: keep the newest snapshot where the trial crashed, timed out or ran out of
            memory, so that it can be tried again from there.
        display: iterations between two lines of training loss.

    Raises:
        ValueError: naming the field, if a count or rate is out of range.
    """

    epochs: int
    iterations_per_epoch: int
    test_iter: int
    base_lr: float
    solver_type: str = "Adam"
    lr_policy: str = "fixed"
    gamma: float | None = None
    step_epochs: int | None = None
    multistep_epochs: tuple[int, ...] = ()
    step_iterations: int | None = None
    multistep_iterations: tuple[int, ...] = ()
    momentum: float = 0.9
    momentum2: float | None = None
    delta: float | None = None
    weight_decay: float = 0.0
    chance_accuracy: float | None = None
    restart_factor: float = 0.4
    rate_decimals: int | None = None
    max_restarts: int = 5
    timeout_s: float | None = None
    retries: int = 1
    weights: str | None = None
    random_seed: int = 0
    solver_mode: str | None = None
    keep_model: bool = False
    keep_snapshot: bool = False
    display: int = 100

    def __post_init__(self) -> None:
        for name in ("epochs", "iterations_per_epoch", "test_iter", "display"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("max_restarts", "retries", "random_seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}")
        for name in ("base_lr", "restart_factor"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if self.rate_decimals is not None and self.rate_decimals < 0:
            raise ValueError(f"rate_decimals must not be negative, but is {self.rate_decimals}")
        if not self.learning_rate(self.max_restarts) > 0:
            raise ValueError(
                f"rate_decimals {self.rate_decimals} leaves nothing of the learning rate "
                f"after {self.max_restarts} restarts"
            )
        self.scheme(0, self.max_iter)  # the policy's own fields

    @property
    def max_iter(self) -> int:
        """Iterations of a whole training."""
        return self.epochs * self.iterations_per_epoch

    def learning_rate(self, attempt: int) -> float:
        """Initial learning rate of attempt 0, 1, …; see `restart_rate`."""
        return restart_rate(self.base_lr, self.restart_factor, attempt, self.rate_decimals)

    def scheme(self, attempt: int, max_iter: int) -> TrainingScheme:
        """The solver of one attempt up to an iteration: test and snapshot after each epoch."""
        epoch = self.iterations_per_epoch
        return TrainingScheme(
            solver_type=self.solver_type,
            base_lr=self.learning_rate(attempt),
            max_iter=max_iter,
            test_iter=self.test_iter,
            test_interval=epoch,
            lr_policy=self.lr_policy,
            gamma=self.gamma,
            stepsize=self.step_iterations or (self.step_epochs and self.step_epochs * epoch),
            stepvalues=self.multistep_iterations
            or tuple(
                e * epoch + self.multistep_epochs[:n].count(e)
                for n, e in enumerate(self.multistep_epochs)
            ),
            momentum=self.momentum,
            momentum2=self.momentum2,
            delta=self.delta,
            weight_decay=self.weight_decay,
            snapshot=epoch,
            display=min(self.display, epoch),
            random_seed=self.random_seed + attempt,
            solver_mode=self.solver_mode,
            test_initialization=False,
        )

    def identity(self) -> str:
        """JSON of the fields that a trial cannot change on its way; limits are left out."""
        return json.dumps(_fixed(asdict(self)), sort_keys=True)

    def is_of(self, identity: str) -> bool:
        """Whether `identity` was written by a recipe that trains alike; so by earlier versions."""
        try:
            fields = json.loads(identity)
        except ValueError:
            return False
        return isinstance(fields, dict) and _fixed(fields) == json.loads(self.identity())


def _fixed(fields: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in fields.items() if key not in _FREE_TO_CHANGE}
    for name in ("rate_decimals", "weights"):  # so that trials of versions without stay the same
        if kept.get(name) is None:
            kept.pop(name, None)
    for name in ("step_iterations", "multistep_iterations"):  # the same
        if not kept.get(name):
            kept.pop(name, None)
    return kept
