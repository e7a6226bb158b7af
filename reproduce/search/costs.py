"""What a net costs, layer by layer: multiply-accumulates, parameters, or memory while training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from prototxt_gen.dropout import DropoutRule
from prototxt_gen.notation import (
    Architecture,
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
)
from prototxt_gen.shapes import GapForm, LayerCost, Padding, Shape, costs
from reproduce.search.rules import State

Cost = Literal["macs", "parameters", "memory"]


@dataclass(frozen=True)
class CostModel:
    """Prices the actions of a walk; the prices of a net's actions add up to its cost.

    Attributes:
        of: what is counted:
            `macs`: multiply-accumulates of one image's forward pass;
            `parameters`: weights and biases;
            `memory`: bytes in fp32 that training with Adam holds, of

            * each layer's output, as values and as gradients, for a batch: ReLU and ELU work in
              place and Flatten shares its input's memory, so they add nothing; GAP has two
              outputs, its 1×1 convolution's and the averages;
            * the masks of max pooling and dropout, one number for each of their outputs;
            * each parameter four times: value, gradient, Adam's two moments.

            Left out: images and labels (the same for all nets), the loss, and buffers that
            depend on how Caffe was built (im2col, cuDNN's workspace).
        padding: of convolutions.
        gap: what GAP means as layers; it averages over the whole blob.
        dropout: where dropout layers are, which only memory depends on.
        batch: images per batch, which only memory depends on.
    """

    of: Cost = "macs"
    padding: Padding = Padding.SAME
    gap: GapForm = GapForm.PAPER
    dropout: DropoutRule = DropoutRule.PAPER
    batch: int = 128

    def price(self, state: State, blob: Shape, action: Layer, ends: bool) -> tuple[int, Shape]:
        """The cost of an action taken in `state`, and the blob that it makes of `blob`.

        `ends` tells a GAP that is a termination, and so includes its softmax, from one that
        softmax follows as an action of its own.
        """
        layers = self._layers(state, blob, action, ends)
        position = state.depth + 1
        return sum(self._cost(layer, blob, position) for layer in layers), layers[-1].shape

    def _layers(self, state: State, blob: Shape, action: Layer, ends: bool) -> list[LayerCost]:
        """The layers that an action stands for."""
        if isinstance(action, Softmax) and state.kind == "GAP":
            layers = self._costs(GlobalAveragePooling(action.classes), action, blob)
            return layers[1:]
        if isinstance(action, Softmax):
            return list(costs(Architecture((action,)), blob, self.padding, self.gap))
        classes = action.classes if isinstance(action, GlobalAveragePooling) else 1
        layers = self._costs(action, Softmax(classes), blob)
        return layers if ends else layers[:1]

    def _costs(self, layer: Layer, softmax: Softmax, blob: Shape) -> list[LayerCost]:
        return list(costs(Architecture((layer, softmax)), blob, self.padding, self.gap))

    def _cost(self, layer: LayerCost, blob: Shape, position: int) -> int:
        if self.of == "macs":
            return layer.macs
        parameters = layer.weights + layer.biases
        if self.of == "parameters":
            return parameters
        return 4 * (self.batch * self._numbers(layer, blob, position) + 4 * parameters)

    def _numbers(self, layer: LayerCost, blob: Shape, position: int) -> int:
        """What one image's pass keeps of a layer: values, gradients and masks."""
        outputs = math.prod(layer.shape)
        match layer.layer:
            case Convolution() | FullyConnected():
                numbers = 2 * outputs
            case Pooling():
                numbers = 3 * outputs
            case GlobalAveragePooling(classes):
                return 2 * classes * blob[1] * blob[2] + 2 * outputs
            case _:  # softmax: its scores, unless they are the averages themselves
                return 2 * outputs if layer.weights else 0
        return numbers + 3 * outputs if self._dropped(layer.layer, position) else numbers

    def _dropped(self, layer: Layer, position: int) -> bool:
        """Whether dropout follows the layer at a position, counted from 1, other than GAP or SM."""
        is_fc = isinstance(layer, FullyConnected)
        match self.dropout:
            case DropoutRule.PAPER:
                return position % 2 == 0
            case DropoutRule.RELEASED | DropoutRule.RAMP_30 | DropoutRule.RAMP_40:
                return position % 2 == 0 or is_fc
            case DropoutRule.AFTER_FC:
                return is_fc
        return False
