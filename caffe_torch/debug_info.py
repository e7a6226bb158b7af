"""What `debug_info` logs: mean magnitudes of values and gradients, layer by layer.

Sources: Net::ForwardDebugInfo, Net::BackwardDebugInfo, Net::Backward.
"""

from typing import TYPE_CHECKING

import torch

from caffe_torch.graph import Node
from caffe_torch.log import error, info, number

if TYPE_CHECKING:
    from caffe_torch.net import Net


def log_forward(net: "Net", node: Node) -> None:
    """Log a layer's tops and parameters, just after it ran."""
    name = node.layer.name
    for top in node.tops:
        mean = _mean_magnitude(net.blobs[top].tensor)
        info("net.cpp:593", f"    [Forward] Layer {name}, top blob {top} data: {mean}")
    specs = node.layer.param.param
    for i, blob in enumerate(node.layer.blobs):
        label = (specs[i].name if i < len(specs) else "") or i
        mean = _mean_magnitude(blob.tensor)
        info("net.cpp:605", f"    [Forward] Layer {name}, param blob {label} data: {mean}")


def log_backward(net: "Net", node: Node) -> None:
    """Log the gradients of a layer's bottoms and parameters, just after it ran backward."""
    layer = node.layer
    for name, need in zip(node.bottoms, node.bottom_needs, strict=True):
        if need:
            mean = _mean_magnitude(net.blobs[name].gradient)
            info(
                "net.cpp:621", f"    [Backward] Layer {layer.name}, bottom blob {name} diff: {mean}"
            )
    specs = layer.param.param
    for i, blob in enumerate(layer.blobs):
        if net.force_backward or i >= len(specs) or specs[i].lr_mult != 0:
            mean = _mean_magnitude(blob.gradient)
            info("net.cpp:632", f"    [Backward] Layer {layer.name}, param blob {i} diff: {mean}")


def log_all_params(net: "Net") -> None:
    """Log the norms of all parameters and of their gradients together."""
    data = [item.blob.tensor.detach().flatten() for item in net.learned]
    diff = [g.flatten() for item in net.learned if (g := item.blob.gradient) is not None]
    norms = [tuple(number(_norm(tensors, order)) for tensors in (data, diff)) for order in (1, 2)]
    (l1_data, l1_diff), (l2_data, l2_diff) = norms
    error(
        "net.cpp:721",
        f"    [Backward] All net params (data, diff): L1 norm = ({l1_data}, {l1_diff}); "
        f"L2 norm = ({l2_data}, {l2_diff})",
    )


def _norm(tensors: list[torch.Tensor], order: int) -> float:
    return float(torch.cat(tensors).double().norm(order)) if tensors else 0.0


def _mean_magnitude(tensor: torch.Tensor | None) -> str:
    """The mean of the absolute values, as the log has it; 0 for a gradient that is none."""
    if tensor is None:
        return "0"
    return number(float(tensor.detach().double().abs().mean()))
