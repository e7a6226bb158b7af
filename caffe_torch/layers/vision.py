"""Layers over images: convolution, pooling, local response normalization."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import torch
from torch.nn import functional

from caffe_torch.blob import Shape
from caffe_torch.layers.base import ANY, Layer, Shapes, Tensors


class Convolution(Layer, type="Convolution"):
    """convolution_param: cross-correlation of (N, C, H, W) with `num_output` kernels, plus a bias.

    Parameters: weights (num_output, C / group, kernel_h, kernel_w), bias (num_output). Any number
    of bottoms, each with its top, share them. Sizes round down. Source: BaseConvolutionLayer.
    """

    overwritable = True

    bottoms = (1, ANY)
    tops = (1, ANY)

    def _pair(self, stem: str, default: int) -> tuple[int, int]:
        """kernel_size, stride, pad or dilation: one value, one per axis, or `_h` and `_w`."""
        p = self.param.convolution_param
        short = stem.removesuffix("_size")
        values = list(getattr(p, stem))
        names = (f"{short}_h", f"{short}_w")
        if stem != "dilation" and any(p.HasField(name) for name in names):
            self.check(
                not values,
                "base_conv_layer.cpp:32",
                f"0 == {stem}_size() Either {stem} or {names[0]}/{names[1]} should be specified; "
                "not both.",
            )
            return getattr(p, names[0]), getattr(p, names[1])
        self.check(
            len(values) in (0, 1, 2),
            "base_conv_layer.cpp:42",
            f"{stem} must be specified once, or once per spatial dimension ({stem} specified "
            f"{len(values)} times; 2 spatial dims).",
        )
        values = values or [default]
        return values[0], values[-1]

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.convolution_param
        shape = bottoms[0]
        self.check(
            len(shape) == 4 and p.axis in (1, -3),
            "base_conv_layer.cpp:26",
            f"num_spatial_axes_ == 2 this engine convolves 4-d (N, C, H, W) blobs over axis 1, "
            f"not {len(shape)}-d blobs; reshape the bottom",
        )
        self.kernel = self._pair("kernel_size", 0)
        self.stride = self._pair("stride", 1)
        self.pad = self._pair("pad", 0)
        self.dilation = self._pair("dilation", 1)
        self.check(
            min(self.kernel) > 0,
            "base_conv_layer.cpp:57",
            "kernel_shape_data[i] > 0 Filter dimensions must be nonzero.",
        )
        self.check(
            min(self.stride) > 0 and min(self.dilation) > 0,
            "base_conv_layer.cpp:74",
            "stride_data[i] > 0 Stride dimensions must be nonzero.",
        )
        self.check(p.num_output > 0, "base_conv_layer.cpp:112", "num_output_ > 0; give num_output")
        self.check(
            p.group > 0 and shape[1] % p.group == 0 and p.num_output % p.group == 0,
            "base_conv_layer.cpp:115",
            f"channels_ % group_ == 0 {shape[1]} channels and num_output {p.num_output} should be "
            f"multiples of group {p.group}.",
        )
        self.add_parameter((p.num_output, shape[1] // p.group, *self.kernel), p.weight_filler)
        if p.bias_term:
            self.add_parameter((p.num_output,), p.bias_filler)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        tops: list[Shape] = []
        channels = self.blobs[0].shape[1] * self.param.convolution_param.group
        self.check(
            len(bottoms) == len(self.param.top),
            "layer.hpp:389",
            "bottom.size() == top.size() a Convolution layer produces one top blob per bottom",
        )
        for shape in bottoms:
            self.check(
                len(shape) == 4 and shape[1] == channels,
                "base_conv_layer.cpp:192",
                f"bottom[0]->shape(channel_axis_) == channels_ ({shape} vs. {channels} channels) "
                "Input size incompatible with convolution kernel.",
            )
            size = tuple(
                (length + 2 * p - (d * (k - 1) + 1)) // s + 1
                for length, p, d, k, s in zip(
                    shape[2:], self.pad, self.dilation, self.kernel, self.stride, strict=True
                )
            )
            self.check(
                min(size) > 0,
                "base_conv_layer.cpp:200",
                f"output size > 0: kernel {self.kernel[0]}x{self.kernel[1]} is larger than the "
                f"padded input {shape[2]}x{shape[3]}; make the kernel smaller or pad more",
            )
            tops.append((shape[0], self.param.convolution_param.num_output, *size))
        return tops

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.convolution_param
        weight = self.blobs[0].tensor
        bias = self.blobs[1].tensor if p.bias_term else None
        return [
            functional.conv2d(x, weight, bias, self.stride, self.pad, self.dilation, p.group)
            for x in bottoms
        ]


@dataclass(frozen=True)
class Window:
    """Pooling along one axis.

    Attributes:
        length, pad, kernel, stride: of the axis, in pixels.
        out: the number of windows.
    """

    length: int
    pad: int
    kernel: int
    stride: int
    out: int

    @property
    def native(self) -> bool:
        """Whether PyTorch's pooling has the same windows and takes this padding."""
        padded = self.length + 2 * self.pad
        windows = -(-(padded - self.kernel) // self.stride) + 1
        if (windows - 1) * self.stride >= self.length + self.pad:
            windows -= 1
        return windows == self.out and 2 * self.pad <= self.kernel

    @property
    def after(self) -> int:
        """Padding behind the axis that completes the last window (negative: crop)."""
        return (self.out - 1) * self.stride + self.kernel - self.length - self.pad

    def sizes(self) -> torch.Tensor:
        """Each window's length with padding, cut at length + pad: the divisor of an average."""
        start = torch.arange(self.out) * self.stride - self.pad
        end = (start + self.kernel).clamp(max=self.length + self.pad)
        return (end - start).float()


class Pooling(Layer, type="Pooling"):
    """pooling_param: the maximum or the average over windows of (N, C, H, W).

    Size: ceil((h + 2p − k) / s) + 1, one less if p > 0 and the last window would start in the
    padding. An average divides by the window's size including padding, cut at h + p. Source:
    PoolingLayer.
    """

    overwritable = True

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.pooling_param
        self.check(
            p.pool != caffe_pb2.PoolingParameter.STOCHASTIC,
            "pooling_layer.cpp:191",
            "pool != STOCHASTIC this engine pools with MAX and AVE; choose one",
        )
        sized = p.HasField("kernel_size")
        paired = p.HasField("kernel_h") and p.HasField("kernel_w")
        if p.global_pooling:
            self.check(
                not (sized or p.HasField("kernel_h") or p.HasField("kernel_w")),
                "pooling_layer.cpp:17",
                "With Global_pooling: true Filter size cannot specified",
            )
        else:
            self.check(
                sized != (p.HasField("kernel_h") or p.HasField("kernel_w")),
                "pooling_layer.cpp:22",
                "Filter size is kernel_size OR kernel_h and kernel_w; not both",
            )
            self.check(
                sized or paired,
                "pooling_layer.cpp:25",
                "For non-square filters both kernel_h and kernel_w are required.",
            )
        self._windows(bottoms[0])

    def _windows(self, shape: Shape) -> tuple[Window, Window]:
        self.check(
            len(shape) == 4,
            "pooling_layer.cpp:80",
            f"4 == bottom[0]->num_axes() (4 vs. {len(shape)}) Input must have 4 axes, "
            "corresponding to (num, channels, height, width)",
        )
        return self._window("h", shape[2]), self._window("w", shape[3])

    def _window(self, side: str, length: int) -> Window:
        p = self.param.pooling_param

        def value(name: str) -> int:
            field = f"{name}_{side}"
            return int(getattr(p, field if p.HasField(field) else name))

        pad, stride = value("pad"), value("stride")
        kernel = p.kernel_size if p.HasField("kernel_size") else getattr(p, f"kernel_{side}")
        if p.global_pooling:
            kernel = length
            self.check(
                pad == 0 and stride == 1,
                "pooling_layer.cpp:53",
                "With Global_pooling: true; only pad = 0 and stride = 1",
            )
        self.check(
            kernel > 0 and stride > 0,
            "pooling_layer.cpp:45",
            "kernel_h_ > 0 Filter dimensions cannot be zero.",
        )
        self.check(pad < kernel, "pooling_layer.cpp:74", f"pad_h_ < kernel_h_ ({pad} vs. {kernel})")
        out = self._size(length + 2 * pad - kernel, stride)
        if pad and (out - 1) * stride >= length + pad:
            out -= 1
        self.check(
            out > 0,
            "pooling_layer.cpp:88",
            f"output size > 0: kernel {kernel} and stride {stride} leave nothing of {length} "
            "pixels; make the kernel smaller",
        )
        return Window(length, pad, kernel, stride, out)

    def _size(self, reach: int, stride: int) -> int:
        if self.param.pooling_param.round_mode == caffe_pb2.PoolingParameter.FLOOR:
            return math.floor(reach / stride) + 1
        return math.ceil(reach / stride) + 1

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        h, w = self._windows(bottoms[0])
        return [(*bottoms[0][:2], h.out, w.out)]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        x = bottoms[0]
        h, w = self._windows(tuple(x.shape))
        kernel, stride = (h.kernel, w.kernel), (h.stride, w.stride)
        is_max = self.param.pooling_param.pool == caffe_pb2.PoolingParameter.MAX
        if h.native and w.native:
            pool = functional.max_pool2d if is_max else functional.avg_pool2d
            return [pool(x, kernel, stride, (h.pad, w.pad), ceil_mode=True)]
        border = (w.pad, w.after, h.pad, h.after)
        if is_max:
            x = functional.pad(x, border, value=float(np.finfo(np.float32).min))
            return [functional.max_pool2d(x, kernel, stride)]
        total = functional.avg_pool2d(functional.pad(x, border), kernel, stride, divisor_override=1)
        return [total / torch.outer(h.sizes(), w.sizes()).to(x.device)]


class LRN(Layer, type="LRN"):
    """lrn_param: x / (k + alpha/n · Σ x²)^beta over n channels or an n×n neighbourhood.

    Across channels the sum runs over `local_size` channels around each; within a channel it is
    the average pool of x², alpha · average + 1. Source: LRNLayer.
    """

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.lrn_param
        self.check(
            p.local_size % 2 == 1,
            "lrn_layer.cpp:11",
            "size_ % 2 == 1 LRN only supports odd values for local_size",
        )

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        self.check(
            len(bottoms[0]) == 4,
            "lrn_layer.cpp:71",
            f"4 == bottom[0]->num_axes() (4 vs. {len(bottoms[0])}) Input must have 4 axes, "
            "corresponding to (num, channels, height, width)",
        )
        return [bottoms[0]]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p: Any = self.param.lrn_param
        x = bottoms[0]
        if p.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS:
            return [functional.local_response_norm(x, p.local_size, p.alpha, p.beta, p.k)]
        pad = (p.local_size - 1) // 2
        mean = functional.avg_pool2d(x * x, p.local_size, 1, pad)
        return [x * (1 + p.alpha * mean) ** -p.beta]
