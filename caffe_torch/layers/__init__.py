"""The layers, a file per family; importing this package registers all of them.

A new layer is one class in one of these files: `class Name(Layer, type="Name")` with
`reshape` (shapes), `setup` (parameters, if any) and `forward` (tensors, differentiable by
autograd).
"""

from caffe_torch.layers import activation, common, data, loss, vision
from caffe_torch.layers.base import Context, Layer, create

__all__ = ["Context", "Layer", "activation", "common", "create", "data", "loss", "vision"]
