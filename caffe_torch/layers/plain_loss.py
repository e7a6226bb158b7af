"""Objectives without a softmax: Euclidean, sigmoid cross-entropy, contrastive, multinomial
logistic and hinge loss."""

from typing import Any, ClassVar

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch
from torch.nn import functional

from caffe_torch.blob import Shape, count
from caffe_torch.layers.base import Shapes, Tensors
from caffe_torch.layers.labels import read_labels
from caffe_torch.layers.loss import Loss

_LOG_THRESHOLD = 1e-20


class NamedAxes(Loss):
    """A loss whose bottoms' axes Caffe calls num, channels, height and width: at most four."""

    def check_axes(self, shape: Shape) -> None:
        """Check that a bottom has at most four axes.

        Raises:
            FatalError: it has more.
        """
        self.check(
            len(shape) <= 4,
            "blob.hpp:140",
            f"num_axes() <= 4 ({len(shape)} vs. 4) Cannot use legacy accessors on Blobs with > 4 "
            "axes.",
        )

    def check_single(self, shape: Shape, bottom: int, lines: tuple[int, ...], first: int) -> None:
        """Check that axes from `first` to 3 are 1, each with the line of Caffe's check.

        Raises:
            FatalError: one is larger.
        """
        self.check_axes(shape)
        for axis, line in enumerate(lines, first):
            size = shape[axis] if axis < len(shape) else 1
            name = ("num", "channels", "height", "width")[axis]
            self.check(
                size == 1,
                f"{self.source}:{line}",
                f"bottom[{bottom}]->{name}() == 1 ({size} vs. 1) ",
            )


class EuclideanLoss(Loss, type="EuclideanLoss"):
    """Σ (a − b)² / 2N of two blobs (N, …); both have a gradient. Source: EuclideanLossLayer."""

    source = "euclidean_loss_layer.cpp"

    def allows_force_backward(self, bottom: int) -> bool:
        return True

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        tops = super().reshape(bottoms)
        sizes = [count(shape[1:]) for shape in bottoms]
        self.check(
            sizes[0] == sizes[1],
            f"{self.source}:12",
            f"bottom[0]->count(1) == bottom[1]->count(1) ({sizes[0]} vs. {sizes[1]}) Inputs must "
            "have the same dimension.",
        )
        return tops

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        a, b = bottoms
        total = functional.mse_loss(a, b.reshape(a.shape), reduction="sum")
        return [total / (2 * len(a))]


class SigmoidCrossEntropyLoss(Loss, type="SigmoidCrossEntropyLoss"):
    """loss_param: −Σ (t · log σ(x) + (1 − t) · log(1 − σ(x))), normalized by N by default.

    Bottoms: scores x (N, …), targets t in [0, 1], as many. Source: SigmoidCrossEntropyLossLayer.
    """

    source = "sigmoid_cross_entropy_loss_layer.cpp"
    refused: ClassVar = {1: (108, "label")}

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        tops = super().reshape(bottoms)
        scores, targets = map(count, bottoms)
        self.check(
            scores == targets,
            f"{self.source}:41",
            f"bottom[0]->count() == bottom[1]->count() ({scores} vs. {targets}) "
            "SIGMOID_CROSS_ENTROPY_LOSS layer inputs must have the same count.",
        )
        return tops

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        scores = bottoms[0]
        targets = bottoms[1].detach().reshape(scores.shape)
        used = None
        if self.ignored is not None:
            used = targets.trunc() != self.ignored
            targets = torch.where(used, targets, 0.0)
        losses = functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        if used is not None:
            losses = torch.where(used, losses, 0.0)
        batch = caffe_pb2.LossParameter.BATCH_SIZE
        normalizer = self.normalizer(batch, used, len(scores), scores.numel())
        return [self.guard(losses.sum() / normalizer, bottoms)]


class ContrastiveLoss(NamedAxes, type="ContrastiveLoss"):
    """contrastive_loss_param: Σ (d² if similar, else max(margin − d, 0)²) / 2N, d = |a − b|.

    With `legacy_version` dissimilar pairs count max(margin − d², 0). Bottoms: a and b (N, C),
    labels (N), similar if not 0. Caffe's gradient of a dissimilar pair divides by d + 1e-4, and
    so does this. Source: ContrastiveLossLayer.
    """

    bottoms = (3, 3)
    source = "contrastive_loss_layer.cpp"

    def allows_force_backward(self, bottom: int) -> bool:
        return bottom != 2

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        tops = super().reshape(bottoms)
        a, b, labels = bottoms
        for shape in bottoms:
            self.check_axes(shape)
        channels = [count(shape[1:2]) for shape in (a, b)]
        self.check(
            channels[0] == channels[1],
            f"{self.source}:13",
            f"bottom[0]->channels() == bottom[1]->channels() ({channels[0]} vs. {channels[1]}) ",
        )
        self.check_single(a, 0, (14, 15), first=2)
        self.check_single(b, 1, (16, 17), first=2)
        self.check_single(labels, 2, (18, 19, 20), first=1)
        self.check(
            count(labels) >= a[0],
            f"{self.source}:1",
            f"bottom[2]->num() >= bottom[0]->num() ({count(labels)} vs. {a[0]}) give a label for "
            "each pair",
        )
        return tops

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        a, b, labels = bottoms
        p = self.param.contrastive_loss_param
        difference = (a - b.reshape(a.shape)).reshape(len(a), -1)
        similar = labels.detach().reshape(-1)[: len(a)].trunc() != 0
        loss: torch.Tensor = _Contrastive.apply(  # type: ignore[no-untyped-call]
            difference, similar, p.margin, p.legacy_version
        )
        return [loss]


class _Contrastive(torch.autograd.Function):
    """The loss of differences (N, C) of pairs, with Caffe's gradient."""

    @staticmethod
    def forward(
        ctx: Any, difference: torch.Tensor, similar: torch.Tensor, margin: float, legacy: bool
    ) -> torch.Tensor:
        squares = (difference * difference).sum(1)
        if legacy:
            gap = (margin - squares).clamp(min=0)
            losses, pull = gap, -(gap > 0).to(gap.dtype)
        else:
            distance = squares.sqrt()
            gap = (margin - distance).clamp(min=0)
            losses, pull = gap * gap, -gap / (distance + 1e-4)
        scale = torch.where(similar, 1.0, pull)[:, None] / len(difference)
        ctx.save_for_backward(difference * scale)
        return torch.where(similar, squares, losses).sum() / (2 * len(difference))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return ctx.saved_tensors[0] * grads[0], None, None, None


class LabelLoss(NamedAxes):
    """What MultinomialLogisticLoss and HingeLoss share: N rows of scores, N labels.

    Bottoms: (N, …), up to 4-d, a row an item; labels, of which the first N are read.
    """

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        self.check_axes(bottoms[0])
        return super().reshape(bottoms)

    def rows(self, bottoms: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        """The scores as (N, K), the labels as (N, 1)."""
        rows = bottoms[0].flatten(1) if bottoms[0].dim() > 1 else bottoms[0][:, None]
        first = bottoms[1].reshape(-1)[: len(rows)]
        target, _ = read_labels(self, first, rows.shape[1], f"{self.source}:1")
        return rows, target[:, None]


class MultinomialLogisticLoss(LabelLoss, type="MultinomialLogisticLoss"):
    """−Σ log max(p[label], 1e-20) / N of probabilities p; the gradient is −1 / (N · that maximum).

    Source: MultinomialLogisticLossLayer.
    """

    source = "multinomial_logistic_loss_layer.cpp"
    refused: ClassVar = {1: (41, "label")}

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        tops = super().reshape(bottoms)
        self.check_single(bottoms[1], 1, (14, 15, 16), first=1)
        return tops

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        rows, target = self.rows(bottoms)
        own = rows.gather(1, target)
        cut = own + (own.clamp(min=_LOG_THRESHOLD) - own).detach()
        return [self.guard(-cut.log().sum() / len(rows), bottoms)]


class HingeLoss(LabelLoss, type="HingeLoss"):
    """hinge_loss_param: Σ max(0, 1 ∓ score)^p / N, − for the label's score, + for the others'.

    p is 1 for norm L1, 2 for L2. Source: HingeLossLayer.
    """

    source = "hinge_loss_layer.cpp"
    refused: ClassVar = {1: (46, "label")}

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        rows, target = self.rows(bottoms)
        signs = torch.ones_like(rows, requires_grad=False).scatter_(1, target, -1.0)
        gaps = torch.relu(1 + signs * rows)
        if self.param.hinge_loss_param.norm == caffe_pb2.HingeLossParameter.L2:
            gaps = gaps * gaps
        return [self.guard(gaps.sum() / len(rows), bottoms)]
