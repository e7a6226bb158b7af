"""The state-action space: counts against published figures and a brute-force walk, and rules."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from reproduce.paper import NETS, PublishedNet, published_net
from reproduce.search.space import END, NotInSpaceError, SearchSpace, SpaceRules

CIFAR10 = {"depth": 18, "image": 32}
SVHN = {"depth": 12, "image": 32}
MNIST = {"depth": 12, "image": 28}
AUTHORS = {"smaller_than_bin": True, "pool_rounding": "floor", "gap": "layer", "fc_sees_bin": True}
RELEASED = {**AUTHORS, "pools": (), "fully_connected": ()}


@pytest.mark.parametrize(
    ("rules", "states", "pairs", "stochastic", "architectures"),
    [
        (CIFAR10, 603, 7295, 540, "672024953786969668850"),
        (SVHN, 369, 4415, 324, "119620092607730"),
        (MNIST, 369, 4415, None, "102940553229362"),
        ({**CIFAR10, "pool_rounding": "floor"}, 603, 7295, 540, "5.20e20"),
        ({**SVHN, "pool_rounding": "floor"}, 369, 4415, 324, "1.066e14"),
        ({**CIFAR10, "initial_pooling": True}, 630, 7574, 576, "7.35e20"),
        ({**SVHN, "initial_pooling": True}, 396, 4694, 360, "1.347e14"),
        ({**CIFAR10, "gap_after_fc": True}, 603, 7376, None, "6.918e20"),
        ({**SVHN, "gap_after_fc": True}, 369, 4460, None, "1.220e14"),
        ({**CIFAR10, "depth": 17}, 564, 6815, 504, "5.10e19"),
        ({**SVHN, "depth": 11}, 330, 3935, 288, "8.79e12"),
        ({**CIFAR10, **AUTHORS}, 674, 6843, 540, "282710031500590500770"),
        ({**SVHN, **AUTHORS}, 410, 4161, 324, "57869407275938"),
        ({**CIFAR10, **AUTHORS, "fc_sees_bin": False}, 593, 6684, 540, "282710031500590500770"),
        ({**SVHN, **AUTHORS, "fc_sees_bin": False}, 365, 4074, 324, "57869407275938"),
        ({**CIFAR10, **RELEASED}, 235, 2900, 0, "31463939331955288250"),
        ({**MNIST, **RELEASED}, 157, 1886, 0, "10537209620666"),  # its SVHN: it took 28 pixels
    ],
)
def test_counts_equal_those_of_independent_enumerations(
    rules: dict[str, Any], states: int, pairs: int, stochastic: int | None, architectures: str
) -> None:
    """The figures come from other programs: the released enumerator, and a study of the paper.

    Where the study printed a rounded number of architectures, ours is rounded like it.
    """
    counts = SearchSpace(SpaceRules(**rules)).counts()
    assert (counts.states, counts.pairs) == (states, pairs)
    assert stochastic is None or counts.stochastic_pairs == stochastic
    digits, _, exponent = architectures.partition("e")
    if exponent:
        decimals = len(digits) - 2
        assert f"{counts.architectures:.{decimals}e}" == f"{digits}e+{exponent}"
    else:
        assert counts.architectures == int(architectures)


def listed(space: SearchSpace, node: int = 0) -> Iterator[tuple[Layer, ...]]:
    """Every way from a node to the end."""
    for action, after in zip(
        space.actions[space.state_of[node]], space.successors[node], strict=True
    ):
        if after == END:
            yield (action,)
        else:
            yield from ((action, *rest) for rest in listed(space, after))


def brute_force(
    depth: int,
    image: int,
    *,
    smaller_than_bin: bool = False,
    floor: bool = False,
    initial_pooling: bool = False,
    gap_layer: bool = False,
    gap_after_fc: bool = False,
    pools: tuple[tuple[int, int], ...] = ((5, 3), (3, 2), (2, 2)),
    neurons: tuple[int, ...] = (512, 128),
) -> set[str]:
    """All architectures of a small space, by testing every chain of layers against Table 1."""
    layers: list[Layer] = [
        *(Convolution(64, f, 1) for f in (1, 3, 5)),
        *(Pooling(f, s) for f, s in pools),
        *(FullyConnected(n) for n in neurons),
    ]
    found = set()
    for length in range(depth + 1):
        for chain in itertools.product(layers, repeat=length):
            size, ok, fc = image, True, [x for x in chain if isinstance(x, FullyConnected)]
            previous: Layer | None = None
            for layer in chain:
                low = 8 if size >= 8 else 4 if size >= 4 else 1
                if isinstance(layer, Convolution | Pooling):
                    ok &= layer.size < low or (layer.size == low and not smaller_than_bin)
                    ok &= not isinstance(previous, FullyConnected)
                if isinstance(layer, Pooling):
                    ok &= initial_pooling or previous is not None
                    ok &= not isinstance(previous, Pooling)
                    windows = (size - layer.size) / layer.stride
                    size = 1 + int(windows if floor or windows % 1 == 0 else windows + 1)
                if isinstance(layer, FullyConnected):
                    ok &= size < 8
                previous = layer
                if not ok:
                    break
            ok &= len(fc) <= 2 and all(a.neurons >= b.neurons for a, b in itertools.pairwise(fc))
            if ok:
                found.add(str(Architecture((*chain, Softmax(10)))))
                if (gap_after_fc or not fc) and (length < depth or not gap_layer):
                    found.add(str(Architecture((*chain, GlobalAveragePooling(10), Softmax(10)))))
    return found


@pytest.mark.parametrize(
    ("rules", "oracle"),
    [
        ({}, {}),
        ({"initial_pooling": True, "gap_after_fc": True},) * 2,
        ({"pool_rounding": "floor"}, {"floor": True}),
        (AUTHORS, {"smaller_than_bin": True, "floor": True, "gap_layer": True}),
        (
            RELEASED,
            {"smaller_than_bin": True, "gap_layer": True, "pools": (), "neurons": ()},
        ),
    ],
    ids=["paper", "open questions", "floor", "authors", "released"],
)
@pytest.mark.parametrize("image", [12, 7, 5])
def test_a_small_space_equals_its_brute_force_enumeration(
    image: int, rules: dict[str, Any], oracle: dict[str, Any]
) -> None:
    small = {"depth": 4, "image": image, "filters": (64,), "fully_connected": (512, 128), **rules}
    space = SearchSpace(SpaceRules(**small))
    chains = [str(space.architecture(layers)) for layers in listed(space)]
    members = brute_force(4, image, **oracle)
    assert len(chains) == len(set(chains)) == space.counts().architectures
    assert set(chains) == members
    for text in members:
        space.walk(parse(text))


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[C(64,1,1), P(2,2), SM(10)]", "layer 2, P(2,2): the space has no pooling"),
        ("[C(64,1,1), FC(512), SM(10)]", "layer 2, FC(512): the space has no FC"),
        ("[C(64,1,1), GAP(10), SM(5)]", "layer 3, SM(5): only softmax over 10 classes follows"),
    ],
)
def test_a_rule_that_the_released_code_alone_breaks_is_named(text: str, words: str) -> None:
    with pytest.raises(NotInSpaceError) as caught:
        SearchSpace(SpaceRules(**MNIST, **RELEASED)).walk(parse(text))
    assert words in str(caught.value)


SPACES = {
    "cifar10": SearchSpace(SpaceRules(**CIFAR10)),
    "svhn": SearchSpace(SpaceRules(**SVHN)),
    "mnist": SearchSpace(SpaceRules(**MNIST)),
}
# The first version's MNIST nets come from a space of their own, its Table A1.
OUTSIDE = {
    "mnist/v1-1": "layer 1, C(240,4,1): a convolution has 64, 128, 256 or 512 filters, not 240",
    "mnist/v1-2": "layer 1, C(120,4,1): a convolution has 64, 128, 256 or 512 filters, not 120",
    "mnist/v1-3": "layer 1, C(240,7,1): a convolution has 64, 128, 256 or 512 filters, not 240",
    "mnist/v1-4": "layer 1, C(240,4,1): a convolution has 64, 128, 256 or 512 filters, not 240",
    "mnist/v1-5": "layer 1, C(120,4,1): a convolution has 64, 128, 256 or 512 filters, not 120",
}


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.id)
def test_the_published_nets_are_members_where_the_paper_says_so(net: PublishedNet) -> None:
    space, architecture = SPACES[net.id.split("/")[0]], parse(net.notation)
    if net.id in OUTSIDE:
        with pytest.raises(NotInSpaceError) as caught:
            space.walk(architecture)
        assert str(caught.value) == OUTSIDE[net.id]
    else:
        layers = [space.actions[space.state_of[node]][n] for node, n in space.walk(architecture)]
        assert space.architecture(layers) == architecture


def test_published_nets_of_twelve_layers_decide_what_less_than_twelve_means() -> None:
    eleven = SearchSpace(SpaceRules(**{**SVHN, "depth": 11}))
    with pytest.raises(NotInSpaceError, match=r"layer 12, .* at depth 11 only a termination"):
        eleven.walk(parse(published_net("svhn/v1-1").notation))


def test_the_softmax_of_a_terminating_gap_must_have_the_data_sets_classes() -> None:
    with pytest.raises(NotInSpaceError, match=r"layer 2, SM\(5\): the data set has 10 classes"):
        SPACES["mnist"].walk(parse("[GAP(10), SM(5)]"))


def test_replays_see_other_states_under_the_authors_rules_alone() -> None:
    assert not SPACES["svhn"].aliased
    space = SearchSpace(SpaceRules(**SVHN, **AUTHORS))
    assert space.aliased
    for state, replayed in zip(space.states, space.replayed, strict=False):
        expected = 1 if state.kind in ("FC", "GAP") else state.bin
        assert space.states[replayed].bin == expected
        assert space.states[replayed].numbers == state.numbers


def test_the_authors_nets_are_members_of_the_authors_space(reference: Path) -> None:
    space = SearchSpace(SpaceRules(depth=12, image=32, **AUTHORS))
    text = (reference / "authors-runs" / "replay_database.csv").read_text()
    nets = [line.split('"')[1] for line in text.splitlines()[1:] if line.startswith('"')]
    assert len(nets) > 1900
    for net in nets[:1910]:
        space.walk(parse(net))
