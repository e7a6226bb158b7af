"""pycaffe's Net."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from caffe_torch import net as engine
from caffe_torch import upgrade
from caffe_torch.blob import Array, Blob
from caffe_torch.layers import Layer
from caffe_torch.layers.input import MemoryData
from caffe_torch.runtime import Runtime

from .modes import runtime

Hook = Callable[[int], object]


class Net(engine.Net):
    """The net of a prototxt file: `Net(file, phase)` or `Net(file, weights, phase)`.

    Every array that it shows is contiguous and stays the same one from pass to pass.

    Attributes:
        observed: asked before a solver's pass: whether the script can look at its arrays.

    Args:
        network_file: a NetParameter's prototxt.
        phase: `caffe.TRAIN` or `caffe.TEST`.
        level, stages: what the layers' include and exclude rules ask.
        weights: a caffemodel to copy from.

    Raises:
        RuntimeError: a file is missing.
        FatalError: the net, or the weights for it, are wrong.
        TypeError: the arguments are not those.
    """

    def __init__(self, network_file: str, *arguments: Any, **named: Any) -> None:
        names = ["phase", "level", "stages", "weights"]
        if arguments and not isinstance(arguments[0], int):
            names = ["weights", "phase"]
        given = dict(zip(names, arguments, strict=False), **named)
        if len(arguments) > len(names) or "phase" not in given or given.keys() - {*names, "phase"}:
            raise TypeError(
                "Net takes (network_file, phase, level=0, stages=None, weights=None) or "
                "(network_file, weights, phase)"
            )
        weights = given.get("weights")
        for path in filter(None, (network_file, weights)):
            if not Path(path).is_file():
                raise RuntimeError(f"Could not open file {path}")
        param = upgrade.read_net(str(network_file))
        param.state.phase = given["phase"]
        param.state.level = given.get("level", 0)
        param.state.stage.extend(given.get("stages") or ())
        self._set_up(param, runtime())
        if weights:
            self.copy_from(str(weights))

    @classmethod
    def of(cls, param: Any, where: Runtime) -> "Net":
        """The net of a NetParameter.

        Raises:
            FatalError: the net is not one that Caffe would build.
        """
        net = cls.__new__(cls)
        net._set_up(param, where)
        return net

    def _set_up(self, param: Any, where: Runtime) -> None:
        super().__init__(param, where)
        self.observed: Callable[[], bool] = lambda: True
        self._hooks: dict[str, list[Hook]] = {}
        for node in self.nodes:
            for blob in node.layer.blobs:
                blob.make_contiguous()

    # Running

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **inputs: Any,
    ) -> dict[str, Array]:
        """Run the layers from `start` to `end`, after setting the inputs.

        Args:
            blobs: names of blobs to return besides the outputs (or `end`'s tops).
            start, end: names of layers, both inclusive; all by default.
            inputs: all the net's inputs, or none.

        Raises:
            Exception: other inputs than the net's, or another batch size.
        """
        if inputs:
            self._assign("data", inputs, self.inputs, "Input blob", "net inputs", "Input")
        return super().forward(blobs, start, end)

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **tops: Any,
    ) -> dict[str, Array]:
        """Carry gradients from `start` back to `end`, after setting the tops'.

        Args:
            diffs: names of blobs whose gradients to return besides the inputs' (`end`'s bottoms').
            start, end: names of layers, both inclusive; all by default.
            tops: gradients for all the net's outputs (or `start`'s tops), or none.

        Raises:
            Exception: other tops than those, or another batch size.
        """
        if tops:
            names = self.top_names[start] if start else self.outputs
            self._assign("diff", tops, names, "Top diff", "net outputs", "Diff")
        return super().backward(diffs, start, end)

    def _assign(
        self,
        part: str,
        given: Mapping[str, Any],
        names: Sequence[str],
        what: str,
        where: str,
        batch: str,
    ) -> None:
        if set(given) != set(names):
            raise Exception(f"{what} arguments do not match {where}.")
        for name, values in given.items():
            blob = self.blobs[name]
            if len(blob.shape) and np.shape(values)[:1] != blob.shape[:1]:
                raise Exception(f"{batch} is not batch sized")
            getattr(blob, part)[...] = values

    def forward_backward(self) -> torch.Tensor:
        """One training pass; every blob's `diff` can be read after it, if it is `observed`."""
        if self._hooks or self.observed():
            return self._forward_backward_by_layers()
        return super().forward_backward()

    def forward_only(self) -> None:
        """One pass forward."""
        self.forward()

    def clear_param_diffs(self) -> None:
        """Set the parameters' gradients to zero."""
        for learned in self.learned:
            if learned.blob.gradient is not None:
                learned.blob.gradient.zero_()

    def forward_all(
        self, blobs: Sequence[str] | None = None, **inputs: Any
    ) -> dict[str, NDArray[Any]]:
        """Run inputs of any number, batch by batch.

        Returns:
            The outputs, and `blobs`, of all.
        """
        return self._in_batches(lambda batch: self.forward(blobs, **batch), inputs)

    def forward_backward_all(
        self,
        blobs: Sequence[str] | None = None,
        diffs: Sequence[str] | None = None,
        **given: Any,
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Run inputs, and gradients of outputs, of any number, both ways, batch by batch.

        Returns:
            The outputs and `blobs` of all; the gradients of the inputs and of `diffs` of all.
        """
        marked = "diff of "

        def both(batch: dict[str, Any]) -> dict[str, Array]:
            inputs = {name: batch[name] for name in batch if name in self.inputs}
            tops = {name: batch[name] for name in batch if name not in self.inputs}
            out = {name: values.copy() for name, values in self.forward(blobs, **inputs).items()}
            back = self.backward(diffs, **tops)
            return {**out, **{marked + name: values for name, values in back.items()}}

        every = self._in_batches(both, given)
        back = {name[len(marked) :]: every[name] for name in every if name.startswith(marked)}
        return {name: every[name] for name in every if not name.startswith(marked)}, back

    def _in_batches(
        self, run: Callable[[dict[str, Any]], dict[str, Array]], given: Mapping[str, Any]
    ) -> dict[str, NDArray[Any]]:
        """Run batches of what is given; cut off what filled up the last one."""
        number = len(next(iter(given.values())))
        parts: dict[str, list[Array]] = {}
        for batch in self._batch(given):
            for name, values in run(batch).items():
                parts.setdefault(name, []).append(np.array(values, ndmin=1))
        return {name: np.concatenate(values)[:number] for name, values in parts.items()}

    def _batch(self, given: Mapping[str, Any]) -> Iterator[dict[str, NDArray[Any]]]:
        """Batches of the net's size, the last one filled up with zeros."""
        number = len(next(iter(given.values())))
        size = self.blobs[next(iter(given))].shape[0]
        for first in range(0, number, size):
            batch = {name: np.asarray(v[first : first + size]) for name, v in given.items()}
            missing = size - len(next(iter(batch.values())))
            yield {
                name: np.concatenate([v, np.zeros((missing, *v.shape[1:]), v.dtype)])
                for name, v in batch.items()
            }

    def set_input_arrays(self, data: Array, labels: Array) -> None:
        """Give the net's first layer, a MemoryData layer, its values and labels, both float32.

        Raises:
            RuntimeError: the first layer is another, or an array has another type or shape.
        """
        layer = self.nodes[0].layer
        if not isinstance(layer, MemoryData):
            raise RuntimeError(
                "set_input_arrays may only be called if the first layer is a MemoryDataLayer"
            )
        for name, values in (("data", data), ("labels", labels)):
            if values.dtype != np.float32:
                raise RuntimeError(f"{name} array must be float32")
        try:
            layer.set_arrays(data, labels)
        except ValueError as error:
            raise RuntimeError(str(error)) from None

    def share_with(self, other: engine.Net) -> None:
        """Use the other net's parameters in the layers of the same names."""
        self.share_from(other)

    # Hooks, each called with a layer's index

    def before_forward(self, hook: Hook) -> None:
        """Call before each layer's forward pass."""
        self._hooks.setdefault("before_forward", []).append(hook)

    def after_forward(self, hook: Hook) -> None:
        """Call after each layer's forward pass."""
        self._hooks.setdefault("after_forward", []).append(hook)

    def before_backward(self, hook: Hook) -> None:
        """Call before each layer's backward pass."""
        self._hooks.setdefault("before_backward", []).append(hook)

    def after_backward(self, hook: Hook) -> None:
        """Call after each layer's backward pass."""
        self._hooks.setdefault("after_backward", []).append(hook)

    def _call(self, when: str, index: int) -> None:
        for hook in self._hooks.get(when, ()):
            hook(index)

    def _forward_layer(self, index: int) -> None:
        self._call("before_forward", index)
        super()._forward_layer(index)
        self._call("after_forward", index)

    def _backward_layer(self, index: int) -> None:
        self._call("before_backward", index)
        super()._backward_layer(index)
        self._call("after_backward", index)

    # Names

    @property
    def layer_dict(self) -> OrderedDict[str, Layer]:
        """The layers by name."""
        return OrderedDict((layer.name, layer) for layer in self.layers)

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """Each blob's weight in the loss."""
        return OrderedDict((name, self.loss_weight(name)) for name in self.blobs)

    @property
    def _layer_names(self) -> list[str]:
        return [layer.name for layer in self.layers]

    @property
    def _blob_names(self) -> list[str]:
        return list(self.blobs)

    @property
    def _blobs(self) -> list[Blob]:
        return list(self.blobs.values())

    @property
    def _inputs(self) -> list[int]:
        return [self._blob_names.index(name) for name in self.inputs]

    @property
    def _outputs(self) -> list[int]:
        return [self._blob_names.index(name) for name in self.outputs]

    def _bottom_ids(self, index: int) -> list[int]:
        return [self._blob_names.index(name) for name in self.nodes[index].bottoms]

    def _top_ids(self, index: int) -> list[int]:
        return [self._blob_names.index(name) for name in self.nodes[index].tops]
