"""Caffe's fillers: how a parameter blob's first values are drawn.

`fan_in` is the number of values per output (all but axis 0), `fan_out` all but axis 1.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch.blob import Array, Shape, count
from caffe_torch.log import FatalError

Filler = Callable[[Shape, Any, np.random.Generator], Array]


def fill(shape: Shape, filler: Any, rng: np.random.Generator) -> Array:
    """A float32 array of `shape` as a FillerParameter asks.

    Raises:
        FatalError: unknown filler type, or a shape or value that the filler does not take.
    """
    if filler.type not in _FILLERS:
        raise FatalError(
            "filler.hpp:297",
            f"Check failed: false Unknown filler name: {filler.type} "
            f"(known: {', '.join(sorted(_FILLERS))})",
        )
    if filler.sparse != -1 and filler.type != "gaussian":
        raise FatalError(
            "filler.hpp:37",
            f"Check failed: this->filler_param_.sparse() == -1 ({filler.sparse} vs. -1) "
            f"Sparsity not supported by this Filler. (remove sparse, or use gaussian: it is "
            f"{filler.type})",
        )
    return _FILLERS[filler.type](shape, filler, rng).astype(np.float32, copy=False)


def _constant(shape: Shape, filler: Any, rng: np.random.Generator) -> Array:
    return np.full(shape, filler.value, dtype=np.float32)


def _uniform_between(low: float, high: float, shape: Shape, rng: np.random.Generator) -> Array:
    values = rng.random(shape, dtype=np.float32)
    values *= np.float32(high - low)
    values += np.float32(low)
    return values


def _uniform(shape: Shape, filler: Any, rng: np.random.Generator) -> Array:
    return _uniform_between(filler.min, filler.max, shape, rng)


def _normal(mean: float, std: float, shape: Shape, rng: np.random.Generator) -> Array:
    values = rng.standard_normal(shape, dtype=np.float32)
    values *= np.float32(std)
    values += np.float32(mean)
    return values


def _gaussian(shape: Shape, filler: Any, rng: np.random.Generator) -> Array:
    """Normal; with `sparse` s, each value is kept with probability s / outputs, else 0."""
    values = _normal(filler.mean, filler.std, shape, rng)
    if filler.sparse >= 0:
        values *= rng.random(shape) < filler.sparse / shape[0]
    return values


def _positive_unitball(shape: Shape, filler: Any, rng: np.random.Generator) -> Array:
    """Uniform in 0..1, then each output's values are scaled to sum to 1."""
    values = rng.random(shape, dtype=np.float32).reshape(shape[0], -1)
    return np.asarray((values / values.sum(axis=1, keepdims=True)).reshape(shape), np.float32)


def _fan(shape: Shape, filler: Any) -> float:
    fan_in = count(shape) / shape[0]
    fan_out = count(shape) / shape[1] if len(shape) > 1 else count(shape)
    if filler.variance_norm == caffe_pb2.FillerParameter.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_out if filler.variance_norm == caffe_pb2.FillerParameter.FAN_OUT else fan_in


def _xavier(shape: Shape, filler: Any, rng: np.random.Generator) -> Array:
    """Uniform in ±sqrt(3 / fan)."""
    bound = math.sqrt(3 / _fan(shape, filler))
    return _uniform_between(-bound, bound, shape, rng)


def _msra(shape: Shape, filler: Any, rng: np.random.Generator) -> Array:
    """Normal with standard deviation sqrt(2 / fan)."""
    return _normal(0, math.sqrt(2 / _fan(shape, filler)), shape, rng)


def _bilinear(shape: Shape, filler: Any, rng: np.random.Generator) -> Array:
    """The interpolation kernel of an upsampling deconvolution, the same for every channel."""
    if len(shape) != 4 or shape[2] != shape[3]:
        raise FatalError(
            "filler.hpp:249",
            f"Check failed: blob->num_axes() == 4 && blob->width() == blob->height() the bilinear "
            f"filler takes a square 4-d kernel, not {shape}; use another filler",
        )
    width = shape[3]
    factor = math.ceil(width / 2)
    centre = (width - 1) / (2 * factor)
    ramp = 1 - np.abs(np.arange(width) / factor - centre)
    return np.broadcast_to(np.outer(ramp, ramp).astype(np.float32), shape).copy()


_FILLERS: dict[str, Filler] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "xavier": _xavier,
    "msra": _msra,
    "positive_unitball": _positive_unitball,
    "bilinear": _bilinear,
}
