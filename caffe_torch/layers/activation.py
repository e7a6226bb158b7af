"""Layers that work on each element alone."""

import torch
from torch.nn import functional

from caffe_torch.blob import Shape
from caffe_torch.layers.base import Layer, Shapes, Tensors


class Elementwise(Layer):
    """One bottom, one top of the same shape, possibly the same blob."""

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        return [bottoms[0]]


class ReLU(Elementwise, type="ReLU"):
    """relu_param: y = max(x, 0) + negative_slope · min(x, 0). Source: ReLULayer."""

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        slope = self.param.relu_param.negative_slope
        x = bottoms[0]
        return [functional.leaky_relu(x, slope) if slope else functional.relu(x)]

    def forward_in_place(self, bottom: torch.Tensor) -> torch.Tensor:
        slope = self.param.relu_param.negative_slope
        return self.forward([bottom])[0] if slope else functional.relu_(bottom)


class ELU(Elementwise, type="ELU"):
    """elu_param: y = x if x > 0, else alpha · (exp(x) − 1). Source: ELULayer."""

    saves_output = True

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [functional.elu(bottoms[0], self.param.elu_param.alpha)]

    def forward_in_place(self, bottom: torch.Tensor) -> torch.Tensor:
        alpha = self.param.elu_param.alpha
        return functional.elu_(bottom, alpha) if alpha >= 0 else self.forward([bottom])[0]


class Dropout(Elementwise, type="Dropout"):
    """dropout_param: TRAIN: y = mask · x / (1 − dropout_ratio); TEST: y = x.

    A gradient passes only where TRAIN dropped nothing. Source: DropoutLayer.
    """

    def setup(self, bottoms: Shapes) -> None:
        ratio = self.param.dropout_param.dropout_ratio
        self.check(
            0 < ratio < 1,
            "dropout_layer.cpp:16",
            f"0 < dropout_ratio < 1 ({ratio:g}); give a ratio inside, or drop the layer",
        )

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        x = bottoms[0]
        if not self.context.training:
            return [x.view_as(x)]
        keep = 1.0 - self.param.dropout_param.dropout_ratio
        mask = torch.empty_like(x, requires_grad=False)
        mask.bernoulli_(keep, generator=self.context.dropout).mul_(1.0 / keep)
        return [x * mask]


class Power(Elementwise, type="Power"):
    """power_param: y = (shift + scale · x)^power. Source: PowerLayer."""

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.power_param
        if p.scale == 0 or p.power == 0:
            value = 1.0 if p.power == 0 else p.shift**p.power
            return [torch.full_like(bottoms[0], value) + 0 * bottoms[0]]
        y = bottoms[0] * p.scale + p.shift
        return [y if p.power == 1 else y**p.power]
