"""Layers that take items of a batch: those that an index names, or that a value chooses."""

import torch

from caffe_torch.blob import Shape
from caffe_torch.layers.base import ANY, Layer, Shapes, Tensors
from caffe_torch.layers.gradient import refuse_gradient


class BatchReindex(Layer, type="BatchReindex"):
    """The items of the first bottom that the second, (M), names, in its order.

    Top: (M, …). To ask for the indices' gradient is a fatal error. Source: BatchReindexLayer.
    """

    bottoms = (2, 2)
    overwritable = True

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        items, index = bottoms
        self.check(
            len(index) == 1,
            "batch_reindex_layer.cpp:11",
            f"1 == bottom[1]->num_axes() (1 vs. {len(index)}) the second bottom is a row of "
            "indices; flatten it",
        )
        return [(*index, *items[1:])]

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        """The tops' values.

        Raises:
            FatalError: an index has no item; on a GPU, CUDA's own error, when it is next asked.
        """
        items, index = bottoms[0], bottoms[1].detach().long()
        if not index.is_cuda and index.numel():
            low, high = int(index.min()), int(index.max())
            self.check(
                low >= 0,
                "batch_reindex_layer.cpp:25",
                f"ridx_data[i] >= 0 ({low} vs. 0) Index specified for reindex layer was negative.",
            )
            self.check(
                high < len(items),
                "batch_reindex_layer.cpp:27",
                f"ridx_data[i] < initial_num ({high} vs. {len(items)}) Index specified for reindex "
                "layer was greater than batch size.",
            )
        y = items.index_select(0, index)
        if bottoms[1].requires_grad:
            rule = "Check failed: !propagate_down[1] Cannot backprop to index."
            y = refuse_gradient(
                y, bottoms, "batch_reindex_layer.cpp:55", f"{rule} (layer '{self.name}')"
            )
        return [y]


class Filter(Layer, type="Filter"):
    """The items of each bottom but the last that the last, (N, 1, …), names by a value not 0.

    The tops' first dimension is known after the forward pass only, for which a GPU is waited for.
    To ask for the selection's gradient is a fatal error. Source: FilterLayer.
    """

    bottoms = (2, ANY)
    tops = (1, ANY)
    overwritable = True

    def reshape(self, bottoms: Shapes) -> list[Shape]:
        *items, selection = bottoms
        self.check(
            len(self.param.top) == len(items),
            "filter_layer.cpp:11",
            f"top.size() == bottom.size() - 1 ({len(self.param.top)} vs. {len(items)}) give one "
            "top for each bottom but the last",
        )
        for dim in selection[1:]:
            self.check(
                dim == 1,
                "filter_layer.cpp:22",
                f"bottom[selector_index]->shape(i) == 1 ({dim} vs. 1) Selector blob dimensions "
                "must be singletons (1), except the first",
            )
        for item in items:
            self.check(
                selection[:1] == item[:1],
                "filter_layer.cpp:26",
                f"bottom[selector_index]->shape(0) == bottom[i]->shape(0) ({selection[0]} vs. "
                f"{item[0]}) Each bottom should have the same 0th dimension as the selector blob",
            )
        return items

    def forward(self, bottoms: Tensors) -> list[torch.Tensor]:
        chosen = bottoms[-1].detach().flatten().nonzero().flatten()
        tops = [items.index_select(0, chosen) for items in bottoms[:-1]]
        if not bottoms[-1].requires_grad:
            return tops
        message = "FilterLayer cannot backpropagate to filter index inputs "
        message += f"(layer '{self.name}')"
        return [refuse_gradient(top, bottoms, "filter_layer.cpp:82", message) for top in tops]
