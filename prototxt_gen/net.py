"""Architectures as Caffe's net prototxt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
from prototxt_gen.shapes import GapForm, Padding, Shape, costs


class Activation(StrEnum):
    """The nonlinearity after each convolution and fully connected layer."""

    RELU = "ReLU"
    ELU = "ELU"


@dataclass(frozen=True)
class DataSource:
    """Where a net's images come from; paths as seen from where `caffe` will run.

    A pixel becomes (value − mean)·scale. `crop_size` crops at random in TRAIN and at the centre
    in TEST; `mirror` flips at random, in TRAIN alone.
    """

    train: str
    test: str
    train_batch: int = 128
    test_batch: int = 100
    mean_file: str | None = None
    scale: float | None = None
    mirror: bool = False
    crop_size: int | None = None


@dataclass(frozen=True)
class NetStyle:
    """What the notation leaves open about a net's layers.

    `gap_kernel` is the side of the window that the released form of GAP averages over; None
    averages over the whole blob. `head` ends the names of the layers whose
    outputs are the classes, so that `caffe train -weights` leaves them as they are filled.
    """

    padding: Padding = Padding.SAME
    activation: Activation = Activation.RELU
    gap: GapForm = GapForm.PAPER
    gap_kernel: int | None = None
    weight_filler: str = "xavier"
    head: str = ""


class _Chain:
    """A net under construction: layers are added after the blob `top`."""

    def __init__(self, name: str, style: NetStyle) -> None:
        self.net = caffe_pb2.NetParameter(name=name)
        self.style = style
        self.top = "data"
        self.dropouts = 0

    def add(
        self, name: str, type_: str, *, in_place: bool = False, bottoms: tuple[str, ...] = ()
    ) -> caffe_pb2.LayerParameter:
        layer = self.net.layer.add(name=name, type=type_, bottom=bottoms or (self.top,))
        layer.top.append(self.top if in_place else name)
        self.top = layer.top[0]
        return layer

    def activate(self, name: str) -> None:
        self.add(name, self.style.activation, in_place=True)

    def convolve(self, name: str, filters: int, size: int, stride: int, pad: int) -> None:
        param = self.add(name, "Convolution").convolution_param
        param.num_output, param.kernel_size[:], param.stride[:] = filters, [size], [stride]
        if pad:
            param.pad[:] = [pad]
        self.fill(param)

    def multiply(self, name: str, neurons: int) -> None:
        param = self.add(name, "InnerProduct").inner_product_param
        param.num_output = neurons
        self.fill(param)

    def fill(self, param: caffe_pb2.ConvolutionParameter | caffe_pb2.InnerProductParameter) -> None:
        param.weight_filler.type = self.style.weight_filler
        param.bias_filler.type = "constant"

    def pool(self, name: str, method: str, size: int, stride: int, everywhere: bool) -> None:
        param = self.add(name, "Pooling").pooling_param
        param.pool = caffe_pb2.PoolingParameter.PoolMethod.Value(method)
        if everywhere:
            param.global_pooling = True
        else:
            param.kernel_size, param.stride = size, stride


def add_data(
    net: caffe_pb2.NetParameter,
    data: DataSource,
    phase: str,
    tops: tuple[str, str] = ("data", "label"),
) -> None:
    """Append the Data layer of a phase, TRAIN or TEST; `tops` name its images and its labels."""
    layer = net.layer.add(name="data", type="Data", top=tops)
    layer.include.add(phase=caffe_pb2.Phase.Value(phase))
    train = phase == "TRAIN"
    layer.data_param.source = data.train if train else data.test
    layer.data_param.batch_size = data.train_batch if train else data.test_batch
    layer.data_param.backend = caffe_pb2.DataParameter.LMDB
    transform = layer.transform_param
    if data.mean_file is not None:
        transform.mean_file = data.mean_file
    if data.scale is not None:
        transform.scale = data.scale
    if data.crop_size is not None:
        transform.crop_size = data.crop_size
    if data.mirror and train:  # Caffe would flip at random in TEST too
        transform.mirror = True


def _add_layer(chain: _Chain, layer: Layer, position: int, side: int, after_gap: bool) -> None:
    """Append one layer; `side` is the height of its input, for the released GAP's kernel."""
    match layer:
        case Convolution(filters, size, stride):
            chain.convolve(f"conv{position}", filters, size, stride, chain.style.padding.pad(size))
            chain.activate(f"act{position}")
        case Pooling(size, stride):
            chain.pool(f"pool{position}", "MAX", size, stride, everywhere=False)
        case FullyConnected(neurons):
            chain.multiply(f"fc{position}", neurons)
            chain.activate(f"act{position}")
        case Dropout():
            # Never in place: Caffe's ELU needs its own output for the backward pass.
            chain.dropouts += 1
            param = chain.add(f"drop{chain.dropouts}", "Dropout").dropout_param
            param.dropout_ratio = float(layer.ratio)
        case GlobalAveragePooling(classes):
            released = chain.style.gap is GapForm.RELEASED
            chain.convolve(f"gap{position}_conv{chain.style.head}", classes, 1, 1, 0)
            if released:
                chain.activate(f"gap{position}_act")
            kernel = chain.style.gap_kernel or side
            chain.pool(f"gap{position}", "AVE", kernel, 1, everywhere=not released)
        case Softmax(classes):
            if after_gap and chain.style.gap is GapForm.PAPER:
                # The averages are the scores; as N×classes, since Softmax's axis is 1 either way.
                chain.add("scores", "Flatten")
            else:
                chain.multiply(f"scores{chain.style.head}", classes)


def net_text(
    architecture: Architecture, image: Shape, data: DataSource, style: NetStyle, name: str
) -> str:
    """Write an architecture as a net prototxt for training and testing.

    The net has Data layers for both phases, the chain of layers, `loss` (SoftmaxWithLoss) and,
    in the TEST phase, `accuracy`.

    Args:
        architecture: the chain, dropout layers placed.
        image: (channels, height, width) of what the Data layers deliver, after cropping.
        data: where images come from.
        style: padding, nonlinearity and filler.
        name: the net's name, printed in Caffe's log.

    Raises:
        ShapeError: if a layer does not fit its input.
    """
    chain = _Chain(name, style)
    add_data(chain.net, data, "TRAIN")
    add_data(chain.net, data, "TEST")
    side, position, after_gap = image[1], 0, False
    for cost in costs(architecture, image, style.padding, style.gap):
        if not isinstance(cost.layer, Dropout):
            position += 1
        _add_layer(chain, cost.layer, position, side, after_gap)
        side, after_gap = cost.shape[1], isinstance(cost.layer, GlobalAveragePooling)
    scores = (chain.top, "label")
    chain.add("loss", "SoftmaxWithLoss", bottoms=scores)
    accuracy = chain.add("accuracy", "Accuracy", bottoms=scores)
    accuracy.include.add(phase=caffe_pb2.TEST)
    return str(text_format.MessageToString(chain.net))
