"""The agent: uniform exploration, greedy choice, the update, and the cost cap."""

import itertools
from bisect import bisect
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from prototxt_gen.notation import parse
from prototxt_gen.shapes import total_cost
from reproduce.search.agent import Agent, QLearning, Trajectory
from reproduce.search.cost_cap import CostCap
from reproduce.search.first_version import FirstVersionRules
from reproduce.search.space import SearchSpace, SpaceRules

SPACE = SearchSpace(SpaceRules(depth=12, image=28))


def test_at_epsilon_one_every_legal_action_is_equally_likely() -> None:
    agent, rng = Agent(SPACE, QLearning()), np.random.default_rng(1)
    agent.q[3] = 9.0  # values do not matter at ε = 1
    counts: Counter[int] = Counter()
    for _ in range(10_000):
        counts.update(step.chosen for step in agent.sample(rng, 1.0).steps)
    tested = 0
    for first, end in zip(SPACE.offsets, SPACE.offsets[1:], strict=False):
        row = [counts[i] for i in range(first, end)]
        if sum(row) >= 5 * len(row) > 5:
            tested += 1
            assert chisquare(row).pvalue > 1e-5
    assert tested >= 10


def test_at_epsilon_zero_the_best_action_is_taken_and_ties_are_broken_at_random() -> None:
    agent, rng = Agent(SPACE, QLearning()), np.random.default_rng(2)
    best = agent.trajectory(parse("[C(128,3,1), P(2,2), SM(10)]"))
    for step in best.steps:
        agent.q[step.chosen] = 0.9
    assert {str(agent.sample(rng, 0.0).architecture) for _ in range(20)} == {
        "[C(128,3,1), P(2,2), SM(10)]"
    }
    tie = agent.trajectory(parse("[C(64,1,1), SM(10)]")).steps[0].chosen
    agent.q[tie] = 0.9
    firsts = Counter(agent.sample(rng, 0.0).steps[0].chosen for _ in range(200))
    assert set(firsts) == {tie, best.steps[0].chosen}
    assert min(firsts.values()) > 60


def test_the_update_by_hand() -> None:
    """Algorithm 3: the last step moves towards the reward, each earlier one, in reversed order,
    towards the (already updated) maximum of the next state."""
    agent = Agent(SPACE, QLearning(alpha=0.1, gamma=1.0, initial=0.5))
    walk = agent.trajectory(parse("[C(64,1,1), SM(10)]"))
    first, last = (step.chosen for step in walk.steps)
    agent.update(walk, 1.0)
    assert agent.q[last] == pytest.approx(0.5 + 0.1 * 0.5)
    assert agent.q[first] == pytest.approx(0.5 + 0.1 * (0.55 - 0.5))
    agent.update(walk, 0.0)
    assert agent.q[last] == pytest.approx(0.9 * 0.55)
    # the other actions of that state still promise 0.5
    assert agent.q[first] == pytest.approx(0.9 * 0.505 + 0.1 * 0.5)
    changed = [i for i, value in enumerate(agent.q) if value != 0.5]
    assert sorted(changed) == sorted([first, last])


def test_with_a_cap_every_sample_fits_and_masked_actions_do_not_count() -> None:
    cap = CostCap(SPACE, 1, 60_000_000)
    agent, rng = Agent(SPACE, QLearning(), cap), np.random.default_rng(3)
    lengths = []
    for _ in range(500):
        walk = agent.sample(rng, 1.0)
        assert total_cost(walk.architecture, (1, 28, 28)).macs <= 60_000_000
        assert agent.trajectory(walk.architecture) == walk
        lengths.append(len(walk.steps) - 1)
    assert 2.5 < np.mean(lengths) < 4


class PlainTable:
    """Algorithm 3 as it is written: every maximum is searched where it is needed."""

    def __init__(self, pairs: int, learning: QLearning) -> None:
        self.q, self.learning = [learning.initial] * pairs, learning

    def update(self, walk: Trajectory, reward: float) -> None:
        target = reward
        for step in reversed(walk.steps):
            self.q[step.chosen] += self.learning.alpha * (target - self.q[step.chosen])
            target = self.learning.gamma * max(self.q[i] for i in step.choices)


AUTHORS = SpaceRules(
    depth=12, image=32, smaller_than_bin=True, pool_rounding="floor", gap="layer",
    fc_sees_bin=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("space", "at_most"),
    [
        (SPACE, None),
        (SearchSpace(AUTHORS), None),
        (SearchSpace(FirstVersionRules(depth=3)), None),
        (SPACE, 60_000_000),
        (SPACE, 400_000_000),  # masks at some steps of a walk, at others not
    ],
    ids=["paper", "authors", "first version", "capped", "mildly capped"],
)
@pytest.mark.parametrize(
    "learning", [QLearning(), QLearning(0.5, 0.9, 0.0), QLearning(1.0, 1.0, 1.0)], ids=str
)
def test_kept_maxima_change_no_bit(
    space: SearchSpace, at_most: int | None, learning: QLearning
) -> None:
    """Replays, single updates and assignments, in any order, against the plain algorithm."""
    cap = None if at_most is None else CostCap(space, 1, at_most)
    agent, plain = Agent(space, learning, cap), PlainTable(space.pairs, learning)
    rng = np.random.default_rng(7)
    buffer: list[tuple[Trajectory, float]] = []
    masked = set()
    for round_ in range(300):
        sampled = agent.sample(rng, float(rng.choice([1.0, 0.5, 0.0])))
        walk = agent.trajectory(sampled.architecture)
        masked |= {len(step.choices) < len(step.state) for step in walk.steps}
        # Few distinct rewards make ties; those of Q-values with the maximum are the hard case.
        buffer.append((walk, float(rng.choice([0.1, 0.5, 0.9, rng.random()]))))
        walks = [buffer[row] for row in rng.integers(len(buffer), size=20).tolist()]
        for trajectory, reward in walks:
            plain.update(trajectory, reward)
        if round_ % 3:
            agent.replay(walks)
        else:
            for trajectory, reward in walks:
                agent.update(trajectory, reward)
        if round_ % 7 == 0:
            pair, value = int(rng.integers(space.pairs)), float(rng.random())
            agent.q[pair] = plain.q[pair] = value
        if round_ % 20 == 19:
            assert [value.hex() for value in agent.q] == [value.hex() for value in plain.q]
    assert masked == ({False} if at_most is None else {False, True})


def test_a_table_keeps_each_states_highest_value() -> None:
    table = Agent(SPACE, QLearning()).q
    rng = np.random.default_rng(0)
    for pair in rng.integers(len(table), size=2000).tolist():
        table[pair] = float(rng.random())
    for first, end in itertools.pairwise(SPACE.offsets):
        assert table.highest[first] == max(table[i] for i in range(first, end))
    with pytest.raises(IndexError):
        table[len(table)] = 0.0


def test_under_the_authors_rules_replays_never_touch_fc_states_of_bin_4() -> None:
    """As in the authors' own Q-values: no pair that starts in an FC state of bin 4 ever
    left its first value."""
    space = SearchSpace(AUTHORS)
    agent, rng = Agent(space, QLearning()), np.random.default_rng(6)
    visited, wide = set(), {i for i, s in enumerate(space.states) if s.kind == "FC" and s.bin == 4}
    for _ in range(3000):
        walk = agent.sample(rng, 1.0)
        visited |= {bisect(space.offsets, step.chosen) - 1 for step in walk.steps}
        agent.update(agent.trajectory(walk.architecture), 0.9)
    assert visited & wide  # sampling does pass through them
    changed = {i for i, value in enumerate(agent.q) if value != 0.5}
    pairs = {i for s in wide for i in range(space.offsets[s], space.offsets[s + 1])}
    assert not changed & pairs
    narrow = {i for i, s in enumerate(space.states) if s.kind == "FC" and s.bin == 1}
    assert changed & {i for s in narrow for i in range(space.offsets[s], space.offsets[s + 1])}
