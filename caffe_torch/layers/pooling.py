"""Pooling: one value for each window of an image."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import torch
from torch.nn import functional

from caffe_torch.blob import Shape
from caffe_torch.layers.base import Context, Layer, Shapes, Tensors

LOWEST = float(np.finfo(np.float32).min)
"""The maximum of a window without values."""


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

    def native(self, ceil_mode: bool) -> bool:
        """Whether PyTorch's pooling has the same windows and takes this padding."""
        reach = self.length + 2 * self.pad - self.kernel
        windows = (-(-reach // self.stride) if ceil_mode else reach // self.stride) + 1
        if ceil_mode and (windows - 1) * self.stride >= self.length + self.pad:
            windows -= 1
        return windows == self.out and 2 * self.pad <= self.kernel

    @property
    def after(self) -> int:
        """Padding behind the axis that completes the last window (negative: crop)."""
        return (self.out - 1) * self.stride + self.kernel - self.length - self.pad

    def sizes(self, device: torch.device | None = None) -> torch.Tensor:
        """Each window's length with padding, cut at length + pad: the divisor of an average."""
        start = torch.arange(self.out, device=device) * self.stride - self.pad
        end = (start + self.kernel).clamp(max=self.length + self.pad)
        return (end - start).float()


class Pooling(Layer, type="Pooling"):
    """pooling_param: the maximum, the average or a random value of each window of (N, C, H, W).

    Size: ceil((h + 2p − k) / s) + 1 (floor with `round_mode: FLOOR`), one less if there is padding
    on any side and the last window would start behind the image or in it. Source: PoolingLayer.

    MAX: a second top gives the maximum's position in its image, y · W + x, −1 where no value
    was found. A NaN is no maximum, but spreads on a GPU, where to look for one would cost time.

    AVE: divides by the window's size including padding, cut at h + p.

    STOCHASTIC, which Caffe has on a GPU only: of values x ≥ 0, TRAIN takes each with probability
    x / Σx, and the gradient goes there; TEST gives the expected value, Σx² / Σx, 0 for Σx ≤ 0.
    """

    reduced = True
    tops = (1, 2)
    overwritable = True

    def __init__(self, param: Any, context: Context) -> None:
        super().__init__(param, context)
        self._windows: dict[Shape, tuple[Window, Window]] = {}

    def check_counts(self) -> None:
        super().check_counts()
        self.check(
            len(self.param.top) == 1 or self._method == caffe_pb2.PoolingParameter.MAX,
            "layer.hpp:374",
            "MaxTopBlobs() >= top.size() (1 vs. 2) Pooling Layer produces at most 1 top blob(s) as "
            "output. unless pool is MAX; remove the second",
        )

    @property
    def _method(self) -> int:
        return int(self.param.pooling_param.pool)

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.pooling_param
        has = p.HasField
        if p.global_pooling:
            self.check(
                not (has("kernel_size") or has("kernel_h") or has("kernel_w")),
                "pooling_layer.cpp:18",
                "!(pool_param.has_kernel_size() || pool_param.has_kernel_h() || "
                "pool_param.has_kernel_w()) With Global_pooling: true Filter size cannot specified",
            )
        else:
            self.check(
                has("kernel_size") != (has("kernel_h") and has("kernel_w")),
                "pooling_layer.cpp:22",
                "!pool_param.has_kernel_size() != !(pool_param.has_kernel_h() && "
                "pool_param.has_kernel_w()) Filter size is kernel_size OR kernel_h and kernel_w; "
                "not both",
            )
        for field, name, line in (("pad", "pad", 29), ("stride", "Stride", 33)):
            h, w = has(f"{field}_h"), has(f"{field}_w")
            self.check(
                (h and w and not has(field)) or not (h or w),
                f"pooling_layer.cpp:{line}",
                f"(!pool_param.has_{field}() && pool_param.has_{field}_h() && "
                f"pool_param.has_{field}_w()) || (!pool_param.has_{field}_h() && "
                f"!pool_param.has_{field}_w()) {name} is {field} OR {field}_h and {field}_w are "
                "required.",
            )
        self.windows(bottoms[0])

    def windows(self, shape: Shape) -> tuple[Window, Window]:
        """The windows along the height and the width of a bottom.

        Raises:
            FatalError: it is not 4-d, or there are no such windows.
        """
        if shape not in self._windows:
            self._windows[shape] = self._of_images(shape)
        return self._windows[shape]

    def _of_images(self, shape: Shape) -> tuple[Window, Window]:
        self.check(
            len(shape) == 4,
            "pooling_layer.cpp:82",
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
        kernel = length if p.global_pooling else kernel
        self.check(
            kernel > 0,
            f"pooling_layer.cpp:{50 if side == 'h' else 51}",
            f"kernel_{side}_ > 0 ({kernel} vs. 0) Filter dimensions cannot be zero.",
        )
        self.check(
            not p.global_pooling or (pad == 0 and stride == 1),
            "pooling_layer.cpp:65",
            "pad_h_ == 0 && pad_w_ == 0 && stride_h_ == 1 && stride_w_ == 1 With Global_pooling: "
            "true; only pad = 0 and stride = 1",
        )
        self.check(
            pad == 0 or self._method != caffe_pb2.PoolingParameter.STOCHASTIC,
            "pooling_layer.cpp:69",
            "this->layer_param_.pooling_param().pool() == PoolingParameter_PoolMethod_AVE || "
            "this->layer_param_.pooling_param().pool() == PoolingParameter_PoolMethod_MAX Padding "
            "implemented only for average and max pooling.",
        )
        self.check(
            pad < kernel,
            f"pooling_layer.cpp:{74 if side == 'h' else 75}",
            f"pad_{side}_ < kernel_{side}_ ({pad} vs. {kernel}) pad less",
        )
        self.check(stride > 0, "pooling_layer.cpp:91", f"stride_{side}_ > 0 (0 vs. 0) correct it")
        reach = (length + 2 * pad - kernel) / stride
        floor = p.round_mode == caffe_pb2.PoolingParameter.FLOOR
        out = (math.floor(reach) if floor else math.ceil(reach)) + 1
        padded = any((p.pad, p.pad_h, p.pad_w))
        if padded and (out - 1) * stride >= length + pad:
            out -= 1
        self.check(
            out > 0,
            "blob.cpp:32",
            f"shape[i] >= 0 ({out} vs. 0) kernel {kernel} and stride {stride} leave nothing of "
            f"{length} pixels; make the kernel smaller",
        )
        return Window(length, pad, kernel, stride, out)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        h, w = self.windows(bottoms[0])
        return [(*bottoms[0][:2], h.out, w.out)] * len(self.param.top)

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        x = bottoms[0]
        h, w = self.windows(tuple(x.shape))
        if self._method == caffe_pb2.PoolingParameter.MAX:
            return _largest(x, h, w, with_places=len(self.param.top) > 1)
        if self._method == caffe_pb2.PoolingParameter.AVE:
            return [_average(x, h, w)]
        if self.context.training:
            return [_sampled(x, h, w, self.context.dropout)]
        return [_expected(x, h, w)]


def _native(h: Window, w: Window) -> bool | None:
    """The `ceil_mode` with which PyTorch has the same windows; None where it has not."""
    for ceil_mode in (False, True):
        if h.native(ceil_mode) and w.native(ceil_mode):
            return ceil_mode
    return None


def _padded(x: torch.Tensor, h: Window, w: Window, value: float = 0) -> torch.Tensor:
    return functional.pad(x, (w.pad, w.after, h.pad, h.after), value=value)


def _largest(x: torch.Tensor, h: Window, w: Window, with_places: bool) -> list[torch.Tensor]:
    kernel, stride = (h.kernel, w.kernel), (h.stride, w.stride)
    ceil_mode = _native(h, w)
    if ceil_mode is not None and not with_places:
        y = functional.max_pool2d(x, kernel, stride, (h.pad, w.pad), ceil_mode=ceil_mode)
        if x.is_cuda or bool(y.detach().sum().isfinite()):
            return [y]
    x = _padded(torch.where(x > LOWEST, x, LOWEST), h, w, LOWEST)
    y, index = functional.max_pool2d(x, kernel, stride, return_indices=True)
    if not with_places:
        return [y]
    row, column = index // x.shape[3] - h.pad, index % x.shape[3] - w.pad
    places = torch.where(y > LOWEST, row * w.length + column, -1)
    return [y, places.to(x.dtype)]


def _average(x: torch.Tensor, h: Window, w: Window) -> torch.Tensor:
    ceil_mode = _native(h, w)
    if ceil_mode is not None:
        kernel, stride = (h.kernel, w.kernel), (h.stride, w.stride)
        return functional.avg_pool2d(x, kernel, stride, (h.pad, w.pad), ceil_mode=ceil_mode)
    return _sums(x, h, w) / torch.outer(h.sizes(x.device), w.sizes(x.device))


def _sums(x: torch.Tensor, h: Window, w: Window) -> torch.Tensor:
    kernel, stride = (h.kernel, w.kernel), (h.stride, w.stride)
    return functional.avg_pool2d(_padded(x, h, w), kernel, stride, divisor_override=1)


def _expected(x: torch.Tensor, h: Window, w: Window) -> torch.Tensor:
    total, squares = _sums(x, h, w), _sums(x * x, h, w)
    positive = total > 0
    return torch.where(positive, squares / torch.where(positive, total, 1), 0)


def _sampled(x: torch.Tensor, h: Window, w: Window, generator: torch.Generator) -> torch.Tensor:
    """The first value of each window up to which the sum reaches a share of the whole sum.

    The shares are uniform in (0, 1].
    """
    values = _padded(x, h, w).unfold(2, h.kernel, h.stride).unfold(3, w.kernel, w.stride)
    values = values.flatten(-2)
    sums = values.detach().cumsum(-1)
    share = 1 - torch.rand(sums.shape[:-1], generator=generator, device=x.device)
    reached = sums >= (share * sums[..., -1])[..., None]
    return values.gather(-1, reached.int().argmax(-1, keepdim=True))[..., 0]
