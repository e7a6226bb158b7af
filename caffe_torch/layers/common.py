"""Layers that combine, copy and reshape; the inner product; softmax."""

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch
from torch.nn import functional

from caffe_torch.blob import Shape, count
from caffe_torch.layers.base import ANY, Layer, Shapes, Tensors


class Split(Layer, type="Split"):
    """One bottom, copied to every top; the gradients add up. Source: SplitLayer."""

    tops = (1, ANY)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        return [bottoms[0]] * len(self.param.top)

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [bottoms[0].view_as(bottoms[0]) for _ in self.param.top]


class InnerProduct(Layer, type="InnerProduct"):
    """inner_product_param: y = x W' + b over the axes from `axis` on. Source: InnerProductLayer.

    Parameters: W of shape (num_output, K), or (K, num_output) with `transpose`; b (num_output).
    Top: the bottom's axes before `axis`, then num_output.
    """

    overwritable = True

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.inner_product_param
        self.check(
            p.num_output > 0, "inner_product_layer.cpp:11", "num_output > 0; give num_output"
        )
        inner = count(bottoms[0][self.axis(p.axis, len(bottoms[0])) :])
        shape = (inner, p.num_output) if p.transpose else (p.num_output, inner)
        self.add_parameter(shape, p.weight_filler)
        if p.bias_term:
            self.add_parameter((p.num_output,), p.bias_filler)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        p = self.param.inner_product_param
        axis = self.axis(p.axis, len(bottoms[0]))
        inner = count(bottoms[0][axis:])
        expected = self.blobs[0].shape[0 if p.transpose else 1]
        self.check(
            inner == expected,
            "inner_product_layer.cpp:66",
            f"K_ == new_K ({expected} vs. {inner}) Input size incompatible with inner product "
            "parameters.",
        )
        return [(*bottoms[0][:axis], p.num_output)]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.inner_product_param
        x = bottoms[0]
        axis = p.axis % x.dim()
        x = x.flatten(axis) if axis < x.dim() - 1 else x
        weight = self.blobs[0].tensor
        bias = self.blobs[1].tensor if p.bias_term else None
        return [functional.linear(x, weight.t() if p.transpose else weight, bias)]


class Flatten(Layer, type="Flatten"):
    """flatten_param: the axes `axis` to `end_axis` become one. Source: FlattenLayer."""

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        p, shape = self.param.flatten_param, bottoms[0]
        start, end = self.axis(p.axis, len(shape)), self.axis(p.end_axis, len(shape))
        self.check(start <= end, "flatten_layer.cpp:15", "axis <= end_axis; swap them")
        return [(*shape[:start], count(shape[start : end + 1]), *shape[end + 1 :])]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [bottoms[0].reshape(self.reshape([tuple(bottoms[0].shape)])[0])]


class Concat(Layer, type="Concat"):
    """concat_param: bottoms one after the other along `axis`. Source: ConcatLayer."""

    bottoms = (1, ANY)

    def _axis(self, rank: int) -> int:
        p = self.param.concat_param
        return self.axis(int(p.concat_dim if p.HasField("concat_dim") else p.axis), rank)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        first = bottoms[0]
        axis = self._axis(len(first))
        for other in bottoms[1:]:
            self.check(
                len(other) == len(first)
                and all(
                    a == b for i, (a, b) in enumerate(zip(first, other, strict=True)) if i != axis
                ),
                "concat_layer.cpp:40",
                f"All inputs must have the same shape, except at concat_axis {axis}: "
                f"{first} vs. {other}.",
            )
        return [(*first[:axis], sum(shape[axis] for shape in bottoms), *first[axis + 1 :])]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [torch.cat(list(bottoms), dim=self._axis(bottoms[0].dim()))]


class Eltwise(Layer, type="Eltwise"):
    """eltwise_param: product, sum weighted by `coeff`, or maximum. Source: EltwiseLayer."""

    bottoms = (2, ANY)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        p = self.param.eltwise_param
        self.check(
            len(p.coeff) in (0, len(bottoms)),
            "eltwise_layer.cpp:11",
            "Eltwise Layer takes one coefficient per bottom blob.",
        )
        self.check(
            not p.coeff or p.operation == caffe_pb2.EltwiseParameter.SUM,
            "eltwise_layer.cpp:14",
            "Eltwise layer only takes coefficients for summation.",
        )
        for other in bottoms[1:]:
            self.check(
                other == bottoms[0],
                "eltwise_layer.cpp:34",
                f"bottom[0]->shape() == bottom[i]->shape() {bottoms[0]} vs. {other}",
            )
        return [bottoms[0]]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.eltwise_param
        y = bottoms[0]
        if p.operation == caffe_pb2.EltwiseParameter.SUM:
            coefficients = list(p.coeff) or [1.0] * len(bottoms)
            y = y * coefficients[0]
            for x, coefficient in zip(bottoms[1:], coefficients[1:], strict=True):
                y = torch.add(y, x, alpha=coefficient)
        elif p.operation == caffe_pb2.EltwiseParameter.PROD:
            for x in bottoms[1:]:
                y = y * x
        else:
            for x in bottoms[1:]:
                y = torch.where(y > x, y, x)
        return [y]


class Softmax(Layer, type="Softmax"):
    """softmax_param: exp(x) / Σ exp(x) along `axis`. Source: SoftmaxLayer."""

    saves_output = True

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        self.axis(self.param.softmax_param.axis, len(bottoms[0]))
        return [bottoms[0]]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [torch.softmax(bottoms[0], self.param.softmax_param.axis)]
