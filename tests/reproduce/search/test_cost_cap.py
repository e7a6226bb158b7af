"""Caps on multiply-accumulates, parameters and memory: prices, and what masking leaves."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import prototxt_gen.caffe_pb2 as caffe_pb2
import pytest
from google.protobuf import text_format

from prototxt_gen.dropout import DropoutRule, place_dropout
from prototxt_gen.net import DataSource, NetStyle, net_text
from prototxt_gen.notation import Architecture, parse
from prototxt_gen.shapes import GapForm, Padding, Shape, total_cost
from reproduce.search.agent import Agent, QLearning
from reproduce.search.cost_cap import Cost, CostCap, CostCapError, Meter
from reproduce.search.first_version import FirstVersionRules
from reproduce.search.space import END, NotInSpaceError, Rules, SearchSpace, SpaceRules

AUTHORS: dict[str, Any] = {
    "smaller_than_bin": True, "pool_rounding": "floor", "gap": "layer", "fc_sees_bin": True,
}  # fmt: skip
PAPER = SearchSpace(SpaceRules(depth=18, image=32, gap_after_fc=True))
WHOLE = {
    "GAP terminates": (PAPER, GapForm.PAPER),
    "GAP is a layer": (SearchSpace(SpaceRules(depth=18, image=32, **AUTHORS)), GapForm.RELEASED),
    "GAP is a layer of the paper's form": (
        SearchSpace(SpaceRules(depth=12, image=32, **AUTHORS)),
        GapForm.PAPER,
    ),
    "first version": (SearchSpace(FirstVersionRules(smallest_halving=1)), GapForm.PAPER),
}
COSTS: tuple[Cost, ...] = ("macs", "parameters", "memory")
NO_CAP = 10**15


def spent(cap: CostCap, architecture: Architecture) -> int:
    """What a meter shows at the end of an architecture's walk."""
    meter = cap.meter()
    for node, number in cap.space.walk(architecture):
        meter.spend(node, number)
    return meter.spent


def memory_of_net(net: caffe_pb2.NetParameter, image: Shape, batch: int, parameters: int) -> int:
    """Bytes of a prototxt's blobs and parameters while Adam trains it, layer by layer."""
    blobs: dict[str, Shape] = {"data": image}
    numbers = 0
    for layer in net.layer:
        if layer.type in ("Data", "SoftmaxWithLoss", "Accuracy"):
            continue
        channels, height, width = blobs[layer.bottom[0]]
        if layer.type == "Convolution":
            conv = layer.convolution_param
            pad = conv.pad[0] if conv.pad else 0
            side = (height + 2 * pad - conv.kernel_size[0]) // conv.stride[0] + 1
            shape = (conv.num_output, side, side)
        elif layer.type == "InnerProduct":
            shape = (layer.inner_product_param.num_output, 1, 1)
        elif layer.type == "Pooling":
            pool = layer.pooling_param
            side = 1 if pool.global_pooling else pool.kernel_size
            if not pool.global_pooling:
                side = math.ceil((height - pool.kernel_size) / pool.stride) + 1
            shape = (channels, side, side)
            if pool.pool == caffe_pb2.PoolingParameter.MAX:
                numbers += math.prod(shape)  # where each maximum was
        else:
            assert layer.type in ("ReLU", "Dropout", "Flatten")
            shape = (channels, height, width)
            if layer.type == "Dropout":
                numbers += math.prod(shape)  # what was dropped
        shares = layer.top[0] == layer.bottom[0] or layer.type == "Flatten"
        if not shares:
            numbers += 2 * math.prod(shape)  # values and gradients
        blobs[layer.top[0]] = shape
    return 4 * batch * numbers + 16 * parameters


@pytest.mark.parametrize("of", COSTS)
@pytest.mark.parametrize("name", WHOLE)
def test_the_prices_of_a_walk_add_up_to_the_nets_cost(name: str, of: Cost) -> None:
    """Against the shape arithmetic, and for memory against the net's own prototxt."""
    space, gap = WHOLE[name]
    image: Shape = (3, space.nodes[0].size, space.nodes[0].size)
    padding = space.rules.padding
    caps = {
        rule: CostCap(space, 3, NO_CAP, of, gap=gap, dropout=rule, batch=20) for rule in DropoutRule
    }
    agent, rng = Agent(space, QLearning()), np.random.default_rng(0)
    source, kinds = DataSource("train", "test"), set()
    for rule, cap in itertools.islice(itertools.cycle(caps.items()), 120):
        net = agent.sample(rng, 1.0).architecture
        kinds |= {type(layer) for layer in net}
        total = total_cost(net, image, padding, gap)
        expected = {"macs": total.macs, "parameters": total.parameters}
        if of == "memory":
            dropped = place_dropout(net, rule)
            text = net_text(dropped, image, source, NetStyle(padding=padding, gap=gap), "net")
            prototxt = text_format.Parse(text, caffe_pb2.NetParameter())
            expected["memory"] = memory_of_net(prototxt, image, 20, total.parameters)
        assert spent(cap, net) == expected[of]
    assert len(kinds) == (4 if name == "first version" else 5)


def test_memory_is_as_an_independent_study_of_the_space_found_it() -> None:
    """Values, gradients and masks of 1,000 nets at ε = 1, batches of 128 CIFAR-10 images: a mean
    of 1.79 GB (median 1.48, so about ±0.05 of sampling error in either)."""
    space = SearchSpace(SpaceRules(depth=18, image=32))
    memory, parameters = (CostCap(space, 3, NO_CAP, of) for of in ("memory", "parameters"))
    agent, rng = Agent(space, QLearning()), np.random.default_rng(0)
    nets = {agent.sample(rng, 1.0).architecture for _ in range(1150)}
    blobs = [spent(memory, net) - 16 * spent(parameters, net) for net in nets]
    assert np.mean(blobs) / 1e9 == pytest.approx(1.79, abs=0.2)
    assert np.median(blobs) / 1e9 == pytest.approx(1.48, abs=0.2)


SMALL: dict[str, tuple[Rules, GapForm]] = {
    "GAP terminates": (
        SpaceRules(depth=3, image=12, filters=(16, 64), fully_connected=(128,)),
        GapForm.PAPER,
    ),
    "GAP is a layer": (
        SpaceRules(depth=4, image=12, filters=(16,), fully_connected=(128,), **AUTHORS),
        GapForm.RELEASED,
    ),
    "first version": (
        FirstVersionRules(
            12, depth=3, filters=(20, 60), fully_connected=(50,), smallest_halving=1
        ),
        GapForm.PAPER,
    ),
}  # fmt: skip


def listed(space: SearchSpace, node: int = 0) -> Iterator[tuple[int, ...]]:
    """Every way from a node to the end, as numbers of actions."""
    for number, after in enumerate(space.successors[node]):
        if after == END:
            yield (number,)
        else:
            yield from ((number, *rest) for rest in listed(space, after))


def reachable(cap: CostCap) -> Iterator[tuple[tuple[int, ...], Meter]]:
    """Every way to the end that masking leaves, with what it spent; fails at a dead end."""

    def walk(node: int, taken: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Meter]]:
        meter, at = cap.meter(), 0
        for number in taken:
            meter.spend(at, number)
            at = cap.space.successors[at][number]
        if node == END:
            yield taken, meter
            return
        numbers = meter.affordable(node)
        assert numbers, f"a dead end after {taken}"
        for number in numbers:
            yield from walk(cap.space.successors[node][number], (*taken, number))

    yield from walk(0, ())


@pytest.mark.parametrize("of", COSTS)
@pytest.mark.parametrize("name", SMALL)
def test_masking_leaves_exactly_the_architectures_within_the_cap(name: str, of: Cost) -> None:
    """In spaces small enough to list, by pricing every architecture as a whole."""
    rules, gap = SMALL[name]
    space = SearchSpace(rules)
    image: Shape = (1, 12, 12)
    free = CostCap(space, 1, NO_CAP, of, gap=gap, batch=8)
    prices = {}
    for numbers in listed(space):
        node, layers = 0, []
        for number in numbers:
            layers.append(space.actions[space.state_of[node]][number])
            node = space.successors[node][number]
        net = space.architecture(layers)
        total = total_cost(net, image, rules.padding, gap)
        # That memory's prices add up is tested above.
        prices[numbers] = spent(free, net) if of == "memory" else getattr(total, of)
    assert len(prices) == space.counts().architectures
    ordered = sorted(prices.values())
    for share in (0, 0.02, 0.3, 0.8, 1):
        most = ordered[math.floor(share * (len(ordered) - 1))]
        cap = CostCap(space, 1, most, of, gap=gap, batch=8)
        left = {numbers: meter.spent for numbers, meter in reachable(cap)}
        assert left == {numbers: price for numbers, price in prices.items() if price <= most}
        low, high = cap.count()
        assert low <= len(left) <= high
        if most < 50_000:  # in units of 1 nothing is rounded
            assert cap.count(resolution=most) == (len(left), len(left))
    with pytest.raises(CostCapError, match=f"excludes every net .least: {ordered[0]}"):
        CostCap(space, 1, ordered[0] - 1, of, gap=gap, batch=8)


@pytest.mark.parametrize(
    ("of", "most"), [("macs", 8_000_000), ("parameters", 30_000), ("memory", 200 * 2**20)]
)
@pytest.mark.parametrize("name", WHOLE)
def test_in_a_whole_space_every_sample_fits(name: str, of: Cost, most: int) -> None:
    space, gap = WHOLE[name]
    cap = CostCap(space, 3, most, of, gap=gap)
    agent, rng = Agent(space, QLearning(), cap), np.random.default_rng(1)
    lengths = set()
    for _ in range(200):
        walk = agent.sample(rng, 1.0)
        assert spent(cap, walk.architecture) <= most
        lengths.add(len(walk.steps))
    assert len(lengths) > 2


def test_with_a_cap_above_everything_nothing_is_masked() -> None:
    for of in COSTS:
        meter = CostCap(PAPER, 3, NO_CAP, of).meter()
        assert meter.affordable(0) == list(range(len(PAPER.actions[0])))


def test_the_images_trained_on_may_be_larger_than_the_agent_believes() -> None:
    """The released code's SVHN space takes images of 28 pixels, and trains on 32."""
    space = SearchSpace(SpaceRules(depth=12, image=28, pools=(), **AUTHORS))
    net = parse("[C(64,3,1), SM(10)]")
    for side in (28, 32):
        cap = CostCap(space, 3, NO_CAP, image=side)
        assert spent(cap, net) == 64 * 9 * 3 * side**2 + 64 * side**2 * 10
        assert spent(cap, net) == total_cost(net, (3, side, side), Padding.SAME).macs


def test_the_walk_of_an_architecture_above_the_cap_is_refused() -> None:
    agent = Agent(PAPER, QLearning(), CostCap(PAPER, 3, 100_000, "parameters"))
    with pytest.raises(NotInSpaceError, match="costs more than the cap allows"):
        agent.trajectory(parse("[C(512,5,1), C(512,5,1), SM(10)]"))
