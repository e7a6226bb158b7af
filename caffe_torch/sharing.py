"""Parameters shared by name: which may be, and one that is seen in another shape."""

from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch.blob import Parameter, Shape, shape_string
from caffe_torch.log import FatalError


def share(spec: Any, owner: str, owned: Parameter, layer: str, blob: Parameter) -> Parameter:
    """What `layer` uses in place of `blob`: the owner's parameter, or a view of it.

    Args:
        spec: the ParamSpec that names the parameter; by its share_mode, STRICT asks for the same
            shape, PERMISSIVE for the same number of values.
        owner, layer: names of the layers.
        owned, blob: their parameters.

    Raises:
        FatalError: the shapes forbid it.
    """
    if owned.shape == blob.shape:
        return owned
    who = f"Cannot share param '{spec.name}' owned by layer '{owner}' with layer '{layer}';"
    whose = f"Owner layer param shape is {shape_string(owned.shape)}; sharing layer"
    if spec.share_mode != caffe_pb2.ParamSpec.PERMISSIVE:
        raise FatalError(
            "net.cpp:486",
            f"Check failed: this_blob->shape() == owner_blob->shape() {who} shape mismatch.  "
            f"{whose} expects shape {shape_string(blob.shape)}",
        )
    if owned.count != blob.count:
        raise FatalError(
            "net.cpp:478",
            f"Check failed: this_blob->count() == owner_blob->count() ({blob.count} vs. "
            f"{owned.count}) {who} count mismatch.  {whose} shape is {shape_string(blob.shape)}",
        )
    return SharedParameter(owned, blob.shape)


def owner_of(blob: Parameter) -> Parameter:
    """The parameter that a solver updates, for one that may be a view of it."""
    return blob.owner if isinstance(blob, SharedParameter) else blob


class SharedParameter(Parameter):
    """Another parameter's values and gradient, in a shape of the same count, row by row.

    Args:
        owner: the parameter that a solver updates.
        shape: this one's.
        learns: whether gradients flow to the owner through this one.
    """

    def __init__(self, owner: Parameter, shape: Shape, learns: bool = True) -> None:
        super().__init__(torch.empty(shape, device=owner.tensor.device))
        self.owner = owner
        self._learns = learns
        if shape != owner.shape:
            owner.make_contiguous()  # not channels_last, or no view would do
        self._tensor = self._view()

    def _view(self) -> torch.Tensor:
        leaf = self.owner.tensor
        return (leaf if self._learns else leaf.detach()).view(self.shape)

    def make_contiguous(self) -> None:
        """The owner's values row by row in memory, and this view of them."""
        self.owner.make_contiguous()
        self._tensor = self._view()

    @property
    def gradient(self) -> torch.Tensor | None:
        """The owner's gradient, in this shape."""
        gradient = self.owner.gradient
        return None if gradient is None else gradient.reshape(self.shape)

    @gradient.setter
    def gradient(self, value: torch.Tensor | None) -> None:
        self.owner.gradient = None if value is None else value.reshape(self.owner.shape)

    def add_gradient(self, value: torch.Tensor) -> None:
        """Add to the owner's gradient."""
        self.owner.add_gradient(value.reshape(self.owner.shape))
