"""Highway network: FitNet's 19 layers with gates, which let a layer pass its input on."""

from __future__ import annotations

from prototxt_gen.zoo.stack import XAVIER, Stack


def highway_layer(net: Stack, name: str, width: int) -> None:
    """T · H + (1 − T) · x; the gates T start nearly closed, with biases of −2."""
    x = net.top
    net.conv(f"{name}_transform", width, 3, x)
    transform = net.activate()
    net.conv(f"{name}_gate", width, 3, x, bias=-2)
    gate = net.activate("Sigmoid")
    net.gate(name, gate, transform, x)


def highway(net: Stack, classes: int) -> None:
    """Three plain convolutions, each followed by highway layers (4, 5 and 5), and 1×1 to 100."""
    net.filler = XAVIER
    net.dropout(0.2)
    number = 0
    for block, (width, gated) in enumerate(((32, 4), (80, 5), (128, 5)), start=1):
        number += 1
        net.conv(f"conv{number}", width, 3)
        net.activate()
        for _ in range(gated):
            number += 1
            highway_layer(net, f"highway{number}", width)
        if block < 3:
            net.pool(f"pool{block}", "MAX", 2, 2)
            net.dropout(0.2)
    net.conv("conv18", 100, 1)
    net.activate()
    net.pool_all("pool3", "AVE")
    net.dropout(0.2)
    net.inner("scores", classes)
    net.classify()
