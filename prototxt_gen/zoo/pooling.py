"""Learned pooling: a tree of pooling filters, and max and average pooling with a gate.

A filter is shared by all channels, so channels are made images of their own. Convolution has no
windows that begin within the image and end behind it, as pooling has: it is padded, and the
window before the first is cropped.
"""

from __future__ import annotations

from prototxt_gen.zoo.plain import mlpconv
from prototxt_gen.zoo.stack import Stack, gaussian


def _filters(net: Stack, name: str, count: int, images: str, like: str) -> str:
    """`count` learned filters over the windows that pooled `images` into `like`."""
    net.conv(f"{name}_windows", count, 3, images, stride=2, pad=2, bias=None)
    net.add("Crop", name, net.top, like)
    net.last.crop_param.offset.append(1)
    return net.top


def learned_pool(net: Stack, name: str, channels: int, *, tree: bool) -> None:
    """Windows of 3×3, 2 apart: a gate between two learned filters, or between MAX and AVE."""
    images = net.reshape(f"{name}_images", -1, 1, axes=2)
    largest = net.pool(f"{name}_max", "MAX", 3, 2)
    _filters(net, f"{name}_gate", 1, images, largest)
    gate = net.activate("Sigmoid")
    if tree:
        _filters(net, f"{name}_leaves", 2, images, largest)
        left, right = net.slices(f"{name}_leaf", 2)
    else:
        left = largest
        net.top = images
        right = net.pool(f"{name}_average", "AVE", 3, 2)
    net.gate(f"{name}_pooled", gate, left, right)
    net.reshape(name, -1, channels, axes=2)


def tree_max_avg(net: Stack, classes: int) -> None:
    """NIN's blocks; a tree of two levels pools first, gated max-average pooling second."""
    net.filler = gaussian(0.05)
    mlpconv(net, 1, 5, (192, 160, 96))
    learned_pool(net, "pool1", 96, tree=True)
    net.dropout(0.5)
    mlpconv(net, 2, 5, (192, 192, 192))
    learned_pool(net, "pool2", 192, tree=False)
    net.dropout(0.5)
    mlpconv(net, 3, 3, (192, 192, classes))
    net.pool_all("scores", "AVE")
    net.classify()
