"""Learning rates in phases, as what Caffe's multistep makes of them, iteration by iteration."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.training.rate_schedule import multistep, scaled
from reproduce.training.recipe import Recipe

PAPER = [(40, 0.025), (40, 0.0125), (160, 0.0001), (60, 0.00001)]  # section 5, CIFAR-10
EPOCH = 390


def caffes_rates(recipe: Recipe, iterations: int) -> list[float]:
    """sgd_solver.cpp: one step an iteration, once that iteration has come."""
    scheme = recipe.scheme(0, recipe.max_iter)
    rates, step = [], 0
    for iteration in range(iterations):
        if step < len(scheme.stepvalues) and iteration >= scheme.stepvalues[step]:
            step += 1
        rates.append(scheme.base_lr * (scheme.gamma or 1.0) ** step)
    return rates


def recipe(phases: list[tuple[int, float]]) -> Recipe:
    rates = multistep(phases)
    return Recipe(
        epochs=sum(epochs for epochs, _ in phases),
        iterations_per_epoch=EPOCH,
        test_iter=1,
        base_lr=rates.base_lr,
        lr_policy="multistep",
        gamma=rates.gamma,
        multistep_epochs=rates.step_epochs,
    )


def test_caffe_trains_at_the_papers_rates() -> None:
    """Each phase's rate to 1 %, from a few iterations after its first on."""
    rates = caffes_rates(recipe(PAPER), 300 * EPOCH)
    start = 0
    for epochs, rate in PAPER:
        end = start + epochs * EPOCH
        settled = rates[start + 25 : end]
        assert min(settled) == max(settled) == pytest.approx(rate, rel=0.01)
        start = end


def test_the_published_solvers_factor_comes_first() -> None:
    """static/solver/cifar10_0_solver.prototxt: gamma 0.5, and 1, 7 and 3 steps."""
    halvings = [(40, 0.025), (40, 0.0125), (160, 0.0125 / 2**7), (60, 0.0125 / 2**10)]
    rates = multistep(halvings)
    assert (rates.base_lr, rates.gamma) == (0.025, 0.5)
    assert rates.step_epochs == (40, *[80] * 7, *[240] * 3)
    scheme = replace(recipe(halvings), iterations_per_epoch=100).scheme(0, 1)
    assert scheme.stepvalues == (4000, *range(8000, 8007), *range(24000, 24003))


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(1e-5, 1)), min_size=1, max_size=5),
)
def test_every_rate_is_met_to_a_hundredth_or_refused(phases: list[tuple[int, float]]) -> None:
    phases = sorted(phases, key=lambda phase: -phase[1])
    try:
        rates = multistep(phases)
    except ValueError as error:
        assert "no factor" in str(error)  # noqa: PT017
        return
    epoch = 0
    for epochs, rate in phases:
        taken = sum(step <= epoch for step in rates.step_epochs)
        assert rates.base_lr * rates.gamma**taken == pytest.approx(rate, rel=0.0101)
        epoch += epochs
    assert all(step < epoch for step in rates.step_epochs)


@pytest.mark.parametrize("phases", [[], [(1, 0.1), (1, 0.2)]])
def test_what_multistep_cannot_do_is_refused(phases: list[tuple[int, float]]) -> None:
    with pytest.raises(ValueError, match=r"needs a phase|can only lower"):
        multistep(phases)


@given(st.integers(1, 600))
def test_phases_keep_their_proportions(epochs: int) -> None:
    out = scaled(PAPER, epochs)
    assert sum(length for length, _ in out) == epochs
    assert [rate for _, rate in out] == sorted((rate for _, rate in out), reverse=True)
    for (length, rate), (whole, same) in zip(scaled(PAPER, 600), PAPER, strict=True):
        assert (length, rate) == (2 * whole, same)
