"""A net's layers as ONNX nodes: one function per layer type, the batch size left open."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import onnx
import prototxt_gen.caffe_pb2 as caffe_pb2
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from caffe_torch.blob import Array
from caffe_torch.export_net import refusal
from caffe_torch.graph import Node
from caffe_torch.layers.convolution import Convolution
from caffe_torch.layers.pooling import Pooling, Window
from caffe_torch.log import FatalError
from caffe_torch.net import Net


class Writer:
    """ONNX nodes under construction.

    Attributes:
        layer: name of the layer being translated, from which values and constants get theirs.
        values: for each blob, the name of the value that it holds now; in-place layers and copies
            change that, for a value of ONNX is written once.
    """

    def __init__(self, net: Net, reserved: Sequence[str]) -> None:
        self.net = net
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.values: dict[str, str] = {}
        self._names = set(reserved)
        self._weights: dict[tuple[int, bool], str] = {}
        self.layer = ""

    def unique(self, name: str) -> str:
        """The name, or the name with a number behind it where it is taken."""
        chosen, n = name, 1
        while chosen in self._names:
            n += 1
            chosen = f"{name}_{n}"
        self._names.add(chosen)
        return chosen

    def constant(self, array: Sequence[int] | NDArray[Any], name: str) -> str:
        """Add a constant and return its name."""
        name = self.unique(f"{self.layer}.{name}")
        values = np.ascontiguousarray(array)
        self.initializers[name] = numpy_helper.from_array(values, name)
        return name

    def scalar(self, value: float, name: str) -> str:
        """Add a float32 constant and return its name."""
        return self.constant(np.array(value, np.float32), name)

    def parameter(self, node: Node, i: int, name: str, transpose: bool = False) -> str:
        """The constant of a layer's parameter blob; layers that share it share the constant."""
        blob = node.layer.blobs[i]
        key = (id(blob), transpose)
        if key not in self._weights:
            self._weights[key] = self.constant(blob.data.T if transpose else blob.data, name)
        return self._weights[key]

    def parameters(self, node: Node) -> list[str]:
        """The constants of a layer's weights and, where it has one, its bias."""
        names = ("weight", "bias")[: len(node.layer.blobs)]
        return [self.parameter(node, i, name) for i, name in enumerate(names)]

    def op(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node with one output and return that value's name."""
        name = self.unique(self.layer)
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def shape(self, blob: str) -> tuple[int, ...]:
        """A blob's dimensions, the first of which stands for the batch."""
        return self.net.blobs[blob].shape

    def reshape(self, value: str, dims: Sequence[int]) -> str:
        """Give a value other dimensions behind the batch's."""
        target = np.array([0, *dims], np.int64)  # 0 copies the dimension
        return self.op("Reshape", [value, self.constant(target, "shape")])


def translate(writer: Writer, node: Node) -> None:
    """Add what a layer computes.

    Raises:
        FatalError: no function here translates the layer; the message names it.
    """
    kind = node.layer.type
    if kind not in TRANSLATIONS:
        known = ", ".join(sorted(TRANSLATIONS))
        raise unsupported(node, f"of type {kind}; exported are {known}")
    writer.layer = node.layer.name
    inputs = [writer.values[name] for name in node.bottoms]
    tops = TRANSLATIONS[kind](writer, node, inputs)
    writer.values.update(zip(node.tops, tops, strict=True))


def unsupported(node: Node, reason: str) -> FatalError:
    """The fatal error of a layer that is not exported."""
    return refusal(f"layer '{node.layer.name}' cannot be exported to ONNX: it is {reason}")


def _behind_batch(writer: Writer, node: Node, axis: int) -> int:
    """A non-negative axis that is not the batch's.

    Raises:
        FatalError: it is the batch's, so that images of a batch depend on each other.
    """
    axis %= len(writer.shape(node.bottoms[0]))
    if axis == 0:
        raise unsupported(node, "over axis 0, which mixes the images of a batch")
    return axis


def _same(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    return inputs * len(node.tops)


def _convolution(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    layer = cast(Convolution, node.layer)
    _behind_batch(writer, node, layer.channel_axis)
    if layer.channel_axis != 1 or not layer.spatial:
        raise unsupported(node, "a convolution whose channels are not axis 1 of images")
    missing = layer.missing(writer.shape(node.bottoms[0])[2:])
    names = writer.parameters(node)
    return [
        writer.op(
            "Conv",
            [value, *names],
            kernel_shape=layer.kernel,
            strides=layer.stride,
            pads=(*layer.pad, *(p + m for p, m in zip(layer.pad, missing, strict=True))),
            dilations=layer.dilation,
            group=layer.param.convolution_param.group,
        )
        for value in inputs
    ]


def _inner_product(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    p = node.layer.param.inner_product_param
    axis = _behind_batch(writer, node, p.axis)
    shape = writer.shape(node.bottoms[0])
    value = inputs[0]
    if axis == 1:
        value = value if len(shape) == 2 else writer.op("Flatten", [value], axis=1)
        names = writer.parameters(node)
        return [writer.op("Gemm", [value, *names], transB=int(not p.transpose))]
    if axis < len(shape) - 1:
        value = writer.reshape(value, (*shape[1:axis], int(np.prod(shape[axis:]))))
    value = writer.op("MatMul", [value, writer.parameter(node, 0, "weight", not p.transpose)])
    if p.bias_term:
        value = writer.op("Add", [value, writer.parameter(node, 1, "bias")])
    return [value]


def _divisors(window: Window) -> Array:
    """Kernel over window size, of each window: what turns a full average into Caffe's."""
    factors: Array = (window.kernel / window.sizes()).numpy()
    return factors


def _pooling(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    """Caffe's windows, by explicit padding: `ceil_mode` is not the same in every runtime."""
    layer = cast(Pooling, node.layer)
    if layer.param.pooling_param.pool == caffe_pb2.PoolingParameter.STOCHASTIC:
        raise unsupported(node, "a stochastic pooling; export a net with pool: MAX or AVE")
    if len(node.tops) > 1:
        raise unsupported(node, "a pooling with a second top; remove it")
    is_max = layer.param.pooling_param.pool == caffe_pb2.PoolingParameter.MAX
    if layer.param.pooling_param.global_pooling:
        return [writer.op("GlobalMaxPool" if is_max else "GlobalAveragePool", inputs)]
    windows = layer.windows(writer.shape(node.bottoms[0]))
    if any(window.after >= window.kernel for window in windows):
        raise unsupported(
            node, "a pooling with a window wholly outside the image; make its stride smaller"
        )
    geometry: dict[str, Any] = {
        "kernel_shape": [window.kernel for window in windows],
        "strides": [window.stride for window in windows],
        "pads": [w.pad for w in windows] + [max(w.after, 0) for w in windows],
    }
    if is_max:
        return [writer.op("MaxPool", inputs, **geometry)]
    value = writer.op("AveragePool", inputs, count_include_pad=1, **geometry)
    factors = np.outer(*map(_divisors, windows)).astype(np.float32)
    if (factors != 1).any():
        value = writer.op("Mul", [value, writer.constant(factors, "divisor")])
    return [value]


def _lrn(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    p = node.layer.param.lrn_param
    n, alpha, beta = p.local_size, p.alpha, p.beta
    if p.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS:
        return [writer.op("LRN", inputs, size=n, alpha=alpha, beta=beta, bias=p.k)]
    square = writer.op("Mul", [inputs[0], inputs[0]])
    mean = writer.op(
        "AveragePool", [square], kernel_shape=[n, n], pads=[(n - 1) // 2] * 4, count_include_pad=1
    )
    scaled = writer.op("Mul", [mean, writer.scalar(alpha, "alpha")])
    base = writer.op("Add", [scaled, writer.scalar(1, "one")])
    divisor = writer.op("Pow", [base, writer.scalar(beta, "beta")])
    return [writer.op("Div", [inputs[0], divisor])]


def _relu(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    slope = node.layer.param.relu_param.negative_slope
    if slope:
        return [writer.op("LeakyRelu", inputs, alpha=slope)]
    return [writer.op("Relu", inputs)]


def _elu(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    return [writer.op("Elu", inputs, alpha=node.layer.param.elu_param.alpha)]


def _power(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    p = node.layer.param.power_param
    scale, shift, power = p.scale, p.shift, p.power
    if scale == 0 or power == 0:
        scale, shift, power = 0.0, 1.0 if power == 0 else shift**power, 1.0
    value = inputs[0]
    for kind, number, neutral in (("Mul", scale, 1), ("Add", shift, 0), ("Pow", power, 1)):
        if number != neutral:
            value = writer.op(kind, [value, writer.scalar(number, kind.lower())])
    return [value]


def _flatten(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    _behind_batch(writer, node, node.layer.param.flatten_param.axis)
    return [writer.reshape(inputs[0], writer.shape(node.tops[0])[1:])]


def _concat(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    p = node.layer.param.concat_param
    axis = p.concat_dim if p.HasField("concat_dim") else p.axis
    return [writer.op("Concat", inputs, axis=_behind_batch(writer, node, int(axis)))]


def _eltwise(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    p = node.layer.param.eltwise_param
    if p.operation == caffe_pb2.EltwiseParameter.MAX:
        return [writer.op("Max", inputs)]
    if p.operation == caffe_pb2.EltwiseParameter.SUM:
        weighted = [
            value if factor == 1 else writer.op("Mul", [value, writer.scalar(factor, "coeff")])
            for value, factor in zip(inputs, p.coeff or [1.0] * len(inputs), strict=True)
        ]
        return [writer.op("Sum", weighted)]
    product = inputs[0]
    for value in inputs[1:]:
        product = writer.op("Mul", [product, value])
    return [product]


def _softmax(writer: Writer, node: Node, inputs: list[str]) -> list[str]:
    axis = _behind_batch(writer, node, node.layer.param.softmax_param.axis)
    return [writer.op("Softmax", inputs, axis=axis)]


TRANSLATIONS: dict[str, Callable[[Writer, Node, list[str]], list[str]]] = {
    "Concat": _concat,
    "Convolution": _convolution,
    "Dropout": _same,
    "ELU": _elu,
    "Eltwise": _eltwise,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "LRN": _lrn,
    "Pooling": _pooling,
    "Power": _power,
    "ReLU": _relu,
    "Softmax": _softmax,
    "Split": _same,
}
