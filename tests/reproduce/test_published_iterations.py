"""Schedules in iterations: kept as a published solver has them, or in proportion."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reproduce.experiments.schema import Iterations
from reproduce.training.rate_schedule import rescaled
from reproduce.training.recipe import Recipe

SVHN = Recipe(
    epochs=50,
    iterations_per_epoch=4721,
    test_iter=1627,
    base_lr=0.025,
    solver_type="SGD",
    lr_policy="multistep",
    gamma=0.5,
    multistep_iterations=(23608, 47217, 47218, 188871),
)


def test_steps_at_no_whole_epoch_are_taken_where_they_are() -> None:
    """Tests, snapshots and the end stay at whole epochs."""
    scheme = SVHN.scheme(0, SVHN.max_iter)
    assert scheme.stepvalues == (23608, 47217, 47218, 188871)
    assert (scheme.test_interval, scheme.snapshot, scheme.max_iter) == (4721, 4721, 236050)
    step = replace(SVHN, lr_policy="step", multistep_iterations=(), step_iterations=2341)
    assert step.scheme(0, step.max_iter).stepsize == 2341


def test_a_trial_of_a_version_without_them_stays_the_same() -> None:
    plain = replace(SVHN, multistep_iterations=(), multistep_epochs=(5, 10))
    assert not {"step_iterations", "multistep_iterations"} & json.loads(plain.identity()).keys()
    assert SVHN.is_of(SVHN.identity())
    assert not SVHN.is_of(replace(SVHN, multistep_iterations=(23608,)).identity())
    assert not plain.is_of(SVHN.identity())


STEPS = st.lists(st.integers(1, 10**6), max_size=12).map(sorted)


@given(STEPS, st.integers(1, 10**6), st.integers(1, 10**6))
def test_steps_keep_their_proportions(steps: list[int], whole: int, last: int) -> None:
    """Each within one iteration of its share, and in order; over as many they are the same."""
    scaled = rescaled(steps, whole, last)
    assert list(scaled) == sorted(scaled)
    for step, new in zip(steps, scaled, strict=True):
        assert new >= 1
        assert new == 1 or abs(new - step * last / whole) < 1 + 1e-6
    assert rescaled(steps, whole, whole) == tuple(steps)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_iter": 100, "test_interval": 30}, "test_interval must divide max_iter 100"),
        ({"max_iter": 9, "test_interval": 3, "stepsize": 2, "stepvalues": [3]}, "not both"),
        ({"max_iter": 9, "test_interval": 3, "stepvalues": [3, 2]}, "must ascend"),
        ({"max_iter": 9, "test_interval": 0}, "greater than 0"),
    ],
)
def test_a_schedule_that_caffe_would_not_keep_is_refused(
    fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        Iterations.model_validate(fields)
