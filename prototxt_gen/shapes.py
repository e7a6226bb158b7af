"""Caffe's arithmetic: blob shapes, parameter counts and multiply-accumulates of a chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from prototxt_gen.notation import (
    Architecture,
    Convolution,
    Dropout,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
)

Shape = tuple[int, int, int]
"""channels, height, width of one image's blob; (n, 1, 1) after an inner product."""


class Padding(StrEnum):
    """SAME pads a convolution by ⌊f/2⌋ on each side, VALID does not pad."""

    SAME = "SAME"
    VALID = "VALID"

    def pad(self, size: int) -> int:
        """Pixels added on each side for a receptive field of `size`."""
        return size // 2 if self is Padding.SAME else 0


class GapForm(StrEnum):
    """What `GAP(n), SM(n)` means as layers.

    PAPER: 1×1 convolution to n channels, global average, softmax.
    RELEASED: the released code's 1×1 convolution, ReLU, average, inner product, softmax.
    """

    PAPER = "paper"
    RELEASED = "released"


class ShapeError(ValueError):
    """A layer does not fit its input."""


def convolution_size(size: int, kernel: int, stride: int = 1, pad: int = 0) -> int:
    """Output height or width of a convolution: rounds down (Caffe `Convolution`)."""
    return (size + 2 * pad - kernel) // stride + 1


def pooling_size(size: int, kernel: int, stride: int = 1, pad: int = 0) -> int:
    """Output height or width of pooling: rounds up (Caffe `Pooling`).

    With padding, a last window that would start beyond the image and its left padding is
    clipped away.
    """
    out = -((size + 2 * pad - kernel) // -stride) + 1
    if pad > 0 and (out - 1) * stride >= size + pad:
        out -= 1
    return out


@dataclass(frozen=True)
class LayerCost:
    """One layer of a chain with its output shape and cost for one image.

    `macs` counts multiply-accumulates of convolutions and inner products in the forward pass;
    a MAC is two floating-point operations.
    """

    layer: Layer
    shape: Shape
    weights: int
    biases: int
    macs: int


def _apply(
    layer: Layer, shape: Shape, padding: Padding, gap: GapForm, after_gap: bool
) -> LayerCost:
    channels, height, width = shape
    if isinstance(layer, Convolution | Pooling):
        pad = padding.pad(layer.size) if isinstance(layer, Convolution) else 0
        if layer.size > min(height, width) + 2 * pad:
            raise ShapeError(f"{layer} does not fit its input of {channels}×{height}×{width}")
    if isinstance(layer, Convolution):
        rows = convolution_size(height, layer.size, layer.stride, pad)
        columns = convolution_size(width, layer.size, layer.stride, pad)
        weights = layer.filters * channels * layer.size**2
        out = (layer.filters, rows, columns)
        return LayerCost(layer, out, weights, layer.filters, weights * rows * columns)
    if isinstance(layer, Pooling):
        rows = pooling_size(height, layer.size, layer.stride)
        columns = pooling_size(width, layer.size, layer.stride)
        return LayerCost(layer, (channels, rows, columns), 0, 0, 0)
    if isinstance(layer, FullyConnected):
        weights = layer.neurons * channels * height * width
        return LayerCost(layer, (layer.neurons, 1, 1), weights, layer.neurons, weights)
    if isinstance(layer, GlobalAveragePooling):
        weights = layer.classes * channels
        out = (layer.classes, 1, 1)
        return LayerCost(layer, out, weights, layer.classes, weights * height * width)
    if isinstance(layer, Dropout):
        return LayerCost(layer, shape, 0, 0, 0)
    if after_gap and gap is GapForm.PAPER:
        if channels != layer.classes:
            raise ShapeError(f"{layer} cannot take the {channels} averages of GAP({channels})")
        return LayerCost(layer, (layer.classes, 1, 1), 0, 0, 0)
    weights = layer.classes * channels * height * width
    return LayerCost(layer, (layer.classes, 1, 1), weights, layer.classes, weights)


def costs(
    architecture: Architecture,
    image: Shape,
    padding: Padding = Padding.SAME,
    gap: GapForm = GapForm.PAPER,
) -> Iterator[LayerCost]:
    """Walk a chain from an image of shape (channels, height, width).

    Raises:
        ShapeError: naming the first layer that does not fit.
    """
    shape, after_gap = image, False
    for layer in architecture:
        cost = _apply(layer, shape, padding, gap, after_gap)
        yield cost
        shape, after_gap = cost.shape, isinstance(layer, GlobalAveragePooling)


@dataclass(frozen=True)
class NetCost:
    """Totals of a net: parameters (weights and biases) and forward MACs of one image."""

    weights: int
    biases: int
    macs: int

    @property
    def parameters(self) -> int:
        """Weights and biases, the softmax layer's included: what Caffe allocates."""
        return self.weights + self.biases


def total_cost(
    architecture: Architecture,
    image: Shape,
    padding: Padding = Padding.SAME,
    gap: GapForm = GapForm.PAPER,
) -> NetCost:
    """Sum `costs` over a chain."""
    rows = list(costs(architecture, image, padding, gap))
    return NetCost(
        sum(r.weights for r in rows), sum(r.biases for r in rows), sum(r.macs for r in rows)
    )
