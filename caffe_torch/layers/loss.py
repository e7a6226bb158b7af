"""Objectives: what all share, and those of a softmax: SoftmaxWithLoss, InfogainLoss."""

from dataclasses import dataclass
from typing import Any, ClassVar

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch import prototext
from caffe_torch.blob import Shape, count, from_proto
from caffe_torch.layers.base import Context, Layer, Shapes, Tensors
from caffe_torch.layers.gradient import refuse_gradient
from caffe_torch.layers.labels import check_number, read_labels
from caffe_torch.log import info

_SMALLEST = torch.finfo(torch.float32).tiny
_LOG_THRESHOLD = 1e-20
_MODES = caffe_pb2.LossParameter


class Loss(Layer):
    """An objective: a scalar of predictions and, as a rule, labels, which take no gradient.

    `source` is Caffe's file; `refused` says for bottoms without a gradient what Caffe calls them
    and the line that refuses it.
    """

    bottoms = (2, 2)
    loss = True
    source: ClassVar[str] = ""
    refused: ClassVar[dict[int, tuple[int, str]]] = {}

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        first, second = (shape[self.axis(0, len(shape))] for shape in bottoms[:2])
        self.check(
            first == second,
            "loss_layer.cpp:19",
            f"bottom[0]->shape(0) == bottom[1]->shape(0) ({first} vs. {second}) The data and label "
            "should have the same first dimension.",
        )
        return [()]

    def guard(self, loss: torch.Tensor, bottoms: Tensors) -> torch.Tensor:
        """The loss; its gradient is Caffe's fatal error where a label is asked for one."""
        asked = self.param.propagate_down
        for i, (line, name) in reversed(self.refused.items()):  # Caffe refuses the first first
            if i < len(bottoms) and (bottoms[i].requires_grad or (asked and asked[i])):
                message = (
                    f"{self.type} Layer cannot backpropagate to {name} inputs. (layer "
                    f"'{self.name}': give it propagate_down: false for bottom {i})"
                )
                loss = refuse_gradient(loss, [bottoms[i]], f"{self.source}:{line}", message)
        return loss

    def normalizer(
        self, default: int, used: torch.Tensor | None, outer: int, total: int
    ) -> torch.Tensor | float:
        """What the sum is divided by, at least 1: as loss_param says.

        Args:
            default: the mode where loss_param has none.
            used: which of the `total` predictions count, None for all.
            outer: the batch size, times the axes before that of the classes.
            total: the number of predictions.
        """
        p = self.param.loss_param
        mode = default
        if p.HasField("normalization"):
            mode = p.normalization
        elif p.HasField("normalize"):
            mode = _MODES.VALID if p.normalize else _MODES.BATCH_SIZE
        if mode == _MODES.VALID and used is not None:
            return used.sum().clamp(min=1)
        return max({_MODES.BATCH_SIZE: outer, _MODES.NONE: 1}.get(mode, total), 1)

    @property
    def ignored(self) -> int | None:
        """The label that does not count, if any."""
        p = self.param.loss_param
        return int(p.ignore_label) if p.HasField("ignore_label") else None


@dataclass(frozen=True)
class Predictions:
    """Scores (n, C), a label for each row, which rows count (None: all), and the divisor."""

    rows: torch.Tensor
    target: torch.Tensor
    used: torch.Tensor | None
    normalizer: torch.Tensor | float


class ClassLoss(Loss):
    """What SoftmaxWithLoss and InfogainLoss share: one label per place beside the classes' axis.

    Bottoms: scores (N, C, …) with classes along an axis, labels with that axis gone. Tops: the
    loss, a scalar; optionally the softmax of the scores. Real Caffe gives that from InfogainLoss
    with two loss weights only: it refuses all else where it checks their number.
    """

    tops = (1, 2)
    axis_name: ClassVar[str] = "softmax"
    count_line: ClassVar[int]
    label_line: ClassVar[int]

    def class_axis(self) -> int:
        """The axis of the classes, as the prototxt says it."""
        return int(self.param.softmax_param.axis)

    def setup(self, bottoms: Shapes) -> None:
        info("layer_factory.hpp:77", f"Creating layer {self.name}")

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        scores, labels = bottoms[:2]
        super().reshape(bottoms)
        axis = self.axis(self.class_axis(), len(scores))
        where = f"{self.source}:{self.count_line}"
        check_number(self, scores, labels, axis, where, self.axis_name)
        return [(), scores][: len(self.param.top)]

    def predictions(self, bottoms: Tensors) -> Predictions:
        """The bottoms as rows of scores, with their labels.

        Raises:
            FatalError: a label is no class.
        """
        scores, labels = bottoms[:2]
        axis = self.class_axis() % scores.dim()
        moved = scores.movedim(axis, -1)
        rows = moved.reshape(-1, moved.shape[-1])
        where = f"{self.source}:{self.label_line}"
        target, used = read_labels(self, labels, rows.shape[1], where, self.ignored)
        outer = count(scores.shape[:axis])
        normalizer = self.normalizer(_MODES.VALID, used, outer, len(target))
        return Predictions(rows, target, used, normalizer)

    def finish(
        self, loss: torch.Tensor, probability: torch.Tensor, bottoms: Tensors
    ) -> list[torch.Tensor]:
        """The tops of a loss and the softmax of the rows."""
        tops = [self.guard(loss, bottoms)]
        if len(self.param.top) == 2:
            axis, moved = self.class_axis(), bottoms[0].movedim(self.class_axis(), -1)
            tops.append(probability.view(moved.shape).movedim(-1, axis))
        return tops


class SoftmaxWithLoss(ClassLoss, type="SoftmaxWithLoss"):
    """softmax_param, loss_param: −log of the label's softmax, summed and normalized.

    An element's loss is at most 87.3, −log of the smallest normal float, and its gradient is not
    cut there. Source: SoftmaxWithLossLayer.
    """

    source = "softmax_loss_layer.cpp"
    refused: ClassVar = {1: (121, "label")}
    count_line, label_line = 47, 101

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        given = self.predictions(bottoms)
        loss, probability = _NegativeLogSoftmax.apply(  # type: ignore[no-untyped-call]
            given.rows, given.target, given.used, given.normalizer
        )
        return self.finish(loss, probability, bottoms)


class _NegativeLogSoftmax(torch.autograd.Function):
    """Σ −log(max(softmax(rows)[target], smallest float)) / normalizer over the used rows.

    The gradient is (softmax − one-hot) / normalizer, also where the logarithm was cut.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        target: torch.Tensor,
        used: torch.Tensor | None,
        normalizer: torch.Tensor | float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        probability = torch.softmax(rows, 1)
        losses = -probability.gather(1, target[:, None]).clamp(min=_SMALLEST).log().squeeze(1)
        if used is not None:
            losses = torch.where(used, losses, 0.0)
        ctx.save_for_backward(probability, target, used)
        ctx.normalizer = normalizer
        ctx.mark_non_differentiable(probability)
        return losses.sum() / normalizer, probability

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        probability, target, used = ctx.saved_tensors
        gradient = probability.scatter_add(
            1, target[:, None], torch.full_like(target[:, None], -1, dtype=probability.dtype)
        )
        gradient *= grads[0] / ctx.normalizer
        if used is not None:
            gradient = torch.where(used[:, None], gradient, 0.0)
        return gradient, None, None, None


class InfogainLoss(ClassLoss, type="InfogainLoss"):
    """infogain_loss_param, loss_param: −Σ_k H[label, k] · log softmax_k, summed and normalized.

    H (C × C) is the third bottom, or a BlobProto in the file `source`. The logarithm is cut at
    1e-20, its gradient is not. Source: InfogainLossLayer.
    """

    bottoms = (2, 3)
    source = "infogain_loss_layer.cpp"
    refused: ClassVar = {1: (172, "label"), 2: (176, "infogain")}
    axis_name = "infogain"
    count_line, label_line = 60, 111

    def __init__(self, param: Any, context: Context) -> None:
        super().__init__(param, context)
        self._matrix = torch.empty(0)

    def class_axis(self) -> int:
        return int(self.param.infogain_loss_param.axis)

    def setup(self, bottoms: Shapes) -> None:
        self.check(
            not self.param.loss_param.HasField("normalize"),
            f"{self.source}:36",
            "!this->layer_param_.loss_param().has_normalize() normalize is deprecated. use "
            '"normalization"',
        )
        super().setup(bottoms)
        if len(bottoms) == 3:
            return
        p = self.param.infogain_loss_param
        self.check(
            p.HasField("source"),
            f"{self.source}:41",
            "this->layer_param_.infogain_loss_param().has_source() Infogain matrix source must be "
            "specified.",
        )
        proto = prototext.read_binary(p.source, caffe_pb2.BlobProto(), f"{self.source}:46")
        self._matrix = torch.from_numpy(from_proto(proto)).to(self.context.device)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        tops = super().reshape(bottoms)
        classes = bottoms[0][self.class_axis()]
        values = count(bottoms[2] if len(bottoms) == 3 else self._matrix.shape)
        self.check(
            values == classes**2,
            f"{self.source}:72",
            f"infogain->count() == num_labels_*num_labels_ ({values} vs. {classes**2}) the "
            "infogain matrix has a row and a column for each class",
        )
        return tops

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        given = self.predictions(bottoms)
        matrix = bottoms[2].detach() if len(bottoms) == 3 else self._matrix
        classes = given.rows.shape[1]
        gains = matrix.reshape(classes, classes)[given.target]
        if given.used is not None:
            gains = torch.where(given.used[:, None], gains, 0.0)
        loss, probability = _Infogain.apply(  # type: ignore[no-untyped-call]
            given.rows, gains / given.normalizer
        )
        return self.finish(loss, probability, bottoms)


class _Infogain(torch.autograd.Function):
    """−Σ gains · log(max(softmax(rows), 1e-20)); the gradient is that without the cut."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, gains: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        probability = torch.softmax(rows, 1)
        ctx.save_for_backward(probability, gains)
        ctx.mark_non_differentiable(probability)
        return -(gains * probability.clamp(min=_LOG_THRESHOLD).log()).sum(), probability

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        probability, gains = ctx.saved_tensors
        return grads[0] * (probability * gains.sum(1, keepdim=True) - gains), None
