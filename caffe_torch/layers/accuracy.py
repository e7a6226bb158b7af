"""Scores that are not objectives."""

import torch

from caffe_torch.blob import Shape, count
from caffe_torch.layers.base import Layer, Shapes, Tensors
from caffe_torch.layers.gradient import refuse_gradient
from caffe_torch.layers.labels import check_number, read_labels


class Accuracy(Layer, type="Accuracy"):
    """accuracy_param: the share of labels among the `top_k` highest scores.

    Bottoms: scores and labels as SoftmaxWithLoss's. Tops: a scalar; optionally each class's
    share. A score ties as a loser: the label's own score must be strictly above all but
    `top_k` − 1 of the others. Comparisons with NaN are false, so a net of NaNs scores 1. No
    gradient. Source: AccuracyLayer.
    """

    bottoms = (2, 2)
    tops = (1, 2)

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        scores, labels = bottoms
        p = self.param.accuracy_param
        classes = count(scores) // max(count(labels), 1)
        self.check(
            p.top_k <= classes,
            "accuracy_layer.cpp:25",
            f"top_k_ <= bottom[0]->count() / bottom[1]->count() ({p.top_k} vs. {classes}) top_k "
            "must be less than or equal to the number of classes.",
        )
        axis = self.axis(p.axis, len(scores))
        check_number(self, scores, labels, axis, "accuracy_layer.cpp:31", "label")
        return [(), (scores[axis],)][: len(self.param.top)]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        p = self.param.accuracy_param
        scores, labels = (x.detach() for x in bottoms)
        rows = scores.movedim(p.axis, -1)
        classes = rows.shape[-1]
        rows = rows.reshape(-1, classes)
        ignored = p.ignore_label if p.HasField("ignore_label") else None
        target, used = read_labels(self, labels, classes, "accuracy_layer.cpp:69", ignored)
        better = (rows >= rows.gather(1, target[:, None])).sum(1) - 1
        correct = better < p.top_k
        accuracy = correct.sum() / max(len(target), 1)
        if used is not None:
            correct = correct & used
            accuracy = correct.sum() / used.sum().clamp(min=1)
        if self.loss_weight(0):
            message = f"Not Implemented Yet: Accuracy has no gradient (layer '{self.name}')"
            accuracy = refuse_gradient(accuracy, bottoms, "accuracy_layer.hpp:79", message)
        if len(self.param.top) == 1:
            return [accuracy]
        each = torch.ones_like(correct) if used is None else used
        seen, right = (
            rows.new_zeros(classes).index_add_(0, target, which.float())
            for which in (each, correct)
        )
        return [accuracy, right / seen.clamp(min=1)]
