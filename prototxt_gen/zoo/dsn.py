"""Deeply-supervised net: Network in Network, with a squared hinge loss at each block too."""

from __future__ import annotations

import prototxt_gen.caffe_pb2 as caffe_pb2
from prototxt_gen.zoo.stack import Stack, gaussian

COMPANION_WEIGHT = 0.001
"""Weight of the companion losses beside the output's."""


def _companion(net: Stack, block: int, classes: int) -> None:
    """A linear classifier of a convolution's values, in TRAIN alone."""
    features = net.top
    net.inner(f"companion{block}", classes)
    net.last.include.add(phase=caffe_pb2.TRAIN)
    net.add("HingeLoss", f"companion{block}_loss", net.top, "label")
    net.last.include.add(phase=caffe_pb2.TRAIN)
    net.last.hinge_loss_param.norm = caffe_pb2.HingeLossParameter.L2
    net.last.loss_weight.append(COMPANION_WEIGHT)
    net.top = features


def dsn(net: Stack, classes: int) -> None:
    """NIN's layers with both poolings MAX, and a companion at each first convolution."""
    net.filler = gaussian(0.05)
    blocks = ((5, (192, 160, 96)), (5, (192, 192, 192)), (3, (192, 192, classes)))
    for block, (size, filters) in enumerate(blocks, start=1):
        convolved = net.conv(f"conv{block}", filters[0], size)
        _companion(net, block, classes)
        net.add("ReLU", f"relu{block}", convolved)  # not in place: the companion reads its bottom
        for i, width in enumerate(filters[1:], start=2 * block - 1):
            net.conv(f"cccp{i}", width, 1)
            if i < 6:  # the last are the classes' own scores
                net.activate()
        if block < 3:
            net.pool(f"pool{block}", "MAX", 3, 2)
            net.dropout(0.5)
    net.pool_all("average", "AVE")
    net.add("Flatten", "scores")
    net.classify("HingeLoss")
    net.net.layer[-2].hinge_loss_param.norm = caffe_pb2.HingeLossParameter.L2
