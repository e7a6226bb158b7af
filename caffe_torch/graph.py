"""Building a net as Caffe does: each layer created, connected, set up and logged, in order."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2

from caffe_torch import prototext, wiring
from caffe_torch.blob import Blob, Parameter, check_shape, count, shape_string
from caffe_torch.layers import Context, Layer, create
from caffe_torch.log import FatalError, info, number, warning
from caffe_torch.runtime import Runtime
from caffe_torch.sharing import SharedParameter, owner_of, share


@dataclass
class Node:
    """One layer in its place in a net.

    Attributes:
        bottoms, tops: names of blobs.
        needs_backward: whether a gradient passes through the layer.
        bottom_needs: the same for each bottom.
        overwrites: whether it may work in place on its bottom's memory in training.
    """

    layer: Layer
    bottoms: list[str]
    tops: list[str]
    needs_backward: bool = False
    bottom_needs: list[bool] = field(default_factory=list)
    overwrites: bool = False

    @property
    def in_place(self) -> bool:
        """Whether the first top is the first bottom."""
        return bool(self.bottoms and self.tops) and self.bottoms[0] == self.tops[0]


@dataclass
class LearnedParameter:
    """A parameter blob that a solver updates, with its multipliers."""

    blob: Parameter
    lr_mult: float = 1.0
    decay_mult: float = 1.0
    set_lr: bool = False
    set_decay: bool = False
    owner: str = ""


class Graph:
    """The layers of a net and the blobs between them.

    Attributes:
        nodes: the layers in order, splits included.
        blobs: every blob by name, in the order of the layers.
        params: each layer's parameter blobs, for layers that have some.
        inputs, outputs: names of blobs that the caller fills, and that no layer reads.
        learned: the parameters a solver updates, in Caffe's order.
        loss_weights: the weight of each blob that is part of the loss.
        force_backward: whether gradients go back to the inputs.

    Args:
        param: the net; its `state` says phase, level and stages.
        runtime: device and random streams.

    Raises:
        FatalError: the net is not one that Caffe would build.
    """

    def __init__(self, param: Any, runtime: Runtime) -> None:
        self.nodes: list[Node] = []
        self.blobs: OrderedDict[str, Blob] = OrderedDict()
        self.params: OrderedDict[str, list[Parameter]] = OrderedDict()
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.learned: list[LearnedParameter] = []
        self.loss_weights: dict[str, float] = {}
        self.force_backward = bool(param.force_backward)
        self._runtime = runtime
        self._named: dict[str, tuple[int, int, int]] = {}
        self._needs_backward: dict[str, bool] = {}
        self._memory = 0
        filtered = wiring.filter_net(param)
        dump = prototext.debug_string(filtered)
        info("net.cpp:53", f"Initializing net from parameters: \n{dump}")
        phase = int(param.state.phase)
        context = Context(phase, runtime.device, runtime.rng, runtime.dropout)
        available: set[str] = set()
        for layer_param in wiring.insert_splits(filtered).layer:
            if not layer_param.HasField("phase"):
                layer_param.phase = phase
            self._append(layer_param, context, available)
        if not self.nodes:
            raise FatalError(
                "net.cpp:520",
                f"Check failed: end < layers_.size() (-1 vs. 0)  (net '{param.name}' has no layer "
                "in this phase, level and stage; give it some)",
            )
        self._plan_backward()
        for output in sorted(available):
            info("net.cpp:244", f"This network produces output {output}")
            self.outputs.append(output)
        self._plan_overwriting()
        info("net.cpp:257", "Network initialization done.")

    def _append(self, param: Any, context: Context, available: set[str]) -> None:
        """Create one layer, connect and set it up, and log each step."""
        if param.propagate_down and len(param.propagate_down) != len(param.bottom):
            raise FatalError(
                "net.cpp:79",
                "Check failed: layer_param.propagate_down_size() == layer_param.bottom_size() "
                f"({len(param.propagate_down)} vs. {len(param.bottom)}) propagate_down param must "
                f"be specified either 0 or bottom_size times  (layer '{param.name}')",
            )
        layer = create(param, context)
        info("net.cpp:86", f"Creating Layer {param.name}")
        node = Node(layer, list(param.bottom), list(param.top))
        for i, bottom in enumerate(node.bottoms):
            info("net.cpp:408", f"{param.name} <- {bottom}")
            available.discard(bottom)
            needs = self._needs_backward[bottom]
            node.bottom_needs.append(param.propagate_down[i] if param.propagate_down else needs)
            node.needs_backward |= node.bottom_needs[-1]
        for top in node.tops:
            self._append_top(node, top, available)
        if layer.loss and not node.tops:
            info("net.cpp:382", f"{param.name} -> (automatic)")
            param.top.append("(automatic)")
            node.tops.append("(automatic)")
        layer.check_counts()
        shapes = [self.blobs[bottom].shape for bottom in node.bottoms]
        layer.setup(shapes)
        tops = layer.reshape(shapes)
        info("net.cpp:124", f"Setting up {param.name}")
        for i, (top, shape) in enumerate(zip(node.tops, tops, strict=True)):
            made = shape_string(shape).split(" (")[0]
            check_shape(shape, f"(top '{top}' of layer '{layer.name}', of shape {made})")
            if top in self.blobs and node.in_place and i == 0 and shape == self.blobs[top].shape:
                pass
            else:
                self.blobs[top] = Blob(shape, self._runtime.device)
            info("net.cpp:131", f"Top shape: {shape_string(shape)}")
            weight = layer.loss_weight(i)
            if weight:
                info("net.cpp:134", f"    with loss weight {number(weight)}")
                self.loss_weights[top] = weight
            self._memory += count(shape)
        info("net.cpp:139", f"Memory required for data: {4 * self._memory}")
        self._append_parameters(node)
        for top in node.tops:
            self._needs_backward[top] = node.needs_backward
        self.nodes.append(node)

    def _append_top(self, node: Node, top: str, available: set[str]) -> None:
        layer = node.layer
        position = node.tops.index(top)
        if position < len(node.bottoms) and node.bottoms[position] == top:
            info("net.cpp:369", f"{layer.name} -> {top} (in-place)")
        elif top in self.blobs or node.tops.count(top) > 1:
            raise FatalError(
                "net.cpp:377",
                f"Top blob '{top}' produced by multiple sources. (layer '{layer.name}': give its "
                "top another name, or make it the layer's bottom too)",
            )
        else:
            info("net.cpp:382", f"{layer.name} -> {top}")
        if layer.type == "Input":
            self.inputs.append(top)
        available.add(top)

    def _append_parameters(self, node: Node) -> None:
        """Register a layer's parameters, shared by name where the prototxt says so."""
        layer = node.layer
        specs = list(layer.param.param)
        if len(specs) > len(layer.blobs):
            raise FatalError(
                "net.cpp:143",
                f"Check failed: param_size <= num_param_blobs ({len(specs)} vs. "
                f"{len(layer.blobs)}) Too many params specified for layer {layer.name} (give "
                "one 'param' a parameter blob at most)",
            )
        for i, blob in enumerate(layer.blobs):
            spec = specs[i] if i < len(specs) else caffe_pb2.ParamSpec()
            learned = self._learned(node, i, blob, spec)
            for mine, theirs, line, known in (
                ("lr_mult", "set_lr", 497, "params_lr_"),
                ("decay_mult", "set_decay", 506, "params_weight_decay_"),
            ):
                if not spec.HasField(mine):
                    continue
                value = getattr(spec, mine)
                if getattr(learned, theirs) and getattr(learned, mine) != value:
                    raise FatalError(
                        f"net.cpp:{line}",
                        f"Check failed: param_spec->{mine}() == {known}[learnable_param_id] "
                        f"({number(value)} vs. {number(getattr(learned, mine))}) Shared param "
                        f"'{spec.name}' has mismatched {mine}. (layer '{layer.name}')",
                    )
                setattr(learned, mine, value)
                setattr(learned, theirs, True)
            node.needs_backward |= spec.lr_mult != 0
        if layer.blobs:
            self.params[layer.name] = layer.blobs

    def _learned(self, node: Node, i: int, blob: Parameter, spec: Any) -> LearnedParameter:
        layer = node.layer
        if spec.name not in self._named or not spec.name:
            if spec.name:
                self._named[spec.name] = (len(self.nodes), i, len(self.learned))
            self.learned.append(LearnedParameter(blob, owner=layer.name))
            return self.learned[-1]
        owner_index, owner_blob, index = self._named[spec.name]
        learned = self.learned[index]
        info(
            "net.cpp:467",
            f"Sharing parameters '{spec.name}' owned by layer '{learned.owner}', param index "
            f"{owner_blob}",
        )
        owner = self.nodes[owner_index].layer if owner_index < len(self.nodes) else layer
        layer.blobs[i] = share(spec, owner.name, learned.blob, layer.name, blob)
        return learned

    def _plan_backward(self) -> None:
        """Find which layers a gradient of the loss reaches, from the last to the first."""
        under_loss: set[str] = set()
        skipped: set[str] = set()
        for node in reversed(self.nodes):
            weighted = [node.layer.loss_weight(i) != 0 for i in range(len(node.tops))]
            contributes = any(
                w or t in under_loss for w, t in zip(weighted, node.tops, strict=True)
            )
            if node.needs_backward and all(top in skipped for top in node.tops):
                node.needs_backward = False
                node.bottom_needs = [False] * len(node.bottoms)
            if not contributes:
                node.needs_backward = False
            if node.needs_backward:
                info("net.cpp:200", f"{node.layer.name} needs backward computation.")
            else:
                info("net.cpp:202", f"{node.layer.name} does not need backward computation.")
            for i, bottom in enumerate(node.bottoms):
                if contributes:
                    under_loss.add(bottom)
                else:
                    node.bottom_needs[i] = False
                if not node.bottom_needs[i]:
                    skipped.add(bottom)
        if self.force_backward:
            for node in self.nodes:
                node.needs_backward = True
                node.bottom_needs = [
                    node.layer.allows_force_backward(i) for i in range(len(node.bottoms))
                ]
        self._plan_learning()

    def _plan_learning(self) -> None:
        """Decide which parameters get gradients, and, of shared ones, from which layers."""
        uses: list[tuple[Layer, int, bool]] = []
        wanted: dict[int, bool] = {}
        for node in self.nodes:
            specs = node.layer.param.param
            for i, blob in enumerate(node.layer.blobs):
                rate = specs[i].lr_mult if i < len(specs) else 1.0
                wants = node.needs_backward and (rate != 0 or self.force_backward)
                wanted[id(owner_of(blob))] = wanted.get(id(owner_of(blob)), False) or wants
                uses.append((node.layer, i, wants))
        for learned in self.learned:
            learned.blob.tensor.requires_grad_(wanted[id(learned.blob)])
        for layer, i, wants in uses:
            blob = layer.blobs[i]
            if not wants and wanted[id(owner_of(blob))]:
                layer.blobs[i] = SharedParameter(owner_of(blob), blob.shape, learns=False)

    def _plan_overwriting(self) -> None:
        """Let in-place layers overwrite what no gradient reads; warn where Caffe would be wrong."""
        writer: dict[str, Node] = {}
        for node in self.nodes:
            if node.in_place:
                before = writer[node.bottoms[0]]
                node.overwrites = before.layer.overwritable
                if node.needs_backward and _spoils(node, before):
                    warning(
                        "net.cpp:369",
                        f"Layer {node.layer.name} works in place on the output of "
                        f"{before.layer.type} layer {before.layer.name}, which that layer's "
                        "gradient needs: this engine keeps a copy and gets it right, BVLC Caffe "
                        f"would not. Give {node.layer.name} a top of its own.",
                    )
            for top in node.tops:
                writer[top] = node


# What leaves the sign of a ReLU's output as it is.
_SIGN_KEEPING = ("Dropout", "ELU", "PReLU", "ReLU", "TanH")


def _spoils(node: Node, before: Node) -> bool:
    """Whether an in-place layer overwrites what the gradient of the layer before it reads.

    An in-place ReLU reads the sign of its own output.
    """
    layer = node.layer
    if layer.type == "Dropout" and not layer.context.training:
        return False
    signs = before.layer.type == "ReLU" and before.in_place and layer.type not in _SIGN_KEEPING
    return before.layer.saves_output or signs
