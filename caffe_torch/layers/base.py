"""What every layer has: its registry, parameters, checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch import fillers
from caffe_torch.blob import Array, Parameter, Shape
from caffe_torch.log import FatalError, info

Shapes = Sequence[Shape]
Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Context:
    """What a net gives its layers.

    Attributes:
        phase: caffe_pb2.TRAIN or caffe_pb2.TEST.
        device: where tensors live.
        rng: draws the fillers' values and seeds the data layers' transformations.
        dropout: the generator of the dropout masks, on `device`.
    """

    phase: int
    device: torch.device
    rng: np.random.Generator
    dropout: torch.Generator

    @property
    def training(self) -> bool:
        """Whether the phase is TRAIN."""
        return bool(self.phase == caffe_pb2.TRAIN)


class Layer:
    """One layer: shapes in, shapes out; tensors in, tensors out.

    A subclass sets `bottoms` and `tops`, the least and the most blobs it takes and makes; `loss`,
    whether its first top is an objective; `saves_output`, whether Caffe's gradient reads the
    layer's output, so that an in-place layer behind it spoils Caffe's; `overwritable`,
    whether autograd never reads the output, so that one may overwrite it here; and `reduced`,
    whether `--precision bf16` runs it in bfloat16 (the others get and give float32).
    """

    registry: ClassVar[dict[str, type["Layer"]]] = {}
    type: ClassVar[str] = ""
    bottoms: ClassVar[tuple[int, int]] = (1, 1)
    tops: ClassVar[tuple[int, int]] = (1, 1)
    loss: ClassVar[bool] = False
    saves_output: ClassVar[bool] = False
    overwritable: ClassVar[bool] = False
    reduced: ClassVar[bool] = False

    def __init_subclass__(cls, type: str = "", **rest: Any) -> None:  # noqa: A002
        super().__init_subclass__(**rest)
        if type:
            cls.type = type
            Layer.registry[type] = cls

    def __init__(self, param: Any, context: Context) -> None:
        self.param = param
        self.context = context
        self.blobs: list[Parameter] = []

    def allows_force_backward(self, bottom: int) -> bool:
        """Whether `force_backward` asks for this bottom's gradient too."""
        return not (self.loss and bottom == 1)

    @property
    def name(self) -> str:
        """The layer's name in its net."""
        return str(self.param.name)

    def setup(self, bottoms: Shapes) -> None:
        """Make the parameter blobs for bottoms of these shapes. Called once."""

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        """The shapes of the tops.

        Raises:
            FatalError: the layer does not take bottoms of these shapes.
        """
        raise FatalError("layer.hpp:1", f"layer type {self.type} does not say its tops' shapes")

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        """The tops' values."""
        raise FatalError("layer.hpp:2", f"layer type {self.type} has no forward pass")

    def forward_in_place(self, bottom: torch.Tensor) -> torch.Tensor:
        """The top's values, over the bottom's where the layer can: nobody else reads those."""
        return self.forward([bottom])[0]

    def loss_weight(self, top: int) -> float:
        """The weight of a top in the objective: as the prototxt says, else 1 for a loss."""
        if self.param.loss_weight:
            return float(self.param.loss_weight[top])
        return 1.0 if self.loss and top == 0 else 0.0

    def add_parameter(self, shape: Shape, filler: Any) -> None:
        """Append one parameter blob, filled; a 4-d one is channels_last in memory."""
        values = torch.from_numpy(self.filled(shape, filler))
        if len(shape) == 4:
            values = values.to(memory_format=torch.channels_last)
        self.blobs.append(Parameter(values.to(self.context.device)))

    def filled(self, shape: Shape, filler: Any) -> Array:
        """New values of a shape, as a FillerParameter says.

        Raises:
            FatalError: there is no such filler, or not for this shape.
        """
        try:
            return fillers.fill(shape, filler, self.context.rng)
        except FatalError as failure:
            text = f"{failure.message} (layer '{self.name}')"
            raise FatalError(failure.where, text) from None

    def check(self, condition: bool, where: str, message: str) -> None:
        """Raise the fatal error that names this layer, unless the condition holds."""
        if not condition:
            raise FatalError(where, f"Check failed: {message} (layer '{self.name}')")

    def check_counts(self) -> None:
        """Check the numbers of bottoms, tops and loss weights against what the layer takes.

        Raises:
            FatalError: too few or too many.
        """
        for kind, names, (least, most), lines in (
            ("bottom", self.param.bottom, self.bottoms, (349, 354, 359)),
            ("top", self.param.top, self.tops, (364, 369, 374)),
        ):
            n, verb, role = len(names), "takes", "input"
            if kind == "top":
                verb, role = "produces", "output"
            side = kind.capitalize()
            if least == most and n != least:
                line, bound = lines[0], str(least)
                rule = f"ExactNum{side}Blobs() == {kind}.size() ({least} vs. {n})"
            elif n < least:
                line, bound = lines[1], f"at least {least}"
                rule = f"Min{side}Blobs() <= {kind}.size() ({least} vs. {n})"
            elif n > most:
                line, bound = lines[2], f"at most {most}"
                rule = f"Max{side}Blobs() >= {kind}.size() ({most} vs. {n})"
            else:
                continue
            self.check(
                False,
                f"layer.hpp:{line}",
                f"{rule} {self.type} Layer {verb} {bound} {kind} blob(s) as {role}.",
            )
        weights = len(self.param.loss_weight)
        self.check(
            weights in (0, len(self.param.top)),
            "layer.hpp:392",
            f"top.size() == num_loss_weights ({len(self.param.top)} vs. {weights}) loss_weight "
            "must be unspecified or specified once per top blob.",
        )

    def axis(self, axis: int, rank: int) -> int:
        """A possibly negative axis as a non-negative one.

        Raises:
            FatalError: the bottom has no such axis.
        """
        for line, holds, rule in (
            (119, axis >= -rank, f"axis_index >= -num_axes() ({axis} vs. {-rank})"),
            (122, axis < rank, f"axis_index < num_axes() ({axis} vs. {rank})"),
        ):
            message = f"{rule} axis {axis} out of range for {rank}-D Blob; correct axis"
            self.check(holds, f"blob.hpp:{line}", message)
        return axis % rank


ANY = 1_000_000


def create(param: Any, context: Context) -> Layer:
    """The layer of a LayerParameter.

    Raises:
        FatalError: no layer has this type.
    """
    info("layer_factory.hpp:77", f"Creating layer {param.name}")
    if param.type not in Layer.registry:
        known = ", ".join(sorted(Layer.registry))
        raise FatalError(
            "layer_factory.hpp:81",
            "Check failed: registry.count(type) == 1 (0 vs. 1) "
            f"Unknown layer type: {param.type} (known types: {known}) "
            f"(layer '{param.name}': correct its type)",
        )
    return Layer.registry[param.type](param, context)
