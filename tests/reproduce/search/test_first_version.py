"""The first version's MNIST space (Table A1), against brute force and its own published nets."""

import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prototxt_gen.notation import (
    Architecture,
    Convolution,
    FullyConnected,
    Layer,
    Pooling,
    Softmax,
    parse,
)
from prototxt_gen.shapes import Padding, costs
from reproduce.paper import published_net
from reproduce.search.agent import Agent, QLearning
from reproduce.search.first_version import FirstVersionRules, halvings
from reproduce.search.space import END, NotInSpaceError, SearchSpace

AS_PRINTED = SearchSpace(FirstVersionRules())
RELAXED = SearchSpace(FirstVersionRules(smallest_halving=1))


def test_halvings_by_hand() -> None:
    assert halvings(28, 2) == (1, 2, 3, 4, 7)  # 7, 3.5, 1.75
    assert halvings(5, 1) == (1, 2, 3)  # 2.5, 1.25
    assert halvings(8, 1) == (1, 2, 4)
    assert halvings(3, 2) == halvings(1, 1) == ()


def oracle_halvings(value: int, smallest: int) -> set[int]:
    """By floating-point arithmetic, from Table A1's words."""
    most = math.floor(math.log2(value))
    quotients = [value / 2**m for m in range(smallest, most + 1)]
    return {math.floor(x) for x in quotients} | {math.ceil(x) for x in quotients}


@given(st.integers(1, 1000), st.integers(0, 4))
def test_halvings_are_the_quotients_rounded_both_ways(value: int, smallest: int) -> None:
    assert set(halvings(value, smallest)) == oracle_halvings(value, smallest)


ROWS_2_AND_4 = "layer 4, P(10,4): on an R-size of 23 the receptive field is {}, not 10"
ROW_5 = "layer 3, P(5,1): on an R-size of 24 the receptive field is {}, not 5"


@pytest.mark.parametrize(
    ("row", "as_printed", "relaxed"),
    [
        (1, "layer 7, P(3,2): on an R-size of 7 the receptive field is 2, not 3", None),
        (2, ROWS_2_AND_4.format("2, 3, 5 or 6"), ROWS_2_AND_4.format("2, 3, 5, 6, 11 or 12")),
        (3, "layer 3, C(120,5,2): on an R-size of 11 the receptive field is 2 or 3, not 5", None),
        (4, ROWS_2_AND_4.format("2, 3, 5 or 6"), ROWS_2_AND_4.format("2, 3, 5, 6, 11 or 12")),
        (5, ROW_5.format("2, 3 or 6"), ROW_5.format("2, 3, 6 or 12")),
    ],
)
def test_its_published_nets_and_the_rules_that_they_break(
    row: int, as_printed: str | None, relaxed: str | None
) -> None:
    """None of Table A4 is a member of Table A1 as printed; rows 1 and 3 are from m = 1 on."""
    architecture = parse(published_net(f"mnist/v1-{row}").notation)
    for space, broken in ((AS_PRINTED, as_printed), (RELAXED, relaxed)):
        if broken is None:
            assert len(space.walk(architecture)) == len(architecture)
        else:
            with pytest.raises(NotInSpaceError) as caught:
                space.walk(architecture)
            assert str(caught.value) == broken


def listed(space: SearchSpace, node: int = 0) -> Iterator[tuple[Layer, ...]]:
    """Every way from a node to the end."""
    for action, after in zip(
        space.actions[space.state_of[node]], space.successors[node], strict=True
    ):
        if after == END:
            yield (action,)
        else:
            yield from ((action, *rest) for rest in listed(space, after))


def brute_force(depth: int, image: int, smallest: int) -> set[str]:
    """All architectures of a small space, by testing every chain of layers against Table A1."""
    windows = [(f, s) for f in range(1, image + 1) for s in range(1, f + 1)]
    layers: list[Layer] = [
        *(Convolution(60, f, s) for f, s in windows),
        *(Pooling(f, s) for f, s in windows),
        FullyConnected(50),
        FullyConnected(10),
    ]
    found = set()
    for length in range(depth + 1):
        for chain in itertools.product(layers, repeat=length):
            size, ok = image, True
            for previous, layer in zip((None, *chain), chain, strict=False):
                if isinstance(layer, FullyConnected):
                    after_fc = isinstance(previous, FullyConnected)
                    ok = previous.neurons >= layer.neurons if after_fc else True
                else:
                    ok = layer.size in oracle_halvings(size, smallest)
                    ok &= layer.stride in oracle_halvings(layer.size, 1)
                    ok &= not isinstance(previous, FullyConnected)
                    exact = (size - layer.size) / layer.stride
                    if isinstance(layer, Pooling):
                        ok &= isinstance(previous, Convolution)
                        size = math.ceil(exact) + 1
                    else:
                        size = math.floor(exact) + 1
                if not ok:
                    break
            if ok:
                found.add(str(Architecture((*chain, Softmax(10)))))
    return found


@pytest.mark.parametrize(("image", "smallest"), [(8, 1), (8, 2), (5, 1), (7, 2)])
def test_a_small_space_equals_its_brute_force_enumeration(image: int, smallest: int) -> None:
    rules = FirstVersionRules(
        image, depth=3, filters=(60,), fully_connected=(50, 10), smallest_halving=smallest
    )
    space = SearchSpace(rules)
    chains = [str(space.architecture(layers)) for layers in listed(space)]
    assert len(chains) == len(set(chains)) == space.counts().architectures
    assert set(chains) == brute_force(3, image, smallest)


def counted(smallest: int, depth: int, image: int) -> int:
    """The whole space's architectures, by a recursion over (last layer, R-size) alone."""
    neurons = (1000, 500, 250, 100, 50, 10)

    @functools.cache
    def ways(kind: str, size: int, left: int) -> int:
        if left == 0:
            return 1
        if kind == "FC":  # size: its neurons
            return 1 + sum(ways("FC", n, left - 1) for n in neurons if n <= size)
        total = 1
        for field in oracle_halvings(size, smallest):
            for stride in oracle_halvings(field, 1):
                total += 3 * ways("C", (size - field) // stride + 1, left - 1)
                if kind == "C":
                    total += ways("P", math.ceil((size - field) / stride) + 1, left - 1)
        return total + sum(ways("FC", n, left - 1) for n in neurons)

    return ways("start", image, depth)


@pytest.mark.parametrize(("space", "smallest"), [(AS_PRINTED, 2), (RELAXED, 1)])
def test_the_whole_space_is_as_large_as_a_recursion_says(space: SearchSpace, smallest: int) -> None:
    counts = space.counts()
    assert counts.architectures == counted(smallest, 15, 28)
    assert counts.stochastic_pairs == 0  # the agent sees the R-size itself
    assert counts.pairs == space.pairs  # replays see the same states
    assert counts.states == len(space.nodes)


def test_the_agents_r_size_is_the_height_of_caffes_blob() -> None:
    agent, rng = Agent(RELAXED, QLearning()), np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        architecture = agent.sample(rng, 1.0).architecture
        nodes = [RELAXED.nodes[node] for node, _ in RELAXED.walk(architecture)[1:]]
        heights = [cost.shape[1] for cost in costs(architecture, (1, 28, 28), Padding.VALID)]
        assert [node.size for node in nodes] == heights[:-1]
        seen |= {node.size for node in nodes}
    assert len(seen) > 15


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[GAP(10), SM(10)]", "layer 1, GAP(10): the space has no layers like GAP(10)"),
        ("[P(7,3), SM(10)]", "layer 1, P(7,3): pooling may not come first"),
        ("[C(60,7,2), P(3,2), P(2,1), SM(10)]", "layer 3, P(2,1): pooling may not follow pooling"),
        ("[C(60,7,5), SM(10)]", "with a receptive field of 7 the stride is 1, 2, 3 or 4, not 5"),
        ("[C(60,7,4), C(60,2,1), C(60,2,1), C(60,1,1), SM(10)]", "R-size of 4 is too small for"),
        ("[C(64,7,1), SM(10)]", "a convolution has 60, 120 or 240 filters, not 64"),
        ("[C(60,7,4), FC(51), SM(10)]", "FC has 1000, 500, 250, 100, 50 or 10 neurons, not 51"),
        ("[C(60,7,4), FC(50), FC(100), SM(10)]", "FC may not grow from 50 to 100 neurons"),
        ("[C(60,7,4), FC(50), C(60,2,1), SM(10)]", "only FC or softmax follows FC"),
        (f"[C(60,7,4), {'FC(50), ' * 15}SM(10)]", "layer 16, FC(50): at depth 15 only softmax"),
        ("[C(60,7,1), SM(5)]", "the data set has 10 classes"),
    ],
)
def test_a_broken_rule_is_named(text: str, words: str) -> None:
    with pytest.raises(NotInSpaceError) as caught:
        AS_PRINTED.walk(parse(text))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["[FC(50), SM(10)]", "[C(60,7,1), FC(1000), SM(10)]"])
def test_fc_may_follow_a_large_r_size(text: str) -> None:
    """Appendix C: states with a large representation size were not restricted."""
    AS_PRINTED.walk(parse(text))


def test_consecutive_fc_layers_are_not_limited() -> None:
    AS_PRINTED.walk(parse(f"[C(60,7,4), {'FC(50), ' * 14}SM(10)]"))


def test_by_appendix_c_fields_go_from_two_to_the_r_size_and_strides_to_the_field() -> None:
    """Halvings from n itself down to 2, and from the field itself down to 1."""
    rules = FirstVersionRules(smallest_halving=0, smallest_stride_halving=0, smallest_field=2)
    windows = rules.windows(28)
    assert {field for field, _ in windows} == {2, 3, 4, 7, 14, 28}
    assert {stride for field, stride in windows if field == 4} == {1, 2, 4}
