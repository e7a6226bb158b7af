"""Layers over all values along axes: sums and means, the largest, softmax."""

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch.blob import Shape, count
from caffe_torch.layers.base import Layer, Shapes, Tensors
from caffe_torch.layers.gradient import refuse_gradient


class Reduction(Layer, type="Reduction"):
    """reduction_param: the sum, Σ|x|, Σx² or mean over the axes from `axis` on, times `coeff`.

    Top: the bottom's axes before `axis`, a scalar for 0. Source: ReductionLayer.
    """

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        return [bottoms[0][: self.axis(self.param.reduction_param.axis, len(bottoms[0]))]]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.reduction_param
        x = bottoms[0].flatten(p.axis % bottoms[0].dim())
        operations = caffe_pb2.ReductionParameter
        if p.operation == operations.MEAN:
            y = x.mean(-1)
        elif p.operation == operations.SUM:
            y = x.sum(-1)
        else:
            y = (x.abs() if p.operation == operations.ASUM else x * x).sum(-1)
        return [y if p.coeff == 1 else y * p.coeff]


class ArgMax(Layer, type="ArgMax"):
    """argmax_param: the places of the `top_k` largest values, the largest first.

    Of equal values the last comes first. Tops: along `axis`, the places, or the values with
    `out_max_val`; without `axis`, (N, 1, top_k) over all values of each item, or (N, 2, top_k)
    with the values behind the places. To ask for a gradient is a fatal error. Source:
    ArgMaxLayer.
    """

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        p, shape = self.param.argmax_param, bottoms[0]
        self.check(
            p.top_k >= 1,
            "argmax_layer.cpp:17",
            f"top_k_ >= 1 ({p.top_k} vs. 1) top k must not be less than 1.",
        )
        if p.HasField("axis"):
            axis = self.axis(p.axis, len(shape))
            self.check(
                p.top_k <= shape[axis],
                "argmax_layer.cpp:23",
                f"top_k_ <= bottom[0]->shape(axis_) ({p.top_k} vs. {shape[axis]}) top_k must be "
                "less than or equal to the dimension of the axis.",
            )
            return [(*shape[:axis], p.top_k, *shape[axis + 1 :])]
        self.check(
            p.top_k <= count(shape[1:]),
            "argmax_layer.cpp:26",
            f"top_k_ <= bottom[0]->count(1) ({p.top_k} vs. {count(shape[1:])}) top_k must be less "
            "than or equal to the dimension of the flattened bottom blob per instance.",
        )
        ones = (1,) * (len(shape) - 3)
        return [(shape[0], 2 if p.out_max_val else 1, p.top_k, *ones)]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        message = (
            f"Not Implemented Yet: ArgMax has no gradient (layer '{self.name}': give it "
            "propagate_down: false)"
        )
        y = self._places(bottoms[0].detach())
        return [refuse_gradient(y, bottoms, "argmax_layer.hpp:67", message)]

    def _places(self, x: torch.Tensor) -> torch.Tensor:
        p = self.param.argmax_param
        if p.HasField("axis"):
            values, places = _largest(x, p.axis, p.top_k)
            return values if p.out_max_val else places
        values, places = _largest(x.flatten(1), 1, p.top_k)
        y = torch.stack([places, values] if p.out_max_val else [places], 1)
        return y.reshape(self.reshape([tuple(x.shape)])[0])


def _largest(x: torch.Tensor, axis: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest along an axis and their places, as floats; equal ones from the last on."""
    values, backward = x.flip(axis).sort(dim=axis, descending=True, stable=True)
    places = x.shape[axis] - 1 - backward.narrow(axis, 0, k)
    return values.narrow(axis, 0, k), places.to(x.dtype)


class Softmax(Layer, type="Softmax"):
    """softmax_param: exp(x) / Σ exp(x) along `axis`. Source: SoftmaxLayer."""

    saves_output = True

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        self.axis(self.param.softmax_param.axis, len(bottoms[0]))
        return [bottoms[0]]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [torch.softmax(bottoms[0], self.param.softmax_param.axis)]
