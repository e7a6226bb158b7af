"""Drawings of architectures: what each box says, against shapes worked out by hand."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from prototxt_gen.dropout import DropoutRule, place_dropout
from prototxt_gen.notation import (
    Architecture,
    Convolution,
    Dropout,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
    parse,
)
from prototxt_gen.shapes import GapForm, Padding, ShapeError
from reproduce.results.drawing import WIDTH, drawing


def texts(svg: ET.Element) -> list[str]:
    """The texts from top to bottom, on a line from left to right."""
    found = [one for one in svg.iter() if one.tag.endswith("text")]
    return ["".join(one.itertext()).strip() for one in found]


def boxes(svg: ET.Element) -> list[str]:
    """The symbols of the layers' boxes."""
    classes = [one.get("class", "") for one in svg.iter() if one.tag.endswith("rect")]
    return [name.removeprefix("net-") for name in classes if name != "net-blob"]


def test_the_first_versions_net_has_the_sizes_of_valid_convolutions() -> None:
    """28 − 7 + 1 = 22; ⌈(22 − 3) / 2⌉ + 1 = 11; ⌊(11 − 5) / 2⌋ + 1 = 4."""
    net = parse("[C(240,7,1), P(3,2), C(120,5,2), FC(50), SM(10)]")
    with_dropout = place_dropout(net, DropoutRule.AFTER_FC)
    svg = ET.fromstring(drawing(with_dropout, (1, 28, 28), Padding.VALID))  # noqa: S314
    assert texts(svg) == [
        *("image", "1×28×28"),
        *("conv 240 filters 7×7, stride 1", "240×22×22"),
        *("max pool 3×3, stride 2", "240×11×11"),
        *("conv 120 filters 5×5, stride 2", "120×4×4"),
        *("fully connected 50 neurons", "50"),
        "dropout ratio 0.5",
        *("softmax 10 classes", "10"),
    ]
    assert boxes(svg) == ["image", "C", "P", "C", "FC", "D", "SM"]


def test_padding_changes_the_shapes() -> None:
    net = parse("[C(8,5,1), P(2,2), GAP(10), SM(10)]")
    same = drawing(net, (3, 32, 32), Padding.SAME)
    assert "8×32×32" in same
    assert "8×16×16" in same
    assert "8×28×28" in drawing(net, (3, 32, 32), Padding.VALID)


def test_the_label_says_what_is_seen() -> None:
    label = ET.fromstring(  # noqa: S314
        drawing(parse("[C(8,3,1), GAP(10), SM(10)]"), (3, 32, 32))
    ).get("aria-label")
    assert label == (
        "image 3×32×32; conv 8 filters 3×3, stride 1, gives 8×32×32; "
        "global average 10 classes, gives 10; softmax 10 classes, gives 10"
    )


def test_a_layer_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"P\(5,3\)"):
        drawing(parse("[P(5,3), P(5,3), P(5,3), SM(10)]"), (1, 28, 28))


layers = (
    st.builds(Convolution, st.sampled_from([1, 64, 512]), st.integers(1, 5), st.integers(1, 2))
    | st.builds(Pooling, st.integers(1, 5), st.integers(1, 3))
    | st.builds(FullyConnected, st.sampled_from([16, 512]))
    | st.builds(Dropout, st.just(1), st.just(4))
)
ends = st.sampled_from([(Softmax(10),), (GlobalAveragePooling(10), Softmax(10))])


@given(st.lists(layers, max_size=14), ends, st.sampled_from(Padding))
def test_every_net_that_fits_has_a_box_for_each_layer_inside_its_drawing(
    hidden: list[Layer], end: tuple[Layer, ...], padding: Padding
) -> None:
    net = Architecture((*hidden, *end))
    try:
        text = drawing(net, (3, 32, 32), padding, GapForm.PAPER)
    except ShapeError:
        assume(False)
    svg = ET.fromstring(text)  # noqa: S314
    assert boxes(svg) == ["image", *(re.split(r"\(", str(layer))[0] for layer in net)]
    width, height = map(float, svg.get("viewBox", "").split()[2:])
    assert width == WIDTH
    bottom = 0.0
    for one in svg.iter():
        if one.tag.endswith("rect"):
            x, y = float(one.get("x", "")), float(one.get("y", ""))
            assert 0 <= x <= x + float(one.get("width", "")) <= width
            assert -0.1 <= y <= y + float(one.get("height", "")) <= height
            if one.get("class") != "net-blob":
                assert y > bottom  # below the box before it
                bottom = y + float(one.get("height", ""))
