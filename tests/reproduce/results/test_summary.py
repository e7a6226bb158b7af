"""A run's own table: how its numbers are labelled, and what is not in it."""

from pathlib import Path

import pytest

from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.published_experiments import published_experiment
from reproduce.results.labels import is_changed
from reproduce.results.markdown import HEADER, cells
from reproduce.results.summary import Row, table, wilson_interval
from tests.reproduce.results.measured_runs import MeasuredRun, manifest, measured_run, trained


def rows_of(run: MeasuredRun) -> dict[str, Row]:
    return {row.what: row for row in table(run.experiment, run.memory)}


def measured_cell(row: Row) -> str:
    return cells(row)[HEADER.index("measured error, %")]


@pytest.mark.parametrize(
    ("name", "budget", "preset", "mark"),
    [
        ("mnist", "paper", "paper", ""),
        ("mnist", "quick", "paper", "quick"),
        ("cifar10", "top-models", "paper", "top-models"),
        ("cifar10", "paper", "released", "preset released"),
        ("svhn", "quick", "authors", "quick, preset authors"),
    ],
)
def test_a_number_that_is_not_the_papers_carries_a_mark(
    name: str, budget: str, preset: str, mark: str, tmp_path: Path
) -> None:
    run = measured_run(tmp_path, name, budget, preset=preset)
    run.measure("top/1", 0.98)
    row = rows_of(run)["MetaQNN, top model"]
    assert row.mark == mark
    assert measured_cell(row) == (f"2.00 [{mark}]" if mark else "2.00")
    assert (row.status == "the paper's budget") == (not mark)


def test_unverified_data_marks_a_number_of_the_papers_budget(tmp_path: Path) -> None:
    run = measured_run(tmp_path, budget="paper")
    run.memory.put(data=manifest(10_000, "unverified"))
    run.measure("top/1", 0.98)
    assert measured_cell(rows_of(run)["MetaQNN, top model"]) == "2.00 [unverified data]"


def test_a_file_of_the_users_own_does_not_pass_for_the_papers_experiment(tmp_path: Path) -> None:
    """Fewer epochs under the budget named paper."""
    paper = load_experiment(experiment_path("mnist"), "paper", 1)
    assert paper.final
    run = measured_run(tmp_path, budget="paper", final=paper.final.model_copy(update={"epochs": 1}))
    run.measure("top/1", 0.98)
    row = rows_of(run)["MetaQNN, top model"]
    assert measured_cell(row) == "2.00 [changed experiment]"
    assert "not the paper's" in row.status


def fewer_epochs(experiment: Experiment) -> Experiment:
    nets = tuple(net.model_copy(update={"epochs": 1}) for net in experiment.published)
    return experiment.model_copy(update={"published": nets})


def test_what_counts_as_changed() -> None:
    """What sets a number; neither its title nor the seed; epochs where the budget names them."""
    for name, budget in (("mnist", "paper"), ("mnist", "top-models"), ("cifar10", "quick")):
        ours = load_experiment(experiment_path(name), budget, 7)
        assert not is_changed(ours)
        assert not is_changed(ours.model_copy(update={"title": "mine", "seed": 8}))
        assert is_changed(ours.model_copy(update={"name": "mine"}))
        assert is_changed(ours.model_copy(update={"budget_name": "mine"}))
    for budget in ("paper", "top-models"):
        assert is_changed(fewer_epochs(load_experiment(experiment_path("mnist"), budget, 7)))
    for net in ("mnist/v1-3", "mnist/v1-1", "cifar10/v1-1", "svhn/thesis-5"):
        assert not is_changed(published_experiment(net, "paper", 1, None))
        assert not is_changed(published_experiment(net, "paper", 1, 2))
    assert not is_changed(published_experiment("cifar10/v1-1", "released", 1, None))


def test_a_published_net_of_fewer_epochs_says_how_many(tmp_path: Path) -> None:
    run = MeasuredRun(tmp_path, published_experiment("mnist/v1-3", "paper", 1, 3))
    run.measure("mnist/v1-3", 0.9, 0.95, 0.99)
    assert measured_cell(rows_of(run)["published net"]) == "1.00 [top-models, 3 epochs]"


def test_trainings_on_the_validation_split_are_in_no_table(tmp_path: Path) -> None:
    run = measured_run(tmp_path, "cifar10")
    run.measure("tuning/1/rate-0", 0.99)
    run.measure("transfer/svhn/scratch", 0.97)
    run.memory.put(final_failures={"tuning/1/rate-1": "crashed"})
    rows = table(run.experiment, run.memory)
    assert [row.what for row in rows if row.status != "not run"] == [
        "MetaQNN, from scratch on SVHN"
    ]


def test_transfer_is_scored_on_its_own_test_images(tmp_path: Path) -> None:
    """SVHN has 26,032 of them, MNIST padded to 32 pixels 10,000."""
    run = measured_run(tmp_path, "cifar10")
    run.memory.put(
        transfer_data={"svhn": manifest(26_032, "unverified"), "mnist": manifest(10_000)}
    )
    run.measure("transfer/svhn/scratch", 0.97)
    run.measure("transfer/mnist/fine-tuned", 0.97)
    rows = rows_of(run)
    svhn, mnist = rows["MetaQNN, from scratch on SVHN"], rows["MetaQNN, fine-tuned on MNIST"]
    for row, images in ((svhn, 26_032), (mnist, 10_000)):
        ends = [100 * end for end in wilson_interval(0.03 * images, images)]
        assert row.interval == pytest.approx(ends)
    assert (svhn.published, mnist.published) == (2.48, 0.81)
    assert (svhn.dataset, mnist.dataset) == ("svhn", "mnist")
    assert (svhn.mark, mnist.mark) == ("quick, unverified data", "quick")


def test_parameters_are_counted_for_whatever_was_trained(tmp_path: Path) -> None:
    run = measured_run(tmp_path)
    run.measure("top/1", 0.98, net="[FC(100), SM(10)]")
    run.measure("top/2", 0.97, net="not a net")
    rows = rows_of(run)
    assert rows["MetaQNN, top model"].parameters == 28 * 28 * 100 + 100 + 100 * 10 + 10
    assert rows["MetaQNN, model 2"].parameters is None


def test_what_was_not_run_says_what_it_would_take(tmp_path: Path) -> None:
    rows = rows_of(measured_run(tmp_path))
    assert rows["published net"].command == "metaqnn train-published mnist/v1-3"
    assert rows["MetaQNN, ensemble"].command == "metaqnn reproduce mnist --budget paper"
    status = cells(rows["published net"])[HEADER.index("status")]
    assert status == "1.2e14 FLOP: metaqnn train-published mnist/v1-3"
    assert rows["published net"].status == "not run"


def test_a_training_that_failed_has_the_run_but_no_number(tmp_path: Path) -> None:
    run = measured_run(tmp_path)
    run.memory.put(final_failures={"top/2": "crashed: signal 9"})
    run.memory.record_final("top/1", "[SM(10)]", trained(outcome="diverged"))  # type: ignore[arg-type]
    rows = rows_of(run)
    for what, said in (("top model", "diverged"), ("model 2", "failed: crashed: signal 9")):
        row = rows[f"MetaQNN, {what}"]
        assert (measured_cell(row), row.status) == ("failed", said)
        assert cells(row)[HEADER.index("budget")] == "quick"
