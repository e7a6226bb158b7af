"""Figure 3 on the surrogate: rolling means, distances and stages against hand-made samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from xml.dom import minidom

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.results.plots.curves import Bar, PaperSearch
from reproduce.rivals.figure_3 import Sample, learn, stages
from reproduce.rivals.figure_3_comparison import compare, comparisons, published
from reproduce.rivals.figure_3_plot import figure_3, figure_3_svg
from reproduce.rivals.figure_3_runs import LearningRun, Stage, rolling_at, rolling_places
from reproduce.rivals.figure_3_text import markdown
from reproduce.rivals.surrogate.data import TrainingData
from reproduce.rivals.surrogate.surrogate import Surrogate

WINDOW = 10


def test_the_rolling_mean_is_that_of_numpy_at_every_place() -> None:
    rewards = list(np.random.default_rng(0).random(237))
    expected = np.convolve(rewards, np.ones(WINDOW) / WINDOW, mode="valid")
    places = rolling_places(len(rewards), WINDOW)
    assert places == (10, 35, 60, 85, 110, 135, 160, 185, 210, 235, 237)
    found = rolling_at(rewards, WINDOW)
    assert found == pytest.approx([expected[place - WINDOW] for place in places], abs=6e-6)


def test_fewer_samples_than_a_window_have_no_rolling_mean() -> None:
    assert rolling_at([0.5] * 9, WINDOW) == ()
    assert rolling_at([0.5] * 10, WINDOW) == (0.5,)


def test_a_net_sampled_again_counts_among_the_samples_and_not_among_the_models() -> None:
    samples = [
        Sample(1.0, 0.1, learned=False, in_range=False, new=True),
        Sample(1.0, 0.9, learned=True, in_range=True, new=True),
        Sample(1.0, 0.9, learned=True, in_range=True, new=False),
        Sample(1.0, 0.9, learned=True, in_range=True, new=False),
        Sample(0.5, 0.1, learned=False, in_range=False, new=False),
        Sample(0.5, 0.7, learned=True, in_range=False, new=True),
    ]
    first, second = stages(samples)
    assert (first.epsilon, first.samples, first.models) == (1.0, 4, 2)
    assert (second.epsilon, second.samples, second.models) == (0.5, 2, 1)
    assert (first.failed, second.failed) == (0.25, 0.5)
    assert (first.outside, second.outside) == (0.25, 1.0)
    assert (first.mean, first.models_mean) == pytest.approx((0.7, 0.5))
    assert (second.mean, second.models_mean) == pytest.approx((0.4, 0.7))
    again = Sample(0.9, 0.1, learned=False, in_range=True, new=False)
    with pytest.raises(ValueError, match=r"no new net was sampled at ε 0\.9"):
        stages([*samples, again])


PAPER = PaperSearch(
    {1.0: Bar(0, 200, 0.3), 0.1: Bar(200, 300, 0.6)},
    (WINDOW - 1, 299.0),
    (0.1, 0.9),
)


def drawn(iteration: float) -> float:
    """The paper's line: straight from 0.1 to 0.9."""
    return 0.1 + 0.8 * (iteration - 9) / 290


def run(seed: int, shift: float, **changes: Any) -> LearningRun:
    """The paper's curve moved up, drawn by twice as many samples at ε 1 and as many at 0.1."""
    counts = {1.0: 400, 0.1: 100}
    found = [
        Stage(e, n, PAPER.means[e].height + shift, 0.25, e / 10, n // 2, 0.5)
        for e, n in counts.items()
    ]
    places = rolling_places(sum(counts.values()), WINDOW)
    at = [place / 2 if place <= 400 else place - 200 for place in places]
    rolling = tuple(drawn(x - 1) + shift for x in at)
    fields: dict[str, Any] = {
        "data_set": "svhn", "preset": "paper", "failure_share": None, "seed": seed,
        "stages": tuple(found), "window": WINDOW, "rolling": rolling, "models": 250, "outside": 10,
        "best": 0.9 + shift, "expected": 0.9, "net": "[C(64,3,1), SM(10)]",
    }  # fmt: skip
    return LearningRun(**{**fields, **changes})


def test_the_distances_are_the_shift_between_curves_of_one_shape() -> None:
    """Means 0.3 and 0.6, moved by 0, 0.1 and 0.2: 0.1 from the paper's on average."""
    found = compare([run(0, 0.0), run(1, 0.1), run(2, 0.2)], PAPER)
    assert found.bars == pytest.approx(0.1)
    assert found.line == pytest.approx(0.1)
    # A seed from the mean of the others: |0 - 0.15|, |0.1 - 0.1|, |0.2 - 0.05|.
    assert found.seed_bars == pytest.approx(0.1)
    assert found.seed_line == pytest.approx(0.1)
    assert [one.mean for one in found.at] == pytest.approx([0.4, 0.7])
    assert [one.seeds for one in found.at] == [(0.3, 0.5), (0.6, pytest.approx(0.8))]
    assert found.within == 2
    assert found.rise == found.published_rise == pytest.approx(0.3)
    assert (found.rising, found.runs) == (3, 3)
    assert found.failed == (0.25, 0.25)
    assert found.outside == pytest.approx((0.1, 0.01))
    expected = [drawn(x) + 0.1 for x in found.iterations]
    assert found.rolling == pytest.approx(expected)
    low = np.quantile([0.0, 0.1, 0.2], 0.05)
    assert np.subtract(found.low, found.rolling) == pytest.approx(low - 0.1)


def test_opposite_differences_do_not_cancel() -> None:
    """One ε too high and the other too low by 0.2 is a distance of 0.2."""
    odd = [
        replace(
            one,
            stages=(
                replace(one.stages[0], mean=0.5),
                replace(one.stages[1], mean=0.4),
            ),
        )
        for one in (run(0, 0), run(1, 0), run(2, 0))
    ]
    found = compare(odd, PAPER)
    assert found.bars == pytest.approx(0.2)
    assert (found.rise, found.rising) == (pytest.approx(-0.1), 0)


def test_a_bar_outside_all_seeds_is_not_within() -> None:
    found = compare([run(s, 0.1 + s / 100) for s in range(3)], PAPER)
    assert found.within == 0


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([run(0, 0), run(1, 0)], "2 runs"),
        ([run(0, 0), run(1, 0), run(1, 0)], "at least 3 seeds"),
        ([run(0, 0), run(1, 0), run(2, 0, preset="authors")], "no one sample"),
        ([run(0, 0), run(1, 0), run(2, 0, failure_share=0.0)], "no one sample"),
        (
            [run(0, 0), run(1, 0), replace(run(2, 0), stages=run(2, 0).stages[::-1])],
            "seed 2 has other ε",
        ),
    ],
)
def test_runs_that_make_no_sample_are_refused(runs: Sequence[LearningRun], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compare(runs, PAPER)


def test_svhns_swapped_bars_are_put_right() -> None:
    """The authors' replay database has the means 0.522514 at ε 1.0 and 0.521440 at ε 0.9."""
    means = published("svhn").means
    assert means[1.0].height == pytest.approx(0.522514, abs=1e-4)
    assert means[0.9].height == pytest.approx(0.521440, abs=1e-4)
    assert (means[1.0].end, means[0.9].end) == (1615, 1779)


def test_a_run_survives_json() -> None:
    one = run(3, 0.05)
    assert LearningRun.from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": "three"}, "seed"),
        ({"data_set": "mnist"}, "data_set"),
        ({"colour": 1}, "colour"),
        ({"rolling": [0.5]}, "1 values of the rolling mean, for 21 places"),
        ({"stages": []}, "at least one stage"),
        ({"best": float("nan")}, "best"),
        ({"window": 0}, "rolling mean"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_in_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        LearningRun.from_json({**run(0, 0).to_json(), **change})
    assert "\n" not in str(raised.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from([*run(0, 0).to_json()]), value=JSON)
def test_any_value_of_a_field_is_read_or_refused(field: str, value: Any) -> None:
    try:
        found = LearningRun.from_json({**run(0, 0).to_json(), field: value})
    except ValueError as error:
        found, said = None, str(error)
    if found is None:
        assert "\n" not in said
    else:
        assert len(found.rolling) == len(found.places)


@given(JSON)
def test_what_is_no_run_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        LearningRun.from_json(value)


def rules(preset: str) -> Experiment:
    return load_experiment(experiment_path("svhn"), "paper", 0, preset)


MODELS = 150


@pytest.fixture(scope="module")
def learned(failing: Surrogate) -> list[LearningRun]:
    return learn(failing, rules("authors"), range(3), MODELS)


def test_a_run_has_all_models_of_the_schedule(learned: list[LearningRun]) -> None:
    """Table 2 has 1,500, 100, 100, 100 and six times 150 of 2,700 models."""
    for one in learned:
        assert one.models == MODELS
        counts = [stage.models for stage in one.stages]
        assert sum(counts) == MODELS
        stated = np.array([1500, 100, 100, 100, *[150] * 6]) * MODELS / 2700
        assert np.abs(np.array(counts) - stated).max() <= 1
        assert all(stage.samples >= stage.models for stage in one.stages)
        assert 0 < one.stages[0].failed < 1
        # Chance level for those that fail; the others are above it.
        assert one.stages[0].mean > 0.1 * one.stages[0].failed
        assert 0 <= one.outside < one.models
        assert all(0 <= stage.outside < 1 for stage in one.stages)


def test_one_seed_gives_one_run_whatever_runs_beside_it(
    svhn: TrainingData, learned: list[LearningRun]
) -> None:
    (alone,) = learn(Surrogate.fit(svhn, seed=0), rules("authors"), [1], MODELS)
    assert alone == learned[1]
    assert learned[0].rolling != learned[1].rolling


def test_where_no_net_learns_there_is_no_best_one(svhn: TrainingData) -> None:
    never = Surrogate.fit(svhn, seed=0, failure_share=1.0)
    with pytest.raises(ValueError, match="seed 0: no net learned within the surrogate's range"):
        learn(never, rules("paper"), [0], MODELS)


def test_where_few_nets_learn_most_are_at_chance_level(svhn: TrainingData) -> None:
    rarely = Surrogate.fit(svhn, seed=0, failure_share=0.9)
    (one,) = learn(rarely, rules("paper"), [0], MODELS)
    assert (one.preset, one.failure_share) == ("paper", 0.9)
    first = one.stages[0]
    assert 0.8 < first.failed < 0.97
    assert 0.1 <= first.mean < 0.1 + 0.9 * (1 - first.failed)
    assert one.best > 0.5


def test_a_surrogate_of_another_data_set_is_refused(failing: Surrogate) -> None:
    cifar10 = load_experiment(experiment_path("cifar10"), "paper", 0, "paper")
    with pytest.raises(ValueError, match="surrogate of svhn cannot train for cifar10"):
        learn(failing, cifar10, [0], MODELS)


def test_the_section_states_the_numbers(learned: list[LearningRun]) -> None:
    (one,) = comparisons(learned)
    text = markdown([one])
    assert "### SVHN" in text
    assert "CIFAR-10" not in text
    rows = [line for line in text.splitlines() if line.startswith("| authors |")]
    assert f"| {100 * one.bars:.1f} ({100 * one.seed_bars:.1f}) |" in rows[0]
    assert "predicted by the surrogate" in text
    bar = published("svhn").means[0.1].height
    assert f"| 0.1 | {100 * bar:.1f} | {100 * one.at[-1].mean:.1f} [" in text


def test_the_figure_is_the_same_for_the_same_runs(learned: list[LearningRun]) -> None:
    (one,) = comparisons(learned)
    text = figure_3_svg([one], "svhn")
    assert text == figure_3_svg(comparisons(learned), "svhn")
    document = minidom.parseString(text)  # noqa: S318 - our own
    words = [node.firstChild.data for node in document.getElementsByTagName("text")]
    assert "preset authors: mean of 3 seeds, and 90 % of them" in words
    assert "paper: rolling mean over 100" in words
    with pytest.raises(ValueError, match="no searches on cifar10"):
        figure_3_svg([one], "cifar10")


def test_the_figure_draws_the_papers_and_the_seeds_own_values(learned: list[LearningRun]) -> None:
    (one,) = comparisons(learned)
    without = replace(one, failure_share=0.0, rolling=tuple(0.0 for _ in one.rolling))
    for order in ([one, without], [without, one]):
        (axes,) = figure_3(order, "svhn").axes
        lines = {str(line.get_label()).partition(":")[0]: line for line in axes.lines}
        assert list(lines) == ["preset authors", "paper"]
        assert tuple(np.asarray(lines["preset authors"].get_ydata())) == one.rolling
        assert tuple(np.asarray(lines["paper"].get_ydata())) == published("svhn").rolling
    heights = {bar.height for bar in published("svhn").means.values()}
    assert {bar.get_height() for bar in axes.patches} == heights
