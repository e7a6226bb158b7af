"""Counts over the layers of sampled nets: nets made up for the purpose, and the raw files."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.audit.authors_data.files import AuthorsData, LearningCurve, read_authors_data
from reproduce.audit.authors_data.layers import first_steps, layer_counts, parameter_column
from reproduce.audit.authors_data.nets import all_nets
from reproduce.audit.authors_data.q_values import pooling_actions, written_digits
from reproduce.search.released_files import QRow, ReleasedQValues, ReleasedState


@pytest.fixture(scope="module")
def folder(reference: Path) -> Path:
    return reference / "authors-runs"


@pytest.fixture(scope="module")
def data(folder: Path) -> AuthorsData:
    return read_authors_data(folder)


def raw(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("net", "field"),
    [
        ("[P(2,2), SM(10)]", "pooling_first"),
        ("[C(64,1,1), P(2,2), P(2,2), SM(10)]", "pooling_after_pooling"),
        ("[C(64,1,1), FC(128), FC(128), FC(128), SM(10)]", "more_fc"),
        ("[C(64,1,1), FC(128), FC(256), SM(10)]", "growing_fc"),
        ("[C(64,1,1), FC(128), SM(10)]", "early_fc"),
        ("[C(64,1,1), P(5,3), C(64,1,1), P(5,3), C(64,1,1), SM(10)]", "windows_on_smallest"),
    ],
)
def test_a_net_that_breaks_a_rule_is_counted(net: str, field: str) -> None:
    """Dropout is passed over: the same net with it is no other."""
    good = "[C(64,1,1), P(5,3), C(64,3,1), P(2,2), FC(256), FC(128), SM(10)]"
    counts = layer_counts([net, net.replace(", SM", ", D(1,1), SM"), good])
    assert counts.nets == 2
    assert getattr(counts, field) == 1
    assert getattr(layer_counts([good]), field) == 0


def test_r_sizes_below_four_are_counted_once_for_each_layer_after_them() -> None:
    """32 → 10 → 2: a convolution and two terminations follow 2; what follows GAP is not counted."""
    counts = layer_counts(
        [
            "[C(64,1,1), P(5,3), C(64,1,1), P(5,3), C(64,1,1), SM(10)]",
            "[C(64,1,1), P(5,3), C(64,1,1), P(5,3), GAP(10), SM(10)]",
        ]
    )
    assert (counts.on_smallest, counts.windows_on_smallest) == (1 + 1 + 1, 1)
    assert counts.deepest == 5


def test_sampled_nets_are_as_their_strings_say(data: AuthorsData) -> None:
    """By patterns over the notation: none begins with pooling, has it twice or FC three times."""
    nets = {re.sub(r"D\(\d+,\d+\), ", "", net) for net in all_nets(data)}
    counts = layer_counts(all_nets(data))
    assert counts.nets == len(nets)
    assert counts.pooling_nets == sum("P(" in net.replace("GAP(", "") for net in nets)
    assert counts.pooling_first == sum(net.startswith("[P(") for net in nets) == 0
    double = re.compile(r"[ \[]P\(\d,\d\), P\(")
    assert counts.pooling_after_pooling == sum(bool(double.search(net)) for net in nets) == 0
    assert counts.consecutive_fc == sum(net.count("FC(") == 2 for net in nets)
    assert counts.more_fc == sum(net.count("FC(") > 2 for net in nets) == 0
    assert counts.deepest == max(net.count("), ") for net in nets)
    assert counts.windows_on_smallest == 0 < counts.on_smallest


def test_samples_without_a_layer(folder: Path, data: AuthorsData) -> None:
    """With softmax alone and GAP alone together, the first at ε = 1 alone 28 of 1,615."""
    rows = [r for r in raw(folder / "replay_database.csv") if r["epsilon"] == "1.0"]
    empty = sum(r["net"] in ("[SM(10)]", "[GAP(10), SM(10)]") for r in rows)
    steps = first_steps(data.samples)
    assert (steps.samples, steps.empty) == (len(rows), empty)
    assert sum(r["net"] == "[SM(10)]" for r in rows) == 28


def test_the_column_of_parameters_counts_the_last_layer_twice(data: AuthorsData) -> None:
    """Nets that end in pooling or GAP have no weights to count twice."""
    for curves in (data.cifar10, data.svhn):
        column = parameter_column(curves)
        ends = [re.sub(r", D\(\d+,\d+\)", "", c.net).split(", ")[-2] for c in curves]
        once = sum(not end.startswith(("C(", "[C(", "FC(")) for end in ends)
        assert (column.repeated, column.plain) == (column.nets, once)


@pytest.mark.parametrize(
    ("net", "weights", "last"),
    [
        ("[C(64,3,1), SM(10)]", 3 * 64 * 9, 64 * 64 * 9),
        ("[C(64,1,1), P(2,2), SM(10)]", 3 * 64, 0),
        ("[C(64,1,1), GAP(10), SM(10)]", 3 * 64 + 64 * 10, 0),
        ("[C(64,1,1), P(5,3), FC(128), SM(10)]", 3 * 64 + 64 * 10**2 * 128, 128 * 128),
    ],
)
def test_weights_by_hand(net: str, weights: int, last: int) -> None:
    curves = [LearningCurve(net, 0.001, (0.5,), n, 1) for n in (weights, weights + last)]
    assert parameter_column(curves[:1]).plain == parameter_column(curves[1:]).repeated == 1
    wrong = [LearningCurve(net, 0.001, (0.5,), weights + last + 1, 1)]
    assert (parameter_column(wrong).plain, parameter_column(wrong).repeated) == (0, 0)


def q_row(utility: float = 0.5, **action: int) -> QRow:
    start = ReleasedState(0, 64, 3, 8, 1, "conv", 0, 0, 1, 0)
    pool = {"filter_size": 2, "stride": 2, "image_size": 8} | action
    end = ReleasedState(
        fc_size=0,
        filter_depth=0,
        layer_depth=2,
        layer_type="pool",
        split_depth=0,
        split_width=0,
        terminate=0,
        **pool,
    )
    return QRow(end, start, utility, None)


def test_pooling_actions_of_the_bin_before_and_after() -> None:
    """From bin 8: P(2,2) leads to 4, P(1,1) to 8."""
    rows = (q_row(image_size=8), q_row(image_size=4), q_row(filter_size=1, stride=1))
    found = pooling_actions(ReleasedQValues(rows))
    assert (found.pooling, found.of_bin_before, found.smaller) == (3, 2, 2)


def test_shipped_pooling_actions_have_the_bin_before(folder: Path, data: AuthorsData) -> None:
    rows = [
        r
        for r in raw(folder / "q_values.csv")
        if r["end_layer_type"] == "pool" and r["end_terminate"] == "0"
    ]
    found = pooling_actions(data.q_values)
    assert found.pooling == len(rows) == 508
    assert found.of_bin_before == sum(r["end_image_size"] == r["start_image_size"] for r in rows)


@given(st.lists(st.integers(1, 999_999_999_999), min_size=1))
def test_values_of_twelve_digits_are_told(numerators: list[int]) -> None:
    values = [n / 10**12 for n in numerators]
    found = written_digits(ReleasedQValues(tuple(q_row(value) for value in (*values, 1 / 3))))
    others = [value for value in values if value != 0.5]
    assert (found.changed, found.of_twelve) == (len(others) + 1, len(others))
    assert found.most >= 16


def test_shipped_values_are_written_with_twelve_digits(folder: Path, data: AuthorsData) -> None:
    texts = [r["utility"] for r in raw(folder / "q_values.csv") if float(r["utility"]) != 0.5]
    digits = [len(re.sub(r"e.*", "", t).replace(".", "").strip("0")) for t in texts]
    found = written_digits(data.q_values)
    assert (found.changed, found.most) == (len(texts), max(digits))
