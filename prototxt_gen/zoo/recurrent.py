"""Recurrent convolutional net: layers that read their own output again, unfolded over time."""

from __future__ import annotations

from prototxt_gen.zoo.stack import Stack, gaussian

ITERATIONS = 3
"""How often a recurrent layer reads its own output."""


def _normalize(net: Stack, name: str, width: int) -> str:
    """Local response normalization over width/8 + 1 maps."""
    net.add("LRN", name)
    param = net.last.lrn_param
    param.local_size, param.alpha, param.beta = width // 8 + 1, 0.001, 0.75
    return net.top


def recurrent_layer(net: Stack, name: str, width: int) -> None:
    """x(t) = LRN(ReLU(feed + recur ∗ x(t − 1))), the recurrent weights shared over t."""
    feed = net.conv(f"{name}_feed", width, 3)
    net.add("ReLU", f"{name}_relu_0", feed)
    state = _normalize(net, f"{name}_state_0", width)
    for t in range(1, ITERATIONS + 1):
        recurrent = net.conv(f"{name}_recur_{t}", width, 3, state, bias=None, shared=True)
        net.combine(f"{name}_sum_{t}", "SUM", feed, recurrent)
        net.activate()
        state = _normalize(net, f"{name}_state_{t}", width)


def rcnn(net: Stack, classes: int, width: int) -> None:
    """One convolution and four recurrent ones of `width` maps, global max pooling."""
    net.filler = gaussian(0.03)
    net.conv("conv1", width, 5)
    net.activate()
    net.pool("pool1", "MAX", 3, 2)
    _normalize(net, "norm1", width)
    for number in range(1, 5):
        recurrent_layer(net, f"rcl{number}", width)
        if number == 2:
            net.pool("pool2", "MAX", 3, 2)
        if number < 4:
            net.dropout(0.5)
    net.pool_all("pool3", "MAX")
    net.inner("scores", classes)
    net.classify()
