"""A recipe's numbers, and what it refuses."""

from dataclasses import replace
from typing import Any

import pytest

from reproduce.training.recipe import Recipe

PAPER = Recipe(
    epochs=20,
    iterations_per_epoch=430,
    test_iter=50,
    base_lr=0.001,
    lr_policy="step",
    gamma=0.2,
    step_epochs=5,
    momentum2=0.999,
    delta=1e-8,
    chance_accuracy=0.1,
)


def test_the_papers_schedule() -> None:
    """Section 5: rate × 0.2 every 5 of 20 epochs; × 0.4 at each of at most 5 restarts."""
    scheme = PAPER.scheme(0, PAPER.max_iter)
    assert (scheme.max_iter, scheme.stepsize, scheme.gamma) == (8600, 2150, 0.2)
    assert PAPER.max_restarts == 5
    rates = [PAPER.learning_rate(attempt) for attempt in range(6)]
    assert rates == pytest.approx([1e-3, 4e-4, 1.6e-4, 6.4e-5, 2.56e-5, 1.024e-5])


def test_multistep_counts_epochs() -> None:
    recipe = replace(PAPER, lr_policy="multistep", multistep_epochs=(2, 7))
    assert recipe.scheme(0, 10).stepvalues == (860, 3010)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"test_iter": 0}, "test_iter must be at least 1"),
        ({"base_lr": 0.0}, "base_lr must be positive"),
        ({"base_lr": float("nan")}, "base_lr must be positive"),
        ({"retries": -1}, "retries must not be negative"),
        ({"step_epochs": None}, "stepsize"),
        ({"lr_policy": "poly"}, "lr_policy is"),
    ],
)
def test_out_of_range(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(PAPER, **change)
