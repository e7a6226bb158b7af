"""Tables and reports: intervals, what was not run, and pages that need nothing else."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from reproduce.commands.arguments import DEFAULT_SEED
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.results.figures import SearchCurve, learning_curve_svg, rolling_mean
from reproduce.results.formats import csv_text, latex
from reproduce.results.markdown import HEADER, cells, markdown
from reproduce.results.report import notes, write_report
from reproduce.results.summary import rows_as_json, table, wilson_interval
from reproduce.results.top_models import top_id
from reproduce.search.replay_memory import ReplayMemory
from reproduce.training.outcome import Outcome, TrialResult


@pytest.fixture
def experiment() -> Experiment:
    return load_experiment(experiment_path("mnist"), "quick", DEFAULT_SEED)


def result(*accuracies: float, outcome: Outcome = Outcome.FINISHED) -> TrialResult:
    return TrialResult(outcome, accuracies, 0.001, 0, 78, 12.5, "caffe 1.0.0", "")


@pytest.fixture
def memory(tmp_path: Path) -> ReplayMemory:
    memory = ReplayMemory(tmp_path / "replay.sqlite")
    memory.put(trainer="caffe version 1.0.0 (real)", device="the CPU")
    sample = memory.add_sample("[C(64,3,1), SM(10)]", 1.0, {})
    memory.record_outcome(sample.trial, result(0.9, 0.95), 0.95)
    memory.complete(sample.id)
    return memory


@pytest.mark.parametrize(
    ("errors", "total", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), Table I, method 3
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_equals_newcombes_examples(
    errors: int, total: int, low: float, high: float
) -> None:
    assert wilson_interval(errors, total) == pytest.approx((low, high), abs=5e-5)


def test_what_was_not_run_says_so_and_has_no_number(
    experiment: Experiment, memory: ReplayMemory
) -> None:
    rows = table(experiment, memory)
    assert [row.status for row in rows] == ["not run"] * 3
    assert all(row.measured is None and row.difference is None for row in rows)


def test_a_measured_row_stands_beside_the_published_number(
    experiment: Experiment, memory: ReplayMemory
) -> None:
    net = experiment.published[0].net
    memory.record_final("mnist/v1-3", net.notation, result(0.99, 0.985))
    memory.record_final(top_id(1), "[C(64,3,1), SM(10)]", result(0.98))
    rows = table(experiment, memory)
    assert rows[0].architecture == "[C(240,7,1), P(3,2), C(120,5,2), FC(50), SM(10)]"
    assert rows[0].published == 0.48
    assert rows[0].measured == pytest.approx(1.5)  # the last epoch's, not the best
    assert rows[0].difference == pytest.approx(1.02)
    assert rows[0].interval[0] < 1.5 < rows[0].interval[1]
    assert rows[0].status == "not the paper's experiment"
    assert rows[0].trainer == "caffe version 1.0.0 (real)"
    tops = [row for row in rows if row.what == "MetaQNN, top model"]
    assert [row.published for row in tops] == [0.44]  # the first version's 0.41 is of another space
    assert all(row.measured == pytest.approx(2.0) for row in tops)


def test_a_failed_final_training_has_no_number(
    experiment: Experiment, memory: ReplayMemory
) -> None:
    memory.record_final("mnist/v1-3", "", result(0.5, outcome=Outcome.DIVERGED))
    assert table(experiment, memory)[0].measured is None
    assert table(experiment, memory)[0].status.startswith("diverged")


def test_the_report_is_one_page_that_needs_no_network(
    experiment: Experiment, memory: ReplayMemory, tmp_path: Path
) -> None:
    memory.put(
        cost_cap={
            "of": "macs",
            "at_most": 30_000_000,
            "low": 9.0,
            "high": 10.0,
            "architectures": 1e3,
        }
    )
    page = write_report(experiment, memory, tmp_path / "report")
    text = page.read_text()
    links = re.findall(r'(?:src|href)="([^"#]+)"|url\(([^#)]+)\)|@import', text)
    assert links  # to the files beside it
    for link, _ in links:
        assert (page.parent / link).is_file(), link
    for needed in (
        "0.48",
        "quick",
        "caffe version 1.0.0 (real)",
        "[C(64,3,1), SM(10)]",
        "all but 1 %",
    ):
        assert needed in text
    rows = json.loads((page.parent / "table.json").read_text())
    assert rows[0]["published"] == 0.48
    assert "| not run " in (page.parent / "table.md").read_text()


def test_the_rolling_mean() -> None:
    assert rolling_mean([1, 2, 3, 4], 2) == [1.5, 2.5, 3.5]


def test_the_figure_is_the_same_each_time() -> None:
    curve = SearchCurve((1.0, 1.0, 0.1), (0.1, 0.5, 0.9))
    assert learning_curve_svg(curve, "t") == learning_curve_svg(curve, "t")
    assert "ε 0.1" in learning_curve_svg(curve, "t")


def test_each_version_of_the_mnist_search_has_its_own_numbers(tmp_path: Path) -> None:
    memory = ReplayMemory(tmp_path / "empty.sqlite")
    for name, numbers in (("mnist", [0.44, 0.32]), ("mnist-v1", [0.41, 0.38])):
        loaded = load_experiment(experiment_path(name), "quick", DEFAULT_SEED)
        rows = [row for row in table(loaded, memory) if row.what.startswith("MetaQNN")]
        assert [row.published for row in rows] == numbers


def test_a_preset_stands_beside_its_numbers(memory: ReplayMemory) -> None:
    """Even at the paper's budget, what follows the released code is not the paper's text."""
    memory.record_final(top_id(1), "[SM(10)]", result(0.98))
    loaded = load_experiment(experiment_path("cifar10"), "paper", DEFAULT_SEED, "released")
    (top,) = [row for row in table(loaded, memory) if row.what == "MetaQNN, top model"]
    assert top.status == "preset released: not the paper's text"
    assert "preset" in rows_as_json([top])[0]


def test_a_final_training_that_failed_says_so(experiment: Experiment, memory: ReplayMemory) -> None:
    memory.put(final_failures={"top/1": "crashed: signal 9"})
    (top,) = [row for row in table(experiment, memory) if row.what == "MetaQNN, top model"]
    assert top.status == "failed: crashed: signal 9"
    assert cells(top)[HEADER.index("measured error, %")] == "failed"


def test_unverified_data_is_said_in_every_form_of_the_table(
    experiment: Experiment, memory: ReplayMemory
) -> None:
    """Of the search's data and of the final trainings'; a file of both once."""

    def sources(**of: str) -> dict[str, object]:
        return {"sources": [{"name": name, "status": status} for name, status in of.items()]}

    memory.put(data=sources(train="verified", test="verified"))
    assert {row.data for row in table(experiment, memory)} == {"verified"}
    assert not any("Unverified" in note for note in notes(experiment, memory))
    memory.put(data=sources(train="verified", test="unverified"))
    memory.put(final_data=sources(train="verified", test="unverified", extra="first-seen"))
    rows, remarks = table(experiment, memory), notes(experiment, memory)
    said = "Unverified data files: test, extra."
    assert said in markdown(rows, remarks)
    assert said in latex(rows, remarks)
    assert {row["data"] for row in rows_as_json(rows)} == {"unverified"}
    assert {row["data"] for row in csv.DictReader(io.StringIO(csv_text(rows)))} == {"unverified"}
