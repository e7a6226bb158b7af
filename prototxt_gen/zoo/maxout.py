"""Nets of maxout units: Maxout itself, and FitNet's student of 19 layers.

A maxout unit is the largest of k linear pieces: one layer of k times as many outputs, a Slice of
its channels and an Eltwise MAX.
"""

from __future__ import annotations

from prototxt_gen.zoo.stack import XAVIER, Stack


def _largest(net: Stack, name: str, pieces: int) -> None:
    net.combine(name, "MAX", *net.slices(f"{name}_piece", pieces))


def convolve(net: Stack, name: str, units: int, size: int, pad: int) -> None:
    net.conv(f"{name}_pieces", 2 * units, size, pad=pad)
    _largest(net, name, 2)


def connect(net: Stack, name: str, units: int) -> None:
    net.inner(f"{name}_pieces", 5 * units)
    _largest(net, name, 5)


def maxout(net: Stack, classes: int) -> None:
    """Three convolutional and one fully connected layer of maxout units, dropout before each."""
    net.filler = XAVIER
    net.dropout(0.2)
    for number, (units, size, pad, window) in enumerate(
        ((96, 8, 4, 4), (192, 8, 3, 4), (192, 5, 3, 2)), start=1
    ):
        convolve(net, f"maxout{number}", units, size, pad)
        net.pool(f"pool{number}", "MAX", window, 2)
        net.dropout(0.5)
    connect(net, "maxout4", 500)
    net.dropout(0.5)
    net.inner("scores", classes)
    net.classify()


def fitnet(net: Stack, classes: int) -> None:
    """FitNet 4: seventeen thin 3×3 layers, one fully connected, all of maxout units."""
    net.filler = XAVIER
    number = 0
    for block, widths in enumerate(((32, 32, 32, 48, 48), (80,) * 6, (128,) * 6), start=1):
        for units in widths:
            number += 1
            convolve(net, f"maxout{number}", units, 3, pad=1)
        if block < 3:
            net.pool(f"pool{block}", "MAX", 2, 2)
    net.pool_all("pool3", "MAX")
    connect(net, "maxout18", 500)
    net.inner("scores", classes)
    net.classify()
