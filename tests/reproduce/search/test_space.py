"""The state-action space: counts against published figures and a brute-force walk, and rules."""

import itertools
from pathlib import Path

import pytest

from prototxt_gen.notation import (
    Architecture,
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
    parse,
)
from reproduce.paper import NETS
from reproduce.search.space import NotInSpaceError, SearchSpace, SpaceCounts, SpaceRules

AUTHORS = {"smaller_than_bin": True, "pool_rounding": "floor", "gap": "layer", "fc_sees_bin": True}
RELEASED = {**AUTHORS, "pools": (), "fully_connected": ()}


@pytest.mark.parametrize(
    ("rules", "states", "pairs", "architectures"),
    [
        ({"depth": 18, "image": 32}, 603, 7295, 672_024_953_786_969_668_850),
        ({"depth": 12, "image": 32}, 369, 4415, 119_620_092_607_730),
        ({"depth": 12, "image": 28}, 369, 4415, 102_940_553_229_362),
        ({"depth": 18, "image": 32, "initial_pooling": True}, 630, 7574, None),
        ({"depth": 18, "image": 32, "gap_after_fc": True}, 603, 7376, None),
        ({"depth": 12, "image": 32, "gap_after_fc": True}, 369, 4460, None),
        ({"depth": 18, "image": 32, **AUTHORS}, 674, 6843, 282_710_031_500_590_500_770),
        ({"depth": 12, "image": 32, **AUTHORS}, 410, 4161, 57_869_407_275_938),
        ({"depth": 18, "image": 32, **RELEASED}, 235, 2900, 31_463_939_331_955_288_250),
        ({"depth": 12, "image": 28, **RELEASED}, 157, 1886, 10_537_209_620_666),
    ],
)
def test_counts_equal_those_of_independent_enumerations(
    rules: dict[str, object], states: int, pairs: int, architectures: int | None
) -> None:
    """The figures come from other programs: the released enumerator, and a study of the paper."""
    counts = SearchSpace(SpaceRules(**rules)).counts()
    assert (counts.states, counts.pairs) == (states, pairs)
    if architectures is not None:
        assert counts.architectures == architectures


def brute_force(depth: int, image: int) -> set[str]:
    """All architectures of Table 1, by testing every chain of layers against its sentences."""
    small = [Convolution(64, f, 1) for f in (1, 3, 5)]
    layers: list[Layer] = [
        *small, Pooling(5, 3), Pooling(3, 2), Pooling(2, 2),
        FullyConnected(512), FullyConnected(128),
    ]  # fmt: skip
    found = set()
    for length in range(depth + 1):
        for chain in itertools.product(layers, repeat=length):
            size, ok, fc = image, True, [x for x in chain if isinstance(x, FullyConnected)]
            previous: Layer | None = None
            for layer in chain:
                low = 8 if size >= 8 else 4 if size >= 4 else 1
                if isinstance(layer, Convolution | Pooling):
                    ok &= layer.size <= low and not isinstance(previous, FullyConnected)
                if isinstance(layer, Pooling):
                    ok &= previous is not None and not isinstance(previous, Pooling)
                    size = max(0, -(-(size - layer.size) // layer.stride) + 1)
                if isinstance(layer, FullyConnected):
                    ok &= size < 8
                previous = layer
                if not ok:
                    break
            ok &= len(fc) <= 2 and all(a.neurons >= b.neurons for a, b in itertools.pairwise(fc))
            if ok:
                found.add(str(Architecture((*chain, Softmax(10)))))
                if not isinstance(previous, FullyConnected):
                    found.add(str(Architecture((*chain, GlobalAveragePooling(10), Softmax(10)))))
    return found


@pytest.mark.parametrize("image", [12, 7, 5])
def test_a_small_space_equals_its_brute_force_enumeration(image: int) -> None:
    rules = SpaceRules(depth=4, image=image, filters=(64,), fully_connected=(512, 128))
    space = SearchSpace(rules)
    members = brute_force(4, image)
    assert space.counts().architectures == len(members)
    for text in members:
        space.walk(parse(text))


def test_pooling_may_lead_to_several_states() -> None:
    counts = SearchSpace(SpaceRules(depth=12, image=32)).counts()
    assert counts == SpaceCounts(369, 4415, 324, 119_620_092_607_730)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[P(2,2), SM(10)]", "layer 1, P(2,2): pooling may not come first"),
        ("[C(64,3,1), P(2,2), P(2,2), SM(10)]", "layer 3, P(2,2): pooling may not follow pooling"),
        ("[C(64,3,1), FC(128), SM(10)]", "layer 2, FC(128): FC needs an R-size below 8, here it"),
        ("[C(60,3,1), SM(10)]", "64, 128, 256 or 512 filters, not 60"),
        ("[C(64,7,1), SM(10)]", "receptive field is 1, 3 or 5, not 7"),
        ("[C(64,3,2), SM(10)]", "stride is 1, not 2"),
        ("[C(64,3,1), P(3,3), SM(10)]", "(5,3), (3,2) or (2,2)"),
        ("[C(64,1,1), P(5,3), C(64,1,1), P(5,3), FC(128), FC(256), SM(10)]", "may not grow"),
        ("[C(64,1,1), P(5,3), C(64,1,1), P(5,3), FC(128), C(64,1,1), SM(10)]", "only FC or"),
        ("[C(64,1,1), P(5,3), C(64,1,1), P(5,3), FC(128), GAP(10), SM(10)]", "may not follow FC"),
        ("[C(64,1,1), P(5,3), C(64,1,1), P(5,3), C(64,3,1), SM(10)]", "must be ≤ the R-size bin 1"),
        (f"[{'C(64,1,1), ' * 13}SM(10)]", "layer 13, C(64,1,1): at depth 12 only a termination"),
        ("[C(64,1,1), SM(100)]", "the data set has 10 classes"),
    ],
)
def test_a_broken_rule_is_named(text: str, words: str) -> None:
    space = SearchSpace(SpaceRules(depth=12, image=28))
    with pytest.raises(NotInSpaceError) as caught:
        space.walk(parse(text))
    assert words in str(caught.value)


def test_the_published_nets_are_members_where_the_paper_says_so() -> None:
    spaces = {
        "cifar10": SearchSpace(SpaceRules(depth=18, image=32)),
        "svhn": SearchSpace(SpaceRules(depth=12, image=32)),
        "mnist": SearchSpace(SpaceRules(depth=12, image=28)),
    }
    outside = set()
    for net in NETS:
        try:
            spaces[net.id.split("/")[0]].walk(parse(net.notation))
        except NotInSpaceError:
            outside.add(net.id)
    # The first version's MNIST nets come from its own, older space (its Table A1).
    assert outside == {f"mnist/v1-{row}" for row in range(1, 6)}


def test_the_authors_nets_are_members_of_the_authors_space(reference: Path) -> None:
    space = SearchSpace(SpaceRules(depth=12, image=32, **AUTHORS))
    text = (reference / "authors-runs" / "replay_database.csv").read_text()
    nets = [line.split('"')[1] for line in text.splitlines()[1:] if line.startswith('"')]
    assert len(nets) > 1900
    for net in nets[:1910]:
        space.walk(parse(net))
