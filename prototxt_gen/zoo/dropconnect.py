"""DropConnect: every weight of the fully connected layer is dropped by itself, for each image.

Caffe has no layer of such weights, nor one of unshared filters; but products and sums are layers.
"""

from __future__ import annotations

import prototxt_gen.caffe_pb2 as caffe_pb2
from prototxt_gen.zoo.stack import Stack, gaussian


def _tile(net: Stack, name: str, tiles: int) -> None:
    net.add("Tile", name)
    net.last.tile_param.tiles = tiles


def _weigh(net: Stack, name: str, type_: str, filler: caffe_pb2.FillerParameter) -> None:
    """Scale or Bias with a weight of its own for each value of an image's blob."""
    net.add(type_, name)
    param = net.last.scale_param if type_ == "Scale" else net.last.bias_param
    param.num_axes = -1
    param.filler.CopyFrom(filler)


_ZERO = caffe_pb2.FillerParameter(type="constant", value=0)


def local(net: Stack, name: str, filters: int) -> None:
    """3×3 filters, unshared: each place's patch times its own weights, summed by constant ones."""
    net.add("Im2col", f"{name}_patches")
    param = net.last.convolution_param
    param.kernel_size[:], param.pad[:] = [3], [1]
    _tile(net, f"{name}_tiled", filters)
    _weigh(net, f"{name}_weighted", "Scale", gaussian(0.04))
    net.conv(f"{name}_sum", filters, 1, bias=None)
    net.last.convolution_param.group = filters
    net.last.convolution_param.weight_filler.CopyFrom(
        caffe_pb2.FillerParameter(type="constant", value=1)
    )
    net.last.param.add(lr_mult=0, decay_mult=0)
    _weigh(net, name, "Bias", _ZERO)
    net.activate()


def drop_connect(net: Stack, name: str, outputs: int, ratio: float) -> None:
    """Fully connected; of the products weight · input, each is dropped with a probability."""
    net.add("Flatten", f"{name}_flat")
    net.reshape(f"{name}_row", 0, 1, -1, axes=2)
    _tile(net, f"{name}_tiled", outputs)
    _weigh(net, f"{name}_weighted", "Scale", gaussian(0.1))
    net.dropout(ratio)
    net.add("Reduction", f"{name}_sum")
    net.last.reduction_param.axis = 2
    _weigh(net, name, "Bias", _ZERO)
    net.activate()


def _normalize(net: Stack, name: str) -> None:
    net.add("LRN", name)
    param = net.last.lrn_param
    param.local_size, param.alpha, param.beta = 9, 0.001, 0.75


def dropconnect(net: Stack, classes: int) -> None:
    """cuda-convnet's net of two convolutions and two local layers, then 128 DropConnect units."""
    net.filler = gaussian(0.01)
    net.conv("conv1", 64, 5)
    net.activate()
    net.pool("pool1", "MAX", 3, 2)
    _normalize(net, "norm1")
    net.conv("conv2", 64, 5)
    net.activate()
    _normalize(net, "norm2")
    net.pool("pool2", "MAX", 3, 2)
    local(net, "local3", 64)
    local(net, "local4", 32)
    drop_connect(net, "connect5", 128, 0.5)
    net.inner("scores", classes)
    net.classify()
