"""Objectives and scores."""

import sys
from typing import Any

import prototxt_gen.caffe_pb2 as caffe_pb2
import torch

from caffe_torch.blob import Shape, count
from caffe_torch.layers.base import Layer, Shapes, Tensors
from caffe_torch.log import FatalError, info

_SMALLEST = torch.finfo(torch.float32).tiny


class SoftmaxWithLoss(Layer, type="SoftmaxWithLoss"):
    """softmax_param, loss_param: −log of the label's softmax, summed and normalized.

    Bottoms: scores (N, C, …) with classes along `axis`, labels with that axis gone.
    Tops: the loss, a scalar; optionally the probabilities. An element's loss is at most 87.3,
    −log of the smallest normal float, and its gradient is not cut there. Source:
    SoftmaxWithLossLayer.
    """

    bottoms = (2, 2)
    tops = (1, 2)
    loss = True

    def setup(self, bottoms: Shapes) -> None:
        info("layer_factory.hpp:77", f"Creating layer {self.name}")

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        scores, labels = bottoms
        axis = self.axis(self.param.softmax_param.axis, len(scores))
        outer, inner = count(scores[:axis]), count(scores[axis + 1 :])
        self.check(
            outer * inner == count(labels),
            "softmax_loss_layer.cpp:47",
            f"outer_num_ * inner_num_ == bottom[1]->count() ({outer * inner} vs. {count(labels)}) "
            "Number of labels must match number of predictions; e.g., if softmax axis == 1 and "
            "prediction shape is (N, C, H, W), label count (number of labels) must be N*H*W, with "
            "integer values in {0, 1, ..., C-1}.",
        )
        return [(), scores][: len(self.param.top)]

    def _normalizer(self, valid: torch.Tensor | int, outer: int, total: int) -> torch.Tensor | int:
        p, modes = self.param.loss_param, caffe_pb2.LossParameter
        mode = p.normalization
        if not p.HasField("normalization") and p.HasField("normalize"):
            mode = modes.VALID if p.normalize else modes.BATCH_SIZE
        if mode == modes.VALID:
            return valid.clamp(min=1) if isinstance(valid, torch.Tensor) else max(valid, 1)
        if mode == modes.FULL:
            return total
        return outer if mode == modes.BATCH_SIZE else 1

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        scores, labels = bottoms
        axis = self.param.softmax_param.axis % scores.dim()
        outer = count(scores.shape[:axis])
        target = labels.reshape(-1).long()
        rows = scores.movedim(axis, -1)
        valid: torch.Tensor | int = len(target)
        used = None
        if self.param.loss_param.HasField("ignore_label"):
            used = target != self.param.loss_param.ignore_label
            valid = used.sum()
            target = torch.where(used, target, 0)
        normalizer = self._normalizer(valid, outer, len(target))
        flat = rows.reshape(len(target), -1)
        try:
            loss, probability = _NegativeLogSoftmax.apply(  # type: ignore[no-untyped-call]
                flat, target, used, normalizer
            )
        except RuntimeError:
            raise _label_error(self.name, labels, flat) from None
        return [loss, probability.view(rows.shape).movedim(-1, axis)][: len(self.param.top)]


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
        normalizer: torch.Tensor | int,
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


def _label_error(name: str, labels: torch.Tensor, rows: torch.Tensor) -> Exception:
    """The fatal error of a label out of range; the exception at hand where that isn't it."""
    low, high = labels.min().item(), labels.max().item()
    if low >= 0 and high < rows.shape[1]:
        cause = sys.exception()
        return cause if isinstance(cause, Exception) else RuntimeError(name)
    return FatalError(
        "softmax_loss_layer.cpp:101",
        f"Check failed: label_value < prob_.shape(softmax_axis_) labels run from {low:g} to "
        f"{high:g}, but layer '{name}' has {rows.shape[1]} classes; correct the data set's "
        "labels or num_output",
    )


class Accuracy(Layer, type="Accuracy"):
    """accuracy_param: the share of labels among the `top_k` highest scores.

    Bottoms: scores and labels as SoftmaxWithLoss's. Tops: a scalar; optionally each class's
    share. A score ties as a loser: the label's own score must be strictly above all but
    `top_k` − 1 of the others. Comparisons with NaN are false, so a net of NaNs scores 1.
    Source: AccuracyLayer.
    """

    bottoms = (2, 2)
    tops = (1, 2)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        scores, labels = bottoms
        p = self.param.accuracy_param
        axis = self.axis(p.axis, len(scores))
        self.check(
            p.top_k <= count(scores) // count(labels or (1,)),
            "accuracy_layer.cpp:38",
            "top_k_ <= bottom[0]->count() / bottom[1]->count() top_k must be less than or equal "
            "to the number of classes.",
        )
        outer, inner = count(scores[:axis]), count(scores[axis + 1 :])
        self.check(
            outer * inner == count(labels),
            "accuracy_layer.cpp:44",
            f"outer_num_ * inner_num_ == bottom[1]->count() ({outer * inner} vs. {count(labels)}) "
            "Number of labels must match number of predictions; e.g., if label axis == 1 and "
            "prediction shape is (N, C, H, W), label count (number of labels) must be N*H*W, with "
            "integer values in {0, 1, ..., C-1}.",
        )
        return [(), (scores[axis],)][: len(self.param.top)]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.accuracy_param
        scores, labels = (x.detach() for x in bottoms)
        axis = p.axis % scores.dim()
        target = labels.reshape(-1).long()
        rows = scores.movedim(axis, -1).reshape(len(target), -1)
        used = torch.ones_like(target, dtype=torch.bool)
        if p.HasField("ignore_label"):
            used = target != p.ignore_label
            target = torch.where(used, target, 0)
        try:
            own = rows.gather(1, target[:, None])
        except RuntimeError:
            raise _label_error(self.name, labels, rows) from None
        better = (rows >= own).sum(dim=1) - 1
        correct = (better < p.top_k) & used
        accuracy = correct.sum() / used.sum().clamp(min=1)
        if len(self.param.top) == 1:
            return [accuracy]
        classes = rows.shape[1]
        seen = torch.zeros(classes, device=rows.device).index_add_(0, target, used.float())
        right = torch.zeros_like(seen).index_add_(0, target, correct.float())
        return [accuracy, torch.where(seen > 0, right / seen, 0.0)]
