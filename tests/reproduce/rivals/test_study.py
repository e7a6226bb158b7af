"""A small study from end to end: each part a file, resumed after any end, and read into a page."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from reproduce.rivals.page import FIGURES, write_page
from reproduce.rivals.plan import PLANS, Plan, units
from reproduce.rivals.results import RESULTS_FILE, StudyResults, read_study, write_files
from reproduce.rivals.study import STUDY_FILE, StudyError, part, read_part, run_study
from reproduce.run import RunError, locked

PLAN = Plan(
    "slice",
    seeds=3,
    budgets=(20, 40),
    searchers=("q-learning", "random", "nsga2", "hyperband"),
    all_learn=("q-learning", "random"),
    learning_seeds=3,
    presets=("authors",),
    orders=3,
    folds=3,
    depths=(5,),
    chunk=3,
    learning_models=150,
)


@pytest.fixture(scope="module")
def study(slice_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rivals")
    done = list(run_study(PLAN, slice_folder, folder, workers=2))
    assert {one.unit for one in done} == set(units(PLAN))
    assert not any(one.before for one in done)
    return folder


@pytest.fixture(scope="module")
def results(study: Path) -> StudyResults:
    return read_study(study)


def test_what_is_done_is_not_done_again(study: Path, slice_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*.json")}
    assert all(one.before for one in run_study(PLAN, slice_folder, study, workers=1))
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*.json")} == before


def test_a_part_that_is_missing_is_made_again_the_same(study: Path, slice_folder: Path) -> None:
    unit = next(unit for unit in units(PLAN) if unit.what == "random" and unit.ground == "svhn")
    before = read_part(study, unit)
    part(study, unit).unlink()
    with pytest.raises(StudyError, match="the study is not complete; run it"):
        read_study(study)
    again = [one.unit for one in run_study(PLAN, slice_folder, study, 1) if not one.before]
    assert again == [unit]
    assert read_part(study, unit) == before


def test_a_folder_holds_one_study(study: Path, slice_folder: Path, tmp_path: Path) -> None:
    other = replace(PLAN, seeds=4)
    with pytest.raises(StudyError, match="holds a study of other plan; name another folder"):
        list(run_study(other, slice_folder, study, 1))
    with locked(study), pytest.raises(RunError, match="is being run by"):
        list(run_study(PLAN, slice_folder, study, 1))
    (tmp_path / STUDY_FILE).write_text("{}")
    with pytest.raises(StudyError, match=r"study\.json is not a study's"):
        read_study(tmp_path)


def test_a_part_that_is_damaged_is_named_with_what_to_do(study: Path) -> None:
    unit = next(unit for unit in units(PLAN) if unit.kind == "race")
    path = part(study, unit)
    before = path.read_text()
    for damaged in ("{", '{"0": {"models": "many"}}', "[]"):
        path.write_text(damaged)
        with pytest.raises(StudyError, match=f"{unit.name}.*delete it and run the study"):
            read_study(study)
    path.write_text(before)


def test_data_that_does_not_suffice_is_one_line(slice_folder: Path, tmp_path: Path) -> None:
    """Ten curves are too few for most of the study; the part that fails first is named."""
    folder = tmp_path / "few"
    folder.mkdir()
    for path in slice_folder.iterdir():
        lines = path.read_text().splitlines(keepends=True)
        (folder / path.name).write_text("".join(lines[:11] if "metaqnn" in path.name else lines))
    with pytest.raises(StudyError, match=r"^(quality|early-stopping|learning|race)_\S+: "):
        list(run_study(replace(PLAN, folds=2), folder, tmp_path / "study", 1))


def test_the_authors_files_and_versions_are_kept_with_it(results: StudyResults) -> None:
    assert all(
        re.fullmatch(r"[0-9a-f]{64} \(.+\)", one) for one in results.about["sources"].values()
    )
    assert {"numpy", "scikit-learn", "optuna"} <= set(results.about["packages"])
    assert results.about["provenance"][0]["git revision"]


def test_searchers_stand_at_each_budget_that_they_reach(results: StudyResults) -> None:
    for ground, searchers in (
        ("svhn", {*PLAN.searchers}),
        ("cifar10", {*PLAN.searchers}),
        ("cifar10-all-learn", {"q-learning", "random"}),
    ):
        for models in PLAN.budgets:
            races = results.races[ground][models]
            assert set(races) == searchers
            for name, found in races.items():
                assert set(found) == {0, 1, 2}
                for race in found.values():
                    if name == "hyperband":
                        assert race.epochs <= 20 * models + 20
                        assert race.models > models
                    else:
                        assert race.models == models


def test_the_smaller_budget_is_the_larger_ones_beginning(results: StudyResults) -> None:
    for name in ("random", "nsga2", "hyperband"):
        for seed in range(3):
            small, large = (results.races["svhn"][n][name][seed] for n in PLAN.budgets)
            count = len(small.improvements)
            assert large.improvements[:count] == small.improvements
            assert large.epochs > small.epochs


def test_all_learn_on_the_ground_without_failures(results: StudyResults) -> None:
    """Every model trains all of its 20 epochs, and no more than its restarts."""
    for found in results.races["cifar10-all-learn"][40].values():
        for race in found.values():
            assert race.epochs >= 20 * race.models


def test_the_files_for_the_audit_and_the_table_tell_the_same_races(
    results: StudyResults, study: Path
) -> None:
    write_files(results, study)
    write_page(results, study)
    races = json.loads((study / "race.json").read_text())["races"]
    with (study / FIGURES / RESULTS_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(races) == len(rows) == 2 * (4 + 4 + 2) * 3
    for race, row in zip(races, rows, strict=True):
        assert (race["data_set"], race["searcher"], race["seed"]) == (
            row["ground"],
            row["searcher"],
            int(row["seed"]),
        )
        assert race["improvements"][-1][4] == pytest.approx(float(row["expected"]), abs=1e-6)
        assert race["improvements"][-1][5] == row["net"]
    learning = json.loads((study / "figure-3.json").read_text())["runs"]
    assert {run["preset"] for run in learning} == {"authors"}
    assert len(learning) == 3 * 3


def test_the_page_shows_every_number_that_it_was_given(
    results: StudyResults, tmp_path: Path
) -> None:
    page = write_page(results, tmp_path).read_text()
    for ground, budgets in results.races.items():
        for models in budgets:
            found = results.comparison(ground, models, "epochs")
            for one in found.standings:
                assert f"{100 * one.regret:.2f} [{100 * one.low:.2f}, {100 * one.high:.2f}]" in page
            equal = results.comparison(ground, models, "models")
            pair = next(one for one in equal.pairs if one.second == "random")
            assert f"{100 * pair.difference:+.2f}" in page
    for quality in results.qualities:
        assert f"{quality.rank_correlation.surrogate.value:.3f}" in page
        for depth in quality.depths:
            assert f"| {depth.depth} | {depth.nets} | {100 * depth.error:.2f} |" in page
    for target in re.findall(r"\]\((rivals/[^)]+\.svg)\)", page):
        assert (tmp_path / target).read_text().startswith("<?xml")
    assert "surrogate's prediction" in page


def test_two_pages_of_one_study_are_the_same(results: StudyResults, tmp_path: Path) -> None:
    first, second = write_page(results, tmp_path / "a"), write_page(results, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    names = sorted(path.name for path in (tmp_path / "a" / "rivals").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b" / "rivals").iterdir())
    for name in names:
        one, other = (tmp_path / x / "rivals" / name for x in "ab")
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_killed_at_any_instant_it_goes_on_and_leaves_no_worker(
    slice_folder: Path, tmp_path: Path, results: StudyResults
) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.reproduce.rivals.test_study import PLAN\n"
        "from reproduce.rivals.study import run_study\n"
        "if __name__ == '__main__':\n"
        "    for one in run_study(PLAN, Path(sys.argv[1]), Path(sys.argv[2]), 2):\n"
        "        print(one.unit.name, flush=True)\n"
    )
    program = tmp_path / "program.py"
    program.write_text(script)
    folder = tmp_path / "study"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    argv = [sys.executable, str(program), str(slice_folder), str(folder)]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()  # one part is done, others are under way
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 2
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
    done = list(run_study(PLAN, slice_folder, folder, workers=2))
    assert any(one.before for one in done)
    again = read_study(folder)
    assert again.races == results.races
    assert again.learning == results.learning
    assert again.qualities == results.qualities


def test_the_plans_have_what_was_promised() -> None:
    """Five searchers, five seeds, both data sets, 500 models; and 20 seeds of 2,700."""
    quick, full = PLANS["quick"], PLANS["full"]
    at_500 = [name for name in quick.searchers if 500 in quick.models(name)]
    assert len(at_500) >= 5
    assert quick.seeds >= 5
    assert set(quick.data_sets) == set(full.data_sets) == {"cifar10", "svhn"}
    assert full.seeds == full.learning_seeds == 20
    assert sum(2700 in full.models(name) for name in full.searchers) >= 3
    names = [unit.name for unit in units(full)]
    assert len(set(names)) == len(names)
