"""A blob: one array of a net with its gradient, as pycaffe shows it."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import torch
from numpy.typing import NDArray

from caffe_torch.log import FatalError

Shape = tuple[int, ...]
Array = NDArray[np.float32]
_LEGACY = ("num", "channels", "height", "width")


class Blob:
    """An N-d float32 array `data` and its gradient `diff`, of one shape.

    `data` and `diff` are numpy arrays that may be written to. On the CPU they are views of the
    tensors, and show what later calls of `Net.forward` and `Net.backward` compute, as pycaffe's
    do; on a GPU they are host copies, uploaded when the net next reads the blob.
    """

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self._shape = shape
        self._device = device
        self._tensor: torch.Tensor | None = None
        self._shown: torch.Tensor | None = None  # memory of its own, which `data` has shown
        self._gradient: torch.Tensor | None = None
        self._host: dict[str, Array] = {}

    @property
    def shape(self) -> Shape:
        """The array's dimensions, outermost first."""
        return self._shape

    @property
    def count(self) -> int:
        """The number of elements."""
        return count(self._shape)

    @property
    def num(self) -> int:
        """Legacy dimension 0."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """Legacy dimension 1."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """Legacy dimension 2."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """Legacy dimension 3."""
        return self._legacy(3)

    @property
    def data(self) -> Array:
        """The values."""
        return self._on_host("data", self.tensor)

    @property
    def diff(self) -> Array:
        """The gradient of the loss with respect to the values."""
        if self.gradient is None:
            rows = torch.contiguous_format
            self.gradient = torch.zeros_like(self.tensor, memory_format=rows)
        return self._on_host("diff", self.gradient)

    @property
    def tensor(self) -> torch.Tensor:
        """The values as a tensor on the net's device; zeros before the first forward pass."""
        if self._tensor is None:
            self._tensor = self._shown = torch.zeros(self._shape, device=self._device)
        if "data" in self._host:
            with torch.no_grad():
                self._tensor.copy_(torch.from_numpy(self._host.pop("data")))
        return self._tensor

    @tensor.setter
    def tensor(self, value: torch.Tensor) -> None:
        self._host.pop("data", None)
        self._tensor = value
        self._shape = tuple(value.shape)

    def store(self, value: torch.Tensor) -> None:
        """Take a copy of the values, in the memory that `data` shows if the shape is the same."""
        if self._shown is None or self._shown.shape != value.shape:
            self._shown = torch.empty(value.shape, device=value.device)
        self.tensor = self._shown.copy_(value.detach())

    def store_gradient(self, value: torch.Tensor) -> None:
        """Take a copy of the gradient, in the memory that `diff` shows."""
        self._host.pop("diff", None)
        if self._gradient is None or self._gradient.shape != value.shape:
            self._gradient = torch.empty(value.shape, device=value.device)
        self._gradient.copy_(value)

    @property
    def gradient(self) -> torch.Tensor | None:
        """The gradient as a tensor, or None where none was computed."""
        if "diff" in self._host and self._gradient is not None:
            self._gradient.copy_(torch.from_numpy(self._host.pop("diff")))
        return self._gradient

    @gradient.setter
    def gradient(self, value: torch.Tensor | None) -> None:
        self._host.pop("diff", None)
        self._gradient = value

    def reshape(self, *shape: int) -> None:
        """Give the blob another shape: its first values stay in their order, zeros follow.

        Raises:
            TypeError: a dimension is no integer.
            FatalError: no array can have the shape.
        """
        shape = tuple(operator.index(dim) for dim in shape)
        check_shape(shape, f"(reshaping a blob of shape {shape_string(self._shape)})")
        if shape != self._shape:
            values = self.tensor.detach().flatten()[: count(shape)]
            resized = torch.zeros(count(shape), device=self._device)
            resized[: len(values)] = values
            self._resize(resized.view(shape))

    def _resize(self, values: torch.Tensor) -> None:
        self.__init__(tuple(values.shape), self._device)  # type: ignore[misc]
        self._tensor = self._shown = values

    def _on_host(self, part: str, tensor: torch.Tensor) -> Array:
        array: Array
        if tensor.device.type == "cpu":
            array = tensor.detach().numpy()
            return array
        if part not in self._host:
            self._host[part] = tensor.detach().cpu().contiguous().numpy()
        return self._host[part]

    def _legacy(self, axis: int) -> int:
        return self._shape[axis] if axis < len(self._shape) else 1


class Parameter(Blob):
    """A learnable blob: its tensor is one leaf of the graph, its gradient that leaf's `.grad`."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__(tuple(value.shape), value.device)
        self._leaf = value.requires_grad_(True)
        self._tensor = self._leaf

    @property
    def gradient(self) -> torch.Tensor | None:
        """The leaf's gradient, or None where no backward pass reached it."""
        if "diff" in self._host and self.tensor.grad is not None:
            self.tensor.grad.copy_(torch.from_numpy(self._host.pop("diff")))
        return self.tensor.grad

    @gradient.setter
    def gradient(self, value: torch.Tensor | None) -> None:
        self._host.pop("diff", None)
        self.tensor.grad = value

    def _resize(self, values: torch.Tensor) -> None:
        self.gradient = None
        self._leaf.data = values
        self._shape = tuple(values.shape)

    def make_contiguous(self) -> None:
        """Lay the values out row by row in memory."""
        self._leaf.data = self._leaf.data.contiguous()

    def add_gradient(self, value: torch.Tensor) -> None:
        """Add to the gradient, in the memory that `diff` shows."""
        old = self.gradient
        if old is None:
            self.gradient = torch.empty_like(self.tensor).copy_(value)
        else:
            old.add_(value)


def count(shape: Sequence[int]) -> int:
    """The number of elements of a shape; 1 for a scalar."""
    product = 1
    for dim in shape:
        product *= dim
    return product


def check_shape(shape: Sequence[int], where: str) -> None:
    """Refuse a shape that no array can have.

    Raises:
        FatalError: a negative dimension, or more than 2³¹ − 1 values; it ends with `where`.
    """
    values = 1
    for size in shape:
        if size < 0:
            raise FatalError("blob.cpp:32", f"Check failed: shape[i] >= 0 ({size} vs. 0)  {where}")
        if values and size > _INT_MAX // values:
            raise FatalError(
                "blob.cpp:34",
                f"Check failed: shape[i] <= 0x7fffffff / count_ ({size} vs. {_INT_MAX // values}) "
                f"blob size exceeds INT_MAX {where}",
            )
        values *= size


_INT_MAX = 0x7FFFFFFF


def shape_string(shape: Sequence[int]) -> str:
    """A shape as Caffe logs it: `128 20 24 24 (1474560)`, and `(1)` for a scalar."""
    return " ".join([*map(str, shape), f"({count(shape)})"])


def from_proto(proto: Any) -> Array:
    """The array in a BlobProto, of its shape or its four legacy dimensions.

    Raises:
        FatalError: the number of values is not that of the shape.
    """
    data = proto.double_data if proto.double_data else proto.data
    shape = proto_shape(proto)
    if len(data) != count(shape):
        raise FatalError(
            "blob.cpp:491",
            f"Check failed: count_ == proto.data_size() ({count(shape)} vs. {len(data)}) "
            "the blob's values do not fill its shape; the file is damaged, give another one",
        )
    return np.fromiter(data, np.float32, len(data)).reshape(shape)


def proto_shape(proto: Any) -> Shape:
    """A BlobProto's shape; where it has legacy dimensions only, those four."""
    if is_legacy(proto):
        return tuple(getattr(proto, name) for name in _LEGACY)
    return tuple(proto.shape.dim)


def is_legacy(proto: Any) -> bool:
    """Whether a BlobProto gives four legacy dimensions in place of a shape."""
    return any(proto.HasField(name) for name in _LEGACY)


_DATA_TAG = bytes([caffe_pb2.BlobProto.DESCRIPTOR.fields_by_name["data"].number << 3 | 2])


def _varint(value: int) -> bytes:
    """Protobuf's variable-length integer."""
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def to_proto(array: Array) -> Any:
    """A BlobProto of an array, as Caffe writes it."""
    proto = caffe_pb2.BlobProto()
    proto.shape.dim.extend(array.shape)
    values = np.ascontiguousarray(array, dtype="<f4").tobytes()
    if values:  # as a packed field's own bytes, which costs a tenth of a list of Python's floats
        proto.MergeFromString(_DATA_TAG + _varint(len(values)) + values)
    return proto
