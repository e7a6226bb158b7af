"""A net: run forward by its layers and backward by autograd, with pycaffe's surface."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from caffe_torch import debug_info, upgrade
from caffe_torch.blob import Array, Shape
from caffe_torch.graph import Graph, Node
from caffe_torch.layers import Layer
from caffe_torch.net_weights import NetWeights
from caffe_torch.runtime import Runtime


class Net(NetWeights):
    """A net of one phase, with pycaffe's surface.

    Attributes:
        name: the prototxt's name.
        nodes: the layers in order with their bottoms and tops, splits included.
        blobs: every blob by name, in the order of the layers.
        params: each layer's parameter blobs, for layers that have some.
        inputs, outputs: names of blobs that the caller fills, and that no layer reads.
        learned: the parameters a solver updates, in Caffe's order.
        debug_info: whether to log mean magnitudes of values and gradients, layer by layer.
        force_backward: whether gradients go back to the inputs.

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
        self.debug_info = bool(param.debug_info)
        self._loss_weights = graph.loss_weights
        self.force_backward = graph.force_backward
        self._steps: dict[int, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        self._shapes: dict[int, list[Shape]] = {}
        for name in self._loss_weights:
            self._gradient(name)

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

    # Running, a layer at a time: every value and gradient can be seen and changed between

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
        for index in range(first, last + 1):
            self._forward_layer(index)
        wanted = [*(self.nodes[last].tops if end else self.outputs), *(blobs or ())]
        return {name: self.blobs[name].data for name in wanted}

    def _forward_layer(self, index: int) -> None:
        """One layer forward, on the values that its bottoms have now."""
        node = self.nodes[index]
        if node.layer.type != "Input":
            self._step(index, node)
        if self.debug_info:
            debug_info.log_forward(self, node)

    def _step(self, index: int, node: Node) -> None:
        shapes = [self.blobs[name].shape for name in node.bottoms]
        if shapes != self._shapes.get(index, shapes):
            node.layer.reshape(shapes)
        self._shapes[index] = shapes
        bottoms = []
        for name, need in zip(node.bottoms, node.bottom_needs, strict=True):
            x = self.blobs[name].tensor.data
            bottoms.append((x.clone() if node.in_place else x).requires_grad_(need))
        tops = node.layer.forward(bottoms)
        if node.needs_backward:
            self._steps[index] = (bottoms, tops)
        with torch.no_grad():
            for name, top in zip(node.tops, tops, strict=True):
                self.blobs[name].store(top)

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **tops: Array,
    ) -> dict[str, Array]:
        """Carry gradients from `start` back to `end` (all layers by default), as pycaffe.

        It begins at the `diff` that `start`'s tops, or all the net's outputs, have: the weight of
        a loss, zeros elsewhere, or what was written there. Every blob's `diff` becomes its
        gradient; a parameter's adds up over calls until `clear_param_diffs`, as in Caffe.

        Args:
            diffs: names of blobs whose gradients to return besides the inputs' (`end`'s bottoms').
            start, end: names of layers, both inclusive, `start` the one nearer to the loss.
            tops: gradients of the objective with respect to blobs, e.g. `prob=...`.

        Raises:
            RuntimeError: a layer has not been run forward.
        """
        for name, values in tops.items():
            self._gradient(name)
            self.blobs[name].diff[...] = values
        names = [node.layer.name for node in self.nodes]
        first = names.index(start) if start else len(names) - 1
        last = names.index(end) if end else 0
        for index in range(first, last - 1, -1):
            self._backward_layer(index)
        wanted = [*(self.nodes[last].bottoms if end else self.inputs), *(diffs or ())]
        return {name: self.blobs[name].diff for name in wanted}

    def _backward_layer(self, index: int) -> None:
        """One layer backward: its bottoms' gradients from its tops', its parameters' added to."""
        node = self.nodes[index]
        if not node.needs_backward:
            return
        if node.layer.type != "Input":
            self._step_back(index, node)
        if self.debug_info:
            debug_info.log_backward(self, node)

    def _step_back(self, index: int, node: Node) -> None:
        if index not in self._steps:
            raise RuntimeError(
                f"backward() of layer '{node.layer.name}' before forward(): run forward() first"
            )
        bottoms, tops = self._steps[index]
        outputs = [
            (top, self._gradient(name))
            for name, top in zip(node.tops, tops, strict=True)
            if top.requires_grad
        ]
        if not outputs:
            return
        parameters = [blob for blob in node.layer.blobs if blob.tensor.requires_grad]
        wanted = [(n, x) for n, x in zip(node.bottoms, bottoms, strict=True) if x.requires_grad]
        gradients = torch.autograd.grad(
            [top for top, _ in outputs],
            [x for _, x in wanted] + [blob.tensor for blob in parameters],
            [gradient.view_as(top) for top, gradient in outputs],
            retain_graph=True,
            allow_unused=True,
        )
        for (name, x), gradient in zip(wanted, gradients, strict=False):
            self.blobs[name].store_gradient(torch.zeros_like(x) if gradient is None else gradient)
        for blob, gradient in zip(parameters, gradients[len(wanted) :], strict=True):
            if gradient is not None:
                blob.add_gradient(gradient)

    def _gradient(self, name: str) -> torch.Tensor:
        """What a blob's gradient is at the beginning of a pass backward, or was written to be."""
        blob = self.blobs[name]
        gradient = blob.gradient
        if gradient is None or gradient.shape != blob.shape:
            weight = self.loss_weight(name)
            gradient = torch.full(blob.shape, weight, device=self.runtime.device)
            blob.gradient = gradient
        return gradient

    # Running as a whole, for training and testing: blobs have values, parameters gradients

    def _run(self, overwrite: bool) -> None:
        for node in self.nodes:
            if node.layer.type == "Input":
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
            if self.runtime.precision == "bf16":
                tops = self._forward_bf16(node, bottoms, overwrite)
            elif overwrite and node.overwrites:
                tops = [node.layer.forward_in_place(bottoms[0])]
            else:
                tops = node.layer.forward(bottoms)
            for name, top in zip(node.tops, tops, strict=True):
                self.blobs[name].tensor = top
        if self.runtime.precision == "bf16":
            for name in self.outputs:
                self.blobs[name].tensor = self.blobs[name].tensor.float()

    def _forward_bf16(
        self, node: Node, bottoms: Sequence[torch.Tensor], overwrite: bool
    ) -> list[torch.Tensor]:
        """A layer in bfloat16 if it may be, else in float32 on its bottoms as such."""
        if not node.layer.reduced:
            return node.layer.forward([x.float() for x in bottoms])
        with self.runtime.autocast():
            if overwrite and node.overwrites:
                return [node.layer.forward_in_place(bottoms[0])]
            return node.layer.forward(bottoms)

    def _run_input(self, node: Node) -> None:
        for name in node.tops:
            blob = self.blobs[name]
            if self.force_backward:
                blob.tensor = blob.tensor.detach().requires_grad_()

    def forward_only(self) -> None:
        """One pass forward, with in-place layers in place where no gradient will be wanted."""
        if self.debug_info:
            self.forward()
        else:
            self._run(overwrite=not torch.is_grad_enabled())

    def forward_backward(self) -> torch.Tensor:
        """One training pass: add gradients to the parameters and return the loss, unsynchronized.

        Unlike `forward`, in-place layers work in place, and blobs' `diff` are not kept.
        """
        if self.debug_info:
            return self._forward_backward_by_layers()
        self._run(overwrite=True)
        loss = self.loss()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _forward_backward_by_layers(self) -> torch.Tensor:
        """The same, and every blob's `diff` too."""
        self.forward()
        self.backward()
        if self.debug_info:
            debug_info.log_all_params(self)
        return self.loss().detach()

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
