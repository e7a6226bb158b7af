"""A penalty on size or time, against closed forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.search.penalty import Penalty


@pytest.mark.parametrize(
    ("of", "weight", "per", "amount", "reward", "expected"),
    [
        ("parameters", 0.01, 1e6, 11_260_000, 0.9308, 0.8182),
        ("macs", 0.1, 1e9, 2_500_000_000, 0.75, 0.5),
        ("seconds", 0.05, 3600.0, 5400.0, 0.8, 0.725),
        ("macs", 0.1, 1e9, 0, 0.75, 0.75),
        ("seconds", 1.0, 60.0, 61.0, 1.0, 0.0),
    ],
)
def test_weight_is_what_an_amount_of_per_costs(
    of: str, weight: float, per: float, amount: float, reward: float, expected: float
) -> None:
    assert Penalty(of, weight, per).apply(reward, amount) == pytest.approx(expected)


@given(
    reward=st.floats(0, 1),
    amounts=st.tuples(st.floats(0, 1e12), st.floats(0, 1e12)),
    weight=st.floats(0, 10),
)
def test_more_never_pays_and_a_reward_never_falls_below_zero(
    reward: float, amounts: tuple[float, float], weight: float
) -> None:
    penalty = Penalty("parameters", weight, 1e6)
    less, more = sorted(amounts)
    assert 0 <= penalty.apply(reward, more) <= penalty.apply(reward, less) <= reward
