"""An architecture as numbers: its depth, layers, costs, shapes and the path of its R-size.

Dropout layers are left out, since they follow from the others (section 5). Blob sizes are Caffe's.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from prototxt_gen.notation import (
    Architecture,
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
)
from prototxt_gen.shapes import LayerCost, Shape, costs

Floats = NDArray[np.float64]

IMAGE: Shape = (3, 32, 32)
SIZES = (1, 3, 5)
FILTERS = (64, 128, 256, 512)
POOLS = ((5, 3), (3, 2), (2, 2))
DEPTH, LOG_PARAMETERS = 0, 12
"""Places of two features."""

_ENDS = 4  # layers told one by one from either end
_PATH = 12  # places along the chain at which its shape is told


def layers_of(architecture: Architecture) -> list[LayerCost]:
    """Its layers but dropout and softmax, with shapes and costs.

    Raises:
        ShapeError: naming the first layer that does not fit.
    """
    return list(costs(architecture.without_dropout(), IMAGE))[:-1]


def plain_features(architecture: Architecture) -> Floats:
    """The hand-made features of the baseline: depth, counts by type, costs, end of the chain."""
    rows = list(costs(architecture.without_dropout(), IMAGE))
    layers = [row.layer for row in rows[:-1]]
    convolutions = [x for x in layers if isinstance(x, Convolution)]
    neurons = [x.neurons for x in layers if isinstance(x, FullyConnected)]
    parameters = sum(row.weights + row.biases for row in rows)
    spatial = [r.shape for r in rows[:-1] if isinstance(r.layer, Convolution | Pooling)]
    return np.array(
        [
            len(layers),
            len(convolutions),
            sum(isinstance(x, Pooling) for x in layers),
            len(neurons),
            any(isinstance(x, GlobalAveragePooling) for x in layers),
            *(sum(x.size == size for x in convolutions) for size in SIZES),
            *(sum(x.filters == filters for x in convolutions) for filters in FILTERS),
            math.log(parameters),
            math.log(1 + sum(row.macs for row in rows)),
            spatial[-1][1] if spatial else IMAGE[1],
            spatial[-1][0] if spatial else IMAGE[0],
            sum(x.size for x in layers if isinstance(x, Convolution | Pooling)),
            max(neurons, default=0),
        ],
        np.float64,
    )


def features(architecture: Architecture) -> Floats:
    """All features: the baseline's, then what the net's signal and shapes go through."""
    rows = layers_of(architecture)
    return np.concatenate(
        [
            plain_features(architecture),
            _pools(rows),
            _by_size(rows),
            _width(rows),
            _signal(rows),
            *(_one(row) for row in _padded(rows[:_ENDS])),
            *(_one(row) for row in _padded(rows[::-1][:_ENDS])),
            _path(rows),
        ]
    )


def _pools(rows: list[LayerCost]) -> Floats:
    """How often each pooling, where the first is, and the fully connected layers' neurons."""
    layers = [row.layer for row in rows]
    pools = [(x.size, x.stride) for x in layers if isinstance(x, Pooling)]
    first = next((i for i, x in enumerate(layers) if isinstance(x, Pooling)), len(layers))
    neurons = [x.neurons for x in layers if isinstance(x, FullyConnected)]
    last = next((i for i, x in enumerate(layers[::-1]) if isinstance(x, Pooling)), len(layers))
    return np.array(
        [*(pools.count(kind) for kind in POOLS), first, last, *[*neurons, 0, 0][:2]], np.float64
    )


def _by_size(rows: list[LayerCost]) -> Floats:
    """At each blob size: convolutions, those wider than 1×1, and the mean of log₂ filters."""
    found = []
    for low, high in ((32, 32), (15, 31), (8, 14), (4, 7), (2, 3), (1, 1)):
        there = [
            row.layer
            for row in rows
            if isinstance(row.layer, Convolution) and low <= row.shape[1] <= high
        ]
        mean = sum(math.log2(x.filters) for x in there) / len(there) if there else 5.0
        found += [len(there), sum(x.size > 1 for x in there), mean]
    return np.array(found, np.float64)


def _width(rows: list[LayerCost]) -> Floats:
    """The profile of filters (log₂), and logs of the largest blob, of all, and of the head."""
    filters = [math.log2(r.layer.filters) for r in rows if isinstance(r.layer, Convolution)]
    filters = filters or [math.log2(IMAGE[0])]
    steps = [b - a for a, b in pairwise(filters)] or [0.0]
    slope = np.polyfit(range(len(filters)), filters, 1)[0] if len(filters) > 2 else sum(steps)
    blobs = [math.prod(row.shape) for row in rows] or [math.prod(IMAGE)]
    spatial = [r.shape for r in rows if isinstance(r.layer, Convolution | Pooling)]
    return np.array(
        [
            filters[0],
            filters[-1],
            min(filters),
            max(filters),
            np.mean(filters),
            np.std(filters),
            slope,
            sum(map(abs, steps)),
            math.log2(max(blobs)),
            math.log2(sum(blobs)),
            math.log2(math.prod(spatial[-1] if spatial else IMAGE)),
            math.log2(blobs[-1]),
            math.log2(1 + max((row.weights for row in rows), default=0)),
        ],
        np.float64,
    )


def coverage(size: int, image: int) -> float:
    """Mean share, along one axis, of a padded kernel that lies on the image."""
    half = size // 2
    inside = sum(min(image, place + half + 1) - max(0, place - half) for place in range(image))
    return inside / (image * size)


def _signal(rows: list[LayerCost]) -> Floats:
    """How far the signal reaches at the start, and the receptive field.

    Caffe's Xavier filler keeps a layer's variance (1/fan-in), each ReLU halves it, and zeros of
    the padding take their share; max pooling raises it.
    """
    scale = pooled = padding = 0.0
    field = stride = 1
    wide, reached = 0, [0.0]
    for row in rows:
        layer = row.layer
        if isinstance(layer, Convolution):
            covered = math.log2(coverage(layer.size, row.shape[1]) ** 2)
            padding += covered
            scale += covered - 1
            field += (layer.size - 1) * stride
            wide += layer.size > 1
        elif isinstance(layer, FullyConnected):
            scale -= 1
        elif isinstance(layer, Pooling):
            pooled += math.log2(layer.size**2)
            field += (layer.size - 1) * stride
            stride *= layer.stride
        reached.append(scale + 0.5 * pooled)
    return np.array(
        [
            scale,
            pooled,
            scale + 0.5 * pooled,
            padding,
            min(reached),
            math.log2(field),
            min(field, 64) / 32,
            math.log2(stride),
            wide,
        ],
        np.float64,
    )


def _padded(rows: list[LayerCost]) -> list[LayerCost | None]:
    return [*rows, *[None] * (_ENDS - len(rows))]


def _one(row: LayerCost | None) -> Floats:
    """One layer: its kind, receptive field, log₂ of filters or neurons, and its blob's size."""
    if row is None:
        return np.array([-1, 0, 0, 0], np.float64)
    layer: Layer = row.layer
    match layer:
        case Convolution(filters, size, _):
            kind, width = 0, math.log2(filters)
        case Pooling(size, stride):
            kind, width = 1, float(stride)
        case FullyConnected(neurons):
            kind, size, width = 2, 0, math.log2(neurons)
        case _:
            kind, size, width = 3, 0, 0.0
    return np.array([kind, size, width, row.shape[1]], np.float64)


def _path(rows: list[LayerCost]) -> Floats:
    """log₂ of size and filters, and the receptive field, at even distances along the chain."""
    spatial = [r for r in rows if isinstance(r.layer, Convolution | Pooling)]
    if not spatial:
        return np.zeros(3 * _PATH)
    own = np.array(
        [
            [math.log2(r.shape[1]), math.log2(r.shape[0]), getattr(r.layer, "size", 0)]
            for r in spatial
        ]
    )
    places = np.linspace(0, len(own) - 1, _PATH)
    return np.concatenate([np.interp(places, range(len(own)), column) for column in own.T])
