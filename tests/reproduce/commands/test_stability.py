"""Several searches of one experiment: resumed, and their spread beside the paper's."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.paper import STABILITY
from reproduce.results.plots.search_curve import SearchCurve
from reproduce.results.stability import OneRun, Stability, stability_json, stability_markdown


@pytest.fixture
def words(small: Any, tmp_path: Path) -> list[str]:
    """Three searches with the scripted `caffe`."""
    folders = ["--run", tmp_path / "runs", "--data", small.data, "--cache", small.data / "cache"]
    choices = ["--budget", "smoke", "--seed", "5", "--runs", "3"]
    return ["stability", str(small.file), *choices, *map(str, folders)]


def test_each_seed_is_a_search_of_its_own(
    metaqnn: Any, words: list[str], small: Any, tmp_path: Path
) -> None:
    said = metaqnn(*words)
    assert said.code == 0, said.err
    found = json.loads((tmp_path / "runs" / "stability.json").read_text())
    assert [run["seed"] for run in found["runs"]] == [5, 6, 7]
    best = []
    for run in found["runs"]:
        trials, *_ = small.record(tmp_path / "runs" / f"seed-{run['seed']}")
        best.append(max(accuracy for trial in trials for accuracy in trial[5]))
    assert [run["best"] for run in found["runs"]] == best
    assert found["mean"] == pytest.approx(sum(best) / 3)
    assert found["deviation"] == pytest.approx(statistics.stdev(best))
    assert found["published"] is None  # it is MNIST
    assert {one["epsilon"] for one in found["epsilons"]} == {1.0, 0.1}
    assert f"{100 * sum(best) / 3:.2f} [smoke, changed experiment, unverified data]" in said.out
    for name in ("stability.md", "stability.svg", "stability.png"):
        assert (tmp_path / "runs" / name).stat().st_size
    # A seed more: what is there is not run again.
    before = small.trained_processes()
    assert metaqnn(*words, "--runs", "2").code == 0
    assert small.trained_processes() == before
    assert metaqnn(*words, "--runs", "4").code == 0
    again = json.loads((tmp_path / "runs" / "stability.json").read_text())
    assert again["runs"][:3] == found["runs"]
    assert [run["seed"] for run in again["runs"]] == [5, 6, 7, 8]


def test_a_folder_that_is_a_run_is_refused(metaqnn: Any, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "experiment.toml").touch()
    assert "is a run; name a folder for several runs" in metaqnn(*words).refusal


def test_seeds_beyond_caffes_are_refused(metaqnn: Any, words: list[str]) -> None:
    assert "3 runs need seeds up to 2147483649" in metaqnn(*words, "--seed", 2**31 - 1).refusal


def small_svhn() -> Stability:
    experiment = load_experiment(experiment_path("svhn-small"), "quick", 0)
    runs = tuple(
        OneRun(seed, SearchCurve((1.0, 0.1), (0.4, 0.7 + seed / 10)), 0.7 + seed / 10)
        for seed in range(2)
    )
    return Stability(experiment, runs)


def test_on_a_tenth_of_svhn_the_papers_numbers_stand_beside() -> None:
    content = stability_json(small_svhn())
    assert content["published"] == {"runs": 10, "mean": 0.8825, "deviation": 0.0058}
    first, last = content["epsilons"]
    assert (first["epsilon"], first["published_mean"]) == (1.0, pytest.approx(0.4885, abs=1e-4))
    assert (last["mean"], last["deviation"]) == (pytest.approx(0.75), pytest.approx(0.05 * 2**0.5))
    text = stability_markdown(small_svhn())
    assert "| mean | 88.25 | 75.00 [quick] |" in text
    # No number of a reduced budget without its mark.
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    measured = [row.split("|")[-2] for row in rows if any(c.isdigit() for c in row.split("|")[-2])]
    assert len(measured) == 3 + 2 + 2
    assert all("[quick]" in cell for cell in measured)


def test_what_is_not_the_papers_own_says_so() -> None:
    """A paper-like name, preset and budget are not enough."""
    papers = load_experiment(experiment_path("svhn-small"), "paper", 0)
    shallow = papers.model_copy(update={"space": papers.space.model_copy(update={"depth": 3})})
    curve = SearchCurve((1.0,), (0.5,))
    assert Stability(papers, (OneRun(0, curve, 0.5),)).mark == ""
    assert Stability(shallow, (OneRun(0, curve, 0.5),)).mark == "changed experiment"
    assert Stability(papers, (OneRun(0, curve, 0.5, verified=False),)).mark == "unverified data"


def test_the_published_numbers_are_the_papers(reference: Path) -> None:
    text = (reference / "paper" / "paper.md").read_text()
    mean, deviation = 100 * STABILITY.mean, 100 * STABILITY.deviation
    assert f"best per run {mean:.2f}% mean, {deviation:.2f}% std" in text


def test_the_released_codes_schedule_begins_with_a_thousand_models() -> None:
    schedules = [
        load_experiment(experiment_path("svhn-small"), "paper", 0, preset).q_learning.schedule
        for preset in ("paper", "released")
    ]
    assert [sum(models for _, models in one) for one in schedules] == [2700, 2200]
