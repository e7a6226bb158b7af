"""One update of a net's parameters from their gradients. Source: SGDSolver::ApplyUpdate."""

from collections.abc import Sequence
from typing import Any

import torch

from caffe_torch.graph import LearnedParameter
from caffe_torch.learning_rate import LearningRate
from caffe_torch.log import FatalError, info, number
from caffe_torch.update_rules import Tensors, create_rule


class WeightUpdate:
    """Clips, averages and regularizes gradients, then updates the parameters by the solver's rule.

    Attributes:
        rate: the learning rate's policy.
        history: the rule's state, in a solverstate's order.

    Args:
        param: the SolverParameter.
        learned: the parameters with their multipliers.

    Raises:
        FatalError: unknown solver type, or settings that the type refuses.
    """

    def __init__(self, param: Any, learned: Sequence[LearnedParameter]) -> None:
        self.rate = LearningRate(param)
        self._param = param
        self._learned = learned
        self._tensors = [item.blob.tensor for item in learned]
        self._rule = create_rule(param, self._tensors)

    @property
    def history(self) -> Tensors:
        """All parameters' first slots of history, then all second ones."""
        return self._rule.history

    def apply(self, iteration: int) -> None:
        """Update the parameters; what was subtracted from each is then its gradient.

        Raises:
            FatalError: unknown policy or regularization, or settings that they refuse.
        """
        p = self._param
        rate = self.rate(iteration)
        if p.display and iteration % p.display == 0:
            info("sgd_solver.cpp:112", f"Iteration {iteration}, lr = {number(rate)}")
        if not self._learned:
            return
        with torch.no_grad():
            gradients = [self._gradient(item) for item in self._learned]
            self._clip(gradients)
            if p.iter_size > 1:
                torch._foreach_mul_(gradients, 1 / p.iter_size)
            self._regularize(gradients)
            self._rule.update(gradients, [rate * item.lr_mult for item in self._learned], iteration)
            torch._foreach_sub_(self._tensors, gradients)

    @staticmethod
    def _gradient(item: LearnedParameter) -> torch.Tensor:
        """A gradient; zeros for a frozen parameter: it decays, and its history goes on."""
        gradient = item.blob.gradient
        if gradient is None:
            gradient = torch.zeros_like(item.blob.tensor)
            item.blob.gradient = gradient
        return gradient

    def _clip(self, gradients: Tensors) -> None:
        """Scale all gradients down to an L2 norm of clip_gradients, if theirs is larger."""
        limit = self._param.clip_gradients
        if limit < 0:
            return
        norms = torch.stack(list(torch._foreach_norm(gradients)))
        norm = float(torch.linalg.vector_norm(norms))
        if norm > limit:
            scale = limit / norm
            info(
                "sgd_solver.cpp:99",
                f"Gradient clipping: scaling down gradients (L2 norm {number(norm)} > "
                f"{number(limit)}) by scale factor {number(scale)}",
            )
            torch._foreach_mul_(gradients, scale)

    def _regularize(self, gradients: Tensors) -> None:
        """Add the gradient of weight_decay · decay_mult times the L2 or L1 penalty."""
        p = self._param
        if not p.weight_decay:
            return
        decays = [p.weight_decay * item.decay_mult for item in self._learned]
        if p.regularization_type == "L2":
            penalties = torch._foreach_mul(self._tensors, decays)
        elif p.regularization_type == "L1":
            penalties = torch._foreach_mul(list(torch._foreach_sign(self._tensors)), decays)
        else:
            raise FatalError(
                "sgd_solver.cpp:181",
                f"Unknown regularization type: {p.regularization_type} (known: L1, L2)",
            )
        torch._foreach_add_(gradients, list(penalties))
