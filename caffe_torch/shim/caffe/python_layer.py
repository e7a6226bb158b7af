"""Layers written in Python: `caffe.Layer`, and `type: "Python"` in a net."""

import importlib
from typing import Any

import torch

from caffe_torch.blob import Blob, Parameter, Shape
from caffe_torch.layers import Layer as EngineLayer
from caffe_torch.layers.base import ANY, Shapes, Tensors
from caffe_torch.log import FatalError


class Layer:
    """The base of a layer written in Python, which overrides its four methods.

    `bottom` and `top` are lists of blobs, whose `data` and `diff` are read and written.

    Attributes:
        param_str: the prototxt's python_param.param_str.
        phase: `caffe.TRAIN` or `caffe.TEST`.
        blobs: the layer's parameters; `setup` adds them.
    """

    type = "Python"
    param_str = ""
    phase = 0
    blobs: "Blobs"

    def setup(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Called once: check the bottoms, add parameters."""

    def reshape(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Called before each pass: give the tops their shapes."""

    def forward(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Write the tops' `data`."""

    def backward(self, top: list[Blob], propagate_down: list[bool], bottom: list[Blob]) -> None:
        """Write the `diff` of the bottoms that ask for it; add to the parameters'."""


class Blobs(list[Parameter]):
    """A layer's parameters."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def add_blob(self, *shape: int) -> Parameter:
        """Append a parameter of zeros, and return it."""
        self.append(Parameter(torch.zeros(shape, device=self._device)))
        return self[-1]


class PythonLayer(EngineLayer, type="Python"):
    """python_param: a layer of the class `layer` in the Python module `module`.

    Source: PythonLayer.

    Raises:
        FatalError: there is no such module or class.
    """

    bottoms = (0, ANY)
    tops = (0, ANY)

    def setup(self, bottoms: Shapes) -> None:
        device = self.context.device
        self.python = self._make()
        self.python.param_str = str(self.param.python_param.param_str)
        self.python.phase = self.context.phase
        self.python.blobs = Blobs(device)
        self.bottom = [Blob(shape, device) for shape in bottoms]
        self.top = [Blob((), device) for _ in self.param.top]
        self.python.setup(self.bottom, self.top)
        self.blobs = self.python.blobs

    def __getattr__(self, name: str) -> Any:
        """What the script's own layer has beside these."""
        if "python" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.python, name)

    def _make(self) -> Layer:
        p = self.param.python_param
        try:
            made = getattr(importlib.import_module(p.module), p.layer)()
        except (ImportError, AttributeError, ValueError) as error:
            raise FatalError(
                "layer_factory.cpp:269",
                f"python_param: no class '{p.layer}' in a module '{p.module}' ({error}): correct "
                f"the names, or put the module's folder on sys.path (layer '{self.name}')",
            ) from None
        if not isinstance(made, Layer):
            raise FatalError(
                "layer_factory.cpp:269",
                f"python_param: '{p.module}.{p.layer}' is no caffe.Layer: derive it from that "
                f"(layer '{self.name}')",
            )
        return made

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        for blob, shape in zip(self.bottom, bottoms, strict=True):
            blob.reshape(*shape)
        self.python.reshape(self.bottom, self.top)
        return [blob.shape for blob in self.top]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        if not self.top:
            self.run(bottoms)
            return []
        tensors = [*bottoms, *(blob.tensor for blob in self.blobs)]
        return list(_Pass.apply(self, *tensors))  # type: ignore[no-untyped-call]

    def run(self, bottoms: Tensors) -> None:
        """The values of `top` from those of the bottoms."""
        with torch.no_grad():
            for blob, values in zip(self.bottom, bottoms, strict=True):
                blob.store(values)
        self.python.reshape(self.bottom, self.top)
        self.python.forward(self.bottom, self.top)


class _Pass(torch.autograd.Function):
    """A Python layer in PyTorch's graph. The layer itself adds to its parameters' gradients."""

    @staticmethod
    def forward(ctx: Any, layer: PythonLayer, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.layer = layer
        layer.run(tensors[: len(layer.bottom)])
        return tuple(blob.tensor.clone() for blob in layer.top)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        layer: PythonLayer = ctx.layer
        wanted = list(ctx.needs_input_grad[1 : 1 + len(layer.bottom)])
        for blob, gradient in zip(layer.top, gradients, strict=True):
            blob.store_gradient(gradient)
        layer.python.backward(layer.top, wanted, layer.bottom)
        diffs: list[torch.Tensor | None] = [
            torch.from_numpy(blob.diff.copy()).to(layer.context.device) if want else None
            for blob, want in zip(layer.bottom, wanted, strict=True)
        ]
        return (None, *diffs, *(None for _ in layer.blobs))
