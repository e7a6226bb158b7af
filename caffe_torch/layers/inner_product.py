"""Layers that multiply by a matrix: all of it, or the row that an index names."""

import torch
from torch.nn import functional

from caffe_torch.blob import Shape, count
from caffe_torch.layers.base import Layer, Shapes, Tensors
from caffe_torch.layers.gradient import refuse_gradient
from caffe_torch.log import FatalError


class InnerProduct(Layer, type="InnerProduct"):
    """inner_product_param: y = x W' + b over the axes from `axis` on. Source: InnerProductLayer.

    Parameters: W of shape (num_output, K), or (K, num_output) with `transpose`; b (num_output).
    Top: the bottom's axes before `axis`, then num_output.
    """

    reduced = True
    overwritable = True

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.inner_product_param
        self.check(
            p.num_output > 0, "inner_product_layer.cpp:13", "num_output > 0 (0 vs. 0) give it"
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
            "inner_product_layer.cpp:64",
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


class Embed(Layer, type="Embed"):
    """embed_param: the row of the weights that each value names, cut to an integer, plus a bias.

    Parameters: weights (input_dim, num_output), bias (num_output). Top: the bottom's shape, then
    num_output. To ask for the indices' gradient is a fatal error. Source: EmbedLayer.
    """

    overwritable = True

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.embed_param
        self.check(
            p.num_output > 0,
            "embed_layer.cpp:13",
            f"N_ > 0 ({p.num_output} vs. 0) EmbedLayer num_output must be positive.",
        )
        self.check(
            p.input_dim > 0,
            "embed_layer.cpp:15",
            f"K_ > 0 ({p.input_dim} vs. 0) EmbedLayer input_dim must be positive.",
        )
        self.add_parameter((p.input_dim, p.num_output), p.weight_filler)
        if p.bias_term:
            self.add_parameter((p.num_output,), p.bias_filler)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        return [(*bottoms[0], self.param.embed_param.num_output)]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        """The tops' values.

        Raises:
            FatalError: an index has no row; on a GPU, CUDA's own error, when it is next asked.
        """
        index = bottoms[0].detach().long()
        try:
            y = functional.embedding(index, self.blobs[0].tensor)
        except IndexError:
            raise self._range_error(index) from None
        y = y + self.blobs[1].tensor if len(self.blobs) > 1 else y
        if bottoms[0].requires_grad:
            rule = "Check failed: !propagate_down[0] Can't backpropagate to EmbedLayer input."
            y = refuse_gradient(y, bottoms, "embed_layer.cpp:88", f"{rule} (layer '{self.name}')")
        return [y]

    def _range_error(self, index: torch.Tensor) -> FatalError:
        rows = self.param.embed_param.input_dim
        return FatalError(
            "embed_layer.cpp:71",
            f"Check failed: index < K_ the indices run from {int(index.min())} to "
            f"{int(index.max())}, but layer '{self.name}' has rows 0 to {rows - 1}; correct the "
            "data or input_dim",
        )
