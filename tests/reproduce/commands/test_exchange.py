"""`metaqnn import` and `metaqnn export`: a search goes on from the released code's files."""

import csv
import shlex
from pathlib import Path
from typing import Any

import pytest

from reproduce.run import locked
from reproduce.search.released_files import Q_COLUMNS, REPLAY_COLUMNS
from reproduce.search.replay_memory import read_replay_memory

# As the released code writes it: quotes where there are commas, numbers as Python 2's pandas.
ROWS = [
    "[SM(10)],0.5,2.0,0.5,2.0,-1.0,-1.0,1.0,1.0,0.0,unknown",
    '"[C(64,1,1), SM(10)]",0.75,1.0,0.7,2.0,-1.0,-1.0,2.0,1.0,0.0,unknown',
    "[SM(10)],0.5,2.0,0.5,2.0,-1.0,-1.0,3.0,0.1,0.0,unknown",
]
DEBUG_ROW = "[SM(10)],86.0,2.0,86.0,2.0,-1.0,-1.0,4.0,0.7,0.0,unknown"
# The start's softmax: a copy of the start, one deeper, that terminates.
START = "0,1,0,8,0,start,0,0,0,0"
Q_ROW = f"0,1,0,8,1,start,0,0,0,1,{START},0.55"


def write_replay(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join([",".join(REPLAY_COLUMNS), *rows, ""]))
    return path


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    return write_replay(tmp_path / "replay_database.csv", [*ROWS, DEBUG_ROW])


@pytest.fixture
def q_values(tmp_path: Path) -> Path:
    path = tmp_path / "q_values.csv"
    path.write_text("\n".join([",".join(Q_COLUMNS), Q_ROW, ""]))
    return path


def import_words(small: Any, replay: Path, *words: object, budget: str = "smoke") -> list[object]:
    files = ["import", small.file, "--replay-database", replay, "--run", small.run]
    return [*files, "--budget", budget, "--preset", "paper", "--seed", "5", *words]


def test_an_import_says_what_it_brought_and_a_search_goes_on_from_it(
    metaqnn: Any, small: Any, replay: Path, q_values: Path, tmp_path: Path
) -> None:
    """Both nets of ε = 1 are in the file, so one net of ε = 0.1 is left to train."""
    said = metaqnn(*import_words(small, replay, "--q-values", q_values))
    assert said.code == 0, said
    dropped, report, place = said.out.splitlines()
    assert dropped == "dropped 1 debug rows (accuracy_best_val > 1), lines 5 to 5"
    assert report.startswith("imported 3 samples of 2 architectures and 1 Q-values (0 above 1)")
    where, command, end = place.split("`")
    assert (where, end) == (f"Run: {small.run}; ", " goes on")
    found = metaqnn("status", small.run, "--json").json
    assert (found["state"], found["trained"], found["epsilon"]) == ("not running", 2, 0.1)
    assert (found["best"], found["best_reward"]) == ("[C(64,1,1), SM(10)]", 0.75)
    assert found["seconds_left"] is None  # nothing is known of the device
    program, *words = shlex.split(command)
    assert program == "metaqnn"
    searched = metaqnn(*words, "--data", small.data, "--cache", small.data / "cache")
    assert searched.code == 0, searched
    assert "; 2 are trained already" in searched.out
    assert metaqnn("status", small.run, "--json").json["state"] == "complete"
    verified = metaqnn("verify", small.run)
    assert verified.code == 0
    assert "after 3 imported samples" in verified.out
    # Written back, the file's rows are as they were; the new ones follow.
    assert metaqnn("export", small.run, "--out", tmp_path / "out").code == 0
    lines = (tmp_path / "out" / "replay_database.csv").read_text().splitlines()
    assert lines[1:4] == ROWS
    assert len(lines) > 4
    with (tmp_path / "out" / "q_values.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert ",".join(first[column] for column in Q_COLUMNS[:-1]) == Q_ROW.rpartition(",")[0]


def test_a_net_above_the_budgets_cap_is_refused_in_one_line(
    metaqnn: Any, small: Any, tmp_path: Path
) -> None:
    """The first layer costs 28² · 5² · 512 MACs, softmax 28² · 512 · 10; `smoke` allows 10⁶.

    A search could not go on from such a row: none of its walks leads there.
    """
    macs = 28 * 28 * (25 * 512 + 512 * 10)
    row = '"[C(512,5,1), SM(10)]",0.9,2.0,0.9,2.0,-1.0,-1.0,2.0,1.0,0.0,unknown'
    replay = write_replay(tmp_path / "replay_database.csv", [ROWS[0], row])
    assert metaqnn(*import_words(small, replay)).refusal == (
        f"{replay}, line 3, column net: its macs, {macs:,}, exceed the budget's cap of 1,000,000; "
        "choose a budget without one"
    )
    assert not small.run.exists()
    # The budget alone is the trouble: as the line says, one without a cap can be imported there.
    assert metaqnn(*import_words(small, replay, budget="paper")).code == 0


def test_a_net_of_exactly_the_caps_cost_is_imported_and_searched_from(
    metaqnn: Any, make_small: Any, tmp_path: Path
) -> None:
    """[C(64,1,1), SM(10)]: 28² · 64 MACs, and 28² · 64 · 10 for softmax."""
    replay = write_replay(tmp_path / "replay_database.csv", ROWS)
    cap = 28 * 28 * 64 * 11
    old = "max_forward_macs = 1_000_000"
    exact = make_small((old, f"max_forward_macs = {cap}"))
    assert metaqnn(*import_words(exact, replay)).code == 0
    assert exact.search().code == 0
    below = make_small((old, f"max_forward_macs = {cap - 1}"))
    assert "line 3, column net: its macs" in metaqnn(*import_words(below, replay)).refusal


def test_a_budget_without_a_cap_takes_any_net_of_the_space(
    metaqnn: Any, small: Any, tmp_path: Path
) -> None:
    row = '"[C(512,5,1), SM(10)]",0.9,2.0,0.9,2.0,-1.0,-1.0,2.0,1.0,0.0,unknown'
    replay = write_replay(tmp_path / "replay_database.csv", [row])
    assert metaqnn(*import_words(small, replay, budget="paper")).code == 0


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "there are no rows to import"),
        (["[SM(10),0.5,2.0,0.5,2.0,-1.0,-1.0,1.0,1.0,0.0,unknown"], "line 2, column net: "),
        ([ROWS[0], ROWS[1].replace("0.75", "much")], "line 3, column accuracy_best_val: expected"),
        ([ROWS[1].replace("C(64,1,1)", "P(2,2)")], "line 2, column net: not in the space: "),
    ],
)
def test_a_bad_file_imports_nothing(
    metaqnn: Any, small: Any, tmp_path: Path, rows: list[str], problem: str
) -> None:
    replay = write_replay(tmp_path / "replay_database.csv", rows)
    refusal = metaqnn(*import_words(small, replay)).refusal
    assert refusal.startswith(str(replay))
    assert problem in refusal
    assert not small.run.exists()
    write_replay(replay, ROWS)  # the same command, once the file is well
    assert metaqnn(*import_words(small, replay)).code == 0


def test_files_that_are_not_there(metaqnn: Any, small: Any, replay: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.csv"
    problem = f"{missing}: No such file or directory"
    assert metaqnn(*import_words(small, missing)).refusal == problem
    assert metaqnn(*import_words(small, replay, "--q-values", missing)).refusal == problem
    assert not small.run.exists()


def test_a_run_that_holds_samples_is_not_imported_into(
    metaqnn: Any, small: Any, replay: Path
) -> None:
    assert metaqnn(*import_words(small, replay)).code == 0
    before = small.record()
    assert "the replay memory to fill is not empty" in metaqnn(*import_words(small, replay)).refusal
    assert small.record() == before


def test_a_run_of_another_experiment_is_not_imported_into(
    metaqnn: Any, finished: Any, replay: Path, finished_record: tuple[object, ...]
) -> None:
    assert (
        "holds another experiment"
        in metaqnn(*import_words(finished, replay, "--seed", "6")).refusal
    )
    assert finished.record() == finished_record


def test_a_run_under_way_is_not_imported_into(metaqnn: Any, small: Any, replay: Path) -> None:
    with locked(small.run):
        assert "is being run by process" in metaqnn(*import_words(small, replay)).refusal


def test_a_search_is_exported_with_a_row_for_each_sample(
    metaqnn: Any, finished: Any, tmp_path: Path
) -> None:
    said = metaqnn("export", finished.run, "--out", tmp_path / "new" / "out")
    assert said.code == 0
    with read_replay_memory(finished.run / "replay.sqlite") as memory:
        trials, samples = memory.trials(), memory.samples()
        q_values = memory.q_values()
    with (tmp_path / "new" / "out" / "replay_database.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rewards = {trial.id: trial.reward for trial in trials}
    assert [float(row["accuracy_best_val"]) for row in rows] == [rewards[x.trial] for x in samples]
    with (tmp_path / "new" / "out" / "q_values.csv").open(newline="") as file:
        values = [float(row["utility"]) for row in csv.DictReader(file)]
    assert {value for value in values if value != 0.5} == set(q_values.values()) - {0.5}
    assert said.out.splitlines() == [
        f"{tmp_path}/new/out/replay_database.csv: {len(samples)} rows",
        f"{tmp_path}/new/out/q_values.csv: {len(values)} rows",
    ]


def test_there_must_be_a_run_to_export(metaqnn: Any, tmp_path: Path) -> None:
    refusal = metaqnn("export", tmp_path / "none", "--out", tmp_path / "out").refusal
    assert refusal == f"{tmp_path}/none holds no run: experiment.toml is missing"
    assert not (tmp_path / "out").exists()


def test_a_run_in_its_usual_folder_is_found_again_without_its_name(
    metaqnn: Any, small: Any, replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = import_words(small, replay)
    at = words.index("--run")
    said = metaqnn(*words[:at], *words[at + 2 :])
    assert said.code == 0, said
    assert said.out.splitlines()[-1] == (
        f"Run: {tmp_path}/runs/mnist-smoke; `metaqnn search {small.file} --budget smoke "
        "--preset paper --seed 5` goes on"
    )


@pytest.mark.parametrize("name", ["replay_database.csv", "q_values.csv"])
def test_an_export_overwrites_nothing_unless_it_is_told_to(
    metaqnn: Any, finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The default folder is the current one, where the released code's own files may lie."""
    folder = tmp_path / "released"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / name).write_text("theirs")
    refusal = metaqnn("export", finished.run).refusal
    assert refusal == f"{name} exists: name another folder with --out, or say --force"
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "theirs"
    assert metaqnn("export", finished.run, "--force").code == 0
    assert (folder / name).read_text() != "theirs"
    assert len(list(folder.iterdir())) == 2
