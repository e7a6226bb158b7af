"""Update rules, in Caffe's order of operations.

A rule turns gradients g into updates u, in place, from a history kept per parameter; the solver
then subtracts u. `rates` are base rate × lr_mult, one per parameter. All rules work on lists of
tensors at once. Sources: Caffe's sgd_solver.cpp, nesterov_solver.cpp, adagrad_solver.cpp,
rmsprop_solver.cpp, adadelta_solver.cpp, adam_solver.cpp.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from caffe_torch.log import FatalError

Tensors = list[torch.Tensor]


class Rule:
    """SGD: h ← momentum · h + rate · g; u = h.

    Attributes:
        history: the rule's state, `slots` tensors per parameter, in a solverstate's order: all
            parameters' first slots, then all second ones.
    """

    name: ClassVar[str] = "SGD"
    slots: ClassVar[int] = 1

    def __init__(self, param: Any, tensors: Sequence[torch.Tensor]) -> None:
        self.param = param
        self.history: Tensors = [torch.zeros_like(t) for _ in range(self.slots) for t in tensors]

    def update(self, gradients: Tensors, rates: list[float], iteration: int) -> None:
        """Turn the gradients of all parameters into updates, in place."""
        n = len(gradients)
        slots = (self.history[s * n : (s + 1) * n] for s in range(self.slots))
        self.compute(gradients, rates, iteration, *slots)

    def compute(self, g: Tensors, rates: list[float], iteration: int, *history: Tensors) -> None:
        """The rule itself."""
        (h,) = history
        torch._foreach_mul_(h, self.param.momentum)
        torch._foreach_mul_(g, rates)
        torch._foreach_add_(h, g)
        torch._foreach_copy_(g, h)


class Nesterov(Rule):
    """h' = momentum · h + rate · g; u = (1 + momentum) · h' − momentum · h."""

    name = "Nesterov"

    def compute(self, g: Tensors, rates: list[float], iteration: int, *history: Tensors) -> None:
        (h,) = history
        momentum = self.param.momentum
        old = torch._foreach_mul(h, -momentum)
        torch._foreach_mul_(h, momentum)
        torch._foreach_mul_(g, rates)
        torch._foreach_add_(h, g)
        torch._foreach_copy_(g, h)
        torch._foreach_mul_(g, 1 + momentum)
        torch._foreach_add_(g, list(old))


class AdaGrad(Rule):
    """h ← h + g²; u = rate · g / (√h + delta)."""

    name = "AdaGrad"

    def __init__(self, param: Any, tensors: Sequence[torch.Tensor]) -> None:
        super().__init__(param, tensors)
        _refuse_momentum(param, self.name, "sgd_solvers.hpp:76")

    def compute(self, g: Tensors, rates: list[float], iteration: int, *history: Tensors) -> None:
        (h,) = history
        torch._foreach_addcmul_(h, g, g)
        _scale_by_root(g, h, self.param.delta, rates)


class RMSProp(Rule):
    """h ← rms_decay · h + (1 − rms_decay) · g²; u = rate · g / (√h + delta)."""

    name = "RMSProp"

    def __init__(self, param: Any, tensors: Sequence[torch.Tensor]) -> None:
        super().__init__(param, tensors)
        _refuse_momentum(param, self.name, "sgd_solvers.hpp:96")
        decay = param.rms_decay
        for line, holds, bound in ((98, decay >= 0, ">= 0"), (100, decay < 1, "< 1")):
            if not holds:
                raise FatalError(
                    f"sgd_solvers.hpp:{line}",
                    f"Check failed: this->param_.rms_decay() {bound} ({decay:g} vs. {bound[-1]}) "
                    "rms_decay should lie between 0 and 1.",
                )

    def compute(self, g: Tensors, rates: list[float], iteration: int, *history: Tensors) -> None:
        (h,) = history
        decay = self.param.rms_decay
        torch._foreach_mul_(h, decay)
        torch._foreach_addcmul_(h, g, g, value=1 - decay)
        _scale_by_root(g, h, self.param.delta, rates)


class AdaDelta(Rule):
    """a ← m · a + (1 − m) · g²; s = g · √((b + delta) / (a + delta)); b ← m · b + (1 − m) · s²;
    u = rate · s, with m the momentum.
    """

    name = "AdaDelta"
    slots = 2

    def compute(self, g: Tensors, rates: list[float], iteration: int, *history: Tensors) -> None:
        a, b = history
        momentum, delta = self.param.momentum, self.param.delta
        torch._foreach_mul_(a, momentum)
        torch._foreach_addcmul_(a, g, g, value=1 - momentum)
        ratio = list(torch._foreach_add(b, delta))
        torch._foreach_div_(ratio, list(torch._foreach_add(a, delta)))
        torch._foreach_sqrt_(ratio)
        torch._foreach_mul_(g, ratio)
        torch._foreach_mul_(b, momentum)
        torch._foreach_addcmul_(b, g, g, value=1 - momentum)
        torch._foreach_mul_(g, rates)


class Adam(Rule):
    """m ← β1 · m + (1 − β1) · g; v ← β2 · v + (1 − β2) · g²;
    u = rate · √(1 − β2^t) / (1 − β1^t) · m / (√v + delta), t counted from 1.

    delta stands outside the bias correction, unlike in PyTorch's Adam.
    """

    name = "Adam"
    slots = 2

    def compute(self, g: Tensors, rates: list[float], iteration: int, *history: Tensors) -> None:
        m, v = history
        beta1, beta2 = self.param.momentum, self.param.momentum2
        t = iteration + 1
        correction = math.sqrt(1 - beta2**t) / (1 - beta1**t)
        torch._foreach_mul_(m, beta1)
        torch._foreach_add_(m, g, alpha=1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, g, g, value=1 - beta2)
        torch._foreach_copy_(g, m)
        _scale_by_root(g, v, self.param.delta, [rate * correction for rate in rates])


def _scale_by_root(g: Tensors, h: Tensors, delta: float, rates: list[float]) -> None:
    """g ← rate · g / (√h + delta)."""
    root = list(torch._foreach_sqrt(h))
    torch._foreach_add_(root, delta)
    torch._foreach_div_(g, root)
    torch._foreach_mul_(g, rates)


def _refuse_momentum(param: Any, name: str, where: str) -> None:
    if param.momentum != 0:
        raise FatalError(
            where,
            f"Check failed: 0 == this->param_.momentum() (0 vs. {param.momentum:g}) "
            f"Momentum cannot be used with {name}.",
        )


_RULES = {rule.name: rule for rule in (Rule, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam)}


def create_rule(param: Any, tensors: Sequence[torch.Tensor]) -> Rule:
    """The update rule of a SolverParameter for these parameters.

    Raises:
        FatalError: unknown type, or settings that the type refuses.
    """
    if param.type not in _RULES:
        raise FatalError(
            "solver_factory.hpp:76",
            f"Check failed: registry.count(type) == 1 (0 vs. 1) Unknown solver type: {param.type} "
            f"(known types: {', '.join(sorted(_RULES))})",
        )
    return _RULES[param.type](param, tensors)
