"""Layers that work on each element alone."""

import math

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch
from torch.nn import functional

from caffe_torch.blob import Shape
from caffe_torch.layers.base import Layer, Shapes, Tensors
from caffe_torch.layers.gradient import refuse_gradient
from caffe_torch.log import number, warning


class Elementwise(Layer):
    """One bottom, one top of the same shape, possibly the same blob."""

    def warn_in_place(self) -> None:
        """Say, in TRAIN and in place, that Caffe's gradient would be wrong: it reads the bottom."""
        if self.context.training and self.param.bottom[0] == self.param.top[0]:
            warning(
                "net.cpp:369",
                f"{self.type} layer {self.name} works in place on its bottom, which its gradient "
                "needs: this engine keeps a copy and gets it right, BVLC Caffe would not. Give it "
                "a top of its own.",
            )

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        return [bottoms[0]]


class ReLU(Elementwise, type="ReLU"):
    """relu_param: y = max(x, 0) + negative_slope · min(x, 0). Source: ReLULayer."""

    reduced = True

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        slope = self.param.relu_param.negative_slope
        x = bottoms[0]
        return [functional.leaky_relu(x, slope) if slope else functional.relu(x)]

    def forward_in_place(self, bottom: torch.Tensor) -> torch.Tensor:
        slope = self.param.relu_param.negative_slope
        return self.forward([bottom])[0] if slope else functional.relu_(bottom)


class PReLU(Elementwise, type="PReLU"):
    """prelu_param: y = max(x, 0) + a · min(x, 0), a learned, at first 0.25.

    Bottom: (N, C, …). Parameter: a of shape (C), or one scalar with `channel_shared`. Source:
    PReLULayer.
    """

    reduced = True
    overwritable = True

    def setup(self, bottoms: Shapes) -> None:
        p, shape = self.param.prelu_param, bottoms[0]
        self.check(
            len(shape) >= 2,
            "prelu_layer.cpp:14",
            f"bottom[0]->num_axes() >= 2 ({len(shape)} vs. 2) Number of axes of bottom blob must "
            "be >=2.",
        )
        filler = p.filler if p.HasField("filler") else caffe_pb2.FillerParameter(value=0.25)
        self.add_parameter(() if p.channel_shared else (shape[1],), filler)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        slopes, channels = self.blobs[0].count, bottoms[0][1]
        self.check(
            self.param.prelu_param.channel_shared or slopes == channels,
            "prelu_layer.cpp:54",
            f"blobs_[0]->count() == channels ({slopes} vs. {channels}) Negative slope size is "
            "inconsistent with prototxt config",
        )
        return [bottoms[0]]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [functional.prelu(bottoms[0], self.blobs[0].tensor)]


class ELU(Elementwise, type="ELU"):
    """elu_param: y = x if x > 0, else alpha · (exp(x) − 1). Source: ELULayer."""

    reduced = True
    saves_output = True

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [functional.elu(bottoms[0], self.param.elu_param.alpha)]

    def forward_in_place(self, bottom: torch.Tensor) -> torch.Tensor:
        alpha = self.param.elu_param.alpha
        return functional.elu_(bottom, alpha) if alpha >= 0 else self.forward([bottom])[0]


class Sigmoid(Elementwise, type="Sigmoid"):
    """sigmoid_param: y = 1 / (1 + exp(−x)). Source: SigmoidLayer."""

    reduced = True
    saves_output = True

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [bottoms[0].sigmoid()]

    def forward_in_place(self, bottom: torch.Tensor) -> torch.Tensor:
        return bottom.sigmoid_()


class TanH(Elementwise, type="TanH"):
    """tanh_param: y = tanh(x). Source: TanHLayer."""

    reduced = True
    saves_output = True

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [bottoms[0].tanh()]

    def forward_in_place(self, bottom: torch.Tensor) -> torch.Tensor:
        return bottom.tanh_()


class AbsVal(Elementwise, type="AbsVal"):
    """y = |x|, never in place. Source: AbsValLayer."""

    overwritable = True

    def setup(self, bottoms: Shapes) -> None:
        self.check(
            self.param.bottom[0] != self.param.top[0],
            "absval_layer.cpp:12",
            "top[0] != bottom[0] AbsVal Layer does not allow in-place computation.",
        )

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [bottoms[0].abs()]


class BNLL(Elementwise, type="BNLL"):
    """y = log(1 + exp(x)). Source: BNLLLayer."""

    overwritable = True

    def setup(self, bottoms: Shapes) -> None:
        self.warn_in_place()

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [functional.softplus(bottoms[0])]


class Threshold(Elementwise, type="Threshold"):
    """threshold_param: y = 1 if x > threshold, else 0; it has no gradient. Source: ThresholdLayer.

    Raises:
        FatalError: in the backward pass, where one reaches the layer.
    """

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        y = (bottoms[0] > self.param.threshold_param.threshold).to(bottoms[0].dtype)
        message = (
            f"Not Implemented Yet: Threshold has no gradient (layer '{self.name}': give it "
            "propagate_down: false)"
        )
        return [refuse_gradient(y, bottoms, "threshold_layer.hpp:56", message)]


class Dropout(Elementwise, type="Dropout"):
    """dropout_param: TRAIN: y = mask · x / (1 − dropout_ratio); TEST: y = x.

    A gradient passes where nothing was dropped, by the same factor. Source: DropoutLayer.
    """

    reduced = True

    def setup(self, bottoms: Shapes) -> None:
        ratio = self.param.dropout_param.dropout_ratio
        self.check(
            0 <= ratio < 1,
            "dropout_layer.cpp:16",
            f"0 <= dropout_ratio < 1 ({ratio:g}); give a ratio inside, or drop the layer",
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

    overwritable = True

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.power_param
        if p.power != 0 and p.scale != 0:
            self.warn_in_place()

    @property
    def saves_output(self) -> bool:  # type: ignore[override]
        p = self.param.power_param
        return p.power not in (0, 1, 2) and p.scale != 0

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.power_param
        if p.scale == 0 or p.power == 0:
            return [torch.full_like(bottoms[0], p.shift).pow(p.power)]
        y = bottoms[0] * p.scale + p.shift
        return [y if p.power == 1 else y**p.power]


class Logarithmic(Elementwise):
    """What Exp and Log share: a base, −1 for e."""

    def log_of_base(self, base: float, where: str) -> float:
        """The natural logarithm of the base.

        Raises:
            FatalError: the base is not positive.
        """
        self.check(
            base == -1 or base > 0,
            where,
            f"base > 0 ({number(base)} vs. 0) base must be strictly positive.",
        )
        return 1.0 if base == -1 else math.log(base)


class Exp(Logarithmic, type="Exp"):
    """exp_param: y = base^(shift + scale · x), base e by default. Source: ExpLayer."""

    saves_output = True

    def setup(self, bottoms: Shapes) -> None:
        self._log_base = self.log_of_base(self.param.exp_param.base, "exp_layer.cpp:14")

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.exp_param
        exponent = bottoms[0] * (p.scale * self._log_base) + p.shift * self._log_base
        return [exponent.exp_()]


class Log(Logarithmic, type="Log"):
    """log_param: y = log_base(shift + scale · x), base e by default. Source: LogLayer."""

    overwritable = True

    def setup(self, bottoms: Shapes) -> None:
        base = self.param.log_param.base
        self._log_base = self.log_of_base(base, "log_layer.cpp:14")
        self.check(
            base != 1,
            "log_layer.cpp:26",
            "!isinf(base_scale_) Inf result: 1/log(base) = 1/log(1) = inf",
        )
        self.warn_in_place()

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.log_param
        return [(bottoms[0] * p.scale + p.shift).log() / self._log_base]
