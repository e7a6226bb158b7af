"""Caffe's fillers: how a parameter blob's first values are drawn.

`fan_in` is the number of values per output (all but axis 0), `fan_out` all but axis 1 where there
is one.
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
            "filler.hpp:294",
            f"Check failed: false Unknown filler name: {filler.type} "
            f"(known: {', '.join(sorted(_FILLERS))})",
        )
    _check(filler, shape)
    return np.asarray(_FILLERS[filler.type](shape, filler, rng), np.float32)


def _check(filler: Any, shape: Shape) -> None:
    """Refuse settings that a filler does not take, and shapes that bilinear does not."""
    kind, sparse = filler.type, filler.sparse
    if kind == "bilinear" and len(shape) != 4:
        refused = (
            "filler.hpp:255",
            f"blob->num_axes() == 4 ({len(shape)} vs. 4) Blob must be 4 dim.",
        )
    elif kind == "bilinear" and shape[3] != shape[2]:
        sizes = f"({shape[3]} vs. {shape[2]})"
        refused = "filler.hpp:256", f"blob->width() == blob->height() {sizes} Filter must be square"
    elif kind == "gaussian" and sparse < -1:
        refused = "filler.hpp:75", f"sparse >= -1 ({sparse} vs. -1)"
    elif kind != "gaussian" and sparse != -1:
        check = f"this->filler_param_.sparse() == -1 ({sparse} vs. -1)"
        refused = f"filler.hpp:{_SPARSE[kind]}", f"{check} Sparsity not supported by this Filler."
    elif kind == "uniform" and filler.min > filler.max:
        refused = "math_functions.cpp:259", f"a <= b ({filler.min:g} vs. {filler.max:g})"
    elif kind == "gaussian" and filler.std <= 0:
        refused = "math_functions.cpp:281", f"sigma > 0 ({filler.std:g} vs. 0)"
    elif not shape and (kind in _PER_OUTPUT or sparse >= 0):
        check = "axis_index < num_axes() (0 vs. 0) axis 0 out of range for 0-D Blob"
        refused = "blob.hpp:122", f"{check}; take constant, uniform or gaussian"
    elif kind == "gaussian" and shape and sparse > shape[0]:
        refused = "math_functions.cpp:303", f"p <= 1 ({sparse / shape[0]:g} vs. 1)"
    else:
        return
    raise FatalError(refused[0], f"Check failed: {refused[1]} ({kind} filler)")


_PER_OUTPUT = ("xavier", "msra", "positive_unitball")


def _constant(shape: Shape, filler: Any, rng: np.random.Generator) -> Array:
    return np.full(shape, filler.value, dtype=np.float32)


def _uniform_between(low: float, high: float, shape: Shape, rng: np.random.Generator) -> Array:
    values = np.asarray(rng.random(shape, dtype=np.float32))
    values *= np.float32(high - low)
    values += np.float32(low)
    return values


def _uniform(shape: Shape, filler: Any, rng: np.random.Generator) -> Array:
    return _uniform_between(filler.min, filler.max, shape, rng)


def _normal(mean: float, std: float, shape: Shape, rng: np.random.Generator) -> Array:
    values = np.asarray(rng.standard_normal(shape, dtype=np.float32))
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
    values = np.asarray(rng.random(shape, dtype=np.float32)).reshape(shape[0], -1)
    return np.asarray((values / values.sum(axis=1, keepdims=True)).reshape(shape), np.float32)


def _fan(shape: Shape, filler: Any) -> float:
    fan_in = count(shape) / shape[0]
    fan_out = count(shape) / (shape[1] if len(shape) > 1 else 1)
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
    width = shape[3]
    factor = math.ceil(width / 2)
    centre = (width - 1) / (2 * factor)
    ramp = 1 - np.abs(np.arange(width) / factor - centre)
    return np.broadcast_to(np.outer(ramp, ramp).astype(np.float32), shape).copy()


# Where Caffe's source refuses `sparse`, by filler.
_SPARSE = {
    "constant": 43,
    "uniform": 58,
    "positive_unitball": 122,
    "xavier": 166,
    "msra": 211,
    "bilinear": 265,
}

_FILLERS: dict[str, Filler] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "xavier": _xavier,
    "msra": _msra,
    "positive_unitball": _positive_unitball,
    "bilinear": _bilinear,
}
