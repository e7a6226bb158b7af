"""An architecture drawn: a box for each layer, and beside it the shape of the blob after it.

The boxes stand below each other, so that a drawing fits a phone. The small rectangle at the right
is the blob: as high as the image's side, as wide as the logarithm of its channels.
"""

from __future__ import annotations

import math
from html import escape

from prototxt_gen.notation import (
    Architecture,
    Convolution,
    Dropout,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
)
from prototxt_gen.shapes import GapForm, Padding, Shape, costs

WIDTH = 356
"""Units of a drawing's width; at this width in pixels its text is 12 pixels high."""

_BOX, _GLYPH, _STEP = 224, 337, 32
_HEIGHT, _THIN = 24, 18
_FILLS = {
    "image": "#ffffff",
    "C": "#cfe3f5",
    "P": "#fbe0c4",
    "FC": "#d3efe2",
    "GAP": "#f3dbe9",
    "SM": "#e4e4e4",
    "D": "#ffffff",
}


def layer_words(layer: Layer) -> tuple[str, str]:
    """What a layer is, and its numbers, as a reader says them."""
    match layer:
        case Convolution(filters, size, stride):
            return "conv", f"{filters} filters {size}×{size}, stride {stride}"
        case Pooling(size, stride):
            return "max pool", f"{size}×{size}, stride {stride}"
        case FullyConnected(neurons):
            return "fully connected", f"{neurons} neurons"
        case GlobalAveragePooling(classes):
            return "global average", f"{classes} classes"
        case Softmax(classes):
            return "softmax", f"{classes} classes"
        case Dropout():
            return "dropout", f"ratio {float(layer.ratio):.3g}"


def shape_words(shape: Shape) -> str:
    """channels×height×width, or the channels alone of what has no other extent."""
    channels, height, width = shape
    return f"{channels}" if height == width == 1 else f"{channels}×{height}×{width}"


def drawing(
    architecture: Architecture,
    image: Shape,
    padding: Padding = Padding.SAME,
    gap: GapForm = GapForm.PAPER,
) -> str:
    """An `<svg>` element for an HTML page; its label says all that it shows.

    Colours are attributes that a page's style can replace: each box has the class `net-` and the
    notation's symbol of its layer.

    Raises:
        ShapeError: if a layer does not fit its input.
    """
    label = [f"image {shape_words(image)}"]
    parts, y = _row("image", "image", "", image, image[1], 0)
    for cost in costs(architecture, image, padding, gap):
        kind, numbers = layer_words(cost.layer)
        symbol = str(cost.layer).partition("(")[0]
        label.append(f"{kind} {numbers}, gives {shape_words(cost.shape)}")
        parts += f'<path class="net-line" stroke="#767676" d="M{_BOX // 2} {y}v8"/>'
        row, y = _row(symbol, kind, numbers, cost.shape, image[1], y + _STEP - _HEIGHT)
        parts += row
    return (
        f'<svg class="net" viewBox="0 0 {WIDTH} {y + 1}" role="img" '
        f'aria-label="{escape("; ".join(label))}">{parts}</svg>'
    )


def _row(
    symbol: str, kind: str, numbers: str, shape: Shape, side: int, top: int
) -> tuple[str, int]:
    """A box, its text and its blob; and where they end. Dropout, which changes no shape, is low."""
    height = _THIN if symbol == "D" else _HEIGHT
    middle = top + height / 2
    text = f'<text y="{middle + 4:g}" font-size="12" fill="#1b1b1b"'
    out = (
        f'<rect class="net-{symbol}" x="1" y="{top + 1}" width="{_BOX - 2}" height="{height - 1}" '
        f'rx="4" fill="{_FILLS[symbol]}" stroke="#767676"/>'
        f'{text} x="9"><tspan font-weight="600">{kind}</tspan> {numbers}</text>'
    )
    if symbol != "D":
        wide = 4 + 3.2 * math.log2(shape[0])
        high = max(2.0, _HEIGHT * math.sqrt(shape[1] / side))
        out += (
            f'{text} x="{_BOX + 8}">{shape_words(shape)}</text>'
            f'<rect class="net-blob" x="{_GLYPH - wide / 2:.1f}" y="{middle - high / 2:.1f}" '
            f'width="{wide:.1f}" height="{high:.1f}" fill="#5b7f9e"/>'
        )
    return out, top + height
