"""Net prototxt back into an architecture."""

from __future__ import annotations

import math
from fractions import Fraction

from google.protobuf import text_format

import prototxt_gen.caffe_pb2 as caffe_pb2
from prototxt_gen.notation import (
    Architecture,
    Convolution,
    Dropout,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
)

_SILENT = {"Data", "Input", "ReLU", "ELU", "Flatten", "Softmax", "SoftmaxWithLoss", "Accuracy"}


class ReadError(ValueError):
    """A prototxt is no net of the paper's notation; the message names the layer."""


def _only(layer: caffe_pb2.LayerParameter, values: list[int], name: str, default: int) -> int:
    if len(set(values)) > 1:
        raise ReadError(f"layer {layer.name}: {name} differs between height and width")
    return values[0] if values else default


def _dropouts(ratios: list[float]) -> list[Dropout]:
    """The D(i,n) of a net, with one n for all, from ratios that a file rounds to four digits."""
    doubled = [(2 * Fraction(ratio)).limit_denominator(30) for ratio in ratios]
    count = math.lcm(*(x.denominator for x in doubled))
    return [Dropout(int(x * count), count) for x in doubled]


def read_net(text: str) -> Architecture:
    """Read the chain of a classification net, as the paper writes it.

    A convolution with 1×1 kernels followed by average pooling is `GAP`; the last inner product
    is `SM`. Activations, data and loss layers have no place in the notation and are passed over.

    Raises:
        ReadError: if the text is no prototxt, or a layer has no notation.
    """
    net = caffe_pb2.NetParameter()
    try:
        text_format.Parse(text, net)
    except text_format.ParseError as error:
        raise ReadError(f"no net prototxt: {error}") from None
    dropouts = iter(
        _dropouts([x.dropout_param.dropout_ratio for x in net.layer if x.type == "Dropout"])
    )
    layers: list[Layer] = []
    for layer in net.layer:
        if layer.type in _SILENT:
            continue
        if layer.type == "Convolution":
            conv = layer.convolution_param
            size = _only(layer, list(conv.kernel_size), "kernel_size", 0)
            stride = _only(layer, list(conv.stride), "stride", 1)
            layers.append(Convolution(conv.num_output, size, stride))
        elif layer.type == "Pooling" and layer.pooling_param.pool == caffe_pb2.PoolingParameter.MAX:
            pool = layer.pooling_param
            layers.append(Pooling(pool.kernel_size, pool.stride))
        elif layer.type == "Pooling" and layers and isinstance(layers[-1], Convolution):
            layers[-1] = GlobalAveragePooling(layers[-1].filters)
        elif layer.type == "InnerProduct":
            layers.append(FullyConnected(layer.inner_product_param.num_output))
        elif layer.type == "Dropout":
            layers.append(next(dropouts))
        else:
            raise ReadError(f"layer {layer.name}: type {layer.type} has no notation")
    if layers and isinstance(layers[-1], FullyConnected):
        layers[-1] = Softmax(layers[-1].neurons)
    elif layers and isinstance(layers[-1], GlobalAveragePooling):
        layers.append(Softmax(layers[-1].classes))
    try:
        return Architecture(tuple(layers))
    except ValueError as error:
        raise ReadError(f"net {net.name!r}: {error}") from None
