"""Layers from one blob to several, from several to one, and to none."""

from itertools import pairwise
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch.blob import Shape, shape_string
from caffe_torch.layers.base import ANY, Layer, Shapes, Tensors


class Split(Layer, type="Split"):
    """One bottom, copied to every top; the gradients add up. Source: SplitLayer."""

    reduced = True
    tops = (1, ANY)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        self.check(
            self.param.bottom[0] not in self.param.top,
            "split_layer.cpp:18",
            "top[i] != bottom[0] Split Layer does not allow in-place computation.",
        )
        return [bottoms[0]] * len(self.param.top)

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [bottoms[0].view_as(bottoms[0]) for _ in self.param.top]


class Silence(Layer, type="Silence"):
    """Reads its bottoms, so that none is printed as an output; no top. Source: SilenceLayer."""

    bottoms = (1, ANY)
    tops = (0, 0)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        return []

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return []


class AlongAxis(Layer):
    """An axis given as `axis`, or as the older `concat_dim` or `slice_dim`."""

    def _axis(self, rank: int, param: Any, old: str, lines: tuple[int, int]) -> int:
        kind = self.type.lower()
        self.check(
            not (param.HasField("axis") and param.HasField(old)),
            f"{kind}_layer.cpp:{lines[0]}",
            f"!({kind}_param.has_axis() && {kind}_param.has_{old}()) Either axis or {old} should "
            "be specified; not both.",
        )
        if not param.HasField(old):
            return self.axis(param.axis, rank)
        axis = int(getattr(param, old))
        self.check(
            axis < rank,
            f"{kind}_layer.cpp:{lines[1]}",
            f"{kind}_axis_ < num_axes ({axis} vs. {rank}) {old} out of range.",
        )
        return axis


class Concat(AlongAxis, type="Concat"):
    """concat_param: bottoms one after the other along `axis`. Source: ConcatLayer."""

    reduced = True
    bottoms = (1, ANY)
    overwritable = True

    def _concat_axis(self, rank: int) -> int:
        return self._axis(rank, self.param.concat_param, "concat_dim", (12, 28))

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        first = bottoms[0]
        axis = self._concat_axis(len(first))
        for other in bottoms[1:]:
            self.check(
                len(other) == len(first),
                "concat_layer.cpp:38",
                f"num_axes == bottom[i]->num_axes() ({len(first)} vs. {len(other)}) All inputs "
                "must have the same #axes.",
            )
            for i, (a, b) in enumerate(zip(first, other, strict=True)):
                self.check(
                    a == b or i == axis,
                    "concat_layer.cpp:42",
                    f"top_shape[j] == bottom[i]->shape(j) ({a} vs. {b}) All inputs must have the "
                    f"same shape, except at concat_axis. (axis {axis}: {shape_string(first)} vs. "
                    f"{shape_string(other)})",
                )
        return [(*first[:axis], sum(shape[axis] for shape in bottoms), *first[axis + 1 :])]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [torch.cat(list(bottoms), self._concat_axis(bottoms[0].dim()))]


class Slice(AlongAxis, type="Slice"):
    """slice_param: parts of the bottom along `axis`, cut at each `slice_point`.

    Without points, as many equal parts as tops. Source: SliceLayer.
    """

    reduced = True
    tops = (1, ANY)

    def _parts(self, shape: Shape) -> tuple[int, list[int]]:
        """The axis, and each top's length along it."""
        p, n = self.param.slice_param, len(self.param.top)
        axis = self._axis(len(shape), p, "slice_dim", (13, 33))
        length, points = shape[axis], list(p.slice_point)
        if not points:
            self.check(
                length % n == 0,
                "slice_layer.cpp:61",
                f"bottom_slice_axis % top.size() == 0 ({length % n} vs. 0) Number of top blobs "
                f"({n}) should evenly divide input slice axis ({length})",
            )
            return axis, [length // n] * n
        self.check(
            len(points) == n - 1,
            "slice_layer.cpp:43",
            f"slice_point_.size() == top.size() - 1 ({len(points)} vs. {n - 1}) give one point "
            "less than tops",
        )
        self.check(
            n <= length,
            "slice_layer.cpp:44",
            f"top.size() <= bottom_slice_axis ({n} vs. {length}) slice axis: {axis}, bottom[0] "
            f"shape: {shape_string(shape)}",
        )
        ends = [0, *points, length]
        for before, point in zip(ends, points, strict=False):
            self.check(
                point > before,
                "slice_layer.cpp:50",
                f"slice_point_[i] > prev ({point} vs. {before}) let the points grow",
            )
        rest = length - points[-1]
        self.check(
            rest > 0,
            "blob.cpp:32",
            f"shape[i] >= 0 ({rest} vs. 0) the last slice_point leaves nothing of axis {axis}, "
            f"{length} long; make it smaller",
        )
        return axis, [end - start for start, end in pairwise(ends)]

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        shape = bottoms[0]
        axis, lengths = self._parts(shape)
        return [(*shape[:axis], length, *shape[axis + 1 :]) for length in lengths]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        axis, lengths = self._parts(tuple(bottoms[0].shape))
        return list(torch.split(bottoms[0], lengths, axis))


class Eltwise(Layer, type="Eltwise"):
    """eltwise_param: product, sum weighted by `coeff`, or maximum. Source: EltwiseLayer.

    The gradient of a maximum goes to one bottom: of equal ones to the second, if that is the
    maximum of the first two, and to the earlier of the others. With `stable_prod_grad: false` a
    product's gradient is the product divided by the bottom, NaN where that is 0.
    """

    reduced = True
    bottoms = (2, ANY)
    overwritable = True

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        p = self.param.eltwise_param
        self.check(
            len(p.coeff) in (0, len(bottoms)),
            "eltwise_layer.cpp:12",
            "this->layer_param().eltwise_param().coeff_size() == 0 || this->layer_param()."
            "eltwise_param().coeff_size() == bottom.size() Eltwise Layer takes one coefficient per "
            "bottom blob.",
        )
        self.check(
            not p.coeff or p.operation != caffe_pb2.EltwiseParameter.PROD,
            "eltwise_layer.cpp:15",
            "!(this->layer_param().eltwise_param().operation() == "
            "EltwiseParameter_EltwiseOp_PROD && this->layer_param().eltwise_param().coeff_size()) "
            "Eltwise layer only takes coefficients for summation.",
        )
        for i, other in enumerate(bottoms[1:], 1):
            self.check(
                other == bottoms[0],
                "eltwise_layer.cpp:34",
                "bottom[0]->shape() == bottom[i]->shape() bottom[0]: "
                f"{shape_string(bottoms[0])}, bottom[{i}]: {shape_string(other)}",
            )
        return [bottoms[0]]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.eltwise_param
        if p.operation == caffe_pb2.EltwiseParameter.SUM:
            return [_weighted_sum(bottoms, list(p.coeff) or [1.0] * len(bottoms))]
        if p.operation == caffe_pb2.EltwiseParameter.MAX:
            return [_maximum(bottoms)]
        if p.stable_prod_grad:
            return [_product(bottoms)]
        y: torch.Tensor = _DividedProduct.apply(*bottoms)  # type: ignore[no-untyped-call]
        return [y]


def _weighted_sum(bottoms: Tensors, coefficients: list[float]) -> torch.Tensor:
    y = bottoms[0] * coefficients[0]
    for x, coefficient in zip(bottoms[1:], coefficients[1:], strict=True):
        y = torch.add(y, x, alpha=coefficient)
    return y


def _maximum(bottoms: Tensors) -> torch.Tensor:
    y = torch.where(bottoms[0] > bottoms[1], bottoms[0], bottoms[1])
    for x in bottoms[2:]:
        y = torch.where(x > y, x, y)
    return y


def _product(bottoms: Tensors) -> torch.Tensor:
    y = bottoms[0]
    for x in bottoms[1:]:
        y = y * x
    return y


class _DividedProduct(torch.autograd.Function):
    """A product whose gradient is gradient · product / factor."""

    @staticmethod
    def forward(ctx: Any, *factors: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(*factors)
        return _product(factors)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        factors = ctx.saved_tensors
        product = _product(factors)
        return tuple(product / factor * grads[0] for factor in factors)
