"""Layers whose values the caller gives, or a filler: Input, MemoryData, DummyData."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from caffe_torch import fillers
from caffe_torch.blob import Array, Shape, count
from caffe_torch.layers.base import ANY, Context, Layer, Shapes, Tensors
from caffe_torch.log import warning


class Input(Layer, type="Input"):
    """input_param: tops of given shapes (one for all, or one each), filled by the caller.

    The net keeps their values in its blobs; there is nothing to compute. Source: InputLayer.
    """

    bottoms = (0, 0)
    tops = (1, ANY)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        shapes = [tuple(shape.dim) for shape in self.param.input_param.shape]
        n = len(self.param.top)
        self.check(
            len(shapes) in (0, 1, n),
            "input_layer.cpp:13",
            f"num_shape == 0 || num_shape == 1 || num_shape == num_top Must specify 'shape' once, "
            f"once per top blob, or not at all: {n} tops vs. {len(shapes)} shapes.",
        )
        return (shapes or [()]) * n if len(shapes) <= 1 else shapes


class MemoryData(Layer, type="MemoryData"):
    """memory_data_param: batches of arrays that the caller gives with `set_arrays`, in a circle.

    Tops: values (batch_size, channels, height, width); labels, (batch_size) until the first
    pass, then (batch_size, 1, 1, 1) as in Caffe. Arrays are not transformed. Source:
    MemoryDataLayer.
    """

    bottoms = (0, 0)
    tops = (2, 2)

    def setup(self, bottoms: Shapes) -> None:
        p = self.param.memory_data_param
        self._shape = (p.channels, p.height, p.width)
        self.batch_size = int(p.batch_size)
        product = self.batch_size * count(self._shape)
        self.check(
            product > 0,
            "memory_data_layer.cpp:19",
            f"batch_size_ * size_ > 0 ({product} vs. 0) batch_size, channels, height, and width "
            "must be specified and positive in memory_data_param",
        )
        self._data: torch.Tensor | None = None
        self._labels = torch.empty(0)
        self._place = 0

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        return [(self.batch_size, *self._shape), (self.batch_size,)]

    def set_arrays(self, data: Array, labels: Array) -> None:
        """Take other examples, and begin with the first.

        Args:
            data: (N, channels, height, width), N a multiple of batch_size.
            labels: (N), or N values in more dimensions.

        Raises:
            ValueError: an array has another shape.
        """
        if data.ndim != 4:
            raise ValueError("data array must be 4-d")
        for name, size, wanted in zip(
            ("number of channels", "height", "width"), data.shape[1:], self._shape, strict=True
        ):
            if size != wanted:
                raise ValueError(f"data array has wrong {name}: {size}, not {wanted}")
        if labels.size != len(data):
            raise ValueError("data and labels must have the same first dimension")
        if not len(data) or len(data) % self.batch_size:
            raise ValueError("first dimensions of input arrays must be a multiple of batch size")
        if self.param.HasField("transform_param"):
            warning("memory_data_layer.cpp:90", "MemoryData does not transform array data on "
                    "Reset()")  # fmt: skip
        values = torch.from_numpy(np.array(data, np.float32))
        flat = np.array(labels, np.float32).reshape(-1, 1, 1, 1)
        device = self.context.device
        self._data = values.to(device, memory_format=torch.channels_last)
        self._labels = torch.from_numpy(flat).to(device)
        self._place = 0

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        data = self._data
        self.check(
            data is not None,
            "memory_data_layer.cpp:110",
            "data_ MemoryDataLayer needs to be initialized by calling Reset; give it arrays with "
            "Net.set_input_arrays, or take another data layer",
        )
        assert data is not None  # noqa: S101
        batch = slice(self._place, self._place + self.batch_size)
        self._place = (self._place + self.batch_size) % len(data)
        return [data[batch].clone(), self._labels[batch].clone()]


class DummyData(Layer, type="DummyData"):
    """dummy_data_param: tops of given shapes, filled by fillers.

    Shapes are `shape`, or `num`, `channels`, `height` and `width`: one for all tops or one for
    each. Fillers likewise; without one, zeros. Values of a constant filler are filled once, those
    of the others on each pass. Source: DummyDataLayer.
    """

    bottoms = (0, 0)
    tops = (1, ANY)

    def __init__(self, param: Any, context: Context) -> None:
        super().__init__(param, context)
        self._constants: dict[int, torch.Tensor] = {}

    def setup(self, bottoms: Shapes) -> None:
        p, n = self.param.dummy_data_param, len(self.param.top)
        given = len(p.data_filler)
        self.check(
            given in (0, 1, n),
            "dummy_data_layer.cpp:14",
            "num_data_filler == 0 || num_data_filler == 1 || num_data_filler == num_top Number of "
            f"data fillers must be 0, 1 or equal to the number of tops: {n}; you specified "
            f"{given} data fillers.",
        )
        fillers_given = list(p.data_filler) or [None]
        self._fillers = _one_each(fillers_given, n)
        self._shapes = self._shapes_given()
        for shape, filler in zip(self._shapes, self._fillers, strict=True):
            if filler is not None:
                fillers.fill(shape, filler, self.context.rng)  # refuses what it cannot fill

    def _shapes_given(self) -> list[Shape]:
        p, n = self.param.dummy_data_param, len(self.param.top)
        legacy = ("num", "channels", "height", "width")
        if not any(len(getattr(p, name)) for name in legacy):
            self._check_count("shape", 38)
            return _one_each([tuple(shape.dim) for shape in p.shape], n)
        self.check(
            not p.shape,
            "dummy_data_layer.cpp:22",
            f"0 == param.shape_size() (0 vs. {len(p.shape)}) Both shape and legacy fields were "
            "specified",
        )
        for name, line in zip(legacy, (25, 28, 31, 34), strict=True):
            self._check_count(name, line)
        sides = [_one_each(list(getattr(p, name)), n) for name in legacy]
        return list(zip(*sides, strict=True))

    def _check_count(self, field: str, line: int) -> None:
        given, n = len(getattr(self.param.dummy_data_param, field)), len(self.param.top)
        self.check(
            given in (1, n),
            f"dummy_data_layer.cpp:{line}",
            f"param.{field}_size() == 1 || param.{field}_size() == num_top Must specify "
            f"'{field}' once, or once per top blob ({n}); specified {given}.",
        )

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        return list(self._shapes)

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        return [self._top(i) for i in range(len(self._shapes))]

    def _top(self, i: int) -> torch.Tensor:
        shape, filler = self._shapes[i], self._fillers[i]
        if i in self._constants:
            return self._constants[i]
        if filler is None:
            top = torch.zeros(shape)
        else:
            top = torch.from_numpy(fillers.fill(shape, filler, self.context.rng))
        if len(shape) == 4:
            top = top.to(memory_format=torch.channels_last)
        top = top.to(self.context.device)
        if filler is None or filler.type == "constant":
            self._constants[i] = top
        return top


def _one_each(values: Sequence[Any], n: int) -> list[Any]:
    """n values: those given, or the only one n times."""
    return list(values) * n if len(values) == 1 else list(values)
