"""The study: the same by seed, blind to nets held out, and a page that says what it found."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from reproduce.audit.authors_data.files import AuthorsData
from reproduce.rivals.early_stopping import published
from reproduce.rivals.early_stopping import study as study_module
from reproduce.rivals.early_stopping.features import CurveTable
from reproduce.rivals.early_stopping.page import markdown
from reproduce.rivals.early_stopping.predictor import Predictor
from reproduce.rivals.early_stopping.published import LAST_SEEN, SVR
from reproduce.rivals.early_stopping.stopping import SimulatedSearch
from reproduce.rivals.early_stopping.study import (
    MEDIAN,
    PERFECT,
    RIDGE,
    EarlyStoppingStudy,
    Stopping,
    study,
)
from tests.reproduce.rivals.early_stopping.conftest import MakeCurves


@pytest.fixture
def small(linear_curves: MakeCurves) -> EarlyStoppingStudy:
    return study(
        linear_curves(60, noise=0.02), "svhn", 3, np.random.default_rng(0), train=20, candidates=2
    )


@pytest.fixture(scope="session")
def of_a_slice(authors: AuthorsData) -> EarlyStoppingStudy:
    """What continuous integration can afford: a slice of CIFAR-10's nets in three orders."""
    return study(authors.cifar10[:300], "cifar10", 3, np.random.default_rng(0), candidates=5)


def rule(measured: EarlyStoppingStudy, method: str, threshold: float | None = None) -> Stopping:
    found = [
        x
        for x in measured.stoppings
        if (x.method, x.threshold, x.rank, x.offset) == (method, threshold, 1, 0.0)
    ]
    (row,) = found
    return row


def test_the_same_seed_gives_the_same_study_and_another_one_another(
    linear_curves: MakeCurves, small: EarlyStoppingStudy
) -> None:
    curves = linear_curves(60, noise=0.02)
    assert study(curves, "svhn", 3, np.random.default_rng(0), train=20, candidates=2) == small
    assert study(curves, "svhn", 3, np.random.default_rng(1), train=20, candidates=2) != small


def test_nets_held_out_are_never_fitted_on(
    linear_curves: MakeCurves, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[set[float]] = []
    searched: list[list[float]] = []
    real_fit, real_simulate = study_module.fit_all, study_module.simulate

    def fit(train: CurveTable, rng: np.random.Generator, candidates: int) -> dict[str, Predictor]:
        fitted.append(set(train.final))
        return real_fit(train, rng, candidates)

    def simulate(search: CurveTable, train: int, rule: study_module.Rule) -> SimulatedSearch:
        searched.append([*search.final])
        return real_simulate(search, train, rule)

    monkeypatch.setattr(study_module, "fit_all", fit)
    monkeypatch.setattr(study_module, "simulate", simulate)
    curves = linear_curves(50)
    study(curves, "svhn", 3, np.random.default_rng(0), train=15, candidates=2)
    orders = searched[:: len(searched) // 3]
    assert len(fitted) == len(orders) == 3
    assert orders[0] != orders[1] != orders[2]
    for train, order in zip(fitted, orders, strict=True):
        assert sorted(order) == sorted(c.accuracies[-1] for c in curves)
        assert train == set(order[:15])
        assert not train & set(order[15:])


def test_what_cannot_be_known_before_the_end_is_not_predicted_from_the_end(
    linear_curves: MakeCurves,
) -> None:
    """The last accuracies are noise alone, so that no method beats the mean."""
    rng = np.random.default_rng(7)
    curves = [
        replace(c, accuracies=(*c.accuracies[:-1], float(rng.uniform(0.2, 0.6))))
        for c in linear_curves(120)
    ]
    measured = study(curves, "svhn", 3, np.random.default_rng(0), train=40, candidates=2)
    assert all(x.r2.value < 0.05 for x in measured.predictions)


def test_it_is_plain_data_that_comes_back_the_same(small: EarlyStoppingStudy) -> None:
    text = json.dumps(small.to_json(), allow_nan=False)
    assert EarlyStoppingStudy.from_json(json.loads(text)) == small
    assert isinstance(small.to_json()["predictions"], list)


@pytest.mark.parametrize(
    ("nets", "orders", "train", "complaint"),
    [
        (60, 2, 20, "at least 3 orders, not 2"),
        (60, 3, 9, "9 of 60 nets"),
        (60, 3, 51, "51 of 60 nets"),
    ],
)
def test_too_few_orders_or_nets_are_refused(
    linear_curves: MakeCurves, nets: int, orders: int, train: int, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        study(linear_curves(nets), "svhn", orders, np.random.default_rng(0), train=train)


def test_on_authors_nets_regressions_beat_the_last_seen_and_no_rule_the_perfect_one(
    of_a_slice: EarlyStoppingStudy,
) -> None:
    r2 = {x.method: x.r2.value for x in of_a_slice.predictions if x.observed == 5}
    assert min(r2[SVR], r2[RIDGE]) > 0.8 > 0.6 > r2[LAST_SEEN]
    perfect = rule(of_a_slice, PERFECT)
    assert perfect.lost == perfect.worst_regret == 0
    for row in of_a_slice.stoppings:
        assert row.saved.low <= row.saved.value <= row.saved.high
        if row.lost == 0:
            assert row.saved.value <= perfect.saved.value
        assert (row.lost == 0) == (row.worst_regret == 0)
    assert 0.2 < rule(of_a_slice, SVR, 0.99).saved.value < perfect.saved.value
    assert rule(of_a_slice, MEDIAN).saved_more is None
    more = rule(of_a_slice, RIDGE, 0.99).saved_more
    assert more is not None
    assert more.value == pytest.approx(
        rule(of_a_slice, RIDGE, 0.99).saved.value - rule(of_a_slice, SVR, 0.99).saved.value
    )


def test_the_saving_falls_with_the_threshold_and_with_what_else_is_spared(
    of_a_slice: EarlyStoppingStudy,
) -> None:
    for method in (SVR, RIDGE, LAST_SEEN):
        saved = [rule(of_a_slice, method, x).saved.value for x in (0.9, 0.95, 0.99)]
        assert saved == sorted(saved, reverse=True)
    of_svr = [x for x in of_a_slice.stoppings if (x.method, x.threshold) == (SVR, 0.99)]
    assert max(of_svr, key=lambda x: x.saved.value) == rule(of_a_slice, SVR, 0.99)


def test_the_page_has_a_row_for_each_measurement_and_says_how_often_the_best_was_lost(
    small: EarlyStoppingStudy,
) -> None:
    strictest = rule(small, SVR, 0.99)
    told = replace(strictest, lost=2)
    text = markdown(
        replace(small, stoppings=tuple(told if x == strictest else x for x in small.stoppings))
    )
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == len(small.predictions) + len(small.stoppings) + 4
    assert "60 nets of SVHN in 3 random orders" in text
    assert "is lost in 2 of 3 orders" in text
    assert re.search(r"2 of 3 \(21% to 94%\)", text)  # Wilson's interval of two in three
    assert "#" not in text


def test_the_theses_numbers_stand_beside_those_of_as_many_nets_alone(
    small: EarlyStoppingStudy,
) -> None:
    assert "thesis" not in markdown(small)
    text = markdown(replace(small, nets=published.NETS, train=100))
    (row,) = (x for x in text.splitlines() if x.startswith("| ν-SVR | 0.99 |"))
    assert "| 1.94 |" in row
    assert "(the thesis: 1.94)" in text


@pytest.mark.slow
@pytest.mark.parametrize("data_set", ["cifar10", "svhn"])
def test_factors_saved_are_within_half_of_the_theses(authors: AuthorsData, data_set: str) -> None:
    curves = getattr(authors, data_set)[: published.NETS]
    measured = study(curves, data_set, 6, np.random.default_rng(0))
    for row in measured.stoppings:
        if row.method == SVR and row.threshold is not None:
            factor = published.SPEED_UP[data_set][row.rank, row.offset][row.threshold]
            assert row.speed_up.value == pytest.approx(factor, rel=0.5)
