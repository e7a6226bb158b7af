"""Net prototxt back into an architecture."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def dropouts(ratios: Sequence[float]) -> list[Dropout]:
    """The D(i,n) of a net, with one n for all, from ratios that a file rounds to four digits."""
    least = Fraction(1, 30)
    doubled = [max(least, (2 * Fraction(ratio)).limit_denominator(30)) for ratio in ratios]
    count = math.lcm(*(x.denominator for x in doubled))
    return [Dropout(int(x * count), count) for x in doubled]


def _read_layer(layer: caffe_pb2.LayerParameter, layers: list[Layer]) -> None:
    """Append a layer to a chain; average pooling joins the 1×1 convolution before it."""
    previous = layers[-1] if layers else None
    if layer.type == "Convolution":
        conv = layer.convolution_param
        if conv.group > 1 or any(dilation != 1 for dilation in conv.dilation):
            raise ReadError(f"layer {layer.name}: groups and dilation have no notation")
        sides = [conv.kernel_h, conv.kernel_w] if conv.HasField("kernel_h") else conv.kernel_size
        size = _only(layer, list(sides), "kernel_size", 0)
        strides = [conv.stride_h, conv.stride_w] if conv.HasField("stride_h") else conv.stride
        stride = _only(layer, list(strides), "stride", 1)
        layers.append(Convolution(conv.num_output, size, stride))
    elif layer.type == "Pooling" and layer.pooling_param.pool == caffe_pb2.PoolingParameter.MAX:
        layers.append(Pooling(layer.pooling_param.kernel_size, layer.pooling_param.stride))
    elif (
        layer.type == "Pooling"
        and layer.pooling_param.pool == caffe_pb2.PoolingParameter.AVE
        and isinstance(previous, Convolution)
        and previous.size == 1
    ):
        layers[-1] = GlobalAveragePooling(previous.filters)
    elif layer.type == "InnerProduct":
        layers.append(FullyConnected(layer.inner_product_param.num_output))
    elif layer.type == "Dropout":
        if not 0 < layer.dropout_param.dropout_ratio < 1:
            raise ReadError(f"layer {layer.name}: a dropout_ratio is between 0 and 1")
        layers.append(Dropout(1, 1))
    else:
        raise ReadError(f"layer {layer.name}: type {layer.type} has no notation")


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
    layers: list[Layer] = []
    for layer in net.layer:
        if layer.type not in _SILENT:
            try:
                _read_layer(layer, layers)
            except ReadError:
                raise
            except ValueError as error:
                raise ReadError(f"layer {layer.name}: {error}") from None
    ratios = [x.dropout_param.dropout_ratio for x in net.layer if x.type == "Dropout"]
    placed = iter(dropouts(ratios))
    layers = [next(placed) if isinstance(layer, Dropout) else layer for layer in layers]
    if layers and isinstance(layers[-1], FullyConnected):
        layers[-1] = Softmax(layers[-1].neurons)
    elif layers and isinstance(layers[-1], GlobalAveragePooling):
        layers.append(Softmax(layers[-1].classes))
    try:
        return Architecture(tuple(layers))
    except ValueError as error:
        raise ReadError(f"net {net.name!r}: {error}") from None
