"""The learning rate's policies. Source: SGDSolver::GetLearningRate."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from caffe_torch.log import FatalError, info


class LearningRate:
    """lr_policy: the rate at an iteration.

    Attributes:
        step: how many steps were taken (step, multistep); part of a solverstate.
    """

    def __init__(self, param: Any) -> None:
        self.step = 0
        self._param = param

    def __call__(self, iteration: int) -> float:
        """The rate, rounded to float32 as Caffe's is.

        Raises:
            FatalError: unknown policy, or settings that it refuses.
        """
        policy = self._param.lr_policy
        if policy not in self._POLICIES:
            raise FatalError(
                "sgd_solver.cpp:67",
                f"Unknown learning rate policy: {policy} (set lr_policy to one of "
                f"{', '.join(self._POLICIES)})",
            )
        with np.errstate(all="ignore"):
            return float(np.float32(self._POLICIES[policy](self, iteration)))

    def _fixed(self, iteration: int) -> float:
        return float(self._param.base_lr)

    def _require(self, line: int, name: str, bound: str) -> None:
        """Check that a field is `>= 0` or `> 0`."""
        value = getattr(self._param, name)
        if value < 0 or (value == 0 and bound == "> 0"):
            raise FatalError(
                f"sgd_solver.cpp:{line}",
                f"Check failed: this->param_.{name}() {bound} ({value:g} vs. 0) "
                f"(lr_policy {self._param.lr_policy} needs a larger {name})",
            )

    def _step(self, iteration: int) -> float:
        p = self._param
        self._require(33, "stepsize", "> 0")
        self._require(35, "gamma", ">= 0")
        self.step = iteration // p.stepsize
        return float(p.base_lr * np.float64(p.gamma) ** self.step)

    def _exp(self, iteration: int) -> float:
        self._require(39, "gamma", ">= 0")
        return float(self._param.base_lr * np.float64(self._param.gamma) ** iteration)

    def _inv(self, iteration: int) -> float:
        p = self._param
        self._require(42, "gamma", ">= 0")
        return float(p.base_lr * np.float64(1 + p.gamma * iteration) ** -p.power)

    def _multistep(self, iteration: int) -> float:
        """One step at a time: of two that are due at once, the second waits for the next call."""
        p = self._param
        if self.step < len(p.stepvalue) and iteration >= p.stepvalue[self.step]:
            self.step += 1
            info(
                "sgd_solver.cpp:50", f"MultiStep Status: Iteration {iteration}, step = {self.step}"
            )
        self._require(53, "gamma", ">= 0")
        return float(p.base_lr * np.float64(p.gamma) ** self.step)

    def _poly(self, iteration: int) -> float:
        p = self._param
        return float(p.base_lr * np.float64(1 - iteration / p.max_iter) ** p.power)

    def _sigmoid(self, iteration: int) -> float:
        p = self._param
        self._require(61, "gamma", ">= 0")
        self._require(62, "stepsize", "> 0")
        return float(p.base_lr / (1 + np.exp(np.float64(-p.gamma * (iteration - p.stepsize)))))

    _POLICIES: ClassVar[dict[str, Callable[["LearningRate", int], float]]] = {
        "fixed": _fixed,
        "step": _step,
        "exp": _exp,
        "inv": _inv,
        "multistep": _multistep,
        "poly": _poly,
        "sigmoid": _sigmoid,
    }
