"""A net as an ONNX model."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from caffe_torch import __version__
from caffe_torch.export_layers import Writer, translate
from caffe_torch.export_net import Pixels, Predictor, refusal
from caffe_torch.net import Net

OPSET, IR_VERSION = 17, 8
BATCH = "N"


def onnx_model(net: Net, predictor: Predictor, notes: dict[str, str]) -> onnx.ModelProto:
    """The ONNX model of a net built from `predictor.param` for one image.

    Input: float32 (N, *image) under the input blob's name, raw where `predictor.pixels` is given;
    output: float32 under the output blob's name. `notes` becomes the model's metadata.

    Raises:
        FatalError: a layer cannot be translated; the message names it.
    """
    first, last = predictor.input, predictor.output
    writer = Writer(net, [first, last])
    shape = net.blobs[first].shape[1:]
    writer.values[first] = first
    if predictor.pixels is not None:
        shape = predictor.pixels.shape
        writer.layer = predictor.source
        writer.values[first] = _transform(writer, predictor.pixels, first)
    for node in net.nodes:
        if node.layer.type != "Input":
            translate(writer, node)
    if writer.values[last] == first:
        raise refusal(f"the net computes nothing: its output '{last}' is its input")
    _rename(writer.nodes, writer.values[last], last)
    graph = helper.make_graph(
        writer.nodes,
        net.name or "net",
        [helper.make_tensor_value_info(first, TensorProto.FLOAT, [BATCH, *shape])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [BATCH, *writer.shape(last)[1:]])],
        list(writer.initializers.values()),
    )
    model = helper.make_model(
        graph,
        producer_name="caffe_torch",
        producer_version=__version__,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, notes)
    return model


def _transform(writer: Writer, pixels: Pixels, value: str) -> str:
    """Add what the data layer does to an image."""
    if pixels.crop:
        starts = np.array(pixels.corner, np.int64)
        bounds = {"starts": starts, "ends": starts + pixels.crop, "axes": np.array([2, 3])}
        value = writer.op("Slice", [value, *(writer.constant(a, n) for n, a in bounds.items())])
    if pixels.mean is not None:
        value = writer.op("Sub", [value, writer.constant(pixels.mean, "mean")])
    if pixels.scale != 1:
        value = writer.op("Mul", [value, writer.scalar(pixels.scale, "scale")])
    return value


def _rename(nodes: list[onnx.NodeProto], old: str, new: str) -> None:
    """Give the last value the output blob's name."""
    for node in nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
