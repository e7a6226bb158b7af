"""The layers, a file per family; importing this package registers all of them.

A new layer is one class in one of these files: `class Name(Layer, type="Name")` with
`reshape` (shapes), `setup` (parameters, if any) and `forward` (tensors, differentiable by
autograd).
"""

from caffe_torch.layers import (
    accuracy,
    activation,
    combine,
    convolution,
    data,
    hdf5,
    image_data,
    inner_product,
    input,  # noqa: A004
    loss,
    normalization,
    plain_loss,
    pooling,
    reduction,
    selection,
    shape,
    spp,
)
from caffe_torch.layers.base import Context, Layer, create

__all__ = [
    "Context",
    "Layer",
    "accuracy",
    "activation",
    "combine",
    "convolution",
    "create",
    "data",
    "hdf5",
    "image_data",
    "inner_product",
    "input",
    "loss",
    "normalization",
    "plain_loss",
    "pooling",
    "reduction",
    "selection",
    "shape",
    "spp",
]
