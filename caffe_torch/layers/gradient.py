"""Gradients that Caffe refuses: a fatal error where a backward pass would want one."""

from collections.abc import Sequence
from typing import Any

import torch

from caffe_torch.log import FatalError


def refuse_gradient(
    value: torch.Tensor, sources: Sequence[torch.Tensor], where: str, message: str
) -> torch.Tensor:
    """The same value; a backward pass that comes through it is a fatal error.

    It comes if the value or one of the sources, from which the value was computed, has a gradient.
    """
    if not torch.is_grad_enabled():
        return value
    refused: torch.Tensor = _Refuse.apply(value, where, message, *sources)  # type: ignore[no-untyped-call]
    return refused


class _Refuse(torch.autograd.Function):
    """The first argument; its gradient is a fatal error."""

    @staticmethod
    def forward(
        ctx: Any, value: torch.Tensor, where: str, message: str, *sources: torch.Tensor
    ) -> torch.Tensor:
        ctx.error = (where, message)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        raise FatalError(*ctx.error)
