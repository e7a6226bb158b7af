"""The nets' parameters: as many as their layers' sizes give by hand, and as their papers state."""

from pathlib import Path

import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest

from caffe_torch.net import Net
from prototxt_gen.zoo import NETS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "zoo.md"


def layer(inputs: int, outputs: int, size: int = 1) -> int:
    """Values of a convolution, or of a fully connected layer, with biases."""
    return outputs * (inputs * size**2 + 1)


def chain(channels: int, *layers: tuple[int, int]) -> int:
    """Values of convolutions (filters, size) one after another."""
    total = 0
    for filters, size in layers:
        total += layer(channels, filters, size)
        channels = filters
    return total


def nin() -> int:
    first = chain(3, (192, 5), (160, 1), (96, 1))
    second = chain(96, (192, 5), (192, 1), (192, 1))
    return first + second + chain(192, (192, 3), (192, 1), (10, 1))


def pieces(channels: int, *units: int) -> int:
    """3×3 layers of maxout units, two pieces each."""
    total = 0
    for width in units:
        total += layer(channels, 2 * width, 3)
        channels = width
    return total


def fitnet() -> int:
    convolutions = pieces(3, 32, 32, 32, 48, 48, *[80] * 6, *[128] * 6)
    return convolutions + layer(128, 5 * 500) + layer(500, 10)


def maxout() -> int:
    convolutions = layer(3, 192, 8) + layer(96, 384, 8) + layer(192, 384, 5)
    return convolutions + layer(192 * 5 * 5, 5 * 500) + layer(500, 10)


def highway() -> int:
    plain = layer(3, 32, 3) + layer(32, 80, 3) + layer(80, 128, 3)
    gated = 2 * (4 * layer(32, 32, 3) + 5 * layer(80, 80, 3) + 5 * layer(128, 128, 3))
    return plain + gated + layer(128, 100) + layer(100, 10)


def vgg() -> int:
    widths = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    normalized = 2 * (sum(widths) + 512)
    return chain(3, *((x, 3) for x in widths)) + normalized + layer(512, 512) + layer(512, 10)


def all_cnn() -> int:
    return chain(3, (96, 3), (96, 3), (96, 3), *[(192, 3)] * 4, (192, 1), (10, 1))


def dropconnect() -> int:
    convolutions = layer(3, 64, 5) + layer(64, 64, 5)
    local = 8 * 8 * (layer(64, 64, 3) + layer(64, 32, 3))
    return convolutions + local + layer(32 * 8 * 8, 128) + layer(128, 10)


def rcnn(width: int) -> int:
    """A recurrent layer has the same weights at every iteration."""
    recurrent = layer(width, width, 3) + 9 * width**2
    return layer(3, width, 5) + 4 * recurrent + layer(width, 10)


def resnet(units: int) -> int:
    """Stages of 16, 32 and 64 channels; each convolution has no biases, but scales and shifts."""
    total = layer(64, 10)
    inputs = 3
    for width, count in ((16, 1 + 2 * units), (32, 2 * units), (64, 2 * units)):
        total += width * (9 * inputs + 2) + (count - 1) * width * (9 * width + 2)
        inputs = width
    return total


def preactivated_resnet(units: int) -> int:
    total, inputs = 3 * 16 * 9 + layer(256, 10) + 2 * 256, 16
    for width in (64, 128, 256):
        thin = width // 4
        inner = 9 * thin**2 + thin * width + 4 * thin
        first = 2 * inputs + inputs * thin + inner + inputs * width
        total += first + (units - 1) * (2 * width + width * thin + inner)
        inputs = width
    return total


def elu() -> int:
    stacks = (
        [(384, 3)],
        [(384, 1), (384, 2), (640, 2), (640, 2)],
        [(640, 1), (768, 2), (768, 2), (768, 2)],
        [(768, 1), (896, 2), (896, 2)],
        [(896, 3), (1024, 2), (1024, 2)],
        [(1024, 1), (1152, 2)],
        [(1152, 1), (10, 1)],
    )
    layers = [x for stack in stacks for x in stack]
    assert len(layers) == 18 + 1  # and the classes
    return chain(3, *layers)


# Pooling's learned filters are 3×3: two leaves and a gate; then a gate.
BY_HAND = {
    "maxout": maxout(),
    "nin": nin(),
    "fitnet": fitnet(),
    "highway": highway(),
    "vgg": vgg(),
    "all_cnn": all_cnn(),
    "dropconnect": dropconnect(),
    "dsn": nin(),
    "rcnn96": rcnn(96),
    "rcnn160": rcnn(160),
    "resnet110": resnet(18),
    "resnet1001": preactivated_resnet(111),
    "elu": elu(),
    "tree_max_avg": nin() + 4 * 9,
}


def learned(net: caffe_pb2.NetParameter, folder: Path) -> int:
    """Values that a solver would change in the net that tests, shared ones once."""
    path = folder / "net.prototxt"
    path.write_text(str(net))
    blobs = Net.from_file(str(path), caffe_pb2.TEST).params
    total, seen = 0, set()
    for layer_ in net.layer:
        for i, blob in enumerate(blobs.get(layer_.name, ())):
            rule = layer_.param[i] if i < len(layer_.param) else caffe_pb2.ParamSpec()
            if rule.lr_mult and rule.name not in seen:
                total += blob.count
            if rule.name:
                seen.add(rule.name)
    return total


@pytest.mark.parametrize("name", NETS)
def test_a_net_has_as_many_parameters_as_its_layers_sizes_give_and_its_paper_states(
    name: str, tmp_path: Path
) -> None:
    count = learned(NETS[name].build(10, (3, 32, 32)), tmp_path)
    assert count == BY_HAND[name]
    stated = NETS[name].stated
    assert stated is None or stated.low <= count <= stated.high
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if f"| `{name}` |" in line]
    ((*_, printed, counted, _, _),) = rows
    assert printed.strip() == (stated.text if stated else "not found")
    assert float(counted) == round(count / 1e6, 2)


def test_fitnets_stated_count_is_met_without_four_of_the_five_pieces() -> None:
    assert 2_450_000 <= fitnet() - 4 * layer(128, 500) <= 2_549_999


def test_resnet_1001s_stated_count_is_met_without_normalization() -> None:
    channels = [16, *[64] * 110, 64, *[128] * 110, 128, *[256] * 110]  # into each unit
    thin = [16] * 111 + [32] * 111 + [64] * 111
    normalized = 2 * (sum(channels) + 2 * sum(thin) + 256)
    assert 10_150_000 <= preactivated_resnet(111) - normalized <= 10_249_999
