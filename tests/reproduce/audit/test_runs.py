"""What runs measured turns "not run" into verdicts; what is not the paper's experiment does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reproduce.audit.audit import audited
from reproduce.audit.checks.runs import measured_best, measured_error, measured_rise
from reproduce.audit.claims import all_claims, claim_named
from reproduce.audit.context import Context
from reproduce.audit.findings import Finding, Verdict
from reproduce.published_results import ERRORS
from tests.reproduce.results.measured_runs import MeasuredRun, measured_run, trained

TOP = "table-3/measured-mnist-top-model-later"  # 0.44 %, of 10,000 images
ENSEMBLE = "table-3/measured-mnist-ensemble-later"  # 0.32 %


def finding(id_: str, *runs: MeasuredRun) -> Finding:
    return audited(claim_named(id_), Context(runs=tuple(run.folder for run in runs))).finding


@pytest.fixture
def run(tmp_path: Path) -> MeasuredRun:
    return measured_run(tmp_path / "run", budget="paper")


def test_without_runs_it_says_the_command_and_its_cost() -> None:
    found = finding(TOP)
    assert found.verdict is Verdict.NOT_RUN
    assert "metaqnn train-published mnist/thesis-7" in found.evidence
    assert "FLOP" in found.evidence


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [
        (0.9955, Verdict.HOLDS),  # 0.45 %: the interval contains 0.44
        (0.9975, Verdict.UNDERPOWERED),  # 0.25 %, interval up to 0.37: one run contradicts nothing
    ],
)
def test_a_run_of_the_papers_budget_decides(
    run: MeasuredRun, accuracy: float, verdict: Verdict
) -> None:
    run.measure("top/1", accuracy)
    assert finding(TOP, run).verdict is verdict


def test_an_ensemble_is_measured_too(run: MeasuredRun) -> None:
    run.score(5, "mean", 31)
    assert finding(ENSEMBLE, run).verdict is Verdict.HOLDS


def test_three_seeds_can_contradict(tmp_path: Path) -> None:
    runs = [measured_run(tmp_path / str(s), budget="paper", seed=s) for s in range(3)]
    for one in runs:
        one.measure("top/1", 0.98)
    found = finding(TOP, *runs)
    assert found.verdict is Verdict.CONTRADICTED
    assert "n = 3" in found.evidence


def test_another_budget_decides_nothing_and_says_so(tmp_path: Path) -> None:
    quick = measured_run(tmp_path / "quick", budget="quick")
    quick.measure("top/1", 0.9956)
    found = finding(TOP, quick)
    assert found.verdict is Verdict.UNDERPOWERED
    assert "[quick" in found.evidence


def test_the_first_versions_numbers_are_not_measured_by_the_later_experiment(
    run: MeasuredRun,
) -> None:
    run.measure("top/1", 0.9959)
    assert finding("table-3/measured-mnist-top-model-first", run).verdict is Verdict.NOT_RUN


def test_an_unfinished_search_is_no_evidence(tmp_path: Path) -> None:
    svhn = measured_run(tmp_path / "svhn", "svhn", budget="paper")
    assert finding("section-6/measured-rise-svhn", svhn).verdict is Verdict.NOT_RUN


def search(folder: Path, seed: int) -> MeasuredRun:
    """A complete search of SVHN whose nets at ε = 1 have 0.5225, all later ones 0.8802."""
    run = measured_run(folder, "svhn", "paper", seed)
    net = 0
    for epsilon, models in run.experiment.q_learning.schedule:
        done = trained(0.5225 if epsilon == 1 else 0.8802)
        for _ in range(models):
            net += 1
            sample = run.memory.add_sample(f"[FC({net}), SM(10)]", epsilon, {})
            run.memory.record_outcome(sample.trial, done, done.best_accuracy)
            run.memory.complete(sample.id)
    return run


def test_a_complete_search_decides(tmp_path: Path) -> None:
    found = finding("section-6/measured-rise-svhn", search(tmp_path / "svhn", 1))
    assert found.verdict is Verdict.HOLDS
    assert "52.25 % → 88.02 %, n = 1" in found.evidence


def error_run(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"published": 2.0, "measured": list(rows), "flop": 1e9, "command": "metaqnn …"}


def row(error: float, half: float, mark: str = "") -> dict[str, Any]:
    return {"error": error, "interval": [error - half, error + half], "mark": mark, "run": "r"}


def test_agreement_within_the_tolerance_outside_the_interval() -> None:
    found = measured_error(run=error_run(row(2.3, 0.1)), tolerance=0.5)
    assert found.verdict is Verdict.WITHIN


def test_the_papers_own_runs_alone_count_where_there_are_both() -> None:
    both = error_run(row(2.0, 0.1), row(9.0, 0.1, "quick"))
    found = measured_error(run=both, tolerance=0.1)
    assert (found.verdict, found.numbers["runs"]) == (Verdict.HOLDS, 1)


def searches(*ends: tuple[float, float], mark: str = "", best: float = 0.88) -> dict[str, Any]:
    rows = [
        {"means": [{"mean": a}, {"mean": b}], "mark": mark, "best": best + i / 1000}
        for i, (a, b) in enumerate(ends)
    ]
    return {"runs": rows, "flop": 1e9, "command": "metaqnn search svhn --budget paper"}


STATED = {"first": 52.25, "last": 88.02}
SPREAD = {"runs": 10, "mean": 0.8825, "deviation": 0.0058}


@pytest.mark.parametrize(
    ("search", "verdict"),
    [
        (searches(), Verdict.NOT_RUN),
        (searches((0.5225, 0.8802)), Verdict.HOLDS),
        (searches((0.53, 0.87)), Verdict.WITHIN),
        (searches((0.5225, 0.70)), Verdict.UNDERPOWERED),
        (searches(*[(0.5225, 0.70)] * 3), Verdict.CONTRADICTED),
        (searches((0.5225, 0.8802), mark="quick"), Verdict.UNDERPOWERED),
    ],
)
def test_the_rise_of_a_search(search: dict[str, Any], verdict: Verdict) -> None:
    assert measured_rise(search=search, stated=STATED, tolerance=3.0).verdict is verdict


@pytest.mark.parametrize(
    ("search", "verdict"),
    [
        (searches(), Verdict.NOT_RUN),
        (searches(*[(0.5, 0.8)] * 2), Verdict.UNDERPOWERED),
        (searches(*[(0.5, 0.8)] * 4, best=0.882), Verdict.HOLDS),
        (searches(*[(0.5, 0.8)] * 4, best=0.80), Verdict.CONTRADICTED),
        (searches(*[(0.5, 0.8)] * 4, mark="quick"), Verdict.UNDERPOWERED),
    ],
)
def test_the_best_nets_of_several_searches(search: dict[str, Any], verdict: Verdict) -> None:
    assert measured_best(search=search, stated=SPREAD).verdict is verdict


def test_every_measured_number_has_a_claim() -> None:
    """Of those that the package can measure; Table 3's CIFAR-100 error is Table 5's."""
    told = {ref for claim in all_claims() for ref in claim.inputs.values()}
    wanted = {f"run:{error.id}" for error in ERRORS if error.measured_as}
    assert wanted - told == {"run:5/cifar100/scratch"}
