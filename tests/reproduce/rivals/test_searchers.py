"""The rivals' proposals: nets of the space, the same by seed, and after what they were told."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import optuna
import pytest

from prototxt_gen.notation import Architecture
from reproduce.driver import agent_of
from reproduce.experiments.schema import Experiment
from reproduce.rivals.encoding import FlatEncoding, TreeEncoding
from reproduce.rivals.plan import experiment_of
from reproduce.rivals.race import Searcher
from reproduce.rivals.searchers import PATIENCE, RIVALS, OptunaSearcher, new_searcher
from reproduce.rivals.surrogate.surrogate import Curve
from reproduce.search.space import SearchSpace

RANDOM = ["random", "random-flat", "hyperband"]
ROUNDS = {"nsga2": 110, "q-learning": 600, "q-learning-paper": 600, "gp": 26}
"""Proposals until what was told must show; NSGA-II's population is 50."""


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return experiment_of("svhn", "authors")


@pytest.fixture(scope="module")
def space(experiment: Experiment) -> SearchSpace:
    return agent_of(experiment).space


def curve(best: float) -> Curve:
    """Rises evenly to its best."""
    return Curve(tuple(best * epoch / 20 for epoch in range(1, 21)), True, True, 0)


def small_is_good(net: Architecture) -> Curve:
    return curve(1 / len(net))


def large_is_good(net: Architecture) -> Curve:
    return curve(1 - 1 / (1 + len(net)))


def proposals(
    searcher: Searcher, count: int, judge: Callable[[Architecture], Curve]
) -> list[Architecture]:
    return [net for net, _ in trainings(searcher, count, judge)]


def trainings(
    searcher: Searcher, count: int, judge: Callable[[Architecture], Curve]
) -> list[tuple[Architecture, int]]:
    """Nets asked for, and the epochs wanted of each."""
    found = []
    for _ in range(count):
        net = searcher.ask()
        if net is None:
            break
        found.append((net, searcher.tell(judge(net))))
    return found


@pytest.mark.parametrize("name", list(RIVALS))
def test_proposals_are_of_the_space_and_the_same_by_seed(
    name: str, experiment: Experiment, space: SearchSpace
) -> None:
    count = 12 if name == "gp" else 30
    first, again, other = (
        trainings(new_searcher(name, experiment, space, count, seed), count, small_is_good)
        for seed in (3, 3, 4)
    )
    assert first == again != other
    for net, _ in first:
        space.walk(net)  # raises of a net that it does not hold


@pytest.mark.parametrize("name", [name for name in RIVALS if name not in RANDOM])
def test_what_a_searcher_is_told_changes_what_it_proposes(
    name: str, experiment: Experiment, space: SearchSpace
) -> None:
    """Told that small nets are good, the last of its nets are smaller than told the contrary."""
    rounds = ROUNDS.get(name, 60)
    small, large = (
        proposals(new_searcher(name, experiment, space, rounds, 1), rounds, judge)
        for judge in (small_is_good, large_is_good)
    )
    assert small[0] == large[0]
    last = [np.mean([len(net) for net in nets[-15:]]) for nets in (small, large)]
    assert last[0] < last[1] - 1


@pytest.mark.parametrize("name", RANDOM)
def test_random_proposals_do_not_depend_on_what_was_told(
    name: str, experiment: Experiment, space: SearchSpace
) -> None:
    small, large = (
        proposals(new_searcher(name, experiment, space, 40, 1), 40, judge)
        for judge in (small_is_good, large_is_good)
    )
    assert small == large


def test_hyperband_ends_poor_trainings_early_and_good_ones_never(
    experiment: Experiment, space: SearchSpace
) -> None:
    searcher, rng = new_searcher("hyperband", experiment, space, 100, 0), np.random.default_rng(0)
    wanted: dict[bool, list[int]] = {True: [], False: []}
    for number in range(100):
        searcher.ask()
        good = number % 10 == 0
        wanted[good].append(searcher.tell(curve(0.9 if good else rng.uniform(0.1, 0.8))))
    assert set(wanted[False]) <= {1, 3, 9, 20}
    assert set(wanted[True]) == {20}
    assert np.mean(wanted[False]) < 12


def test_random_draws_as_the_agent_does_at_epsilon_1(
    experiment: Experiment, space: SearchSpace
) -> None:
    """First layers are uniform, and depths are those of the agent's walks."""
    nets = proposals(new_searcher("random", experiment, space, 1500, 0), 1500, small_is_good)
    firsts = [str(net.layers[0]) for net in nets]
    actions = [str(action) for action in space.actions[space.state_of[0]]]
    counts = [firsts.count(action) for action in actions]
    assert sum(counts) == len(nets)
    expected = len(nets) / len(actions)
    assert sum((count - expected) ** 2 / expected for count in counts) < 40  # χ², 16 to 19 d.o.f.
    agent, rng = agent_of(experiment), np.random.default_rng(0)
    walks = [len(agent.sample(rng, 1.0).architecture) for _ in range(1500)]
    assert abs(np.mean(walks) - np.mean([len(net) for net in nets])) < 0.35


def test_each_encoding_reaches_every_net_of_some_walks(
    experiment: Experiment, space: SearchSpace
) -> None:
    agent, rng = agent_of(experiment), np.random.default_rng(1)
    nets = [agent.sample(rng, 1.0).architecture for _ in range(200)]
    flat, tree = FlatEncoding(space), TreeEncoding(space)
    for net in nets:
        opened = iter(space.walk(net))

        def along(name: str, choices: int, opened: Iterator[tuple[int, int]] = opened) -> int:
            for node, number in opened:
                if len(space.actions[space.state_of[node]]) > 1:
                    assert choices == len(space.actions[space.state_of[node]])
                    return number
            raise AssertionError(f"{name}: the walk has ended")

        assert tree.decode(along) == net
        wanted = itertools.chain(
            (
                flat.actions.index(space.actions[space.state_of[node]][number])
                for node, number in space.walk(net)
            ),
            itertools.repeat(0),
        )
        assert flat.decode(lambda name, choices, w=wanted: next(w)) == net  # type: ignore[misc]


def test_a_choice_that_is_not_open_stands_for_the_next_open_one(space: SearchSpace) -> None:
    """The first layer cannot be pooling's fourth kind; whatever is asked, a net comes out."""
    flat = FlatEncoding(space)
    for choice in range(len(flat.actions)):
        net = flat.decode(lambda name, choices, c=choice: c)  # type: ignore[misc]
        first = net.layers[0]
        open_first = list(space.actions[space.state_of[0]])
        order = flat.actions[choice:] + flat.actions[:choice]
        assert first == next(action for action in order if action in open_first)


def test_tree_parameters_have_one_number_of_choices_each(space: SearchSpace) -> None:
    """Optuna refuses a parameter whose choices change."""
    tree, rng = TreeEncoding(space), np.random.default_rng(0)
    seen: dict[str, int] = {}

    def choose(name: str, choices: int) -> int:
        assert seen.setdefault(name, choices) == choices
        return int(rng.integers(choices))

    for _ in range(500):
        tree.decode(choose)
    assert len(seen) > 20


def test_a_sampler_that_stays_with_one_net_is_made_to_move_on(space: SearchSpace) -> None:
    """Of one value for every parameter there is one net; another sampler brings others."""
    stubborn = optuna.samplers.PartialFixedSampler(
        {f"layer {i}": 0 for i in range(1, 20)}, optuna.samplers.RandomSampler(seed=0)
    )
    other = optuna.samplers.RandomSampler(seed=1)
    alone = OptunaSearcher(stubborn, FlatEncoding(space))
    assert len(set(map(str, proposals(alone, 20, small_is_good)))) == 1
    moved = OptunaSearcher(stubborn, FlatEncoding(space), otherwise=other)
    nets = list(map(str, proposals(moved, 1 + PATIENCE + 1, small_is_good)))
    assert set(nets[:-1]) == {nets[0]}
    assert nets[-1] != nets[0]
