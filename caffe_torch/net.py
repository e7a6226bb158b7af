"""A net: run forward by its layers and backward by autograd, with pycaffe's surface."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch import prototext, upgrade
from caffe_torch.blob import Array, Parameter, is_legacy, proto_shape, shape_string, to_proto
from caffe_torch.blob import from_proto as blob_values
from caffe_torch.graph import Graph, Node
from caffe_torch.layers import Layer
from caffe_torch.log import FatalError, info
from caffe_torch.runtime import Runtime


class Net:
    """A net of one phase, with pycaffe's surface.

    Attributes:
        name: the prototxt's name.
        nodes: the layers in order with their bottoms and tops, splits included.
        blobs: every blob by name, in the order of the layers.
        params: each layer's parameter blobs, for layers that have some.
        inputs, outputs: names of blobs that the caller fills, and that no layer reads.
        learned: the parameters a solver updates, in Caffe's order.

    Args:
        param: the net; its `state` says phase, level and stages.
        runtime: device and random streams.

    Raises:
        FatalError: the net is not one that Caffe would build.
    """

    def __init__(self, param: Any, runtime: Runtime) -> None:
        graph = Graph(param, runtime)
        self.runtime = runtime
        self.name = str(param.name)
        self.nodes = graph.nodes
        self.blobs = graph.blobs
        self.params = graph.params
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self.learned = graph.learned
        self._loss_weights = graph.loss_weights
        self._force_backward = graph.force_backward
        self._origins: dict[str, torch.Tensor] = {}

    @classmethod
    def from_file(
        cls,
        path: str,
        phase: int,
        weights: str | None = None,
        runtime: Runtime | None = None,
        level: int = 0,
        stages: Sequence[str] = (),
    ) -> "Net":
        """The net of a prototxt file in one phase, with the weights of a caffemodel.

        Raises:
            FatalError: a file is missing or wrong.
        """
        param = upgrade.read_net(path)
        param.state.phase = phase
        param.state.level = level
        param.state.stage.extend(stages)
        net = cls(param, runtime or Runtime.create())
        if weights:
            net.copy_from(weights)
        return net

    # Running

    def _run(self, nodes: Sequence[Node], overwrite: bool = False) -> None:
        for node in nodes:
            if not node.bottoms and node.layer.type == "Input":
                self._run_input(node)
                continue
            bottoms = [
                x if need or not x.requires_grad else x.detach()
                for x, need in zip(
                    (self.blobs[name].tensor for name in node.bottoms),
                    node.bottom_needs,
                    strict=True,
                )
            ]
            if overwrite and node.overwrites:
                tops = [node.layer.forward_in_place(bottoms[0])]
            else:
                tops = node.layer.forward(bottoms)
            for name, top in zip(node.tops, tops, strict=True):
                if not (node.in_place and name == node.tops[0]):
                    self._origins[name] = top
                self.blobs[name].tensor = top

    def _run_input(self, node: Node) -> None:
        for name in node.tops:
            blob = self.blobs[name]
            if self._force_backward:
                blob.tensor = blob.tensor.detach().requires_grad_()
            self._origins[name] = blob.tensor

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **inputs: Array,
    ) -> dict[str, Array]:
        """Run the layers from `start` to `end` (all by default), as pycaffe.

        Args:
            blobs: names of blobs to return besides the outputs.
            start, end: names of layers, both inclusive.
            inputs: values for input blobs.

        Returns:
            The outputs (or `end`'s tops) by name.
        """
        for name, values in inputs.items():
            if name not in self.blobs or self.blobs[name].shape != tuple(values.shape):
                raise ValueError(f"input {name}: no blob of that name and shape {values.shape}")
            self.blobs[name].data[...] = values
        names = [node.layer.name for node in self.nodes]
        first = names.index(start) if start else 0
        last = names.index(end) if end else len(names) - 1
        self._run(self.nodes[first : last + 1])
        wanted = [*(self.nodes[last].tops if end else self.outputs), *(blobs or ())]
        return {name: self.blobs[name].data for name in wanted}

    def backward(self, diffs: Sequence[str] | None = None, **tops: Array) -> dict[str, Array]:
        """Gradients of the loss (and of given tops) into every blob's and parameter's `diff`.

        A parameter's gradient adds up over calls until `clear_param_diffs`, as in Caffe.

        Args:
            diffs: names of blobs whose gradients to return besides the inputs'.
            tops: gradients of the objective with respect to blobs, e.g. `prob=...`.
        """
        roots = {name: torch.full_like(self.blobs[name].tensor, weight)
                 for name, weight in self._loss_weights.items()}  # fmt: skip
        for name, values in tops.items():
            roots[name] = torch.from_numpy(np.asarray(values, np.float32)).to(self.runtime.device)
        roots = {name: g for name, g in roots.items() if self.blobs[name].tensor.requires_grad}
        if not roots:
            return {name: self.blobs[name].diff for name in [*self.inputs, *(diffs or ())]}
        leaves = [p.blob for p in self.learned if p.blob.tensor.requires_grad]
        inner = {name: t for name, t in self._origins.items() if t.requires_grad}
        gradients = torch.autograd.grad(
            [self.blobs[name].tensor for name in roots],
            [blob.tensor for blob in leaves] + list(inner.values()),
            list(roots.values()),
            retain_graph=True,
            allow_unused=True,
        )
        for blob, gradient in zip(leaves, gradients, strict=False):
            if gradient is not None:
                old = blob.gradient
                blob.gradient = gradient if old is None else old + gradient
        for name, gradient in zip(inner, gradients[len(leaves) :], strict=True):
            self.blobs[name].gradient = gradient
        return {name: self.blobs[name].diff for name in [*self.inputs, *(diffs or ())]}

    def forward_only(self) -> None:
        """One pass forward, with in-place layers in place where no gradient will be wanted."""
        self._run(self.nodes, overwrite=not torch.is_grad_enabled())

    def forward_backward(self) -> torch.Tensor:
        """One training pass: add gradients to the parameters and return the loss, unsynchronized.

        Unlike `forward`, in-place layers work in place, and blobs' `diff` are not kept.
        """
        self._run(self.nodes, overwrite=True)
        loss = self.loss()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def loss(self) -> torch.Tensor:
        """The weighted sum of the tops that have a loss weight, a scalar tensor."""
        terms = [
            self.blobs[name].tensor if weight == 1 else weight * self.blobs[name].tensor
            for name, weight in self._loss_weights.items()
        ]
        if not terms:
            return torch.zeros((), device=self.runtime.device)
        total = terms[0].sum()
        for term in terms[1:]:
            total = total + term.sum()
        return total

    def loss_weight(self, blob: str) -> float:
        """A blob's weight in the loss, 0 if it has none."""
        return self._loss_weights.get(blob, 0.0)

    def clear_param_diffs(self) -> None:
        """Forget the parameters' gradients."""
        for learned in self.learned:
            learned.blob.gradient = None

    def reshape(self) -> None:
        """Carry new shapes of the input blobs through the net."""
        for node in self.nodes:
            if node.layer.type == "Input":
                continue
            shapes = node.layer.reshape([self.blobs[name].shape for name in node.bottoms])
            for name, shape in zip(node.tops, shapes, strict=True):
                self.blobs[name].reshape(*shape)

    @property
    def layers(self) -> list[Layer]:
        """The layers in order, splits included."""
        return [node.layer for node in self.nodes]

    @property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """Each layer's tops."""
        return OrderedDict((node.layer.name, node.tops) for node in self.nodes)

    @property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """Each layer's bottoms."""
        return OrderedDict((node.layer.name, node.bottoms) for node in self.nodes)

    # Weights

    def to_proto(self) -> Any:
        """The NetParameter with the parameters' values, as a caffemodel holds it."""
        param = caffe_pb2.NetParameter(name=self.name)
        for node in self.nodes:
            layer = param.layer.add()
            layer.CopyFrom(node.layer.param)
            del layer.blobs[:]
            layer.blobs.extend(to_proto(blob.data) for blob in node.layer.blobs)
        return param

    def save(self, path: str) -> None:
        """Write a caffemodel.

        Raises:
            FatalError: the path cannot be written.
        """
        prototext.write_binary(path, self.to_proto())

    def copy_from(self, path: str) -> None:
        """Copy a caffemodel's parameters into the layers of the same names.

        Raises:
            FatalError: the file is missing or damaged, or a layer's shapes differ.
        """

        def assign(target: Parameter, i: int, source: Any) -> None:
            with torch.no_grad():
                values = torch.from_numpy(blob_values(source.blobs[i]))
                target.tensor.copy_(values.reshape(target.shape))

        for layer in upgrade.read_model(path).layer:
            shapes = [proto_shape(blob) for blob in layer.blobs]
            legacy = any(map(is_legacy, layer.blobs))
            self._copy_layer(layer.name, shapes, layer, assign, legacy)

    def share_from(self, other: "Net") -> None:
        """Use the other net's parameters in the layers of the same names.

        Raises:
            FatalError: a layer's shapes differ.
        """
        for node in other.nodes:
            shapes = [blob.shape for blob in node.layer.blobs]

            def assign(target: Parameter, i: int, source: Layer) -> None:
                node_of = self._by_name[source.name]
                node_of.layer.blobs[i] = source.blobs[i]

            self._copy_layer(node.layer.name, shapes, node.layer, assign)

    @property
    def _by_name(self) -> Mapping[str, Node]:
        """The first layer of each name."""
        return {node.layer.name: node for node in reversed(self.nodes)}

    def _copy_layer(
        self,
        name: str,
        shapes: Sequence[tuple[int, ...]],
        source: Any,
        assign: Callable[[Parameter, int, Any], None],
        legacy: bool = False,
    ) -> None:
        target = self._by_name.get(name)
        if target is None:
            info("net.cpp:746", f"Ignoring source layer {name}")
            return
        blobs = target.layer.blobs
        if len(blobs) != len(shapes):
            raise FatalError(
                "net.cpp:753",
                f"Check failed: target_blobs.size() == source_layer.blobs_size() ({len(blobs)} vs. "
                f"{len(shapes)}) Incompatible number of blobs for layer {name}; rename the layer "
                "to learn it from scratch",
            )
        for i, (blob, shape) in enumerate(zip(blobs, shapes, strict=True)):
            if not _same_shape(blob.shape, shape, legacy):
                raise FatalError(
                    "net.cpp:759",
                    f"Cannot copy param {i} weights from layer '{name}'; shape mismatch.  Source "
                    f"param shape is {shape_string(shape)}; target param shape is "
                    f"{shape_string(blob.shape)}. To learn this layer's parameters from scratch "
                    "rather than copying from a saved net, rename the layer.",
                )
            assign(blob, i, source)


def _same_shape(target: Sequence[int], source: Sequence[int], legacy: bool) -> bool:
    """Equal; a legacy source has four dimensions, with ones before those of the target."""
    ones = [1] * (4 - len(target)) if legacy else []
    return [*ones, *target] == list(source)
