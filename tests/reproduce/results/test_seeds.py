"""Runs that differ in their seeds alone: means, intervals, and what a seed lacks."""

from dataclasses import replace
from itertools import permutations

import pytest

from reproduce.results.seeds import DIFFERS, merged, merged_tables, note_on
from reproduce.results.summary import Row


def row(seed: int, error: float | None, status: str = "fine") -> Row:
    return Row(
        "MetaQNN, top model", "[SM(10)]", 0.44, "Table 3", error,
        None if error is None else (error - 0.1, error + 0.1), 40, "caffe (real)", "paper",
        "quick", seed, "verified", status, (seed,), () if error is None else (error,),
        "" if error is None else "Wilson", "quick", parameters=7850,
    )  # fmt: skip


def test_one_seed_keeps_its_own_interval() -> None:
    assert merged([row(1, 2.0)]) == row(1, 2.0)


def test_two_seeds_have_a_range_for_an_interval() -> None:
    found = merged([row(2, 3.0), row(1, 2.0)])
    assert found.measured == 2.5
    assert found.difference == pytest.approx(2.06)
    assert found.interval == (2.0, 3.0)
    assert found.interval_is == "range of 2 seeds"
    assert (found.seeds, found.errors) == ((1, 2), (2.0, 3.0))


def test_five_seeds_have_a_bootstrap_interval_whatever_their_order() -> None:
    rows = [
        row(seed, error) for seed, error in zip(range(5), (1.0, 1.2, 1.3, 1.9, 1.1), strict=True)
    ]
    found = merged(rows)
    assert found.measured == pytest.approx(1.3)
    assert found.interval is not None
    assert 1.0 < found.interval[0] < 1.3 < found.interval[1] < 1.9
    assert found.interval_is == "bootstrap over 5 seeds"
    assert all(merged(order) == found for order in list(permutations(rows))[::17])


def test_a_seed_that_failed_is_named_and_not_in_the_mean() -> None:
    found = merged([row(1, 2.0), row(2, None, "diverged"), row(3, 4.0)], without=[4])
    assert found.measured == 3.0
    assert found.seeds == (1, 3)
    assert found.status == "fine; seed 2: diverged; seed 4: not run"


def test_the_one_seed_that_was_run_keeps_wilsons_interval() -> None:
    found = merged([row(1, None, "not run"), row(2, 2.0)])
    assert (found.measured, found.interval, found.interval_is) == (2.0, (1.9, 2.1), "Wilson")
    assert found.seeds == (2,)
    assert "seed 1: not run" in found.status


def test_what_no_seed_has_measured_says_why() -> None:
    assert merged([row(1, None, "not run"), row(2, None, "not run")]).status == "not run"
    found = merged([row(1, None, "not run"), row(2, None, "crashed")])
    assert found.status == "seed 1: not run; seed 2: crashed"
    assert found.measured is None
    assert found.seeds == (1, 2)


def test_each_seeds_search_finds_a_net_of_its_own() -> None:
    found = merged([row(1, 2.0), replace(row(2, 3.0), architecture="[GAP(10), SM(10)]")])
    assert found.architecture == DIFFERS
    assert found.parameters is None
    assert merged([row(1, 2.0), row(2, 3.0)]).parameters == 7850


def test_unverified_data_of_one_seed_marks_the_mean() -> None:
    other = replace(row(2, 3.0), data="unverified", mark="quick, unverified data")
    found = merged([row(1, 2.0), other])
    assert (found.data, found.mark) == ("unverified", "quick, unverified data")


def test_rows_are_merged_by_name() -> None:
    other = replace(row(1, 5.0), what="MetaQNN, model 2")
    found = merged_tables([[row(1, 2.0), other], [row(2, 3.0)]])
    assert [(one.what, one.measured) for one in found] == [
        ("MetaQNN, top model", 2.5),
        ("MetaQNN, model 2", 5.0),
    ]


def test_the_note_says_which_interval_it_is() -> None:
    assert "too few" in note_on([1, 2])
    assert "bootstrap" in note_on([1, 2, 3])
