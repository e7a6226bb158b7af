"""Layers that normalize, scale and shift: LRN, MVN, BatchNorm, Scale, Bias."""

from typing import Any, ClassVar

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch
from torch.nn import functional

from caffe_torch.blob import Shape, count
from caffe_torch.layers.activation import Elementwise
from caffe_torch.layers.base import Layer, Shapes, Tensors
from caffe_torch.log import info


class LRN(Elementwise, type="LRN"):
    """lrn_param: x / (k + alpha/n · Σ x²)^beta over n channels or an n×n neighbourhood.

    Bottom: (N, C, H, W). Across channels the sum runs over `local_size` channels around each;
    within a channel it is the average pool of x², alpha · average + 1. Source: LRNLayer.
    """

    def setup(self, bottoms: Shapes) -> None:
        size = self.param.lrn_param.local_size
        self.check(
            size % 2 == 1,
            "lrn_layer.cpp:12",
            f"size_ % 2 == 1 ({size % 2} vs. 1) LRN only supports odd values for local_size",
        )
        self.warn_in_place()

    @property
    def saves_output(self) -> bool:  # type: ignore[override]
        return bool(self.param.lrn_param.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        self.check(
            len(bottoms[0]) == 4,
            "lrn_layer.cpp:71",
            f"4 == bottom[0]->num_axes() (4 vs. {len(bottoms[0])}) Input must have 4 axes, "
            "corresponding to (num, channels, height, width)",
        )
        # A 1×1 convolution sums over channels several times as fast as a pooling over them.
        p = self.param.lrn_param
        place = torch.arange(bottoms[0][1], device=self.context.device)
        near = (place - place[:, None]).abs() <= p.local_size // 2
        self._weights = (near * (p.alpha / p.local_size))[:, :, None, None]
        self._bias = torch.full((len(place),), p.k, device=place.device)
        return [bottoms[0]]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.lrn_param
        x = bottoms[0]
        if p.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS:
            sums = functional.conv2d(x * x, self._weights, self._bias)
            return [x * _inverse_power(sums, p.beta)]
        pad = (p.local_size - 1) // 2
        mean = functional.avg_pool2d(x * x, p.local_size, 1, pad)
        return [x * _inverse_power(1 + p.alpha * mean, p.beta)]


def _inverse_power(x: torch.Tensor, beta: float) -> torch.Tensor:
    """x^−beta, for positive x; the usual 0.75 by roots, which are much faster."""
    if beta == 0.75:
        root = x.rsqrt()
        return root * root.sqrt()
    return x**-beta


class MVN(Elementwise, type="MVN"):
    """mvn_param: (x − mean) / (standard deviation + eps), or x − mean.

    Bottom: up to 4-d; top: 4-d, with axes of 1 behind. Mean and deviation are each channel's of
    each item, or with `across_channels` each item's. Source: MVNLayer.
    """

    def setup(self, bottoms: Shapes) -> None:
        if self.saves_output:
            self.warn_in_place()

    @property
    def saves_output(self) -> bool:  # type: ignore[override]
        return bool(self.param.mvn_param.normalize_variance)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        axes = len(bottoms[0])
        self.check(
            axes <= 4,
            "blob.hpp:140",
            f"num_axes() <= 4 ({axes} vs. 4) Cannot use legacy accessors on Blobs with > 4 axes.",
        )
        return [(*bottoms[0], *(1,) * (4 - axes))]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p, x = self.param.mvn_param, bottoms[0]
        (shape,) = self.reshape([tuple(x.shape)])
        rows = x.reshape(count(shape[: 1 if p.across_channels else 2]), -1)
        centred = rows - rows.mean(1, keepdim=True)
        if p.normalize_variance:
            y: torch.Tensor = _DivideByDeviation.apply(centred, p.eps)  # type: ignore[no-untyped-call]
            return [y.view(shape)]
        return [centred.view(shape)]


class _DivideByDeviation(torch.autograd.Function):
    """Rows with mean 0, divided by their standard deviation + eps.

    The gradient is Caffe's, which takes eps for 0 where the deviation is differentiated.
    """

    @staticmethod
    def forward(ctx: Any, centred: torch.Tensor, eps: float) -> torch.Tensor:
        deviation = (centred * centred).mean(1, keepdim=True).sqrt() + eps
        y = centred / deviation
        ctx.save_for_backward(y, deviation)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        y, deviation = ctx.saved_tensors
        return (grads[0] - y * (y * grads[0]).mean(1, keepdim=True)) / deviation, None


class BatchNorm(Elementwise, type="BatchNorm"):
    """batch_norm_param: (x − mean) / √(variance + eps), each channel's.

    Bottom: (N, C, …). Parameters, which no solver updates: the sums of means (C), of unbiased
    variances (C), and of weights (1) over past batches, each sum multiplied by
    `moving_average_fraction` before the next is added. In TRAIN mean and biased variance are the
    batch's, and every forward pass adds to the sums; in TEST they are the sums over the weights'
    (0 before the first batch). `use_global_stats` says it for both phases. Source:
    BatchNormLayer.
    """

    overwritable = True

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.batch_norm_param
        shape = bottoms[0]
        self._global = not self.context.training
        if p.HasField("use_global_stats"):
            self._global = p.use_global_stats
        channels = shape[self.axis(1, len(shape))]
        for size in (channels, channels, 1):
            self.add_parameter((size,), caffe_pb2.FillerParameter())
        for i in range(3):
            if len(self.param.param) == i:
                self.param.param.add(lr_mult=0.0)
            rate = self.param.param[i].lr_mult
            self.check(
                rate == 0,
                "batch_norm_layer.cpp:44",
                f"this->layer_param_.param(i).lr_mult() == 0.f ({rate:g} vs. 0) Cannot configure "
                "batch normalization statistics as layer parameters.",
            )

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        channels = self.blobs[0].count
        found = bottoms[0][self.axis(1, len(bottoms[0]))]
        self.check(
            found == channels,
            "batch_norm_layer.cpp:53",
            f"bottom[0]->shape(1) == channels_ ({found} vs. {channels}) the statistics are of "
            "another number of channels",
        )
        return [bottoms[0]]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p, x = self.param.batch_norm_param, bottoms[0]
        sums = [blob.tensor.detach() for blob in self.blobs]
        mean, variance, weight = sums
        if self._global:
            share = torch.where(weight == 0, 0.0, 1 / weight)
            return [functional.batch_norm(x, mean * share, variance * share, eps=p.eps)]
        batch = [torch.zeros_like(mean), torch.zeros_like(variance), torch.ones_like(weight)]
        if x.numel() == x.shape[1]:
            batch[0] = x.detach().reshape(-1)
            y = x - x
        else:
            y = functional.batch_norm(x, batch[0], batch[1], training=True, momentum=1.0, eps=p.eps)
        torch._foreach_mul_(sums, p.moving_average_fraction)
        torch._foreach_add_(sums, batch)
        return [y]


class Broadcast(Layer):
    """What Scale and Bias share: factors or terms over some axes of the first bottom.

    They are the second bottom, or else a parameter over `num_axes` axes from `axis` on: −1 for
    all the rest, 0 for a scalar.
    """

    bottoms = (1, 2)
    overwritable = True
    kind: ClassVar[str]
    lines: ClassVar[tuple[int, int, int, int]]

    @property
    def options(self) -> Any:
        """The layer's parameter message."""
        return getattr(self.param, f"{self.kind}_param")

    def parameter_shape(self, bottom: Shape) -> Shape:
        """The shape of a parameter for a first bottom of this shape.

        Raises:
            FatalError: it would reach beyond the bottom's axes.
        """
        axes = self.options.num_axes
        source, (negative, past, *_) = f"{self.kind}_layer.cpp", self.lines
        self.check(
            axes >= -1,
            f"{source}:{negative}",
            f"num_axes >= -1 ({axes} vs. -1) num_axes must be non-negative, or -1 to extend to the "
            "end of bottom[0]",
        )
        axis = self.axis(self.options.axis, len(bottom))
        if axes == -1:
            return bottom[axis:]
        self._check_reach(len(bottom), axis, axes, f"{source}:{past}", "num_axes")
        return bottom[axis : axis + axes]

    def _check_reach(self, rank: int, axis: int, axes: int, where: str, name: str) -> None:
        self.check(
            rank >= axis + axes,
            where,
            f"bottom[0]->num_axes() >= axis + {name} ({rank} vs. {axis + axes}) {self.kind} blob's "
            f"shape extends past bottom[0]'s shape when applied starting with bottom[0] axis = "
            f"{axis}",
        )

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        shape = bottoms[0]
        factors = bottoms[1] if len(bottoms) == 2 else self.blobs[0].shape
        axis = self._first_axis(shape, factors)
        source, (*_, past, mismatch) = f"{self.kind}_layer.cpp", self.lines
        blob = f"{self.kind}->num_axes()"
        self._check_reach(len(shape), axis, len(factors), f"{source}:{past}", blob)
        for i, size in enumerate(factors):
            self.check(
                shape[axis + i] == size,
                f"{source}:{mismatch}",
                f"bottom[0]->shape(axis_ + i) == {self.kind}->shape(i) ({shape[axis + i]} vs. "
                f"{size}) dimension mismatch between bottom[0]->shape({axis + i}) and "
                f"{self.kind}->shape({i})",
            )
        return [shape]

    def _first_axis(self, bottom: Shape, factors: Shape) -> int:
        return self.axis(self.options.axis, len(bottom)) if factors else 0

    def spread(self, factors: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Factors or terms with an axis of 1 for each later axis of x."""
        shape = tuple(factors.shape)
        after = x.dim() - self._first_axis(tuple(x.shape), shape) - len(shape)
        return factors.view(*shape, *(1,) * after)


class Scale(Broadcast, type="Scale"):
    """scale_param: y = scale · x, with `bias_term` + bias, the scale broadcast along x.

    Parameters: without a second bottom, the scale (filled with 1 by default); with `bias_term`,
    the bias of the same shape. Source: ScaleLayer.
    """

    kind = "scale"
    lines = (21, 24, 88, 92)

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.scale_param
        if len(bottoms) == 1:
            filler = p.filler if p.HasField("filler") else caffe_pb2.FillerParameter(value=1)
            self.add_parameter(self.parameter_shape(bottoms[0]), filler)
        if p.bias_term:
            info("layer_factory.hpp:77", f"Creating layer {self.name}")
            shape = bottoms[1] if len(bottoms) == 2 else self.blobs[0].shape
            self.add_parameter(shape, p.bias_filler)

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        x = bottoms[0]
        scale = self.spread(bottoms[1] if len(bottoms) == 2 else self.blobs[0].tensor, x)
        if not self.param.scale_param.bias_term:
            return [x * scale]
        return [torch.addcmul(self.spread(self.blobs[-1].tensor, x), x, scale)]


class Bias(Broadcast, type="Bias"):
    """bias_param: y = x + bias, the bias broadcast along x.

    Parameter: without a second bottom, the bias. Source: BiasLayer.
    """

    kind = "bias"
    lines = (19, 22, 50, 54)

    def setup(self, bottoms: Shapes) -> None:
        if len(bottoms) == 1:
            self.add_parameter(self.parameter_shape(bottoms[0]), self.param.bias_param.filler)

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        x = bottoms[0]
        return [x + self.spread(bottoms[1] if len(bottoms) == 2 else self.blobs[0].tensor, x)]
