"""Residual nets for CIFAR: ResNet-110, and ResNet-1001 of pre-activated bottlenecks."""

from __future__ import annotations

import prototxt_gen.caffe_pb2 as caffe_pb2
from prototxt_gen.zoo.stack import MSRA, Stack


def _convolve(net: Stack, name: str, width: int, size: int, stride: int = 1) -> None:
    net.conv(name, width, size, stride=stride, bias=None)


def halve(net: Stack, name: str, x: str) -> str:
    """Shortcut A: every second row and column, and as many channels of zeros."""
    net.add("Pooling", f"{name}_every_second", x)
    param = net.last.pooling_param
    param.pool = caffe_pb2.PoolingParameter.AVE
    param.kernel_size, param.stride = 1, 2
    param.round_mode = caffe_pb2.PoolingParameter.FLOOR
    kept = net.top
    net.add("Power", f"{name}_zeros", kept)
    net.last.power_param.scale = 0
    net.add("Concat", f"{name}_shortcut", kept, net.top)
    return net.top


def _basic(net: Stack, name: str, width: int, stride: int) -> None:
    """Two 3×3 convolutions, added to the input, then the ReLU."""
    x = net.top
    _convolve(net, f"{name}_conv1", width, 3, stride)
    net.normalize(f"{name}_norm1")
    net.activate()
    _convolve(net, f"{name}_conv2", width, 3)
    residual = net.normalize(f"{name}_norm2")
    shortcut = x if stride == 1 else halve(net, name, x)
    net.combine(name, "SUM", shortcut, residual)
    net.activate()


def resnet(net: Stack, classes: int, depth: int) -> None:
    """6n + 2 layers: a convolution, three stages of n basic units, the classes."""
    net.filler = MSRA
    _convolve(net, "conv1", 16, 3)
    net.normalize("norm1")
    net.activate()
    for stage, width in enumerate((16, 32, 64), start=1):
        for unit in range(1, (depth - 2) // 6 + 1):
            _basic(net, f"stage{stage}_{unit}", width, 2 if stage > 1 and unit == 1 else 1)
    net.pool_all("pool", "AVE")
    net.inner("scores", classes)
    net.classify()


def _bottleneck(net: Stack, name: str, width: int, stride: int, widens: bool) -> None:
    """1×1, 3×3 and 1×1 convolutions, each after its normalization and ReLU."""
    x = net.top
    net.normalize(f"{name}_norm1")
    active = net.activate()
    _convolve(net, f"{name}_conv1", width // 4, 1, stride)
    for i in (2, 3):
        net.normalize(f"{name}_norm{i}")
        net.activate()
        _convolve(net, f"{name}_conv{i}", width // 4 if i == 2 else width, 3 if i == 2 else 1)
    residual = net.top
    if widens:
        x = net.conv(f"{name}_shortcut", width, 1, active, stride=stride, bias=None)
    net.combine(name, "SUM", x, residual)


def preactivated_resnet(net: Stack, classes: int, depth: int) -> None:
    """9n + 2 layers: a convolution, three stages of n bottlenecks, the classes."""
    net.filler = MSRA
    _convolve(net, "conv1", 16, 3)
    for stage, width in enumerate((64, 128, 256), start=1):
        for unit in range(1, (depth - 2) // 9 + 1):
            first = unit == 1
            stride = 2 if stage > 1 and first else 1
            _bottleneck(net, f"stage{stage}_{unit}", width, stride, widens=first)
    net.normalize("norm")
    net.activate()
    net.pool_all("pool", "AVE")
    net.inner("scores", classes)
    net.classify()
