"""Class labels: what SoftmaxWithLoss, Accuracy and the like read beside the scores."""

import torch

from caffe_torch.blob import Shape, count
from caffe_torch.layers.base import Layer
from caffe_torch.log import FatalError, number


def check_number(
    layer: Layer, scores: Shape, labels: Shape, axis: int, where: str, name: str
) -> None:
    """Check that there is one label for each place of the scores beside the axis of the classes.

    Caffe's message calls the axis by `name`.

    Raises:
        FatalError: there are more or fewer.
    """
    outer, inner = count(scores[:axis]), count(scores[axis + 1 :])
    layer.check(
        outer * inner == count(labels),
        where,
        f"outer_num_ * inner_num_ == bottom[1]->count() ({outer * inner} vs. {count(labels)}) "
        f"Number of labels must match number of predictions; e.g., if {name} axis == 1 and "
        "prediction shape is (N, C, H, W), label count (number of labels) must be N*H*W, with "
        "integer values in {0, 1, ..., C-1}.",
    )


def read_labels(
    layer: Layer, labels: torch.Tensor, classes: int, where: str, ignored: int | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Labels as a row of int64, and with an ignored label which are used (those not are 0 then).

    On the CPU they are checked, which Caffe does not. On a GPU that would wait for the device
    each time: there CUDA ends the program where a label is used as an index.

    Raises:
        FatalError: a label is not a whole number, or is no class.
    """
    row = labels.detach().reshape(-1)
    target, used = row.long(), None
    if ignored is not None:
        used = target != ignored
        target = torch.where(used, target, 0)
    if not row.is_cuda and len(row):
        known = row if used is None else torch.where(used, row, 0.0)
        low, high = (float(end) for end in torch.aminmax(known))
        if not torch.equal(known, target.to(known.dtype)):
            wrong = float(known[known != target][0])
            raise FatalError(
                where,
                f"Check failed: labels are whole numbers, but one is {number(wrong)} (layer "
                f"'{layer.name}'); correct the data set's labels",
            )
        if low < 0 or high >= classes:
            raise FatalError(
                where,
                f"Check failed: label_value < prob_.shape(softmax_axis_) labels run from {low:g} "
                f"to {high:g}, but layer '{layer.name}' has {classes} classes; correct the data "
                "set's labels or num_output",
            )
    return target, used
