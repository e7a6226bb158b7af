"""A recipe's numbers, and what it refuses."""

import json
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


def test_the_released_codes_rounding() -> None:
    """Its solver files print the rate with %f: five rates, the last of them .000026."""
    recipe = replace(PAPER, rate_decimals=6, max_restarts=4)
    rates = [recipe.learning_rate(attempt) for attempt in range(5)]
    assert rates == [0.001, 0.0004, 0.00016, 0.000064, 0.000026]
    assert recipe.scheme(4, 10).base_lr == 0.000026


def test_the_identity_is_what_cannot_change() -> None:
    limits = replace(PAPER, timeout_s=3.0, retries=9, max_restarts=1, display=7, keep_model=True)
    assert limits.identity() == PAPER.identity()
    assert PAPER.is_of(PAPER.identity())
    assert limits.is_of(PAPER.identity())
    assert not replace(PAPER, epochs=2).is_of(PAPER.identity())
    assert not PAPER.is_of("{")
    assert not PAPER.is_of("[]")


def test_a_rounded_rate_is_another_training() -> None:
    rounded = replace(PAPER, rate_decimals=6)
    assert not rounded.is_of(PAPER.identity())
    assert not PAPER.is_of(rounded.identity())


def test_trials_of_earlier_versions_stay_the_same() -> None:
    """They had `keep_model` in their identity and knew no `rate_decimals`."""
    fields = json.loads(PAPER.identity())
    assert not {"keep_model", "rate_decimals"} & fields.keys()
    earlier = json.dumps({**fields, "keep_model": False})
    assert PAPER.is_of(earlier)
    assert replace(PAPER, keep_model=True).is_of(earlier)
    assert not replace(PAPER, rate_decimals=6).is_of(earlier)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"test_iter": 0}, "test_iter must be at least 1"),
        ({"base_lr": 0.0}, "base_lr must be positive"),
        ({"base_lr": float("nan")}, "base_lr must be positive"),
        ({"retries": -1}, "retries must not be negative"),
        ({"rate_decimals": -1}, "rate_decimals must not be negative"),
        ({"rate_decimals": 4}, "leaves nothing of the learning rate after 5 restarts"),
        ({"step_epochs": None}, "stepsize"),
        ({"lr_policy": "poly"}, "lr_policy is"),
    ],
)
def test_out_of_range(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(PAPER, **change)
