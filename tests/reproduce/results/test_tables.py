"""The paper's tables with what runs measured: which number stands beside which."""

from pathlib import Path

import pytest

from reproduce.published_experiments import published_experiment
from reproduce.results.labels import NOT_RUN, QUOTED
from reproduce.results.paper_tables import MARKS, Group, Table, groups_of, paper_tables
from reproduce.results.summary import Row
from reproduce.run import RunError
from tests.reproduce.results.measured_runs import MeasuredRun, manifest, measured_run


def tables_of(*runs: MeasuredRun) -> dict[str, list[Row]]:
    """The paper's tables by key, each run a group of its own unless it is merged."""
    return {table.rows[0].table: table.rows for table in as_tables(*runs)}


def as_tables(*runs: MeasuredRun) -> list[Table]:
    named = [(str(run.folder), run.results) for run in runs]
    groups = [Group([named[index][1] for index in group]) for group in groups_of(named)]
    return paper_tables(groups)


def beside(rows: list[Row], what: str) -> Row:
    (row,) = [row for row in rows if row.what == what]
    return row


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("mnist", ["3", "4", "text", "A4", "A.3"]),
        ("mnist-v1", ["3", "4", "text", "A4", "A.3"]),
        ("svhn", ["3", "4", "A3", "A.2", "none"]),
        ("cifar10", ["3", "4", "text", "5", "A2", "A.1", "none"]),
    ],
)
def test_the_tables_of_each_experiment(name: str, keys: list[str], tmp_path: Path) -> None:
    tables = tables_of(measured_run(tmp_path, name))
    assert list(tables) == keys
    assert all(row.table == key for key, rows in tables.items() for row in rows)


def test_rivals_are_quoted_and_ours_not_run_with_their_cost(tmp_path: Path) -> None:
    """Nothing was run: each of MetaQNN's numbers has a command, no rival's is called not run."""
    for rows in tables_of(measured_run(tmp_path, "cifar10")).values():
        for row in rows:
            assert row.measured is None
            assert not row.budget
            ours = row.what.startswith(("MetaQNN", "cifar10/"))
            assert row.status == (NOT_RUN if ours else QUOTED), row.what
            assert bool(row.command) == ours
            assert (row.flop is not None) == ours


def test_a_search_fills_the_top_model_and_the_ensembles(tmp_path: Path) -> None:
    run = measured_run(tmp_path)
    run.measure("top/1", 0.98, net="[C(64,3,1), SM(10)]")
    run.score(5, "vote", 160)
    run.score(5, "mean", 150)
    run.score(10, "mean", 140)
    tables = tables_of(run)
    for key in ("3", "4"):
        rows = tables[key]
        assert beside(rows, "MetaQNN (top model), later revision").measured == pytest.approx(2.0)
        assert beside(rows, "MetaQNN (ensemble), later revision").measured == pytest.approx(1.5)
        for what in ("top model", "ensemble"):  # it is of another space
            assert beside(rows, f"MetaQNN ({what}), first version").status == NOT_RUN
    ten = beside(tables["text"], "MetaQNN (ensemble of ten), later revision")
    assert ten.measured == pytest.approx(1.4)
    assert ten.published == 0.28


def test_the_first_versions_search_stands_beside_its_own_numbers(tmp_path: Path) -> None:
    run = measured_run(tmp_path, "mnist-v1")
    run.measure("top/1", 0.98)
    rows = tables_of(run)["3"]
    assert beside(rows, "MetaQNN (top model), first version").difference == pytest.approx(1.59)
    assert beside(rows, "MetaQNN (top model), later revision").status == NOT_RUN


def test_a_published_net_is_measured_under_each_table_that_has_it(tmp_path: Path) -> None:
    """The first row of Table A2 is the thesis' too, and Table 3's top model."""
    run = measured_run(tmp_path, "cifar10", "top-models")
    run.measure("cifar10/v1-1", 0.93)
    tables = tables_of(run)
    a2, thesis = beside(tables["A2"], "cifar10/v1-1"), beside(tables["A.1"], "cifar10/thesis-1")
    top = beside(tables["3"], "MetaQNN (top model): net cifar10/v1-1")
    assert [row.measured for row in (a2, thesis, top)] == pytest.approx([7.0] * 3)
    assert [row.mark for row in (a2, thesis, top)] == ["top-models"] * 3
    assert (a2.parameters_published, thesis.parameters_published) == (11.26, 11.18)
    assert a2.parameters == thesis.parameters == 11_309_834
    assert beside(tables["A2"], "cifar10/v1-2").command == "metaqnn train-published cifar10/v1-2"


def test_svhns_top_model_is_the_best_on_validation(tmp_path: Path) -> None:
    """Another net has fewer test errors: 2.24 %."""
    run = measured_run(tmp_path, "svhn", "top-models")
    run.measure("svhn/v1-1", 0.99)
    assert beside(tables_of(run)["3"], "MetaQNN (top model)").status == NOT_RUN
    run.measure("svhn/v1-2", 0.98)
    top = beside(tables_of(run)["3"], "MetaQNN (top model): net svhn/v1-2")
    assert top.measured == pytest.approx(2.0)


def test_transfer_fills_table_5_and_table_3s_cifar100(tmp_path: Path) -> None:
    run = measured_run(tmp_path, "cifar10")
    run.memory.put(transfer_data={"cifar100": manifest(10_000)})
    run.measure("transfer/cifar100/scratch", 0.7)
    tables = tables_of(run)
    in_5 = [row for row in tables["5"] if row.dataset == "cifar100"]
    assert [(row.published, row.status) for row in in_5] == [
        (27.14, "not the paper's experiment"),
        (34.93, NOT_RUN),
        (24.28, QUOTED),
    ]
    in_3 = [row for row in tables["3"] if row.dataset == "cifar100" and row.measured is not None]
    assert [row.what for row in in_3] == ["MetaQNN (top model)"]
    assert in_3[0].measured == pytest.approx(30.0)


def test_two_budgets_have_lines_of_their_own(tmp_path: Path) -> None:
    """Never one mean of both; each with its mark."""
    quick, paper = measured_run(tmp_path / "q"), measured_run(tmp_path / "p", budget="paper")
    for run, accuracy in ((quick, 0.98), (paper, 0.995)):
        run.measure("top/1", accuracy)
    rows = tables_of(quick, paper)["3"]
    found = [row for row in rows if row.what == "MetaQNN (top model), later revision"]
    assert [(row.mark, row.budget) for row in found] == [("quick", "quick"), ("", "paper")]
    assert [row.measured for row in found] == pytest.approx([2.0, 0.5])


def test_seeds_of_one_experiment_are_merged(tmp_path: Path) -> None:
    runs = [measured_run(tmp_path / str(seed), seed=seed) for seed in (3, 1, 2)]
    for run, accuracy in zip(runs, (0.97, 0.98, 0.99), strict=True):
        run.measure("top/1", accuracy)
    runs[0].measure("mnist/v1-3", 0.99)
    tables = tables_of(*runs)
    top = beside(tables["3"], "MetaQNN (top model), later revision")
    assert top.measured == pytest.approx(2.0)
    assert top.interval == pytest.approx((1.0, 3.0))
    assert (top.seeds, top.mark) == ((1, 2, 3), "quick")
    net = beside(tables["A4"], "mnist/v1-3")
    assert net.measured == pytest.approx(1.0)
    assert "seed 1: not run; seed 2: not run" in net.status


@pytest.mark.parametrize("other", ["budget", "preset", "trainer", "data", "epochs"])
def test_what_differs_in_more_than_its_seed_is_not_merged(other: str, tmp_path: Path) -> None:
    first = measured_run(tmp_path / "first", "cifar10", seed=1)
    changes = {"budget": {"budget": "paper"}, "preset": {"preset": "released"}}
    second = measured_run(tmp_path / "second", "cifar10", seed=2, **changes.get(other, {}))
    third = measured_run(tmp_path / "third", "cifar10", seed=3)
    if other == "trainer":
        second.memory.put(trainer="caffe version 1.0.0 (real)")
    if other == "data":
        source = {"name": "images", "sha256": "another", "status": "verified"}
        second.memory.put(data={**manifest(10_000), "sources": [source]})
    if other == "epochs":
        second = MeasuredRun(tmp_path / "2", published_experiment("cifar10/v1-1", "paper", 2, 2))
        first = MeasuredRun(tmp_path / "1", published_experiment("cifar10/v1-1", "paper", 1, None))
        third = MeasuredRun(tmp_path / "3", published_experiment("cifar10/v1-1", "paper", 3, None))
    runs = [(str(run.folder), run.results) for run in (first, second, third)]
    assert groups_of(runs) == [[0, 2], [1]]


def test_the_same_seed_twice_is_refused(tmp_path: Path) -> None:
    runs = [(name, measured_run(tmp_path / name, seed=7).results) for name in ("a", "b")]
    with pytest.raises(RunError, match="a and b are the same experiment with the same seed 7"):
        groups_of(runs)


def test_marks_are_explained_where_there_are_any(tmp_path: Path) -> None:
    quick, paper = measured_run(tmp_path / "q"), measured_run(tmp_path / "p", budget="paper")
    for run in (quick, paper):
        run.measure("top/1", 0.98)
    with_marks = {table.title for table in as_tables(quick) if MARKS in table.notes}
    assert {title.partition(":")[0] for title in with_marks} == {"Table 3", "Table 4"}
    assert not any(MARKS in table.notes for table in as_tables(paper))
