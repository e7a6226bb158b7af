"""The overlays against the authors' own data, and the definitions that those data confirm."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from reproduce.results.plots import curves
from reproduce.results.plots.curves import CURVES, PaperData
from reproduce.results.plots.figure_a2 import distribution
from reproduce.results.plots.q_values import (
    average_by_layer_type,
    average_by_receptive_field,
    q_table,
)
from reproduce.results.plots.search_curve import SearchCurve
from reproduce.search.released_files import read_q_values
from reproduce.search.space import SearchSpace, SpaceRules

EPSILONS = [e / 10 for e in range(10, 0, -1)]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def svhn(reference: Path) -> SearchCurve:
    """The authors' SVHN search down to ε 0.8; the file's last 73 rows are debug fakes."""
    real = rows(reference / "authors-runs" / "replay_database.csv")[:1910]
    return SearchCurve(
        tuple(float(row["epsilon"]) for row in real),
        tuple(float(row["accuracy_best_val"]) for row in real),
    )


@pytest.mark.parametrize(
    "name",
    [
        "fig3_bars_CIFAR10",
        "fig3_bars_SVHN",
        "fig3_rolling_CIFAR10",
        "fig3_rolling_SVHN",
        "figA3_A4_curves",
        "fig_stability_mean_std",
    ],
)
def test_the_numbers_are_those_taken_from_the_figures(reference: Path, name: str) -> None:
    original = reference / "paper" / "figures" / f"{name}.csv"
    assert rows(CURVES / f"{name}.csv") == rows(original)


def test_of_figure_a2_only_repeated_panels_are_left_out(reference: Path) -> None:
    original = rows(reference / "paper" / "figures" / "figA2_bars.csv")
    kept = rows(CURVES / "figA2_bars.csv")
    assert kept == [row for row in original if row["panel"].endswith(" all")]
    for data in ("SVHN", "CIFAR"):
        numbers = [
            [list(map(float, tuple(row.values())[2:])) for row in found]
            for found in (
                [row for row in original if row["panel"] == f"{data} 0.1/1.0"],
                [
                    r
                    for e in ("0.1", "1.0")
                    for r in kept
                    if tuple(r.values())[:2] == (f"{data} all", e)
                ],
            )
        ]
        np.testing.assert_allclose(*numbers, atol=1.01e-4)


# Figure 3.


def test_the_authors_rows_have_the_bars_of_figure_3(svhn: SearchCurve) -> None:
    """The bars of ε 1.0 and 0.9 are swapped in the paper's figure."""
    bars = curves.paper_search("SVHN").means
    counts = {epsilon: len(found) for epsilon, found in svhn.per_epsilon().items()}
    assert counts == {1.0: 1615, 0.9: 164, 0.8: 131}
    assert {e: bars[e].end - bars[e].start for e in counts} == counts
    means = svhn.means()
    assert means == pytest.approx({1.0: 0.522514, 0.9: 0.521440, 0.8: 0.536829}, abs=5e-7)
    assert bars[1.0].height == pytest.approx(means[0.9], abs=1e-4)
    assert bars[0.9].height == pytest.approx(means[1.0], abs=1e-4)
    assert bars[0.8].height == pytest.approx(means[0.8], abs=1e-4)
    assert abs(bars[1.0].height - means[1.0]) > 9e-4


@pytest.mark.parametrize(
    ("data", "samples", "window"), [("SVHN", 3447, 100), ("CIFAR10", 3714, 30)]
)
def test_figure_3_covers_all_samples_and_begins_after_its_window(
    data: PaperData, samples: int, window: int
) -> None:
    paper = curves.paper_search(data)
    assert list(paper.means) == EPSILONS
    bars = list(paper.means.values())
    assert [bar.start for bar in bars[1:]] == [bar.end for bar in bars[:-1]]
    assert (bars[0].start, bars[-1].end) == (0, samples)
    assert paper.window == window
    # One sample moves a mean over n by at most (highest - lowest accuracy) / n.
    places, line = np.array(paper.iterations), np.array(paper.rolling)
    steepest = np.max(np.abs(np.diff(line)) / np.diff(places))
    assert steepest <= 0.86 / window
    if data == "CIFAR10":
        assert steepest > 0.86 / 100


# Figure A2.


@pytest.mark.parametrize("data", ["SVHN", "CIFAR10"])
def test_the_bars_of_figure_a2_are_densities(data: PaperData) -> None:
    bars = curves.paper_distributions(data)
    assert sorted(bars, reverse=True) == EPSILONS
    for found in bars.values():
        assert sum(b.height for b in found) > 116
        # Of a density per 1 the integral is 1; the label says percent.
        assert sum(b.height * (b.end - b.start) for b in found) == pytest.approx(1, abs=0.01)
        width = np.mean([b.end - b.start for b in found])
        span = max(b.end for b in found) - min(b.start for b in found)
        assert span / width == pytest.approx(100, rel=0.01)


def test_the_authors_rows_have_the_distributions_of_figure_a2(svhn: SearchCurve) -> None:
    """With duplicates: unique models give other bars."""
    published = curves.paper_distributions("SVHN")
    for epsilon, accuracies in svhn.per_epsilon().items():
        own = distribution(accuracies)
        paper = published[epsilon]
        assert [b.height for b in own] == pytest.approx([b.height for b in paper], abs=6e-4)
        assert [b.start for b in own] == pytest.approx([b.start for b in paper], abs=6e-5)
        assert [b.end for b in own] == pytest.approx([b.end for b in paper], abs=6e-5)


# Figures A3 and A4.

AUTHORS = SearchSpace(
    SpaceRules(
        depth=12,
        image=32,
        smaller_than_bin=True,
        pool_rounding="floor",
        gap="layer",
        fc_sees_bin=True,
    )
)


@pytest.fixture(scope="module")
def table(reference: Path) -> list[dict[str, str]]:
    return rows(reference / "authors-runs" / "q_values.csv")


@pytest.fixture(scope="module")
def averages(reference: Path) -> tuple[curves.Curves, curves.Curves]:
    values = read_q_values(reference / "authors-runs" / "q_values.csv", AUTHORS).values
    pairs = list(q_table(AUTHORS, values, 0.5))
    return average_by_layer_type(pairs), average_by_receptive_field(pairs)


def test_averages_of_the_released_q_values_are_those_of_its_rows(
    table: list[dict[str, str]], averages: tuple[curves.Curves, curves.Curves]
) -> None:
    """Counted without our space: by the file's own columns. Four pairs that it lacks are 0.5."""
    names = {
        "conv": "Convolution",
        "pool": "Pooling",
        "fc": "Fully Connected",
        "gap": "Global Average Pooling",
    }
    groups: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in table:
        ends = row["end_terminate"] == "1"
        name = "Softmax" if ends else names[row["end_layer_type"]]
        depth, value = int(row["start_layer_depth"]) + 1, float(row["utility"])
        groups[name, depth].append(value)
        if name == "Convolution":
            groups[f"RF {row['end_filter_size']}", depth].append(value)
    merged = {**averages[0], **averages[1]}
    assert {(name, depth) for name, curve in merged.items() for depth in curve} == set(groups)
    missing = 0
    for (name, depth), values in groups.items():
        found = merged[name][depth]
        extra = next(
            n
            for n in range(5)
            if found == pytest.approx((sum(values) + 0.5 * n) / (len(values) + n), abs=1e-9)
        )
        missing += extra
    assert missing == 4


def test_the_released_q_values_resemble_figures_a3_and_a4(
    averages: tuple[curves.Curves, curves.Curves],
) -> None:
    """They are of ε 0.8 and the figures of ε 0.1; SM at depth 4 has learned from debug rows."""
    by_type, by_field = averages
    paper = curves.paper_q_by_layer_type("SVHN")
    fields = curves.paper_q_by_receptive_field("SVHN")
    assert {n: set(c) for n, c in by_type.items()} == {n: set(c) for n, c in paper.items()}
    assert {n: set(c) for n, c in by_field.items()} == {n: set(c) for n, c in fields.items()}
    for name, own, published in [
        *((name, by_type[name], paper[name]) for name in paper),
        *((name, by_field[name], fields[name]) for name in fields),
    ]:
        depths = [d for d in published if (name, d) != ("Softmax", 4)]
        pair = [[curve[d] for d in depths] for curve in (own, published)]
        assert np.corrcoef(pair)[0, 1] > 0.75, name
        assert own != pytest.approx(published, abs=0.01)
        # With lower ε better models are sampled: what leads to them has a higher value then.
        if name == "Convolution" or name.startswith("RF"):
            assert all(published[d] > own[d] for d in published)


def test_without_sm_after_gap_the_average_over_sm_would_be_too_high(
    table: list[dict[str, str]], averages: tuple[curves.Curves, curves.Curves]
) -> None:
    """Depth 2: SM after the 12 convolutions, and after GAP."""
    after = [
        float(row["utility"])
        for row in table
        if row["end_terminate"] == "1"
        and row["start_layer_depth"] == "1"
        and row["start_layer_type"] == "conv"
    ]
    published = curves.paper_q_by_layer_type("SVHN")["Softmax"][2]
    assert len(after) == 12
    assert np.mean(after) > published + 0.02
    assert averages[0]["Softmax"][2] == pytest.approx(published, abs=0.01)


# The stability figure.


def test_the_runs_have_the_means_and_deviations_of_the_error_bars() -> None:
    paper = curves.paper_stability()
    assert len(paper.runs) == 10
    assert list(paper.spread) == EPSILONS
    for epsilon, (mean, deviation) in paper.spread.items():
        found = [run[epsilon] for run in paper.runs]
        assert np.mean(found) == pytest.approx(mean, abs=2e-4)
        assert np.std(found, ddof=1) == pytest.approx(deviation, abs=2e-4)
