"""The tables as Markdown: marks, columns, and cells that come back."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reproduce.results.markdown import HEADER, cells, header_of, markdown, markdown_of
from reproduce.results.paper_tables import Group, paper_tables
from reproduce.results.summary import Row
from tests.reproduce.results.measured_runs import measured_run

ROW = Row(
    "MetaQNN, top model", "[SM(10)]", 0.44, "Table 3", 1.5, (1.28, 1.76), 40,
    "caffe version 1.0.0 (caffe_torch 0.1.0, PyTorch 2.13.0+cpu) (embedded)", "paper", "quick", 1,
    "verified", "not the paper's experiment", (1,), (1.5,), "Wilson", "quick",
)  # fmt: skip


def cell(row: Row, name: str) -> str:
    return cells(row, [name])[0]


def read(text: str) -> list[list[str]]:
    """The cells of a Markdown table's lines."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1] for line in lines]
    return [[re.sub(r"\\([\\|])", r"\1", one.strip()) for one in line] for line in split]


@given(st.lists(st.text(st.sampled_from("ab| ε[]*`%"), max_size=9), min_size=1, max_size=4))
def test_each_cell_comes_back(texts: list[str]) -> None:
    rows = [replace(ROW, what=text, architecture=text) for text in texts]
    header, _, *lines = read(markdown(rows, []))
    assert header == list(HEADER)
    assert lines == [list(cells(row)) for row in rows]


def test_a_cell_is_one_line() -> None:
    text = markdown([replace(ROW, status="failed: a\nb\r\nc")], ["a note"])
    assert cell(replace(ROW, status="failed: a\nb\r\nc"), "status") == "failed: a b c"
    assert len(text.splitlines()) == 5


def test_columns_are_aligned_but_for_the_last() -> None:
    rows = [ROW, replace(ROW, what="x" * 40, measured=None, interval=None, status="not run")]
    head, _, *lines = [line for line in markdown(rows, []).splitlines() if line.startswith("|")]
    bars = [index for index, character in enumerate(head) if character == "|"][:-1]
    for line in lines:
        assert [i for i, c in enumerate(line) if c == "|"][: len(bars)] == bars


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "1.50 [quick]"),
        ({"mark": ""}, "1.50"),
        ({"measured": None, "status": "not run"}, "not run"),
        ({"measured": None, "status": "published only"}, "published only"),
        ({"measured": None, "status": "diverged"}, "failed"),
    ],
)
def test_the_measured_cell(changes: dict[str, object], said: str) -> None:
    assert cell(replace(ROW, **changes), "measured error, %") == said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("interval_is", "said"),
    [
        ("Wilson", "1.28 to 1.76"),
        ("range of 2 seeds", "1.28 to 1.76 (range)"),
        ("bootstrap over 5 seeds", "1.28 to 1.76 (bootstrap)"),
    ],
)
def test_the_interval_says_what_it_is(interval_is: str, said: str) -> None:
    assert cell(replace(ROW, interval_is=interval_is), "95 % interval") == said


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        (ROW.trainer, "caffe 1.0.0 (embedded)"),
        ("caffe version 1.0.0 (real)", "caffe 1.0.0 (real)"),
        ("none", "none"),
    ],
)
def test_the_trainer_is_named_shortly(trainer: str, said: str) -> None:
    assert cell(replace(ROW, trainer=trainer), "trainer") == said


def test_what_was_not_run_has_neither_trainer_nor_budget_nor_seed() -> None:
    row = replace(ROW, measured=None, interval=None, status="not run", flop=3.24e17, command="do x")
    assert [cell(row, name) for name in ("trainer", "budget", "seeds")] == ["", "", ""]
    assert cell(row, "status") == "3.2e17 FLOP: do x"
    assert cell(replace(row, flop=None), "status") == "no command here measures it"
    assert cell(replace(row, flop=None, published=None), "status") == ""


def test_the_first_columns_are_numbers_and_the_last_is_long() -> None:
    assert HEADER[:4] == ("", "published error, %", "measured error, %", "difference")
    assert HEADER[-1] == "architecture"


def test_a_table_has_the_columns_that_say_something() -> None:
    quoted = replace(
        ROW, architecture="", published_in="", measured=None, interval=None, epochs=None,
        status="published only",
    )  # fmt: skip
    assert header_of([quoted]) == ("", "published error, %", "measured error, %")
    assert "data set" in header_of([ROW, replace(ROW, dataset="svhn")])
    assert "data set" not in header_of([ROW])


def test_no_reduced_number_stands_unmarked_in_any_of_the_papers_tables(tmp_path: Path) -> None:
    """In each table a number of a quick run is followed by its budget, in the same cell."""
    run = measured_run(tmp_path)
    run.measure("top/1", 0.98)
    run.measure("mnist/v1-3", 0.98)
    run.score(5, "mean", 200)
    run.score(10, "mean", 200)
    text = markdown_of(paper_tables([Group([run.results])]))
    assert text.count("| 2.00 [quick]") == 2 * 2 + 1 + 1
    assert "| 2.00 |" not in text
    assert [line for line in text.splitlines() if line.startswith("## Table 3")]
