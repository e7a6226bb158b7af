"""`metaqnn tables` over one run and several."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reproduce.commands.tables import print_tables
from tests.reproduce.results.measured_runs import MeasuredRun, measured_run

Command = Callable[..., Any]


def quick(folder: Path, seed: int, error: float, budget: str = "quick") -> MeasuredRun:
    run = measured_run(folder, budget=budget, seed=seed)
    run.measure("top/1", 1 - error / 100)
    return run


def top_models(rows: list[dict[str, Any]], table: str) -> list[dict[str, Any]]:
    """The rows with a number beside the later revision's top model."""
    return [
        row
        for row in rows
        if row["table"] == table
        and "top model" in row["what"]
        and row["measured"] not in (None, "")
    ]


def test_markdown_has_the_run_and_then_the_papers_tables(metaqnn: Command, tmp_path: Path) -> None:
    run = quick(tmp_path / "run", 1, 2.0)
    said = metaqnn("tables", run.folder)
    assert said.code == 0
    titles = [line[3:].partition(":")[0] for line in said.out.splitlines() if line[:3] == "## "]
    assert titles == [
        "MNIST",
        "Table 3",
        "Table 4",
        "In the text",
        "Table A4 (first version)",
        "Table A.3 (thesis)",
    ]
    assert said.out.count("| 2.00 [quick] ") == 3
    assert "metaqnn train-published mnist/thesis-1" in said.out


def test_json_and_csv_have_the_same_rows(metaqnn: Command, tmp_path: Path) -> None:
    """A budget and a mark beside each number, and the numbers themselves."""
    run = quick(tmp_path / "run", 1, 2.0)
    rows = metaqnn("tables", run.folder, "--json").json
    table = list(csv.DictReader(io.StringIO(metaqnn("tables", run.folder, "--format", "csv").out)))
    assert [row["what"] for row in rows] == [row["what"] for row in table]
    assert [row["measured"] for row in rows if row["measured"] is not None] == [
        float(row["measured"]) for row in table if row["measured"]
    ]
    for found in (rows, table):
        for number in ("run", "3", "4"):
            (row,) = top_models(found, number)
            assert (row["budget"], row["mark"], row["preset"]) == ("quick", "quick", "paper")
    quoted = [row for row in rows if row["status"] == "published only"]
    assert {row["what"] for row in quoted} >= {"Maxout", "NIN", "DropConnect"}
    assert rows[0]["table"] == "run"


def test_latex_is_a_float_for_each_table(metaqnn: Command, tmp_path: Path) -> None:
    said = metaqnn("tables", quick(tmp_path / "run", 1, 2.0).folder, "--format", "latex")
    assert said.out.count(r"\begin{table}") == said.out.count(r"\end{table}") == 6
    assert "2.00 {[}quick{]} &" in said.out


def test_seeds_are_merged_in_whatever_order_they_are_named(
    metaqnn: Command, tmp_path: Path
) -> None:
    folders = [
        quick(tmp_path / str(seed), seed, error).folder
        for seed, error in ((5, 2.0), (4, 2.5), (3, 1.5), (2, 2.1))
    ]
    first, second = (
        metaqnn("tables", *some, "--json").json for some in (folders, reversed(folders))
    )
    (row,) = top_models(first, "3")
    assert row["measured"] == pytest.approx(2.025)
    assert row["seeds"] == [2, 3, 4, 5]
    assert row["errors"] == pytest.approx([2.1, 1.5, 2.5, 2.0])
    assert row["interval_is"] == "bootstrap over 4 seeds"
    assert top_models(second, "3") == [row]
    text = metaqnn("tables", *folders[:2]).out
    assert "2.25 [quick]" in text
    assert "too few for an interval" in text


def test_two_budgets_are_shown_apart(metaqnn: Command, tmp_path: Path) -> None:
    folders = [
        quick(tmp_path / "quick", 1, 2.0).folder,
        quick(tmp_path / "paper", 2, 0.5, "paper").folder,
    ]
    rows = top_models(metaqnn("tables", *folders, "--json").json, "3")
    assert [(row["budget"], row["mark"]) for row in rows] == [("quick", "quick"), ("paper", "")]


def test_the_same_run_twice_is_refused_in_one_line(metaqnn: Command, tmp_path: Path) -> None:
    folder = quick(tmp_path / "run", 7, 2.0).folder
    assert "same seed 7" in metaqnn("tables", folder, folder).refusal


def test_a_folder_without_a_run_is_refused_in_one_line(metaqnn: Command, tmp_path: Path) -> None:
    run = quick(tmp_path / "run", 1, 2.0)
    assert "holds no run" in metaqnn("tables", run.folder, tmp_path / "none").refusal
    (run.folder / "replay.sqlite").unlink()
    assert "replay.sqlite" in metaqnn("tables", run.folder).refusal


def test_each_command_that_is_named_exists(metaqnn: Command, tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run", "cifar10")
    rows = metaqnn("tables", run.folder, "--json").json
    parts = {part for row in rows for part in row["command"].split(" && ") if part}
    words = {tuple(part.split()[:2]) for part in parts}
    assert words == {
        ("metaqnn", "train-published"),
        ("metaqnn", "reproduce"),
        ("metaqnn", "transfer"),
    }
    for _, command in words:
        assert metaqnn(command, "--help").code == 0


def test_a_runs_own_table_is_printed_alone_at_its_end(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = quick(tmp_path / "run", 1, 2.0)
    print_tables(run.folder)
    out = capsys.readouterr().out
    assert "| MetaQNN, top model |" in out
    assert "Maxout" not in out
    assert f"metaqnn tables {run.folder}" in out
